//! How a machine, or the line on which several machines hang, behaves on the wire: one vocabulary for both protocols.
//!
//! A mode is either of the machine (what it answers) or of the link (what happens to connections and bytes). Machines
//! of one line share the link, so a mode of the link is set at the line. What each does is in this folder's `README.md`.

use serde::{Deserialize, Serialize};

use crate::{
    chaos::{Faults, Way},
    kind::Protocol,
};

/// Longest delay of an answer and longest restart: a minute is longer than any sane request time-out.
pub(crate) const DELAY_MS_MAX: u32 = 60_000;
/// Delay of a slow machine if none is given: slower than a poll, faster than a timeout of 500 ms.
const SLOW_MS_DEFAULT: u32 = 350;
/// Delay of a late answer if none is given: beyond the usual time-out of a second.
const LATE_MS_DEFAULT: u32 = 1_200;
/// Every third answer is late if nothing else is asked for.
const LATE_EVERY_DEFAULT: u32 = 3;
/// How long a machine is down for a restart if nothing else is asked for.
const DOWN_MS_DEFAULT: u32 = 2_000;
/// Exception code answered if none is given: server device failure.
const DEVICE_FAILURE: u8 = 4;
const BUSY: u8 = 6;
const GATEWAY_PATH: u8 = 10;
const GATEWAY_TARGET: u8 = 11;

/// How a machine or a line behaves on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Mode {
    /// Answers correctly and at once.
    Healthy,
    /// Answers after a delay, with the values at the time of the answer.
    Slow {
        /// The delay in milliseconds, `1..=60000`.
        delay_ms: u32,
    },
    /// Modbus: some answers come after a delay, with the transaction id of their request, while later requests are
    /// answered at once.
    Late {
        /// The delay in milliseconds, `1..=60000`.
        delay_ms: u32,
        /// Every so manieth answer is late, beginning with the first; at least 1.
        every: u32,
    },
    /// Answers nothing. Requests to a Modbus machine are swallowed; OPC UA connections are frozen and go on where they
    /// stopped.
    Silent,
    /// Modbus: answers every request with an exception.
    Exception {
        /// The exception code, `1..=255`.
        exception: u8,
    },
    /// Answers with as many random bytes as the right answer has.
    Garbage,
    /// Modbus: sends a few random bytes before each right answer.
    Noise,
    /// Link: refuses connections and resets the open ones; a serial line's device is gone.
    Refuse,
    /// Link: resets open connections at once and new ones at their first byte.
    Reset,
    /// Link: accepts connections and swallows every byte in both directions.
    Hole,
    /// Link: open connections hear nothing any more and are never told; new ones work.
    HalfDead,
    /// Link: everything is dropped and refused, and is healthy again by itself; an OPC UA server forgets all sessions.
    Restart {
        /// How long it is down in milliseconds, `1..=60000`.
        down_ms: u32,
    },
}

/// To whom a mode applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// One machine.
    Machine,
    /// Everything behind one address or device.
    Link,
}

/// What has a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A machine with its own address.
    Machine(Protocol),
    /// A machine on a line.
    OnLine,
    /// A line that is a TCP address.
    TcpLine,
    /// A line that is a serial device.
    SerialLine,
}

/// A mode as a plant file or a client of the control interface writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeRequest {
    mode: String,
    delay_ms: Option<u32>,
    every: Option<u32>,
    exception: Option<u8>,
    down_ms: Option<u32>,
}

const ALLOWED: &str = "healthy, slow, late, silent, exception, busy, device_failure, gateway_path, gateway_target, \
                       garbage, noise, refuse, reset, hole, half_dead, restart";

