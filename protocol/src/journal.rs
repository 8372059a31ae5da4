//! Alarm transitions on the wire (SPEC section 6).

use std::sync::Arc;

use plant_model::{
    AlarmId, AlarmPriority, AlarmState, AlarmTransition, MachineId, TagId, Timestamp, TransitionCause, Value,
};

use crate::limits::TEXT_BYTES_MAX;
use crate::wire::any_value::Kind;
use crate::{DecodeError, wire};

pub(crate) fn to_wire(t: &AlarmTransition) -> wire::Transition {
    wire::Transition {
        machine: t.machine.to_string(),
        alarm: t.alarm.to_string(),
        tag: t.tag.to_string(),
        occurrence: t.occurrence,
        from: t.from.mnemonic().to_owned(),
        to: t.to.mnemonic().to_owned(),
        cause: t.cause.name().to_owned(),
        priority: t.priority.name().to_owned(),
        value: Some(wire::AnyValue { kind: Some(value_to_wire(&t.value)) }),
        limit: t.limit,
        value_at_us: t.value_at.micros(),
        decided_at_us: t.decided_at.micros(),
        message: t.message.clone(),
    }
}

pub(crate) fn from_wire(t: wire::Transition) -> Result<AlarmTransition, DecodeError> {
    let known = |field, text: String| DecodeError::field(field, format!("{text:?} is not known"));
    Ok(AlarmTransition {
        machine: MachineId::new(&t.machine)?,
        alarm: AlarmId::new(&t.alarm)?,
        tag: TagId::new(&t.tag)?,
        occurrence: t.occurrence,
        from: AlarmState::from_mnemonic(&t.from).ok_or_else(|| known("from", t.from))?,
        to: AlarmState::from_mnemonic(&t.to).ok_or_else(|| known("to", t.to))?,
        cause: TransitionCause::from_name(&t.cause).ok_or_else(|| known("cause", t.cause))?,
        priority: AlarmPriority::from_name(&t.priority).ok_or_else(|| known("priority", t.priority))?,
        value: value_from_wire(t.value)?,
        limit: t.limit,
        value_at: Timestamp::from_micros(t.value_at_us),
        decided_at: Timestamp::from_micros(t.decided_at_us),
        message: text("message", t.message)?,
    })
}

fn value_to_wire(value: &Value) -> Kind {
    match value {
        Value::Bool(b) => Kind::Bool(*b),
        Value::Int(i) => Kind::Int(*i),
        Value::Float(f) => Kind::Float(*f),
        Value::Text(t) => Kind::Text(t.to_string()),
    }
}

fn value_from_wire(value: Option<wire::AnyValue>) -> Result<Value, DecodeError> {
    match value.and_then(|v| v.kind) {
        Some(Kind::Bool(b)) => Ok(Value::Bool(b)),
        Some(Kind::Int(i)) => Ok(Value::Int(i)),
        Some(Kind::Float(f)) => Ok(Value::Float(f)),
        Some(Kind::Text(t)) => Ok(Value::Text(Arc::from(text("value", t)?))),
        None => Err(DecodeError::field("value", "a transition carries the value that decided it")),
    }
}

/// A text for people, within its limit.
pub(crate) fn text(what: &'static str, text: String) -> Result<String, DecodeError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(DecodeError::TooLarge { what, actual: text.len(), allowed: TEXT_BYTES_MAX });
    }
    Ok(text)
}
