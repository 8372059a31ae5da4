//! From samples to rows.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
    UInt32Builder, UInt64Builder,
};
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, SchemaRef};
use plant_model::{Sample, Timestamp, Value};
use protocol::Detail;
use segments::Sourced;
use tiering::TagRecord;

use crate::layout::OPTIONAL;

/// Most decimals that are looked for: beyond, a float is as short.
const DECIMALS_MAX: u32 = 9;

/// Integers up to here are exact as floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Floats that are looked at to find out how a tag is best written. Each value is checked anyway when it is written.
const PROBES: usize = 512;

/// How the floats of a tag are written, where they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `integer / 10^decimals`.
    Scaled(u32),
    /// In 32 bits.
    Float,
    Double,
}

impl Form {
    /// The shortest that fits those that are looked at.
    fn of(samples: &[Sourced]) -> Self {
        let floats = samples.iter().filter_map(|one| match one.sample.value {
            Some(Value::Float(float)) => Some(float),
            Some(Value::Bool(_) | Value::Int(_) | Value::Text(_)) | None => None,
        });
        let step = (samples.len() / PROBES).max(1);
        let probes: Vec<f64> = floats.step_by(step).collect();
        let fits = |form: &Self| probes.iter().all(|float| form.fits(*float));
        let scaled = (0..=DECIMALS_MAX).map(Self::Scaled);
        scaled.chain([Self::Float]).find(fits).unwrap_or(Self::Double)
    }

    fn fits(self, float: f64) -> bool {
        match self {
            Self::Scaled(decimals) => scaled(float, decimals).is_some(),
            Self::Float => short(float).is_some(),
            Self::Double => true,
        }
    }
}

/// The integer that gives the float back, to the last bit.
#[expect(clippy::cast_possible_truncation, reason = "both ways are compared")]
fn scaled(float: f64, decimals: u32) -> Option<i64> {
    let integer = (float * power_of_ten(decimals)).round();
    let is_small = integer.abs() < EXACT_MAX;
    let integer = is_small.then_some(integer as i64)?;
    (unscaled(integer, decimals).to_bits() == float.to_bits()).then_some(integer)
}

/// The inverse of [`scaled`].
#[expect(clippy::cast_precision_loss, reason = "what was written is below 2^53")]
pub(crate) fn unscaled(integer: i64, decimals: u32) -> f64 {
    integer as f64 / power_of_ten(decimals)
}

fn power_of_ten(decimals: u32) -> f64 {
    10_f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX))
}

/// The float in 32 bits, if that loses nothing. A NaN stays long: what a shorter one means is not agreed upon.
#[expect(clippy::cast_possible_truncation, reason = "both ways are compared")]
fn short(float: f64) -> Option<f32> {
    let short = float as f32;
    (!float.is_nan() && f64::from(short).to_bits() == float.to_bits()).then_some(short)
}

/// Rows of one tag.
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    /// Which of [`OPTIONAL`] are used.
    pub(crate) uses: u32,
}

#[derive(Default)]
struct Columns {
    is_source_time: BooleanBuilder,
    gateway_time: TimestampMicrosecondBuilder,
    source_time: TimestampMicrosecondBuilder,
    quality: UInt32Builder,
    epoch: UInt64Builder,
    is_thinned: BooleanBuilder,
    decimals: UInt32Builder,
    sequence: UInt64Builder,
    time: TimestampMicrosecondBuilder,
    bools: BooleanBuilder,
    ints: Int64Builder,
    scaled: Int64Builder,
    floats: Float32Builder,
    doubles: Float64Builder,
    texts: StringBuilder,
}

