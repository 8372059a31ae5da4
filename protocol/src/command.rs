//! Commands to a gateway and what became of them (SPEC section 10).
//!
//! A command is data of a person far away: every text is bounded, and what it asks for is complete or the
//! command is no command.

use std::time::Duration;

use plant_model::{AlarmCommand, AlarmId, CommandId, MachineId, OperatorAction, Timestamp};

use crate::journal::text;
use crate::limits::{ACTOR_BYTES_MAX, OUTPUT_BYTES_MAX};
use crate::{DecodeError, container, wire};

/// What a person asks of one alarm of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The machine.
    pub machine: MachineId,
    /// The alarm of that machine.
    pub alarm: AlarmId,
    /// The activation that the person saw, from 1. An acknowledgement or a reset is of this one and of no
    /// other; it is `None` only where it does not matter.
    pub occurrence: Option<u64>,
    /// What to do.
    pub request: AlarmCommand,
    /// Who asks, why, and the id by which it is done once.
    pub operation: OperatorAction,
    /// When it was given, by the clock of the backend.
    pub issued_at: Timestamp,
    /// When it is too late to carry it out.
    pub expires_at: Timestamp,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is carried out; the journal has the transition.
    Done,
    /// It is not carried out, and nothing has changed.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// It came too late by the clock of the gateway, and nothing has changed.
    Expired,
}

/// A gateway's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// The command.
    pub command: CommandId,
    /// What became of it.
    pub outcome: CommandOutcome,
    /// Whether this is the answer to the same command when it came before.
    pub repeated: bool,
    /// When the gateway decided, by its wall clock.
    pub decided_at: Timestamp,
    /// What it has to say beside, for people; at most [`OUTPUT_BYTES_MAX`] bytes, often nothing.
    pub output: String,
}

impl Command {
    /// Whether the verb is about one activation, so that [`Self::occurrence`] must say which.
    #[must_use]
    pub const fn needs_occurrence(request: &AlarmCommand) -> bool {
        matches!(request, AlarmCommand::Acknowledge | AlarmCommand::Reset)
    }

    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (shelve_ms, review_at_us) = match self.request {
            AlarmCommand::Shelve { duration } => {
                (u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), None)
            }
            AlarmCommand::TakeOutOfService { review_at } => (0, review_at.map(Timestamp::micros)),
            AlarmCommand::Acknowledge
            | AlarmCommand::Reset
            | AlarmCommand::Unshelve
            | AlarmCommand::ReturnToService => (0, None),
        };
        container::seal_plain(&wire::Command {
            id: self.operation.command.to_string(),
            machine: self.machine.to_string(),
            alarm: self.alarm.to_string(),
            occurrence: self.occurrence.unwrap_or(0),
            verb: self.request.name().to_owned(),
            shelve_ms,
            review_at_us,
            actor: self.operation.actor.clone(),
            comment: self.operation.comment.clone(),
            issued_at_us: self.issued_at.micros(),
            expires_at_us: self.expires_at.micros(),
            ..wire::Command::default()
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no command, or something that the verb needs is missing.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_wire(container::open_plain(bytes, "Command")?)
    }

    pub(crate) fn from_wire(command: wire::Command) -> Result<Self, DecodeError> {
        let request = request(&command)?;
        let occurrence = Some(command.occurrence).filter(|n| *n > 0);
        if Self::needs_occurrence(&request) && occurrence.is_none() {
            return Err(DecodeError::field("occurrence", "the activation that the person saw is needed"));
        }
        Ok(Self {
            machine: MachineId::new(&command.machine)?,
            alarm: AlarmId::new(&command.alarm)?,
            occurrence,
            request,
            operation: operation(&command.id, command.actor, command.comment)?,
            issued_at: Timestamp::from_micros(command.issued_at_us),
            expires_at: Timestamp::from_micros(command.expires_at_us),
        })
    }
}

fn request(command: &wire::Command) -> Result<AlarmCommand, DecodeError> {
    let asked = match command.verb.as_str() {
        "acknowledge" => AlarmCommand::Acknowledge,
        "reset" => AlarmCommand::Reset,
        "shelve" if command.shelve_ms == 0 => {
            return Err(DecodeError::field("shelve_ms", "shelving needs a time of more than zero"));
        }
        "shelve" => AlarmCommand::Shelve { duration: Duration::from_millis(command.shelve_ms) },
        "unshelve" => AlarmCommand::Unshelve,
        "take_out_of_service" => {
            AlarmCommand::TakeOutOfService { review_at: command.review_at_us.map(Timestamp::from_micros) }
        }
        "return_to_service" => AlarmCommand::ReturnToService,
        other => {
            let shown: String = other.chars().take(80).collect();
            return Err(DecodeError::field("verb", format!("{shown:?} is not known")));
        }
    };
    Ok(asked)
}

pub(crate) fn operation(id: &str, name: String, comment: String) -> Result<OperatorAction, DecodeError> {
    Ok(OperatorAction {
        command: CommandId::new(id)?,
        actor: actor(name)?,
        comment: text("comment", comment)?,
    })
}

fn actor(name: String) -> Result<String, DecodeError> {
    if name.is_empty() {
        return Err(DecodeError::field("actor", "somebody must have given the command"));
    }
    if name.len() > ACTOR_BYTES_MAX {
        return Err(DecodeError::TooLarge { what: "actor", actual: name.len(), allowed: ACTOR_BYTES_MAX });
    }
    Ok(name)
}

impl CommandResult {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (outcome, reason) = match &self.outcome {
            CommandOutcome::Done => ("done", String::new()),
            CommandOutcome::Refused { reason } => ("refused", reason.clone()),
            CommandOutcome::Expired => ("expired", String::new()),
        };
        container::seal_plain(&wire::CommandResult {
            id: self.command.to_string(),
            outcome: outcome.to_owned(),
            reason,
            repeated: self.repeated,
            decided_at_us: self.decided_at.micros(),
            output: self.output.clone(),
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no result.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let result: wire::CommandResult = container::open_plain(bytes, "CommandResult")?;
        if result.output.len() > OUTPUT_BYTES_MAX {
            let (actual, allowed) = (result.output.len(), OUTPUT_BYTES_MAX);
            return Err(DecodeError::TooLarge { what: "output", actual, allowed });
        }
        let outcome = match result.outcome.as_str() {
            "done" => CommandOutcome::Done,
            "refused" => CommandOutcome::Refused { reason: text("reason", result.reason)? },
            "expired" => CommandOutcome::Expired,
            other => {
                let shown: String = other.chars().take(80).collect();
                return Err(DecodeError::field("outcome", format!("{shown:?} is not known")));
            }
        };
        Ok(Self {
            command: CommandId::new(&result.id)?,
            outcome,
            repeated: result.repeated,
            decided_at: Timestamp::from_micros(result.decided_at_us),
            output: result.output,
        })
    }
}

#[cfg(test)]
mod tests;
