//! The extremes of each bucket. A bucket that has no good sample is shown by its first sample; one whose last sample is
//! not good by that one too, where there is room, so that a line is broken where the data were.

use plant_model::Sample;

use super::Window;
use crate::TagKind;
use crate::rollup::number;

/// Of a counter the extremes are its ends, and what came before a reset.
pub(super) fn choose(kind: TagKind, samples: &[Sample], window: Window, points: usize) -> Vec<usize> {
    // Two points for the extremes and one for a break.
    const POINTS_A_BUCKET: usize = 3;
    if points < POINTS_A_BUCKET {
        return (0..points).collect();
    }
    let buckets = points / POINTS_A_BUCKET;
    let mut chosen = Vec::with_capacity(points);
    let mut start = 0;
    let place = |sample: &Sample| window.bucket(sample.timestamp(), buckets);
    for bucket in samples.chunk_by(|a, b| place(a) == place(b)) {
        push_bucket(kind, bucket, start, &mut chosen);
        start += bucket.len();
    }
    chosen
}

fn push_bucket(kind: TagKind, bucket: &[Sample], start: usize, chosen: &mut Vec<usize>) {
    let good = || bucket.iter().enumerate().filter_map(|(i, s)| kind.good_value(s).map(|v| (i, number(v))));
    let smallest = good().min_by(|a, b| a.1.total_cmp(&b.1));
    // Of equal ones the last, so that a line that stands is drawn from its beginning to its end.
    let largest = good().max_by(|a, b| a.1.total_cmp(&b.1));
    let broken = bucket.iter().position(|sample| kind.good_value(sample).is_none());
    let mut places: Vec<usize> =
        [smallest, largest].into_iter().flatten().map(|(i, _)| i).chain(broken).collect();
    places.sort_unstable();
    places.dedup();
    chosen.extend(places.into_iter().map(|place| start + place));
}
