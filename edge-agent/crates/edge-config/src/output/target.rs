//! What an output switches: a tag, a method, a web server or a program.

use std::time::Duration;

use acquisition::{NodeReference, RegisterFormat, RegisterTable, TagIndex};
use alarm_output::{OutputError, Reach, WebhookTarget, WebhookUrl};
use plant_model::{DataType, MachineId, TagId, Value};

use super::{
    Commands, HeartbeatTag, MethodCall, MethodTarget, OutputTarget, Plant, StateTag, TagTarget,
    known_machines, seconds,
};
use crate::machine::{Connection, MachineConfig};
use crate::section::Section;

/// More than any method of a machine takes.
const ARGUMENTS_MAX: usize = 16;

/// What is switched, and how often its heartbeat comes.
type Target = (OutputTarget, Option<Duration>);

/// The tables, of which an output has one, and what each looks like.
const KINDS: [(&str, &str); 4] = [
    ("tag", "{ machine = \"press-1\", tag = \"horn\" }"),
    (
        "method",
        "{ machine = \"lathe-1\", object_id = \"ns=2;s=Lamp\", on = \"ns=2;s=On\", off = \"ns=2;s=Off\" }",
    ),
    ("webhook", "{ url = \"http://192.168.0.20/alarm\" }"),
    ("command", "{ on = \"lamp-on\", off = \"lamp-off\" }"),
];

pub(super) fn target(section: &mut Section<'_>, plant: &Plant<'_>, commands: &Commands) -> Option<Target> {
    let given: Vec<(&str, &str)> = KINDS.into_iter().filter(|(key, _)| section.has(key)).collect();
    if let [(key, example)] = given.as_slice()
        && !section.is_table(key)
    {
        section.problem(key, format!("a table is needed, such as {example}"));
        return None;
    }
    match given.iter().map(|(key, _)| *key).collect::<Vec<_>>().as_slice() {
        ["tag"] => section.table("tag", |s| tag_target(s, plant)),
        ["method"] => section.table("method", |s| method_target(s, plant)),
        ["webhook"] => section.table("webhook", webhook).map(|t| (OutputTarget::Webhook(t), None)),
        ["command"] => section.table("command", |s| command_target(s, commands)).map(|t| (t, None)),
        [] => {
            section.problem(
                "tag",
                "is missing; one of the tables tag, method, webhook and command says what is switched",
            );
            None
        }
        given => {
            section.problem("id", format!("an output switches one thing; keep one of {}", given.join(", ")));
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
            let key = if matches!(error, OutputError::Authority { .. }) { "ca_file" } else { "url" };
            section.problem(key, error.to_string());
        })
        .ok()
}

fn command_target(section: &mut Section<'_>, commands: &Commands) -> Option<OutputTarget> {
    let timeout = section.millis("timeout_ms", 100..=30_000, 3_000);
    let mut line = |key| {
        let id = section.required_text(key, "the id of one of the [[allowed_commands]]")?;
        let found = commands.get(id);
        if found.is_none() {
            section.problem(key, allowed_commands(commands));
        }
        found.cloned().flatten()
    };
    let (on, off) = (line("on"), line("off"));
    Some(OutputTarget::Command { on: on?, off: off?, timeout })
}

fn allowed_commands(commands: &Commands) -> String {
    let ids: Vec<&str> = commands.keys().map(String::as_str).take(20).collect();
    match ids.as_slice() {
        [] => "is not allowed: there is no [[allowed_commands]]; add one with this id and what it runs"
            .to_owned(),
        ids => format!("is not among the [[allowed_commands]], which are {}; add it there", ids.join(", ")),
    }
}

fn tag_target(section: &mut Section<'_>, plant: &Plant<'_>) -> Option<Target> {
    let machine: Option<MachineId> = section.parsed("machine", "the id of a machine");
    let id: Option<TagId> = section.parsed("tag", "the id of one of its tags");
    let beat = HeartbeatKeys::read(section);
    let (on, off) = (one_value(section, "on"), one_value(section, "off"));
    let machine = find_machine(section, plant, &machine?)?;
    let found = id.and_then(|id| find_tag(section, "tag", machine, &id));
    let heartbeat = beat.find(section, machine);
    let (tag, data_type) = found?;
    let (on, off) = (on.or_else(|| default(data_type, 1)), off.or_else(|| default(data_type, 0)));
    if let Err(problem) = can_be_written(machine, tag) {
        section.problem("tag", problem);
        return None;
    }
    let on = fitting(section, "on", machine, tag, on);
    let off = fitting(section, "off", machine, tag, off);
    let ((on, off), (heartbeat, every)) = ((on?, off?), heartbeat?);
    check_distinct(section, ("on", &on), ("off", &off));
    if heartbeat.is_some_and(|beat| beat.tag == tag) {
        section.problem(
            "heartbeat_tag",
            "is the tag that is switched; a tag that is written for this alone is needed",
        );
        return None;
    }
    Some((OutputTarget::Tag(TagTarget { machine: machine.id.clone(), tag, on, off, heartbeat }), every))
}

