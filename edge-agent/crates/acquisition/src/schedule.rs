//! When a poll class is due: drift-free, staggered, nothing forgotten.

use std::time::Duration;

use plant_model::Monotonic;

/// A fixed grid of instants. A late poll does not move the grid: what it slept through is counted as
/// missed, and the next one is due at its own instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    period: Duration,
    next_due: Monotonic,
}

impl Schedule {
    /// A grid whose first instant is `first_due`. A period of zero is taken as one microsecond.
    #[must_use]
    pub fn new(first_due: Monotonic, period: Duration) -> Self {
        Self { period: period.max(Duration::from_micros(1)), next_due: first_due }
    }

    /// The first instant that was not taken yet.
    #[must_use]
    pub const fn next_due(&self) -> Monotonic {
        self.next_due
    }

    /// Takes all instants that are due at `now`; answers how many these were. One poll serves the
    /// latest of them, the others are missed.
    pub fn take_due(&mut self, now: Monotonic) -> u64 {
        if now < self.next_due {
            return 0;
        }
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX);
        let taken = (now.micros() - self.next_due.micros()) / period + 1;
        let advance = period.saturating_mul(taken);
        self.next_due = Monotonic::from_micros(self.next_due.micros().saturating_add(advance));
        taken
    }
}

/// A start offset below `period` that depends only on `name`, so that machines with the same period
/// are not all asked at once, and the same machine always at the same phase.
#[must_use]
pub fn stagger(name: &str, period: Duration) -> Duration {
    let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(fnv1a(name) % period)
}

/// The hash of Fowler, Noll and Vo (1a, 64 bits): stable over builds, unlike the standard hasher.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_micros(ms * 1000)
    }

    #[test]
    fn nothing_is_due_before_its_instant() {
        let mut schedule = Schedule::new(at(70), Duration::from_millis(100));
        assert_eq!(schedule.take_due(at(69)), 0);
        assert_eq!(schedule.next_due(), at(70));
        assert_eq!(schedule.take_due(at(70)), 1);
        assert_eq!(schedule.take_due(at(70)), 0, "an instant is taken once");
    }

    #[test]
    fn late_polls_do_not_shift_the_grid() {
        let mut schedule = Schedule::new(at(0), Duration::from_millis(100));
        let mut now = 0;
        for tick in 1..=1000 {
            assert_eq!(schedule.take_due(at(now)), 1);
            assert_eq!(schedule.next_due(), at(tick * 100));
            now = tick * 100 + tick % 90;
        }
    }

    #[test]
    fn a_long_absence_is_counted_and_the_next_instant_lies_ahead() {
        let mut schedule = Schedule::new(at(0), Duration::from_millis(100));
        assert_eq!(schedule.take_due(at(1050)), 11, "0, 100, … 1000");
        assert_eq!(schedule.next_due(), at(1100));
    }

    #[test]
    fn every_instant_is_taken_exactly_once_whenever_somebody_looks() {
        let mut schedule = Schedule::new(at(30), Duration::from_millis(200));
        let total: u64 = (0..5000).map(|i| schedule.take_due(at(i * i % 97 + i * 13))).sum();
        assert!(schedule.next_due() > at(4990 * 13));
        assert_eq!(schedule.next_due(), at(30 + total * 200));
    }

    #[test]
    fn the_stagger_is_stable_below_the_period_and_spreads() {
        let period = Duration::from_millis(1000);
        let offsets: Vec<_> = (1..=45).map(|n| stagger(&format!("machine-{n}"), period)).collect();
        assert!(offsets.iter().all(|o| *o < period));
        assert_eq!(offsets[0], stagger("machine-1", period));
        let in_first_half = offsets.iter().filter(|o| **o < period / 2).count();
        assert!((12..=33).contains(&in_first_half), "{in_first_half} of 45 in the first half");
        assert_eq!(stagger("x", Duration::ZERO), Duration::ZERO);
    }
}
