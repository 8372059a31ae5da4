//! `[[outputs]]` and `[[allowed_commands]]` of `agent.toml`: what alarms switch at the gateway itself.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use acquisition::{NodeReference, TagIndex, WritePath};
use alarm_output::{AlarmFilter, CommandLine, OutputId, OutputRule, Pacing, Safe, WebhookTarget, When};
use plant_model::{AlarmId, AlarmPriority, DataType, MachineId, Value};

use crate::AgentConfig;
use crate::machine::{Connection, MachineConfig};
use crate::section::Section;

mod target;

pub(crate) use target::can_be_written;

/// The most outputs: each has a task and takes part in every decision.
const OUTPUTS_MAX: usize = 64;

/// An output of alarms.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputConfig {
    /// When it is on.
    pub rule: OutputRule,
    /// What is switched.
    pub target: OutputTarget,
    /// Its line in `agent.toml`, from 1.
    pub line: usize,
}

/// What an output switches.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputTarget {
    /// A tag of a machine.
    Tag(TagTarget),
    /// A method of an OPC UA machine.
    Method(MethodTarget),
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
    /// Shows that the agent lives.
    pub heartbeat: Option<HeartbeatTag>,
}

/// A tag that shows that the agent lives: a truth value changes with each beat, a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatTag {
    /// The tag.
    pub tag: TagIndex,
    /// What its values are: truth values or whole numbers.
    pub data_type: DataType,
}

/// A method that is called for each level.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodTarget {
    /// The machine.
    pub machine: MachineId,
    /// The object that has the methods.
    pub object: NodeReference,
    /// For on.
    pub on: MethodCall,
    /// For off.
    pub off: MethodCall,
    /// Shows what a call has done; without it the server's word is all there is.
    pub state: Option<StateTag>,
    /// Shows that the agent lives.
    pub heartbeat: Option<HeartbeatTag>,
}

/// A method and what it is called with.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodCall {
    /// The method.
    pub method: NodeReference,
    /// Its input arguments.
    pub arguments: Vec<Value>,
}

/// A tag that is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTag {
    /// The tag.
    pub tag: TagIndex,
    /// What it reads when on.
    pub on: Value,
    /// What it reads when off.
    pub off: Value,
}

impl OutputTarget {
    /// The machine that is written to, if it is one.
    #[must_use]
    pub const fn machine(&self) -> Option<&MachineId> {
        match self {
            Self::Tag(target) => Some(&target.machine),
            Self::Method(target) => Some(&target.machine),
            Self::Webhook(_) | Self::Command { .. } => None,
        }
    }

    /// The tags that are written.
    fn written_tags(&self) -> Vec<TagIndex> {
        let (tag, heartbeat) = match self {
            Self::Tag(target) => (Some(target.tag), target.heartbeat),
            Self::Method(target) => (None, target.heartbeat),
            Self::Webhook(_) | Self::Command { .. } => (None, None),
        };
        tag.into_iter().chain(heartbeat.map(|h| h.tag)).collect()
    }
}

impl AgentConfig {
    /// Over which connection the outputs of a machine write; see [`acquisition::ModbusConnection::write_path`]. An OPC UA
    /// session does many things at once.
    #[must_use]
    pub fn write_path(&self, machine: &MachineConfig) -> WritePath {
        let Connection::Modbus(connection) = &machine.connection else { return WritePath::Shared };
        let is_beside = |other: &&MachineConfig| matches!(&other.connection, Connection::Modbus(c) if c.address() == connection.address());
        connection.write_path(self.machines.iter().filter(is_beside).count())
    }
}

/// What outputs can refer to.
pub(crate) struct Plant<'a> {
    pub(crate) machines: &'a [MachineConfig],
    /// Whether nothing is wrong with the machine files; else a name that is not found proves nothing.
    pub(crate) is_complete: bool,
}

/// By their ids; `None` where something is wrong with one, which is said already.
type Commands = BTreeMap<String, Option<CommandLine>>;

const PRIORITIES: [(&str, AlarmPriority); 4] = [
    ("low", AlarmPriority::Low),
    ("medium", AlarmPriority::Medium),
    ("high", AlarmPriority::High),
    ("critical", AlarmPriority::Critical),
];

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
        if let Some(machine) = output.target.machine() {
            let written = output.target.written_tags();
            let taken: Vec<TagIndex> =
                written.into_iter().filter(|tag| !tags.insert((machine.clone(), *tag))).collect();
            if let Some(tag) = taken.first() {
                section.problem("id", format!("{} of {machine} is written by another output, too; each output needs its own tag, and one heartbeat for a machine is enough", tag_name(plant, machine, *tag)));
            }
        }
        Some(output)
    });
    if outputs.len() > OUTPUTS_MAX {
        root.problem("outputs", format!("there are {}; at most {OUTPUTS_MAX} are allowed", outputs.len()));
    }
    outputs
}

fn tag_name(plant: &Plant<'_>, machine: &MachineId, tag: TagIndex) -> String {
    let machine = plant.machines.iter().find(|m| m.id == *machine);
    let tag = machine.and_then(|m| m.tags.get(tag.as_usize()));
    tag.map_or_else(|| "its tag".to_owned(), |t| format!("tag {}", t.definition.id))
}

fn command(section: &mut Section<'_>, known: &mut Commands) -> Option<()> {
    let id: Option<OutputId> = section.parsed("id", "a name for outputs to refer to");
    let words = texts(section, "run");
    if words.is_none() && !section.has("run") {
        section.problem("run", "is missing; for example [\"/usr/local/bin/horn\", \"on\"] is needed");
    }
    let line = words.and_then(|words| {
        CommandLine::new(&words).map_err(|error| section.problem("run", error.to_string())).ok()
    });
    if known.insert(id?.to_string(), line).is_some() {
        section.problem("id", "is used twice; ids of commands are unique");
    }
    Some(())
}

fn output(section: &mut Section<'_>, plant: &Plant<'_>, commands: &Commands) -> Option<OutputConfig> {
    let id: Option<OutputId> = section.parsed("id", "the id of the output");
    let when = section.required_choice("when", &When::ALL.map(|when| (when.name(), when)));
    let filter = filter(section, plant);
    let safe = section.choice("safe", &Safe::ALL.map(|safe| (safe.name(), safe)));
    let safe = safe.unwrap_or(Safe::Driven(alarm_output::Level::Off));
    let pacing = pacing(section);
    let refresh = seconds(section, "refresh_s", 86_400);
    let target = target::target(section, plant, commands);
    let (target, heartbeat) = target?;
    let rule =
        OutputRule { id: id?, filter: filter?, when: when?, safe, pacing: pacing?, refresh, heartbeat };
    Some(OutputConfig { rule, target, line: section.line() })
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
    let watched = plant.machines.iter().filter(|m| machines.is_none_or(|ids| ids.contains(&m.id)));
    let known: BTreeSet<&AlarmId> = watched.flat_map(|m| m.alarms.iter().map(|a| &a.id)).collect();
    for id in alarms.into_iter().flatten().filter(|id| !known.contains(id)) {
        let known: Vec<&str> = known.iter().take(20).map(|id| id.as_str()).collect();
        let message =
            format!("no machine that is watched has an alarm {id}; their alarms are {}", known.join(", "));
        section.problem("alarms", message);
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
