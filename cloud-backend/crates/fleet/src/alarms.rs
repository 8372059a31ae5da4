//! Alarms as people see them: one row for each occurrence, folded from the journal of transitions.

use plant_model::{
    AlarmId, AlarmPriority, AlarmState, AlarmTransition, GatewayId, MachineId, TagId, Timestamp,
    TransitionCause, Value,
};
use protocol::{Epoch, Sequence};

use crate::Cursor;

/// A transition as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalRow {
    /// The gateway that decided it.
    pub gateway: GatewayId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The batch that brought it.
    pub sequence: Sequence,
    /// Its position in the batch, from 0.
    pub position: u32,
    /// What happened.
    pub transition: AlarmTransition,
    /// When it was stored, by the store's clock.
    pub stored_at: Timestamp,
    /// Its place in the journal, ordered by the time of the decision.
    pub cursor: Cursor,
}

/// What identifies an occurrence of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmKey {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its epoch: the count of occurrences begins anew with each.
    pub epoch: Epoch,
    /// The machine.
    pub machine: MachineId,
    /// The alarm.
    pub alarm: AlarmId,
    /// The number of the activation, from 1; 0 before the first.
    pub occurrence: u64,
}

/// One occurrence of an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmRow {
    /// Which.
    pub key: AlarmKey,
    /// The tag that was watched; none where there is no single one.
    pub tag: Option<TagId>,
    /// The state after the last transition known.
    pub state: AlarmState,
    /// Whether people are shown it now ([`AlarmState::is_annunciated`]): it is active, held, or waits for
    /// somebody. An occurrence that a later one of the same alarm has followed is not, nor is one of an
    /// epoch that the gateway has left: its state went with the store file of the gateway.
    pub active: bool,
    /// How soon a person must act.
    pub priority: AlarmPriority,
    /// What a person reads.
    pub message: String,
    /// The limit, where there is one.
    pub limit: Option<f64>,
    /// The value that raised it, or of the first transition known when that one is missing; none where
    /// no value did.
    pub value: Option<Value>,
    /// When the gateway decided that it was raised; of the first transition known when that one is
    /// missing, or it was never raised.
    pub raised_at: Timestamp,
    /// When the gateway decided that it returned to normal.
    pub returned_at: Option<Timestamp>,
    /// When the gateway decided the last transition known.
    pub decided_at: Timestamp,
    /// The batch and the position in it of the last transition known.
    pub last: (Sequence, u32),
}

impl AlarmRow {
    /// The row that the first transition to arrive makes.
    #[must_use]
    pub fn first(
        gateway: &GatewayId,
        epoch: Epoch,
        at: (Sequence, u32),
        transition: &AlarmTransition,
    ) -> Self {
        let returned = transition.cause == TransitionCause::ReturnedToNormal;
        Self {
            key: AlarmKey {
                gateway: gateway.clone(),
                epoch,
                machine: transition.machine.clone(),
                alarm: transition.alarm.clone(),
                occurrence: transition.occurrence,
            },
            tag: transition.tag.clone(),
            state: transition.to,
            active: transition.to.is_annunciated(),
            priority: transition.priority,
            message: transition.message.clone(),
            limit: transition.limit,
            value: transition.value.clone(),
            raised_at: transition.decided_at,
            returned_at: returned.then_some(transition.decided_at),
            decided_at: transition.decided_at,
            last: at,
        }
    }

    /// Takes in one more transition of the occurrence, in whatever order they arrive.
    pub fn apply(&mut self, at: (Sequence, u32), transition: &AlarmTransition) {
        match transition.cause {
            TransitionCause::Raised | TransitionCause::ReAlarmed => {
                self.raised_at = transition.decided_at;
                self.value = transition.value.clone();
                self.limit = transition.limit;
                self.message.clone_from(&transition.message);
            }
            TransitionCause::ReturnedToNormal => self.returned_at = Some(transition.decided_at),
            TransitionCause::Acknowledged
            | TransitionCause::Reset
            | TransitionCause::Shelved
            | TransitionCause::Unshelved
            | TransitionCause::ShelveExpired
            | TransitionCause::Suppressed
            | TransitionCause::Unsuppressed
            | TransitionCause::TakenOutOfService
            | TransitionCause::ReturnedToService
            | TransitionCause::Removed => {}
        }
        if at > self.last {
            self.last = at;
            self.state = transition.to;
            self.active = transition.to.is_annunciated();
            // A gateway that finds the alarm gone at its start knows neither its priority nor its message any more.
            if transition.cause != TransitionCause::Removed {
                self.priority = transition.priority;
            }
            self.decided_at = transition.decided_at;
        }
    }
}

