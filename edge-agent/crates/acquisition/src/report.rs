//! What a sink has been told of its machine, so that it hears of each change once.

use plant_model::{Monotonic, Quality, Sample, Timestamp, Value};

use crate::{LinkState, MachineSink, Reading, TagIndex};

/// When something was received, by both clocks of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instants {
    /// The wall clock; for a poll the middle between request and answer.
    pub gateway_timestamp: Timestamp,
    /// The monotonic clock.
    pub received_at: Monotonic,
}

/// Collects readings and hands them to the sink of a machine. It knows the link and which tags bring
/// no values, and passes on changes only: a dead machine is reported once, not at every attempt.
pub struct Report {
    sink: Box<dyn MachineSink>,
    link: Option<Link>,
    /// The quality with which each tag was lost.
    lost: Vec<Option<Quality>>,
    readings: Vec<Reading>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

impl Report {
    /// A report on a machine with `tags` tags, of which nothing is known yet.
    #[must_use]
    pub fn new(sink: Box<dyn MachineSink>, tags: usize) -> Self {
        Self { sink, link: None, lost: vec![None; tags], readings: Vec::new() }
    }

    /// Adds what the machine answered.
    pub fn add(&mut self, tag: TagIndex, sample: Sample, received_at: Monotonic) {
        self.lost[tag.as_usize()] = None;
        self.readings.push(Reading { tag, sample, received_at });
    }

    /// Adds a value that was measured when it was received.
    pub fn add_value(&mut self, tag: TagIndex, value: Option<Value>, quality: Quality, at: Instants) {
        let gateway_timestamp = at.gateway_timestamp;
        self.add(tag, Sample { value, quality, source_timestamp: None, gateway_timestamp }, at.received_at);
    }

    /// Adds that a tag brings no values, unless that is known with the same quality. Says whether that
    /// is news.
    pub fn add_loss(&mut self, tag: TagIndex, quality: Quality, at: Instants) -> bool {
        let is_news = self.lost[tag.as_usize()] != Some(quality);
        if is_news {
            self.add_value(tag, None, quality, at);
            self.lost[tag.as_usize()] = Some(quality);
        }
        is_news
    }

    /// Whether the tag is known to bring no values.
    #[must_use]
    pub fn is_lost(&self, tag: TagIndex) -> bool {
        self.lost[tag.as_usize()].is_some()
    }

    /// Hands over what was added, in one call.
    pub fn hand_over(&mut self) {
        if !self.readings.is_empty() {
            self.hand_over_or_greet();
        }
    }

    /// Hands over what was added; if nothing was, tells the sink that the machine is alive.
    pub fn hand_over_or_greet(&mut self) {
        self.sink.accept(&self.readings);
        self.readings.clear();
    }

    /// The machine answers. Says whether that is news.
    pub fn link_up(&mut self) -> bool {
        let is_news = self.link.replace(Link::Up) != Some(Link::Up);
        if is_news {
            self.sink.link(LinkState::Up);
        }
        is_news
    }

    /// The machine cannot be read: every tag that is not lost already is lost now. Says whether that
    /// is news.
    pub fn link_down(&mut self, reason: &str, quality: Quality, at: Instants) -> bool {
        self.hand_over();
        let is_news = self.link.replace(Link::Down) != Some(Link::Down);
        if is_news {
            self.sink.link(LinkState::Down { reason: reason.to_owned() });
        }
        for index in 0..self.lost.len() {
            if self.lost[index].is_none() {
                let tag = TagIndex(u16::try_from(index).expect("a connection has at most 10,000 tags"));
                self.add_loss(tag, quality, at);
            }
        }
        self.hand_over();
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().expect("no test panics while it holds the lock"))
        }
    }

    impl MachineSink for Heard {
        fn accept(&mut self, readings: &[Reading]) {
            let text = |r: &Reading| format!("{}:{}", r.tag.0, r.sample.quality.name());
            self.0.lock().expect("unpoisoned").push(readings.iter().map(text).collect::<Vec<_>>().join(" "));
        }

        fn link(&mut self, link: LinkState) {
            self.0.lock().expect("unpoisoned").push(match link {
                LinkState::Up => "up".into(),
                LinkState::Down { reason } => format!("down: {reason}"),
            });
        }
    }

    fn report(tags: usize) -> (Report, Heard) {
        let heard = Heard::default();
        (Report::new(Box::new(heard.clone()), tags), heard)
    }

    const NOW: Instants =
        Instants { gateway_timestamp: Timestamp::from_micros(5_000), received_at: Monotonic::from_micros(7) };

    fn good(report: &mut Report, tag: u16) {
        report.add_value(TagIndex(tag), Some(Value::Int(1)), Quality::GOOD, NOW);
    }

    #[test]
    fn a_dead_machine_is_reported_once_with_all_its_tags() {
        let (mut report, heard) = report(2);
        assert!(report.link_down("refused", Quality::BAD_NOT_CONNECTED, NOW));
        assert!(!report.link_down("silent", Quality::BAD_TIMEOUT, NOW));
        assert_eq!(heard.take(), ["down: refused", "0:BadNotConnected 1:BadNotConnected"]);
    }

    #[test]
    fn a_tag_that_was_lost_before_its_link_is_not_lost_twice() {
        let (mut report, heard) = report(2);
        report.link_up();
        good(&mut report, 0);
        report.add_loss(TagIndex(1), Quality::BAD_NODE_ID_UNKNOWN, NOW);
        report.add_loss(TagIndex(1), Quality::BAD_NODE_ID_UNKNOWN, NOW);
        report.link_down("gone", Quality::BAD_COMMUNICATION_ERROR, NOW);
        assert_eq!(
            heard.take(),
            ["up", "0:Good 1:BadNodeIdUnknown", "down: gone", "0:BadCommunicationError"]
        );
    }

    #[test]
    fn a_machine_that_comes_back_can_be_lost_again() {
        let (mut report, heard) = report(1);
        report.link_down("a", Quality::BAD_TIMEOUT, NOW);
        assert!(report.link_up());
        assert!(!report.link_up());
        good(&mut report, 0);
        report.hand_over();
        report.link_down("b", Quality::BAD_TIMEOUT, NOW);
        assert_eq!(heard.take(), ["down: a", "0:BadTimeout", "up", "0:Good", "down: b", "0:BadTimeout"]);
    }

    #[test]
    fn another_reason_of_a_single_tag_is_news() {
        let (mut report, heard) = report(1);
        report.add_loss(TagIndex(0), Quality::BAD_TIMEOUT, NOW);
        report.add_loss(TagIndex(0), Quality::BAD_NODE_ID_UNKNOWN, NOW);
        report.hand_over();
        report.hand_over();
        assert_eq!(heard.take(), ["0:BadTimeout 0:BadNodeIdUnknown"]);
    }
}
