//! `[[alarms]]` of a machine.

use std::collections::HashMap;
use std::time::Duration;

use alarm_engine::Expression;
use plant_model::{
    AcknowledgeClass, AlarmCondition, AlarmDefinition, AlarmId, AlarmKind, AlarmPriority, DataType,
    LimitKind, NormalState, Setpoint, TagId, Value,
};

use crate::agent;
use crate::section::{Section, nearest};

/// The tags of the machine and what their values are.
type Tags = HashMap<TagId, DataType>;

const PRIORITIES: [(&str, AlarmPriority); 4] = [
    ("low", AlarmPriority::Low),
    ("medium", AlarmPriority::Medium),
    ("high", AlarmPriority::High),
    ("critical", AlarmPriority::Critical),
];

const CLASSES: [(&str, AcknowledgeClass); 2] =
    [("on_return", AcknowledgeClass::OnReturn), ("required", AcknowledgeClass::Required)];

/// The longest delay, and the longest time that a value may stand: a day.
const DELAY_MS_MAX: i64 = 86_400_000;

/// The longest shelf and the longest quiet of an acknowledged alarm: a week.
const MINUTES_MAX: i64 = 10_080;

/// Keys that belong to some kind of alarm.
const OF_A_KIND: [&str; 10] = [
    "tag",
    "limit",
    "deadband",
    "setpoint",
    "setpoint_tag",
    "over_ms",
    "normal",
    "bit",
    "after_ms",
    "expression",
];

/// The id of the alarm that every machine has, unless its file says otherwise.
const COMMUNICATION: &str = "communication";

/// A machine that is back after less is no alarm: a restart of its controller is none, nor a cable that is plugged
/// in again.
const COMMUNICATION_DELAY: Duration = Duration::from_secs(10);

/// The alarm of the connection itself, if none of `alarms` is one.
pub(crate) fn communication(alarms: &[AlarmDefinition]) -> Option<AlarmDefinition> {
    let is_told = alarms.iter().any(|alarm| alarm.condition == AlarmCondition::Communication);
    let id = AlarmId::new(COMMUNICATION).ok().filter(|_| !is_told)?;
    let message = "No connection to the machine: its other alarms stand still. Check its power, its cable and its \
                   address; the status page of the gateway names the last error";
    let alarm = AlarmDefinition::new(id, AlarmCondition::Communication, AlarmPriority::Medium, message);
    Some(AlarmDefinition { on_delay: COMMUNICATION_DELAY, ..alarm })
}

/// An alarm, and its own latency budget.
pub(crate) fn alarm(section: &mut Section<'_>, tags: &Tags) -> Option<(AlarmDefinition, Option<Duration>)> {
    let id = section.parsed("id", "the id of the alarm");
    let condition = condition(section, tags);
    let priority = section.choice("priority", &PRIORITIES).unwrap_or(AlarmPriority::Medium);
    let message = section.required_text("message", "what a person is to read and do");
    let on_delay = section.millis("on_delay_ms", 0..=DELAY_MS_MAX, 0);
    let off_delay = section.millis("off_delay_ms", 0..=DELAY_MS_MAX, 0);
    let acknowledge = section.choice("acknowledge", &CLASSES).unwrap_or(AcknowledgeClass::Required);
    let latching = section.flag("latching").unwrap_or(false);
    let re_alarm = minutes(section, "re_alarm_minutes");
    let shelve_max = minutes(section, "shelve_max_minutes");
    let group = section.text("group");
    if group.is_some_and(|name| name.is_empty() || name.len() > 64) {
        section.problem("group", "1 to 64 characters are allowed");
    }
    let budget = section.has("budget_ms").then(|| agent::budget(section, "budget_ms"));
    let suppress_while = section.has("suppress_while").then(|| expression(section, "suppress_while", tags));
    let definition = AlarmDefinition::new(id?, condition?, priority, message?);
    let definition = AlarmDefinition {
        on_delay,
        off_delay,
        acknowledge,
        latching,
        re_alarm,
        group: group.map(str::to_owned),
        suppress_while: suppress_while.flatten(),
        shelve_max: shelve_max.unwrap_or(AlarmDefinition::SHELVE_MAX_DEFAULT),
        ..definition
    };
    Some((definition, budget))
}

