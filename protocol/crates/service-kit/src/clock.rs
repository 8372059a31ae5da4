//! The two clocks of a program.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use plant_model::{Monotonic, Timestamp};

/// Reads the wall clock and the monotonic clock. Copies share their origin.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The monotonic time since this clock was started.
    #[must_use]
    pub fn now(&self) -> Monotonic {
        Monotonic::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_moves_on_and_copies_agree() {
        let clock = Clock::start();
        let copy = clock;
        let a = clock.now();
        assert!(copy.now() >= a);
        assert!(clock.wall().micros() > 1_700_000_000_000_000, "the wall clock is after 2023");
    }
}
