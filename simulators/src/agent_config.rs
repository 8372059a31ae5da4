//! The agent's machine files for a simulated plant: one `machines.d/<id>.toml` per machine.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde::Serialize;

use crate::{
    catalog::{AlarmKind, Encoding, Role, TEXT_REGISTERS, TagSpec, tags},
    error::SimulatorError,
    kind::{Kind, Protocol},
    modbus::{Placement, READ_REGISTERS_MAX, RegisterMap},
    plant_file::{LineConfig, MachineConfig, PlantConfig},
    process::power_of_ten,
    state_file::{MachineState, StateFile},
    ua_options::{UaMode, UaOptions, UaPolicy},
};

const FAST_POLL_MS: u32 = 200;
const SLOW_POLL_MS: u32 = 1000;
const TIMEOUT_MS: u32 = 250;
/// Beyond the time-out of a gateway, for its exception to arrive.
const GATEWAY_MARGIN_MS: u32 = 100;
const CERTIFICATE_FILE: &str = "server.der";
const PASSWORD_FILE: &str = "password";
const SAMPLING_MS: u32 = 100;
const PUBLISHING_MS: u32 = 100;

#[derive(Serialize)]
struct MachineFile<'a> {
    version: u32,
    id: &'a str,
    name: String,
    kind: &'a str,
    #[serde(flatten)]
    connection: Connection,
    tags: Vec<Tag>,
    alarms: Vec<Alarm>,
}

/// The table of the machine's connection, under its name.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Connection {
    ModbusTcp(OverTcp),
    ModbusRtuOverTcp(OverTcp),
    ModbusRtu(OverSerial),
    Opcua(OpcUa),
}

#[derive(Serialize)]
struct OverTcp {
    host: String,
    port: u16,
    #[serde(flatten)]
    unit: UnitKeys,
}

#[derive(Serialize)]
struct OverSerial {
    device: String,
    baud_rate: u32,
    parity: &'static str,
    #[serde(flatten)]
    unit: UnitKeys,
}

#[derive(Serialize)]
struct UnitKeys {
    unit_id: u8,
    timeout_ms: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_registers: Option<u16>,
}

#[derive(Serialize)]
struct OpcUa {
    endpoint: String,
    sampling_interval_ms: u32,
    publishing_interval_ms: u32,
    #[serde(flatten)]
    protection: Option<Protection>,
    #[serde(flatten)]
    user: Option<User>,
}

#[derive(Serialize)]
struct Protection {
    security_policy: &'static str,
    security_mode: &'static str,
    server_certificate_file: String,
}

