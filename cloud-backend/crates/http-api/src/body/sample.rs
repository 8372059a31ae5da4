//! Samples over a range of time.

use fleet::{Bucket, SeriesData, TagSamples};
use plant_model::Sample;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DataType, TagValue};
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
    /// Whether each entry stands for all samples of a stretch of time.
    pub(crate) downsampled: bool,
    /// Milliseconds since 1970, ascending. A gap in the data is a gap here.
    pub(crate) times: Vec<i64>,
    /// The values; null is a sample of bad quality. The last of each stretch when downsampled.
    pub(crate) values: Vec<Option<TagValue>>,
    /// Runs of quality: from this index on, this OPC UA status. Absent when all are good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) qualities: Vec<(usize, &'static str)>,
    /// The least value of each stretch; only when downsampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<Vec<Option<f64>>>,
    /// The greatest value of each stretch; only when downsampled.
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
    /// Whether there is more than was sent: ask for a shorter range or for points.
    pub(crate) truncated: bool,
}

impl From<TagSamples> for SampleSeries {
    fn from(tag: TagSamples) -> Self {
        let mut series = Self {
            tag: tag.info.tag.to_string(),
            unit: tag.info.unit,
            data_type: tag.info.data_type.into(),
            downsampled: matches!(tag.data, SeriesData::Buckets(_)),
            times: Vec::new(),
            values: Vec::new(),
            qualities: Vec::new(),
            min: None,
            max: None,
        };
        match tag.data {
            SeriesData::Raw(samples) => series.fill(samples.iter()),
            SeriesData::Buckets(buckets) => {
                series.fill(buckets.iter().map(|bucket| &bucket.last));
                series.min = Some(buckets.iter().map(|Bucket { min, .. }| *min).collect());
                series.max = Some(buckets.iter().map(|Bucket { max, .. }| *max).collect());
            }
        }
        series
    }
}

impl SampleSeries {
    fn fill<'a>(&mut self, samples: impl Iterator<Item = &'a Sample>) {
        let mut quality = "Good";
        for (index, sample) in samples.enumerate() {
            self.times.push(sample.timestamp().millis());
            self.values.push(usable(sample));
            if sample.quality.name() != quality {
                quality = sample.quality.name();
                self.qualities.push((index, quality));
            }
        }
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
    use fleet::TagInfo;
    use plant_model::{Quality, TagId, Timestamp, Value};

    use super::*;

    fn sample(millis: i64, value: i64, quality: Quality) -> Sample {
        Sample {
            value: Some(Value::Int(value)),
            quality,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(millis * 1_000),
        }
    }

    fn series(data: SeriesData) -> serde_json::Value {
        let tag = TagId::new("t").expect("valid");
        let info = TagInfo {
            tag,
            unit: "C".into(),
            data_type: plant_model::DataType::Int,
            role: protocol::TagRole::Plain,
        };
        serde_json::to_value(SampleSeries::from(TagSamples { info, data })).expect("json")
    }

    #[test]
    fn a_bad_sample_has_no_value_and_begins_a_run_of_quality() {
        let good = Quality::GOOD;
        let samples = vec![sample(1, 10, good), sample(2, 11, Quality::BAD_TIMEOUT), sample(3, 12, good)];
        let json = series(SeriesData::Raw(samples));
        assert_eq!(json["times"], serde_json::json!([1, 2, 3]));
        assert_eq!(json["values"], serde_json::json!([10, null, 12]));
        assert_eq!(json["qualities"], serde_json::json!([[1, "BadTimeout"], [2, "Good"]]));
        assert_eq!(json["downsampled"], false);
        assert!(json.get("min").is_none());
    }

    #[test]
    fn buckets_carry_their_extremes_beside_the_last_value() {
        let bucket = Bucket { last: sample(5, 3, Quality::GOOD), min: Some(1.0), max: Some(9.5) };
        let json = series(SeriesData::Buckets(vec![bucket]));
        assert_eq!(
            (&json["values"], &json["min"], &json["max"]),
            (&serde_json::json!([3]), &serde_json::json!([1.0]), &serde_json::json!([9.5]))
        );
        assert!(json.get("qualities").is_none(), "all good");
    }
}
