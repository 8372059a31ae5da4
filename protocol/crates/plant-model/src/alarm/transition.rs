//! One step in the life of an alarm.

use super::{AlarmFlags, AlarmPriority, AlarmState, OperatorAction};
use crate::{AlarmId, MachineId, TagId, Timestamp, Value};

/// What moved an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransitionCause {
    /// The process became abnormal.
    Raised,
    /// The process came back.
    ReturnedToNormal,
    /// It was acknowledged and still stands: it calls again.
    ReAlarmed,
    /// A person acknowledged it.
    Acknowledged,
    /// A person let go of it.
    Reset,
    /// A person hid it for a time.
    Shelved,
    /// A person hides it no longer.
    Unshelved,
    /// The time for which it was hidden is over.
    ShelveExpired,
    /// Logic hides it.
    Suppressed,
    /// Logic hides it no longer.
    Unsuppressed,
    /// A person took it out of service.
    TakenOutOfService,
    /// A person returned it to service.
    ReturnedToService,
    /// It is configured no longer: nobody watches what it was about.
    Removed,
}

impl TransitionCause {
    /// All causes.
    pub const ALL: [Self; 13] = [
        Self::Raised,
        Self::ReturnedToNormal,
        Self::ReAlarmed,
        Self::Acknowledged,
        Self::Reset,
        Self::Shelved,
        Self::Unshelved,
        Self::ShelveExpired,
        Self::Suppressed,
        Self::Unsuppressed,
        Self::TakenOutOfService,
        Self::ReturnedToService,
        Self::Removed,
    ];

    /// The name used on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::ReturnedToNormal => "returned_to_normal",
            Self::ReAlarmed => "re_alarmed",
            Self::Acknowledged => "acknowledged",
            Self::Reset => "reset",
            Self::Shelved => "shelved",
            Self::Unshelved => "unshelved",
            Self::ShelveExpired => "shelve_expired",
            Self::Suppressed => "suppressed",
            Self::Unsuppressed => "unsuppressed",
            Self::TakenOutOfService => "taken_out_of_service",
            Self::ReturnedToService => "returned_to_service",
            Self::Removed => "removed",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// The verb of the command that moves an alarm so ([`super::AlarmCommand::name`]); none where the
    /// process, logic, a timer or the configuration does.
    #[must_use]
    pub const fn verb(self) -> Option<&'static str> {
        match self {
            Self::Acknowledged => Some("acknowledge"),
            Self::Reset => Some("reset"),
            Self::Shelved => Some("shelve"),
            Self::Unshelved => Some("unshelve"),
            Self::TakenOutOfService => Some("take_out_of_service"),
            Self::ReturnedToService => Some("return_to_service"),
            Self::Raised
            | Self::ReturnedToNormal
            | Self::ReAlarmed
            | Self::ShelveExpired
            | Self::Suppressed
            | Self::Unsuppressed
            | Self::Removed => None,
        }
    }
}

/// One step in the life of an alarm, decided by the gateway. What happens to an alarm that is hidden is
/// a step, too: `from` and `to` are the same then, and the flags tell.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmTransition {
    /// The machine.
    pub machine: MachineId,
    /// The alarm of that machine.
    pub alarm: AlarmId,
    /// The tag that was watched; for a combination of tags the one that decided.
    pub tag: Option<TagId>,
    /// Counts the activations of this alarm, from 1; what happens between two carries the number of
    /// the former, before the first 0.
    pub occurrence: u64,
    /// The state before.
    pub from: AlarmState,
    /// The state after, that of `flags`.
    pub to: AlarmState,
    /// What moved it.
    pub cause: TransitionCause,
    /// How soon a person must act.
    pub priority: AlarmPriority,
    /// The value that decided it; none where a person, a timer or the connection did.
    pub value: Option<Value>,
    /// The limit it was held against, in the unit of [`super::AlarmCondition::limit`].
    pub limit: Option<f64>,
    /// The deadband, in the same unit.
    pub deadband: f64,
    /// When the deciding value was measured; the instant of the decision where there is none.
    pub value_at: Timestamp,
    /// When the gateway decided, by its wall clock.
    pub decided_at: Timestamp,
    /// What a person reads.
    pub message: String,
    /// Whether it is the first raise in its group since all of the group were quiet.
    pub first_out: bool,
    /// What the alarm remembers after the step.
    pub flags: AlarmFlags,
    /// Who did it, where a person did.
    pub operation: Option<OperatorAction>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_finds_its_way_back_from_its_name() {
        for cause in TransitionCause::ALL {
            assert_eq!(TransitionCause::from_name(cause.name()), Some(cause));
        }
        assert_eq!(TransitionCause::from_name("cleared"), None);
    }
}
