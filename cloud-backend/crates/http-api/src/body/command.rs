//! Commands to alarms.

use std::time::Duration;

use plant_model::AlarmCommand;
use protocol::{CommandOutcome, Instruction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::commands::Given;
use crate::instant::{self, Instant};
use crate::problem::Problem;

/// What a person does to an alarm (OPC UA Part 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmAction {
    /// I have seen it.
    Acknowledge,
    /// Let go of an alarm that is held after the process has returned.
    Reset,
    /// Hide it for a time.
    Shelve,
    /// Hide it no longer.
    Unshelve,
    /// Hide it while it is being worked on.
    TakeOutOfService,
    /// It works again.
    ReturnToService,
}

impl From<&AlarmCommand> for AlarmAction {
    fn from(command: &AlarmCommand) -> Self {
        match command {
            AlarmCommand::Acknowledge => Self::Acknowledge,
            AlarmCommand::Reset => Self::Reset,
            AlarmCommand::Shelve { .. } => Self::Shelve,
            AlarmCommand::Unshelve => Self::Unshelve,
            AlarmCommand::TakeOutOfService { .. } => Self::TakeOutOfService,
            AlarmCommand::ReturnToService => Self::ReturnToService,
        }
    }
}

/// A command to an alarm.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmCommandRequest {
    /// What to do.
    pub(crate) action: AlarmAction,
    /// The activation that the person saw, from 1. Needed to acknowledge and to reset: what was seen of one
    /// activation says nothing of the next.
    pub(crate) occurrence: Option<u64>,
    /// How long to shelve, in seconds; needed to shelve, and not allowed else. The alarm's definition sets
    /// the longest time.
    pub(crate) duration_s: Option<u64>,
    /// When somebody must look again, RFC 3339; only with `take_out_of_service`.
    pub(crate) review_at: Option<String>,
    /// Why, in the person's words; needed to shelve and to take out of service.
    #[serde(default)]
    pub(crate) comment: String,
}

impl AlarmCommandRequest {
    /// What is asked for, checked field by field.
    pub(crate) fn request(&self) -> Result<AlarmCommand, Problem> {
        if self.action != AlarmAction::Shelve && self.duration_s.is_some() {
            return Err(Problem::invalid("/duration_s", "only shelving takes a time"));
        }
        if self.action != AlarmAction::TakeOutOfService && self.review_at.is_some() {
            return Err(Problem::invalid("/review_at", "only taking out of service has a review"));
        }
        Ok(match self.action {
            AlarmAction::Acknowledge => AlarmCommand::Acknowledge,
            AlarmAction::Reset => AlarmCommand::Reset,
            AlarmAction::Shelve => AlarmCommand::Shelve { duration: self.duration()? },
            AlarmAction::Unshelve => AlarmCommand::Unshelve,
            AlarmAction::TakeOutOfService => AlarmCommand::TakeOutOfService { review_at: self.review()? },
            AlarmAction::ReturnToService => AlarmCommand::ReturnToService,
        })
    }

    fn duration(&self) -> Result<Duration, Problem> {
        /// A year; longer is out of service.
        const SECONDS_MAX: u64 = 365 * 24 * 3_600;
        match self.duration_s {
            Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
            Some(_) | None => {
                Err(Problem::invalid("/duration_s", format!("a number from 1 to {SECONDS_MAX} is needed")))
            }
        }
    }

    fn review(&self) -> Result<Option<plant_model::Timestamp>, Problem> {
        let Some(text) = &self.review_at else { return Ok(None) };
        let wrong =
            || Problem::invalid("/review_at", "an RFC 3339 time is needed, such as 2026-11-22T15:00:00Z");
        instant::parse(text).map(Some).ok_or_else(wrong)
    }
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CommandState {
    /// The gateway has not answered yet. Ask for its state, or give it again under the same key.
    Waiting,
    /// It is carried out.
    Done,
    /// The gateway refused it; nothing has changed.
    Refused,
    /// It came too late by the clock of the gateway; nothing has changed.
    Expired,
}

/// A command and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandStatus {
    /// Its id: the idempotency key under which it was given.
    pub(crate) id: String,
    /// The gateway.
    pub(crate) gateway: String,
    /// The machine.
    pub(crate) machine: String,
    /// The alarm of that machine.
    pub(crate) alarm: String,
    /// What to do.
    pub(crate) action: AlarmAction,
    /// Who gave it.
    pub(crate) actor: String,
    /// How far it is.
    pub(crate) state: CommandState,
    /// Why it was refused; null else.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// Whether the gateway had the same command before and gives the answer of then.
    pub(crate) repeated: bool,
    /// When it was given, by the clock of the backend.
    pub(crate) issued_at: Instant,
    /// When the gateway decided, by its clock; null before.
    #[schema(required)]
    pub(crate) decided_at: Option<Instant>,
}

impl CommandState {
    /// How far a command is, and why it was refused.
    pub(super) fn of(given: &Given) -> (Self, Option<String>) {
        match given.result.as_ref().map(|r| &r.outcome) {
            None => (Self::Waiting, None),
            Some(CommandOutcome::Done) => (Self::Done, None),
            Some(CommandOutcome::Refused { reason }) => (Self::Refused, Some(reason.clone())),
            Some(CommandOutcome::Expired) => (Self::Expired, None),
        }
    }
}

impl CommandStatus {
    /// `None` for a command to the gateway itself.
    pub(crate) fn from(given: &Given) -> Option<Self> {
        let Instruction::Alarm(command) = &given.command else { return None };
        let ((state, reason), result) = (CommandState::of(given), given.result.as_ref());
        Some(Self {
            id: command.operation.command.to_string(),
            gateway: given.gateway.to_string(),
            machine: command.machine.to_string(),
            alarm: command.alarm.to_string(),
            action: (&command.request).into(),
            actor: command.operation.actor.clone(),
            state,
            reason,
            repeated: result.is_some_and(|r| r.repeated),
            issued_at: command.issued_at.into(),
            decided_at: result.map(|r| r.decided_at.into()),
        })
    }
}
