//! Alarms in the words of ISA-18.2 / IEC 62682.

use std::time::Duration;

use crate::{AlarmId, MachineId, TagId, Timestamp, Value};

/// Which side of which limit an alarm watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// Far above the normal range.
    HighHigh,
    /// Above the normal range.
    High,
    /// Below the normal range.
    Low,
    /// Far below the normal range.
    LowLow,
}

impl AlarmKind {
    /// All kinds, from the highest limit to the lowest.
    pub const ALL: [Self; 4] = [Self::HighHigh, Self::High, Self::Low, Self::LowLow];

    /// The name used in configuration, on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HighHigh => "high_high",
            Self::High => "high",
            Self::Low => "low",
            Self::LowLow => "low_low",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Whether the alarm is raised above its limit (else below it).
    #[must_use]
    pub const fn is_upper(self) -> bool {
        matches!(self, Self::HighHigh | Self::High)
    }
}

/// How soon a person must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmPriority {
    /// Within the shift.
    Low,
    /// Within the hour.
    Medium,
    /// Within minutes.
    High,
    /// At once.
    Critical,
}

impl AlarmPriority {
    /// All priorities, from the least to the most urgent.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The name used in configuration, on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// The state of an alarm that people see (ISA-18.2-2016, figure 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// A: normal.
    Normal,
    /// B: active and not acknowledged.
    Unacknowledged,
}

impl AlarmState {
    /// The mnemonic of the standard, used on the wire and in the API.
    #[must_use]
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::Normal => "NORM",
            Self::Unacknowledged => "UNACK",
        }
    }

    /// The inverse of [`Self::mnemonic`].
    #[must_use]
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        [Self::Normal, Self::Unacknowledged].into_iter().find(|s| s.mnemonic() == text)
    }

    /// Whether the process condition is abnormal in this state.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Unacknowledged)
    }
}

/// What moved an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransitionCause {
    /// The process went over the limit.
    Raised,
    /// The process came back.
    ReturnedToNormal,
}

impl TransitionCause {
    /// The name used on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::ReturnedToNormal => "returned_to_normal",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raised, Self::ReturnedToNormal].into_iter().find(|c| c.name() == name)
    }
}

/// What is watched, and when to call a person.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmDefinition {
    /// Its id, unique within the machine.
    pub id: AlarmId,
    /// The tag whose value is watched.
    pub tag: TagId,
    /// The side of the limit.
    pub kind: AlarmKind,
    /// The limit, in the tag's unit.
    pub limit: f64,
    /// How far the value must come back inside the limit before the alarm returns to normal, in the
    /// tag's unit; zero or more.
    pub deadband: f64,
    /// How long the value must be beyond the limit before the alarm is raised.
    pub on_delay: Duration,
    /// How long the value must be back before the alarm returns to normal.
    pub off_delay: Duration,
    /// How soon a person must act.
    pub priority: AlarmPriority,
    /// What a person reads.
    pub message: String,
}

/// One step in the life of an alarm, decided by the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmTransition {
    /// The machine.
    pub machine: MachineId,
    /// The alarm of that machine.
    pub alarm: AlarmId,
    /// The tag that was watched.
    pub tag: TagId,
    /// Counts the activations of this alarm, from 1; a return to normal carries the number of the
    /// activation it ends.
    pub occurrence: u64,
    /// The state before.
    pub from: AlarmState,
    /// The state after.
    pub to: AlarmState,
    /// What moved it.
    pub cause: TransitionCause,
    /// How soon a person must act.
    pub priority: AlarmPriority,
    /// The value that decided it.
    pub value: Value,
    /// The limit it was held against.
    pub limit: f64,
    /// When the deciding value was measured.
    pub value_at: Timestamp,
    /// When the gateway decided, by its wall clock.
    pub decided_at: Timestamp,
    /// What a person reads.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_way_back() {
        for kind in AlarmKind::ALL {
            assert_eq!(AlarmKind::from_name(kind.name()), Some(kind));
        }
        for priority in AlarmPriority::ALL {
            assert_eq!(AlarmPriority::from_name(priority.name()), Some(priority));
        }
        for state in [AlarmState::Normal, AlarmState::Unacknowledged] {
            assert_eq!(AlarmState::from_mnemonic(state.mnemonic()), Some(state));
        }
        for cause in [TransitionCause::Raised, TransitionCause::ReturnedToNormal] {
            assert_eq!(TransitionCause::from_name(cause.name()), Some(cause));
        }
        assert_eq!(AlarmKind::from_name("hihi"), None);
    }
}
