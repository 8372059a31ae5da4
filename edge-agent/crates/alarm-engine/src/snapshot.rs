//! What survives a restart: plain values, for the caller to keep as it likes.

use std::collections::BTreeMap;

use plant_model::{AlarmFlags, AlarmId, AlarmTimers, CommandId};

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
