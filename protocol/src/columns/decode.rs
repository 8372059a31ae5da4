//! Columns to samples. Every length comes from outside and is checked before it is used.

use std::sync::Arc;

use plant_model::{Quality, Sample, Timestamp, Value};

use super::{AXIS_SOURCE, SeriesId, SeriesSamples, decimal, flag, kind, planes};
use crate::DecodeError;
use crate::limits::{BATCH_SAMPLES_MAX, TEXT_BYTES_MAX};
use crate::wire::Columns;

/// Decodes columns; neighbouring columns of one series become one entry.
pub(crate) fn decode(columns: &Columns) -> Result<Vec<SeriesSamples>, DecodeError> {
    let axes = axes(columns)?;
    let mut pools = Pools::open(columns)?;
    let mut out: Vec<SeriesSamples> = Vec::new();
    let mut total = 0_usize;
    for column in layout(columns, &axes)? {
        let instants = &axes[column.axis];
        total += instants.len();
        check_samples(total)?;
        let samples = pools.column(column.kind, column.flags, instants)?;
        match out.last_mut() {
            Some(last) if last.series == column.series => last.samples.extend(samples),
            _ => out.push(SeriesSamples { series: column.series, samples }),
        }
    }
    Ok(out)
}

pub(super) fn check_samples(total: usize) -> Result<(), DecodeError> {
    if total > BATCH_SAMPLES_MAX {
        return Err(DecodeError::TooLarge {
            what: "the batch in samples",
            actual: total,
            allowed: BATCH_SAMPLES_MAX,
        });
    }
    Ok(())
}

/// What the frame says of a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnLayout {
    pub(super) series: SeriesId,
    /// Within the axes of the frame.
    pub(super) axis: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

/// What the frame says of its columns; each names an axis that exists.
pub(super) fn layout(columns: &Columns, axes: &[Instants]) -> Result<Vec<ColumnLayout>, DecodeError> {
    let count = columns.series.len();
    for (field, length) in
        [("axis", columns.axis.len()), ("kind", columns.kind.len()), ("flags", columns.flags.len())]
    {
        if length != count {
            return Err(DecodeError::field(field, format!("{length} entries for {count} columns")));
        }
    }
    let (mut series, mut axis) = (0_u32, 0_u32);
    (0..count)
        .map(|i| {
            series = series.wrapping_add_signed(columns.series[i]);
            axis = axis.wrapping_add_signed(columns.axis[i]);
            let place = usize::try_from(axis).ok().filter(|a| *a < axes.len());
            let place = place.ok_or_else(|| {
                DecodeError::field("axis", format!("column {i} names axis {axis}; there are {}", axes.len()))
            })?;
            let (kind, flags) = (columns.kind[i], columns.flags[i]);
            Ok(ColumnLayout { series: SeriesId(series), axis: place, kind, flags })
        })
        .collect()
}

/// When the samples of an axis were received, and measured.
pub(super) type Instants = Vec<(Timestamp, Option<Timestamp>)>;

pub(super) fn axes(columns: &Columns) -> Result<Vec<Instants>, DecodeError> {
    if columns.axis_flags.len() != columns.axis_length.len() {
        return Err(DecodeError::field("axis_flags", "not one entry for each axis"));
    }
    if !matches!(columns.time_unit_us, 1 | 1000) {
        return Err(DecodeError::field(
            "time_unit_us",
            format!("{} is neither 1 nor 1000", columns.time_unit_us),
        ));
    }
    let unit = i64::from(columns.time_unit_us);
    let mut times = columns.axis_time.iter();
    let mut lags = columns.axis_source.iter();
    columns
        .axis_length
        .iter()
        .zip(&columns.axis_flags)
        .map(|(length, flags)| {
            if *flags & !AXIS_SOURCE != 0 {
                return Err(DecodeError::field("axis_flags", format!("unknown bits in {flags:#x}")));
            }
            let mut ticks = columns.base_time;
            let mut lag = 0_i64;
            let mut instants = Vec::new();
            for _ in 0..*length {
                ticks = ticks.wrapping_add(*next(&mut times, "axis_time")?);
                let gateway = ticks.wrapping_mul(unit);
                let source = if *flags & AXIS_SOURCE != 0 {
                    lag = lag.wrapping_add(*next(&mut lags, "axis_source")?);
                    Some(Timestamp::from_micros(gateway.wrapping_sub(lag)))
                } else {
                    None
                };
                instants.push((Timestamp::from_micros(gateway), source));
            }
            Ok(instants)
        })
        .collect()
}

fn next<T>(pool: &mut impl Iterator<Item = T>, field: &'static str) -> Result<T, DecodeError> {
    pool.next().ok_or_else(|| DecodeError::field(field, "ends before its columns do"))
}

/// What is left of each pool.
pub(super) struct Pools<'a> {
    bools: &'a [u8],
    bool_count: usize,
    ints: std::slice::Iter<'a, i64>,
    f64s: std::vec::IntoIter<[u8; 8]>,
    f32s: std::vec::IntoIter<[u8; 4]>,
    texts: Vec<Arc<str>>,
    text_index: std::slice::Iter<'a, u32>,
    quality_runs: std::slice::Iter<'a, u32>,
    null_runs: std::slice::Iter<'a, u32>,
}

