//! `[[outputs]]` and `[[allowed_commands]]` of `agent.toml`: what alarms switch at the gateway itself.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use acquisition::TagIndex;
use alarm_output::{
    AlarmFilter, CommandLine, Level, OutputId, OutputRule, Pacing, Reach, WebhookTarget, WebhookUrl, When,
};
use plant_model::{AlarmId, AlarmPriority, DataType, MachineId, TagId, Value};

use crate::machine::{Connection, MachineConfig};
use crate::section::Section;

/// The most outputs: each has a task and takes part in every decision.
const OUTPUTS_MAX: usize = 64;

/// An output of alarms.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputConfig {
    /// When it is on.
    pub rule: OutputRule,
    /// What is switched.
    pub target: OutputTarget,
}

/// What an output switches.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputTarget {
    /// A tag of a machine.
    Tag(TagTarget),
    /// A web server is told.
    Webhook(WebhookTarget),
    /// A program is run.
    Command {
        /// For on.
        on: CommandLine,
        /// For off.
        off: CommandLine,
        /// What a run may take.
        timeout: Duration,
    },
}

/// A tag that is written and read back.
#[derive(Debug, Clone, PartialEq)]
pub struct TagTarget {
    /// The machine.
    pub machine: MachineId,
    /// The tag.
    pub tag: TagIndex,
    /// What it is to read for on.
    pub on: Value,
    /// What it is to read for off.
    pub off: Value,
    /// The tag that shows that the agent lives, and what its values are: a truth value changes with each
    /// beat, a number counts.
    pub heartbeat: Option<(TagIndex, DataType)>,
}

/// What outputs can refer to.
pub(crate) struct Plant<'a> {
    pub(crate) machines: &'a [MachineConfig],
    /// Whether nothing is wrong with the machine files; else a name that is not found proves nothing.
    pub(crate) is_complete: bool,
}

type Commands = BTreeMap<String, CommandLine>;

const PRIORITIES: [(&str, AlarmPriority); 4] = [
    ("low", AlarmPriority::Low),
    ("medium", AlarmPriority::Medium),
    ("high", AlarmPriority::High),
    ("critical", AlarmPriority::Critical),
];

const LEVELS: [(&str, Level); 2] = [("on", Level::On), ("off", Level::Off)];

/// Reads all outputs of the gateway.
pub(crate) fn outputs(root: &mut Section<'_>, plant: &Plant<'_>) -> Vec<OutputConfig> {
    let mut commands = Commands::new();
    root.tables("allowed_commands", |section| command(section, &mut commands));
    let (mut ids, mut tags) = (BTreeSet::new(), BTreeSet::new());
    let outputs = root.tables("outputs", |section| {
        let output = output(section, plant, &commands)?;
        if !ids.insert(output.rule.id.clone()) {
            section.problem("id", "is used twice; ids of outputs are unique");
        }
        if let OutputTarget::Tag(target) = &output.target {
            let heartbeat = target.heartbeat.as_ref().map(|(tag, _)| *tag);
            let taken = |tag| !tags.insert((target.machine.clone(), tag));
            if [Some(target.tag), heartbeat].into_iter().flatten().any(taken) {
                section.problem("tag", "one of its tags is written by another output, too; each needs its own, and one heartbeat for a machine is enough");
            }
        }
        Some(output)
    });
    if outputs.len() > OUTPUTS_MAX {
        root.problem("outputs", format!("there are {}; at most {OUTPUTS_MAX} are allowed", outputs.len()));
    }
    outputs
}

fn command(section: &mut Section<'_>, known: &mut Commands) -> Option<()> {
    let id: Option<OutputId> = section.parsed("id", "a name for outputs to refer to");
    let words = texts(section, "run");
    if words.is_none() && !section.has("run") {
        section.problem("run", "is missing; for example [\"/usr/local/bin/horn\", \"on\"] is needed");
    }
    let line = CommandLine::new(&words?).map_err(|error| section.problem("run", error.to_string())).ok()?;
    if known.insert(id?.to_string(), line).is_some() {
        section.problem("id", "is used twice; ids of commands are unique");
    }
    Some(())
}

fn output(section: &mut Section<'_>, plant: &Plant<'_>, commands: &Commands) -> Option<OutputConfig> {
    let id: Option<OutputId> = section.parsed("id", "the id of the output");
    let when = section.required_choice("when", &When::ALL.map(|when| (when.name(), when)));
    let filter = filter(section, plant);
    let safe = section.choice("safe", &LEVELS).unwrap_or(Level::Off);
    let pacing = pacing(section);
    let refresh = seconds(section, "refresh_s", 86_400);
    let target = target(section, plant, commands);
    let (target, heartbeat) = target?;
    let rule =
        OutputRule { id: id?, filter: filter?, when: when?, safe, pacing: pacing?, refresh, heartbeat };
    Some(OutputConfig { rule, target })
}

