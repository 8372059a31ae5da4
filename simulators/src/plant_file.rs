//! The plant file: raw TOML first, then validated, with every mistake at once.
//!
//! Format in this folder's `README.md`. Version 1.

use std::{collections::HashSet, fmt, net::IpAddr, path::Path};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    error::SimulatorError,
    kind::{Kind, Protocol},
    ua_options::{EXTRA_NODES_MAX, UaOptions},
};

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
    /// TCP port; 0 = any free one.
    pub port: u16,
    /// What its OPC UA server offers; without meaning for other protocols.
    pub opcua: UaOptions,
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
    machines: Vec<RawMachine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    id: Spanned<String>,
    kind: Spanned<String>,
    protocol: Spanned<String>,
    port: Option<Spanned<i64>>,
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
        let machines = self.machines(&raw.machines);
        if self.errors.is_empty() {
            Ok(PlantConfig { name: name.clone(), seed, host, machines })
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

    fn machines(&mut self, raw: &[RawMachine]) -> Vec<MachineConfig> {
        let mut ids = HashSet::new();
        let mut ports = HashSet::new();
        raw.iter().filter_map(|machine| self.machine(machine, &mut ids, &mut ports)).collect()
    }

    fn machine<'m>(
        &mut self,
        raw: &'m RawMachine,
        ids: &mut HashSet<&'m str>,
        ports: &mut HashSet<u16>,
    ) -> Option<MachineConfig> {
        let id = raw.id.get_ref();
        if !is_plain_id(id) {
            self.refuse("machines.id", &raw.id, format!("{id:?}"), ID_RULE);
        } else if !ids.insert(id) {
            self.refuse("machines.id", &raw.id, format!("{id:?}"), "an id that no other machine has");
        }
        let kind = Kind::from_slug(raw.kind.get_ref());
        if kind.is_none() {
            let allowed = Kind::ALL.map(Kind::slug).join(", ");
            self.refuse("machines.kind", &raw.kind, format!("{:?}", raw.kind.get_ref()), &allowed);
        }
        let protocol = Protocol::from_slug(raw.protocol.get_ref());
        if protocol.is_none() {
            let allowed = Protocol::ALL.map(Protocol::slug).join(", ");
            self.refuse(
                "machines.protocol",
                &raw.protocol,
                format!("{:?}", raw.protocol.get_ref()),
                &allowed,
            );
        }
        let port = self.port(raw.port.as_ref(), ports);
        let opcua = self.opcua(raw.opcua.as_ref(), protocol);
        Some(MachineConfig { id: id.clone(), kind: kind?, protocol: protocol?, port: port?, opcua })
    }

    fn opcua(&mut self, options: Option<&Spanned<UaOptions>>, protocol: Option<Protocol>) -> UaOptions {
        let Some(spanned) = options else { return UaOptions::default() };
        let options = spanned.get_ref();
        if protocol == Some(Protocol::ModbusTcp) {
            self.refuse("machines.opcua", spanned, "this table", "only with protocol = \"opcua\"");
        }
        if options.extra_nodes > EXTRA_NODES_MAX {
            let allowed = format!("0 to {EXTRA_NODES_MAX}");
            self.refuse("machines.opcua.extra_nodes", spanned, options.extra_nodes, &allowed);
        }
        options.clone()
    }

    fn port(&mut self, port: Option<&Spanned<i64>>, taken: &mut HashSet<u16>) -> Option<u16> {
        let Some(spanned) = port else { return Some(0) };
        let Ok(port) = u16::try_from(*spanned.get_ref()) else {
            self.refuse("machines.port", spanned, spanned.get_ref(), "0 (any free port) to 65535");
            return None;
        };
        if port != 0 && !taken.insert(port) {
            self.refuse("machines.port", spanned, port, "a port that no other machine has, or 0");
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
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_plain_words() {
        let longest = "a".repeat(63);
        for id in ["m", "cnc-mill-1", "7", longest.as_str()] {
            assert!(is_plain_id(id), "{id}");
        }
        let too_long = "a".repeat(64);
        for id in ["", "-m", "m-", "M", "m_1", "m 1", too_long.as_str()] {
            assert!(!is_plain_id(id), "{id}");
        }
    }

    #[test]
    fn the_example_covers_all_kinds_with_eight_modbus_and_seven_opc_ua_machines() {
        let plant = PlantConfig::example();
        let count = |protocol| plant.machines.iter().filter(|machine| machine.protocol == protocol).count();
        assert_eq!((count(Protocol::ModbusTcp), count(Protocol::Opcua)), (8, 7));
        for kind in Kind::ALL {
            assert!(plant.machines.iter().any(|machine| machine.kind == kind), "no {kind}");
        }
    }

    #[test]
    fn all_mistakes_are_named_at_once_with_line_key_value_and_what_is_allowed() {
        let text = "version = 2\nname = \" \"\nseed = -1\nhost = \"here\"\n\n[[machines]]\nid = \"A\"\n\
                    kind = \"mill\"\nprotocol = \"s7\"\nport = 70000\n";
        let errors = PlantConfig::parse(text).unwrap_err();
        let lines: Vec<_> =
            errors.0.iter().map(|error| error.split(": allowed is ").next().unwrap()).collect();
        assert_eq!(
            lines,
            [
                "line 1: version = 2",
                "line 2: name = \" \"",
                "line 3: seed = -1",
                "line 4: host = \"here\"",
                "line 7: machines.id = \"A\"",
                "line 8: machines.kind = \"mill\"",
                "line 9: machines.protocol = \"s7\"",
                "line 10: machines.port = 70000",
            ]
        );
        assert!(errors.to_string().contains("cnc-mill, lathe"), "{errors}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = PlantConfig::example_toml().replace("seed = 42", "seed = 42\nspeed = 3");
        let error = PlantConfig::parse(&text).unwrap_err().to_string();
        assert!(error.contains("speed") && error.contains("line 6"), "{error}");
    }

    #[test]
    fn two_machines_cannot_share_an_id_or_a_port() {
        let machine = "[[machines]]\nid = \"m\"\nkind = \"lathe\"\nprotocol = \"opcua\"\nport = 4840\n";
        let text = format!("version = 1\nname = \"p\"\nseed = 1\n{machine}{machine}");
        let error = PlantConfig::parse(&text).unwrap_err().to_string();
        assert!(
            error.contains("no other machine has") && error.contains("line 13: machines.port = 4840"),
            "{error}"
        );
    }

    #[test]
    fn a_plant_without_machines_is_refused() {
        let error = PlantConfig::parse("version = 1\nname = \"p\"\nseed = 1\n").unwrap_err().to_string();
        assert!(error.contains("allowed are 1 to 200"), "{error}");
    }

    #[test]
    fn an_opc_ua_machine_can_be_protected_and_have_a_bad_certificate() {
        let head = "version = 1\nname = \"p\"\nseed = 1\n[[machines]]\nid = \"m\"\nkind = \"lathe\"\n";
        let options = "[machines.opcua]\nsecurity = { policy = \"aes256_sha256_rsapss\", mode = \"sign\" }\n\
                       certificate = \"expired\"\nextra_nodes = 5\n";
        let plant = PlantConfig::parse(&format!("{head}protocol = \"opcua\"\n{options}")).unwrap();
        let opcua = &plant.machines[0].opcua;
        assert_eq!(opcua.extra_nodes, 5);
        assert_eq!(opcua.certificate, crate::UaCertificate::Expired);
        assert_eq!(opcua.security.as_ref().unwrap().policy, crate::UaPolicy::Aes256Sha256RsaPss);
        let errors = PlantConfig::parse(&format!("{head}protocol = \"modbus-tcp\"\n{options}")).unwrap_err();
        assert!(errors.to_string().contains("only with protocol"), "{errors}");
    }
}