/// Writes samples of a tag as rows.
pub(crate) fn rows(schema: &SchemaRef, tag: &TagRecord, samples: &[Sourced]) -> Result<Rows, ArrowError> {
    let form = Form::of(samples);
    let mut columns = Columns::default();
    for one in samples {
        columns.push(one, form);
    }
    let same = |text: &str| -> Result<ArrayRef, ArrowError> {
        let keys = Int32Array::from_value(0, samples.len());
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(vec![text])))?))
    };
    let mut arrays = vec![
        same(tag.machine.as_str())?,
        same(tag.tag.as_str())?,
        Arc::new(UInt32Array::from_value(tag.number.0, samples.len())),
    ];
    arrays.extend(columns.finish());
    let is_used = |name: &&str| {
        let index = schema.index_of(name).ok();
        index.is_some_and(|index| arrays[index].null_count() < samples.len())
    };
    let uses =
        OPTIONAL.iter().enumerate().filter(|(_, name)| is_used(name)).fold(0, |bits, (at, _)| bits | 1 << at);
    Ok(Rows { batch: RecordBatch::try_new(Arc::clone(schema), arrays)?, uses })
}

impl Columns {
    fn push(&mut self, one: &Sourced, form: Form) {
        let (time, is_source) = place(&one.sample);
        let gateway = one.sample.gateway_timestamp;
        self.time.append_value(time.micros());
        self.is_source_time.append_value(is_source);
        self.gateway_time.append_option((is_source && gateway != time).then_some(gateway.micros()));
        let implausible = one.sample.source_timestamp.filter(|_| !is_source);
        self.source_time.append_option(implausible.map(Timestamp::micros));
        self.quality.append_value(one.sample.quality.status_code());
        self.epoch.append_value(one.source.epoch.as_u64());
        self.sequence.append_value(one.source.sequence.as_u64());
        self.is_thinned.append_value(one.detail == Detail::Thinned);
        self.push_value(one.sample.value.as_ref(), form);
    }

    fn push_value(&mut self, value: Option<&Value>, form: Form) {
        let (mut bool, mut int, mut text) = (None, None, None);
        let (mut number, mut float, mut double) = (None, None, None);
        match value {
            None => {}
            Some(Value::Bool(value)) => bool = Some(*value),
            Some(Value::Int(value)) => int = Some(*value),
            Some(Value::Text(value)) => text = Some(value),
            Some(Value::Float(value)) => {
                match form {
                    Form::Scaled(decimals) => number = scaled(*value, decimals).map(|n| (n, decimals)),
                    Form::Float => float = short(*value),
                    Form::Double => {}
                }
                double = (number.is_none() && float.is_none()).then_some(*value);
            }
        }
        self.bools.append_option(bool);
        self.ints.append_option(int);
        self.scaled.append_option(number.map(|(integer, _)| integer));
        self.decimals.append_option(number.map(|(_, decimals)| decimals));
        self.floats.append_option(float);
        self.doubles.append_option(double);
        self.texts.append_option(text);
    }

    /// In the order of the schema.
    fn finish(mut self) -> [ArrayRef; 15] {
        let utc = |mut times: TimestampMicrosecondBuilder| Arc::new(times.finish().with_timezone("UTC"));
        [
            Arc::new(self.is_source_time.finish()),
            utc(self.gateway_time),
            utc(self.source_time),
            Arc::new(self.quality.finish()),
            Arc::new(self.epoch.finish()),
            Arc::new(self.is_thinned.finish()),
            Arc::new(self.decimals.finish()),
            Arc::new(self.sequence.finish()),
            utc(self.time),
            Arc::new(self.bools.finish()),
            Arc::new(self.ints.finish()),
            Arc::new(self.scaled.finish()),
            Arc::new(self.floats.finish()),
            Arc::new(self.doubles.finish()),
            Arc::new(self.texts.finish()),
        ]
    }
}

/// Where a sample is placed, and whether its source says so.
fn place(sample: &Sample) -> (Timestamp, bool) {
    let time = sample.timestamp();
    let skew = |source: Timestamp| source.micros().abs_diff(sample.gateway_timestamp.micros());
    let is_source =
        sample.source_timestamp.is_some_and(|source| skew(source) <= Sample::SOURCE_SKEW_MICROS_MAX);
    (time, is_source)
}
