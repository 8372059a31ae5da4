//! What a person does to an alarm.

use std::time::Duration;

use crate::{CommandId, Timestamp};

/// What a person asks of an alarm (the methods of OPC UA Part 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmCommand {
    /// I have seen it.
    Acknowledge,
    /// Let go of an alarm that is held after the process has returned.
    Reset,
    /// Hide it for a time.
    Shelve {
        /// How long, at most what its definition allows.
        duration: Duration,
    },
    /// Hide it no longer.
    Unshelve,
    /// Hide it while it is being worked on.
    TakeOutOfService {
        /// When somebody must look whether it is still to be out of service. It does not return by itself.
        review_at: Option<Timestamp>,
    },
    /// It works again.
    ReturnToService,
}

impl AlarmCommand {
    /// The verb used on the wire and in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Reset => "reset",
            Self::Shelve { .. } => "shelve",
            Self::Unshelve => "unshelve",
            Self::TakeOutOfService { .. } => "take_out_of_service",
            Self::ReturnToService => "return_to_service",
        }
    }
}

/// Who did something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAction {
    /// The command's id: the same id is carried out once, however often it arrives.
    pub command: CommandId,
    /// Who gave it.
    pub actor: String,
    /// Why, in that person's words; may be empty where no reason is asked for.
    pub comment: String,
}
