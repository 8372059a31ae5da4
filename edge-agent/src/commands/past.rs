//! What became of the last commands to the gateway: a file beside the buffer.
//!
//! It is no table of the buffer: an agent that goes back to its former version must still be able to open that, and a
//! buffer that was damaged and set aside must not make a command happen twice. The file is replaced as a whole; a
//! reader finds the one before or the one after.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use plant_model::{CommandId, Timestamp};
use protocol::{CommandOutcome, CommandResult, GatewayCommand};
use serde::{Deserialize, Serialize};
use service_kit::{sync_folder, write_synced};

/// Commands that are remembered, the newest: more than people give in the minute in which a command may come again.
const REMEMBERED_MAX: usize = 256;

/// Longest output that is remembered, in bytes.
const OUTPUT_BYTES_MAX: usize = 1_024;

/// Largest file that is read: all that is remembered, with room for names of fields.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The name of the file.
const FILE: &str = "commands.json";

/// A command that was begun once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    id: String,
    /// Of what it asked for.
    fingerprint: u32,
    at_us: i64,
    end: End,
    #[serde(default)]
    output: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    /// None that is known.
    Open,
    Done,
    Refused(String),
}

impl Past {
    /// It is about to be carried out.
    pub(crate) fn begun(command: &GatewayCommand, at: Timestamp) -> Self {
        let id = command.operation.command.to_string();
        Self {
            id,
            fingerprint: command.fingerprint(),
            at_us: at.micros(),
            end: End::Open,
            output: String::new(),
        }
    }

    /// It was answered like this.
    pub(crate) fn ended(command: &GatewayCommand, answer: &CommandResult) -> Self {
        let end = match &answer.outcome {
            CommandOutcome::Done => End::Done,
            CommandOutcome::Refused { reason } => End::Refused(reason.clone()),
            CommandOutcome::Expired => End::Refused("it came too late".to_owned()),
        };
        let output = bounded(answer.output.clone(), OUTPUT_BYTES_MAX);
        Self { end, output, ..Self::begun(command, answer.decided_at) }
    }

    /// The answer to the same command when it comes again, or to another one under its id.
    pub(crate) fn answer(&self, command: &GatewayCommand) -> CommandResult {
        let outcome = match &self.end {
            _ if self.fingerprint != command.fingerprint() => {
                CommandOutcome::Refused { reason: format!("the id {} was another command's", self.id) }
            }
            End::Open => CommandOutcome::Refused {
                reason: "the agent ended while it was carried out, and nobody knows whether it was done: look, and give \
                         it again under a new id if it is still wanted"
                    .to_owned(),
            },
            End::Done => CommandOutcome::Done,
            End::Refused(reason) => CommandOutcome::Refused { reason: reason.clone() },
        };
        CommandResult {
            command: command.operation.command.clone(),
            outcome,
            repeated: self.fingerprint == command.fingerprint(),
            decided_at: Timestamp::from_micros(self.at_us),
            output: self.output.clone(),
        }
    }
}

/// The first part of a text that has at most so many bytes.
pub(crate) fn bounded(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

/// The last commands.
#[derive(Debug)]
pub(crate) struct PastCommands {
    path: PathBuf,
    /// From the oldest to the newest.
    known: VecDeque<Past>,
}

impl PastCommands {
    /// Those of the state folder. A file that cannot be read is set aside: commands live for a minute, and a gateway that
    /// takes none any more is worse.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let known = read(&path).unwrap_or_else(|problem| {
            let aside = path.with_extension("damaged");
            let moved = std::fs::rename(&path, &aside);
            tracing::error!(path = %path.display(), problem, aside = %aside.display(), moved = moved.is_ok(),
                "what became of the last commands cannot be read; the file is set aside");
            VecDeque::new()
        });
        Self { path, known }
    }

    pub(crate) fn find(&self, id: &CommandId) -> Option<&Past> {
        self.known.iter().find(|past| past.id == id.as_str())
    }

    /// Remembers a command, in the place of what was known of it. It is on the medium when this returns.
    pub(crate) async fn add(&mut self, past: Past) -> std::io::Result<()> {
        let mut known = self.known.clone();
        known.retain(|other| other.id != past.id);
        known.push_back(past);
        let over = known.len().saturating_sub(REMEMBERED_MAX);
        known.drain(..over);
        let (path, bytes) = (self.path.clone(), serde_json::to_vec(&known)?);
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
        written.map_err(std::io::Error::other)??;
        self.known = known;
        Ok(())
    }
}

fn read(path: &Path) -> Result<VecDeque<Past>, String> {
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(error.to_string()),
    };
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    write_synced(&draft, bytes, 0o600)?;
    std::fs::rename(&draft, path)?;
    sync_folder(path)
}
