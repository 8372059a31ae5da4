//! The agent's configuration: `agent.toml` and one file for each machine in `machines.d/`.
//!
//! Text becomes a tree with line numbers, the tree becomes [`AgentConfig`]; everything that is wrong
//! is collected on the way, in all files, so that one run of `edge-agent check` shows it all. A key
//! that is not known is an error: a misspelt limit must not be a silent default.

mod agent;
mod alarm;
mod commands;
mod gateway;
mod machine;
mod modbus;
mod opcua;
mod output;
mod problem;
mod rates;
mod remote;
mod report;
mod section;
mod sources;
mod update;

use std::collections::HashMap;
use std::path::Path;

pub use agent::{AgentConfig, BufferConfig, Secret, StatusConfig, UplinkConfig};
pub use commands::{CommandsConfig, WritableTag};
pub use gateway::GatewayTag;
pub use machine::{Budgets, Connection, MachineConfig, Origin, TagConfig};
pub use output::{HeartbeatTag, MethodCall, MethodTarget, OutputConfig, OutputTarget, StateTag, TagTarget};
pub use problem::{ConfigErrors, Problem};
pub use rates::RaisedRate;
pub use remote::RemoteConfig;
pub use sources::Sources;
pub use update::{UPDATE_RESULT_FILE, UpdateConfig};

use problem::Report;
use sources::{NO_FILES, parse, read};

/// Reads a configuration folder.
///
/// # Errors
/// Every problem of every file, in the order of files and lines.
pub fn load(folder: &Path) -> Result<AgentConfig, ConfigErrors> {
    Sources::read(folder).config()
}

/// Reads `agent.toml` alone, whatever the machines are: they may not be there yet.
///
/// # Errors
/// Every problem of that file that can be told without the machines.
pub fn load_agent(folder: &Path) -> Result<AgentConfig, ConfigErrors> {
    let (report, path) = (Report::default(), folder.join(agent::FILE));
    let build = |root: &mut section::Section<'_>| agent::parse(root, &mut Vec::new(), false);
    let agent = read(&path, &report).and_then(|text| parse(&path, &text, &report, build));
    report.finish(agent)
}

/// Reads a machine from text that is not, or not yet, in its file; `path` names it in problems.
///
/// # Errors
/// Every problem, in the order of lines.
pub fn read_machine(path: &Path, text: &str) -> Result<MachineConfig, ConfigErrors> {
    let report = Report::default();
    let machine = parse(path, text, &report, machine::parse);
    report.finish(machine)
}

/// Reads machine files that are not, or not yet, in a folder: names and texts, in the order of the names. What only
/// `agent.toml` can tell is not checked.
///
/// # Errors
/// Every problem of every file, in the order of files and lines.
pub fn check_machines<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<MachineConfig>, ConfigErrors> {
    let (report, mut machines, mut count) = (Report::default(), Vec::new(), 0);
    for (name, text) in files {
        let path = Path::new(name);
        count += 1;
        if let Some(machine) = parse(path, text, &report, machine::parse) {
            machines.push((path.to_owned(), machine));
        }
    }
    if count == 0 {
        report.file(Path::new("machines.d"), NO_FILES.to_owned());
    }
    check_unique(&machines, &report);
    check_lines(&machines, &report);
    report.finish(Some(machines.into_iter().map(|(_, machine)| machine).collect()))
}

fn check_unique(machines: &[(std::path::PathBuf, MachineConfig)], report: &Report) {
    let mut first: HashMap<&str, &Path> = HashMap::new();
    for (path, machine) in machines {
        if let Some(other) = first.insert(machine.id.as_str(), path) {
            let message = format!("machine id {} is also used in {}", machine.id, other.display());
            report.file(path, message);
        }
    }
}

/// Machines on one serial line see the same bits.
fn check_lines(machines: &[(std::path::PathBuf, MachineConfig)], report: &Report) {
    let mut first: HashMap<&str, (&acquisition::SerialLine, &Path)> = HashMap::new();
    for (path, machine) in machines {
        let Connection::Modbus(connection) = &machine.connection else { continue };
        let acquisition::ModbusAddress::Rtu(line) = connection.address() else { continue };
        let (known, other) = *first.entry(&line.device).or_insert((line, path));
        if known != line {
            let (device, other) = (&line.device, other.display());
            report.file(path, format!("baud_rate, parity or stop_bits of {device} differ from those in {other}; one line has one setting"));
        }
    }
}

#[cfg(test)]
mod alarm_tests;
#[cfg(test)]
mod output_tests;
#[cfg(test)]
mod tests;
