//! Why a poll or a connection failed, and what that makes of a tag's quality.

use std::io;
use std::time::Duration;

use acquisition::Refusal;
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
    #[error("cannot open {device}: {cause}; check the adapter, its name and the rights to it")]
    Open { device: String, cause: io::Error },
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
    /// The error for an exception code.
    pub(crate) const fn refusal(code: u8) -> Self {
        Self::Exception { code: ExceptionCode::new(code) }
    }

    /// The quality of a tag that could not be read for this reason.
    pub(crate) fn quality(&self) -> Quality {
        match self {
            Self::ConnectDeadline { .. } | Self::Connect { .. } | Self::Open { .. } => {
                Quality::BAD_NOT_CONNECTED
            }
            Self::Timeout { .. } => Quality::BAD_TIMEOUT,
            Self::Exception { code } => Refusal::from_code(u8::from(*code)).quality(),
            Self::Transport { cause } if cause.kind() == io::ErrorKind::InvalidData => {
                Quality::BAD_DECODING_ERROR
            }
            Self::Transport { .. } => Quality::BAD_COMMUNICATION_ERROR,
            Self::Answer { .. } => Quality::BAD_DECODING_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_printed_with_its_code() {
        let error = ModbusError::Exception { code: ExceptionCode::new(2) };
        assert!(error.to_string().contains("exception 02"), "{error}");
    }
}
