//! Which sequences of a stream are accounted for, and up to where without a hole.
//!
//! The ranges are disjoint, never touch, and are in order. A stream in good order has exactly one,
//! beginning at 1; each hole adds one.

use std::collections::BTreeMap;

use protocol::Sequence;
use thiserror::Error;

/// Most ranges of one stream. A gateway sends a window of 8 batches in order, so that holes come from
/// restored databases and faults, a few at a time; the limit bounds what a transaction has to load.
pub const RANGES_MAX: usize = 1_000;

/// The stream has so many holes that no new range is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stream already has {RANGES_MAX} separate ranges; fill its holes first")]
pub struct TooManyRanges;

/// The sequences of one stream that are stored, in quarantine or known to be lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// First sequence to last sequence.
    ranges: BTreeMap<u64, u64>,
}

impl Coverage {
    /// Nothing is accounted for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From ranges as [`Self::ranges`] gave them. Ranges that overlap or touch are joined, empty ones
    /// and those that begin at 0 are left out.
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (Sequence, Sequence)>) -> Self {
        let mut coverage = Self::new();
        for (first, last) in ranges {
            coverage.join(first.as_u64(), last.as_u64());
        }
        coverage
    }

    /// The ranges, first and last sequence of each, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (Sequence, Sequence)> {
        self.ranges.iter().map(|(first, last)| (Sequence::from_u64(*first), Sequence::from_u64(*last)))
    }

    /// The end of the unbroken row from 1; zero when 1 itself is missing.
    #[must_use]
    pub fn committed_through(&self) -> Sequence {
        Sequence::from_u64(self.ranges.get(&1).copied().unwrap_or(0))
    }

    /// The last sequence of the first hole, as far as it lies below a sequence that came: what was sent before
    /// that one and went astray.
    #[must_use]
    pub fn missing_below(&self, came: Sequence) -> Option<Sequence> {
        let through = self.committed_through();
        let above = self.ranges().map(|(first, _)| first).find(|first| *first > through);
        let last = above.map_or(came, |first| first.min(came)).previous();
        (last > through).then_some(last)
    }

    /// The holes between what is accounted for, first and last sequence of each, in order.
    pub fn holes(&self) -> impl Iterator<Item = (Sequence, Sequence)> {
        let ends = std::iter::once(Sequence::ZERO).chain(self.ranges().map(|(_, last)| last));
        ends.zip(self.ranges().map(|(first, _)| first))
            .filter(|(end, first)| end.next() < *first)
            .map(|(end, first)| (end.next(), first.previous()))
    }

    /// Whether a sequence is accounted for.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        let before = self.ranges.range(..=sequence.as_u64()).next_back();
        before.is_some_and(|(_, last)| *last >= sequence.as_u64())
    }

    /// Accounts for `first..=last`.
    ///
    /// # Errors
    /// [`TooManyRanges`]: it touches nothing, and there is no room for one more range. Nothing changed.
    pub fn cover(&mut self, first: Sequence, last: Sequence) -> Result<(), TooManyRanges> {
        let (first, last) = (first.as_u64(), last.as_u64());
        // The row from 1 is always let in: it is what fills holes.
        if self.ranges.len() >= RANGES_MAX && first > 1 && !self.touches(first, last) {
            return Err(TooManyRanges);
        }
        self.join(first, last);
        Ok(())
    }

    fn touches(&self, first: u64, last: u64) -> bool {
        let nearest = self.ranges.range(..=last.saturating_add(1)).next_back();
        nearest.is_some_and(|(_, end)| end.saturating_add(1) >= first)
    }

    fn join(&mut self, mut first: u64, mut last: u64) {
        if first == 0 || first > last {
            return;
        }
        while let Some((&start, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seq(number: u64) -> Sequence {
        Sequence::from_u64(number)
    }

    /// The rule in its plainest form: a set of numbers.
    #[derive(Default)]
    struct Naive(BTreeSet<u64>);

    impl Naive {
        fn committed_through(&self) -> u64 {
            (1..).take_while(|n| self.0.contains(n)).last().unwrap_or(0)
        }
    }

    proptest! {
        #[test]
        fn any_order_of_batches_and_gaps_ends_where_a_plain_set_of_numbers_ends(
            steps in prop::collection::vec((1_u64..40, 0_u64..6), 1..60)
        ) {
            let (mut coverage, mut naive) = (Coverage::new(), Naive::default());
            for (first, length) in steps {
                coverage.cover(seq(first), seq(first + length)).expect("far below the limit");
                naive.0.extend(first..=first + length);
                prop_assert_eq!(coverage.committed_through().as_u64(), naive.committed_through());
                for n in 0..50 {
                    prop_assert_eq!(coverage.contains(seq(n)), naive.0.contains(&n), "{}", n);
                }
                let ranges: Vec<_> = coverage.ranges().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].1.as_u64() + 1 < w[1].0.as_u64()), "{:?}", ranges);
                prop_assert_eq!(Coverage::from_ranges(ranges), coverage.clone());
            }
        }
    }

    #[test]
    fn a_batch_above_a_hole_waits_until_the_hole_is_filled() {
        let mut coverage = Coverage::new();
        for n in [1, 2, 4] {
            coverage.cover(seq(n), seq(n)).expect("room");
        }
        assert_eq!(coverage.committed_through(), seq(2));
        coverage.cover(seq(3), seq(3)).expect("room");
        assert_eq!(coverage.committed_through(), seq(4));
    }

    #[test]
    fn what_went_astray_is_the_first_hole_as_far_as_it_lies_below_what_came() {
        let coverage = Coverage::from_ranges([(seq(1), seq(4)), (seq(8), seq(9)), (seq(12), seq(12))]);
        assert_eq!(coverage.holes().collect::<Vec<_>>(), [(seq(5), seq(7)), (seq(10), seq(11))]);
        assert_eq!(coverage.missing_below(seq(12)), Some(seq(7)));
        assert_eq!(coverage.missing_below(seq(7)), Some(seq(6)), "7 itself may be on its way");
        assert_eq!(coverage.missing_below(seq(5)), None);
        assert_eq!(coverage.missing_below(seq(2)), None, "a batch that came again");
        assert_eq!(Coverage::new().missing_below(seq(3)), Some(seq(2)));
        assert_eq!(Coverage::from_ranges([(seq(3), seq(5))]).holes().collect::<Vec<_>>(), [(seq(1), seq(2))]);
        assert_eq!(Coverage::from_ranges([(seq(1), seq(5))]).missing_below(seq(5)), None);
    }

    #[test]
    fn a_stream_full_of_holes_refuses_new_ones_and_still_lets_them_be_filled() {
        let mut coverage = Coverage::new();
        let holes = 2 * u64::try_from(RANGES_MAX).expect("small");
        for n in (2..=holes).step_by(2) {
            coverage.cover(seq(n), seq(n)).expect("up to the limit");
        }
        let before = coverage.clone();
        assert_eq!(coverage.cover(seq(holes + 10), seq(holes + 10)), Err(TooManyRanges));
        assert_eq!(coverage, before);
        for n in (1..=holes).step_by(2) {
            coverage.cover(seq(n), seq(n)).expect("fills a hole");
        }
        assert_eq!(coverage.committed_through(), seq(holes));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut coverage = Coverage::from_ranges([(seq(5), seq(u64::MAX))]);
        coverage.cover(seq(u64::MAX), seq(u64::MAX)).expect("room");
        coverage.cover(seq(1), seq(4)).expect("room");
        assert_eq!(coverage.committed_through(), seq(u64::MAX));
        assert!(!coverage.contains(Sequence::ZERO));
    }
}
