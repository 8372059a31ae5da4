//! Alarms in the words of ISA-18.2.

use fleet::AlarmRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::TagValue;
use crate::instant::Instant;

/// Which side of which limit an alarm watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmKind {
    HighHigh,
    High,
    Low,
    LowLow,
}

impl From<plant_model::AlarmKind> for AlarmKind {
    fn from(kind: plant_model::AlarmKind) -> Self {
        match kind {
            plant_model::AlarmKind::HighHigh => Self::HighHigh,
            plant_model::AlarmKind::High => Self::High,
            plant_model::AlarmKind::Low => Self::Low,
            plant_model::AlarmKind::LowLow => Self::LowLow,
        }
    }
}

/// How soon a person must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    /// Within the shift.
    Low,
    /// Within the hour.
    Medium,
    /// Within minutes.
    High,
    /// At once.
    Critical,
}

impl From<plant_model::AlarmPriority> for Priority {
    fn from(priority: plant_model::AlarmPriority) -> Self {
        match priority {
            plant_model::AlarmPriority::Low => Self::Low,
            plant_model::AlarmPriority::Medium => Self::Medium,
            plant_model::AlarmPriority::High => Self::High,
            plant_model::AlarmPriority::Critical => Self::Critical,
        }
    }
}

/// The state of an alarm (ISA-18.2, figure 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum AlarmState {
    /// Normal.
    #[serde(rename = "NORM")]
    Normal,
    /// Active and not acknowledged.
    #[serde(rename = "UNACK")]
    Unacknowledged,
}

impl From<plant_model::AlarmState> for AlarmState {
    fn from(state: plant_model::AlarmState) -> Self {
        match state {
            plant_model::AlarmState::Normal => Self::Normal,
            plant_model::AlarmState::Unacknowledged => Self::Unacknowledged,
        }
    }
}

/// What moved an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The value went over the limit.
    Raised,
    /// The value came back.
    ReturnedToNormal,
}

impl From<plant_model::TransitionCause> for Cause {
    fn from(cause: plant_model::TransitionCause) -> Self {
        match cause {
            plant_model::TransitionCause::Raised => Self::Raised,
            plant_model::TransitionCause::ReturnedToNormal => Self::ReturnedToNormal,
        }
    }
}

/// What is watched, and when to call a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlarmDefinition {
    /// Its id, unique within the machine.
    pub(crate) id: String,
    /// The tag whose value is watched.
    pub(crate) tag: String,
    /// The side of the limit.
    pub(crate) kind: AlarmKind,
    /// The limit, in the tag's unit.
    pub(crate) limit: f64,
    /// How far the value must come back before the alarm returns to normal, in the tag's unit.
    pub(crate) deadband: f64,
    /// How soon a person must act.
    pub(crate) priority: Priority,
    /// What a person reads.
    pub(crate) message: String,
}

impl From<&plant_model::AlarmDefinition> for AlarmDefinition {
    fn from(alarm: &plant_model::AlarmDefinition) -> Self {
        Self {
            id: alarm.id.to_string(),
            tag: alarm.tag.to_string(),
            kind: alarm.kind.into(),
            limit: alarm.limit,
            deadband: alarm.deadband,
            priority: alarm.priority.into(),
            message: alarm.message.clone(),
        }
    }
}

/// One activation of an alarm.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alarm {
    /// The gateway.
    pub(crate) gateway: String,
    /// The machine.
    pub(crate) machine: String,
    /// The alarm of that machine.
    pub(crate) alarm: String,
    /// The tag that is watched.
    pub(crate) tag: String,
    /// Counts the activations of this alarm, from 1.
    pub(crate) occurrence: u64,
    /// Its state.
    pub(crate) state: AlarmState,
    /// Whether it is active now.
    pub(crate) active: bool,
    /// How soon a person must act.
    pub(crate) priority: Priority,
    /// What a person reads.
    pub(crate) message: String,
    /// The limit.
    pub(crate) limit: f64,
    /// The value that raised it.
    pub(crate) value: TagValue,
    /// When the gateway decided that it is raised.
    pub(crate) raised_at: Instant,
    /// When the gateway decided that it returned to normal; null before.
    #[schema(required)]
    pub(crate) returned_at: Option<Instant>,
    /// When the gateway decided the latest of the two.
    pub(crate) decided_at: Instant,
}

impl From<&AlarmRow> for Alarm {
    fn from(row: &AlarmRow) -> Self {
        Self {
            gateway: row.key.gateway.to_string(),
            machine: row.key.machine.to_string(),
            alarm: row.key.alarm.to_string(),
            tag: row.tag.to_string(),
            occurrence: row.key.occurrence,
            state: row.state.into(),
            active: row.active,
            priority: row.priority.into(),
            message: row.message.clone(),
            limit: row.limit,
            value: (&row.value).into(),
            raised_at: row.raised_at.into(),
            returned_at: row.returned_at.map(Instant),
            decided_at: row.decided_at.into(),
        }
    }
}

/// One step in the life of an alarm, as the gateway decided it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transition)]
pub(crate) struct Transition {
    /// The gateway.
    pub(crate) gateway: String,
    /// The machine.
    pub(crate) machine: String,
    /// The alarm of that machine.
    pub(crate) alarm: String,
    /// The tag that was watched.
    pub(crate) tag: String,
    /// The activation it belongs to.
    pub(crate) occurrence: u64,
    /// The state before.
    pub(crate) from: AlarmState,
    /// The state after.
    pub(crate) to: AlarmState,
    /// What moved it.
    pub(crate) cause: Cause,
    /// How soon a person must act.
    pub(crate) priority: Priority,
    /// What a person reads.
    pub(crate) message: String,
    /// The value that decided it.
    pub(crate) value: TagValue,
    /// The limit it was held against.
    pub(crate) limit: f64,
    /// When that value was measured.
    pub(crate) value_at: Instant,
    /// When the gateway decided.
    pub(crate) decided_at: Instant,
    /// When the backend had it stored for good.
    pub(crate) stored_at: Instant,
}

impl Transition {
    /// From the gateway's decision.
    pub(crate) fn new(
        gateway: &plant_model::GatewayId,
        t: &plant_model::AlarmTransition,
        stored_at: plant_model::Timestamp,
    ) -> Self {
        Self {
            gateway: gateway.to_string(),
            machine: t.machine.to_string(),
            alarm: t.alarm.to_string(),
            tag: t.tag.to_string(),
            occurrence: t.occurrence,
            from: t.from.into(),
            to: t.to.into(),
            cause: t.cause.into(),
            priority: t.priority.into(),
            message: t.message.clone(),
            value: (&t.value).into(),
            limit: t.limit,
            value_at: t.value_at.into(),
            decided_at: t.decided_at.into(),
            stored_at: stored_at.into(),
        }
    }
}
