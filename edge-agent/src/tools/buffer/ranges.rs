//! Numbers as ranges: a stream can miss a hundred thousand at once.

/// `first..=last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    pub(super) fn overlap(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }
}

/// Some numbers.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// Takes the next number of a row that ascends.
    pub(super) fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(number) => range.last = number,
            _ => self.0.push(Range { first: number, last: number }),
        }
    }

    pub(super) fn add(&mut self, range: Range) {
        self.0.push(range);
    }

    /// The smallest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.iter().map(|range| range.first).min()
    }

    /// What is missing within a range.
    pub(super) fn holes(&self, within: Range) -> Vec<Range> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by_key(|range| range.first);
        let (mut holes, mut from) = (Vec::new(), within.first);
        for range in sorted {
            if range.first > from && from <= within.last {
                holes.push(Range { first: from, last: (range.first - 1).min(within.last) });
            }
            from = from.max(range.last.saturating_add(1));
        }
        if from <= within.last {
            holes.push(Range { first: from, last: within.last });
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(first: u64, last: u64) -> Range {
        Range { first, last }
    }

    #[test]
    fn numbers_in_a_row_are_one_range_and_the_rest_are_holes() {
        let mut held = Ranges::default();
        [3, 4, 5, 9, 10].into_iter().for_each(|n| held.push(n));
        assert_eq!(held.first(), Some(3));
        assert_eq!(held.holes(range(1, 12)), [range(1, 2), range(6, 8), range(11, 12)]);
        assert_eq!(held.holes(range(4, 7)), [range(6, 7)]);
        assert_eq!(held.holes(range(20, 21)), [range(20, 21)]);
        assert_eq!(held.holes(range(3, 5)), []);
    }

    #[test]
    fn ranges_in_any_order_that_overlap_leave_what_none_covers() {
        let mut explained = Ranges::default();
        [range(8, 12), range(1, 3), range(2, 5)].into_iter().for_each(|r| explained.add(r));
        assert_eq!(explained.holes(range(1, 14)), [range(6, 7), range(13, 14)]);
        assert_eq!(range(1, 5).overlap(range(4, 9)), Some(range(4, 5)));
        assert_eq!(range(1, 5).overlap(range(6, 9)), None);
    }
}
