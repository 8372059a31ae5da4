//! Fewer samples that draw the same picture.
//!
//! What comes out are samples that went in, in order of time: nothing is averaged, of no kind of tag. Samples that are
//! not good show where a line is broken; the first of each row of them is kept as far as there is room.

mod buckets;
mod changes;
mod lttb;

use plant_model::{Sample, Timestamp};

use crate::TagKind;

/// How a line is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The smallest and the largest of each of so many buckets of equal width: no peak is lost.
    MinMax,
    /// Largest triangle three buckets (Steinarsson 2013): the points that make the shape. A short peak may be lost.
    Lttb,
}

/// A stretch of time, `[start, end)`, to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From this instant.
    pub start: Timestamp,
    /// To this instant, without it.
    pub end: Timestamp,
}

impl Window {
    /// In which of `buckets` buckets of equal width an instant lies; `None` outside the window.
    fn bucket(self, at: Timestamp, buckets: usize) -> Option<usize> {
        if at < self.start || at >= self.end {
            return None;
        }
        let width = u128::from(self.end.micros().abs_diff(self.start.micros()));
        let offset = u128::from(at.micros().abs_diff(self.start.micros()));
        let bucket = offset * u128::try_from(buckets).ok()? / width.max(1);
        usize::try_from(bucket).ok()
    }
}

/// At most `points` of the samples that lie in the window; all of them if they are no more. They are given in order of
/// time. States are reduced to their changes whatever the method, counters to the ends of buckets.
#[must_use]
pub fn downsample(
    kind: TagKind,
    samples: &[Sample],
    window: Window,
    points: usize,
    method: Method,
) -> Vec<Sample> {
    let first = samples.partition_point(|sample| sample.timestamp() < window.start);
    let last = samples.partition_point(|sample| sample.timestamp() < window.end);
    let inside = samples.get(first..last).unwrap_or(&[]);
    if inside.len() <= points {
        return inside.to_vec();
    }
    let chosen = match (kind, method) {
        (TagKind::State, _) => changes::choose(inside, window, points),
        (TagKind::Counter, _) | (TagKind::Analog, Method::MinMax) => {
            buckets::choose(kind, inside, window, points)
        }
        (TagKind::Analog, Method::Lttb) => lttb::choose(inside, points),
    };
    chosen.into_iter().map(|index| inside[index].clone()).collect()
}

#[cfg(test)]
mod tests;
