//! Commands to a gateway itself.

use plant_model::{MachineId, TagId, Value};
use protocol::{AgentVersion, GatewayVerb, Instruction, Sequence, StreamId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TagValue;
use super::command::CommandState;
use crate::commands::Given;
use crate::instant::Instant;
use crate::problem::Problem;

/// What a gateway is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GatewayAction {
    /// Write `value` to `tag` of `machine` and read it back; the gateway must allow it.
    WriteTag,
    /// Say how it is, without secrets; the text is the `output`.
    Diagnostics,
    /// Connect to `machine` anew and plan its requests anew.
    Rescan,
    /// End in order and begin again.
    Restart,
    /// Send the acknowledged batches `first` to `last` of `stream` again, as far as they are still held.
    Resend,
    /// Look for a new configuration now.
    PullConfiguration,
    /// Become the agent `version`.
    Update,
}

/// A stream of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StreamName {
    Alarm,
    Telemetry,
    Diagnostic,
}

impl From<StreamName> for StreamId {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Alarm => Self::Alarm,
            StreamName::Telemetry => Self::Telemetry,
            StreamName::Diagnostic => Self::Diagnostic,
        }
    }
}

/// A command to a gateway. A field that its action does not take is refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayCommandRequest {
    /// What to do.
    pub(crate) action: GatewayAction,
    /// The machine; for `write_tag` and `rescan`.
    machine: Option<String>,
    /// The tag; for `write_tag`.
    tag: Option<String>,
    /// What it is to read afterwards; for `write_tag`.
    value: Option<TagValue>,
    /// The stream; for `resend`.
    stream: Option<StreamName>,
    /// The first batch, from 1; for `resend`.
    first: Option<u64>,
    /// The last batch; for `resend`.
    last: Option<u64>,
    /// The version of the agent; for `update`.
    version: Option<String>,
    /// Why, in the person's words.
    #[serde(default)]
    pub(crate) comment: String,
}

impl GatewayCommandRequest {
    /// What is asked for, checked field by field.
    pub(crate) fn verb(&self) -> Result<GatewayVerb, Problem> {
        self.check_fields()?;
        Ok(match self.action {
            GatewayAction::WriteTag => {
                GatewayVerb::WriteTag { machine: self.machine()?, tag: self.tag()?, value: self.value()? }
            }
            GatewayAction::Diagnostics => GatewayVerb::Diagnostics,
            GatewayAction::Rescan => GatewayVerb::Rescan { machine: self.machine()? },
            GatewayAction::Restart => GatewayVerb::Restart,
            GatewayAction::Resend => self.resend()?,
            GatewayAction::PullConfiguration => GatewayVerb::PullConfiguration,
            GatewayAction::Update => {
                let version = needed("/version", self.version.as_deref())?;
                let version = AgentVersion::new(version);
                GatewayVerb::Update {
                    version: version.map_err(|e| Problem::invalid("/version", e.to_string()))?,
                }
            }
        })
    }

    /// A field that has no effect is a mistake of the caller.
    fn check_fields(&self) -> Result<(), Problem> {
        let taken: &[&str] = match self.action {
            GatewayAction::WriteTag => &["/machine", "/tag", "/value"],
            GatewayAction::Rescan => &["/machine"],
            GatewayAction::Resend => &["/stream", "/first", "/last"],
            GatewayAction::Update => &["/version"],
            GatewayAction::Diagnostics | GatewayAction::Restart | GatewayAction::PullConfiguration => &[],
        };
        let given = [
            ("/machine", self.machine.is_some()),
            ("/tag", self.tag.is_some()),
            ("/value", self.value.is_some()),
            ("/stream", self.stream.is_some()),
            ("/first", self.first.is_some()),
            ("/last", self.last.is_some()),
            ("/version", self.version.is_some()),
        ];
        match given.iter().find(|(name, is_given)| *is_given && !taken.contains(name)) {
            Some((name, _)) => Err(Problem::invalid(*name, "this action does not take it")),
            None => Ok(()),
        }
    }

