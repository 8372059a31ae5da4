//! From registers to a value.

use plant_model::{DataType, Quality, Value};

use crate::modbus::{Byte, ModbusTag, RegisterFormat, Scaling};

impl ModbusTag {
    /// Decodes the words of this tag, as many as [`ModbusTag::quantity`]; a bit of a bit table is a
    /// word of 0 or 1.
    ///
    /// A number becomes [`Value::Int`] where the tag is declared int and the scaled result is whole,
    /// else [`Value::Float`]. An unsigned 64-bit number above the range of [`Value::Int`] becomes
    /// text.
    ///
    /// # Errors
    /// `BadSensorFailure` for a NaN or an infinity, `BadOutOfRange` if the scaled result is no finite
    /// number, `BadDecodingError` if the number of words is wrong or a decimal digit is none.
    pub fn decode(&self, words: &[u16]) -> Result<Value, Quality> {
        if words.len() != usize::from(self.quantity()) {
            return Err(Quality::BAD_DECODING_ERROR);
        }
        match self.parameters().format {
            RegisterFormat::U16 => self.unsigned(self.bits(words)),
            RegisterFormat::I16 => self.signed(i64::from(self.low_16(words).cast_signed())),
            RegisterFormat::U8(byte) => self.unsigned(u64::from(self.byte(byte, words))),
            RegisterFormat::I8(byte) => self.signed(i64::from(self.byte(byte, words).cast_signed())),
            RegisterFormat::Bcd16 => self.decimal(self.bits(words), 4),
            RegisterFormat::Bcd32 => self.decimal(self.bits(words), 8),
            RegisterFormat::U32 | RegisterFormat::U64 => self.unsigned(self.bits(words)),
            RegisterFormat::I32 => self.signed(i64::from(self.low_32(words).cast_signed())),
            RegisterFormat::I64 => self.signed(self.bits(words).cast_signed()),
            RegisterFormat::F32 => self.float(f64::from(f32::from_bits(self.low_32(words)))),
            RegisterFormat::F64 => self.float(f64::from_bits(self.bits(words))),
            RegisterFormat::Bool => Ok(Value::Bool(words[0] != 0)),
            RegisterFormat::Bit(bit) => Ok(Value::Bool(self.bits(words) >> bit & 1 == 1)),
            RegisterFormat::Text { .. } => Ok(Value::Text(self.text(words).into())),
        }
    }

    fn ordered(&self, word: u16) -> u16 {
        if self.parameters().word_order.swaps_bytes() { word.swap_bytes() } else { word }
    }

    /// The words as one number, the most significant bit first; at most four words.
    fn bits(&self, words: &[u16]) -> u64 {
        let join = |bits: u64, word: &u16| bits << 16 | u64::from(self.ordered(*word));
        if self.parameters().word_order.reverses_words() {
            words.iter().rev().fold(0, join)
        } else {
            words.iter().fold(0, join)
        }
    }

    fn low_32(&self, words: &[u16]) -> u32 {
        u32::try_from(self.bits(words)).expect("two words have 32 bits")
    }

    fn low_16(&self, words: &[u16]) -> u16 {
        u16::try_from(self.bits(words)).expect("one word has 16 bits")
    }

    fn byte(&self, byte: Byte, words: &[u16]) -> u8 {
        let [high, low] = self.low_16(words).to_be_bytes();
        match byte {
            Byte::High => high,
            Byte::Low => low,
        }
    }

    /// Decimal digits in half bytes.
    fn decimal(&self, bits: u64, digits: u32) -> Result<Value, Quality> {
        let digit = |position: u32| bits >> (4 * position) & 0xF;
        if (0..digits).any(|position| digit(position) > 9) {
            return Err(Quality::BAD_DECODING_ERROR);
        }
        self.unsigned((0..digits).rev().fold(0, |number, position| number * 10 + digit(position)))
    }

    fn unsigned(&self, raw: u64) -> Result<Value, Quality> {
        match i64::try_from(raw) {
            Ok(raw) => self.signed(raw),
            Err(_) if self.is_unscaled_int() => Ok(Value::Text(raw.to_string().into())),
            Err(_) => self.scaled(nearest_unsigned(raw)),
        }
    }

