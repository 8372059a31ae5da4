//! `machines.d/*.toml`: one machine, its connection, its tags and its alarms.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use acquisition::{
    ModbusConnection, ModbusTag, ModbusTagParameters, NodeReference, OpcUaConnection, OpcUaItem,
    RegisterFormat, RegisterTable, WordOrder,
};
use plant_model::{AlarmDefinition, AlarmKind, AlarmPriority, DataType, MachineId, TagDefinition, TagId};
use protocol::TagRole;

use crate::agent::check_version;
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
    /// Its alarms; each names one of its tags.
    pub alarms: Vec<AlarmDefinition>,
    /// Where all this is written.
    pub origin: Origin,
}

/// The lines a machine was read from, for messages about parts that are fine by themselves and not
/// together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line of each tag, in the order of the tags, from 1.
    pub tag_lines: Vec<usize>,
    /// The line of each alarm, in the order of the alarms, from 1.
    pub alarm_lines: Vec<usize>,
}

/// How a machine is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Connection {
    /// Modbus TCP.
    ModbusTcp(ModbusConnection),
    /// OPC UA.
    OpcUa(OpcUaConnection),
}

impl Connection {
    /// The name used in configuration and in the API.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::ModbusTcp(_) => "modbus-tcp",
            Self::OpcUa(_) => "opcua",
        }
    }
}

/// A tag of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagConfig {
    /// What it is.
    pub definition: TagDefinition,
    /// What it means to people.
    pub role: TagRole,
}

/// Where a tag is read from.
enum Source {
    Modbus(ModbusTag),
    OpcUa(OpcUaItem),
}

#[derive(Clone, Copy)]
enum Protocol {
    Modbus,
    OpcUa,
}

pub(crate) fn parse(root: &mut Section<'_>) -> Option<MachineConfig> {
    check_version(root);
    let id: Option<MachineId> = root.parsed("id", "the id of the machine");
    let name = root.text("name");
    let kind = root.text("kind").unwrap_or("machine");
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
    let alarms = root.tables("alarms", |section| {
        let alarm = alarm(section, &known)?;
        origin.alarm_lines.push(section.line());
        Some(alarm)
    });
    check_alarms_unique(root, &alarms);
    let (tags, sources): (Vec<_>, Vec<_>) = tags.into_iter().unzip();
    let connection = connection(root, protocol, sources)?;
    let id = id?;
    let name = name.unwrap_or(id.as_str()).to_owned();
    Some(MachineConfig { id, name, kind: kind.to_owned(), connection, tags, alarms, origin })
}

fn protocol(root: &mut Section<'_>) -> Option<Protocol> {
    match (root.has("modbus_tcp"), root.has("opcua")) {
        (true, false) => Some(Protocol::Modbus),
        (false, true) => Some(Protocol::OpcUa),
        (true, true) => {
            root.problem("opcua", "a machine has one connection; keep [modbus_tcp] or [opcua]");
            None
        }
        (false, false) => {
            root.problem("modbus_tcp", "is missing; a table [modbus_tcp] or [opcua] is needed");
            None
        }
    }
}

fn connection(root: &mut Section<'_>, protocol: Protocol, sources: Vec<Source>) -> Option<Connection> {
    match protocol {
        Protocol::Modbus => root.table("modbus_tcp", |section| {
            let tags = sources.into_iter().filter_map(|s| match s {
                Source::Modbus(tag) => Some(tag),
                Source::OpcUa(_) => None,
            });
            modbus(section, tags.collect())
        }),
        Protocol::OpcUa => root.table("opcua", |section| {
            let items = sources.into_iter().filter_map(|s| match s {
                Source::OpcUa(item) => Some(item),
                Source::Modbus(_) => None,
            });
            opcua(section, items.collect())
        }),
    }
}

fn modbus(section: &mut Section<'_>, tags: Vec<ModbusTag>) -> Option<Connection> {
    let host = section.required_text("host", "the name or address of the machine");
    let port = section.integer("port", 1..=65_535).unwrap_or(502);
    let unit_id = section.integer("unit_id", 0..=255).unwrap_or(1);
    let timeout = section.millis("timeout_ms", 20..=30_000, 1_000);
    if tags.is_empty() {
        return None;
    }
    let connection =
        ModbusConnection::new(host?, u16::try_from(port).ok()?, u8::try_from(unit_id).ok()?, timeout, tags);
    connection.map_err(|error| section.problem("host", error.to_string())).ok().map(Connection::ModbusTcp)
}

fn opcua(section: &mut Section<'_>, items: Vec<OpcUaItem>) -> Option<Connection> {
    let endpoint = section.required_text("endpoint", "an address such as opc.tcp://192.168.0.10:4840");
    let sampling = section.millis("sampling_interval_ms", 0..=60_000, 100);
    let publishing = section.millis("publishing_interval_ms", 10..=60_000, 100);
    if items.is_empty() {
        return None;
    }
    let connection = OpcUaConnection::new(endpoint?, sampling, publishing, items);
    connection.map_err(|error| section.problem("endpoint", error.to_string())).ok().map(Connection::OpcUa)
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
        Protocol::Modbus => register(section, data_type).map(Source::Modbus),
        Protocol::OpcUa => node(section, data_type).map(Source::OpcUa),
    };
    let id = id?;
    let name = name.unwrap_or(id.as_str()).to_owned();
    let definition = TagDefinition { id, name, unit: unit.to_owned(), data_type: data_type? };
    Some((TagConfig { definition, role }, source?))
}

