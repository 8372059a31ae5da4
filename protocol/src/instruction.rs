//! Commands to a gateway itself, and the two kinds of commands together (SPEC section 10).
//!
//! Both kinds are one message on the wire; the verb tells them apart. A gateway of the first release cannot
//! decode the verbs of this file, counts them and does nothing.

use plant_model::{CommandId, MachineId, OperatorAction, TagId, Timestamp, Value};

use crate::command::operation;
use crate::diagnostic::stream;
use crate::journal::text;
use crate::{AgentVersion, Command, DecodeError, Sequence, StreamId, container, wire};

/// What a gateway is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayVerb {
    /// Write a value to a machine and read it back.
    WriteTag {
        /// The machine.
        machine: MachineId,
        /// Its tag.
        tag: TagId,
        /// What the tag is to read afterwards.
        value: Value,
    },
    /// Say how it is, without secrets.
    Diagnostics,
    /// Connect to a machine anew and plan its requests anew.
    Rescan {
        /// The machine.
        machine: MachineId,
    },
    /// End in order and begin again.
    Restart,
    /// Send batches again that it still holds, although they are acknowledged.
    Resend {
        /// The stream.
        stream: StreamId,
        /// The first batch.
        first: Sequence,
        /// The last one.
        last: Sequence,
    },
    /// Look for a new configuration now.
    PullConfiguration,
    /// Become another version of the agent.
    Update {
        /// Which one.
        version: AgentVersion,
    },
}

impl GatewayVerb {
    /// The names of all verbs.
    pub const NAMES: [&str; 7] =
        ["write_tag", "diagnostics", "rescan", "restart", "resend", "pull_configuration", "update"];

    /// The name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WriteTag { .. } => "write_tag",
            Self::Diagnostics => "diagnostics",
            Self::Rescan { .. } => "rescan",
            Self::Restart => "restart",
            Self::Resend { .. } => "resend",
            Self::PullConfiguration => "pull_configuration",
            Self::Update { .. } => "update",
        }
    }

    /// The machine it is about, if it is about one.
    #[must_use]
    pub const fn machine(&self) -> Option<&MachineId> {
        match self {
            Self::WriteTag { machine, .. } | Self::Rescan { machine } => Some(machine),
            Self::Diagnostics
            | Self::Restart
            | Self::Resend { .. }
            | Self::PullConfiguration
            | Self::Update { .. } => None,
        }
    }

    fn to_wire(&self) -> wire::Command {
        let mut out = wire::Command { verb: self.name().to_owned(), ..wire::Command::default() };
        out.machine = self.machine().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::WriteTag { tag, value, .. } => {
                out.tag = tag.to_string();
                match value {
                    Value::Bool(value) => out.bool_value = Some(*value),
                    Value::Int(value) => out.int_value = Some(*value),
                    Value::Float(value) => out.float_value = Some(*value),
                    Value::Text(value) => out.text_value = Some(value.to_string()),
                }
            }
            Self::Resend { stream, first, last } => {
                out.stream = stream.code().into();
                (out.first, out.last) = (first.as_u64(), last.as_u64());
            }
            Self::Update { version } => out.version = version.to_string(),
            Self::Diagnostics | Self::Rescan { .. } | Self::Restart | Self::PullConfiguration => {}
        }
        out
    }

    fn from_wire(command: &wire::Command) -> Result<Self, DecodeError> {
        Ok(match command.verb.as_str() {
            "write_tag" => Self::WriteTag {
                machine: MachineId::new(&command.machine)?,
                tag: TagId::new(&command.tag)?,
                value: value(command)?,
            },
            "diagnostics" => Self::Diagnostics,
            "rescan" => Self::Rescan { machine: MachineId::new(&command.machine)? },
            "restart" => Self::Restart,
            "resend" if command.first == 0 || command.last < command.first => {
                let detail = format!("{} to {} are no range; it counts from 1", command.first, command.last);
                return Err(DecodeError::field("first", detail));
            }
            "resend" => Self::Resend {
                stream: stream(command.stream)?,
                first: Sequence::from_u64(command.first),
                last: Sequence::from_u64(command.last),
            },
            "pull_configuration" => Self::PullConfiguration,
            "update" => {
                let version = AgentVersion::new(&command.version);
                Self::Update { version: version.map_err(|e| DecodeError::field("version", e.to_string()))? }
            }
            other => {
                let shown: String = other.chars().take(80).collect();
                return Err(DecodeError::field("verb", format!("{shown:?} is not known")));
            }
        })
    }
}

