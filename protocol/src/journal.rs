//! Alarm transitions on the wire (SPEC section 6).

use std::sync::Arc;

use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTransition, CommandId, MachineId, OperatorAction,
    TagId, Timestamp, TransitionCause, Value,
};

use crate::limits::{ACTOR_BYTES_MAX, TEXT_BYTES_MAX};
use crate::wire::any_value::Kind;
use crate::{DecodeError, wire};

pub(crate) fn to_wire(t: &AlarmTransition) -> wire::Transition {
    wire::Transition {
        machine: t.machine.to_string(),
        alarm: t.alarm.to_string(),
        tag: t.tag.as_ref().map(TagId::to_string).unwrap_or_default(),
        occurrence: t.occurrence,
        from: t.from.mnemonic().to_owned(),
        to: t.to.mnemonic().to_owned(),
        cause: t.cause.name().to_owned(),
        priority: t.priority.name().to_owned(),
        value: t.value.as_ref().map(value_to_wire),
        limit: t.limit.unwrap_or_default(),
        value_at_us: t.value_at.micros(),
        decided_at_us: t.decided_at.micros(),
        message: t.message.clone(),
        flags: Some(t.flags.bits()),
        shelved_until_us: t.flags.shelved_until.map(Timestamp::micros),
        review_at_us: t.flags.review_at.map(Timestamp::micros),
        no_limit: t.limit.is_none(),
        deadband: t.deadband,
        first_out: t.first_out,
        operation: t.operation.as_ref().map(operation_to_wire),
    }
}

pub(crate) fn from_wire(t: wire::Transition) -> Result<AlarmTransition, DecodeError> {
    let known = |field, text: &str| DecodeError::field(field, format!("{text:?} is not known"));
    let to = AlarmState::from_mnemonic(&t.to).ok_or_else(|| known("to", &t.to))?;
    Ok(AlarmTransition {
        machine: MachineId::new(&t.machine)?,
        alarm: AlarmId::new(&t.alarm)?,
        tag: Some(&t.tag).filter(|tag| !tag.is_empty()).map(|tag| TagId::new(tag)).transpose()?,
        occurrence: t.occurrence,
        from: AlarmState::from_mnemonic(&t.from).ok_or_else(|| known("from", &t.from))?,
        to,
        cause: TransitionCause::from_name(&t.cause).ok_or_else(|| known("cause", &t.cause))?,
        priority: AlarmPriority::from_name(&t.priority).ok_or_else(|| known("priority", &t.priority))?,
        flags: flags_from_wire(&t, to)?,
        value: t.value.map(value_from_wire).transpose()?,
        limit: (!t.no_limit).then_some(t.limit),
        deadband: t.deadband,
        value_at: Timestamp::from_micros(t.value_at_us),
        decided_at: Timestamp::from_micros(t.decided_at_us),
        message: text("message", t.message)?,
        first_out: t.first_out,
        operation: t.operation.map(operation_from_wire).transpose()?,
    })
}

fn flags_from_wire(t: &wire::Transition, to: AlarmState) -> Result<AlarmFlags, DecodeError> {
    let Some(bits) = t.flags else { return Ok(AlarmFlags::of_state(to)) };
    let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
    let flags = AlarmFlags::from_bits(bits, time(t.shelved_until_us), time(t.review_at_us));
    let unknown = || DecodeError::field("flags", format!("{bits:#x} has bits that are not known"));
    let flags = flags.ok_or_else(unknown)?;
    if flags.state() != to {
        let detail =
            format!("{bits:#x} is the state {}, and `to` is {}", flags.state().mnemonic(), to.mnemonic());
        return Err(DecodeError::field("flags", detail));
    }
    Ok(flags)
}

fn operation_to_wire(operation: &OperatorAction) -> wire::Operation {
    wire::Operation {
        command: operation.command.to_string(),
        actor: operation.actor.clone(),
        comment: operation.comment.clone(),
    }
}

fn operation_from_wire(operation: wire::Operation) -> Result<OperatorAction, DecodeError> {
    let actual = operation.actor.len();
    if actual > ACTOR_BYTES_MAX {
        return Err(DecodeError::TooLarge { what: "actor", actual, allowed: ACTOR_BYTES_MAX });
    }
    Ok(OperatorAction {
        command: CommandId::new(&operation.command)?,
        actor: operation.actor,
        comment: text("comment", operation.comment)?,
    })
}

pub(crate) fn value_to_wire(value: &Value) -> wire::AnyValue {
    let kind = match value {
        Value::Bool(b) => Kind::Bool(*b),
        Value::Int(i) => Kind::Int(*i),
        Value::Float(f) => Kind::Float(*f),
        Value::Text(t) => Kind::Text(t.to_string()),
    };
    wire::AnyValue { kind: Some(kind) }
}

pub(crate) fn value_from_wire(value: wire::AnyValue) -> Result<Value, DecodeError> {
    match value.kind {
        Some(Kind::Bool(b)) => Ok(Value::Bool(b)),
        Some(Kind::Int(i)) => Ok(Value::Int(i)),
        Some(Kind::Float(f)) => Ok(Value::Float(f)),
        Some(Kind::Text(t)) => Ok(Value::Text(Arc::from(text("value", t)?))),
        None => Err(DecodeError::field("value", "it is of no kind that is known")),
    }
}

/// A text for people, within its limit.
pub(crate) fn text(what: &'static str, text: String) -> Result<String, DecodeError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(DecodeError::TooLarge { what, actual: text.len(), allowed: TEXT_BYTES_MAX });
    }
    Ok(text)
}