fn minutes(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let minutes = section.integer(key, 1..=MINUTES_MAX)?;
    Some(Duration::from_secs(60 * u64::try_from(minutes).unwrap_or(0)))
}

fn condition(section: &mut Section<'_>, tags: &Tags) -> Option<AlarmCondition> {
    let kinds = AlarmKind::ALL.map(|kind| (kind.name(), kind));
    let Some(kind) = section.required_choice("kind", &kinds) else {
        for key in OF_A_KIND {
            section.has(key);
        }
        return None;
    };
    match kind {
        AlarmKind::Limit(kind) => limit(section, tags, kind),
        AlarmKind::Deviation => deviation(section, tags),
        AlarmKind::RateOfChange => rate_of_change(section, tags),
        AlarmKind::OffNormal => off_normal(section, tags),
        AlarmKind::Stale => {
            let tag = tag(section, "tag", tags);
            let after = required_millis(section, "after_ms");
            Some(AlarmCondition::Stale { tag: tag?.0, after: after? })
        }
        AlarmKind::BadQuality => Some(AlarmCondition::BadQuality { tag: tag(section, "tag", tags)?.0 }),
        AlarmKind::Communication => Some(AlarmCondition::Communication),
        AlarmKind::Expression => {
            section.required_text("expression", "for example \"pump_on and flow < 5\"")?;
            Some(AlarmCondition::Expression { text: expression(section, "expression", tags)? })
        }
    }
}

fn limit(section: &mut Section<'_>, tags: &Tags, kind: LimitKind) -> Option<AlarmCondition> {
    let tag = number_tag(section, "tag", tags);
    let limit = section.required_number("limit");
    let deadband = deadband(section, None);
    Some(AlarmCondition::Limit { tag: tag?, kind, limit: limit?, deadband })
}

fn deviation(section: &mut Section<'_>, tags: &Tags) -> Option<AlarmCondition> {
    let tag = number_tag(section, "tag", tags);
    let limit = section.required_number("limit");
    if limit.is_some_and(|limit| limit < 0.0) {
        section.problem("limit", "is negative; a distance of zero or more is allowed");
    }
    let deadband = deadband(section, limit);
    let from = match (section.has("setpoint"), section.has("setpoint_tag")) {
        (true, false) => section.number("setpoint").map(Setpoint::Fixed),
        (false, true) => number_tag(section, "setpoint_tag", tags).map(Setpoint::Tag),
        (true, true) => {
            section.problem("setpoint_tag", "there is a setpoint already; leave one out");
            None
        }
        (false, false) => {
            section.problem("setpoint", "is missing; a number, or a tag under setpoint_tag, is needed");
            None
        }
    };
    Some(AlarmCondition::Deviation { tag: tag?, from: from?, limit: limit?, deadband })
}

fn rate_of_change(section: &mut Section<'_>, tags: &Tags) -> Option<AlarmCondition> {
    let tag = number_tag(section, "tag", tags);
    let limit = section.required_number("limit");
    if limit.is_some_and(|limit| limit <= 0.0) {
        section.problem("limit", "a change a second of more than zero is needed");
    }
    let deadband = deadband(section, limit);
    let over = required_millis(section, "over_ms");
    Some(AlarmCondition::RateOfChange { tag: tag?, limit_per_second: limit?, over: over?, deadband })
}

