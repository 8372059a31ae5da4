//! `machines.d/*.toml`: one machine, its connection, its tags and its alarms.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use acquisition::{
    Absence, ChangeFilter, ModbusConnection, ModbusTag, OnChange, OpcUaConnection, OpcUaItem, ValueRange,
};
use alarm_engine::Expression;
use plant_model::{AlarmDefinition, AlarmId, DataType, Enumeration, MachineId, TagDefinition, TagId};
use protocol::{GATEWAY_ID, TagRole};

use crate::agent::check_version;
use crate::alarm;
use crate::modbus::{self, Carrier};
use crate::opcua;
use crate::report;
use crate::section::Section;

/// A machine, ready to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineConfig {
    /// Its id.
    pub id: MachineId,
    /// A name for people.
    pub name: String,
    /// What kind of machine it is, free text such as `cnc-mill`.
    pub kind: String,
    /// How it is reached, with its tags in the order of `tags`.
    pub connection: Connection,
    /// Its tags.
    pub tags: Vec<TagConfig>,
    /// Its alarms, those of its file first. Where none is about the connection itself, the last one is.
    pub alarms: Vec<AlarmDefinition>,
    /// Alarms with a latency budget of their own.
    pub budgets: Budgets,
    /// Where all this is written.
    pub origin: Origin,
}

/// What alarms may take from the change in the machine to the decision.
pub type Budgets = BTreeMap<AlarmId, Duration>;

/// The lines a machine was read from, for messages about parts that are fine by themselves and not
/// together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line of each tag, in the order of the tags, from 1.
    pub tag_lines: Vec<usize>,
    /// The line of each alarm of the file, in the order of the alarms, from 1.
    pub alarm_lines: Vec<usize>,
}

/// How a machine is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Connection {
    /// Modbus, over whatever carries it.
    Modbus(ModbusConnection),
    /// OPC UA.
    OpcUa(OpcUaConnection),
    /// It is the gateway itself, which measures itself.
    Gateway,
}

impl Connection {
    /// The name used in configuration and in the API.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Modbus(connection) => connection.address().protocol(),
            Self::OpcUa(_) => "opcua",
            Self::Gateway => "internal",
        }
    }
}

impl MachineConfig {
    /// Decides what of the machine's readings is recorded.
    #[must_use]
    pub fn change_filter(&self) -> ChangeFilter {
        let absence = match &self.connection {
            Connection::Modbus(_) | Connection::Gateway => Absence::Unmeasured,
            Connection::OpcUa(_) => Absence::Unchanged,
        };
        ChangeFilter::new(self.tags.iter().map(|tag| tag.report), absence)
    }

    /// Whether it is the same machine with the same settings, wherever they are written.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { id, name, kind, connection, tags, alarms, budgets, origin: _ } = self;
        let same = (id, name, kind, connection, tags, alarms, budgets);
        same == (
            &other.id,
            &other.name,
            &other.kind,
            &other.connection,
            &other.tags,
            &other.alarms,
            &other.budgets,
        )
    }

    /// What an alarm may take; `usual` unless it has a budget of its own.
    #[must_use]
    pub fn budget(&self, alarm: &AlarmId, usual: Duration) -> Duration {
        self.budgets.get(alarm).copied().unwrap_or(usual)
    }
}

/// A tag of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct TagConfig {
    /// What it is.
    pub definition: TagDefinition,
    /// What it means to people.
    pub role: TagRole,
    /// When its readings are recorded; `None`: all are.
    pub report: Option<OnChange>,
}

/// Where a tag is read from.
enum Source {
    Modbus(ModbusTag),
    OpcUa(OpcUaItem),
}

