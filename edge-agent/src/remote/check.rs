//! Whether a set of machine files can run on this gateway: by the code that loads it, with this gateway's own
//! `agent.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use edge_config::{AgentConfig, Connection, MachineConfig, Sources};
use plant_model::MachineId;
use remote_configuration::Files;

use crate::tools::physics::{self, Severity};

/// The configuration that these machine files make.
///
/// # Errors
/// Every problem, a line each, by file and line.
pub(crate) fn check(folder: &Path, files: &Files) -> Result<AgentConfig, String> {
    let own = Sources::read(folder);
    let kept = own.texts().iter().filter(|(name, _)| !name.starts_with("machines.d/"));
    let kept = kept.map(|(name, text)| (name.clone(), text.clone()));
    let machines = files.iter().map(|(name, text)| (format!("machines.d/{name}"), text.clone()));
    // Names as they are below the folder: the backend does not know where that is.
    let sources = Sources::kept(PathBuf::new(), kept.chain(machines).collect());
    let config = sources.config().map_err(|errors| errors.to_string())?;
    let impossible = physics::compute(&config).problems(Severity::Error);
    let mut problems: Vec<String> = impossible.iter().map(ToString::to_string).collect();
    let before = own.config().map(|config| config.machines).unwrap_or_default();
    if !config.remote.outputs {
        problems.extend(changed_writes(&config, &before));
    }
    problems.extend(foreign_files(&config, &before, folder));
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// A machine that this gateway writes to could be told to take the value for another register.
fn changed_writes(config: &AgentConfig, before: &[MachineConfig]) -> Vec<String> {
    let outputs = config.outputs.iter().filter_map(|output| output.target.machine());
    let commands = config.commands.write_tags.iter().map(|tag| &tag.machine);
    let written: BTreeSet<&MachineId> = outputs.chain(commands).collect();
    let is_same = |one: &MachineConfig, other: &MachineConfig| {
        one.connection == other.connection && one.tags == other.tags
    };
    let find = |machines: &[MachineConfig], id: &MachineId| machines.iter().find(|m| m.id == *id).cloned();
    let changed = written.into_iter().filter(|id| {
        let both = find(before, id).zip(find(&config.machines, id));
        !both.is_some_and(|(old, new)| is_same(&old, &new))
    });
    let told = |id: &MachineId| {
        format!(
            "machine {id}: outputs or commands of this gateway write to it, so that its connection and tags are changed \
             here only; remote.outputs = true in agent.toml allows it"
        )
    };
    changed.map(told).collect()
}

/// A password file is sent to the server that is named beside it: it must be meant for that.
fn foreign_files(config: &AgentConfig, before: &[MachineConfig], folder: &Path) -> Vec<String> {
    let known: BTreeSet<(&str, &Path)> = before.iter().filter_map(password).collect();
    let is_plain =
        |path: &Path| path.starts_with(folder) && !path.components().any(|part| part.as_os_str() == "..");
    let foreign = config.machines.iter().filter_map(|machine| {
        let (endpoint, path) = password(machine)?;
        let is_foreign = !known.contains(&(endpoint, path)) && !is_plain(path);
        is_foreign.then(|| {
            format!(
                "machine {}: opcua.password_file = {:?} is sent to {endpoint}; from the backend only files below {} may be \
                 named, or those that are used for this server already",
                machine.id,
                path.display().to_string(),
                folder.display()
            )
        })
    });
    foreign.collect()
}

fn password(machine: &MachineConfig) -> Option<(&str, &Path)> {
    let Connection::OpcUa(connection) = &machine.connection else { return None };
    Some((connection.endpoint(), connection.user()?.password_file.as_path()))
}

#[cfg(test)]
mod tests;
