//! Minutes of the calendar.

use plant_model::{Sample, Timestamp};

/// A minute: the number of minutes since 1970. Half open, its end is the start of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

impl Minute {
    /// Microseconds in a minute.
    pub const MICROS: i64 = 60_000_000;

    /// The minute in which an instant lies.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.micros().div_euclid(Self::MICROS))
    }

    /// The minute in which a sample is placed.
    #[must_use]
    pub fn of_sample(sample: &Sample) -> Self {
        Self::of(sample.timestamp())
    }

    /// Minutes since 1970.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The minute of that number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Its first instant.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(Self::MICROS))
    }

    /// The first instant after it.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_add(1).saturating_mul(Self::MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_holds_its_start_and_not_its_end_before_1970_too() {
        for micros in [-60_000_001, -60_000_000, -1, 0, 59_999_999, 60_000_000, 1_790_000_000_000_000] {
            let at = Timestamp::from_micros(micros);
            let minute = Minute::of(at);
            assert!(minute.start() <= at && at < minute.end(), "{micros}: {minute:?}");
            assert_eq!(Minute::of(minute.start()), minute);
            assert_ne!(Minute::of(minute.end()), minute);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for micros in [i64::MIN, i64::MAX] {
            let minute = Minute::of(Timestamp::from_micros(micros));
            assert!(minute.start() < minute.end(), "{minute:?}");
        }
    }
}
