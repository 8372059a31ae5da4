//! Machines, tags and alarms as the status interface serves them and `watch` reads them back.

use plant_model::{AlarmDefinition, Quality, QualityClass, Sample, TagDefinition, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::board::{MachineBoard, Standing};
use crate::bus_load::BusLoad;

/// A machine with the newest value of each tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MachineView {
    pub id: String,
    pub name: String,
    pub protocol: String,
    pub link_up: bool,
    /// Why not; empty while it is up.
    pub link_reason: String,
    /// The bus it is on; empty for a machine with a session of its own.
    pub bus: Option<String>,
    pub bus_load: Option<BusLoad>,
    pub doubtful_source_times: u64,
    pub withheld_samples: u64,
    pub tags: Vec<TagView>,
    pub alarms: Vec<AlarmView>,
}

/// A tag; without a reading everything behind the unit is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TagView {
    pub id: String,
    pub name: String,
    pub unit: String,
    pub value: serde_json::Value,
    /// What the number means, for a tag with an enumeration.
    pub value_name: Option<String>,
    /// The name of the OPC UA status.
    pub quality: String,
    pub class: Class,
    /// When the gateway got it, in milliseconds since 1970.
    pub gateway_timestamp_ms: Option<i64>,
    /// When the machine measured it, by its own clock.
    pub source_timestamp_ms: Option<i64>,
    pub age_ms: Option<u64>,
}

/// How far a value can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Good,
    Uncertain,
    Bad,
}

/// An alarm that is not normal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlarmView {
    pub id: String,
    /// The tag it watches, if it is a single one.
    pub tag: Option<String>,
    /// The mnemonic of ISA-18.2.
    pub state: String,
    /// The state in words.
    pub state_name: String,
    /// Whether it is shown to people, or hidden by somebody or something.
    pub annunciated: bool,
    /// The activation; an acknowledgement names it.
    pub occurrence: u64,
    pub priority: String,
    pub message: String,
    /// When it was raised; `None` if that was before the agent started.
    pub since_ms: Option<i64>,
    /// The value that raised it.
    pub value: Option<String>,
}

impl TagView {
    /// The value as people read it.
    pub(crate) fn shown(&self) -> String {
        match &self.value_name {
            Some(name) => format!("{name} ({})", shown(&self.value)),
            None => shown(&self.value),
        }
    }
}

impl MachineView {
    /// The load of its bus is added by whoever measures it.
    /// `booted_at` is when the gateway was, if that is known: values of before it was find their time by it.
    pub(crate) fn of(board: &MachineBoard, now: Timestamp, booted_at: Option<Timestamp>) -> Self {
        let (link_up, link_reason) = board.link();
        let mut latest = board.latest();
        for sample in latest.iter_mut().flatten() {
            sample.gateway_timestamp = sample.gateway_timestamp.placed(booted_at.unwrap_or_default());
        }
        Self {
            id: board.id.to_string(),
            name: board.name.clone(),
            protocol: board.protocol.to_owned(),
            link_up,
            link_reason,
            bus: board.bus.clone(),
            bus_load: None,
            doubtful_source_times: board.counters.doubtful_source_times.get(),
            withheld_samples: board.counters.withheld_samples.get(),
            tags: board.tags.iter().zip(&latest).map(|(tag, s)| tag_view(tag, s.as_ref(), now)).collect(),
            alarms: board
                .standing_alarms()
                .iter()
                .map(|(alarm, standing)| alarm_view(alarm, standing))
                .collect(),
        }
    }
}

fn tag_view(tag: &TagDefinition, sample: Option<&Sample>, now: Timestamp) -> TagView {
    let quality = sample.map_or(Quality::BAD_WAITING_FOR_INITIAL_DATA, |s| s.quality);
    let age = |s: &Sample| u64::try_from(now.since(s.gateway_timestamp).as_millis()).unwrap_or(u64::MAX);
    TagView {
        id: tag.id.to_string(),
        name: tag.name.clone(),
        unit: tag.unit.clone(),
        value: sample.and_then(|s| s.value.as_ref()).map_or(serde_json::Value::Null, json),
        value_name: sample.and_then(|s| name_of(tag, s.value.as_ref()?)),
        quality: quality.name().to_owned(),
        class: match quality.class() {
            QualityClass::Good => Class::Good,
            QualityClass::Uncertain => Class::Uncertain,
            QualityClass::Bad => Class::Bad,
        },
        gateway_timestamp_ms: sample.map(|s| s.gateway_timestamp.millis()),
        source_timestamp_ms: sample.and_then(|s| s.source_timestamp).map(Timestamp::millis),
        age_ms: sample.map(age),
    }
}

