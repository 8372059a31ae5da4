//! Values in the types of OPC UA nodes and arguments.

use opcua::types::{Identifier, NodeId, UAString, Variant};
use plant_model::Value;

use crate::value;

/// A value of a built-in type (OPC UA Part 6, 5.1.2) that can be written; empty for others.
pub(crate) fn example(id: &NodeId) -> Variant {
    match (id.namespace, &id.identifier) {
        (0, Identifier::Numeric(1)) => Variant::Boolean(false),
        (0, Identifier::Numeric(2)) => Variant::SByte(0),
        (0, Identifier::Numeric(3)) => Variant::Byte(0),
        (0, Identifier::Numeric(4)) => Variant::Int16(0),
        (0, Identifier::Numeric(5)) => Variant::UInt16(0),
        (0, Identifier::Numeric(6)) => Variant::Int32(0),
        (0, Identifier::Numeric(7)) => Variant::UInt32(0),
        (0, Identifier::Numeric(8)) => Variant::Int64(0),
        (0, Identifier::Numeric(9)) => Variant::UInt64(0),
        (0, Identifier::Numeric(10)) => Variant::Float(0.0),
        (0, Identifier::Numeric(11)) => Variant::Double(0.0),
        (0, Identifier::Numeric(12)) => Variant::String(UAString::null()),
        _ => Variant::Empty,
    }
}

/// The value in the type of what the node holds.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; nothing else is written")]
pub(crate) fn encode(value: &Value, held: &Variant) -> Result<Variant, String> {
    let range = |kind: &str| format!("{value} is no {kind}, which the node holds");
    match held {
        Variant::Boolean(_) => match value {
            Value::Bool(truth) => Ok(Variant::Boolean(*truth)),
            Value::Int(n @ 0..=1) => Ok(Variant::Boolean(*n == 1)),
            Value::Int(_) | Value::Float(_) | Value::Text(_) => Err(range("Boolean")),
        },
        Variant::SByte(_) => integer(value).map(Variant::SByte).ok_or_else(|| range("SByte")),
        Variant::Byte(_) => integer(value).map(Variant::Byte).ok_or_else(|| range("Byte")),
        Variant::Int16(_) => integer(value).map(Variant::Int16).ok_or_else(|| range("Int16")),
        Variant::UInt16(_) => integer(value).map(Variant::UInt16).ok_or_else(|| range("UInt16")),
        Variant::Int32(_) => integer(value).map(Variant::Int32).ok_or_else(|| range("Int32")),
        Variant::UInt32(_) => integer(value).map(Variant::UInt32).ok_or_else(|| range("UInt32")),
        Variant::Int64(_) => integer(value).map(Variant::Int64).ok_or_else(|| range("Int64")),
        Variant::UInt64(_) => unsigned(value).map(Variant::UInt64).ok_or_else(|| range("UInt64")),
        Variant::Float(_) => single(value).map(Variant::Float).ok_or_else(|| range("Float")),
        Variant::Double(_) => double(value).map(Variant::Double).ok_or_else(|| range("Double")),
        Variant::String(_) => match value {
            Value::Text(text) => Ok(Variant::String(UAString::from(text.as_ref()))),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(range("String")),
        },
        Variant::Empty => {
            Err("the server tells neither value nor type; check that it is there and may be read".to_owned())
        }
        other => Err(format!("the node holds {:?}, which cannot be written", other.type_id())),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    let number = match value {
        Value::Bool(truth) => i64::from(*truth),
        Value::Int(number) => *number,
        Value::Float(number) => value::whole(*number)?,
        Value::Text(_) => return None,
    };
    T::try_from(number).ok()
}

/// Beyond the range of signed integers a number travels as text.
fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => integer(value),
    }
}

fn double(value: &Value) -> Option<f64> {
    let is_number = !matches!(value, Value::Bool(_));
    value.as_f64().filter(|number| is_number && number.is_finite())
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest number of that type is meant")]
fn single(value: &Value) -> Option<f32> {
    double(value).map(|number| number as f32).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_in_the_type_of_the_node_or_not_at_all() {
        let text = |t: &str| Value::Text(t.into());
        for (value, held, written) in [
            (Value::Int(1), Variant::Boolean(false), Some(Variant::Boolean(true))),
            (Value::Int(2), Variant::Boolean(false), None),
            (Value::Int(-129), Variant::SByte(0), None),
            (Value::Int(255), Variant::Byte(0), Some(Variant::Byte(255))),
            (Value::Int(65_536), Variant::UInt16(0), None),
            (Value::Float(4.0), Variant::Int32(0), Some(Variant::Int32(4))),
            (Value::Float(4.5), Variant::Int32(0), None),
            (Value::Int(i64::MIN), Variant::Int64(0), Some(Variant::Int64(i64::MIN))),
            (Value::Int(-1), Variant::UInt64(0), None),
            (text("18446744073709551615"), Variant::UInt64(0), Some(Variant::UInt64(u64::MAX))),
            (Value::Float(0.1), Variant::Float(0.0), Some(Variant::Float(0.1))),
            (Value::Float(1e300), Variant::Float(0.0), None),
            (Value::Float(f64::NAN), Variant::Double(0.0), None),
            (Value::Int(7), Variant::Double(0.0), Some(Variant::Double(7.0))),
            (Value::Bool(true), Variant::Double(0.0), None),
            (text("P-1"), Variant::String(UAString::null()), Some(Variant::from("P-1"))),
            (Value::Int(7), Variant::String(UAString::null()), None),
            (Value::Int(7), Variant::Empty, None),
            (Value::Int(7), Variant::from(vec![1_i32]), None),
        ] {
            assert_eq!(encode(&value, &held).ok(), written, "{value:?} into {held:?}");
        }
    }
}
