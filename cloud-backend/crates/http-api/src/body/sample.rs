//! Samples over a range of time.

use history::{CurveData, Point};
use plant_model::{Sample, Value};
use segments::{Reading, Rollup};
use serde::Serialize;
use tiering::TagRecord;
use utoipa::ToSchema;

use super::{DataType, Provenance, TagValue};
use crate::instant::Instant;

/// The samples of one tag. All arrays but `qualities` run in parallel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SampleSeries {
    /// The tag.
    pub(crate) tag: String,
    /// Its engineering unit; empty when there is none.
    pub(crate) unit: String,
    /// What its values are.
    pub(crate) data_type: DataType,
    /// Whether entries stand for all samples of a stretch of time.
    pub(crate) downsampled: bool,
    /// Milliseconds since 1970, ascending. A gap in the data is a gap here.
    pub(crate) times: Vec<i64>,
    /// The values; null is a sample of bad quality. The last of each stretch when a line is downsampled, the changes and
    /// the last of each stretch when a state is.
    pub(crate) values: Vec<Option<TagValue>>,
    /// Runs of quality: from this index on, this OPC UA status. Absent when all are good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) qualities: Vec<(usize, &'static str)>,
    /// The least good value of each stretch; only of a line that is downsampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<Vec<Option<f64>>>,
    /// The greatest good value of each stretch; only of a line that is downsampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<Vec<Option<f64>>>,
}

/// The samples of some tags of a machine in `[start, end)`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Samples {
    /// From here on.
    pub(crate) start: Instant,
    /// Up to, not including, here.
    pub(crate) end: Instant,
    /// One entry a tag, in the order asked for.
    pub(crate) series: Vec<SampleSeries>,
    /// Whether there is more than was sent: go on with `next_cursor`, or ask for points.
    pub(crate) truncated: bool,
    /// Fetches the rest as `cursor`; null at the end. All tags reach equally far.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
    /// Where it came from.
    pub(crate) provenance: Provenance,
}

impl SampleSeries {
    fn empty(tag: &TagRecord) -> Self {
        Self {
            tag: tag.tag.to_string(),
            unit: tag.unit.clone(),
            data_type: tag.data_type.into(),
            downsampled: false,
            times: Vec::new(),
            values: Vec::new(),
            qualities: Vec::new(),
            min: None,
            max: None,
        }
    }

    /// Of samples as they are, or of some that were picked.
    pub(crate) fn of_samples(tag: &TagRecord, samples: &[Sample], downsampled: bool) -> Self {
        let mut series = Self { downsampled, ..Self::empty(tag) };
        for sample in samples {
            series.push(sample.timestamp().millis(), usable(sample), sample.quality.name());
        }
        series
    }

    /// Of a curve.
    pub(crate) fn of_curve(tag: &TagRecord, data: &CurveData) -> Self {
        let mut series = Self { downsampled: true, ..Self::empty(tag) };
        match data {
            CurveData::Line(stretches) => series.fill_line(stretches),
            CurveData::State(points) => points.iter().for_each(|Point { at, value }| {
                series.push_value(at.millis(), value.as_ref());
            }),
        }
        series
    }

    fn fill_line(&mut self, stretches: &[Rollup]) {
        for stretch in stretches {
            let last = stretch.last.as_ref().filter(|_| stretch.in_force);
            self.push_value(stretch.last_at.millis(), last.map(|last| &last.value));
        }
        let number = |reading: &Option<Reading>| reading.as_ref().and_then(|reading| reading.value.as_f64());
        self.min = Some(stretches.iter().map(|stretch| number(&stretch.min)).collect());
        self.max = Some(stretches.iter().map(|stretch| number(&stretch.max)).collect());
    }

    /// A value that is known from statistics: of one that is not good the class is all that is known.
    fn push_value(&mut self, millis: i64, value: Option<&Value>) {
        self.push(millis, value.map(Into::into), if value.is_some() { "Good" } else { "Bad" });
    }

    fn push(&mut self, millis: i64, value: Option<TagValue>, quality: &'static str) {
        let before = self.qualities.last().map_or("Good", |(_, quality)| quality);
        if quality != before {
            self.qualities.push((self.times.len(), quality));
        }
        self.times.push(millis);
        self.values.push(value);
    }
}

/// The value as shown: nothing when the quality says that it must not be used.
pub(super) fn usable(sample: &Sample) -> Option<TagValue> {
    if sample.quality.class() == plant_model::QualityClass::Bad {
        None
    } else {
        sample.value.as_ref().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{MachineId, Quality, TagId, Timestamp};
    use segments::{TagKind, TagNumber};

    use super::*;

    fn sample(millis: i64, value: i64, quality: Quality) -> Sample {
        Sample {
            value: Some(Value::Int(value)),
            quality,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(millis * 1_000),
        }
    }

    fn tag() -> TagRecord {
        TagRecord {
            machine: MachineId::new("m").expect("valid"),
            number: TagNumber(0),
            tag: TagId::new("t").expect("valid"),
            kind: TagKind::Analog,
            data_type: plant_model::DataType::Int,
            role: protocol::TagRole::Plain,
            unit: "C".into(),
        }
    }

    #[test]
    fn a_bad_sample_has_no_value_and_begins_a_run_of_quality() {
        let good = Quality::GOOD;
        let samples = vec![sample(1, 10, good), sample(2, 11, Quality::BAD_TIMEOUT), sample(3, 12, good)];
        let json = serde_json::to_value(SampleSeries::of_samples(&tag(), &samples, false)).expect("json");
        assert_eq!(json["times"], serde_json::json!([1, 2, 3]));
        assert_eq!(json["values"], serde_json::json!([10, null, 12]));
        assert_eq!(json["qualities"], serde_json::json!([[1, "BadTimeout"], [2, "Good"]]));
        assert_eq!(json["downsampled"], false);
        assert!(json.get("min").is_none());
    }

    #[test]
    fn stretches_carry_their_extremes_beside_the_last_value_and_a_bad_end_breaks_the_line() {
        let good = [sample(3, 9, Quality::GOOD), sample(4, 1, Quality::GOOD), sample(5, 3, Quality::GOOD)];
        let broken = [sample(6, 4, Quality::GOOD), sample(7, 4, Quality::BAD_TIMEOUT)];
        let of = |samples: &[Sample]| Rollup::of(TagKind::Analog, samples).expect("samples");
        let series = SampleSeries::of_curve(&tag(), &CurveData::Line(vec![of(&good), of(&broken)]));
        let json = serde_json::to_value(series).expect("json");
        assert_eq!(json["times"], serde_json::json!([5, 7]));
        assert_eq!(json["values"], serde_json::json!([3, null]));
        assert_eq!(
            (&json["min"], &json["max"]),
            (&serde_json::json!([1.0, 4.0]), &serde_json::json!([9.0, 4.0]))
        );
        assert_eq!(json["qualities"], serde_json::json!([[1, "Bad"]]));
    }
}
