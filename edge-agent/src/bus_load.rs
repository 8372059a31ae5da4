//! How much of its time a bus is taken, over the last seconds and not since the start.
//!
//! Drivers count how long their connection was taken. Whoever looks gets the growth of that count over
//! the time since a mark that is one to two intervals old (older, if nobody looked for long); marks are
//! set by looking, so that nothing runs while nobody does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plant_model::Monotonic;
use serde::{Deserialize, Serialize};

/// Long enough for some polls of a usual pace, short enough to see what was just changed.
const INTERVAL: Duration = Duration::from_secs(5);

/// Remembers marks; one for each bus.
#[derive(Debug, Default)]
pub(crate) struct BusMeter(Mutex<HashMap<String, Marks>>);

#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    older: Mark,
    newer: Mark,
}

/// How long a bus had been taken at an instant. The first is the start of the agent.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at_us: u64,
    busy_us: u64,
}

/// How much a bus is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct BusLoad {
    /// Share of the time in which a request was under way or a pause was kept, 0 to 100.
    pub percent: f64,
    /// The time it was taken over.
    pub interval_s: f64,
}

impl BusMeter {
    /// The load up to `now`; `busy_us` is the driver's count.
    pub(crate) fn look(&self, bus: &str, busy_us: u64, now: Monotonic) -> BusLoad {
        let mark = Mark { at_us: now.micros(), busy_us };
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = marks.entry(bus.to_owned()).or_default();
        if Duration::from_micros(mark.at_us.saturating_sub(marks.newer.at_us)) >= INTERVAL {
            marks.older = std::mem::replace(&mut marks.newer, mark);
        }
        marks.older.until(mark)
    }
}

impl Mark {
    fn until(self, now: Self) -> BusLoad {
        let interval_us = now.at_us.saturating_sub(self.at_us);
        let busy_us = now.busy_us.saturating_sub(self.busy_us).min(interval_us);
        let ratio = seconds(busy_us) / seconds(interval_us.max(1));
        BusLoad {
            percent: (ratio * 1e3).round() / 10.0,
            interval_s: (seconds(interval_us) * 10.0).round() / 10.0,
        }
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_load_is_that_of_the_last_seconds_and_not_since_the_start() {
        let meter = BusMeter::default();
        let look = |second, busy_s: f64| meter.look("line", (busy_s * 1e6) as u64, at(second));
        assert_eq!(look(1, 0.5), BusLoad { percent: 50.0, interval_s: 1.0 });
        assert_eq!(look(10, 1.0), BusLoad { percent: 10.0, interval_s: 10.0 });
        // From here on the bus is taken for nine tenths.
        assert_eq!(look(12, 2.8).interval_s, 12.0);
        assert_eq!(look(15, 5.5), BusLoad { percent: 90.0, interval_s: 5.0 });
        assert_eq!(look(17, 7.3), BusLoad { percent: 90.0, interval_s: 7.0 });
        assert_eq!(look(20, 10.0), BusLoad { percent: 90.0, interval_s: 5.0 });
    }

    #[test]
    fn two_looks_at_once_and_a_count_that_runs_ahead_are_no_trouble() {
        let meter = BusMeter::default();
        assert_eq!(meter.look("line", 0, at(0)).percent, 0.0);
        assert_eq!(meter.look("line", 3_000_000, at(1)).percent, 100.0);
        assert_eq!(meter.look("other", 500_000, at(1)).percent, 50.0);
    }
}
