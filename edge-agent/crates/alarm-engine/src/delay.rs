//! A delay: how long something has been so without interruption, by the monotonic clock.
//!
//! While it is not known whether it still is so the delay rests and keeps what has passed: a sensor that
//! is bad for a moment neither shortens nor restarts it.

use std::time::Duration;

use plant_model::Monotonic;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Delay {
    #[default]
    Idle,
    Running {
        since: Monotonic,
        /// What had passed before `since`.
        passed: Duration,
    },
    Resting {
        passed: Duration,
    },
}

impl Delay {
    /// It is so. Says whether that is news.
    pub(crate) fn run(&mut self, now: Monotonic) -> bool {
        match *self {
            Self::Running { .. } => return false,
            Self::Idle => *self = Self::Running { since: now, passed: Duration::ZERO },
            Self::Resting { passed } => *self = Self::Running { since: now, passed },
        }
        true
    }

    /// It is not known whether it is so.
    pub(crate) fn rest(&mut self, now: Monotonic) {
        if let Some(passed) = self.passed(now) {
            *self = Self::Resting { passed };
        }
    }

    /// It is not so.
    pub(crate) fn stop(&mut self) {
        *self = Self::Idle;
    }

    /// When it has been so for `length`.
    pub(crate) fn due_at(&self, length: Duration) -> Option<Monotonic> {
        match *self {
            Self::Running { since, passed } => Some(since.plus(length.saturating_sub(passed))),
            Self::Idle | Self::Resting { .. } => None,
        }
    }

    /// How long it has been so, if it is.
    pub(crate) fn passed(&self, now: Monotonic) -> Option<Duration> {
        match *self {
            Self::Running { since, passed } => Some(passed.saturating_add(now.since(since))),
            Self::Resting { passed } => Some(passed),
            Self::Idle => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Monotonic {
        Monotonic::from_micros(millis * 1_000)
    }

    #[test]
    fn a_delay_that_rests_keeps_what_has_passed() {
        let (mut delay, length) = (Delay::Idle, Duration::from_millis(100));
        assert!(delay.run(at(0)));
        assert!(!delay.run(at(10)), "it runs already");
        delay.rest(at(40));
        assert_eq!(delay.due_at(length), None);
        delay.rest(at(500));
        assert!(delay.run(at(1_000)));
        assert_eq!(delay.due_at(length), Some(at(1_060)));
        delay.stop();
        assert_eq!((delay.passed(at(2_000)), delay.due_at(length)), (None, None));
    }
}
