//! Alarms in the words of ISA-18.2.

use fleet::AlarmRow;
use plant_model::AlarmCondition;
use serde::Serialize;
use utoipa::ToSchema;

use super::TagValue;
use crate::instant::Instant;

/// What an alarm watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmKind {
    /// A value far above its limit.
    HighHigh,
    /// A value above its limit.
    High,
    /// A value below its limit.
    Low,
    /// A value far below its limit.
    LowLow,
    /// A value too far from its set point.
    Deviation,
    /// A value that moves too fast.
    RateOfChange,
    /// A discrete value that is not as it should be.
    OffNormal,
    /// A value that has not changed for too long.
    Stale,
    /// A tag without a good value.
    BadQuality,
    /// No connection to the machine.
    Communication,
    /// A combination of tags.
    Expression,
}

impl From<plant_model::AlarmKind> for AlarmKind {
    fn from(kind: plant_model::AlarmKind) -> Self {
        use plant_model::{AlarmKind as Kind, LimitKind};
        match kind {
            Kind::Limit(LimitKind::HighHigh) => Self::HighHigh,
            Kind::Limit(LimitKind::High) => Self::High,
            Kind::Limit(LimitKind::Low) => Self::Low,
            Kind::Limit(LimitKind::LowLow) => Self::LowLow,
            Kind::Deviation => Self::Deviation,
            Kind::RateOfChange => Self::RateOfChange,
            Kind::OffNormal => Self::OffNormal,
            Kind::Stale => Self::Stale,
            Kind::BadQuality => Self::BadQuality,
            Kind::Communication => Self::Communication,
            Kind::Expression => Self::Expression,
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

/// The state of an alarm (ISA-18.2, figure 3, and the latched pair).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum AlarmState {
    /// Nothing to do.
    #[serde(rename = "NORM")]
    Normal,
    /// Active and not acknowledged.
    #[serde(rename = "UNACK")]
    Unacknowledged,
    /// Active and acknowledged.
    #[serde(rename = "ACKED")]
    Acknowledged,
    /// Returned to normal and not acknowledged.
    #[serde(rename = "RTNUN")]
    ReturnedUnacknowledged,
    /// Returned to normal, held and not acknowledged.
    #[serde(rename = "LTUNK")]
    LatchedUnacknowledged,
    /// Returned to normal, acknowledged and held until it is reset.
    #[serde(rename = "LTACK")]
    LatchedAcknowledged,
    /// Hidden by a person for a time.
    #[serde(rename = "SHLVD")]
    Shelved,
    /// Hidden by logic, for example while the machine is stopped.
    #[serde(rename = "DSUPR")]
    SuppressedByDesign,
    /// Hidden by a person while it is being worked on.
    #[serde(rename = "OOSRV")]
    OutOfService,
}

impl From<plant_model::AlarmState> for AlarmState {
    fn from(state: plant_model::AlarmState) -> Self {
        match state {
            plant_model::AlarmState::Normal => Self::Normal,
            plant_model::AlarmState::Unacknowledged => Self::Unacknowledged,
            plant_model::AlarmState::Acknowledged => Self::Acknowledged,
            plant_model::AlarmState::ReturnedUnacknowledged => Self::ReturnedUnacknowledged,
            plant_model::AlarmState::LatchedUnacknowledged => Self::LatchedUnacknowledged,
            plant_model::AlarmState::LatchedAcknowledged => Self::LatchedAcknowledged,
            plant_model::AlarmState::Shelved => Self::Shelved,
            plant_model::AlarmState::SuppressedByDesign => Self::SuppressedByDesign,
            plant_model::AlarmState::OutOfService => Self::OutOfService,
        }
    }
}

/// What moved an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
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

impl From<plant_model::TransitionCause> for Cause {
    fn from(cause: plant_model::TransitionCause) -> Self {
        match cause {
            plant_model::TransitionCause::Raised => Self::Raised,
            plant_model::TransitionCause::ReturnedToNormal => Self::ReturnedToNormal,
            plant_model::TransitionCause::ReAlarmed => Self::ReAlarmed,
            plant_model::TransitionCause::Acknowledged => Self::Acknowledged,
            plant_model::TransitionCause::Reset => Self::Reset,
            plant_model::TransitionCause::Shelved => Self::Shelved,
            plant_model::TransitionCause::Unshelved => Self::Unshelved,
            plant_model::TransitionCause::ShelveExpired => Self::ShelveExpired,
            plant_model::TransitionCause::Suppressed => Self::Suppressed,
            plant_model::TransitionCause::Unsuppressed => Self::Unsuppressed,
            plant_model::TransitionCause::TakenOutOfService => Self::TakenOutOfService,
            plant_model::TransitionCause::ReturnedToService => Self::ReturnedToService,
            plant_model::TransitionCause::Removed => Self::Removed,
        }
    }
}

/// What becomes of an alarm that nobody has acknowledged when the process returns to normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AcknowledgeClass {
    /// It waits for a person.
    Required,
    /// The return acknowledges it.
    OnReturn,
}

impl From<plant_model::AcknowledgeClass> for AcknowledgeClass {
    fn from(class: plant_model::AcknowledgeClass) -> Self {
        match class {
            plant_model::AcknowledgeClass::Required => Self::Required,
            plant_model::AcknowledgeClass::OnReturn => Self::OnReturn,
        }
    }
}

/// What is watched, and when to call a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlarmDefinition {
    /// Its id, unique within the machine.
    pub(crate) id: String,
    /// The tag whose value is watched; null where there is no single one.
    #[schema(required)]
    pub(crate) tag: Option<String>,
    /// What is watched.
    pub(crate) kind: AlarmKind,
    /// The limit, where there is one: in the tag's unit, of a rate in that unit a second, of a stale value
    /// in seconds.
    #[schema(required)]
    pub(crate) limit: Option<f64>,
    /// How far the value must come back before the alarm returns to normal, in the unit of the limit.
    pub(crate) deadband: f64,
    /// The combination of tags that is watched; null for every other kind.
    #[schema(required)]
    pub(crate) expression: Option<String>,
    /// What a return to normal does to an alarm that nobody has acknowledged.
    pub(crate) acknowledge: AcknowledgeClass,
    /// Whether it is held after the return until a person resets it.
    pub(crate) latching: bool,
    /// While this combination of tags is true the alarm is suppressed; null: never.
    #[schema(required)]
    pub(crate) suppress_while: Option<String>,
    /// The longest time a person may shelve it for.
    pub(crate) shelve_seconds_max: u64,
    /// How soon a person must act.
    pub(crate) priority: Priority,
    /// What a person reads.
    pub(crate) message: String,
}

