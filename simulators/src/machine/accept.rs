//! Which values the control may give to a tag.

use crate::{
    catalog::{Encoding, Signal, TEXT_REGISTERS, TagSpec},
    error::SimulatorError,
    process::{power_of_ten, quantise},
    value::Value,
};

/// Bounds of single-precision tags: far beyond any sensor, near enough to keep the decimals meaningful.
const FLOAT_BOUND: f64 = 1e9;

/// The value as the tag can carry it.
pub(super) fn value(tag: &TagSpec, value: &Value) -> Result<Value, SimulatorError> {
    checked(tag, value).map_err(|allowed| SimulatorError::BadValue {
        tag: tag.id.to_owned(),
        value: serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}")),
        allowed,
    })
}

/// The value as the tag can carry it, or what is allowed.
fn checked(tag: &TagSpec, value: &Value) -> Result<Value, String> {
    if tag.is_proof() {
        return Err("nothing: the tag proves that no sample is lost, so only the simulator counts it".into());
    }
    match (tag.encoding, value) {
        (Encoding::Bit, Value::Bool(_)) => Ok(value.clone()),
        (Encoding::Bit, _) => Err("true or false".into()),
        (Encoding::Text, Value::Text(text))
            if text.is_ascii() && text.len() <= usize::from(TEXT_REGISTERS) * 2 =>
        {
            Ok(value.clone())
        }
        (Encoding::Text, _) => Err("a text of at most 16 ASCII characters".into()),
        (_, Value::Int(number)) => in_range(tag, *number as f64),
        (_, Value::Float(number)) => in_range(tag, *number),
        (_, Value::Bool(_) | Value::Text(_)) => Err("a number".into()),
    }
}

fn in_range(tag: &TagSpec, number: f64) -> Result<Value, String> {
    let (lowest, highest) = match (tag.signal, tag.encoding.scaled_integer()) {
        (Signal::State, _) => (0.0, 3.0),
        (_, Some((decimals, lowest, highest))) => {
            let power = power_of_ten(decimals);
            (lowest / power, highest / power)
        }
        (_, None) => (-FLOAT_BOUND, FLOAT_BOUND),
    };
    if (lowest..=highest).contains(&number) {
        Ok(quantise(tag.encoding, number))
    } else {
        Err(format!("{lowest} to {highest}"))
    }
}