/// The one value of a command.
fn value(command: &wire::Command) -> Result<Value, DecodeError> {
    let of_text =
        |value: &String| Ok::<_, DecodeError>(Value::Text(text("text_value", value.clone())?.into()));
    let values = [
        command.bool_value.map(|value| Ok(Value::Bool(value))),
        command.int_value.map(|value| Ok(Value::Int(value))),
        command.float_value.map(|value| Ok(Value::Float(value))),
        command.text_value.as_ref().map(of_text),
    ];
    let mut given = values.into_iter().flatten();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(DecodeError::field("value", "exactly one value is needed"));
    };
    match value? {
        Value::Float(number) if !number.is_finite() => {
            Err(DecodeError::field("float_value", format!("{number} is no number that can be written")))
        }
        value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)) => Ok(value),
    }
}

/// What a person or the backend asks of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayCommand {
    /// What to do.
    pub verb: GatewayVerb,
    /// Who asks, why, and the id by which it is done once.
    pub operation: OperatorAction,
    /// When it was given, by the clock of the backend.
    pub issued_at: Timestamp,
    /// When it is too late to carry it out.
    pub expires_at: Timestamp,
}

impl GatewayCommand {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        container::seal_plain(&wire::Command {
            id: self.operation.command.to_string(),
            actor: self.operation.actor.clone(),
            comment: self.operation.comment.clone(),
            issued_at_us: self.issued_at.micros(),
            expires_at_us: self.expires_at.micros(),
            ..self.verb.to_wire()
        })
    }

    /// A number for what is asked, whoever asks and whenever: tells whether an id came again for something else.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        crc32fast::hash(&container::seal_plain(&self.verb.to_wire()))
    }

    fn from_wire(command: wire::Command) -> Result<Self, DecodeError> {
        Ok(Self {
            verb: GatewayVerb::from_wire(&command)?,
            issued_at: Timestamp::from_micros(command.issued_at_us),
            expires_at: Timestamp::from_micros(command.expires_at_us),
            operation: operation(&command.id, command.actor, command.comment)?,
        })
    }
}

/// A command of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// To an alarm.
    Alarm(Command),
    /// To the gateway.
    Gateway(GatewayCommand),
}

impl Instruction {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Alarm(command) => command.encode(),
            Self::Gateway(command) => command.encode(),
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no command, or something that the verb needs is missing.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let command: wire::Command = container::open_plain(bytes, "Command")?;
        if GatewayVerb::NAMES.contains(&command.verb.as_str()) {
            return GatewayCommand::from_wire(command).map(Self::Gateway);
        }
        Command::from_wire(command).map(Self::Alarm)
    }

    /// The id of a command whatever it asks for, so that what is not understood can be refused.
    #[must_use]
    pub fn id_of(bytes: &[u8]) -> Option<CommandId> {
        let command: wire::Command = container::open_plain(bytes, "Command").ok()?;
        CommandId::new(&command.id).ok()
    }

    /// Who asks, why, and under which id.
    #[must_use]
    pub const fn operation(&self) -> &OperatorAction {
        match self {
            Self::Alarm(command) => &command.operation,
            Self::Gateway(command) => &command.operation,
        }
    }

    /// The name of the verb.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Alarm(command) => command.request.name(),
            Self::Gateway(command) => command.verb.name(),
        }
    }

    /// The machine it is about, if it is about one.
    #[must_use]
    pub const fn machine(&self) -> Option<&MachineId> {
        match self {
            Self::Alarm(command) => Some(&command.machine),
            Self::Gateway(command) => command.verb.machine(),
        }
    }

    /// When it was given.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        match self {
            Self::Alarm(command) => command.issued_at,
            Self::Gateway(command) => command.issued_at,
        }
    }

    /// Whether two commands ask for the same, whenever they were given.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let mut other = other.clone();
        match (self, &mut other) {
            (Self::Alarm(one), Self::Alarm(other)) => {
                (other.issued_at, other.expires_at) = (one.issued_at, one.expires_at);
            }
            (Self::Gateway(one), Self::Gateway(other)) => {
                (other.issued_at, other.expires_at) = (one.issued_at, one.expires_at);
            }
            (Self::Alarm(_), Self::Gateway(_)) | (Self::Gateway(_), Self::Alarm(_)) => {}
        }
        *self == other
    }
}

impl From<Command> for Instruction {
    fn from(command: Command) -> Self {
        Self::Alarm(command)
    }
}

impl From<GatewayCommand> for Instruction {
    fn from(command: GatewayCommand) -> Self {
        Self::Gateway(command)
    }
}

#[cfg(test)]
mod tests;