impl ModeRequest {
    /// Checks the request for a subject.
    ///
    /// # Errors
    /// A sentence naming the field, its value and what is allowed.
    pub(crate) fn parse(&self, subject: Subject) -> Result<Mode, String> {
        let mode = match self.mode.as_str() {
            "healthy" => Mode::Healthy,
            "slow" => Mode::Slow { delay_ms: self.delay_ms.unwrap_or(SLOW_MS_DEFAULT) },
            "late" => Mode::Late {
                delay_ms: self.delay_ms.unwrap_or(LATE_MS_DEFAULT),
                every: self.every.unwrap_or(LATE_EVERY_DEFAULT),
            },
            "silent" => Mode::Silent,
            "exception" => Mode::Exception { exception: self.exception.unwrap_or(DEVICE_FAILURE) },
            "busy" => Mode::Exception { exception: BUSY },
            "device_failure" => Mode::Exception { exception: DEVICE_FAILURE },
            "gateway_path" => Mode::Exception { exception: GATEWAY_PATH },
            "gateway_target" => Mode::Exception { exception: GATEWAY_TARGET },
            "garbage" => Mode::Garbage,
            "noise" => Mode::Noise,
            "refuse" => Mode::Refuse,
            "reset" => Mode::Reset,
            "hole" => Mode::Hole,
            "half_dead" => Mode::HalfDead,
            "restart" => Mode::Restart { down_ms: self.down_ms.unwrap_or(DOWN_MS_DEFAULT) },
            other => return Err(format!("mode = {other:?}: allowed are {ALLOWED}")),
        };
        self.nothing_unused(mode)?;
        mode.checked(subject)
    }

    fn nothing_unused(&self, mode: Mode) -> Result<(), String> {
        let (slow, late) = (matches!(mode, Mode::Slow { .. }), matches!(mode, Mode::Late { .. }));
        for (given, used, field, by) in [
            (self.delay_ms.is_some(), slow || late, "delay_ms", "slow and late"),
            (self.every.is_some(), late, "every", "late"),
            (self.exception.is_some(), self.mode == "exception", "exception", "exception"),
            (self.down_ms.is_some(), matches!(mode, Mode::Restart { .. }), "down_ms", "restart"),
        ] {
            if given && !used {
                return Err(format!("{field} is not used by mode = {:?}: it belongs to {by}", self.mode));
            }
        }
        Ok(())
    }
}

impl Mode {
    /// To whom the mode applies when a Modbus machine has it; all modes of an OPC UA machine are of its link.
    pub(crate) fn level(self) -> Level {
        match self {
            Self::Healthy
            | Self::Slow { .. }
            | Self::Late { .. }
            | Self::Silent
            | Self::Exception { .. }
            | Self::Garbage
            | Self::Noise => Level::Machine,
            Self::Refuse | Self::Reset | Self::Hole | Self::HalfDead | Self::Restart { .. } => Level::Link,
        }
    }

    /// Checks the mode's numbers and that the subject knows it.
    ///
    /// # Errors
    /// A sentence naming the field, its value and what is allowed.
    pub(crate) fn checked(self, subject: Subject) -> Result<Self, String> {
        self.known_to(subject)?;
        let range = |field, value| Err(format!("{field} = {value}: allowed are 1 to {DELAY_MS_MAX}"));
        match self {
            Self::Slow { delay_ms } | Self::Late { delay_ms, .. }
                if !(1..=DELAY_MS_MAX).contains(&delay_ms) =>
            {
                range("delay_ms", delay_ms)
            }
            Self::Restart { down_ms } if !(1..=DELAY_MS_MAX).contains(&down_ms) => range("down_ms", down_ms),
            Self::Late { every: 0, .. } => Err("every = 0: allowed are 1 and more".into()),
            Self::Exception { exception: 0 } => Err("exception = 0: allowed are 1 to 255".into()),
            Self::Healthy
            | Self::Slow { .. }
            | Self::Late { .. }
            | Self::Silent
            | Self::Exception { .. }
            | Self::Garbage
            | Self::Noise
            | Self::Refuse
            | Self::Reset
            | Self::Hole
            | Self::HalfDead
            | Self::Restart { .. } => Ok(self),
        }
    }

