//! Time: wall-clock timestamps and the monotonic clock of one process.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A text that is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the number of milliseconds {millis} does not fit a timestamp")]
pub struct TimestampError {
    /// The value as given.
    pub millis: i64,
}

/// An instant on the wall clock: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since 1970.
    ///
    /// # Errors
    /// The product overflows.
    pub const fn from_millis(millis: i64) -> Result<Self, TimestampError> {
        match millis.checked_mul(1000) {
            Some(micros) => Ok(Self(micros)),
            None => Err(TimestampError { millis }),
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The same instant, rounded down to whole milliseconds.
    #[must_use]
    pub const fn to_whole_millis(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(1000)))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant moved forward.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Below this, 2000-01-01, a time of a gateway is no time of the calendar but the time since it was booted:
    /// it did not know better. No gateway runs for thirty years, and none is older.
    pub const UNPLACED_BELOW: Self = Self(946_684_800_000_000);

    /// Whether this is the time since the boot of a gateway, which still has to find its place in the calendar.
    #[must_use]
    pub const fn is_unplaced(self) -> bool {
        self.0 >= 0 && self.0 < Self::UNPLACED_BELOW.0
    }

    /// The same instant in the calendar, if this is the time since a boot at `booted_at`; else itself.
    #[must_use]
    pub const fn placed(self, booted_at: Self) -> Self {
        if self.is_unplaced() { Self(self.0.saturating_add(booted_at.0)) } else { self }
    }

    /// This instant moved back.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// An instant on the monotonic clock of one process: microseconds since an origin that the process
/// chose at its start. It never runs backwards and means nothing outside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(u64);

impl Monotonic {
    /// From microseconds since the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This instant moved forward.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_milliseconds_round_down_before_1970_too() {
        assert_eq!(Timestamp::from_micros(1_999).to_whole_millis().micros(), 1_000);
        assert_eq!(Timestamp::from_micros(-1).to_whole_millis().micros(), -1_000);
        assert_eq!(Timestamp::from_micros(-1).millis(), -1);
    }

    #[test]
    fn differences_never_are_negative_and_sums_never_overflow() {
        let t = Timestamp::from_micros(5);
        assert_eq!(t.since(Timestamp::from_micros(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(i64::MAX).plus(Duration::MAX).micros(), i64::MAX);
        assert_eq!(t.plus(Duration::from_micros(4)).since(t), Duration::from_micros(4));
        assert_eq!(t.minus(Duration::from_micros(4)).micros(), 1);
        assert!(Timestamp::from_millis(i64::MAX).is_err());
    }

    #[test]
    fn only_a_time_since_a_boot_is_placed_and_only_once() {
        let booted_at = Timestamp::from_micros(1_790_000_000_000_000);
        let placed = Timestamp::from_micros(5_000_000).placed(booted_at);
        assert_eq!(placed, booted_at.plus(Duration::from_secs(5)));
        assert_eq!(placed.placed(booted_at), placed);
        assert!(!Timestamp::UNPLACED_BELOW.is_unplaced() && !Timestamp::from_micros(-1).is_unplaced());
    }

    #[test]
    fn the_monotonic_clock_subtracts_without_underflow() {
        let a = Monotonic::from_micros(10);
        assert_eq!(a.since(a.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(a.plus(Duration::from_secs(1)).since(a), Duration::from_secs(1));
    }
}
