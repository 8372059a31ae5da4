//! Thinning (SPEC section 7): which samples of a minute are kept when the rest must go.
//!
//! Kept are samples as they were measured, so that thinned data needs no other format and no other reader:
//! of each series and minute those with the smallest and the largest good value, the last, and the last
//! that is not good. A value that did not change is kept once.

use std::collections::BTreeMap;

use plant_model::Sample;
use protocol::{SeriesId, SeriesSamples};

const MINUTE_MICROS: i64 = 60_000_000;

/// Thins the samples of some batches, given in their order.
pub(crate) fn thin(blocks: impl IntoIterator<Item = SeriesSamples>) -> Vec<SeriesSamples> {
    let mut by_series: BTreeMap<SeriesId, Vec<Sample>> = BTreeMap::new();
    for block in blocks {
        by_series.entry(block.series).or_default().extend(block.samples);
    }
    by_series
        .into_iter()
        .map(|(series, samples)| SeriesSamples { series, samples: thin_series(&samples) })
        .collect()
}

fn thin_series(samples: &[Sample]) -> Vec<Sample> {
    let minute = |s: &Sample| s.timestamp().micros().div_euclid(MINUTE_MICROS);
    samples
        .chunk_by(|a, b| minute(a) == minute(b))
        .flat_map(|run| selected(run).into_iter().map(|at| run[at].clone()))
        .collect()
}

/// Positions of the samples to keep, in their order.
fn selected(run: &[Sample]) -> Vec<usize> {
    let is_good = |at: &usize| run[*at].quality.is_good();
    let last_good = (0..run.len()).rev().find(is_good);
    let last_other = (0..run.len()).rev().find(|at| !is_good(at));
    let mut keep: Vec<usize> = last_good.into_iter().chain(last_other).collect();
    if let Some((low, high)) = extremes(run)
        && number(&run[low]) != number(&run[high])
    {
        keep.extend([low, high]);
    }
    keep.sort_unstable();
    keep.dedup();
    keep
}

/// Where the smallest and the largest good number are, if there is any.
fn extremes(run: &[Sample]) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    for (at, sample) in run.iter().enumerate().filter(|(_, s)| s.quality.is_good()) {
        let Some(value) = number(sample) else { continue };
        let (low, high) = found.unwrap_or((at, at));
        let lower = number(&run[low]).is_some_and(|least| value < least);
        let higher = number(&run[high]).is_some_and(|most| value > most);
        found = Some((if lower { at } else { low }, if higher { at } else { high }));
    }
    found
}

fn number(sample: &Sample) -> Option<f64> {
    sample.value.as_ref().and_then(plant_model::Value::as_f64).filter(|value| !value.is_nan())
}

#[cfg(test)]
mod tests {
    use plant_model::{Quality, Timestamp, Value};

    use super::*;

    fn at(second: i64, value: Value, quality: Quality) -> Sample {
        let gateway_timestamp = Timestamp::from_micros(second * 1_000_000);
        Sample { value: Some(value), quality, source_timestamp: None, gateway_timestamp }
    }

    fn floats(values: &[f64]) -> Vec<Sample> {
        (0..).zip(values).map(|(n, v)| at(n, Value::Float(*v), Quality::GOOD)).collect()
    }

    fn kept(samples: Vec<Sample>) -> Vec<i64> {
        let out = thin([SeriesSamples { series: SeriesId(1), samples }]);
        out[0].samples.iter().map(|s| s.gateway_timestamp.micros() / 1_000_000).collect()
    }

    #[test]
    fn a_minute_keeps_its_smallest_its_largest_and_its_last_value() {
        assert_eq!(kept(floats(&[5.0, 9.0, 7.0, 1.0, 6.0, 6.5])), [1, 3, 5]);
    }

    #[test]
    fn a_value_that_stands_still_is_kept_once_a_minute() {
        assert_eq!(kept(floats(&[4.0; 130])), [59, 119, 129]);
    }

    #[test]
    fn a_failure_within_the_minute_stays_visible_and_is_no_extreme() {
        let mut samples = floats(&[1.0, 2.0, 3.0, 3.0]);
        samples[1] = at(1, Value::Float(-99.0), Quality::BAD_SENSOR_FAILURE);
        assert_eq!(kept(samples), [0, 1, 2, 3]);
    }

    #[test]
    fn texts_and_missing_numbers_keep_the_last() {
        let text = |n| at(n, Value::Text("a".into()), Quality::GOOD);
        assert_eq!(kept(vec![text(0), text(1), text(2)]), [2]);
        assert_eq!(kept(floats(&[f64::NAN, 1.0, f64::NAN])), [2], "a NaN is no extreme");
    }

    #[test]
    fn samples_of_several_batches_are_thinned_together() {
        let block = |second| SeriesSamples {
            series: SeriesId(7),
            samples: vec![at(second, Value::Int(3), Quality::GOOD)],
        };
        let out = thin([block(0), block(10), block(61)]);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].samples.len(), 2);
    }
}
