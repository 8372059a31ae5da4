//! How a machine behaves on the wire.

use serde::{Deserialize, Serialize};

use crate::kind::Protocol;

/// Longest delay of an answer: a minute is longer than any sane request timeout.
pub(crate) const DELAY_MS_MAX: u32 = 60_000;
/// Delay of a slow machine if none is given: slower than a poll, faster than a timeout of 500 ms.
const DELAY_MS_DEFAULT: u32 = 350;
/// Exception code answered if none is given: server device failure.
const EXCEPTION_DEFAULT: u8 = 4;

/// How a machine behaves on the wire. What each mode does in detail is in this folder's `README.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Mode {
    /// Answers correctly and at once.
    Healthy,
    /// Modbus: answers after a delay, with the values at the time of the answer.
    Slow {
        /// The delay in milliseconds, `1..=60000`.
        delay_ms: u32,
    },
    /// Accepts connections and answers nothing. Requests to a Modbus machine are swallowed; an OPC UA connection is
    /// frozen and goes on where it stopped.
    Silent,
    /// Refuses connections and drops the open ones.
    Refuse,
    /// Resets open connections at once and new ones at their first byte.
    Reset,
    /// Answers with as many random bytes as the right answer has.
    Garbage,
    /// Modbus: answers every request with an exception.
    Exception {
        /// The exception code, `1..=255`.
        exception: u8,
    },
}

/// A mode as a client of the control interface writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeRequest {
    mode: String,
    delay_ms: Option<u32>,
    exception: Option<u8>,
}

impl ModeRequest {
    /// Checks the request for a machine of this protocol.
    ///
    /// # Errors
    /// A sentence naming the field, its value and what is allowed.
    pub(crate) fn parse(self, protocol: Protocol) -> Result<Mode, String> {
        let mode = match self.mode.as_str() {
            "healthy" => Mode::Healthy,
            "slow" => Mode::Slow { delay_ms: self.delay_ms.unwrap_or(DELAY_MS_DEFAULT) },
            "silent" => Mode::Silent,
            "refuse" => Mode::Refuse,
            "reset" => Mode::Reset,
            "garbage" => Mode::Garbage,
            "exception" => Mode::Exception { exception: self.exception.unwrap_or(EXCEPTION_DEFAULT) },
            other => return Err(format!("mode = {other:?}: allowed are {ALLOWED}")),
        };
        mode.checked(protocol)
    }
}

const ALLOWED: &str = "healthy, slow, silent, refuse, reset, garbage, exception";

impl Mode {
    /// Checks the mode's numbers and that the protocol knows it.
    ///
    /// # Errors
    /// A sentence naming the field, its value and what is allowed.
    pub(crate) fn checked(self, protocol: Protocol) -> Result<Self, String> {
        match self {
            Self::Slow { .. } | Self::Exception { .. } if protocol == Protocol::Opcua => Err(
                "slow and exception exist for modbus-tcp only: use healthy, silent, refuse, reset or garbage"
                    .into(),
            ),
            Self::Slow { delay_ms } if !(1..=DELAY_MS_MAX).contains(&delay_ms) => {
                Err(format!("delay_ms = {delay_ms}: allowed are 1 to {DELAY_MS_MAX}"))
            }
            Self::Exception { exception: 0 } => Err("exception = 0: allowed are 1 to 255".into()),
            Self::Healthy
            | Self::Slow { .. }
            | Self::Silent
            | Self::Refuse
            | Self::Reset
            | Self::Garbage
            | Self::Exception { .. } => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> ModeRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_slow_machine_has_a_default_delay() {
        let mode = request(r#"{"mode":"slow"}"#).parse(Protocol::ModbusTcp).unwrap();
        assert_eq!(mode, Mode::Slow { delay_ms: DELAY_MS_DEFAULT });
    }

    #[test]
    fn an_unknown_mode_is_refused_with_the_allowed_ones() {
        let error = request(r#"{"mode":"sleepy"}"#).parse(Protocol::ModbusTcp).unwrap_err();
        assert!(error.contains("sleepy") && error.contains("healthy, slow"), "{error}");
    }

    #[test]
    fn opc_ua_machines_know_no_exception_codes() {
        let error = request(r#"{"mode":"exception","exception":2}"#).parse(Protocol::Opcua).unwrap_err();
        assert!(error.contains("modbus-tcp only"), "{error}");
    }

    #[test]
    fn a_delay_beyond_a_minute_is_refused() {
        let error = request(r#"{"mode":"slow","delay_ms":60001}"#).parse(Protocol::ModbusTcp).unwrap_err();
        assert!(error.contains("60001") && error.contains("1 to 60000"), "{error}");
    }
}
