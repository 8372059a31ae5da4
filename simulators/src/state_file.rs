//! The state file: where a running simulator listens. Written atomically once everything listens.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::SimulatorError;

/// Content of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Format version, 1.
    pub version: u32,
    /// Process id of the simulator.
    pub pid: u32,
    /// Name of the plant.
    pub plant: String,
    /// Seed in use.
    pub seed: u64,
    /// Start of the models in microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// Address of the control interface.
    pub control: SocketAddr,
    /// The machines, in the order of the plant file.
    pub machines: Vec<MachineState>,
}

/// One machine in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Identifier.
    pub id: String,
    /// Kind.
    pub kind: String,
    /// Protocol.
    pub protocol: String,
    /// Address of the listener; none on a serial line.
    pub address: Option<SocketAddr>,
    /// What a client dials: `host:port`, an `opc.tcp` URL, or a serial device.
    pub endpoint: String,
    /// Certificate of a protected OPC UA server, DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
}

impl StateFile {
    /// Reads a state file.
    ///
    /// # Errors
    /// The file cannot be read or is not a state file.
    pub fn read(path: &Path) -> Result<Self, SimulatorError> {
        let text =
            fs::read(path).map_err(|source| SimulatorError::ReadFile { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| SimulatorError::StateFile { path: path.to_owned(), source })
    }

    /// Writes the file whole or not at all: a reader that finds it can dial every address in it.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SimulatorError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| SimulatorError::StateFile { path: path.to_owned(), source })?;
        write_whole(path, &text)
    }
}

/// Writes beside the target and renames, so that nobody sees half a file.
///
/// # Errors
/// The directory cannot be written.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), SimulatorError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    fs::write(&beside, content)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| SimulatorError::WriteFile { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_is_read_back_as_written_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile {
            version: 1,
            pid: 7,
            plant: "p".into(),
            seed: 42,
            started_at_us: 1,
            control: "127.0.0.1:1".parse().unwrap(),
            machines: Vec::new(),
        };
        let path = dir.path().join("state.json");
        state.write(&path).unwrap();
        assert_eq!(StateFile::read(&path).unwrap(), state);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
