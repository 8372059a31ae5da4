//! Which alarms switch an output, and how.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use plant_model::{AlarmId, AlarmPriority, AlarmState, MachineId};

use crate::{OutputError, Pacing, Safe};

/// The name of an output, unique on its gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputId(Arc<str>);

impl OutputId {
    /// Parses an id.
    ///
    /// # Errors
    /// The text is not 1 to 63 characters `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
    pub fn new(text: &str) -> Result<Self, OutputError> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_valid = (1..=63).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(OutputError::Id { text: text.chars().take(80).collect() })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OutputId {
    type Err = OutputError;
    fn from_str(text: &str) -> Result<Self, OutputError> {
        Self::new(text)
    }
}

impl fmt::Display for OutputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An alarm of a machine of this gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmKey {
    /// The machine.
    pub machine: MachineId,
    /// Its alarm.
    pub alarm: AlarmId,
}

/// The alarms that an output watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmFilter {
    /// Of these machines; `None` for all.
    pub machines: Option<BTreeSet<MachineId>>,
    /// With these ids; `None` for all.
    pub alarms: Option<BTreeSet<AlarmId>>,
    /// At least so urgent.
    pub priority: AlarmPriority,
}

impl AlarmFilter {
    /// Whether an alarm is one of them.
    #[must_use]
    pub fn watches(&self, alarm: &AlarmKey, priority: AlarmPriority) -> bool {
        priority >= self.priority
            && self.machines.as_ref().is_none_or(|m| m.contains(&alarm.machine))
            && self.alarms.as_ref().is_none_or(|a| a.contains(&alarm.alarm))
    }
}

/// In which states an alarm holds an output on. What hides an alarm from people lets go of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// The process is abnormal (B, C): a lamp.
    Active,
    /// Nobody has acknowledged it (B, D, E): a horn.
    Unacknowledged,
    /// People are shown it (B to F).
    Annunciated,
}

impl When {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Unacknowledged, Self::Annunciated];

    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unacknowledged => "unacknowledged",
            Self::Annunciated => "annunciated",
        }
    }

    /// Whether an alarm in this state holds the output on.
    #[must_use]
    pub const fn holds(self, state: AlarmState) -> bool {
        match (self, state) {
            (Self::Annunciated, state) => state.is_annunciated(),
            (Self::Active, state) => matches!(state, AlarmState::Unacknowledged | AlarmState::Acknowledged),
            (Self::Unacknowledged, state) => matches!(
                state,
                AlarmState::Unacknowledged
                    | AlarmState::ReturnedUnacknowledged
                    | AlarmState::LatchedUnacknowledged
            ),
        }
    }
}

/// When an output is on, and how it is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRule {
    /// Its name.
    pub id: OutputId,
    /// The alarms.
    pub filter: AlarmFilter,
    /// Their states.
    pub when: When,
    /// What becomes of it when the agent stops in order.
    pub safe: Safe,
    /// How often it may be driven.
    pub pacing: Pacing,
    /// After this time it is driven again although nothing has changed: for devices that forget.
    pub refresh: Option<Duration>,
    /// How often the agent shows that it lives, so that the device can fall to its safe state by itself.
    pub heartbeat: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horn_waits_for_an_acknowledgement_and_a_lamp_for_the_process() {
        let held = |when: When| {
            let states = AlarmState::ALL.into_iter().filter(|s| when.holds(*s));
            states.map(AlarmState::mnemonic).collect::<Vec<_>>()
        };
        assert_eq!(held(When::Active), ["UNACK", "ACKED"]);
        assert_eq!(held(When::Unacknowledged), ["UNACK", "RTNUN", "LTUNK"]);
        assert_eq!(held(When::Annunciated), ["UNACK", "ACKED", "RTNUN", "LTUNK", "LTACK"]);
    }

    #[test]
    fn a_filter_asks_for_machine_alarm_and_urgency() {
        let machine = |id: &str| MachineId::new(id).expect("valid");
        let alarm = |id: &str| AlarmId::new(id).expect("valid");
        let filter = AlarmFilter {
            machines: Some([machine("press-1")].into()),
            alarms: Some([alarm("hot")].into()),
            priority: AlarmPriority::High,
        };
        let watches = |m, a, p| filter.watches(&AlarmKey { machine: machine(m), alarm: alarm(a) }, p);
        assert!(watches("press-1", "hot", AlarmPriority::Critical));
        assert!(!watches("press-1", "hot", AlarmPriority::Medium));
        assert!(!watches("press-2", "hot", AlarmPriority::High));
        assert!(!watches("press-1", "cold", AlarmPriority::High));
    }

    #[test]
    fn an_id_is_a_label() {
        assert!(OutputId::new("horn-1").is_ok());
        for bad in ["", "-a", "a-", "Horn", "a b", &"a".repeat(64)] {
            assert!(OutputId::new(bad).is_err(), "{bad}");
        }
    }
}