    fn machine(&self) -> Result<MachineId, Problem> {
        let text = needed("/machine", self.machine.as_deref())?;
        MachineId::new(text).map_err(|error| Problem::invalid("/machine", error.to_string()))
    }

    fn tag(&self) -> Result<TagId, Problem> {
        let text = needed("/tag", self.tag.as_deref())?;
        TagId::new(text).map_err(|error| Problem::invalid("/tag", error.to_string()))
    }

    fn value(&self) -> Result<Value, Problem> {
        const TEXT_BYTES_MAX: usize = protocol::limits::TEXT_BYTES_MAX;
        match needed("/value", self.value.as_ref())? {
            TagValue::Bool(value) => Ok(Value::Bool(*value)),
            TagValue::Int(value) => Ok(Value::Int(*value)),
            TagValue::Float(value) => Ok(Value::Float(*value)),
            TagValue::Text(value) if value.len() > TEXT_BYTES_MAX => {
                Err(Problem::invalid("/value", format!("at most {TEXT_BYTES_MAX} bytes are allowed")))
            }
            TagValue::Text(value) => Ok(Value::Text(value.as_str().into())),
        }
    }

    fn resend(&self) -> Result<GatewayVerb, Problem> {
        let stream = needed("/stream", self.stream)?.into();
        let (first, last) = (needed("/first", self.first)?, needed("/last", self.last)?);
        if first == 0 || last < first {
            return Err(Problem::invalid(
                "/first",
                "a range counts from 1, and its first batch is not behind its last",
            ));
        }
        Ok(GatewayVerb::Resend { stream, first: Sequence::from_u64(first), last: Sequence::from_u64(last) })
    }
}

fn needed<T>(pointer: &'static str, field: Option<T>) -> Result<T, Problem> {
    field.ok_or_else(|| Problem::invalid(pointer, "this action needs it"))
}

impl From<&GatewayVerb> for GatewayAction {
    fn from(verb: &GatewayVerb) -> Self {
        match verb {
            GatewayVerb::WriteTag { .. } => Self::WriteTag,
            GatewayVerb::Diagnostics => Self::Diagnostics,
            GatewayVerb::Rescan { .. } => Self::Rescan,
            GatewayVerb::Restart => Self::Restart,
            GatewayVerb::Resend { .. } => Self::Resend,
            GatewayVerb::PullConfiguration => Self::PullConfiguration,
            GatewayVerb::Update { .. } => Self::Update,
        }
    }
}

/// A command to a gateway and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayCommandStatus {
    /// Its id: the idempotency key under which it was given.
    pub(crate) id: String,
    /// The gateway.
    pub(crate) gateway: String,
    /// What to do.
    pub(crate) action: GatewayAction,
    /// The machine it is about; null if it is about none.
    #[schema(required)]
    pub(crate) machine: Option<String>,
    /// Who gave it.
    pub(crate) actor: String,
    /// How far it is.
    pub(crate) state: CommandState,
    /// Why it was refused; null else.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// What the gateway has to say beside; at most 16 KiB.
    pub(crate) output: String,
    /// Whether the gateway had the same command before and gives the answer of then.
    pub(crate) repeated: bool,
    /// When it was given, by the clock of the backend.
    pub(crate) issued_at: Instant,
    /// When the gateway decided, by its clock; null before.
    #[schema(required)]
    pub(crate) decided_at: Option<Instant>,
}

impl GatewayCommandStatus {
    /// `None` for a command to an alarm.
    pub(crate) fn from(given: &Given) -> Option<Self> {
        let Instruction::Gateway(command) = &given.command else { return None };
        let ((state, reason), result) = (CommandState::of(given), given.result.as_ref());
        Some(Self {
            id: command.operation.command.to_string(),
            gateway: given.gateway.to_string(),
            action: (&command.verb).into(),
            machine: command.verb.machine().map(ToString::to_string),
            actor: command.operation.actor.clone(),
            state,
            reason,
            output: result.map(|r| r.output.clone()).unwrap_or_default(),
            repeated: result.is_some_and(|r| r.repeated),
            issued_at: command.issued_at.into(),
            decided_at: result.map(|r| r.decided_at.into()),
        })
    }
}