fn pacing(section: &mut Section<'_>) -> Option<Pacing> {
    let min_interval = section.millis("min_interval_ms", 100..=3_600_000, 1_000);
    let per_minute = section.integer("max_per_minute", 1..=60).unwrap_or(12);
    let pacing = Pacing::new(min_interval, usize::try_from(per_minute).ok()?);
    pacing.map_err(|error| section.problem("min_interval_ms", error.to_string())).ok()
}

fn seconds(section: &mut Section<'_>, key: &'static str, most: i64) -> Option<Duration> {
    section.integer(key, 1..=most).and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs)
}

fn filter(section: &mut Section<'_>, plant: &Plant<'_>) -> Option<AlarmFilter> {
    let priority = section.choice("priority", &PRIORITIES).unwrap_or(AlarmPriority::Low);
    let machines: Option<BTreeSet<MachineId>> = ids(section, "machines")?;
    let alarms: Option<BTreeSet<AlarmId>> = ids(section, "alarms")?;
    if plant.is_complete {
        check_watched(section, plant, machines.as_ref(), alarms.as_ref());
    }
    Some(AlarmFilter { machines, alarms, priority })
}

/// An output that waits for an alarm that does not exist would stay silent for ever.
fn check_watched(
    section: &mut Section<'_>,
    plant: &Plant<'_>,
    machines: Option<&BTreeSet<MachineId>>,
    alarms: Option<&BTreeSet<AlarmId>>,
) {
    for id in machines.into_iter().flatten() {
        if !plant.machines.iter().any(|m| m.id == *id) {
            section.problem("machines", format!("there is no machine {id}; {}", known_machines(plant)));
        }
    }
    let watched = || plant.machines.iter().filter(|m| machines.is_none_or(|ids| ids.contains(&m.id)));
    for id in alarms.into_iter().flatten() {
        if !watched().any(|m| m.alarms.iter().any(|a| a.id == *id)) {
            section.problem("alarms", format!("no machine that is watched has an alarm {id}"));
        }
    }
}

fn known_machines(plant: &Plant<'_>) -> String {
    let ids: Vec<&str> = plant.machines.iter().take(20).map(|m| m.id.as_str()).collect();
    format!("known are {}", ids.join(", "))
}

/// Ids in brackets; `Some(None)` when the key is not there.
fn ids<T: FromStr + Ord>(section: &mut Section<'_>, key: &'static str) -> Option<Option<BTreeSet<T>>>
where
    T::Err: std::fmt::Display,
{
    if !section.has(key) {
        return Some(None);
    }
    let texts = texts(section, key)?;
    if texts.is_empty() {
        section.problem(key, "is empty, so that nothing is watched; leave it out to watch all");
        return None;
    }
    let ids: Result<_, T::Err> = texts.iter().map(|text| text.parse()).collect();
    ids.map(Some).map_err(|error| section.problem(key, error.to_string())).ok()
}

fn texts(section: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.to_string()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
    };
    let texts: Option<Vec<String>> = section.values(key)?.iter().map(text).collect();
    if texts.is_none() {
        section.problem(key, "texts in quotes are needed");
    }
    texts
}

type Target = (OutputTarget, Option<Duration>);

fn target(section: &mut Section<'_>, plant: &Plant<'_>, commands: &Commands) -> Option<Target> {
    let given: Vec<&str> = [
        ("tag", section.has("tag")),
        ("webhook", section.has("webhook")),
        ("command", section.has("command")),
    ]
    .into_iter()
    .filter_map(|(key, is_there)| is_there.then_some(key))
    .collect();
    match given.as_slice() {
        ["tag"] => section.table("tag", |s| tag_target(s, plant)),
        ["webhook"] => section.table("webhook", webhook).map(|t| (OutputTarget::Webhook(t), None)),
        ["command"] => section.table("command", |s| command_target(s, commands)).map(|t| (t, None)),
        [] => {
            section.problem("tag", "is missing; one of the tables tag, webhook and command is needed");
            None
        }
        [..] => {
            section.problem("id", format!("an output has one target; keep one of {}", given.join(", ")));
            None
        }
    }
}

fn webhook(section: &mut Section<'_>) -> Option<WebhookTarget> {
    let url: Option<WebhookUrl> = section.parsed("url", "an address such as http://192.168.0.20/alarm");
    let ca_file = section.text("ca_file").map(Into::into);
    let timeout = section.millis("timeout_ms", 100..=30_000, 3_000);
    let is_public = section.flag("allow_public").unwrap_or(false);
    let reach = if is_public { Reach::Anywhere } else { Reach::Local };
    WebhookTarget::new(url?, ca_file, reach, timeout)
        .map_err(|error| {
            let key =
                if matches!(error, alarm_output::OutputError::Authority { .. }) { "ca_file" } else { "url" };
            section.problem(key, error.to_string());
        })
        .ok()
}

fn command_target(section: &mut Section<'_>, commands: &Commands) -> Option<OutputTarget> {
    let timeout = section.millis("timeout_ms", 100..=30_000, 3_000);
    let mut line = |key| {
        let id = section.required_text(key, "the id of one of the [[allowed_commands]]")?;
        let found = commands.get(id).cloned();
        if found.is_none() {
            section.problem(key, "is no id of the [[allowed_commands]]; add it there");
        }
        found
    };
    let (on, off) = (line("on"), line("off"));
    Some(OutputTarget::Command { on: on?, off: off?, timeout })
}