fn off_normal(section: &mut Section<'_>, tags: &Tags) -> Option<AlarmCondition> {
    let tag = tag(section, "tag", tags);
    let bit = section.integer("bit", 0..=63);
    let values = section.values("normal");
    if values.is_none() && !section.has("normal") {
        section.problem(
            "normal",
            "is missing; the normal value, several in brackets, or true or false of a bit",
        );
    }
    let (tag, data_type) = tag?;
    let values = values?;
    if bit.is_none() && section.has("bit") {
        return None;
    }
    let normal = match (bit, values.as_slice()) {
        (Some(bit), [Value::Bool(set)]) => {
            if data_type != DataType::Int {
                section.problem("bit", format!("{tag} is a {}; bits are those of an int", data_type.name()));
            }
            NormalState::Bit { number: u8::try_from(bit).unwrap_or(63), set: *set }
        }
        (Some(_), _) => {
            section.problem("normal", "a bit is true or false");
            return None;
        }
        (None, _) => {
            check_normal(section, &tag, data_type, &values);
            NormalState::Values(values)
        }
    };
    Some(AlarmCondition::OffNormal { tag, normal })
}

fn check_normal(section: &mut Section<'_>, tag: &TagId, data_type: DataType, values: &[Value]) {
    let fits = |value: &Value| match (data_type, value) {
        (DataType::Bool, Value::Bool(_) | Value::Int(0 | 1))
        | (DataType::Int, Value::Int(_))
        | (DataType::Text, Value::Text(_)) => true,
        (
            DataType::Bool | DataType::Int | DataType::Float | DataType::Text,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_),
        ) => false,
    };
    if data_type == DataType::Float {
        section
            .problem("tag", "is a float, which hardly ever is exactly a value; use a limit or a deviation");
    } else if values.is_empty() {
        section.problem("normal", "at least one normal value is needed");
    } else if let Some(other) = values.iter().find(|value| !fits(value)) {
        section.problem("normal", format!("{other} is no value of {tag}, which is a {}", data_type.name()));
    }
}

/// How far a value must come back; `limit` bounds it where a distance is measured, which never is less
/// than zero.
fn deadband(section: &mut Section<'_>, limit: Option<f64>) -> f64 {
    let deadband = section.number("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        section.problem("deadband", "is negative; zero or more is allowed");
    } else if limit.is_some_and(|limit| (0.0..deadband).contains(&limit)) {
        section.problem("deadband", "is larger than the limit: the alarm would never return");
    }
    deadband
}

fn required_millis(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let millis = section.required_integer(key, 1..=DELAY_MS_MAX)?;
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

fn tag(section: &mut Section<'_>, key: &'static str, tags: &Tags) -> Option<(TagId, DataType)> {
    let tag: TagId = section.parsed(key, "the id of the tag to watch")?;
    match tags.get(&tag) {
        Some(data_type) => Some((tag, *data_type)),
        None => {
            section.problem(key, format!("this machine has no such tag; {}", known_tags(&tag, tags)));
            None
        }
    }
}

/// The tag that may be meant, or those there are.
fn known_tags(tag: &TagId, tags: &Tags) -> String {
    const SHOWN: usize = 20;
    let mut known: Vec<&str> = tags.keys().map(TagId::as_str).collect();
    known.sort_unstable();
    match nearest(tag.as_str(), &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.len() > SHOWN => format!("known are {} and others", known[..SHOWN].join(", ")),
        None => format!("known are {}", known.join(", ")),
    }
}

fn number_tag(section: &mut Section<'_>, key: &'static str, tags: &Tags) -> Option<TagId> {
    match tag(section, key, tags)? {
        (_, DataType::Text) => {
            section.problem(key, "is a text; a limit needs a number");
            None
        }
        (tag, DataType::Bool | DataType::Int | DataType::Float) => Some(tag),
    }
}

/// An expression that can be read and names only tags that have numbers.
fn expression(section: &mut Section<'_>, key: &'static str, tags: &Tags) -> Option<String> {
    let text = section.text(key)?;
    let parsed = Expression::parse(text).map_err(|error| section.problem(key, error.to_string())).ok()?;
    let mut is_good = true;
    for tag in parsed.tags() {
        let problem = match tags.get(tag) {
            Some(DataType::Bool | DataType::Int | DataType::Float) => continue,
            Some(DataType::Text) => format!("{tag} is a text; an expression needs numbers"),
            None => format!("this machine has no tag {tag}; {}", known_tags(tag, tags)),
        };
        section.problem(key, problem);
        is_good = false;
    }
    is_good.then(|| text.to_owned())
}
