//! The last configuration that ran well, kept for the day on which the files are not there, are empty or do not parse:
//! after a power cut, or after an edit before a restart that nobody watches.
//!
//! One file, `configuration.good`, JSON: `version` 1, `folder` (of the files), `saved_at_ms`, `texts` (path below the
//! folder to content). It is written under another name, synced and renamed, so that there is always a whole one. It
//! has mode 0600, as configurations may hold passwords of machines. The files of the technician are never written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_config::{AgentConfig, Sources};
use plant_model::Timestamp;
use serde::{Deserialize, Serialize};
use service_kit::{Clock, sync_folder, write_synced};
use tokio_util::sync::CancellationToken;

use crate::configuration::ConfigurationDesk;

const NAME: &str = "configuration.good";
const VERSION: u32 = 1;

/// Far beyond a thousand machine files.
const BYTES_MAX: u64 = 64 << 20;

/// Where the copy lies.
#[derive(Debug, Clone)]
pub(crate) struct GoodCopy {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    folder: PathBuf,
    saved_at_ms: i64,
    texts: BTreeMap<String, String>,
}

impl GoodCopy {
    /// The copy in a folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    /// Where the copy for a folder of files lies: in the folder for state, or beside the buffer if its path can be read.
    pub(crate) fn of_files(files: &Path, state: Option<&Path>) -> Option<Self> {
        let beside_buffer = || {
            let agent = edge_config::load_agent(files).ok()?;
            Some(crate::floor::state_folder(&agent).to_owned())
        };
        state.map(Path::to_owned).or_else(beside_buffer).map(|folder| Self::in_folder(&folder))
    }

    /// Keeps files that ran well.
    pub(crate) fn save(&self, sources: &Sources, now: Timestamp) -> Result<()> {
        let stored = Stored {
            version: VERSION,
            folder: absolute(sources.folder()),
            saved_at_ms: now.millis(),
            texts: sources.texts().clone(),
        };
        let draft = self.path.with_extension("draft");
        write_synced(&draft, &serde_json::to_vec(&stored)?, 0o600)
            .and_then(|()| std::fs::rename(&draft, &self.path))
            .and_then(|()| sync_folder(&self.path))
            .with_context(|| format!("cannot keep the configuration in {}", self.path.display()))
    }

    /// The configuration that ran well last, for the gateway that these files are about as far as they say.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub(crate) fn load(&self, files: &Path) -> Result<(AgentConfig, Sources)> {
        let path = self.path.display();
        let size = std::fs::metadata(&self.path).with_context(|| format!("there is no {path}"))?.len();
        ensure!(size <= BYTES_MAX, "{path} has {size} bytes; at most {BYTES_MAX} are read");
        let stored = std::fs::read(&self.path).with_context(|| format!("{path} cannot be read"))?;
        let stored: Stored = serde_json::from_slice(&stored).with_context(|| format!("{path} is damaged"))?;
        ensure!(stored.version == VERSION, "{path} is of another version of the agent: {}", stored.version);
        let folder = absolute(files);
        ensure!(stored.folder == folder, "{path} is of the files in {}", stored.folder.display());
        let sources = Sources::kept(files.to_owned(), stored.texts);
        let config = sources.config().with_context(|| format!("{path} is not understood any more"))?;
        if let Ok(agent) = edge_config::load_agent(files) {
            let is_same = (&agent.tenant, &agent.gateway) == (&config.tenant, &config.gateway);
            ensure!(is_same, "{path} is of the gateway {}/{}", config.tenant, config.gateway);
        }
        Ok((config, sources))
    }
}

fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// Keeps each configuration that was in use for `proven`, and while all was well, until `stop` is cancelled.
pub(crate) async fn keep_good(
    copy: GoodCopy,
    desk: Arc<ConfigurationDesk>,
    is_well: impl Fn() -> bool,
    (proven, clock): (Duration, Clock),
    stop: CancellationToken,
) {
    let mut loaded = desk.follow();
    let mut kept = String::new();
    loop {
        let current = loaded.borrow_and_update().clone();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = loaded.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = tokio::time::sleep(proven), if kept != current.status.digest => {}
        }
        if is_well() {
            match copy.save(&current.sources, clock.wall()) {
                Ok(()) => tracing::info!(
                    digest = current.status.digest,
                    "the configuration has run well and is kept"
                ),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the next start would have no good copy")
                }
            }
            // What cannot be kept now is tried again with the next configuration: one event, not one after another.
            kept = current.status.digest;
        }
    }
}

#[cfg(test)]
mod tests;
