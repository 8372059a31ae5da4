//! Samples to columns.

use std::collections::HashMap;

use plant_model::{Quality, Sample, Timestamp, Value};

use super::{
    AXIS_SOURCE, DECIMAL_EXPONENT_MAX, POWERS_OF_TEN, SeriesSamples, Variant, decimal, flag, kind, planes,
    variant,
};
use crate::wire::Columns;

/// Encodes samples. Order within a series is kept; empty series vanish.
pub(crate) fn encode(block: &[SeriesSamples]) -> Columns {
    let mut encoder = Encoder::new(block);
    block.iter().for_each(|entry| encoder.series(entry));
    encoder.finish()
}

/// Encodes samples with the values of each series apart: the frame, and the pools of each series in order. Empty
/// series vanish.
pub(super) fn encode_apart(block: &[SeriesSamples]) -> (Columns, Vec<Columns>) {
    let mut encoder = Encoder::new(block);
    let mut values = Vec::with_capacity(block.len());
    for entry in block.iter().filter(|entry| !entry.samples.is_empty()) {
        encoder.series(entry);
        values.push(encoder.take_pools());
    }
    (encoder.finish(), values)
}

/// How many samples from the first on fit one column: same value type, and all or none with a source time.
fn run_length(samples: &[Sample]) -> usize {
    let has_source = samples[0].source_timestamp.is_some();
    let mut found: Option<Variant> = None;
    samples
        .iter()
        .take_while(|sample| {
            let own = sample.value.as_ref().map(variant);
            let fits = own.is_none() || found.is_none() || own == found;
            found = found.or(own);
            fits && sample.source_timestamp.is_some() == has_source
        })
        .count()
}

/// Collects the pools. One per block.
struct Encoder<'a> {
    out: Columns,
    unit: i64,
    previous_series: i64,
    previous_axis: i64,
    axes: HashMap<Vec<(i64, Option<i64>)>, usize>,
    bool_count: usize,
    f64s: Vec<[u8; 8]>,
    f32s: Vec<[u8; 4]>,
    texts: HashMap<&'a str, u32>,
}

impl<'a> Encoder<'a> {
    fn new(block: &[SeriesSamples]) -> Self {
        let times = || block.iter().flat_map(|s| &s.samples).map(|s| s.gateway_timestamp.micros());
        let unit = if times().all(|t| t.rem_euclid(1000) == 0) { 1000 } else { 1 };
        let base = times().min().unwrap_or(0).div_euclid(unit);
        Self {
            out: Columns {
                base_time: base,
                time_unit_us: u32::try_from(unit).unwrap_or(1),
                ..Columns::default()
            },
            unit,
            previous_series: 0,
            previous_axis: 0,
            axes: HashMap::new(),
            bool_count: 0,
            f64s: Vec::new(),
            f32s: Vec::new(),
            texts: HashMap::new(),
        }
    }

    fn series(&mut self, entry: &'a SeriesSamples) {
        let mut rest = entry.samples.as_slice();
        while !rest.is_empty() {
            let (column, tail) = rest.split_at(run_length(rest));
            self.column(entry.series.0, column);
            rest = tail;
        }
    }

    fn column(&mut self, series: u32, samples: &'a [Sample]) {
        let axis = self.axis(samples);
        self.out.series.push(delta(&mut self.previous_series, i64::from(series)));
        self.out.axis.push(delta(&mut self.previous_axis, axis));
        let mut flags = 0;
        if samples.iter().any(|s| s.quality != Quality::GOOD) {
            flags |= flag::QUALITY;
            push_runs(&mut self.out.quality_runs, samples.iter().map(|s| s.quality.status_code()));
        }
        let values: Vec<&'a Value> = samples.iter().filter_map(|s| s.value.as_ref()).collect();
        if values.len() < samples.len() && !values.is_empty() {
            flags |= flag::NULLS;
            push_runs(&mut self.out.null_runs, samples.iter().map(|s| u32::from(s.value.is_none())));
        }
        self.out.flags.push(flags);
        let kind = self.values(&values);
        self.out.kind.push(kind);
    }

    /// The index of the axis of these samples, shared with the columns that have the same instants.
    fn axis(&mut self, samples: &[Sample]) -> i64 {
        let key: Vec<(i64, Option<i64>)> = samples
            .iter()
            .map(|s| (s.gateway_timestamp.micros(), s.source_timestamp.map(Timestamp::micros)))
            .collect();
        let next = self.axes.len();
        let Some(&known) = self.axes.get(&key) else {
            self.push_axis(&key);
            self.axes.insert(key, next);
            return i64::try_from(next).unwrap_or(i64::MAX);
        };
        i64::try_from(known).unwrap_or(i64::MAX)
    }

    fn push_axis(&mut self, instants: &[(i64, Option<i64>)]) {
        self.out.axis_length.push(u32::try_from(instants.len()).unwrap_or(u32::MAX));
        let has_source = instants.first().is_some_and(|(_, source)| source.is_some());
        self.out.axis_flags.push(if has_source { AXIS_SOURCE } else { 0 });
        let mut previous = self.out.base_time;
        let mut previous_lag = 0;
        for (gateway, source) in instants {
            let ticks = gateway.div_euclid(self.unit);
            self.out.axis_time.push(ticks.wrapping_sub(previous));
            previous = ticks;
            if let Some(source) = source {
                let lag = gateway.wrapping_sub(*source);
                self.out.axis_source.push(lag.wrapping_sub(previous_lag));
                previous_lag = lag;
            }
        }
    }