    fn signed(&self, raw: i64) -> Result<Value, Quality> {
        if self.is_unscaled_int() { Ok(Value::Int(raw)) } else { self.scaled(nearest(raw)) }
    }

    fn float(&self, raw: f64) -> Result<Value, Quality> {
        if raw.is_finite() { self.scaled(raw) } else { Err(Quality::BAD_SENSOR_FAILURE) }
    }

    fn is_unscaled_int(&self) -> bool {
        self.parameters().data_type == DataType::Int && self.scaling() == Scaling::Identity
    }

    fn scaled(&self, raw: f64) -> Result<Value, Quality> {
        let result = self.scaling().apply(raw);
        if !result.is_finite() {
            return Err(Quality::BAD_OUT_OF_RANGE);
        }
        let whole = if self.parameters().data_type == DataType::Int { exact_int(result) } else { None };
        Ok(whole.map_or(Value::Float(result), Value::Int))
    }

    fn text(&self, words: &[u16]) -> String {
        let bytes: Vec<u8> = words.iter().flat_map(|w| self.ordered(*w).to_be_bytes()).collect();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest number is meant")]
const fn nearest(raw: i64) -> f64 {
    raw as f64
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest number is meant")]
const fn nearest_unsigned(raw: u64) -> f64 {
    raw as f64
}

/// The number as an integer, if it is whole and in the range where every whole number is exact.
#[expect(clippy::cast_possible_truncation, reason = "the number is whole and below 2^53")]
fn exact_int(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::tests::parameters;
    use crate::modbus::{ModbusTagParameters, WordOrder};

    fn tag(format: RegisterFormat) -> ModbusTag {
        ModbusTag::new(parameters(format)).expect("valid")
    }

    fn scaled(format: RegisterFormat, scale: f64, offset: f64, data_type: DataType) -> ModbusTag {
        ModbusTag::new(ModbusTagParameters { scale, offset, data_type, ..parameters(format) }).expect("valid")
    }

    fn ordered(format: RegisterFormat, word_order: WordOrder) -> ModbusTag {
        ModbusTag::new(ModbusTagParameters { word_order, ..parameters(format) }).expect("valid")
    }

    /// The words in which a machine of that order sends these big-endian bytes.
    fn sent(bytes: &[u8], order: WordOrder) -> Vec<u16> {
        let mut words: Vec<u16> =
            bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if matches!(order, WordOrder::Cdab | WordOrder::Dcba) {
            words.reverse();
        }
        if matches!(order, WordOrder::Badc | WordOrder::Dcba) {
            words.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
        words
    }

    #[test]
    fn integers_of_every_width_keep_their_sign() {
        assert_eq!(tag(RegisterFormat::U16).decode(&[0xFFFE]), Ok(Value::Int(65_534)));
        assert_eq!(tag(RegisterFormat::I16).decode(&[0xFFFE]), Ok(Value::Int(-2)));
        assert_eq!(tag(RegisterFormat::U32).decode(&[0xFFFF, 0xFFFE]), Ok(Value::Int(4_294_967_294)));
        assert_eq!(tag(RegisterFormat::I32).decode(&[0xFFFF, 0xFFFE]), Ok(Value::Int(-2)));
        assert_eq!(tag(RegisterFormat::I64).decode(&[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]), Ok(Value::Int(-2)));
        assert_eq!(tag(RegisterFormat::U64).decode(&[0, 1, 0, 2]), Ok(Value::Int(0x1_0000_0002)));
    }

    #[test]
    fn a_single_byte_of_a_register_is_found_in_both_byte_orders() {
        assert_eq!(tag(RegisterFormat::U8(Byte::High)).decode(&[0xFE07]), Ok(Value::Int(254)));
        assert_eq!(tag(RegisterFormat::I8(Byte::High)).decode(&[0xFE07]), Ok(Value::Int(-2)));
        assert_eq!(tag(RegisterFormat::U8(Byte::Low)).decode(&[0xFE07]), Ok(Value::Int(7)));
        let swapped = ordered(RegisterFormat::I8(Byte::Low), WordOrder::Badc);
        assert_eq!(swapped.decode(&[0xFE07]), Ok(Value::Int(-2)));
    }

    #[test]
    fn decimal_digits_are_read_and_what_is_none_is_refused() {
        assert_eq!(tag(RegisterFormat::Bcd16).decode(&[0x1234]), Ok(Value::Int(1234)));
        assert_eq!(tag(RegisterFormat::Bcd32).decode(&[0x1234, 0x5678]), Ok(Value::Int(12_345_678)));
        let reversed = ordered(RegisterFormat::Bcd32, WordOrder::Cdab);
        assert_eq!(reversed.decode(&[0x5678, 0x1234]), Ok(Value::Int(12_345_678)));
        assert_eq!(tag(RegisterFormat::Bcd16).decode(&[0x12A4]), Err(Quality::BAD_DECODING_ERROR));
        let tenths = scaled(RegisterFormat::Bcd16, 0.1, 0.0, DataType::Float);
        assert_eq!(tenths.decode(&[0x0231]), Ok(Value::Float(23.1)));
    }

    #[test]
    fn the_eight_bytes_of_64_bits_arrive_in_the_documented_orders() {
        let number = Ok(Value::Int(0x0102_0304_0506_0708));
        for (order, words) in [
            (WordOrder::Abcd, [0x0102, 0x0304, 0x0506, 0x0708]),
            (WordOrder::Cdab, [0x0708, 0x0506, 0x0304, 0x0102]),
            (WordOrder::Badc, [0x0201, 0x0403, 0x0605, 0x0807]),
            (WordOrder::Dcba, [0x0807, 0x0605, 0x0403, 0x0201]),
        ] {
            assert_eq!(ordered(RegisterFormat::I64, order).decode(&words), number, "{}", order.name());
        }
    }

    #[test]
    fn an_unsigned_number_beyond_int_travels_as_text() {
        let words = [0xFFFF; 4];
        assert_eq!(tag(RegisterFormat::U64).decode(&words), Ok(Value::Text("18446744073709551615".into())));
        let float = scaled(RegisterFormat::U64, 1.0, 0.0, DataType::Float);
        assert_eq!(float.decode(&words), Ok(Value::Float(18_446_744_073_709_551_615.0)));
    }

    #[test]
    fn the_four_orders_of_a_float_are_told_apart() {
        let bytes = 229.01_f32.to_be_bytes();
        for order in WordOrder::ALL {
            let value = ordered(RegisterFormat::F32, order).decode(&sent(&bytes, order));
            assert_eq!(value, Ok(Value::Float(f64::from(229.01_f32))), "{order:?}");
        }
        let words = [0x1234, 0x5678];
        let decoded = |order| ordered(RegisterFormat::U32, order).decode(&words);
        assert_eq!(decoded(WordOrder::Abcd), Ok(Value::Int(0x1234_5678)));
        assert_eq!(decoded(WordOrder::Cdab), Ok(Value::Int(0x5678_1234)));
        assert_eq!(decoded(WordOrder::Badc), Ok(Value::Int(0x3412_7856)));
        assert_eq!(decoded(WordOrder::Dcba), Ok(Value::Int(0x7856_3412)));
    }

    #[test]
    fn a_decimal_scale_gives_the_number_a_person_would_write() {
        let tenths = scaled(RegisterFormat::I16, 0.1, 0.0, DataType::Float);
        assert_eq!(tenths.decode(&[231]), Ok(Value::Float(23.1)));
        assert_eq!(tenths.decode(&[3]), Ok(Value::Float(0.3)));
        let celsius = scaled(RegisterFormat::I16, 0.1, -40.0, DataType::Float);
        assert_eq!(celsius.decode(&[231]), Ok(Value::Float(-16.9)));
        let tens = scaled(RegisterFormat::U16, 10.0, 5.0, DataType::Float);
        assert_eq!(tens.decode(&[7]), Ok(Value::Float(75.0)));
    }

    #[test]
    fn a_declared_int_stays_whole_where_it_can() {
        let tag = scaled(RegisterFormat::U16, 0.5, 0.0, DataType::Int);
        assert_eq!(tag.decode(&[8]), Ok(Value::Int(4)));
        assert_eq!(tag.decode(&[9]), Ok(Value::Float(4.5)));
        let float = scaled(RegisterFormat::U16, 1.0, 0.0, DataType::Float);
        assert_eq!(float.decode(&[9]), Ok(Value::Float(9.0)));
    }

    #[test]
    fn a_number_that_is_none_is_a_failed_sensor() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let words = sent(&bad.to_be_bytes(), WordOrder::Abcd);
            assert_eq!(tag(RegisterFormat::F32).decode(&words), Err(Quality::BAD_SENSOR_FAILURE));
        }
        let words = sent(&f64::MAX.to_be_bytes(), WordOrder::Abcd);
        let huge = scaled(RegisterFormat::F64, 10.0, 0.0, DataType::Float);
        assert_eq!(huge.decode(&words), Err(Quality::BAD_OUT_OF_RANGE));
    }

    #[test]
    fn bits_and_truth_values_are_found() {
        assert_eq!(tag(RegisterFormat::Bit(15)).decode(&[0x8000]), Ok(Value::Bool(true)));
        assert_eq!(tag(RegisterFormat::Bit(0)).decode(&[0x8000]), Ok(Value::Bool(false)));
        let swapped = ordered(RegisterFormat::Bit(0), WordOrder::Badc);
        assert_eq!(swapped.decode(&[0x0100]), Ok(Value::Bool(true)));
        assert_eq!(tag(RegisterFormat::Bool).decode(&[0]), Ok(Value::Bool(false)));
        assert_eq!(tag(RegisterFormat::Bool).decode(&[1]), Ok(Value::Bool(true)));
    }

    #[test]
    fn a_text_ends_at_its_first_zero_and_loses_its_padding() {
        let text = tag(RegisterFormat::Text { registers: 4 });
        let words = |bytes: &[u8; 8]| sent(bytes, WordOrder::Abcd);
        assert_eq!(text.decode(&words(b"P-4711  ")), Ok(Value::Text("P-4711".into())));
        assert_eq!(text.decode(&words(b"AB\0junk!")), Ok(Value::Text("AB".into())));
        assert_eq!(text.decode(&words(b"\xFFB\0\0\0\0\0\0")), Ok(Value::Text("\u{FFFD}B".into())));
        let swapped = ordered(RegisterFormat::Text { registers: 2 }, WordOrder::Badc);
        assert_eq!(swapped.decode(&sent(b"BADC", WordOrder::Abcd)), Ok(Value::Text("ABCD".into())));
    }

    #[test]
    fn a_wrong_number_of_words_is_no_value() {
        assert_eq!(tag(RegisterFormat::F32).decode(&[1]), Err(Quality::BAD_DECODING_ERROR));
        assert_eq!(tag(RegisterFormat::U16).decode(&[]), Err(Quality::BAD_DECODING_ERROR));
    }

    fn any_order() -> impl Strategy<Value = WordOrder> {
        prop::sample::select(WordOrder::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn every_f64_comes_back_bit_by_bit(bits: u64, order in any_order()) {
            let number = f64::from_bits(bits);
            let decoded = ordered(RegisterFormat::F64, order).decode(&sent(&number.to_be_bytes(), order));
            if number.is_finite() {
                prop_assert!(decoded.expect("finite").is_identical(&Value::Float(number)));
            } else {
                prop_assert_eq!(decoded, Err(Quality::BAD_SENSOR_FAILURE));
            }
        }

        #[test]
        fn every_i64_comes_back(number: i64, order in any_order()) {
            let decoded = ordered(RegisterFormat::I64, order).decode(&sent(&number.to_be_bytes(), order));
            prop_assert_eq!(decoded, Ok(Value::Int(number)));
        }

        #[test]
        fn a_scaled_register_is_the_double_nearest_to_its_decimal(raw: i16, digits in 0_u32..=6) {
            let scale: f64 = format!("1e-{digits}").parse().expect("a number");
            let decimal: f64 = format!("{raw}e-{digits}").parse().expect("a number");
            let tag = scaled(RegisterFormat::I16, scale, 0.0, DataType::Float);
            prop_assert_eq!(tag.decode(&[raw.cast_unsigned()]).expect("finite").as_f64(), Some(decimal));
        }
    }
}
