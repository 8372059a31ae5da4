//! Metrics in the Prometheus text format, version 0.0.4.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, from zero at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// The text that a scrape is answered with. Families are written one after the other: first
/// [`Exposition::family`], then its samples.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family: all samples of one name.
    pub fn family(&mut self, name: &'static str, kind: MetricKind, help: &'static str) -> Family<'_> {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { name, text: &mut self.text }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: MetricKind, help: &'static str, value: u64) {
        self.family(name, kind, help).sample(&[], value);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A family being written.
#[derive(Debug)]
pub struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Family<'_> {
    /// Adds one sample. Labels are pairs of name and value; values are escaped here.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: u64) -> &mut Self {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Counters of this API.
#[derive(Debug, Default)]
pub(crate) struct HttpMetrics {
    /// Answers by the first digit of their status, 1 to 5.
    answers: [AtomicU64; 5],
    sign_ins_failed: AtomicU64,
    streams_open: AtomicU64,
    resyncs: AtomicU64,
}

impl HttpMetrics {
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5);
        self.answers[class - 1].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sign_in_failed(&self) {
        self.sign_ins_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_opened(&self) {
        self.streams_open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_closed(&self) {
        self.streams_open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn streams_open(&self) -> u64 {
        self.streams_open.load(Ordering::Relaxed)
    }

    pub(crate) fn resynced(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn expose(&self, out: &mut Exposition) {
        let mut answers = out.family(
            "cloud_backend_http_responses_total",
            MetricKind::Counter,
            "Answers by class of status.",
        );
        for (count, class) in self.answers.iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
            answers.sample(&[("class", class)], count.load(Ordering::Relaxed));
        }
        out.single(
            "cloud_backend_sign_ins_failed_total",
            MetricKind::Counter,
            "Sign-ins with a wrong name or password, or while locked out.",
            self.sign_ins_failed.load(Ordering::Relaxed),
        );
        let open = self.streams_open();
        out.single("cloud_backend_live_streams_open", MetricKind::Gauge, "Browsers on a live stream.", open);
        out.single(
            "cloud_backend_live_resyncs_total",
            MetricKind::Counter,
            "Times a browser read too slowly and was told to fetch everything again.",
            self.resyncs.load(Ordering::Relaxed),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_their_family_and_labels_are_escaped() {
        let mut out = Exposition::default();
        out.family("a_total", MetricKind::Counter, "Of a.")
            .sample(&[("x", "1"), ("y", "q\"\\\n")], 3)
            .sample(&[], 4);
        out.single("b", MetricKind::Gauge, "Of b.", 5);
        let expected = "# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\na_total 4\n\
                        # HELP b Of b.\n# TYPE b gauge\nb 5\n";
        assert_eq!(out.into_text(), expected);
    }
}
