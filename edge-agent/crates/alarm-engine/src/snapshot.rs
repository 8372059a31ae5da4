//! What survives a restart: plain values, for the caller to keep as it likes.

use std::collections::BTreeMap;

use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTimers, AlarmTransition, CommandId, MachineId,
    Timestamp, TransitionCause,
};

use crate::Refusal;

/// Everything an engine knows that the next samples will not tell it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The alarms; one that is not there starts normal.
    pub alarms: BTreeMap<AlarmId, AlarmSnapshot>,
    /// The commands of late, the oldest first.
    pub commands: Vec<PastCommand>,
}

/// What survives of one alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlarmSnapshot {
    /// Activations so far.
    pub occurrence: u64,
    /// What it remembers.
    pub flags: AlarmFlags,
    /// What was running.
    pub timers: AlarmTimers,
}

impl AlarmSnapshot {
    /// How an alarm is closed that was configured in the last run and is no longer; `None` if it was normal. What it
    /// was about is not known any more: the message is empty and the priority the lowest.
    #[must_use]
    pub fn removed(&self, machine: &MachineId, alarm: &AlarmId, wall: Timestamp) -> Option<AlarmTransition> {
        (self.flags != AlarmFlags::NORMAL).then(|| AlarmTransition {
            machine: machine.clone(),
            alarm: alarm.clone(),
            tag: None,
            occurrence: self.occurrence,
            from: self.flags.state(),
            to: AlarmState::Normal,
            cause: TransitionCause::Removed,
            priority: AlarmPriority::Low,
            value: None,
            limit: None,
            deadband: 0.0,
            value_at: wall,
            decided_at: wall,
            message: String::new(),
            first_out: false,
            flags: AlarmFlags::NORMAL,
            operation: None,
        })
    }
}

/// A command that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCommand {
    /// Its id.
    pub id: CommandId,
    /// The alarm it named.
    pub alarm: AlarmId,
    /// Its verb.
    pub verb: &'static str,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
}
