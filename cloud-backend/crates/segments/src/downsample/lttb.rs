//! Largest triangle three buckets, over the good samples of each unbroken row.
//!
//! Sveinn Steinarsson, "Downsampling Time Series for Visual Representation", 2013. Rows get points by their length;
//! between two rows the first sample that is not good is kept.

use plant_model::Sample;

use crate::TagKind;
use crate::rollup::number;

pub(super) fn choose(samples: &[Sample], points: usize) -> Vec<usize> {
    let is_good = |sample: &Sample| TagKind::Analog.good_value(sample).is_some();
    let rows: Vec<&[Sample]> = samples.chunk_by(|a, b| is_good(a) == is_good(b)).collect();
    // Every row has at least two points, its ends, and the break after it one. Where there is no room for that, the
    // breaks are too many to be drawn.
    let wanted: usize = rows.iter().map(|row| if is_good(&row[0]) { row.len().min(2) } else { 1 }).sum();
    if wanted > points {
        return every_nth(samples.len(), points);
    }
    let good: usize = rows.iter().filter(|row| is_good(&row[0])).map(|row| row.len()).sum();
    let spare = points - wanted;
    let (mut chosen, mut start) = (Vec::with_capacity(points), 0);
    for row in rows {
        if is_good(&row[0]) {
            let share = row.len().min(2) + spare * row.len() / good.max(1);
            chosen.extend(of_row(row, share).into_iter().map(|place| start + place));
        } else {
            chosen.push(start);
        }
        start += row.len();
    }
    chosen
}

fn every_nth(length: usize, points: usize) -> Vec<usize> {
    (0..points).map(|n| n * length / points).collect()
}

fn of_row(row: &[Sample], points: usize) -> Vec<usize> {
    if row.len() <= points || points < 3 {
        let ends = [0, row.len() - 1];
        return if row.len() <= points { (0..row.len()).collect() } else { ends[..points.min(2)].to_vec() };
    }
    let origin = row[0].timestamp();
    #[expect(clippy::cast_precision_loss, reason = "a place on a chart")]
    let point = |index: usize| {
        let sample = &row[index];
        let x = sample.timestamp().micros().saturating_sub(origin.micros()) as f64;
        (x, sample.value.as_ref().map_or(0.0, number))
    };
    let buckets = points - 2;
    // Bucket 0 begins after the first point, the one after the last bucket is the last point.
    let edge = |bucket: usize| 1 + bucket * (row.len() - 2) / buckets;
    let mut chosen = vec![0];
    let mut before = point(0);
    for bucket in 0..buckets {
        let next =
            if bucket + 1 == buckets { row.len() - 1..row.len() } else { edge(bucket + 1)..edge(bucket + 2) };
        let after = mean(next.map(point));
        let areas = (edge(bucket)..edge(bucket + 1)).map(|index| (index, area(before, point(index), after)));
        let Some((best, _)) = areas.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        chosen.push(best);
        before = point(best);
    }
    chosen.push(row.len() - 1);
    chosen
}

fn mean(points: impl ExactSizeIterator<Item = (f64, f64)>) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let count = points.len().max(1) as f64;
    let (x, y) = points.fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (x / count, y / count)
}

/// Twice the area of the triangle.
fn area(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> f64 {
    ((a.0 - c.0) * (b.1 - a.1) - (a.0 - b.0) * (c.1 - a.1)).abs()
}
