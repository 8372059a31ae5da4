//! From an OPC UA data value to a sample.

use acquisition::Instants;
use opcua::types::{DataValue, DateTime, StatusCode, Variant};
use plant_model::{DataType, Quality, Sample, Timestamp, Value};

/// `BadTypeMismatch`: the value is not what the tag is declared to be.
pub(crate) const BAD_TYPE_MISMATCH: Quality = Quality::from_status_code(0x8074_0000);
/// `BadNoData`: the server calls the status good and gives no value.
pub(crate) const BAD_NO_DATA: Quality = Quality::from_status_code(0x809B_0000);

/// Ticks of 100 ns between 1601, where OPC UA begins to count, and 1970.
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;

/// Whether the server's queue lost changes before this value: the overflow bit (OPC UA Part 4, 7.39).
/// Some servers set it without the info type that belongs to it; nothing else can be meant.
pub(crate) fn has_overflow(value: &DataValue) -> bool {
    value.status.is_some_and(|status| status.overflow())
}

/// The sample of a data value. The status is kept whole, information bits included; a missing one is
/// good. A bad sample has no value.
pub(crate) fn sample(data: DataValue, data_type: DataType, at: Instants) -> Sample {
    let status = Quality::from_status_code(data.status.unwrap_or(StatusCode::Good).bits());
    let (value, quality) = match status.class() {
        plant_model::QualityClass::Bad => (None, status),
        plant_model::QualityClass::Good | plant_model::QualityClass::Uncertain => {
            match convert(data.value.unwrap_or_default(), data_type) {
                Ok(value) => (Some(value), status),
                Err(quality) => (None, quality),
            }
        }
    };
    let source_timestamp = data.source_timestamp.and_then(timestamp);
    Sample { value, quality, source_timestamp, gateway_timestamp: at.gateway_timestamp }
}

/// `None` for the null time, with which some servers say that they do not know it.
fn timestamp(time: DateTime) -> Option<Timestamp> {
    let ticks = time.ticks();
    (ticks != 0).then(|| Timestamp::from_micros((ticks - TICKS_TO_1970).div_euclid(10)))
}

/// A value as a tag of this type carries it.
fn convert(value: Variant, data_type: DataType) -> Result<Value, Quality> {
    if matches!(value, Variant::Empty) {
        return Err(BAD_NO_DATA);
    }
    match data_type {
        DataType::Bool => as_bool(&value),
        DataType::Int => as_int(&value),
        DataType::Float => as_float(&value),
        DataType::Text => Ok(text(value)),
    }
}

enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// The number in a variant, if it is one. A `Float` keeps its exact value.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; every other kind is no number")]
fn number(value: &Variant) -> Option<Number> {
    let number = match value {
        Variant::SByte(n) => Number::Signed((*n).into()),
        Variant::Int16(n) => Number::Signed((*n).into()),
        Variant::Int32(n) => Number::Signed((*n).into()),
        Variant::Int64(n) => Number::Signed(*n),
        Variant::Byte(n) => Number::Unsigned((*n).into()),
        Variant::UInt16(n) => Number::Unsigned((*n).into()),
        Variant::UInt32(n) => Number::Unsigned((*n).into()),
        Variant::UInt64(n) => Number::Unsigned(*n),
        Variant::Float(n) => Number::Float((*n).into()),
        Variant::Double(n) => Number::Float(*n),
        _ => return None,
    };
    Some(number)
}

fn as_bool(value: &Variant) -> Result<Value, Quality> {
    match (value, number(value)) {
        (Variant::Boolean(truth), _) => Ok(Value::Bool(*truth)),
        (_, Some(Number::Signed(n))) => Ok(Value::Bool(n != 0)),
        (_, Some(Number::Unsigned(n))) => Ok(Value::Bool(n != 0)),
        (_, Some(Number::Float(_)) | None) => Err(BAD_TYPE_MISMATCH),
    }
}

