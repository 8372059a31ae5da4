//! What a Modbus exception means and what it asks of the one who asked.

use plant_model::Quality;

/// The reason of a Modbus exception (Application Protocol V1.1b3, section 7), by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 01: the device does not know the function code.
    IllegalFunction,
    /// 02: an address does not exist; the request is narrowed down to it.
    IllegalAddress,
    /// 03: a value in the request is not allowed, often its length; narrowed down as well.
    IllegalValue,
    /// 04: the device failed; the next poll asks again.
    DeviceFailure,
    /// 05 and 06: ask the same again after a pause; the last value still stands.
    Busy,
    /// 0A: a gateway has no path to the unit.
    NoPath,
    /// 0B: a gateway waited for the unit in vain.
    NoAnswer,
    /// Anything else.
    Other,
}

/// `BadNoCommunication`: a gateway has no path to the unit.
const BAD_NO_COMMUNICATION: Quality = Quality::from_status_code(0x8031_0000);

impl Refusal {
    /// The reason behind an exception code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0x01 => Self::IllegalFunction,
            0x02 => Self::IllegalAddress,
            0x03 => Self::IllegalValue,
            0x04 => Self::DeviceFailure,
            0x05 | 0x06 => Self::Busy,
            0x0A => Self::NoPath,
            0x0B => Self::NoAnswer,
            _ => Self::Other,
        }
    }

    /// The quality of what could not be read. The Modbus specification leaves this mapping open; it
    /// is ours.
    #[must_use]
    pub const fn quality(self) -> Quality {
        match self {
            Self::IllegalFunction => Quality::BAD_NOT_SUPPORTED,
            Self::IllegalAddress => Quality::BAD_CONFIGURATION_ERROR,
            Self::IllegalValue => Quality::BAD_OUT_OF_RANGE,
            Self::DeviceFailure | Self::Other => Quality::BAD_DEVICE_FAILURE,
            Self::Busy => Quality::UNCERTAIN_LAST_USABLE_VALUE,
            Self::NoPath => BAD_NO_COMMUNICATION,
            Self::NoAnswer => Quality::BAD_TIMEOUT,
        }
    }

    /// Whether a gateway speaks for a unit that does not: for the unit this is silence.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::NoPath | Self::NoAnswer)
    }

    /// Whether a smaller request may find what exactly is at fault.
    #[must_use]
    pub const fn is_divisible(self) -> bool {
        matches!(self, Self::IllegalAddress | Self::IllegalValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exception_has_its_quality() {
        for (code, quality) in [
            (1, "BadNotSupported"),
            (2, "BadConfigurationError"),
            (3, "BadOutOfRange"),
            (4, "BadDeviceFailure"),
            (5, "UncertainLastUsableValue"),
            (6, "UncertainLastUsableValue"),
            (0x0B, "BadTimeout"),
            (0x2A, "BadDeviceFailure"),
        ] {
            assert_eq!(Refusal::from_code(code).quality().name(), quality, "{code}");
        }
        assert_eq!(Refusal::from_code(0x0A).quality().status_code(), 0x8031_0000);
    }

    #[test]
    fn only_a_gateway_speaks_for_a_silent_unit_and_only_addresses_and_values_can_be_narrowed_down() {
        let of = |test: fn(Refusal) -> bool| (0..=0x10).filter(move |c| test(Refusal::from_code(*c)));
        assert_eq!(of(Refusal::is_silence).collect::<Vec<_>>(), [0x0A, 0x0B]);
        assert_eq!(of(Refusal::is_divisible).collect::<Vec<_>>(), [0x02, 0x03]);
    }
}
