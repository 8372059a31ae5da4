//! Registers in every type and byte order. Decoding is the agent's own (`acquisition`), so what is
//! shown here is what the agent would read.

use std::time::Duration;

use acquisition::{ModbusTag, ModbusTagParameters, RegisterFormat, RegisterTable, WordOrder};
use plant_model::{DataType, Value};

/// The formats that can mean a number, narrow ones first.
pub(crate) const NUMBERS: [RegisterFormat; 8] = [
    RegisterFormat::U16,
    RegisterFormat::I16,
    RegisterFormat::U32,
    RegisterFormat::I32,
    RegisterFormat::F32,
    RegisterFormat::U64,
    RegisterFormat::I64,
    RegisterFormat::F64,
];

pub(crate) const fn is_float(format: RegisterFormat) -> bool {
    matches!(format, RegisterFormat::F32 | RegisterFormat::F64)
}

/// The value of `words`; `None` where they hold no number (NaN, infinity).
pub(crate) fn decode(
    words: &[u16],
    format: RegisterFormat,
    word_order: WordOrder,
    scale: f64,
) -> Option<Value> {
    let parameters = ModbusTagParameters {
        table: RegisterTable::HoldingRegister,
        pdu_address: 0,
        format,
        word_order,
        scale,
        offset: 0.0,
        poll_interval: Duration::from_secs(1),
        data_type: if is_float(format) { DataType::Float } else { DataType::Int },
        range: None,
    };
    ModbusTag::new(parameters).ok()?.decode(words).ok()
}

/// The value as people write it: a single-precision number with the digits it has.
pub(crate) fn written(format: RegisterFormat, value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::Float(number)) if format == RegisterFormat::F32 => {
            float(f64::from(single(*number)), || single(*number).to_string())
        }
        Some(Value::Float(number)) => float(*number, || number.to_string()),
        Some(value @ (Value::Bool(_) | Value::Int(_) | Value::Text(_))) => value.to_string(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it was a single before it was decoded")]
const fn single(number: f64) -> f32 {
    number as f32
}

/// Very large and very small numbers as powers of ten: a wrong byte order gives many of them.
fn float(number: f64, plain: impl Fn() -> String) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-4..1e9).contains(&size) { plain() } else { format!("{number:.4e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_is_shown_with_its_own_digits() {
        let value = decode(&[0x4365, 0x028F], RegisterFormat::F32, WordOrder::Abcd, 1.0);
        assert_eq!(written(RegisterFormat::F32, value.as_ref()), "229.01");
        let swapped = decode(&[0x4365, 0x028F], RegisterFormat::F32, WordOrder::Cdab, 1.0);
        assert!(written(RegisterFormat::F32, swapped.as_ref()).contains('e'), "{swapped:?}");
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        let nan = decode(&[0x7FC0, 0], RegisterFormat::F32, WordOrder::Abcd, 1.0);
        assert_eq!(written(RegisterFormat::F32, nan.as_ref()), "-");
    }
}
