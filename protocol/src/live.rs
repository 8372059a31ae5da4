//! Latest values (SPEC section 7) and the fast lane of alarms: current while a backlog drains, never
//! stored, never acknowledged.

use plant_model::{AlarmTransition, MachineId, Timestamp};

use crate::columns::{self, SeriesSamples};
use crate::journal::{self, text};
use crate::limits::{CATALOGUE_MACHINES_MAX, LIVE_TRANSITIONS_MAX};
use crate::{DecodeError, container, wire};

/// Whether the gateway reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineLink {
    /// The machine.
    pub machine: MachineId,
    /// Whether the last attempt succeeded.
    pub up: bool,
    /// Why not, for people; empty when up.
    pub reason: String,
}

/// Latest values of a gateway's tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// When it was put together, by the gateway's wall clock.
    pub at: Timestamp,
    /// The newest sample of each series that has a new one since the last such message.
    pub latest: Vec<SeriesSamples>,
    /// The link of every machine; empty in a message that is only about alarms.
    pub links: Vec<MachineLink>,
    /// Alarm transitions that were decided a moment ago, in the order of the decisions; at most
    /// [`LIVE_TRANSITIONS_MAX`]. Each comes again in the alarm stream.
    pub transitions: Vec<AlarmTransition>,
}

impl Live {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let links = self
            .links
            .iter()
            .map(|l| wire::Link { machine: l.machine.to_string(), up: l.up, reason: l.reason.clone() })
            .collect();
        container::seal_compressed(&wire::Live {
            at_us: self.at.micros(),
            latest: Some(columns::encode(&self.latest)),
            links,
            transitions: self.transitions.iter().map(journal::to_wire).collect(),
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no live message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let live: wire::Live = container::open_compressed(bytes, "Live")?;
        for (what, actual, allowed) in [
            ("links", live.links.len(), CATALOGUE_MACHINES_MAX),
            ("transitions", live.transitions.len(), LIVE_TRANSITIONS_MAX),
        ] {
            if actual > allowed {
                return Err(DecodeError::TooLarge { what, actual, allowed });
            }
        }
        let link = |l: wire::Link| {
            Ok(MachineLink {
                machine: MachineId::new(&l.machine)?,
                up: l.up,
                reason: text("reason", l.reason)?,
            })
        };
        Ok(Self {
            at: Timestamp::from_micros(live.at_us),
            latest: match live.latest {
                Some(columns) if !columns.series.is_empty() => columns::decode(&columns)?,
                _ => Vec::new(),
            },
            links: live.links.into_iter().map(link).collect::<Result<_, DecodeError>>()?,
            transitions: live
                .transitions
                .into_iter()
                .map(journal::from_wire)
                .collect::<Result<_, DecodeError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{AlarmFlags, AlarmId, AlarmPriority, AlarmState, TransitionCause};

    use super::*;

    fn transition(occurrence: u64) -> AlarmTransition {
        AlarmTransition {
            machine: MachineId::new("press-1").expect("valid"),
            alarm: AlarmId::new("oil_hot").expect("valid"),
            tag: None,
            occurrence,
            from: AlarmState::Normal,
            to: AlarmState::Unacknowledged,
            cause: TransitionCause::Raised,
            priority: AlarmPriority::High,
            value: None,
            limit: None,
            deadband: 0.0,
            value_at: Timestamp::from_micros(1),
            decided_at: Timestamp::from_micros(2),
            message: "Oil too hot".into(),
            first_out: false,
            flags: AlarmFlags::of_state(AlarmState::Unacknowledged),
            operation: None,
        }
    }

    fn about_alarms(count: usize) -> Live {
        let transitions = (1..).take(count).map(transition).collect();
        Live { at: Timestamp::from_micros(3), latest: Vec::new(), links: Vec::new(), transitions }
    }

    #[test]
    fn a_message_about_alarms_alone_comes_back_up_to_its_limit() {
        let full = about_alarms(LIVE_TRANSITIONS_MAX);
        assert_eq!(Live::decode(&full.encode()), Ok(full));
        let over = about_alarms(LIVE_TRANSITIONS_MAX + 1);
        assert_eq!(Live::decode(&over.encode()).expect_err("too many").reason(), "too_large");
    }
}
