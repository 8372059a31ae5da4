//! From rows to samples.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence};
use segments::{Source, Sourced, TagNumber};

use crate::encode::unscaled;

/// Texts of one tag that are kept once: there are few, and each is repeated for hours.
const TEXTS_KEPT: usize = 256;

/// The columns of a batch of rows; optional ones are there only where they were asked for.
pub(crate) struct Columns {
    rows: usize,
    tag_number: Option<UInt32Array>,
    is_source_time: BooleanArray,
    gateway_time: Option<TimestampMicrosecondArray>,
    source_time: Option<TimestampMicrosecondArray>,
    quality: UInt32Array,
    epoch: UInt64Array,
    is_thinned: BooleanArray,
    decimals: Option<UInt32Array>,
    sequence: UInt64Array,
    time: TimestampMicrosecondArray,
    bools: Option<BooleanArray>,
    ints: Option<Int64Array>,
    scaled: Option<Int64Array>,
    floats: Option<Float32Array>,
    doubles: Option<Float64Array>,
    texts: Option<StringArray>,
    kept: HashMap<String, Arc<str>>,
}

/// The value of a row, where there is one.
macro_rules! at {
    ($column:expr, $row:expr) => {
        $column.as_ref().filter(|column| column.is_valid($row)).map(|column| column.value($row))
    };
}

impl Columns {
    /// `None` if a column is missing, has another type, or has nulls where there are none.
    pub(crate) fn of(batch: &RecordBatch) -> Option<Self> {
        let find = |name: &str| batch.column_by_name(name);
        let bools = |name| find(name).and_then(|array| array.as_boolean_opt()).cloned();
        let times = |name| find(name)?.as_primitive_opt::<TimestampMicrosecondType>().cloned();
        let words = |name| find(name)?.as_primitive_opt::<UInt32Type>().cloned();
        let longs = |name| find(name)?.as_primitive_opt::<UInt64Type>().cloned();
        let ints = |name| find(name)?.as_primitive_opt::<Int64Type>().cloned();
        let full = |name: &&str| find(name).is_some_and(|array| array.null_count() == 0);
        if !crate::layout::ALWAYS.iter().all(full) {
            return None;
        }
        Some(Self {
            rows: batch.num_rows(),
            tag_number: words("tag_number"),
            is_source_time: bools("is_source_time")?,
            gateway_time: times("gateway_time"),
            source_time: times("source_time"),
            quality: words("quality")?,
            epoch: longs("epoch")?,
            is_thinned: bools("is_thinned")?,
            decimals: words("decimals"),
            sequence: longs("sequence")?,
            time: times("time")?,
            bools: bools("value_bool"),
            ints: ints("value_int"),
            scaled: ints("value_scaled"),
            floats: find("value_float").and_then(|a| a.as_primitive_opt::<Float32Type>()).cloned(),
            doubles: find("value_double").and_then(|a| a.as_primitive_opt::<Float64Type>()).cloned(),
            texts: find("value_text").and_then(|array| array.as_string_opt()).cloned(),
            kept: HashMap::new(),
        })
    }

    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row says that it is of a tag; yes where rows were not asked.
    pub(crate) fn is_of(&self, row: usize, tag: TagNumber) -> bool {
        self.tag_number.as_ref().is_none_or(|numbers| numbers.is_valid(row) && numbers.value(row) == tag.0)
    }

    /// The sample of a row.
    pub(crate) fn sample(&mut self, row: usize) -> Sourced {
        let time = Timestamp::from_micros(self.time.value(row));
        let stamp = |column: &Option<TimestampMicrosecondArray>| at!(column, row).map(Timestamp::from_micros);
        let is_source = self.is_source_time.value(row);
        let gateway_timestamp = stamp(&self.gateway_time).filter(|_| is_source).unwrap_or(time);
        let source_timestamp = if is_source { Some(time) } else { stamp(&self.source_time) };
        let thinned = self.is_thinned.value(row);
        Sourced {
            sample: Sample {
                value: self.value(row),
                quality: Quality::from_status_code(self.quality.value(row)),
                source_timestamp,
                gateway_timestamp,
            },
            source: Source {
                epoch: Epoch::from_u64(self.epoch.value(row)),
                sequence: Sequence::from_u64(self.sequence.value(row)),
            },
            detail: if thinned { Detail::Thinned } else { Detail::Full },
        }
    }

    fn value(&mut self, row: usize) -> Option<Value> {
        if let Some(integer) = at!(self.scaled, row) {
            return Some(Value::Float(unscaled(integer, at!(self.decimals, row).unwrap_or(0))));
        }
        at!(self.doubles, row)
            .or_else(|| at!(self.floats, row).map(f64::from))
            .map(Value::Float)
            .or_else(|| at!(self.ints, row).map(Value::Int))
            .or_else(|| at!(self.bools, row).map(Value::Bool))
            .or_else(|| self.text(row).map(Value::Text))
    }

    fn text(&mut self, row: usize) -> Option<Arc<str>> {
        let text = at!(self.texts, row)?;
        if let Some(kept) = self.kept.get(text) {
            return Some(Arc::clone(kept));
        }
        let shared: Arc<str> = text.into();
        if self.kept.len() < TEXTS_KEPT {
            self.kept.insert(text.to_owned(), Arc::clone(&shared));
        }
        Some(shared)
    }
}
