//! What a request costs, learned from its answers: whether reading a gap is cheaper than another request.
//!
//! The time of a request is taken as a fixed part and a part for each register; both come from a line laid through the
//! times measured (least squares), in which what is long past counts less and less. As long as all requests are of one
//! size the line has no slope to see, and nothing is said.

use std::time::Duration;

use crate::PollBlock;

/// The round trips of one unit.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    /// What comes on top of each request: pauses and silences.
    pause_us: f64,
    /// How many were measured.
    count: u32,
    /// Sums over the measurements, the newest weighing most: of ones, of sizes and times, and of their products.
    weight: f64,
    size: f64,
    time: f64,
    size_size: f64,
    size_time: f64,
}

impl RoundTrips {
    /// A measurement counts half after about 90 more.
    const KEPT: f64 = 1.0 - 1.0 / 128.0;
    /// So many are needed before anything is said.
    const COUNT_MIN: u32 = 32;
    /// A spread of sizes below this, in registers squared, shows no slope.
    const SPREAD_MIN: f64 = 0.5;
    /// A register costs at least this: half of what its bytes take at 100 Mbit/s, and a bound for the result.
    const REGISTER_US_MIN: f64 = 0.1;
    /// What takes longer than this many times the mean is an accident, not the way of the machine.
    const ACCIDENT: f64 = 4.0;

    pub(crate) const fn new(pause_us: f64) -> Self {
        Self { pause_us, count: 0, weight: 0.0, size: 0.0, time: 0.0, size_size: 0.0, size_time: 0.0 }
    }

    /// A request was answered after `took`.
    pub(crate) fn note(&mut self, block: &PollBlock, took: Duration) {
        let registers = if block.table.is_bits() { block.quantity.div_ceil(16) } else { block.quantity };
        let (size, mut time) = (f64::from(registers), took.as_secs_f64() * 1e6);
        if self.count >= Self::COUNT_MIN {
            time = time.min(Self::ACCIDENT * self.time / self.weight);
        }
        self.count = self.count.saturating_add(1);
        let sums =
            [&mut self.weight, &mut self.size, &mut self.time, &mut self.size_size, &mut self.size_time];
        for (sum, new) in sums.into_iter().zip([1.0, size, time, size * size, size * time]) {
            *sum = *sum * Self::KEPT + new;
        }
    }

    /// How many registers can be read in the time of one more request; `None` as long as that cannot be told.
    pub(crate) fn gap(&self) -> Option<u16> {
        let spread = self.size_size / self.weight - (self.size / self.weight).powi(2);
        if self.count < Self::COUNT_MIN || spread < Self::SPREAD_MIN {
            return None;
        }
        let (size, time) = (self.size / self.weight, self.time / self.weight);
        let slope = (self.size_time / self.weight - size * time) / spread;
        let register = slope.max(Self::REGISTER_US_MIN);
        let request = (time - register * size).max(0.0) + self.pause_us;
        let gap = (request / register).min(f64::from(PollBlock::GAP_MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and GAP_MAX")]
        Some(gap as u16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RegisterTable;

    fn block(table: RegisterTable, quantity: u16) -> PollBlock {
        PollBlock { table, start: 0, quantity, tags: Vec::new(), poll_interval: Duration::from_secs(1) }
    }

    fn note(trips: &mut RoundTrips, quantity: u16, took_us: u64) {
        trips.note(&block(RegisterTable::HoldingRegister, quantity), Duration::from_micros(took_us));
    }

    #[test]
    fn nothing_is_said_before_enough_was_measured_or_where_all_requests_are_of_one_size() {
        let mut few = RoundTrips::new(0.0);
        (0..31).for_each(|n| note(&mut few, 1 + n % 10, 20_000));
        assert_eq!(few.gap(), None);
        note(&mut few, 5, 20_000);
        assert!(few.gap().is_some());
        let mut same = RoundTrips::new(0.0);
        (0..100).for_each(|_| note(&mut same, 10, 20_000));
        assert_eq!(same.gap(), None);
    }

    #[test]
    fn one_accident_does_not_change_the_picture() {
        let mut trips = RoundTrips::new(0.0);
        (0..200)
            .for_each(|n| note(&mut trips, 1 + 40 * (n % 2), 10_500 + 1_000 * u64::from(1 + 40 * (n % 2))));
        assert_eq!(trips.gap(), Some(10));
        note(&mut trips, 41, 3_000_000);
        assert!((8..=11).contains(&trips.gap().expect("measured")), "{:?}", trips.gap());
    }

    #[test]
    fn what_changes_is_learned_anew() {
        let mut trips = RoundTrips::new(0.0);
        let cost = |size: u64, each: u64| 10_000 + each * size;
        (0..500).for_each(|n| note(&mut trips, 1 + 40 * (n % 2), cost(u64::from(1 + 40 * (n % 2)), 1_000)));
        (0..1_000).for_each(|n| note(&mut trips, 1 + 40 * (n % 2), cost(u64::from(1 + 40 * (n % 2)), 100)));
        assert!((98..=101).contains(&trips.gap().expect("measured")), "{:?}", trips.gap());
    }

    #[test]
    fn sixteen_bits_travel_like_a_register_and_what_costs_nothing_may_be_bridged_as_far_as_requests_reach() {
        let mut bits = RoundTrips::new(0.0);
        for n in 0..100 {
            let quantity = if n % 2 == 0 { 16 } else { 160 };
            bits.note(
                &block(RegisterTable::Coil, quantity),
                Duration::from_micros(1_500 + u64::from(quantity) / 16 * 1_000),
            );
        }
        assert_eq!(bits.gap(), Some(1));
        let mut fast = RoundTrips::new(0.0);
        (0..100).for_each(|n| note(&mut fast, 1 + n, 500));
        assert_eq!(fast.gap(), Some(PollBlock::GAP_MAX));
    }

    proptest! {
        #[test]
        fn the_gap_is_what_one_more_request_costs_in_registers(
            fixed_us in 500_u64..100_000,
            register_us in 50_u64..3_000,
            pause_ms in 0_u32..50,
            noise in prop::collection::vec(-40_i64..40, 256),
        ) {
            let mut trips = RoundTrips::new(f64::from(pause_ms) * 1e3);
            for (n, noise) in (0_u16..).zip(noise) {
                let size = 1 + (n * 37) % 100;
                note(&mut trips, size, (fixed_us + register_us * u64::from(size)).saturating_add_signed(noise));
            }
            let gap = f64::from(trips.gap().expect("measured"));
            let expected = (fixed_us as f64 + f64::from(pause_ms) * 1e3) / register_us as f64;
            let expected = expected.min(f64::from(PollBlock::GAP_MAX));
            prop_assert!((gap - expected).abs() <= 2.0 + expected * 0.05, "{gap} is not {expected}");
        }
    }
}
