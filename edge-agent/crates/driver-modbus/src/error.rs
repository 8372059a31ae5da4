//! Why a poll or a connection failed, and what that makes of a tag's quality.

use std::io;
use std::time::Duration;

use plant_model::Quality;
use thiserror::Error;
use tokio_modbus::ExceptionCode;

/// A failure on the way to a value.
#[derive(Debug, Error)]
pub(crate) enum ModbusError {
    #[error("no connection to {host} port {port} within {limit:?}: check power, network and address")]
    ConnectDeadline { host: String, port: u16, limit: Duration },
    #[error("cannot connect to {host} port {port}: {cause}")]
    Connect { host: String, port: u16, cause: io::Error },
    #[error("no answer within {limit:?}")]
    Timeout { limit: Duration },
    #[error("the machine refused with exception {:02X} ({code})", u8::from(*code))]
    Exception { code: ExceptionCode },
    #[error("the connection failed: {cause}")]
    Transport { cause: io::Error },
    #[error("the answer does not fit the request: {problem}")]
    Answer { problem: String },
}

impl ModbusError {
    /// The quality of a tag that could not be read for this reason.
    pub(crate) fn quality(&self) -> Quality {
        match self {
            Self::ConnectDeadline { .. } | Self::Connect { .. } => Quality::BAD_NOT_CONNECTED,
            Self::Timeout { .. } => Quality::BAD_TIMEOUT,
            Self::Exception { code } => exception_quality(*code),
            Self::Transport { cause } if cause.kind() == io::ErrorKind::InvalidData => {
                Quality::BAD_DECODING_ERROR
            }
            Self::Transport { .. } => Quality::BAD_COMMUNICATION_ERROR,
            Self::Answer { .. } => Quality::BAD_DECODING_ERROR,
        }
    }
}

/// `BadNoCommunication`: a gateway has no path to the unit.
const BAD_NO_COMMUNICATION: Quality = Quality::from_status_code(0x8031_0000);

/// The quality that stands for an exception. The Modbus specification leaves this mapping open; it
/// is ours.
pub(crate) fn exception_quality(code: ExceptionCode) -> Quality {
    match u8::from(code) {
        0x01 => Quality::BAD_NOT_SUPPORTED,
        0x02 => Quality::BAD_CONFIGURATION_ERROR,
        0x03 => Quality::BAD_OUT_OF_RANGE,
        // Acknowledge and busy: ask again later; the last value still stands.
        0x05 | 0x06 => Quality::UNCERTAIN_LAST_USABLE_VALUE,
        0x0A => BAD_NO_COMMUNICATION,
        0x0B => Quality::BAD_TIMEOUT,
        _ => Quality::BAD_DEVICE_FAILURE,
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
            assert_eq!(exception_quality(ExceptionCode::new(code)).name(), quality, "{code}");
        }
        assert_eq!(exception_quality(ExceptionCode::new(0x0A)).status_code(), 0x8031_0000);
    }

    #[test]
    fn an_exception_is_printed_with_its_code() {
        let error = ModbusError::Exception { code: ExceptionCode::new(2) };
        assert!(error.to_string().contains("exception 02"), "{error}");
    }
}