fn name_of(tag: &TagDefinition, value: &Value) -> Option<String> {
    let number = match value {
        Value::Bool(flag) => i64::from(*flag),
        Value::Int(number) => *number,
        Value::Float(_) | Value::Text(_) => return None,
    };
    tag.enumeration.iter().find(|(known, _)| *known == number).map(|(_, name)| name.to_owned())
}

fn alarm_view(alarm: &AlarmDefinition, standing: &Standing) -> AlarmView {
    AlarmView {
        id: alarm.id.to_string(),
        tag: alarm.condition.tag().map(ToString::to_string),
        state: standing.state.mnemonic().to_owned(),
        state_name: standing.state.name().to_owned(),
        annunciated: standing.state.is_annunciated(),
        occurrence: standing.occurrence,
        priority: alarm.priority.name().to_owned(),
        message: alarm.message.clone(),
        since_ms: standing.raised_at.map(Timestamp::millis),
        value: standing.value.as_ref().map(ToString::to_string),
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Float(x) => (*x).into(),
        Value::Text(t) => t.as_ref().into(),
    }
}

/// A value as people read it: a text without quotes, nothing as a dash.
fn shown(value: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Number(number) => number.as_i64().map_or_else(
            || number.as_f64().map_or_else(|| number.to_string(), four_decimals),
            |i| i.to_string(),
        ),
        Json::Bool(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

/// Enough to look at; the exact number is in the JSON.
fn four_decimals(number: f64) -> String {
    if number != 0.0 && number.abs() < 1e-4 {
        return format!("{number:.3e}");
    }
    format!("{number:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How old a value is, in the unit that fits.
pub(crate) fn age(millis: Option<u64>) -> String {
    match millis {
        None => "never".to_owned(),
        Some(ms) if ms < 10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        Some(ms) if ms < 600_000 => format!("{} s", ms / 1_000),
        Some(ms) if ms < 36_000_000 => format!("{} min", ms / 60_000),
        Some(ms) => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use acquisition::{LinkState, TagIndex};

    use super::*;
    use crate::board::tests::{board, sample, transition};

    #[test]
    fn a_machine_is_seen_with_values_quality_age_and_alarms() {
        let board = board();
        let machine = &board.shown().machines[0];
        machine.set_link(LinkState::Up);
        machine.update([(TagIndex(0), &sample(2_000_000))].into_iter());
        machine.alarm_moved(&transition(plant_model::AlarmState::Unacknowledged));
        let view = MachineView::of(machine, Timestamp::from_micros(3_500_000), None);
        let [speed, parts] = view.tags.as_slice() else { panic!("two tags: {view:?}") };
        assert_eq!(
            (speed.value.clone(), speed.age_ms, speed.class),
            (2_000_000.into(), Some(1_500), Class::Good)
        );
        assert_eq!((parts.quality.as_str(), parts.class), ("BadWaitingForInitialData", Class::Bad));
        assert_eq!((view.alarms[0].id.as_str(), view.alarms[0].value.as_deref()), ("fast", Some("90")));
        let back: MachineView =
            serde_json::from_value(serde_json::to_value(&view).expect("JSON")).expect("back");
        assert_eq!(back, view, "watch reads what the interface writes");
    }

    #[test]
    fn numbers_have_the_decimals_that_say_something() {
        let numbers = [34.0, 10.5, 0.1 + 0.2, 1e-9, 1_000.0, -0.25].map(|x| shown(&serde_json::json!(x)));
        assert_eq!(numbers, ["34", "10.5", "0.3", "1.000e-9", "1000", "-0.25"]);
    }

    #[test]
    fn ages_are_told_in_the_unit_that_fits() {
        let ages = [None, Some(1_550), Some(59_000), Some(3_600_000), Some(90_000_000)].map(age);
        assert_eq!(ages, ["never", "1.5 s", "59 s", "60 min", "25 h"]);
    }
}
