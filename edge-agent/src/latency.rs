//! How long alarms take, measured on the clock that is never set: a histogram for each stage and priority.
//!
//! | stage | from | to |
//! |---|---|---|
//! | `decision` | the value was read, or the timer that decides was due | the transition is decided |
//! | `sent` | the decision | the transport has taken the transition on the fast lane |
//! | `durable` | the decision | the transition is committed to the buffer |
//! | `cloud` | the decision | the backend has acknowledged the batch that carries it |
//!
//! What a person does is no measure of the machine: transitions that a command caused count from the
//! decision on only. `sent` counts what was decided while the uplink stood; `cloud` what was committed by
//! this process, for as long as it takes.

mod histogram;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use edge_store::Decided;
use plant_model::{AlarmPriority, Monotonic};
use protocol::Sequence;
use serde::Serialize;

use histogram::Histogram;

/// A step on the way of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Decision,
    Sent,
    Durable,
    Cloud,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Decision, Self::Sent, Self::Durable, Self::Cloud];

    const fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Sent => "sent",
            Self::Durable => "durable",
            Self::Cloud => "cloud",
        }
    }
}

/// Transitions that wait for the backend's acknowledgement and are remembered for its latency: some
/// 300 KB. Beyond it the oldest are not measured.
const UNACKNOWLEDGED_MAX: usize = 16_384;

/// When a transition was decided, and how urgent it is.
type Mark = (Monotonic, AlarmPriority);

pub(crate) const fn mark(decided: &Decided) -> Mark {
    (decided.at, decided.transition.priority)
}

/// The histograms of one agent.
#[derive(Debug, Default)]
pub(crate) struct AlarmLatency {
    cells: [[Histogram; AlarmPriority::ALL.len()]; Stage::ALL.len()],
    unacknowledged: Mutex<VecDeque<(Sequence, Mark)>>,
}

/// One histogram in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LatencyRow {
    pub stage: &'static str,
    pub priority: &'static str,
    pub count: u64,
    /// At most 12.5 % above the truth.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Exact.
    pub max_ms: f64,
}

impl AlarmLatency {
    /// Notes that a stage was reached at `now`.
    pub(crate) fn reached(&self, stage: Stage, (since, priority): Mark, now: Monotonic) {
        let micros = u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX);
        self.cells[stage as usize][priority as usize].record(micros);
    }

    /// Transitions were committed as the batch `sequence`.
    pub(crate) fn committed(&self, sequence: Sequence, decided: &[Decided], now: Monotonic) {
        let mut waiting = self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        for one in decided {
            self.reached(Stage::Durable, mark(one), now);
            if waiting.len() == UNACKNOWLEDGED_MAX {
                waiting.pop_front();
            }
            waiting.push_back((sequence, mark(one)));
        }
    }

    /// The backend holds the alarm stream up to `through`.
    pub(crate) fn acknowledged(&self, through: Sequence, now: Monotonic) {
        let mut waiting = self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.front().is_some_and(|(sequence, _)| *sequence <= through) {
            if let Some((_, mark)) = waiting.pop_front() {
                self.reached(Stage::Cloud, mark, now);
            }
        }
    }

    /// Every histogram that counted something, the most urgent first.
    pub(crate) fn rows(&self) -> Vec<LatencyRow> {
        let row = |stage: Stage, priority: AlarmPriority| {
            let histogram = &self.cells[stage as usize][priority as usize];
            let count = histogram.count();
            (count > 0).then(|| LatencyRow {
                stage: stage.name(),
                priority: priority.name(),
                count,
                p50_ms: millis(histogram.quantile(0.5)),
                p99_ms: millis(histogram.quantile(0.99)),
                max_ms: millis(histogram.max()),
            })
        };
        let priorities = AlarmPriority::ALL.into_iter().rev();
        priorities.flat_map(|priority| Stage::ALL.into_iter().filter_map(move |s| row(s, priority))).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of years fit 53 bits")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::transition;

    const fn at(millis: u64) -> Monotonic {
        Monotonic::from_micros(millis * 1_000)
    }

    fn decided(millis: u64) -> Decided {
        Decided { transition: transition(plant_model::AlarmState::Unacknowledged), at: at(millis) }
    }

    #[test]
    fn each_stage_is_measured_from_the_decision_and_shown_by_priority() {
        let latency = AlarmLatency::default();
        latency.reached(Stage::Decision, (at(10), AlarmPriority::Critical), at(11));
        latency.committed(Sequence::from_u64(1), &[decided(10), decided(30)], at(50));
        latency.committed(Sequence::from_u64(2), &[decided(60)], at(61));
        latency.acknowledged(Sequence::from_u64(1), at(110));
        let rows = latency.rows();
        let shown: Vec<_> = rows.iter().map(|r| (r.stage, r.priority, r.count, r.max_ms)).collect();
        assert_eq!(
            shown,
            [("decision", "critical", 1, 1.0), ("durable", "medium", 3, 40.0), ("cloud", "medium", 2, 100.0)]
        );
        latency.acknowledged(Sequence::from_u64(9), at(161));
        assert_eq!(latency.rows()[2].count, 3);
        latency.acknowledged(Sequence::from_u64(9), at(999));
        assert_eq!(latency.rows()[2].count, 3, "each is counted once");
    }

    #[test]
    fn what_waits_for_the_backend_is_bounded() {
        let latency = AlarmLatency::default();
        for n in 0..UNACKNOWLEDGED_MAX as u64 + 10 {
            latency.committed(Sequence::from_u64(n + 1), &[decided(0)], at(0));
        }
        latency.acknowledged(Sequence::from_u64(u64::MAX), at(1));
        assert_eq!(latency.rows()[1].count, UNACKNOWLEDGED_MAX as u64);
    }
}