impl<'a> Pools<'a> {
    pub(super) fn open(columns: &'a Columns) -> Result<Self, DecodeError> {
        if let Some(long) = columns.texts.iter().find(|t| t.len() > TEXT_BYTES_MAX) {
            return Err(DecodeError::TooLarge {
                what: "a text in bytes",
                actual: long.len(),
                allowed: TEXT_BYTES_MAX,
            });
        }
        let uneven = |field| DecodeError::field(field, "the planes are of unequal length");
        Ok(Self {
            bools: &columns.bools,
            bool_count: 0,
            ints: columns.ints.iter(),
            f64s: planes::join(&columns.f64_planes).ok_or_else(|| uneven("f64_planes"))?.into_iter(),
            f32s: planes::join(&columns.f32_planes).ok_or_else(|| uneven("f32_planes"))?.into_iter(),
            texts: columns.texts.iter().map(|t| Arc::from(t.as_str())).collect(),
            text_index: columns.text_index.iter(),
            quality_runs: columns.quality_runs.iter(),
            null_runs: columns.null_runs.iter(),
        })
    }

    pub(super) fn column(
        &mut self,
        kind: u8,
        flags: u8,
        instants: &[(Timestamp, Option<Timestamp>)],
    ) -> Result<Vec<Sample>, DecodeError> {
        if flags & !flag::KNOWN != 0 {
            return Err(DecodeError::field("flags", format!("unknown bits in {flags:#x}")));
        }
        let count = instants.len();
        let qualities = if flags & flag::QUALITY == 0 {
            vec![0; count]
        } else {
            runs(&mut self.quality_runs, count, "quality_runs")?
        };
        let nulls = match (flags & flag::NULLS != 0, kind) {
            (false, kind::NULL) => vec![1; count],
            (false, _) => vec![0; count],
            (true, _) => runs(&mut self.null_runs, count, "null_runs")?,
        };
        let mut state = Previous::default();
        let mut samples = Vec::with_capacity(count);
        for ((quality, null), (gateway, source)) in qualities.into_iter().zip(nulls).zip(instants) {
            let value = if null == 0 { Some(self.value(kind, &mut state)?) } else { None };
            samples.push(Sample {
                value,
                quality: Quality::from_status_code(quality),
                source_timestamp: *source,
                gateway_timestamp: *gateway,
            });
        }
        Ok(samples)
    }

    fn value(&mut self, kind: u8, previous: &mut Previous) -> Result<Value, DecodeError> {
        match kind {
            kind::BOOL => self.bool(),
            kind::INT => Ok(Value::Int(self.int(previous)?)),
            kind::F64 => {
                previous.bits64 ^= u64::from_be_bytes(next(&mut self.f64s, "f64_planes")?);
                Ok(Value::Float(f64::from_bits(previous.bits64)))
            }
            kind::F32 => {
                previous.bits32 ^= u32::from_be_bytes(next(&mut self.f32s, "f32_planes")?);
                Ok(Value::Float(f64::from(f32::from_bits(previous.bits32))))
            }
            kind::TEXT => self.text(),
            kind::DECIMAL..=kind::DECIMAL_MAX => {
                Ok(Value::Float(decimal(self.int(previous)?, kind - kind::DECIMAL)))
            }
            unknown => Err(DecodeError::field("kind", format!("{unknown} is not known"))),
        }
    }

    fn bool(&mut self) -> Result<Value, DecodeError> {
        let byte = self.bools.get(self.bool_count / 8).copied();
        let byte = byte.ok_or_else(|| DecodeError::field("bools", "ends before its columns do"))?;
        let bit = byte >> (self.bool_count % 8) & 1;
        self.bool_count += 1;
        Ok(Value::Bool(bit == 1))
    }

    fn int(&mut self, previous: &mut Previous) -> Result<i64, DecodeError> {
        previous.int = previous.int.wrapping_add(*next(&mut self.ints, "ints")?);
        Ok(previous.int)
    }

    fn text(&mut self) -> Result<Value, DecodeError> {
        let index = *next(&mut self.text_index, "text_index")?;
        let text = usize::try_from(index).ok().and_then(|i| self.texts.get(i));
        text.map(|t| Value::Text(Arc::clone(t)))
            .ok_or_else(|| DecodeError::field("text_index", format!("{index} of {} texts", self.texts.len())))
    }
}

/// The last number of each pool within a column.
#[derive(Default)]
struct Previous {
    int: i64,
    bits64: u64,
    bits32: u32,
}

/// Reads `[number of runs, length, value, …]` that cover exactly `count` entries.
fn runs<'a>(
    pool: &mut impl Iterator<Item = &'a u32>,
    count: usize,
    field: &'static str,
) -> Result<Vec<u32>, DecodeError> {
    let mut out = Vec::with_capacity(count);
    for _ in 0..*next(pool, field)? {
        let length = usize::try_from(*next(pool, field)?).unwrap_or(usize::MAX);
        let value = *next(pool, field)?;
        if length > count - out.len() {
            return Err(DecodeError::field(
                field,
                format!("the runs cover more than the {count} samples of a column"),
            ));
        }
        out.resize(out.len() + length, value);
    }
    if out.len() < count {
        return Err(DecodeError::field(field, format!("the runs cover {} of {count} samples", out.len())));
    }
    Ok(out)
}