impl Source {
    /// Where the values lie in normal service, if that is known here.
    fn range(&self) -> Option<ValueRange> {
        match self {
            Self::Modbus(tag) => tag.parameters().range,
            Self::OpcUa(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Protocol {
    Modbus(Carrier),
    OpcUa,
}

pub(crate) fn parse(root: &mut Section<'_>) -> Option<MachineConfig> {
    check_version(root);
    let id: Option<MachineId> = root.parsed("id", "the id of the machine");
    if id.as_ref().is_some_and(|id| id.as_str() == GATEWAY_ID) {
        root.problem("id", "is the gateway itself; give the machine another id");
    }
    let name = root.text("name");
    let kind = root.text("kind").unwrap_or("machine");
    let tells_loss = root.flag("communication_alarm").unwrap_or(true);
    // Known even where the connection is not, and with it the tags cannot be read.
    let _ = (root.has("tags"), root.has("alarms"));
    let protocol = protocol(root)?;
    let mut origin = Origin { file: root.file().to_owned(), tag_lines: Vec::new(), alarm_lines: Vec::new() };
    let tags = root.tables("tags", |section| {
        let tag = tag(section, protocol)?;
        origin.tag_lines.push(section.line());
        Some(tag)
    });
    if tags.is_empty() && !root.has("tags") {
        root.problem("tags", "are missing; at least one [[tags]] is needed");
    }
    check_tags_unique(root, &tags);
    let known: HashMap<TagId, DataType> =
        tags.iter().map(|(t, _)| (t.definition.id.clone(), t.definition.data_type)).collect();
    let mut budgets = Budgets::new();
    let mut alarms = root.tables("alarms", |section| {
        let (alarm, budget) = alarm::alarm(section, &known)?;
        origin.alarm_lines.push(section.line());
        budgets.extend(budget.map(|budget| (alarm.id.clone(), budget)));
        Some(alarm)
    });
    check_alarms_unique(root, &alarms);
    if tells_loss {
        add_communication(root, &mut alarms);
    }
    let (tags, mut sources): (Vec<_>, Vec<_>) = tags.into_iter().unzip();
    mark_alarms(root, &tags, &mut sources, &alarms);
    let connection = connection(root, protocol, sources)?;
    let id = id?;
    let name = name.unwrap_or(id.as_str()).to_owned();
    Some(MachineConfig { id, name, kind: kind.to_owned(), connection, tags, alarms, budgets, origin })
}

const PROTOCOLS: [(&str, Protocol); 4] = [
    ("modbus_tcp", Protocol::Modbus(Carrier::Tcp)),
    ("modbus_rtu", Protocol::Modbus(Carrier::Rtu)),
    ("modbus_rtu_over_tcp", Protocol::Modbus(Carrier::RtuOverTcp)),
    ("opcua", Protocol::OpcUa),
];

fn protocol(root: &mut Section<'_>) -> Option<Protocol> {
    let given: Vec<_> = PROTOCOLS.into_iter().filter(|(key, _)| root.has(key)).collect();
    match given.as_slice() {
        [(_, protocol)] => Some(*protocol),
        [] => {
            let known = "a table [modbus_tcp], [modbus_rtu], [modbus_rtu_over_tcp] or [opcua] is needed";
            root.problem("modbus_tcp", format!("is missing; {known}"));
            None
        }
        [(first, _), (second, _), ..] => {
            root.problem(second, format!("a machine has one connection; keep [{first}] or [{second}]"));
            None
        }
    }
}

fn connection(root: &mut Section<'_>, protocol: Protocol, sources: Vec<Source>) -> Option<Connection> {
    match protocol {
        Protocol::Modbus(carrier) => root.table(carrier.key(), |section| {
            let tags = sources.into_iter().filter_map(|s| match s {
                Source::Modbus(tag) => Some(tag),
                Source::OpcUa(_) => None,
            });
            modbus::connection(section, carrier, tags.collect()).map(Connection::Modbus)
        }),
        Protocol::OpcUa => root.table("opcua", |section| {
            let items = sources.into_iter().filter_map(|s| match s {
                Source::OpcUa(item) => Some(item),
                Source::Modbus(_) => None,
            });
            opcua::connection(section, items.collect()).map(Connection::OpcUa)
        }),
    }
}

const DATA_TYPES: [(&str, DataType); 4] =
    [("bool", DataType::Bool), ("int", DataType::Int), ("float", DataType::Float), ("text", DataType::Text)];

const ROLES: [(&str, TagRole); 2] = [("state", TagRole::State), ("headline", TagRole::Headline)];

fn tag(section: &mut Section<'_>, protocol: Protocol) -> Option<(TagConfig, Source)> {
    let id: Option<TagId> = section.parsed("id", "the id of the tag");
    let name = section.text("name");
    let unit = section.text("unit").unwrap_or_default();
    let data_type = section.required_choice("data_type", &DATA_TYPES);
    let role = section.choice("role", &ROLES).unwrap_or(TagRole::Plain);
    let source = match protocol {
        Protocol::Modbus(_) => modbus::register(section, data_type).map(Source::Modbus),
        Protocol::OpcUa => opcua::item(section, data_type).map(Source::OpcUa),
    };
    // Known even where the rest of the tag is not.
    let _ = (section.has("report"), section.has("enumeration"));
    let (id, data_type, source) = (id?, data_type?, source?);
    let enumeration = enumeration(section, data_type);
    let report = report::on_change(section, data_type, source.range());
    let name = name.unwrap_or(id.as_str()).to_owned();
    let definition = TagDefinition { id, name, unit: unit.to_owned(), data_type, enumeration: enumeration? };
    Some((TagConfig { definition, role, report }, source))
}

/// Reads `enumeration = { 0 = "stopped", 1 = "running" }`; empty if it is not there.
fn enumeration(section: &mut Section<'_>, data_type: DataType) -> Option<Enumeration> {
    const KEY: &str = "enumeration";
    let names = section.numbered_texts(KEY)?;
    let allowed = match data_type {
        DataType::Int => i64::MIN..=i64::MAX,
        DataType::Bool => 0..=1,
        DataType::Float | DataType::Text if names.is_empty() => return Some(Enumeration::default()),
        DataType::Float | DataType::Text => {
            section.problem(KEY, format!("a {} has no names; use data_type int or bool", data_type.name()));
            return None;
        }
    };
    if let Some((number, _)) = names.iter().find(|(number, _)| !allowed.contains(number)) {
        section.problem(KEY, format!("{number} is no value of a bool; 0 (false) and 1 (true) are allowed"));
        return None;
    }
    Enumeration::new(names).map_err(|error| section.problem(KEY, error.to_string())).ok()
}

/// Tells the nodes that are watched by an alarm. A deadband would keep a value from its alarm.
fn mark_alarms(
    root: &mut Section<'_>,
    tags: &[TagConfig],
    sources: &mut [Source],
    alarms: &[AlarmDefinition],
) {
    for (tag, source) in tags.iter().zip(sources) {
        let id = &tag.definition.id;
        let Source::OpcUa(item) = source else { continue };
        item.has_alarm = alarms.iter().any(|alarm| Expression::tags_of(alarm).contains(id));
        if item.has_alarm && item.deadband.is_some() {
            root.problem(
                "tags",
                format!("{id} has an alarm, which a deadband would delay; leave the deadband out"),
            );
        }
    }
}

/// Every machine has an alarm of its connection.
fn add_communication(root: &mut Section<'_>, alarms: &mut Vec<AlarmDefinition>) {
    let Some(added) = alarm::communication(alarms) else { return };
    if alarms.iter().any(|alarm| alarm.id == added.id) {
        let message = format!(
            "the id {:?} is that of the alarm that every machine has of its connection; give yours another one, or \
             set communication_alarm = false",
            added.id.as_str()
        );
        return root.problem("alarms", message);
    }
    alarms.push(added);
}

fn check_tags_unique(root: &mut Section<'_>, tags: &[(TagConfig, Source)]) {
    let ids: Vec<&str> = tags.iter().map(|(t, _)| t.definition.id.as_str()).collect();
    report_repeated(root, "tags", &ids);
}

fn check_alarms_unique(root: &mut Section<'_>, alarms: &[AlarmDefinition]) {
    let ids: Vec<&str> = alarms.iter().map(|a| a.id.as_str()).collect();
    report_repeated(root, "alarms", &ids);
}

fn report_repeated(root: &mut Section<'_>, key: &'static str, ids: &[&str]) {
    for (index, id) in ids.iter().enumerate() {
        if ids[..index].contains(id) {
            root.problem(key, format!("the id {id:?} is used twice; ids are unique within a machine"));
        }
    }
}
