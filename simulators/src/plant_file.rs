//! The plant file: raw TOML first, then validated, with every mistake at once.
//!
//! Format in this folder's `README.md`. Version 1.

mod lines;

use std::{collections::HashSet, fmt, net::IpAddr, path::Path};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    error::SimulatorError,
    kind::{Kind, Protocol},
    mode::{Mode, ModeRequest, Subject},
    ua_options::{EXTRA_FOLDERS_MAX, EXTRA_NODES_MAX, UaOptions},
};

pub use lines::{LineConfig, LineOptions, ModbusOptions, SerialDevice, Silence};

const VERSION: i64 = 1;
/// One process serves each machine with its own server; beyond this a plant belongs into several processes.
const MACHINES_MAX: usize = 200;
const ID_LENGTH_MAX: usize = 63;
const NAME_LENGTH_MAX: usize = 100;

/// A validated plant file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantConfig {
    /// Name of the plant, for people.
    pub name: String,
    /// Seed of all process models.
    pub seed: u64,
    /// Address on which the machines listen.
    pub host: IpAddr,
    /// Lines that machines share, in file order; ids are unique.
    pub lines: Vec<LineConfig>,
    /// The machines, in file order; ids are unique.
    pub machines: Vec<MachineConfig>,
}

/// One machine of a plant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// Identifier, unique in the plant: lower-case letters, digits and, inside, `-`; at most 63 characters.
    pub id: String,
    /// Kind of machine.
    pub kind: Kind,
    /// Protocol it speaks.
    pub protocol: Protocol,
    /// TCP port; 0 = any free one. Without meaning for a machine on a line.
    pub port: u16,
    /// The line it shares with others, which then says what it speaks.
    pub line: Option<String>,
    /// How it behaves at the start.
    pub mode: Mode,
    /// How it speaks Modbus; without meaning for other protocols.
    pub modbus: ModbusOptions,
    /// What its OPC UA server offers; without meaning for other protocols.
    pub opcua: UaOptions,
}

impl MachineConfig {
    /// A healthy machine with an address of its own, any free port.
    pub fn new(id: &str, kind: Kind, protocol: Protocol) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            protocol,
            port: 0,
            line: None,
            mode: Mode::Healthy,
            modbus: ModbusOptions::default(),
            opcua: UaOptions::default(),
        }
    }
}

/// Every mistake of a plant file, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantFileErrors(Vec<String>);

impl fmt::Display for PlantFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlant {
    version: Spanned<i64>,
    name: Spanned<String>,
    seed: Spanned<i64>,
    host: Option<Spanned<String>>,
    #[serde(default)]
    lines: Vec<lines::RawLine>,
    #[serde(default)]
    machines: Vec<RawMachine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    id: Spanned<String>,
    kind: Spanned<String>,
    protocol: Option<Spanned<String>>,
    line: Option<Spanned<String>>,
    port: Option<Spanned<i64>>,
    fault: Option<Spanned<ModeRequest>>,
    modbus: Option<Spanned<lines::RawModbus>>,
    opcua: Option<Spanned<UaOptions>>,
}

impl PlantConfig {
    /// Reads and validates a plant file.
    ///
    /// # Errors
    /// The file cannot be read, or it is wrong; then every mistake is named with line, key, value and what is allowed.
    pub fn read(path: &Path) -> Result<Self, SimulatorError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SimulatorError::ReadFile { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|errors| SimulatorError::PlantFile { path: path.to_owned(), errors })
    }

    /// Validates the text of a plant file.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn parse(text: &str) -> Result<Self, PlantFileErrors> {
        let raw: RawPlant = toml::from_str(text)
            .map_err(|error| PlantFileErrors(vec![error.to_string().trim_end().to_owned()]))?;
        Check { text, errors: Vec::new() }.plant(raw)
    }

    /// The example plant: 8 Modbus TCP and 7 OPC UA machines that cover all kinds.
    pub fn example() -> Self {
        Self::parse(&Self::example_toml()).expect("the example plant is checked by a test")
    }

    /// The example plant as a plant file with comments.
    pub fn example_toml() -> String {
        let mut text = String::from(EXAMPLE_HEAD);
        for (id, kind, protocol) in EXAMPLE_MACHINES {
            text.push_str(&format!(
                "\n[[machines]]\nid = \"{id}\"\nkind = \"{kind}\"\nprotocol = \"{protocol}\"\nport = 0\n"
            ));
        }
        text
    }
}

const EXAMPLE_HEAD: &str = "\
# A plant of simulated machines.
version = 1
name = \"Example plant\"
# The same seed gives the same sequence of values in every run; 0 to 9223372036854775807.
seed = 42
# Address on which the machines listen.
host = \"127.0.0.1\"

