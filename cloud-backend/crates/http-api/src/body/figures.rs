//! Figures of tags between boundaries.

use history::{Function, Stretch};
use segments::{Course, Reading, TagKind};
use serde::Serialize;
use tiering::TagRecord;
use utoipa::ToSchema;

use super::{DataType, Provenance, TagValue};
use crate::instant::Instant;

/// A value and when it was.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValueAt {
    /// The value.
    pub(crate) value: TagValue,
    /// When.
    pub(crate) at: Instant,
}

/// How long a state was in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StateTime {
    /// The state; null is the sum of those beyond the first 64.
    #[schema(required)]
    pub(crate) state: Option<TagValue>,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// What a tag did in one stretch. Figures that were not asked for are absent; null is: not known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Figure {
    /// From here on.
    pub(crate) start: Instant,
    /// Up to, not including, here.
    pub(crate) end: Instant,
    /// Samples.
    pub(crate) count: u64,
    /// Of these: good.
    pub(crate) good_count: u64,
    /// The figures, by the names of the functions.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(crate) figures: serde_json::Map<String, serde_json::Value>,
}

/// The figures of one tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FigureSeries {
    /// The tag.
    pub(crate) tag: String,
    /// Its engineering unit; empty when there is none.
    pub(crate) unit: String,
    /// What its values are.
    pub(crate) data_type: DataType,
    /// How they are summed up: `analog`, `counter` or `state`.
    #[schema(value_type = String)]
    pub(crate) kind: &'static str,
    /// One entry a stretch, in order of time.
    pub(crate) stretches: Vec<Figure>,
}

/// The figures of some tags of a machine in `[start, end)`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// From here on.
    pub(crate) start: Instant,
    /// Up to, not including, here.
    pub(crate) end: Instant,
    /// One entry a tag, in the order asked for.
    pub(crate) series: Vec<FigureSeries>,
    /// Samples that are known to be lost.
    pub(crate) lost: Vec<super::Lost>,
    /// Where it came from.
    pub(crate) provenance: Provenance,
}

impl FigureSeries {
    /// With the figures that were asked for.
    pub(crate) fn new(tag: TagRecord, stretches: Vec<Stretch>, functions: &[Function]) -> Self {
        let figure = |stretch: &Stretch| Figure {
            start: stretch.start.into(),
            end: stretch.end.into(),
            count: stretch.rollup.as_ref().map_or(0, |rollup| rollup.count),
            good_count: stretch.rollup.as_ref().map_or(0, |rollup| rollup.good_count),
            figures: functions.iter().filter_map(|f| figure(*f, stretch)).collect(),
        };
        Self {
            tag: tag.tag.to_string(),
            unit: tag.unit,
            data_type: tag.data_type.into(),
            kind: kind_name(tag.kind),
            stretches: stretches.iter().map(figure).collect(),
        }
    }
}

const fn kind_name(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Analog => "analog",
        TagKind::Counter => "counter",
        TagKind::State => "state",
    }
}

fn figure(function: Function, stretch: &Stretch) -> Option<(String, serde_json::Value)> {
    let reading = |of: fn(&segments::Rollup) -> &Option<Reading>| {
        let reading = stretch.rollup.as_ref().and_then(|rollup| of(rollup).as_ref());
        json(reading.map(|reading| ValueAt { value: (&reading.value).into(), at: reading.at.into() }))
    };
    let course = stretch.course.as_ref();
    let value = match function {
        Function::Count => return None,
        Function::Min => reading(|rollup| &rollup.min),
        Function::Max => reading(|rollup| &rollup.max),
        Function::First => reading(|rollup| &rollup.first),
        Function::Last => reading(|rollup| &rollup.last),
        Function::Mean => json(course.and_then(Course::time_weighted_mean)),
        Function::Sum => json(match course {
            Some(Course::Analog { sum, .. }) => Some(*sum),
            Some(Course::Counter { .. } | Course::State(_)) | None => None,
        }),
        Function::Increase => match course {
            Some(Course::Counter { increase, resets }) => {
                serde_json::json!({ "increase": increase, "resets": resets })
            }
            Some(Course::Analog { .. } | Course::State(_)) | None => serde_json::Value::Null,
        },
        Function::TimeInState => json(times(course)),
    };
    Some((function.name().to_owned(), value))
}

fn times(course: Option<&Course>) -> Vec<StateTime> {
    let Some(Course::State(times)) = course else { return Vec::new() };
    #[expect(clippy::cast_precision_loss, reason = "below 285 years it is exact")]
    let seconds = |micros: u64| micros as f64 / 1e6;
    let others = Some(times.other_us()).filter(|micros| *micros > 0);
    let known =
        times.iter().map(|(state, micros)| StateTime { state: Some(state.into()), seconds: seconds(micros) });
    known.chain(others.map(|micros| StateTime { state: None, seconds: seconds(micros) })).collect()
}

fn json<T: Serialize>(value: T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
