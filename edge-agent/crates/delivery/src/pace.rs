//! How fast a backlog may be drained: so many bytes a second, a second's worth at once.

use std::num::NonZeroU64;
use std::time::Duration;

use plant_model::Monotonic;

const MICROS: u64 = 1_000_000;

/// A budget of bytes that fills with time. It may be overdrawn by one batch, and then has to fill again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// `None`: as fast as the link takes it.
    bytes_per_second: Option<NonZeroU64>,
    /// When the budget is full again.
    full_at: Monotonic,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, full_at: Monotonic::default() }
    }

    pub(crate) fn spend(&mut self, bytes: u64, now: Monotonic) {
        if let Some(rate) = self.bytes_per_second {
            let takes = Duration::from_micros(bytes.saturating_mul(MICROS) / rate);
            self.full_at = self.full_at.max(now).plus(takes);
        }
    }

    /// When something may be sent: before a whole second's worth is owed.
    pub(crate) fn open_at(&self) -> Monotonic {
        Monotonic::from_micros(self.full_at.micros().saturating_sub(MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_bytes_goes_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::new(NonZeroU64::new(1_000));
        let start = Monotonic::from_micros(10 * MICROS);
        for _ in 0..10 {
            assert!(pace.open_at() <= start);
            pace.spend(101, start);
        }
        assert_eq!(pace.open_at(), start.plus(Duration::from_millis(10)));
        pace.spend(1_000, start.plus(Duration::from_millis(10)));
        assert_eq!(pace.open_at(), start.plus(Duration::from_millis(1_010)));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        pace.spend(u64::MAX, Monotonic::from_micros(5));
        assert_eq!(pace.open_at(), Monotonic::default());
    }
}