    /// Puts the values into their pool and says which.
    fn values(&mut self, values: &[&'a Value]) -> u8 {
        match values.first().map(|v| variant(v)) {
            None => kind::NULL,
            Some(Variant::Bool) => self.bools(values),
            Some(Variant::Int) => {
                self.ints(values.iter().filter_map(|v| match v {
                    Value::Int(i) => Some(*i),
                    Value::Bool(_) | Value::Float(_) | Value::Text(_) => None,
                }));
                kind::INT
            }
            Some(Variant::Float) => {
                self.floats(&values.iter().filter_map(|v| v.as_f64()).collect::<Vec<_>>())
            }
            Some(Variant::Text) => self.texts(values),
        }
    }

    fn bools(&mut self, values: &[&Value]) -> u8 {
        for value in values {
            if self.bool_count.is_multiple_of(8) {
                self.out.bools.push(0);
            }
            if **value == Value::Bool(true)
                && let Some(last) = self.out.bools.last_mut()
            {
                *last |= 1 << (self.bool_count % 8);
            }
            self.bool_count += 1;
        }
        kind::BOOL
    }

    fn ints(&mut self, values: impl Iterator<Item = i64>) {
        let mut previous = 0_i64;
        for value in values {
            self.out.ints.push(value.wrapping_sub(previous));
            previous = value;
        }
    }

    fn floats(&mut self, values: &[f64]) -> u8 {
        if let Some((exponent, mantissas)) = as_decimals(values) {
            self.ints(mantissas.into_iter());
            return kind::DECIMAL + exponent;
        }
        #[expect(clippy::cast_possible_truncation, reason = "kept only where the way back is exact")]
        let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        if narrow.iter().zip(values).all(|(n, v)| f64::from(*n).to_bits() == v.to_bits()) {
            let mut previous = 0;
            self.f32s.extend(narrow.iter().map(|n| xor32(&mut previous, n.to_bits()).to_be_bytes()));
            return kind::F32;
        }
        let mut previous = 0;
        self.f64s.extend(values.iter().map(|v| xor64(&mut previous, v.to_bits()).to_be_bytes()));
        kind::F64
    }

    fn texts(&mut self, values: &[&'a Value]) -> u8 {
        for value in values {
            let Value::Text(text) = value else { continue };
            let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
            let index = *self.texts.entry(text).or_insert_with(|| {
                self.out.texts.push(text.to_string());
                next
            });
            self.out.text_index.push(index);
        }
        kind::TEXT
    }

    /// What the pools hold; they begin anew.
    fn take_pools(&mut self) -> Columns {
        self.bool_count = 0;
        self.texts.clear();
        Columns {
            bools: std::mem::take(&mut self.out.bools),
            ints: std::mem::take(&mut self.out.ints),
            f64_planes: planes::split(&std::mem::take(&mut self.f64s)),
            f32_planes: planes::split(&std::mem::take(&mut self.f32s)),
            texts: std::mem::take(&mut self.out.texts),
            text_index: std::mem::take(&mut self.out.text_index),
            quality_runs: std::mem::take(&mut self.out.quality_runs),
            null_runs: std::mem::take(&mut self.out.null_runs),
            ..Columns::default()
        }
    }

    fn finish(mut self) -> Columns {
        self.out.f64_planes = planes::split(&self.f64s);
        self.out.f32_planes = planes::split(&self.f32s);
        self.out
    }
}

fn delta(previous: &mut i64, value: i64) -> i32 {
    // Wraps into 32 bits; the reader adds modulo 2^32 and gets the number back.
    #[expect(clippy::cast_possible_truncation, reason = "arithmetic modulo 2^32 by design")]
    let step = value.wrapping_sub(*previous) as i32;
    *previous = value;
    step
}

fn xor32(previous: &mut u32, bits: u32) -> u32 {
    std::mem::replace(previous, bits) ^ bits
}

fn xor64(previous: &mut u64, bits: u64) -> u64 {
    std::mem::replace(previous, bits) ^ bits
}

/// Appends `[number of runs, length, value, length, value, …]`.
fn push_runs(out: &mut Vec<u32>, values: impl Iterator<Item = u32>) {
    let count_at = out.len();
    out.push(0);
    let mut open: Option<u32> = None;
    for value in values {
        if open == Some(value) {
            let length_at = out.len() - 2;
            out[length_at] += 1;
        } else {
            out.extend([1, value]);
            out[count_at] += 1;
            open = Some(value);
        }
    }
}

/// The smallest exponent under which every value is a whole mantissa, bit by bit, if there is one.
fn as_decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut exponent = 0;
    let mut mantissas = Vec::with_capacity(values.len());
    while mantissas.len() < values.len() {
        match as_mantissa(values[mantissas.len()], exponent) {
            Some(mantissa) => mantissas.push(mantissa),
            None if exponent < DECIMAL_EXPONENT_MAX => {
                exponent += 1;
                mantissas.clear();
            }
            None => return None,
        }
    }
    Some((exponent, mantissas))
}

fn as_mantissa(value: f64, exponent: u8) -> Option<i64> {
    /// Below this every whole number is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let scaled = (value * POWERS_OF_TEN[usize::from(exponent)]).round();
    if scaled.is_nan() || scaled.abs() >= EXACT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    let mantissa = scaled as i64;
    (decimal(mantissa, exponent).to_bits() == value.to_bits()).then_some(mantissa)
}