fn tag_target(section: &mut Section<'_>, plant: &Plant<'_>) -> Option<Target> {
    let machine: Option<MachineId> = section.parsed("machine", "the id of a machine");
    let id: Option<TagId> = section.parsed("tag", "the id of one of its tags");
    let heartbeat_id: Option<TagId> = match section.has("heartbeat_tag") {
        true => section.parsed("heartbeat_tag", "the id of one of its tags"),
        false => None,
    };
    let every = seconds(section, "heartbeat_s", 3_600);
    let (on, off) = (one_value(section, "on"), one_value(section, "off"));
    check_heartbeat(section);
    let machine = find_machine(section, plant, &machine?)?;
    let (tag, data_type) = find_tag(section, "tag", machine, &id?)?;
    let (on, off) = (on.or_else(|| default(data_type, 1)), off.or_else(|| default(data_type, 0)));
    let (on, off) = (writable(section, "on", machine, tag, on), writable(section, "off", machine, tag, off));
    let heartbeat = match heartbeat_id {
        Some(id) => Some(heartbeat(section, machine, &id)?),
        None => None,
    };
    let (on, off) = (on?, off?);
    if on.is_identical(&off) {
        section.problem("on", "is the same as off");
    }
    let target = TagTarget { machine: machine.id.clone(), tag, on, off, heartbeat };
    let every = every.filter(|_| target.heartbeat.is_some());
    Some((OutputTarget::Tag(target), every))
}

fn check_heartbeat(section: &mut Section<'_>) {
    match (section.has("heartbeat_tag"), section.has("heartbeat_s")) {
        (true, false) => {
            section.problem("heartbeat_s", "is missing; a whole number of seconds from 1 to 3600 is needed")
        }
        (false, true) => section
            .problem("heartbeat_tag", "is missing; the id of a tag that is written for this alone is needed"),
        (true, true) | (false, false) => {}
    }
}

fn find_machine<'p>(
    section: &mut Section<'_>,
    plant: &Plant<'p>,
    id: &MachineId,
) -> Option<&'p MachineConfig> {
    if !plant.is_complete {
        return None;
    }
    let found = plant.machines.iter().find(|m| m.id == *id);
    if found.is_none() {
        section.problem("machine", format!("there is no such machine; {}", known_machines(plant)));
    }
    found
}

fn find_tag(
    section: &mut Section<'_>,
    key: &'static str,
    machine: &MachineConfig,
    id: &TagId,
) -> Option<(TagIndex, DataType)> {
    let position = machine.tags.iter().position(|t| t.definition.id == *id);
    let found = position
        .and_then(|at| Some((TagIndex(u16::try_from(at).ok()?), machine.tags[at].definition.data_type)));
    if found.is_none() {
        section.problem(key, format!("the machine {} has no such tag", machine.id));
    }
    found
}

/// 1 and 0 in the words of the tag; a text has no such words.
fn default(data_type: DataType, number: i64) -> Option<Value> {
    match data_type {
        DataType::Bool => Some(Value::Bool(number != 0)),
        DataType::Int | DataType::Float => Some(Value::Int(number)),
        DataType::Text => None,
    }
}

fn one_value(section: &mut Section<'_>, key: &'static str) -> Option<Value> {
    match section.values(key)?.as_slice() {
        [value] => Some(value.clone()),
        _ => {
            section.problem(key, "one value is needed");
            None
        }
    }
}

/// The value, if the tag can be written and can hold it.
fn writable(
    section: &mut Section<'_>,
    key: &'static str,
    machine: &MachineConfig,
    tag: TagIndex,
    value: Option<Value>,
) -> Option<Value> {
    let Some(value) = value else {
        if !section.has(key) {
            section.problem(key, "is missing; a text is needed, as the tag holds one");
        }
        return None;
    };
    let written = match &machine.connection {
        Connection::Modbus(connection) => {
            connection.tags().get(tag.as_usize())?.encode(&value).map_err(|error| error.to_string())
        }
        Connection::OpcUa(_) => {
            Err("outputs cannot be OPC UA nodes yet; use a tag of a Modbus machine, a webhook or a command"
                .to_owned())
        }
    };
    written.map(|_| value).map_err(|problem| section.problem(key, problem)).ok()
}

fn heartbeat(section: &mut Section<'_>, machine: &MachineConfig, id: &TagId) -> Option<(TagIndex, DataType)> {
    let (tag, data_type) = find_tag(section, "heartbeat_tag", machine, id)?;
    let most = match data_type {
        DataType::Bool => Value::Bool(true),
        DataType::Int => Value::Int(i64::from(i16::MAX)),
        DataType::Float | DataType::Text => {
            section
                .problem("heartbeat_tag", "a bool or an int is needed, which can be toggled or counted up");
            return None;
        }
    };
    writable(section, "heartbeat_tag", machine, tag, Some(most))?;
    Some((tag, data_type))
}