fn method_target(section: &mut Section<'_>, plant: &Plant<'_>) -> Option<Target> {
    let machine: Option<MachineId> = section.parsed("machine", "the id of a machine");
    let object: Option<NodeReference> =
        section.parsed("object_id", "the node of the object that has the method, such as ns=2;s=Horn");
    let on = method(section, "on", "on_arguments");
    let off = method(section, "off", "off_arguments");
    let beat = HeartbeatKeys::read(section);
    let state_id: Option<TagId> = match section.has("state_tag") {
        true => Some(section.parsed("state_tag", "the id of the tag that shows the state")?),
        false => None,
    };
    let (state_on, state_off) = (one_value(section, "state_on"), one_value(section, "state_off"));
    if state_id.is_none() && (state_on.is_some() || state_off.is_some()) {
        section.problem("state_tag", "is missing; without it state_on and state_off have no effect");
    }
    let machine = find_machine(section, plant, &machine?)?;
    if !matches!(machine.connection, Connection::OpcUa(_)) {
        section.problem(
            "machine",
            format!("speaks {}; only OPC UA machines have methods, use a tag", machine.connection.protocol()),
        );
        return None;
    }
    let state = match state_id {
        Some(id) => Some(state(section, machine, &id, (state_on, state_off))?),
        None => None,
    };
    let (heartbeat, every) = beat.find(section, machine)?;
    let (object, on, off) = (object?, on?, off?);
    if on == off {
        section.problem("off", "is the same call as on; use another method or other off_arguments");
    }
    let target = MethodTarget { machine: machine.id.clone(), object, on, off, state, heartbeat };
    Some((OutputTarget::Method(target), every))
}

fn method(section: &mut Section<'_>, key: &'static str, arguments: &'static str) -> Option<MethodCall> {
    let method: Option<NodeReference> =
        section.parsed(key, "the node of the method to call, such as ns=2;s=Horn.On");
    let arguments_given = if section.has(arguments) { section.literals(arguments)? } else { Vec::new() };
    if arguments_given.len() > ARGUMENTS_MAX {
        section.problem(
            arguments,
            format!("there are {}; at most {ARGUMENTS_MAX} are allowed", arguments_given.len()),
        );
        return None;
    }
    Some(MethodCall { method: method?, arguments: arguments_given })
}

fn state(
    section: &mut Section<'_>,
    machine: &MachineConfig,
    id: &TagId,
    (on, off): (Option<Value>, Option<Value>),
) -> Option<StateTag> {
    let (tag, data_type) = find_tag(section, "state_tag", machine, id)?;
    let (on, off) = (on.or_else(|| default(data_type, 1)), off.or_else(|| default(data_type, 0)));
    let on = fitting(section, "state_on", machine, tag, on);
    let off = fitting(section, "state_off", machine, tag, off);
    let (on, off) = (on?, off?);
    check_distinct(section, ("state_on", &on), ("state_off", &off));
    Some(StateTag { tag, on, off })
}

fn check_distinct(section: &mut Section<'_>, on: (&'static str, &Value), off: (&'static str, &Value)) {
    if on.1.is_identical(off.1) {
        section.problem(on.0, format!("is the same as {}, so that nothing would be switched", off.0));
    }
}

/// The keys of a heartbeat, before the machine is known.
struct HeartbeatKeys {
    tag: Option<TagId>,
    every: Option<Duration>,
    is_whole: bool,
}

