//! What a driver counts, for the status of the agent and for the ledger of a test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A number that only grows, written by one driver and read by anybody.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls that brought no value, by reason.
#[derive(Debug, Default)]
pub struct FailedPolls {
    /// No answer in time.
    pub timeout: Counter,
    /// The machine refused (Modbus exception).
    pub exception: Counter,
    /// The connection broke.
    pub transport: Counter,
    /// The answer was not an answer to the question.
    pub decode: Counter,
}

impl FailedPolls {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.timeout.get() + self.exception.get() + self.transport.get() + self.decode.get()
    }
}

/// The counters of one driver, shared with the status of the agent. They only grow as long as the
/// process lives, over all reconnects.
#[derive(Debug, Default)]
pub struct DriverCounters {
    /// Samples that the schedule asked for since the first successful connect: every due instant
    /// times the tags of its class, missed instants included. Polling only.
    pub scheduled_samples: Counter,
    /// Samples that a usable answer or a notification brought, whatever their quality. Those that only
    /// report a failed request or a lost link do not count.
    pub acquired_samples: Counter,
    /// Samples that were not recorded, because nothing had changed (report by exception). Alarms and the
    /// status saw them.
    pub withheld_samples: Counter,
    /// Samples recorded in addition: values that stand unchanged, stated again at their heartbeat.
    pub restated_samples: Counter,
    /// Requests with a usable answer.
    pub polls_ok: Counter,
    /// Requests without.
    pub polls_failed: FailedPolls,
    /// Due instants at which no request was made, because the one before took too long or there was
    /// no connection.
    pub missed_ticks: Counter,
    /// Connections made.
    pub connects: Counter,
    /// Connections lost or given up.
    pub disconnects: Counter,
    /// How long the connection was taken, in microseconds: from the pause before each request, or the
    /// request, to its answer or the end of waiting. Machines that share a connection count the same;
    /// the growth within a time, divided by it, is the utilisation of their bus (Modbus).
    pub busy_us: Counter,
    /// Answers that came after the soft deadline, when their tags were uncertain already, and were used
    /// (Modbus).
    pub late_answers: Counter,
    /// Answers that came after their request had been given up, and were thrown away (Modbus).
    pub stale_frames_dropped: Counter,
    /// Notifications received, keep-alives included (OPC UA).
    pub notifications: Counter,
    /// Values with the overflow bit: the server lost changes before them (OPC UA).
    pub overflows: Counter,
    /// Values whose source time is far from the gateway's: the clock of the machine is wrong (OPC UA).
    pub doubtful_source_times: Counter,
    last_error: Mutex<String>,
}

impl DriverCounters {
    /// The longest error text kept, in characters.
    pub const ERROR_CHARS_MAX: usize = 300;

    /// Remembers what failed last.
    pub fn set_last_error(&self, text: &str) {
        let kept = text.chars().take(Self::ERROR_CHARS_MAX).collect();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// What failed last, empty if nothing did.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_polls_add_up_and_the_last_error_is_cut() {
        let counters = DriverCounters::default();
        counters.polls_failed.timeout.increment();
        counters.polls_failed.decode.add(2);
        assert_eq!(counters.polls_failed.total(), 3);
        assert_eq!(counters.last_error(), "");
        counters.set_last_error(&"ä".repeat(1000));
        assert_eq!(counters.last_error().chars().count(), DriverCounters::ERROR_CHARS_MAX);
    }
}