# One block per machine:
#   id        a-z, 0-9 and -, beginning and ending with a letter or digit, unique
#   kind      cnc-mill, lathe, injection-moulding, hydraulic-press, furnace, compressor, conveyor,
#             robot-cell or packaging-line
#   protocol  modbus-tcp or opcua
#   port      TCP port, 0 = any free one (then read the state file)
";

const EXAMPLE_MACHINES: [(&str, Kind, Protocol); 15] = [
    ("cnc-mill-1", Kind::CncMill, Protocol::ModbusTcp),
    ("cnc-mill-2", Kind::CncMill, Protocol::Opcua),
    ("lathe-1", Kind::Lathe, Protocol::ModbusTcp),
    ("lathe-2", Kind::Lathe, Protocol::Opcua),
    ("injection-moulding-1", Kind::InjectionMoulding, Protocol::ModbusTcp),
    ("injection-moulding-2", Kind::InjectionMoulding, Protocol::Opcua),
    ("hydraulic-press-1", Kind::HydraulicPress, Protocol::ModbusTcp),
    ("furnace-1", Kind::Furnace, Protocol::ModbusTcp),
    ("furnace-2", Kind::Furnace, Protocol::Opcua),
    ("compressor-1", Kind::Compressor, Protocol::ModbusTcp),
    ("conveyor-1", Kind::Conveyor, Protocol::ModbusTcp),
    ("conveyor-2", Kind::Conveyor, Protocol::Opcua),
    ("robot-cell-1", Kind::RobotCell, Protocol::Opcua),
    ("packaging-line-1", Kind::PackagingLine, Protocol::ModbusTcp),
    ("packaging-line-2", Kind::PackagingLine, Protocol::Opcua),
];

/// Collects mistakes while turning the raw file into a plant.
struct Check<'a> {
    text: &'a str,
    errors: Vec<String>,
}

