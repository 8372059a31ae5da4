//! What can go wrong with a simulated plant.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{mode::Mode, plant_file::PlantFileErrors};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The plant file is wrong.
    #[error("{path}: the plant file is not valid:\n{errors}", path = path.display())]
    PlantFile {
        /// The file.
        path: PathBuf,
        /// Every mistake found.
        errors: PlantFileErrors,
    },
    /// The state file is not one of a running simulator of this version.
    #[error("{path}: not a state file of machine-simulator: {source}", path = path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The state file belongs to another plant file.
    #[error(
        "machine {machine:?} is in the plant file but not in the state file: were they made for the same plant?"
    )]
    StateMismatch {
        /// The machine that has no address.
        machine: String,
    },
    /// A machine file could not be written as TOML.
    #[error("machine {machine:?}: cannot write its file as TOML: {source}")]
    MachineFile {
        /// The machine.
        machine: String,
        /// Why.
        source: toml::ser::Error,
    },
    /// A listener could not be opened.
    #[error("{what}: cannot listen on {address}: {source}; choose another port, or 0 for any free one")]
    Listen {
        /// Machine or control interface.
        what: String,
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A serial line could not be opened.
    #[error("line {line:?}: cannot open {device}: {source}")]
    OpenDevice {
        /// The line.
        line: String,
        /// The device or pseudo-terminal.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// A folder for the keys of OPC UA servers could not be made.
    #[error("cannot make a folder for keys and certificates: {0}")]
    KeyFolder(io::Error),
    /// The OPC UA server of a machine did not start.
    #[error("machine {machine:?}: the OPC UA server did not start: {reason}")]
    UaServer {
        /// The machine.
        machine: String,
        /// Why.
        reason: String,
    },
    /// There is no such machine.
    #[error("there is no machine {0:?} in this plant: GET /machines lists them")]
    UnknownMachine(String),
    /// There is no such line.
    #[error("there is no line {0:?} in this plant: GET /lines lists them")]
    UnknownLine(String),
    /// There is no such tag.
    #[error("machine {machine:?} has no tag {tag:?}: GET /machines/{machine} lists them")]
    UnknownTag {
        /// The machine.
        machine: String,
        /// The tag asked for.
        tag: String,
    },
    /// A value that the tag cannot take.
    #[error("tag {tag:?} cannot take {value}: allowed is {allowed}")]
    BadValue {
        /// The tag.
        tag: String,
        /// The value asked for.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A mode that the machine or line cannot take.
    #[error("{subject}: {reason}")]
    BadMode {
        /// The machine or line.
        subject: String,
        /// The sentence that says what is allowed.
        reason: String,
    },
    /// The listener did not take over the mode in time.
    #[error("{line:?}: mode {mode:?} was not in force after 5 s; its port or device may be taken")]
    ModeNotApplied {
        /// The line, or the machine with its own address.
        line: String,
        /// The mode asked for.
        mode: Mode,
    },
}
