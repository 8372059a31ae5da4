//! The changes of a state. Where there are more than points, of each bucket the state it began to be in first and the
//! one it was left in.

use plant_model::Sample;

use super::Window;
use crate::TagKind;

pub(super) fn choose(samples: &[Sample], window: Window, points: usize) -> Vec<usize> {
    let changes: Vec<usize> =
        (0..samples.len()).filter(|i| *i == 0 || is_change(&samples[i - 1], &samples[*i])).collect();
    if changes.len() <= points {
        return changes;
    }
    let buckets = points / 2;
    if buckets == 0 {
        return changes.into_iter().take(points).collect();
    }
    let place = |index: &usize| window.bucket(samples[*index].timestamp(), buckets);
    let of_bucket = |bucket: &[usize]| match bucket {
        [] => Vec::new(),
        [only] => vec![*only],
        [first, .., last] => vec![*first, *last],
    };
    changes.chunk_by(|a, b| place(a) == place(b)).flat_map(of_bucket).collect()
}

fn is_change(before: &Sample, after: &Sample) -> bool {
    match (TagKind::State.good_value(before), TagKind::State.good_value(after)) {
        (Some(a), Some(b)) => !a.is_identical(b),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}
