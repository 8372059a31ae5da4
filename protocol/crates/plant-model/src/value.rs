//! Values and their quality.

use std::fmt;
use std::sync::Arc;

/// One value of a tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number. Unsigned 64-bit values above `i64::MAX` travel as text.
    Int(i64),
    /// A number in the tag's engineering unit.
    Float(f64),
    /// A text of at most [`Value::TEXT_BYTES_MAX`] bytes.
    Text(Arc<str>),
}

impl Value {
    /// The longest text a value holds, in bytes; a longer one is cut by its driver.
    pub const TEXT_BYTES_MAX: usize = 1024;

    /// The value as a number, where it has one: `true` is 1, a text has none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "limits and charts work in f64; beyond 2^53 the nearest is meant"
    )]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Text(_) => None,
        }
    }

    /// Whether both are the same value, bit by bit: a NaN equals itself, `-0.0` differs from `0.0`.
    #[must_use]
    pub fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            _ => self == other,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// The three classes of quality (OPC UA Part 4, 7.39: the top two bits of a `StatusCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QualityClass {
    /// The value can be used.
    Good,
    /// The value may be used with care.
    Uncertain,
    /// The value must not be used.
    Bad,
}

/// Quality of a sample: an OPC UA `StatusCode`, kept whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quality(u32);

impl Quality {
    /// Good.
    pub const GOOD: Self = Self(0);
    /// Something about the sample is not certain, here the time at which it was taken.
    pub const UNCERTAIN: Self = Self(0x4000_0000);
    /// The last value is repeated, because the source could not give a new one.
    pub const UNCERTAIN_LAST_USABLE_VALUE: Self = Self(0x4090_0000);
    /// The value lies outside the tag's range.
    pub const UNCERTAIN_ENGINEERING_UNITS_EXCEEDED: Self = Self(0x4094_0000);
    /// The link to the machine failed.
    pub const BAD_COMMUNICATION_ERROR: Self = Self(0x8005_0000);
    /// The answer could not be decoded.
    pub const BAD_DECODING_ERROR: Self = Self(0x8007_0000);
    /// The machine did not answer in time.
    pub const BAD_TIMEOUT: Self = Self(0x800A_0000);
    /// Nothing was read yet.
    pub const BAD_WAITING_FOR_INITIAL_DATA: Self = Self(0x8032_0000);
    /// The node does not exist (OPC UA).
    pub const BAD_NODE_ID_UNKNOWN: Self = Self(0x8034_0000);
    /// The value cannot be represented or is out of the allowed range.
    pub const BAD_OUT_OF_RANGE: Self = Self(0x803C_0000);
    /// The function is not supported (Modbus exception 1).
    pub const BAD_NOT_SUPPORTED: Self = Self(0x803D_0000);
    /// The address is wrong (Modbus exception 2).
    pub const BAD_CONFIGURATION_ERROR: Self = Self(0x8089_0000);
    /// There is no connection to the machine.
    pub const BAD_NOT_CONNECTED: Self = Self(0x808A_0000);
    /// The machine reports a failure (Modbus exception 4).
    pub const BAD_DEVICE_FAILURE: Self = Self(0x808B_0000);
    /// The sensor reports a failure (NaN, infinity).
    pub const BAD_SENSOR_FAILURE: Self = Self(0x808C_0000);

    /// A quality from its status code.
    #[must_use]
    pub const fn from_status_code(code: u32) -> Self {
        Self(code)
    }

    /// The OPC UA status code.
    #[must_use]
    pub const fn status_code(self) -> u32 {
        self.0
    }

    /// Good, uncertain or bad.
    #[must_use]
    pub const fn class(self) -> QualityClass {
        match self.0 >> 30 {
            0 => QualityClass::Good,
            1 => QualityClass::Uncertain,
            _ => QualityClass::Bad,
        }
    }

    /// Whether the class is good, whatever the information bits say.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self.class(), QualityClass::Good)
    }

    /// The name of the status in OPC UA, where this project uses it; else its class.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 & 0xFFFF_0000 {
            0 => "Good",
            0x4090_0000 => "UncertainLastUsableValue",
            0x4094_0000 => "UncertainEngineeringUnitsExceeded",
            0x8005_0000 => "BadCommunicationError",
            0x8007_0000 => "BadDecodingError",
            0x800A_0000 => "BadTimeout",
            0x8032_0000 => "BadWaitingForInitialData",
            0x8034_0000 => "BadNodeIdUnknown",
            0x803C_0000 => "BadOutOfRange",
            0x803D_0000 => "BadNotSupported",
            0x8089_0000 => "BadConfigurationError",
            0x808A_0000 => "BadNotConnected",
            0x808B_0000 => "BadDeviceFailure",
            0x808C_0000 => "BadSensorFailure",
            code if code >> 30 == 0 => "Good",
            code if code >> 30 == 1 => "Uncertain",
            _ => "Bad",
        }
    }
}

impl fmt::Debug for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(0x{:08X})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_in_the_top_two_bits() {
        assert_eq!(Quality::GOOD.class(), QualityClass::Good);
        assert!(Quality::from_status_code(0x0000_0480).is_good(), "Good with overflow is good");
        assert_eq!(Quality::UNCERTAIN_LAST_USABLE_VALUE.class(), QualityClass::Uncertain);
        assert_eq!(Quality::BAD_TIMEOUT.class(), QualityClass::Bad);
        assert_eq!(Quality::from_status_code(u32::MAX).class(), QualityClass::Bad);
    }

    #[test]
    fn every_named_code_answers_with_its_name() {
        assert_eq!(format!("{:?}", Quality::BAD_TIMEOUT), "BadTimeout(0x800A0000)");
        assert_eq!(Quality::from_status_code(0x0000_0480).name(), "Good");
        assert_eq!(Quality::from_status_code(0x4001_0000).name(), "Uncertain");
        assert_eq!(Quality::from_status_code(0x8001_0000).name(), "Bad");
    }

    #[test]
    fn identical_is_bitwise() {
        assert!(Value::Float(f64::NAN).is_identical(&Value::Float(f64::NAN)));
        assert!(!Value::Float(0.0).is_identical(&Value::Float(-0.0)));
        assert!(!Value::Int(1).is_identical(&Value::Bool(true)));
    }
}