impl From<&plant_model::AlarmDefinition> for AlarmDefinition {
    fn from(alarm: &plant_model::AlarmDefinition) -> Self {
        Self {
            id: alarm.id.to_string(),
            tag: alarm.condition.tag().map(ToString::to_string),
            kind: alarm.condition.kind().into(),
            limit: alarm.condition.limit(),
            deadband: alarm.condition.deadband(),
            expression: match &alarm.condition {
                AlarmCondition::Expression { text } => Some(text.clone()),
                AlarmCondition::Limit { .. }
                | AlarmCondition::Deviation { .. }
                | AlarmCondition::RateOfChange { .. }
                | AlarmCondition::OffNormal { .. }
                | AlarmCondition::Stale { .. }
                | AlarmCondition::BadQuality { .. }
                | AlarmCondition::Communication => None,
            },
            acknowledge: alarm.acknowledge.into(),
            latching: alarm.latching,
            suppress_while: alarm.suppress_while.clone(),
            shelve_seconds_max: alarm.shelve_max.as_secs(),
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
    /// The tag that is watched; null where there is no single one.
    #[schema(required)]
    pub(crate) tag: Option<String>,
    /// Counts the activations of this alarm, from 1.
    pub(crate) occurrence: u64,
    /// Its state.
    pub(crate) state: AlarmState,
    /// Whether people are shown it now: it is active, held, or waits for somebody.
    pub(crate) active: bool,
    /// How soon a person must act.
    pub(crate) priority: Priority,
    /// What a person reads.
    pub(crate) message: String,
    /// The limit, where there is one.
    #[schema(required)]
    pub(crate) limit: Option<f64>,
    /// The value that raised it; null where no value did.
    #[schema(required)]
    pub(crate) value: Option<TagValue>,
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
            tag: row.tag.as_ref().map(ToString::to_string),
            occurrence: row.key.occurrence,
            state: row.state.into(),
            active: row.active,
            priority: row.priority.into(),
            message: row.message.clone(),
            limit: row.limit,
            value: row.value.as_ref().map(Into::into),
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
    /// The tag that was watched; null where there is no single one.
    #[schema(required)]
    pub(crate) tag: Option<String>,
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
    /// The value that decided it; null where a person, a timer or the connection did.
    #[schema(required)]
    pub(crate) value: Option<TagValue>,
    /// The limit it was held against, where there is one.
    #[schema(required)]
    pub(crate) limit: Option<f64>,
    /// Whether it is the first raise of its group since all of the group were quiet.
    pub(crate) first_out: bool,
    /// Who did it; null where no person did.
    #[schema(required)]
    pub(crate) actor: Option<String>,
    /// Why, in that person's words; null where no person did it.
    #[schema(required)]
    pub(crate) comment: Option<String>,
    /// Until when it is shelved, if it is.
    #[schema(required)]
    pub(crate) shelved_until: Option<Instant>,
    /// When that value was measured.
    pub(crate) value_at: Instant,
    /// When the gateway decided.
    pub(crate) decided_at: Instant,
    /// When the backend had it stored for good. Null, in the live stream only, for the copy that runs ahead:
    /// the same step (gateway, machine, alarm, occurrence, from, to, cause and `decided_at`) comes again with it.
    #[schema(required)]
    pub(crate) stored_at: Option<Instant>,
}

impl Transition {
    /// From the gateway's decision.
    pub(crate) fn new(
        gateway: &plant_model::GatewayId,
        t: &plant_model::AlarmTransition,
        stored_at: Option<plant_model::Timestamp>,
    ) -> Self {
        Self {
            gateway: gateway.to_string(),
            machine: t.machine.to_string(),
            alarm: t.alarm.to_string(),
            tag: t.tag.as_ref().map(ToString::to_string),
            occurrence: t.occurrence,
            from: t.from.into(),
            to: t.to.into(),
            cause: t.cause.into(),
            priority: t.priority.into(),
            message: t.message.clone(),
            value: t.value.as_ref().map(Into::into),
            limit: t.limit,
            first_out: t.first_out,
            actor: t.operation.as_ref().map(|operation| operation.actor.clone()),
            comment: t.operation.as_ref().map(|operation| operation.comment.clone()),
            shelved_until: t.flags.shelved_until.map(Instant),
            value_at: t.value_at.into(),
            decided_at: t.decided_at.into(),
            stored_at: stored_at.map(Instant),
        }
    }
}