    fn known_to(self, subject: Subject) -> Result<(), String> {
        let modbus_only = matches!(self, Self::Late { .. } | Self::Exception { .. } | Self::Noise);
        let tcp_only = matches!(self, Self::Reset | Self::HalfDead);
        match (subject, self.level()) {
            (Subject::Machine(Protocol::Opcua), _) if modbus_only => {
                Err("late, exceptions and noise exist for Modbus only: use healthy, slow, silent, garbage, refuse, \
                     reset, hole, half_dead or restart"
                    .into())
            }
            (Subject::OnLine, Level::Link) => Err("refuse, reset, hole, half_dead and restart are modes of a line, \
                                                   and this machine shares one: POST /lines/{id}/mode"
                .into()),
            (Subject::TcpLine | Subject::SerialLine, Level::Machine) if self != Self::Healthy => {
                Err("a line knows healthy, refuse, reset, hole, half_dead and restart; the others are modes of its \
                     machines: POST /machines/{id}/mode"
                    .into())
            }
            (Subject::SerialLine, Level::Link) if tcp_only => {
                Err("reset and half_dead exist for connections only: a serial line knows refuse (the device is gone), \
                     hole and restart"
                    .into())
            }
            (
                Subject::Machine(_) | Subject::OnLine | Subject::TcpLine | Subject::SerialLine,
                Level::Machine | Level::Link,
            ) => Ok(()),
        }
    }

    /// What the TCP front of a machine or line does in this mode.
    pub(crate) fn faults(self, protocol: Protocol) -> Faults {
        let opcua = protocol == Protocol::Opcua;
        match self {
            Self::Refuse | Self::Restart { .. } => Faults::refuse(),
            Self::Reset => Faults::reset(),
            Self::Hole => Faults::hole(),
            Self::Silent if opcua => Faults::pause(),
            Self::Garbage if opcua => {
                Faults { down: Way { flip_every: 1, ..Way::default() }, ..Faults::default() }
            }
            Self::Slow { delay_ms } if opcua => {
                Faults { down: Way { delay_ms, ..Way::default() }, ..Faults::default() }
            }
            Self::Healthy
            | Self::Slow { .. }
            | Self::Late { .. }
            | Self::Silent
            | Self::Exception { .. }
            | Self::Garbage
            | Self::Noise
            | Self::HalfDead => Faults::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODBUS: Subject = Subject::Machine(Protocol::ModbusTcp);
    const OPCUA: Subject = Subject::Machine(Protocol::Opcua);

    fn parse(json: &str, subject: Subject) -> Result<Mode, String> {
        serde_json::from_str::<ModeRequest>(json).unwrap().parse(subject)
    }

    #[test]
    fn a_mode_has_defaults_and_exceptions_have_names() {
        for (json, mode) in [
            (r#"{"mode":"slow"}"#, Mode::Slow { delay_ms: 350 }),
            (r#"{"mode":"late"}"#, Mode::Late { delay_ms: 1200, every: 3 }),
            (r#"{"mode":"restart"}"#, Mode::Restart { down_ms: 2000 }),
            (r#"{"mode":"busy"}"#, Mode::Exception { exception: 6 }),
            (r#"{"mode":"device_failure"}"#, Mode::Exception { exception: 4 }),
            (r#"{"mode":"gateway_path"}"#, Mode::Exception { exception: 10 }),
            (r#"{"mode":"gateway_target"}"#, Mode::Exception { exception: 11 }),
        ] {
            assert_eq!(parse(json, MODBUS), Ok(mode));
        }
    }

    #[test]
    fn mistakes_are_refused_with_what_is_allowed() {
        for (json, subject, hint) in [
            (r#"{"mode":"sleepy"}"#, MODBUS, "healthy, slow, late"),
            (r#"{"mode":"slow","delay_ms":60001}"#, MODBUS, "delay_ms = 60001: allowed are 1 to 60000"),
            (r#"{"mode":"late","every":0}"#, MODBUS, "allowed are 1 and more"),
            (r#"{"mode":"silent","delay_ms":5}"#, MODBUS, "belongs to slow and late"),
            (r#"{"mode":"exception","exception":2}"#, OPCUA, "Modbus only"),
            (r#"{"mode":"refuse"}"#, Subject::OnLine, "POST /lines/{id}/mode"),
            (r#"{"mode":"slow"}"#, Subject::TcpLine, "POST /machines/{id}/mode"),
            (r#"{"mode":"half_dead"}"#, Subject::SerialLine, "the device is gone"),
        ] {
            let error = parse(json, subject).unwrap_err();
            assert!(error.contains(hint), "{json}: {error}");
        }
    }
}
