//! Where the record of the remote configuration is kept: one document beside the buffer, replaced as a whole.
//!
//! | file of `configuration/` | what | mode |
//! |---|---|---|
//! | `record.json` | what was applied, waits, is tried ([`Record`]) | 0600 |
//! | `request` | what a technician asks the running agent for ([`Request`]) | 0644 |

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use edge_config::AgentConfig;
use remote_configuration::Record;
use service_kit::{remove_if_present, sync_folder, write_synced};

/// Three sets of files, of which one may be a person's, as JSON.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// What a technician can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// To look for a new version now.
    Pull,
    /// To keep the edited files.
    Adopt,
    /// To take the files of the backend back.
    Restore,
}

impl Request {
    const ALL: [Self; 3] = [Self::Pull, Self::Adopt, Self::Restore];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Adopt => "adopt",
            Self::Restore => "restore",
        }
    }
}

/// The folder with the record.
#[derive(Debug, Clone)]
pub(crate) struct Book(PathBuf);

impl Book {
    /// Beside the buffer.
    pub(crate) fn of(config: &AgentConfig) -> Self {
        Self(config.buffer.path.parent().unwrap_or(Path::new("")).join("configuration"))
    }

    fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    fn request(&self) -> PathBuf {
        self.0.join("request")
    }

    /// Makes the folder, so that requests can be left there.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.0)
    }

    /// The record; a new one, if there is none.
    pub(crate) fn load(&self) -> Result<Record> {
        let path = self.record();
        let told =
            || format!("cannot read {}; it says what of the configuration is the backend's", path.display());
        let size = match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
            other => other.with_context(told)?.len(),
        };
        if size > RECORD_BYTES_MAX {
            bail!("{} has {size} bytes; at most {RECORD_BYTES_MAX} are read", path.display());
        }
        let record: Record =
            serde_json::from_slice(&std::fs::read(&path).with_context(told)?).with_context(told)?;
        if !record.is_understood() {
            bail!("{} is of a newer version of the agent; it is left as it is", path.display());
        }
        Ok(record)
    }

    /// Puts a record in the place of the one before, durably.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let path = self.record();
        let draft = path.with_extension("draft");
        let write = || {
            self.prepare()?;
            write_synced(&draft, &serde_json::to_vec(record)?, 0o600)?;
            #[cfg(test)]
            super::kill::step();
            std::fs::rename(&draft, &path)?;
            sync_folder(&path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Leaves a request for the running agent.
    pub(crate) fn ask(&self, request: Request) -> std::io::Result<()> {
        let draft = self.0.join("request.draft");
        write_synced(&draft, request.name().as_bytes(), 0o644)?;
        std::fs::rename(&draft, self.request())
    }

    /// Whether a request waits.
    pub(crate) fn is_asked(&self) -> bool {
        self.request().exists()
    }

    /// Takes a request back that nobody heard.
    pub(crate) fn forget_request(&self) -> std::io::Result<()> {
        remove_if_present(&self.request())
    }

    /// The request that waits; it goes, so that it is done once.
    pub(crate) fn take_request(&self) -> Option<Request> {
        let mut text = String::new();
        let file = std::fs::File::open(self.request()).ok()?;
        // Longer than any request.
        std::io::Read::read_to_string(&mut std::io::Read::take(file, 16), &mut text).ok()?;
        self.forget_request().ok()?;
        Request::ALL.into_iter().find(|request| request.name() == text.trim())
    }
}