fn node(section: &mut Section<'_>, data_type: Option<DataType>) -> Option<OpcUaItem> {
    let node: Option<NodeReference> =
        section.parsed("node_id", "a node such as nsu=urn:vendor:machine;s=Temperature");
    Some(OpcUaItem { node: node?, data_type: data_type? })
}

const ORDERS: [(&str, WordOrder); 4] = [
    ("abcd", WordOrder::Abcd),
    ("cdab", WordOrder::Cdab),
    ("badc", WordOrder::Badc),
    ("dcba", WordOrder::Dcba),
];

fn register(section: &mut Section<'_>, data_type: Option<DataType>) -> Option<ModbusTag> {
    let place = address(section);
    let format = format(section);
    let word_order = section.choice("word_order", &ORDERS).unwrap_or_default();
    let scale = section.number("scale").unwrap_or(1.0);
    let offset = section.number("offset").unwrap_or(0.0);
    let poll_interval = section.millis("poll_interval_ms", 10..=3_600_000, 1_000);
    let (table, pdu_address) = place?;
    let (format, data_type) = (format?, data_type?);
    let parameters = ModbusTagParameters {
        table,
        pdu_address,
        format,
        word_order,
        scale,
        offset,
        poll_interval,
        data_type,
    };
    ModbusTag::new(parameters).map_err(|error| section.problem("format", error.to_string())).ok()
}

fn address(section: &mut Section<'_>) -> Option<(RegisterTable, u16)> {
    let given: Vec<RegisterTable> =
        RegisterTable::ALL.into_iter().filter(|table| section.has(table.name())).collect();
    match given.as_slice() {
        [table] => {
            let address = section.integer(table.name(), 0..=65_535)?;
            Some((*table, u16::try_from(address).ok()?))
        }
        [] => {
            section.problem(
                "holding_register",
                "is missing; the zero-based address is needed under one of holding_register, input_register, coil, discrete_input",
            );
            None
        }
        [_, second, ..] => {
            section.problem(second.name(), "a tag lies in one table; keep one address");
            None
        }
    }
}

/// Words of `format`. `bit` and `text` take their parameter from a key of their own.
#[derive(Clone, Copy)]
enum Format {
    Plain(RegisterFormat),
    Bit,
    Text,
}

fn format(section: &mut Section<'_>) -> Option<RegisterFormat> {
    let words = [
        ("u16", Format::Plain(RegisterFormat::U16)),
        ("i16", Format::Plain(RegisterFormat::I16)),
        ("u32", Format::Plain(RegisterFormat::U32)),
        ("i32", Format::Plain(RegisterFormat::I32)),
        ("u64", Format::Plain(RegisterFormat::U64)),
        ("i64", Format::Plain(RegisterFormat::I64)),
        ("f32", Format::Plain(RegisterFormat::F32)),
        ("f64", Format::Plain(RegisterFormat::F64)),
        ("bool", Format::Plain(RegisterFormat::Bool)),
        ("bit", Format::Bit),
        ("text", Format::Text),
    ];
    match section.required_choice("format", &words)? {
        Format::Plain(format) => Some(format),
        Format::Bit => {
            let bit = section.required_integer("bit", 0..=15)?;
            Some(RegisterFormat::Bit(u8::try_from(bit).ok()?))
        }
        Format::Text => {
            let registers = section.required_integer("registers", 1..=125)?;
            Some(RegisterFormat::Text { registers: u16::try_from(registers).ok()? })
        }
    }
}

const KINDS: [(&str, AlarmKind); 4] = [
    ("high_high", AlarmKind::HighHigh),
    ("high", AlarmKind::High),
    ("low", AlarmKind::Low),
    ("low_low", AlarmKind::LowLow),
];

const PRIORITIES: [(&str, AlarmPriority); 4] = [
    ("low", AlarmPriority::Low),
    ("medium", AlarmPriority::Medium),
    ("high", AlarmPriority::High),
    ("critical", AlarmPriority::Critical),
];

fn alarm(section: &mut Section<'_>, tags: &HashMap<TagId, DataType>) -> Option<AlarmDefinition> {
    let id = section.parsed("id", "the id of the alarm");
    let tag = alarm_tag(section, tags);
    let kind = section.required_choice("kind", &KINDS);
    let limit = section.required_number("limit");
    let deadband = section.number("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        section.problem("deadband", "is negative; zero or more is allowed");
    }
    let on_delay = section.millis("on_delay_ms", 0..=86_400_000, 0);
    let off_delay: Duration = section.millis("off_delay_ms", 0..=86_400_000, 0);
    let priority = section.choice("priority", &PRIORITIES).unwrap_or(AlarmPriority::Medium);
    let message = section.required_text("message", "what a person is to read and do");
    Some(AlarmDefinition {
        id: id?,
        tag: tag?,
        kind: kind?,
        limit: limit?,
        deadband,
        on_delay,
        off_delay,
        priority,
        message: message?.to_owned(),
    })
}

fn alarm_tag(section: &mut Section<'_>, tags: &HashMap<TagId, DataType>) -> Option<TagId> {
    let tag: TagId = section.parsed("tag", "the id of the tag to watch")?;
    match tags.get(&tag) {
        Some(DataType::Text) => {
            section.problem("tag", "is a text; a limit needs a number");
            None
        }
        Some(DataType::Bool | DataType::Int | DataType::Float) => Some(tag),
        None => {
            section.problem("tag", "this machine has no such tag");
            None
        }
    }
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
