//! What agent and installer leave for each other.
//!
//! | file | whose | what |
//! |---|---|---|
//! | `update.request_file` | the agent's | a [`Request`], until the installer has taken it |
//! | `update.result_file` | root's | the [`Journal`] of the last update |

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use agent_update::{Journal, Request};
use anyhow::{Context as _, Result};
use edge_config::AgentConfig;
use nix::fcntl::OFlag;
use service_kit::{remove_if_present, sync_folder, write_synced};

/// The files of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct UpdateFiles {
    pub request: PathBuf,
    pub result: PathBuf,
}

impl UpdateFiles {
    pub(crate) fn of(config: &AgentConfig) -> Self {
        let beside = || config.buffer.path.parent().unwrap_or(Path::new("")).join("update/request.json");
        let request = config.update.request_file.clone().unwrap_or_else(beside);
        Self { request, result: config.update.result_file.clone() }
    }

    /// What the installer said last.
    pub(crate) fn journal(&self) -> Result<Option<Journal>> {
        let told =
            || format!("cannot read {}, which says what became of the last update", self.result.display());
        let bytes = read_bounded(&self.result, Journal::read_max()).with_context(told)?;
        bytes.map(|bytes| Journal::parse(&bytes)).transpose().with_context(told)
    }

    /// The request that lies there; one that cannot be read is none, and is written over.
    pub(crate) fn request(&self) -> Option<Request> {
        let bytes = read_bounded(&self.request, Request::read_max()).ok()??;
        Request::parse(&bytes).ok()
    }

    /// Leaves a request.
    pub(crate) fn ask(&self, request: &Request) -> Result<()> {
        let write = || {
            if let Some(folder) = self.request.parent() {
                std::fs::create_dir_all(folder)?;
            }
            replace(&self.request, &serde_json::to_vec(request)?, 0o644)
        };
        write().with_context(|| {
            format!(
                "cannot leave the request for the installer in {}: the agent must be allowed to write there, and the \
                 disk must have room",
                self.request.display()
            )
        })
    }

    /// Takes the request back.
    pub(crate) fn withdraw(&self) -> Result<()> {
        remove_if_present(&self.request).with_context(|| format!("cannot remove {}", self.request.display()))
    }
}

/// Puts another content in the place of a file, durably: a reader finds all of the one or all of the other.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    write_synced(&draft, content, mode)?;
    std::fs::rename(&draft, path)?;
    sync_folder(path)
}

/// The beginning of a plain file; `None` if there is none. What others put in its place, a link or a pipe, is refused.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
