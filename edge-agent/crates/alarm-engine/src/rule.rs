//! One alarm: where its value stands, which delay runs, what state it is in.

use std::time::Duration;

use plant_model::{
    AlarmDefinition, AlarmId, AlarmState, AlarmTransition, MachineId, Monotonic, Timestamp, TransitionCause,
    Value,
};

/// What survives a restart of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Activations so far.
    pub occurrence: u64,
    /// Whether the alarm was active.
    pub active: bool,
}

/// Where the value stands against the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// Beyond the limit.
    Beyond,
    /// Inside the limit, but not by more than the deadband.
    Deadband,
    /// Inside the limit by more than the deadband.
    Inside,
}

/// A value on its way to move the alarm: since when it stands where it stands.
#[derive(Debug, Clone)]
struct Pending {
    since: Monotonic,
    value: Value,
    value_at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Rule {
    definition: AlarmDefinition,
    occurrence: u64,
    state: AlarmState,
    pending: Option<Pending>,
}

impl Rule {
    pub(crate) fn new(definition: AlarmDefinition, snapshot: Snapshot) -> Self {
        let state = if snapshot.active { AlarmState::Unacknowledged } else { AlarmState::Normal };
        Self { definition, occurrence: snapshot.occurrence, state, pending: None }
    }

    pub(crate) fn id(&self) -> &AlarmId {
        &self.definition.id
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state.is_active()
    }

    /// Notes where the value stands and starts, keeps or drops the delay.
    pub(crate) fn observe(&mut self, value: &Value, value_at: Timestamp, now: Monotonic) {
        let Some(number) = value.as_f64().filter(|n| !n.is_nan()) else { return };
        let moves = match (self.zone(number), self.is_active()) {
            (Zone::Beyond, false) | (Zone::Inside, true) => true,
            (Zone::Beyond, true) | (Zone::Deadband | Zone::Inside, false) | (Zone::Deadband, true) => false,
        };
        match (&self.pending, moves) {
            (_, false) => self.pending = None,
            (Some(_), true) => {}
            (None, true) => self.pending = Some(Pending { since: now, value: value.clone(), value_at }),
        }
    }

    fn zone(&self, number: f64) -> Zone {
        let AlarmDefinition { kind, limit, deadband, .. } = &self.definition;
        // Distance beyond the limit, positive on the abnormal side.
        let beyond = if kind.is_upper() { number - limit } else { limit - number };
        if beyond > 0.0 {
            Zone::Beyond
        } else if -beyond >= *deadband {
            Zone::Inside
        } else {
            Zone::Deadband
        }
    }

    fn delay(&self) -> Duration {
        if self.is_active() { self.definition.off_delay } else { self.definition.on_delay }
    }

    /// When the running delay ends.
    pub(crate) fn due_at(&self) -> Option<Monotonic> {
        self.pending.as_ref().map(|p| p.since.plus(self.delay()))
    }

    /// Moves the alarm if its delay is over.
    pub(crate) fn advance(
        &mut self,
        machine: &MachineId,
        now: Monotonic,
        wall: Timestamp,
    ) -> Option<AlarmTransition> {
        if self.due_at()? > now {
            return None;
        }
        let pending = self.pending.take()?;
        let from = self.state;
        let (to, cause) = if from.is_active() {
            (AlarmState::Normal, TransitionCause::ReturnedToNormal)
        } else {
            self.occurrence += 1;
            (AlarmState::Unacknowledged, TransitionCause::Raised)
        };
        self.state = to;
        Some(AlarmTransition {
            machine: machine.clone(),
            alarm: self.definition.id.clone(),
            tag: self.definition.tag.clone(),
            occurrence: self.occurrence,
            from,
            to,
            cause,
            priority: self.definition.priority,
            value: pending.value,
            limit: self.definition.limit,
            value_at: pending.value_at,
            decided_at: wall,
            message: self.definition.message.clone(),
        })
    }
}
