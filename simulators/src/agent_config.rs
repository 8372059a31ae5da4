//! The agent's machine files for a simulated plant: one `machines.d/<id>.toml` per machine.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{
    catalog::{AlarmKind, Encoding, Role, TEXT_REGISTERS, TagSpec, tags},
    error::SimulatorError,
    kind::{Kind, Protocol},
    modbus::{Placement, RegisterMap, UNIT_ID},
    plant_file::{MachineConfig, PlantConfig},
    process::power_of_ten,
    state_file::{MachineState, StateFile},
};

const FAST_POLL_MS: u32 = 200;
const SLOW_POLL_MS: u32 = 1000;
const TIMEOUT_MS: u32 = 1000;
const SAMPLING_MS: u32 = 100;
const PUBLISHING_MS: u32 = 100;

#[derive(Serialize)]
struct MachineFile<'a> {
    version: u32,
    id: &'a str,
    name: String,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    modbus_tcp: Option<ModbusTcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opcua: Option<OpcUa>,
    tags: Vec<Tag>,
    alarms: Vec<Alarm>,
}

#[derive(Serialize)]
struct ModbusTcp {
    host: String,
    port: u16,
    unit_id: u8,
    timeout_ms: u32,
}

#[derive(Serialize)]
struct OpcUa {
    endpoint: String,
    sampling_interval_ms: u32,
    publishing_interval_ms: u32,
}

#[derive(Serialize, Default)]
struct Tag {
    id: &'static str,
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    data_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holding_register: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bit: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    word_order: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
}

#[derive(Serialize)]
struct Alarm {
    id: String,
    tag: &'static str,
    kind: &'static str,
    limit: f64,
    deadband: f64,
    priority: &'static str,
    message: &'static str,
}

/// Writes one machine file per machine of the plant into `out/machines.d/`, with the addresses of the state file.
///
/// # Errors
/// A machine has no address in the state file, or a file cannot be written.
pub fn write_machine_files(plant: &PlantConfig, state: &StateFile, out: &Path) -> Result<(), SimulatorError> {
    let dir = out.join("machines.d");
    fs::create_dir_all(&dir).map_err(|source| SimulatorError::WriteFile { path: dir.clone(), source })?;
    for machine in &plant.machines {
        let running = state.machines.iter().find(|running| {
            running.id == machine.id
                && running.kind == machine.kind.slug()
                && running.protocol == machine.protocol.slug()
        });
        let running = running.ok_or_else(|| SimulatorError::StateMismatch { machine: machine.id.clone() })?;
        let path = dir.join(format!("{}.toml", machine.id));
        fs::write(&path, machine_file(machine, running)?)
            .map_err(|source| SimulatorError::WriteFile { path, source })?;
    }
    Ok(())
}

/// The machine file of one machine.
///
/// # Errors
/// The file cannot be expressed in TOML, which would be a mistake in this crate.
pub fn machine_file(machine: &MachineConfig, running: &MachineState) -> Result<String, SimulatorError> {
    let tags = tags(machine.kind, machine.protocol);
    let modbus = machine.protocol == Protocol::ModbusTcp;
    let file = MachineFile {
        version: 1,
        id: &machine.id,
        name: display_name(&machine.id, machine.kind),
        kind: machine.kind.slug(),
        modbus_tcp: modbus.then(|| ModbusTcp {
            host: running.address.ip().to_string(),
            port: running.address.port(),
            unit_id: UNIT_ID,
            timeout_ms: TIMEOUT_MS,
        }),
        opcua: (!modbus).then(|| OpcUa {
            endpoint: running.endpoint.clone(),
            sampling_interval_ms: SAMPLING_MS,
            publishing_interval_ms: PUBLISHING_MS,
        }),
        tags: match machine.protocol {
            Protocol::ModbusTcp => modbus_tags(machine.kind, &tags),
            Protocol::Opcua => tags.iter().map(|tag| opcua_tag(machine.kind, tag)).collect(),
        },
        alarms: tags.iter().filter_map(alarm).collect(),
    };
    let text = toml::to_string(&file)
        .map_err(|source| SimulatorError::MachineFile { machine: machine.id.clone(), source })?;
    Ok(format!("# Written by machine-simulator agent-config for a simulated machine.\n{text}"))
}

