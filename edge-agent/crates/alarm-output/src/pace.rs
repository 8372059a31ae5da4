//! How often an output may be driven.

use std::collections::VecDeque;
use std::time::Duration;

use plant_model::Monotonic;

use crate::OutputError;

const MINUTE: Duration = Duration::from_secs(60);

/// How often an output may be driven: contactors wear, buses have other work, people tire of a horn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    min_interval: Duration,
    per_minute: usize,
}

impl Pacing {
    /// From 100 ms to an hour between two drives, and 1 to 60 drives in a minute.
    ///
    /// # Errors
    /// A number outside these limits.
    pub fn new(min_interval: Duration, per_minute: usize) -> Result<Self, OutputError> {
        let millis = u64::try_from(min_interval.as_millis()).unwrap_or(u64::MAX);
        let count = u64::try_from(per_minute).unwrap_or(u64::MAX);
        check("the interval in milliseconds", millis, 100, 3_600_000)?;
        check("the number of drives a minute", count, 1, 60)?;
        Ok(Self { min_interval, per_minute })
    }

    /// The least time between two drives.
    #[must_use]
    pub const fn min_interval(&self) -> Duration {
        self.min_interval
    }

    /// The most drives in a minute.
    #[must_use]
    pub const fn per_minute(&self) -> usize {
        self.per_minute
    }
}

impl Default for Pacing {
    /// A second between two drives, 12 a minute.
    fn default() -> Self {
        Self { min_interval: Duration::from_secs(1), per_minute: 12 }
    }
}

fn check(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), OutputError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(OutputError::Pace { what, value, min, max }) }
}

/// Remembers the drives that still count.
#[derive(Debug)]
pub(crate) struct Pace {
    pacing: Pacing,
    /// The newest starts, at most `per_minute`.
    starts: VecDeque<Monotonic>,
}

impl Pace {
    pub(crate) fn new(pacing: Pacing) -> Self {
        Self { pacing, starts: VecDeque::with_capacity(pacing.per_minute) }
    }

    /// The earliest instant of the next drive.
    pub(crate) fn free_at(&self) -> Monotonic {
        let spaced = self.starts.back().map(|last| last.plus(self.pacing.min_interval));
        let is_full = self.starts.len() == self.pacing.per_minute;
        let counted = self.starts.front().filter(|_| is_full).map(|first| first.plus(MINUTE));
        spaced.max(counted).unwrap_or_default()
    }

    pub(crate) fn started(&mut self, now: Monotonic) {
        if self.starts.len() == self.pacing.per_minute {
            self.starts.pop_front();
        }
        self.starts.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_outside_its_limits_is_refused() {
        for (millis, count) in [(99, 1), (3_600_001, 1), (100, 0), (100, 61)] {
            assert!(Pacing::new(Duration::from_millis(millis), count).is_err(), "{millis} {count}");
        }
        assert!(Pacing::new(Duration::from_millis(100), 60).is_ok());
    }

    #[test]
    fn drives_keep_their_distance_and_their_number() {
        let at = |s: u64| Monotonic::from_micros(s * 1_000_000);
        let mut pace = Pace::new(Pacing::new(Duration::from_secs(2), 3).expect("valid"));
        assert_eq!(pace.free_at(), at(0));
        for (start, next) in [(10, 12), (12, 14), (14, 70), (70, 72), (80, 82), (90, 130)] {
            pace.started(at(start));
            assert_eq!(pace.free_at(), at(next), "after {start}");
        }
    }
}