#[derive(Serialize)]
struct User {
    user: String,
    password_file: String,
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

/// Writes one machine file per machine of the plant into `out/machines.d/`, with the addresses of the state file, and
/// below `out/machines/` what they refer to: passwords and certificates of servers.
///
/// # Errors
/// A machine has no address in the state file, or a file cannot be read or written.
pub fn write_machine_files(plant: &PlantConfig, state: &StateFile, out: &Path) -> Result<(), SimulatorError> {
    let dir = out.join("machines.d");
    make_folder(&dir)?;
    let out = std::path::absolute(out)
        .map_err(|source| SimulatorError::WriteFile { path: out.to_owned(), source })?;
    for machine in &plant.machines {
        let running = state.machines.iter().find(|running| {
            running.id == machine.id
                && running.kind == machine.kind.slug()
                && running.protocol == machine.protocol.slug()
        });
        let running = running.ok_or_else(|| SimulatorError::StateMismatch { machine: machine.id.clone() })?;
        let own = out.join("machines").join(&machine.id);
        write_what_it_refers_to(machine, running, &own)?;
        write(
            &dir.join(format!("{}.toml", machine.id)),
            machine_file(plant, machine, running, &own)?.as_bytes(),
        )?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), SimulatorError> {
    fs::create_dir_all(path).map_err(|source| SimulatorError::WriteFile { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> Result<(), SimulatorError> {
    fs::write(path, content).map_err(|source| SimulatorError::WriteFile { path: path.to_owned(), source })
}

fn write_what_it_refers_to(
    machine: &MachineConfig,
    running: &MachineState,
    own: &Path,
) -> Result<(), SimulatorError> {
    if let Some(user) = &machine.opcua.user {
        make_folder(own)?;
        let path = own.join(PASSWORD_FILE);
        write(&path, user.password.as_bytes())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|source| SimulatorError::WriteFile { path: path.clone(), source })?;
    }
    if let Some(certificate) = &running.certificate {
        make_folder(own)?;
        let content = fs::read(certificate)
            .map_err(|source| SimulatorError::ReadFile { path: certificate.clone(), source })?;
        write(&own.join(CERTIFICATE_FILE), &content)?;
    }
    Ok(())
}

/// The machine file of one machine; what it refers to lies in the folder `own`.
///
/// # Errors
/// The state of the machine has no address, or the file cannot be expressed in TOML, which would be a mistake in this
/// crate.
pub fn machine_file(
    plant: &PlantConfig,
    machine: &MachineConfig,
    running: &MachineState,
    own: &Path,
) -> Result<String, SimulatorError> {
    let tags = tags(machine.kind, machine.protocol);
    let connection = connection(plant, machine, running, own)
        .ok_or_else(|| SimulatorError::StateMismatch { machine: machine.id.clone() })?;
    let file = MachineFile {
        version: 1,
        id: &machine.id,
        name: display_name(&machine.id, machine.kind),
        kind: machine.kind.slug(),
        connection,
        tags: if machine.protocol.is_modbus() {
            modbus_tags(machine.kind, &tags)
        } else {
            tags.iter().map(|tag| opcua_tag(machine.kind, tag)).collect()
        },
        alarms: tags.iter().filter_map(alarm).collect(),
    };
    let text = toml::to_string(&file)
        .map_err(|source| SimulatorError::MachineFile { machine: machine.id.clone(), source })?;
    Ok(format!("# Written by machine-simulator agent-config for a simulated machine.\n{text}"))
}

fn connection(
    plant: &PlantConfig,
    machine: &MachineConfig,
    running: &MachineState,
    own: &Path,
) -> Option<Connection> {
    let line = machine.line.as_ref().and_then(|id| plant.lines.iter().find(|line| line.id == *id));
    let unit = || unit_keys(machine, line);
    let over_tcp = || {
        let address = running.address?;
        Some(OverTcp { host: address.ip().to_string(), port: address.port(), unit: unit() })
    };
    Some(match machine.protocol {
        Protocol::ModbusTcp => Connection::ModbusTcp(over_tcp()?),
        Protocol::ModbusRtuOverTcp => Connection::ModbusRtuOverTcp(over_tcp()?),
        Protocol::ModbusRtu => Connection::ModbusRtu(OverSerial {
            device: running.endpoint.clone(),
            baud_rate: line?.options.baud_rate?,
            parity: "none",
            unit: unit(),
        }),
        Protocol::Opcua => Connection::Opcua(opcua(&machine.opcua, running, own)),
    })
}

/// Time-outs leave the alarm budget of 500 ms room: an answer comes within a few milliseconds here, or, where units
/// share a gateway, after that has given up on one.
fn unit_keys(machine: &MachineConfig, line: Option<&LineConfig>) -> UnitKeys {
    let options = &machine.modbus;
    let gateway = line.map_or(0, |line| line.options.unit_timeout.as_millis());
    let gateway = u32::try_from(gateway).unwrap_or(u32::MAX);
    UnitKeys {
        unit_id: options.unit_id,
        timeout_ms: TIMEOUT_MS.max(gateway.saturating_add(GATEWAY_MARGIN_MS)),
        max_registers: (options.max_registers < READ_REGISTERS_MAX).then_some(options.max_registers),
    }
}

fn opcua(options: &UaOptions, running: &MachineState, own: &Path) -> OpcUa {
    let protection = options.security.as_ref().map(|security| Protection {
        security_policy: match security.policy {
            UaPolicy::Basic256Sha256 => "basic256sha256",
            UaPolicy::Aes128Sha256RsaOaep => "aes128_sha256_rsa_oaep",
            UaPolicy::Aes256Sha256RsaPss => "aes256_sha256_rsapss",
        },
        security_mode: match security.mode {
            UaMode::Sign => "sign",
            UaMode::SignAndEncrypt => "sign_and_encrypt",
        },
        server_certificate_file: own.join(CERTIFICATE_FILE).display().to_string(),
    });
    let user = options.user.as_ref().map(|user| User {
        user: user.name.clone(),
        password_file: own.join(PASSWORD_FILE).display().to_string(),
    });
    OpcUa {
        endpoint: running.endpoint.clone(),
        sampling_interval_ms: SAMPLING_MS,
        publishing_interval_ms: PUBLISHING_MS,
        protection,
        user,
    }
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
mod tests;