/// Which alarms to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmFilter {
    /// Those that are active now.
    Active,
    /// Those that are hidden now: shelved, suppressed by design or out of service. One that was never raised is
    /// there with the number 0.
    Hidden,
    /// All.
    All,
}

#[cfg(test)]
mod tests {
    use plant_model::AlarmFlags;

    use super::*;

    fn transition(cause: TransitionCause, at: i64) -> AlarmTransition {
        let states = [
            (TransitionCause::Raised, AlarmState::Unacknowledged),
            (TransitionCause::Acknowledged, AlarmState::Acknowledged),
            (TransitionCause::ReturnedToNormal, AlarmState::Normal),
            (TransitionCause::Removed, AlarmState::Normal),
        ];
        let (_, to) = states.into_iter().find(|(of, _)| *of == cause).expect("a cause used here");
        AlarmTransition {
            machine: MachineId::new("press-1").expect("valid"),
            alarm: AlarmId::new("hot").expect("valid"),
            tag: Some(TagId::new("temperature").expect("valid")),
            occurrence: 1,
            from: AlarmState::Normal,
            to,
            cause,
            priority: AlarmPriority::High,
            value: Some(Value::Int(at)),
            limit: Some(80.0),
            deadband: 0.0,
            value_at: Timestamp::from_micros(at),
            decided_at: Timestamp::from_micros(at),
            message: format!("at {at}"),
            first_out: false,
            flags: AlarmFlags::of_state(to),
            operation: None,
        }
    }

    fn fold(steps: &[(u64, AlarmTransition)]) -> AlarmRow {
        let gateway = GatewayId::new("gw-1").expect("valid");
        let at = |sequence: u64| (Sequence::from_u64(sequence), 0);
        let (first, rest) = steps.split_first().expect("at least one");
        let mut row = AlarmRow::first(&gateway, Epoch::from_u64(1), at(first.0), &first.1);
        for (sequence, step) in rest {
            row.apply(at(*sequence), step);
        }
        row
    }

    #[test]
    fn a_raise_and_its_return_make_the_same_row_in_either_order() {
        let raise = (1, transition(TransitionCause::Raised, 10));
        let back = (2, transition(TransitionCause::ReturnedToNormal, 20));
        let row = fold(&[raise.clone(), back.clone()]);
        assert_eq!(row, fold(&[back, raise]));
        assert!(!row.active);
        assert_eq!((row.raised_at.micros(), row.returned_at.map(Timestamp::micros)), (10, Some(20)));
        assert_eq!((row.value, row.message.as_str()), (Some(Value::Int(10)), "at 10"));
    }

    #[test]
    fn an_acknowledgement_changes_the_state_and_not_what_raised_it() {
        let raise = (1, transition(TransitionCause::Raised, 10));
        let acknowledged = (2, transition(TransitionCause::Acknowledged, 15));
        let row = fold(&[raise.clone(), acknowledged.clone()]);
        assert_eq!(row, fold(&[acknowledged, raise]));
        assert_eq!((row.state, row.active), (AlarmState::Acknowledged, true));
        assert_eq!((row.raised_at.micros(), row.value, row.returned_at), (10, Some(Value::Int(10)), None));
    }

    #[test]
    fn an_alarm_that_is_configured_no_longer_is_closed_and_stays_what_it_was_to_people() {
        let raise = (1, transition(TransitionCause::Raised, 10));
        let unknown = AlarmTransition {
            priority: AlarmPriority::Low,
            message: String::new(),
            ..transition(TransitionCause::Removed, 20)
        };
        let row = fold(&[raise, (2, unknown)]);
        assert_eq!((row.state, row.active, row.returned_at), (AlarmState::Normal, false, None));
        assert_eq!((row.priority, row.message.as_str()), (AlarmPriority::High, "at 10"));
    }

    #[test]
    fn a_raise_alone_is_active() {
        let row = fold(&[(1, transition(TransitionCause::Raised, 10))]);
        assert!(row.active);
        assert_eq!(row.returned_at, None);
    }
}
