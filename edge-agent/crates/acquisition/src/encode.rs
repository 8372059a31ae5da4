//! From a value to registers, for writing.

use plant_model::Value;

use crate::modbus::{ModbusTag, RegisterFormat, Scaling};
use crate::{AcquisitionError, RegisterTable};

impl ModbusTag {
    /// The words that make this tag read `value`, as many as [`ModbusTag::quantity`].
    ///
    /// # Errors
    /// The table cannot be written, the tag is only a part of a register, or the value is of another
    /// kind or does not fit.
    pub fn encode(&self, value: &Value) -> Result<Vec<u16>, AcquisitionError> {
        let refuse = |problem| AcquisitionError::Write { value: value.to_string(), problem };
        if matches!(self.parameters().table, RegisterTable::DiscreteInput | RegisterTable::InputRegister) {
            return Err(refuse("its table can only be read"));
        }
        let number = || match value {
            Value::Int(_) | Value::Float(_) => value.as_f64().ok_or(refuse("a number is needed")),
            Value::Bool(_) | Value::Text(_) => Err(refuse("a number is needed")),
        };
        let too_large = || refuse("it does not fit the registers");
        match (self.parameters().format, value) {
            (RegisterFormat::Bool, Value::Bool(on)) => Ok(self.words(&u16::from(*on).to_be_bytes())),
            (RegisterFormat::Bool, _) => Err(refuse("true or false is needed")),
            (RegisterFormat::Bit(_) | RegisterFormat::U8(_) | RegisterFormat::I8(_), _) => {
                Err(refuse("it is only a part of a register, whose other part would be overwritten"))
            }
            (RegisterFormat::Text { registers }, Value::Text(text)) => {
                let mut bytes = text.as_bytes().to_vec();
                let room = 2 * usize::from(registers);
                if bytes.len() > room {
                    return Err(too_large());
                }
                bytes.resize(room, 0);
                Ok(self.words(&bytes))
            }
            (RegisterFormat::Text { .. }, _) => Err(refuse("a text is needed")),
            (RegisterFormat::F32, _) => {
                let raw = single(self.raw(number()?)).ok_or_else(too_large)?;
                Ok(self.words(&raw.to_be_bytes()))
            }
            (RegisterFormat::F64, _) => Ok(self.words(&self.raw(number()?).to_be_bytes())),
            (RegisterFormat::Bcd16 | RegisterFormat::Bcd32, _) => {
                let digits = 4 * u32::from(self.quantity());
                let bits = decimal(self.whole(value, number()?).ok_or_else(too_large)?, digits);
                Ok(self.words(&self.low_bytes(bits.ok_or_else(too_large)?)))
            }
            (
                RegisterFormat::U16
                | RegisterFormat::U32
                | RegisterFormat::U64
                | RegisterFormat::I16
                | RegisterFormat::I32
                | RegisterFormat::I64,
                _,
            ) => {
                let raw = self.whole(value, number()?).ok_or_else(too_large)?;
                if !self.holds(raw) {
                    return Err(too_large());
                }
                Ok(self.words(&self.low_bytes(raw.cast_unsigned())))
            }
        }
    }

    /// The raw number behind a number in the engineering unit.
    fn raw(&self, number: f64) -> f64 {
        match self.scaling() {
            Scaling::Identity => number,
            Scaling::Divide { shift, divisor } => number * divisor - shift,
            Scaling::Linear { scale, offset } => (number - offset) / scale,
        }
    }

