//! What is watched, and when and how to call a person.

use std::time::Duration;

use super::AlarmCondition;
use crate::AlarmId;

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

/// What becomes of an alarm that nobody has acknowledged when the process returns to normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcknowledgeClass {
    /// It waits for a person (state D).
    Required,
    /// The return acknowledges it (state A).
    OnReturn,
}

impl AcknowledgeClass {
    /// All classes.
    pub const ALL: [Self; 2] = [Self::Required, Self::OnReturn];

    /// The name used in configuration, on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::OnReturn => "on_return",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// What is watched, and when to call a person.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmDefinition {
    /// Its id, unique within the machine.
    pub id: AlarmId,
    /// When the process is abnormal.
    pub condition: AlarmCondition,
    /// How long the condition must stand before the alarm is raised.
    pub on_delay: Duration,
    /// How long the condition must be gone before the alarm returns to normal.
    pub off_delay: Duration,
    /// How soon a person must act.
    pub priority: AlarmPriority,
    /// What a person reads.
    pub message: String,
    /// What a return to normal does to an alarm that nobody has acknowledged.
    pub acknowledge: AcknowledgeClass,
    /// Whether the alarm is held after the process has returned, until a person resets it.
    pub latching: bool,
    /// How long after it was acknowledged an alarm that still stands calls again.
    pub re_alarm: Option<Duration>,
    /// The group in which the first alarm to be raised is marked.
    pub group: Option<String>,
    /// An expression over the machine's tags; while it is true the alarm is suppressed by design.
    pub suppress_while: Option<String>,
    /// The longest time a person may shelve it for.
    pub shelve_max: Duration,
}

impl AlarmDefinition {
    /// The longest time an alarm may be shelved for unless it is configured otherwise: one shift.
    pub const SHELVE_MAX_DEFAULT: Duration = Duration::from_secs(8 * 3600);

    /// A definition without delays that waits for nobody: it does not latch, a return acknowledges it,
    /// nothing suppresses it.
    #[must_use]
    pub fn new(
        id: AlarmId,
        condition: AlarmCondition,
        priority: AlarmPriority,
        message: impl Into<String>,
    ) -> Self {
        Self {
            id,
            condition,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
            priority,
            message: message.into(),
            acknowledge: AcknowledgeClass::OnReturn,
            latching: false,
            re_alarm: None,
            group: None,
            suppress_while: None,
            shelve_max: Self::SHELVE_MAX_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_way_back() {
        for priority in AlarmPriority::ALL {
            assert_eq!(AlarmPriority::from_name(priority.name()), Some(priority));
        }
        for class in AcknowledgeClass::ALL {
            assert_eq!(AcknowledgeClass::from_name(class.name()), Some(class));
        }
        assert_eq!(AlarmPriority::from_name("urgent"), None);
    }
}
