//! A histogram of microseconds with buckets that grow with the value: fixed memory, no locks.
//!
//! Values below 8 have a bucket each; above, every power of two is cut into 8, so that a bucket's upper end
//! is at most 12.5 % above any value in it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of a power of two, as a power of two.
const CUTS: u32 = 3;
const CUT: usize = 1 << CUTS;
/// The largest power of two told apart: 2^37 µs are a day and a half.
const POWER_MAX: u32 = 37;
const BUCKETS: usize = (POWER_MAX - CUTS + 2) as usize * CUT;

#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(super) fn record(&self, value: u64) {
        self.buckets[bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The value that a share of all values does not exceed; the end of its bucket, never above the
    /// largest value.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among less than 2^53 values, with a share between 0 and 1"
    )]
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= rank.max(1) {
                return upper(index).min(self.max());
            }
        }
        self.max()
    }
}

fn bucket(value: u64) -> usize {
    let small = usize::try_from(value).unwrap_or(usize::MAX);
    if small < CUT {
        return small;
    }
    let power = value.ilog2();
    if power > POWER_MAX {
        return BUCKETS - 1;
    }
    let cut = usize::try_from(value >> (power - CUTS)).unwrap_or(CUT) - CUT;
    (power - CUTS + 1) as usize * CUT + cut
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    if index < CUT {
        return index as u64;
    }
    let (shift, cut) = (index / CUT - 1, index % CUT);
    (((CUT + cut + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_end_is_close_above_it() {
        let values = (0..64).chain((0..38).flat_map(|p| [1_u64 << p, (1 << p) + (1 << p) / 3, (2 << p) - 1]));
        for value in values {
            let end = upper(bucket(value));
            assert!(end >= value && end - value <= value / 8, "{value} ends at {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for index in 1..BUCKETS {
            assert_eq!(bucket(upper(index - 1) + 1), index);
        }
    }

    #[test]
    fn quantiles_and_the_largest_value_are_told() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.quantile(0.99), histogram.max()), (0, 0, 0));
        (1..=1_000).for_each(|n| histogram.record(n * 1_000));
        let (p50, p99) = (histogram.quantile(0.5), histogram.quantile(0.99));
        assert!((500_000..=562_500).contains(&p50) && (990_000..=1_000_000).contains(&p99), "{p50} {p99}");
        assert_eq!(histogram.max(), 1_000_000);
    }
}