/// The kind's title with the number at the end of the id, or the id itself if it has none.
fn display_name(id: &str, kind: Kind) -> String {
    match id.rsplit_once('-') {
        Some((_, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{} {number}", kind.title())
        }
        Some(_) | None => id.to_owned(),
    }
}

fn modbus_tags(kind: Kind, tags: &[TagSpec]) -> Vec<Tag> {
    let map = RegisterMap::of(kind);
    tags.iter()
        .zip(map.placements())
        .map(|(tag, place)| modbus_tag(tag, *place, map.low_word_first()))
        .collect()
}

fn modbus_tag(tag: &TagSpec, place: Placement, low_word_first: bool) -> Tag {
    let decimals = decimals(tag.encoding);
    let pair = place.registers == 2;
    Tag {
        poll_interval_ms: Some(if place.fast { FAST_POLL_MS } else { SLOW_POLL_MS }),
        holding_register: Some(place.address),
        format: Some(format(tag.encoding)),
        bit: place.bit,
        registers: (tag.encoding == Encoding::Text).then_some(TEXT_REGISTERS),
        word_order: (pair && low_word_first).then_some("cdab"),
        scale: decimals.map(|decimals| 1.0 / power_of_ten(decimals)),
        ..plain_tag(tag)
    }
}

fn opcua_tag(kind: Kind, tag: &TagSpec) -> Tag {
    Tag { node_id: Some(format!("nsu={};s={}", kind.namespace_uri(), tag.id)), ..plain_tag(tag) }
}

fn plain_tag(tag: &TagSpec) -> Tag {
    Tag {
        id: tag.id,
        name: tag.name,
        unit: (!tag.unit.is_empty()).then_some(tag.unit),
        data_type: data_type(tag.encoding),
        role: tag.role.map(|role| match role {
            Role::State => "state",
            Role::Headline => "headline",
        }),
        ..Tag::default()
    }
}

/// Digits behind the point that the agent must restore, if the register is a scaled integer with some.
fn decimals(encoding: Encoding) -> Option<u8> {
    encoding.scaled_integer().map(|(decimals, _, _)| decimals).filter(|&decimals| decimals > 0)
}

fn data_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Bit => "bool",
        Encoding::Text => "text",
        Encoding::F32 { .. } => "float",
        Encoding::U16 { .. } | Encoding::I16 { .. } | Encoding::U32 { .. } | Encoding::I32 { .. } => {
            if decimals(encoding).is_some() {
                "float"
            } else {
                "int"
            }
        }
    }
}

fn format(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::U16 { .. } => "u16",
        Encoding::I16 { .. } => "i16",
        Encoding::U32 { .. } => "u32",
        Encoding::I32 { .. } => "i32",
        Encoding::F32 { .. } => "f32",
        Encoding::Bit => "bit",
        Encoding::Text => "text",
    }
}

fn alarm(tag: &TagSpec) -> Option<Alarm> {
    let alarm = tag.alarm?;
    let kind = match alarm.kind {
        AlarmKind::High => "high",
        AlarmKind::Low => "low",
    };
    Some(Alarm {
        id: format!("{}_{kind}", tag.id),
        tag: tag.id,
        kind,
        limit: alarm.limit,
        deadband: alarm.deadband,
        priority: "high",
        message: alarm.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(id: &str, kind: Kind, protocol: Protocol) -> toml::Table {
        let machine = MachineConfig { id: id.into(), kind, protocol, port: 0, opcua: Default::default() };
        let running = MachineState {
            id: id.into(),
            kind: kind.slug().into(),
            protocol: protocol.slug().into(),
            address: "127.0.0.1:5020".parse().unwrap(),
            endpoint: "opc.tcp://127.0.0.1:5020".into(),
        };
        machine_file(&machine, &running).unwrap().parse().unwrap()
    }

    fn tag<'a>(file: &'a toml::Table, id: &str) -> &'a toml::Table {
        let tags = file["tags"].as_array().unwrap();
        tags.iter().map(|tag| tag.as_table().unwrap()).find(|tag| tag["id"].as_str() == Some(id)).unwrap()
    }

    #[test]
    fn a_modbus_machine_file_names_registers_formats_and_scales() {
        let file = file_of("lathe-1", Kind::Lathe, Protocol::ModbusTcp);
        assert_eq!(file["name"].as_str(), Some("Lathe 1"));
        assert_eq!(file["modbus_tcp"]["port"].as_integer(), Some(5020));
        let temperature = tag(&file, "spindle_temperature");
        assert_eq!(temperature["holding_register"].as_integer(), Some(0));
        assert_eq!(temperature["poll_interval_ms"].as_integer(), Some(200));
        assert_eq!(temperature["scale"].as_float(), Some(0.1));
        let torque = tag(&file, "spindle_torque");
        assert_eq!((torque["format"].as_str(), torque["word_order"].as_str()), (Some("f32"), Some("cdab")));
        assert_eq!(tag(&file, "chuck_clamped")["bit"].as_integer(), Some(1));
        assert_eq!(tag(&file, "program")["registers"].as_integer(), Some(8));
        assert!(!file.contains_key("opcua"));
    }

    #[test]
    fn an_opc_ua_machine_file_names_nodes_and_no_registers() {
        let file = file_of("robot-cell-1", Kind::RobotCell, Protocol::Opcua);
        assert_eq!(file["opcua"]["endpoint"].as_str(), Some("opc.tcp://127.0.0.1:5020"));
        let state = tag(&file, "state");
        assert_eq!(state["node_id"].as_str(), Some("nsu=urn:machine-simulator:robot-cell;s=state"));
        assert_eq!((state["role"].as_str(), state["data_type"].as_str()), (Some("state"), Some("int")));
        assert!(!state.contains_key("holding_register") && !file.contains_key("modbus_tcp"));
    }

    #[test]
    fn every_machine_file_has_twenty_tags_and_two_alarms() {
        for kind in Kind::ALL {
            for protocol in Protocol::ALL {
                let file = file_of("m-1", kind, protocol);
                assert_eq!(file["tags"].as_array().unwrap().len(), 20, "{kind} {protocol}");
                assert_eq!(file["alarms"].as_array().unwrap().len(), 2, "{kind} {protocol}");
            }
        }
    }

    #[test]
    fn a_machine_without_an_address_is_named() {
        let plant = PlantConfig::example();
        let state = StateFile {
            version: 1,
            pid: 1,
            plant: "other".into(),
            seed: 1,
            started_at_us: 0,
            control: "127.0.0.1:1".parse().unwrap(),
            machines: Vec::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let error = write_machine_files(&plant, &state, dir.path()).unwrap_err().to_string();
        assert!(error.contains("cnc-mill-1"), "{error}");
    }
}
