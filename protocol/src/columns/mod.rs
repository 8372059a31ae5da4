//! The columnar codec of samples (SPEC section 5): one codec for batches, live values and segments.
//!
//! Layout in words: samples are grouped by series; a *column* is a run of one series whose samples
//! share a value type; columns whose samples were taken at the same instants share one *axis*. All
//! columns' numbers of one type lie in one pool, so that like stands beside like when the whole is
//! compressed. A reader walks the columns in order and takes from each pool what the column needs.

mod apart;
mod decode;
mod encode;
mod planes;

use plant_model::{Sample, Value};

pub use apart::{ApartColumns, ColumnFrame, samples_from_bytes, samples_to_bytes};
pub(crate) use decode::decode;
pub(crate) use encode::encode;

/// Number of a series (one tag of one machine) within an epoch; the catalogue says which tag it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// Samples of one series, in the order in which the gateway took them.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSamples {
    /// The series.
    pub series: SeriesId,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// Bits of `flags` of a column.
mod flag {
    /// The column has runs in `quality_runs`; else all its samples are good (status code 0).
    pub(super) const QUALITY: u8 = 1;
    /// The column has runs in `null_runs`; else all its samples have a value.
    pub(super) const NULLS: u8 = 2;
    pub(super) const KNOWN: u8 = QUALITY | NULLS;
}

/// Bit of `axis_flags`: the axis has source times in `axis_source`.
const AXIS_SOURCE: u8 = 1;

/// Values of `kind` of a column.
mod kind {
    pub(super) const BOOL: u8 = 0;
    pub(super) const INT: u8 = 1;
    pub(super) const F64: u8 = 2;
    pub(super) const F32: u8 = 3;
    pub(super) const TEXT: u8 = 4;
    /// No sample of the column has a value.
    pub(super) const NULL: u8 = 5;
    /// `DECIMAL + e`: a float that is `mantissa / 10^e`, bit by bit.
    pub(super) const DECIMAL: u8 = 16;
    pub(super) const DECIMAL_MAX: u8 = DECIMAL + super::DECIMAL_EXPONENT_MAX;
}

/// Largest exponent of a decimal column: micro-units.
const DECIMAL_EXPONENT_MAX: u8 = 6;

const POWERS_OF_TEN: [f64; DECIMAL_EXPONENT_MAX as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// The float that a decimal column means by `mantissa` and `exponent`.
#[expect(clippy::cast_precision_loss, reason = "the encoder only uses mantissas below 2^53")]
fn decimal(mantissa: i64, exponent: u8) -> f64 {
    mantissa as f64 / POWERS_OF_TEN[usize::from(exponent)]
}

/// Which pool a value lies in, before floats are looked at closely.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Bool,
    Int,
    Float,
    Text,
}

fn variant(value: &Value) -> Variant {
    match value {
        Value::Bool(_) => Variant::Bool,
        Value::Int(_) => Variant::Int,
        Value::Float(_) => Variant::Float,
        Value::Text(_) => Variant::Text,
    }
}

#[cfg(test)]
mod tests;