    /// The raw number, rounded to a whole one; exact where there is nothing to scale.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    fn whole(&self, value: &Value, number: f64) -> Option<i64> {
        if let (Scaling::Identity, Value::Int(exact)) = (self.scaling(), value) {
            return Some(*exact);
        }
        let rounded = self.raw(number).round();
        (rounded.abs() <= 9_007_199_254_740_992.0).then_some(rounded as i64)
    }

    fn holds(&self, raw: i64) -> bool {
        match self.parameters().format {
            RegisterFormat::U16 => u16::try_from(raw).is_ok(),
            RegisterFormat::U32 => u32::try_from(raw).is_ok(),
            RegisterFormat::U64 => raw >= 0,
            RegisterFormat::I16 => i16::try_from(raw).is_ok(),
            RegisterFormat::I32 => i32::try_from(raw).is_ok(),
            RegisterFormat::I64
            | RegisterFormat::F32
            | RegisterFormat::F64
            | RegisterFormat::U8(_)
            | RegisterFormat::I8(_)
            | RegisterFormat::Bcd16
            | RegisterFormat::Bcd32
            | RegisterFormat::Bool
            | RegisterFormat::Bit(_)
            | RegisterFormat::Text { .. } => true,
        }
    }

    /// The last bytes of `bits`, as many as the tag has.
    fn low_bytes(&self, bits: u64) -> Vec<u8> {
        bits.to_be_bytes()[8 - 2 * usize::from(self.quantity())..].to_vec()
    }

    /// Big-endian bytes in the order of the device.
    fn words(&self, bytes: &[u8]) -> Vec<u16> {
        let order = self.parameters().word_order;
        let word = |pair: &[u8]| match pair {
            [a, b] if order.swaps_bytes() => u16::from_be_bytes([*b, *a]),
            [a, b] => u16::from_be_bytes([*a, *b]),
            _ => 0,
        };
        let mut words: Vec<u16> = bytes.chunks(2).map(word).collect();
        if order.reverses_words() {
            words.reverse();
        }
        words
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest single-precision number is meant")]
fn single(number: f64) -> Option<f32> {
    let raw = number as f32;
    raw.is_finite().then_some(raw)
}

/// A number as decimal digits in half bytes.
fn decimal(number: i64, digits: u32) -> Option<u64> {
    let number = u64::try_from(number).ok().filter(|n| *n < 10_u64.pow(digits))?;
    Some(
        (0..digits).fold(0, |bits, position| bits | ((number / 10_u64.pow(position) % 10) << (4 * position))),
    )
}

#[cfg(test)]
mod tests {
    use plant_model::DataType;
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::tests::parameters;
    use crate::modbus::{ModbusTagParameters, WordOrder};

    fn tag(format: RegisterFormat) -> ModbusTag {
        ModbusTag::new(parameters(format)).expect("valid")
    }

    #[test]
    fn what_does_not_fit_or_cannot_be_written_is_refused_with_its_reason() {
        let input =
            ModbusTagParameters { table: RegisterTable::InputRegister, ..parameters(RegisterFormat::U16) };
        for (tag, value, reason) in [
            (tag(RegisterFormat::U16), Value::Int(65_536), "does not fit"),
            (tag(RegisterFormat::U16), Value::Int(-1), "does not fit"),
            (tag(RegisterFormat::Bcd16), Value::Int(10_000), "does not fit"),
            (tag(RegisterFormat::F32), Value::Float(1e300), "does not fit"),
            (tag(RegisterFormat::Text { registers: 1 }), Value::Text("abc".into()), "does not fit"),
            (tag(RegisterFormat::Bit(3)), Value::Bool(true), "part of a register"),
            (tag(RegisterFormat::U16), Value::Bool(true), "a number"),
            (ModbusTag::new(input).expect("valid"), Value::Int(1), "only be read"),
        ] {
            let error = tag.encode(&value).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_scaled_value_is_written_as_the_nearest_step() {
        let p = parameters(RegisterFormat::I16);
        let tenths = ModbusTagParameters { scale: 0.1, offset: -40.0, data_type: DataType::Float, ..p };
        let tag = ModbusTag::new(tenths).expect("valid");
        assert_eq!(tag.encode(&Value::Float(-16.9)), Ok(vec![231]));
        assert_eq!(tag.encode(&Value::Int(0)), Ok(vec![400]));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            number in any::<i64>(),
            order in prop::sample::select(WordOrder::ALL.to_vec()),
            format in prop::sample::select(vec![
                RegisterFormat::U16, RegisterFormat::I16, RegisterFormat::U32, RegisterFormat::I32,
                RegisterFormat::U64, RegisterFormat::I64, RegisterFormat::Bcd16, RegisterFormat::Bcd32,
            ]),
            shift in 0_u32..63,
        ) {
            let p = ModbusTagParameters { word_order: order, ..parameters(format) };
            let tag = ModbusTag::new(p).expect("valid");
            let value = Value::Int(number >> shift);
            if let Ok(words) = tag.encode(&value) {
                prop_assert_eq!(tag.decode(&words), Ok(value));
            }
        }

        #[test]
        fn every_float_that_is_written_reads_the_same(
            number in any::<f64>().prop_filter("finite", |n| n.is_finite()),
            order in prop::sample::select(WordOrder::ALL.to_vec()),
        ) {
            let p = ModbusTagParameters { word_order: order, ..parameters(RegisterFormat::F64) };
            let tag = ModbusTag::new(p).expect("valid");
            let words = tag.encode(&Value::Float(number)).expect("it fits");
            prop_assert!(tag.decode(&words).expect("finite").is_identical(&Value::Float(number)));
        }
    }
}