fn as_int(value: &Variant) -> Result<Value, Quality> {
    match (value, number(value)) {
        (Variant::Boolean(truth), _) => Ok(Value::Int((*truth).into())),
        (_, Some(Number::Signed(n))) => Ok(Value::Int(n)),
        (_, Some(Number::Unsigned(n))) => {
            Ok(i64::try_from(n).map_or_else(|_| Value::Text(n.to_string().into()), Value::Int))
        }
        (_, Some(Number::Float(n))) if !n.is_finite() => Err(Quality::BAD_SENSOR_FAILURE),
        (_, Some(Number::Float(n))) => Ok(whole(n).map_or(Value::Float(n), Value::Int)),
        (_, None) => Err(BAD_TYPE_MISMATCH),
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest number is meant")]
fn as_float(value: &Variant) -> Result<Value, Quality> {
    match number(value) {
        Some(Number::Signed(n)) => Ok(Value::Float(n as f64)),
        Some(Number::Unsigned(n)) => Ok(Value::Float(n as f64)),
        Some(Number::Float(n)) if n.is_finite() => Ok(Value::Float(n)),
        Some(Number::Float(_)) => Err(Quality::BAD_SENSOR_FAILURE),
        None => Err(BAD_TYPE_MISMATCH),
    }
}

/// The number as an integer, if it is whole and in the range where every whole number is exact.
#[expect(clippy::cast_possible_truncation, reason = "the number is whole and at most 2^53")]
pub(crate) fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// Every kind of value has a text; it is cut to what a value holds.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; every other kind prints itself")]
fn text(value: Variant) -> Value {
    let text = match value {
        Variant::String(text) => text.as_ref().to_owned(),
        Variant::LocalizedText(text) => text.text.as_ref().to_owned(),
        Variant::ByteString(bytes) => bytes.as_base64(),
        Variant::Array(array) => array_text(&array.values),
        other => other.to_string(),
    };
    let end = text.floor_char_boundary(Value::TEXT_BYTES_MAX);
    Value::Text(text[..end].into())
}

/// The elements in brackets, texts in quotes, as in JSON. What does not fit a value is left out, which
/// an ellipsis shows. The dimensions of a matrix are not kept.
fn array_text(elements: &[Variant]) -> String {
    /// Leaves room for `,…]`.
    const ROOM: usize = Value::TEXT_BYTES_MAX - 5;
    let mut text = String::from("[");
    for (index, element) in elements.iter().enumerate() {
        let element = element_text(element);
        let comma = if index == 0 { "" } else { "," };
        if text.len() + comma.len() + element.len() > ROOM {
            text.push_str(comma);
            text.push('…');
            break;
        }
        text.push_str(comma);
        text.push_str(&element);
    }
    text.push(']');
    text
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; every other kind is no text")]
fn element_text(element: &Variant) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match element {
        Variant::String(text) => quoted(text.as_ref()),
        Variant::LocalizedText(text) => quoted(text.text.as_ref()),
        Variant::ByteString(bytes) => quoted(&bytes.as_base64()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::{ByteString, Guid, LocalizedText, UAString};
    use plant_model::Monotonic;

    use super::*;

    fn read(value: impl Into<Variant>, data_type: DataType) -> (Option<Value>, Quality) {
        let sample = sampled(DataValue::value_only(value), data_type);
        (sample.value, sample.quality)
    }

    fn sampled(data: DataValue, data_type: DataType) -> Sample {
        let at = Instants {
            gateway_timestamp: Timestamp::from_micros(1_000),
            received_at: Monotonic::from_micros(1),
        };
        sample(data, data_type, at)
    }

    fn good(value: Value) -> (Option<Value>, Quality) {
        (Some(value), Quality::GOOD)
    }

    #[test]
    fn integers_of_every_width_are_kept_to_the_last_bit() {
        for (value, expected) in [
            (Variant::SByte(i8::MIN), -128),
            (Variant::Byte(u8::MAX), 255),
            (Variant::Int16(i16::MIN), -32_768),
            (Variant::UInt16(u16::MAX), 65_535),
            (Variant::Int32(i32::MIN), i64::from(i32::MIN)),
            (Variant::UInt32(u32::MAX), i64::from(u32::MAX)),
            (Variant::Int64(i64::MIN), i64::MIN),
            (Variant::UInt64(i64::MAX.cast_unsigned()), i64::MAX),
        ] {
            assert_eq!(read(value, DataType::Int), good(Value::Int(expected)));
        }
        assert_eq!(read(u64::MAX, DataType::Int), good(Value::Text("18446744073709551615".into())));
    }

    #[test]
    fn a_float_keeps_its_exact_value() {
        assert_eq!(read(0.1_f32, DataType::Float), good(Value::Float(f64::from(0.1_f32))));
        assert_eq!(read(0.1_f64, DataType::Float), good(Value::Float(0.1)));
        assert_eq!(read(7_i32, DataType::Float), good(Value::Float(7.0)));
    }

    #[test]
    fn a_number_that_is_none_is_a_failed_sensor() {
        assert_eq!(read(f64::NAN, DataType::Float), (None, Quality::BAD_SENSOR_FAILURE));
        assert_eq!(read(f32::INFINITY, DataType::Int), (None, Quality::BAD_SENSOR_FAILURE));
    }

    #[test]
    fn a_type_other_than_declared_is_converted_where_nothing_is_lost() {
        assert_eq!(read(4.0_f64, DataType::Int), good(Value::Int(4)));
        assert_eq!(read(4.5_f64, DataType::Int), good(Value::Float(4.5)));
        assert_eq!(read(true, DataType::Bool), good(Value::Bool(true)));
        assert_eq!(read(2_u8, DataType::Bool), good(Value::Bool(true)));
        assert_eq!(read(true, DataType::Int), good(Value::Int(1)));
        assert_eq!(read("12", DataType::Int), (None, BAD_TYPE_MISMATCH));
        assert_eq!(read(true, DataType::Float), (None, BAD_TYPE_MISMATCH));
        assert_eq!(read(1.0_f64, DataType::Bool), (None, BAD_TYPE_MISMATCH));
    }

    #[test]
    fn everything_has_a_text() {
        let text = |t: &str| good(Value::Text(t.into()));
        assert_eq!(read("P-4711", DataType::Text), text("P-4711"));
        assert_eq!(read(UAString::null(), DataType::Text), text(""));
        assert_eq!(read(42_i32, DataType::Text), text("42"));
        assert_eq!(read(LocalizedText::new("de", "läuft"), DataType::Text), text("läuft"));
        assert_eq!(read(Guid::null(), DataType::Text), text("00000000-0000-0000-0000-000000000000"));
        assert_eq!(read(ByteString::from(vec![1_u8, 2, 3]), DataType::Text), text("AQID"));
        let (cut, _) = read("ä".repeat(1000), DataType::Text);
        assert_eq!(cut, Some(Value::Text("ä".repeat(512).into())));
    }

    #[test]
    fn an_array_is_cut_at_a_whole_element() {
        let (cut, _) = read(vec![123_456_i32; 1000], DataType::Text);
        let Some(Value::Text(text)) = cut else { panic!("{cut:?}") };
        assert!(text.len() <= Value::TEXT_BYTES_MAX && text.ends_with(",123456,…]"), "{text}");
        assert_eq!(read(Vec::<i32>::new(), DataType::Text), good(Value::Text("[]".into())));
        assert_eq!(read(vec![1_i32], DataType::Int), (None, BAD_TYPE_MISMATCH));
    }

    #[test]
    fn the_status_is_kept_whole_and_a_missing_one_is_good() {
        let data = |status: u32| DataValue { status: Some(status.into()), ..DataValue::value_only(1_i32) };
        let overflow = sampled(data(0x0000_0480), DataType::Int);
        assert_eq!((overflow.value, overflow.quality.status_code()), (Some(Value::Int(1)), 0x0000_0480));
        assert!(has_overflow(&data(0x0000_0480)) && has_overflow(&data(0x0000_0080)));
        assert!(!has_overflow(&data(0x0000_0400)) && !has_overflow(&DataValue::value_only(1_i32)));
        let bad = sampled(data(0x808B_0000), DataType::Int);
        assert_eq!((bad.value, bad.quality), (None, Quality::BAD_DEVICE_FAILURE));
        let uncertain = sampled(data(0x4090_0000), DataType::Int);
        assert_eq!(uncertain.value, Some(Value::Int(1)));
    }

    #[test]
    fn a_good_status_without_a_value_is_no_data() {
        assert_eq!(read(Variant::Empty, DataType::Float), (None, BAD_NO_DATA));
        assert_eq!(sampled(DataValue::default(), DataType::Text).quality, BAD_NO_DATA);
    }

    #[test]
    fn the_source_time_is_kept_to_the_microsecond_even_of_a_clock_in_2000() {
        let at = |time: DateTime| {
            let data = DataValue { source_timestamp: Some(time), ..DataValue::value_only(1_i32) };
            sampled(data, DataType::Int).source_timestamp
        };
        let micros = |ticks| at(DateTime::from(ticks)).map(Timestamp::micros);
        assert_eq!(micros(TICKS_TO_1970 + 12_345_670), Some(1_234_567));
        assert_eq!(micros(TICKS_TO_1970 + 946_684_800 * 10_000_000), Some(946_684_800_000_000));
        assert_eq!(at(DateTime::null()), None);
        assert_eq!(sampled(DataValue::value_only(1_i32), DataType::Int).source_timestamp, None);
    }
}