impl Check<'_> {
    fn plant(mut self, raw: RawPlant) -> Result<PlantConfig, PlantFileErrors> {
        if *raw.version.get_ref() != VERSION {
            self.refuse("version", &raw.version, raw.version.get_ref(), "1");
        }
        let name = raw.name.get_ref();
        if name.trim().is_empty() || name.len() > NAME_LENGTH_MAX {
            self.refuse("name", &raw.name, format!("{name:?}"), "1 to 100 bytes, not blank");
        }
        let seed = u64::try_from(*raw.seed.get_ref()).unwrap_or_else(|_| {
            self.refuse("seed", &raw.seed, raw.seed.get_ref(), "0 to 9223372036854775807");
            0
        });
        let host = self.host(raw.host.as_ref());
        if raw.machines.is_empty() || raw.machines.len() > MACHINES_MAX {
            let count = raw.machines.len();
            self.errors
                .push(format!("machines: {count} blocks [[machines]], allowed are 1 to {MACHINES_MAX}"));
        }
        let mut ports = HashSet::new();
        let lines = self.lines(&raw.lines, &mut ports);
        let machines = self.machines(&raw.machines, &lines, &mut ports);
        self.units(&lines, &machines);
        if self.errors.is_empty() {
            Ok(PlantConfig { name: name.clone(), seed, host, lines, machines })
        } else {
            Err(PlantFileErrors(self.errors))
        }
    }

    fn host(&mut self, host: Option<&Spanned<String>>) -> IpAddr {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let Some(host) = host else { return loopback };
        host.get_ref().parse().unwrap_or_else(|_| {
            self.refuse("host", host, format!("{:?}", host.get_ref()), "an IP address such as \"127.0.0.1\"");
            loopback
        })
    }

    fn machines(
        &mut self,
        raw: &[RawMachine],
        lines: &[LineConfig],
        ports: &mut HashSet<u16>,
    ) -> Vec<MachineConfig> {
        let mut ids: HashSet<&str> = lines.iter().map(|line| line.id.as_str()).collect();
        raw.iter().filter_map(|machine| self.machine(machine, lines, &mut ids, ports)).collect()
    }

    fn machine<'m>(
        &mut self,
        raw: &'m RawMachine,
        lines: &[LineConfig],
        ids: &mut HashSet<&'m str>,
        ports: &mut HashSet<u16>,
    ) -> Option<MachineConfig> {
        self.id("machines.id", &raw.id, ids);
        let kind = Kind::from_slug(raw.kind.get_ref());
        if kind.is_none() {
            let allowed = Kind::ALL.map(Kind::slug).join(", ");
            self.refuse("machines.kind", &raw.kind, format!("{:?}", raw.kind.get_ref()), &allowed);
        }
        let protocol = self.protocol(raw, lines);
        let port = self.port("machines.port", raw.port.as_ref(), ports);
        let opcua = self.opcua(raw.opcua.as_ref(), protocol);
        let modbus = self.modbus(raw.modbus.as_ref(), protocol);
        let subject = match &raw.line {
            Some(_) => Subject::OnLine,
            None => Subject::Machine(protocol?),
        };
        let mode = self.fault("machines.fault", raw.fault.as_ref(), subject);
        Some(MachineConfig {
            id: raw.id.get_ref().clone(),
            kind: kind?,
            protocol: protocol?,
            port: port?,
            line: raw.line.as_ref().map(|line| line.get_ref().clone()),
            mode,
            modbus,
            opcua,
        })
    }

    /// An id that no machine and no line has yet.
    fn id<'m>(&mut self, key: &str, id: &'m Spanned<String>, ids: &mut HashSet<&'m str>) {
        let text = id.get_ref();
        if !is_plain_id(text) {
            self.refuse(key, id, format!("{text:?}"), ID_RULE);
        } else if !ids.insert(text) {
            self.refuse(key, id, format!("{text:?}"), "an id that no other machine or line has");
        }
    }

    /// What the machine says it speaks, or what its line does.
    fn protocol(&mut self, raw: &RawMachine, lines: &[LineConfig]) -> Option<Protocol> {
        match (&raw.line, &raw.protocol) {
            (None, Some(spanned)) => {
                let own = [Protocol::ModbusTcp, Protocol::Opcua];
                let protocol =
                    Protocol::from_slug(spanned.get_ref()).filter(|protocol| own.contains(protocol));
                if protocol.is_none() {
                    let value = format!("{:?}", spanned.get_ref());
                    self.refuse("machines.protocol", spanned, value, "modbus-tcp, opcua, or line instead");
                }
                protocol
            }
            (None, None) => {
                self.refuse("machines.protocol", &raw.id, "nothing", "modbus-tcp, opcua, or line instead");
                None
            }
            (Some(line), _) => {
                for (key, given) in [("protocol", raw.protocol.is_some()), ("port", raw.port.is_some())] {
                    if given {
                        let key = format!("machines.{key}");
                        self.refuse(&key, line, "something beside line", "nothing: the line says it");
                    }
                }
                let found = lines.iter().find(|known| known.id == *line.get_ref());
                if found.is_none() {
                    let value = format!("{:?}", line.get_ref());
                    self.refuse("machines.line", line, value, "the id of a block [[lines]]");
                }
                found.map(|line| line.protocol)
            }
        }
    }

    fn fault(&mut self, key: &str, fault: Option<&Spanned<ModeRequest>>, subject: Subject) -> Mode {
        let Some(spanned) = fault else { return Mode::Healthy };
        spanned.get_ref().parse(subject).unwrap_or_else(|reason| {
            self.refuse(key, spanned, "this table", &reason);
            Mode::Healthy
        })
    }

    fn opcua(&mut self, options: Option<&Spanned<UaOptions>>, protocol: Option<Protocol>) -> UaOptions {
        let Some(spanned) = options else { return UaOptions::default() };
        let options = spanned.get_ref();
        if protocol.is_some_and(Protocol::is_modbus) {
            self.refuse("machines.opcua", spanned, "this table", "only with protocol = \"opcua\"");
        }
        for (key, value, max) in [
            ("extra_nodes", options.extra_nodes, EXTRA_NODES_MAX),
            ("extra_folders", options.extra_folders, EXTRA_FOLDERS_MAX),
        ] {
            if value > max {
                self.refuse(&format!("machines.opcua.{key}"), spanned, value, &format!("0 to {max}"));
            }
        }
        for (key, _) in options.limits.numbers().into_iter().filter(|(_, number)| *number == Some(0)) {
            self.refuse(&format!("machines.opcua.limits.{key}"), spanned, 0, "1 and more");
        }
        options.clone()
    }

    fn port(&mut self, key: &str, port: Option<&Spanned<i64>>, taken: &mut HashSet<u16>) -> Option<u16> {
        let Some(spanned) = port else { return Some(0) };
        let Ok(port) = u16::try_from(*spanned.get_ref()) else {
            self.refuse(key, spanned, spanned.get_ref(), "0 (any free port) to 65535");
            return None;
        };
        if port != 0 && !taken.insert(port) {
            self.refuse(key, spanned, port, "a port that no other machine has, or 0");
        }
        Some(port)
    }

    fn refuse<T>(&mut self, key: &str, at: &Spanned<T>, value: impl fmt::Display, allowed: &str) {
        let line = self.text[..at.span().start].matches('\n').count() + 1;
        self.errors.push(format!("line {line}: {key} = {value}: allowed is {allowed}"));
    }
}

const ID_RULE: &str = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit";

fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=ID_LENGTH_MAX).contains(&id.len())
        && id.bytes().all(plain)
        && !id.starts_with('-')
        && !id.ends_with('-')
}

#[cfg(test)]
mod tests;
