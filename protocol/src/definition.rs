//! Alarm definitions in the catalogue (SPEC section 7).

use std::time::Duration;

use plant_model::{
    AcknowledgeClass, AlarmCondition, AlarmDefinition, AlarmId, AlarmKind, AlarmPriority, NormalState,
    Setpoint, TagId,
};

use crate::journal::{text, value_from_wire, value_to_wire};
use crate::{DecodeError, wire};

pub(crate) fn to_wire(alarm: &AlarmDefinition) -> wire::Alarm {
    wire::Alarm {
        id: alarm.id.to_string(),
        tag: alarm.condition.tag().map(TagId::to_string).unwrap_or_default(),
        kind: alarm.condition.kind().name().to_owned(),
        limit: alarm.condition.limit().unwrap_or_default(),
        deadband: alarm.condition.deadband(),
        on_delay_ms: millis(alarm.on_delay),
        off_delay_ms: millis(alarm.off_delay),
        priority: alarm.priority.name().to_owned(),
        message: alarm.message.clone(),
        latching: alarm.latching,
        acknowledge: alarm.acknowledge.name().to_owned(),
        re_alarm_ms: alarm.re_alarm.map(millis).unwrap_or_default(),
        group: alarm.group.clone().unwrap_or_default(),
        suppress_while: alarm.suppress_while.clone().unwrap_or_default(),
        shelve_max_ms: millis(alarm.shelve_max),
        ..of_condition(&alarm.condition)
    }
}

/// What only one kind of condition has.
fn of_condition(condition: &AlarmCondition) -> wire::Alarm {
    let nothing = wire::Alarm::default();
    match condition {
        AlarmCondition::Deviation { from: Setpoint::Fixed(setpoint), .. } => {
            wire::Alarm { setpoint: *setpoint, ..nothing }
        }
        AlarmCondition::Deviation { from: Setpoint::Tag(tag), .. } => {
            wire::Alarm { from_tag: tag.to_string(), ..nothing }
        }
        AlarmCondition::RateOfChange { over: window, .. } | AlarmCondition::Stale { after: window, .. } => {
            wire::Alarm { window_ms: millis(*window), ..nothing }
        }
        AlarmCondition::OffNormal { normal: NormalState::Values(values), .. } => {
            wire::Alarm { normal: values.iter().map(value_to_wire).collect(), ..nothing }
        }
        AlarmCondition::OffNormal { normal: NormalState::Bit { number, set }, .. } => wire::Alarm {
            normal_bit: Some(wire::NormalBit { number: u32::from(*number), set: *set }),
            ..nothing
        },
        AlarmCondition::Expression { text } => wire::Alarm { expression: text.clone(), ..nothing },
        AlarmCondition::Limit { .. } | AlarmCondition::BadQuality { .. } | AlarmCondition::Communication => {
            nothing
        }
    }
}

pub(crate) fn from_wire(mut alarm: wire::Alarm) -> Result<AlarmDefinition, DecodeError> {
    let known = |field, text: &str| DecodeError::field(field, format!("{text:?} is not known"));
    let optional = |what, given: String| text(what, given).map(|text| Some(text).filter(|t| !t.is_empty()));
    let length = |millis: u64| Some(Duration::from_millis(millis)).filter(|length| !length.is_zero());
    let condition = condition(&mut alarm)?;
    let acknowledge = match alarm.acknowledge.as_str() {
        "" => AcknowledgeClass::OnReturn,
        name => AcknowledgeClass::from_name(name).ok_or_else(|| known("acknowledge", name))?,
    };
    Ok(AlarmDefinition {
        id: AlarmId::new(&alarm.id)?,
        condition,
        on_delay: Duration::from_millis(alarm.on_delay_ms),
        off_delay: Duration::from_millis(alarm.off_delay_ms),
        priority: AlarmPriority::from_name(&alarm.priority)
            .ok_or_else(|| known("priority", &alarm.priority))?,
        message: text("message", alarm.message)?,
        acknowledge,
        latching: alarm.latching,
        re_alarm: length(alarm.re_alarm_ms),
        group: optional("group", alarm.group)?,
        suppress_while: optional("suppress_while", alarm.suppress_while)?,
        shelve_max: length(alarm.shelve_max_ms).unwrap_or(AlarmDefinition::SHELVE_MAX_DEFAULT),
    })
}

fn condition(alarm: &mut wire::Alarm) -> Result<AlarmCondition, DecodeError> {
    let kind = AlarmKind::from_name(&alarm.kind)
        .ok_or_else(|| DecodeError::field("kind", format!("{:?} is not known", alarm.kind)))?;
    let (limit, deadband) = (alarm.limit, alarm.deadband);
    let window = Duration::from_millis(alarm.window_ms);
    let tag = TagId::new(&alarm.tag);
    Ok(match kind {
        AlarmKind::Limit(kind) => AlarmCondition::Limit { tag: tag?, kind, limit, deadband },
        AlarmKind::Deviation => {
            let from = match alarm.from_tag.as_str() {
                "" => Setpoint::Fixed(alarm.setpoint),
                tag => Setpoint::Tag(TagId::new(tag)?),
            };
            AlarmCondition::Deviation { tag: tag?, from, limit, deadband }
        }
        AlarmKind::RateOfChange => {
            AlarmCondition::RateOfChange { tag: tag?, limit_per_second: limit, over: window, deadband }
        }
        AlarmKind::OffNormal => AlarmCondition::OffNormal { tag: tag?, normal: normal(alarm)? },
        AlarmKind::Stale => AlarmCondition::Stale { tag: tag?, after: window },
        AlarmKind::BadQuality => AlarmCondition::BadQuality { tag: tag? },
        AlarmKind::Communication => AlarmCondition::Communication,
        AlarmKind::Expression => {
            AlarmCondition::Expression { text: text("expression", std::mem::take(&mut alarm.expression))? }
        }
    })
}

fn normal(alarm: &mut wire::Alarm) -> Result<NormalState, DecodeError> {
    let Some(bit) = &alarm.normal_bit else {
        let values = std::mem::take(&mut alarm.normal).into_iter().map(value_from_wire);
        return Ok(NormalState::Values(values.collect::<Result<_, _>>()?));
    };
    match u8::try_from(bit.number) {
        Ok(number @ 0..=63) => Ok(NormalState::Bit { number, set: bit.set }),
        Ok(_) | Err(_) => Err(DecodeError::field("normal_bit", format!("there is no bit {}", bit.number))),
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