impl HeartbeatKeys {
    fn read(section: &mut Section<'_>) -> Self {
        let has_tag = section.has("heartbeat_tag");
        let tag = if has_tag { section.parsed("heartbeat_tag", "the id of one of its tags") } else { None };
        let every = seconds(section, "heartbeat_s", 3_600);
        let has_every = section.has("heartbeat_s");
        match (has_tag, has_every) {
            (true, false) => section
                .problem("heartbeat_s", "is missing; a whole number of seconds from 1 to 3600 is needed"),
            (false, true) => section.problem(
                "heartbeat_tag",
                "is missing; the id of a tag that is written for this alone is needed",
            ),
            (true, true) | (false, false) => {}
        }
        Self { is_whole: has_tag == tag.is_some() && has_every == every.is_some(), tag, every }
    }

    /// The tag, and how often it is written; `None` if something is wrong with them.
    fn find(
        self,
        section: &mut Section<'_>,
        machine: &MachineConfig,
    ) -> Option<(Option<HeartbeatTag>, Option<Duration>)> {
        let Some(id) = &self.tag else { return self.is_whole.then_some((None, None)) };
        let (tag, data_type) = find_tag(section, "heartbeat_tag", machine, id)?;
        let most = match data_type {
            DataType::Bool => Value::Bool(true),
            DataType::Int => Value::Int(i64::from(i16::MAX)),
            DataType::Float | DataType::Text => {
                let kind = data_type.name();
                section.problem("heartbeat_tag", format!("holds a {kind}; a bool, which is toggled, or an int, which is counted up to 32767, is needed"));
                return None;
            }
        };
        if let Err(problem) = can_be_written(machine, tag).and_then(|()| fits(machine, tag, &most)) {
            section.problem("heartbeat_tag", problem);
            return None;
        }
        self.is_whole.then_some((Some(HeartbeatTag { tag, data_type }), self.every))
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
        let known: Vec<&str> = machine.tags.iter().take(20).map(|t| t.definition.id.as_str()).collect();
        section.problem(
            key,
            format!("the machine {} has no such tag; known are {}", machine.id, known.join(", ")),
        );
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
    match section.literals(key)?.as_slice() {
        [value] => Some(value.clone()),
        _ => {
            section.problem(key, "one value is needed, without brackets");
            None
        }
    }
}

/// The value, if the tag can hold it.
fn fitting(
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
    fits(machine, tag, &value).map(|()| value).map_err(|problem| section.problem(key, problem)).ok()
}

/// Whether the tag is one that can be written at all; of OPC UA nodes only the server knows.
pub(crate) fn can_be_written(machine: &MachineConfig, tag: TagIndex) -> Result<(), String> {
    if let Connection::Modbus(connection) = &machine.connection {
        let parameters = connection.tags()[tag.as_usize()].parameters();
        let table = parameters.table;
        let is_part = matches!(
            parameters.format,
            RegisterFormat::Bit(_) | RegisterFormat::U8(_) | RegisterFormat::I8(_)
        );
        return match table {
            RegisterTable::HoldingRegister if is_part => Err(
                "is only a part of its register, whose other part would be overwritten; use a coil, or a tag of a \
                 whole register"
                    .to_owned(),
            ),
            RegisterTable::Coil | RegisterTable::HoldingRegister => Ok(()),
            RegisterTable::DiscreteInput | RegisterTable::InputRegister => {
                Err(format!("is of table {}, which can only be read; a coil or a holding_register is needed", table.name()))
            }
        };
    }
    let is_opcua = matches!(machine.connection, Connection::OpcUa(_));
    if is_opcua { Ok(()) } else { Err("is measured by the gateway; use a tag of a machine".to_owned()) }
}

fn fits(machine: &MachineConfig, tag: TagIndex, value: &Value) -> Result<(), String> {
    if let Connection::Modbus(connection) = &machine.connection {
        let tag = &connection.tags()[tag.as_usize()];
        return tag.encode(value).map(|_| ()).map_err(|error| error.to_string());
    }
    let data_type = machine.tags[tag.as_usize()].definition.data_type;
    let is_fit = match (data_type, value) {
        (DataType::Bool, Value::Bool(_) | Value::Int(0 | 1))
        | (DataType::Int, Value::Int(_))
        | (DataType::Float, Value::Int(_) | Value::Float(_))
        | (DataType::Text, Value::Text(_)) => true,
        (DataType::Bool | DataType::Int | DataType::Float | DataType::Text, _) => false,
    };
    let wanted = match data_type {
        DataType::Bool => "true or false is needed",
        DataType::Int => "a whole number is needed",
        DataType::Float => "a number is needed",
        DataType::Text => "a text in quotes is needed",
    };
    if is_fit { Ok(()) } else { Err(format!("{wanted}, as the tag is a {}", data_type.name())) }
}
