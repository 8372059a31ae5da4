//! `edge-agent buffer`: what the buffer holds, whether it is sound, and its way out of a gateway that never comes back.
//!
//! A file is only ever read. A running agent has its file locked; what can be told beside it, it tells itself.

mod export;
mod gaps;
mod parquet;
mod ranges;
mod rows;
mod status;
mod table_file;
#[cfg(test)]
mod tests;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use edge_config::AgentConfig;
use edge_store::{BufferReader, StoreError};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Sequence, StreamId};
use serde::de::DeserializeOwned;

use super::{Found, local, runtime};
use crate::buffer_key;
use crate::cli::{BufferCommand, BufferTarget};

/// Where the configuration lies if nobody says it.
const CONFIG_FOLDER: &str = "/etc/edge-agent";

pub(crate) fn run(command: &BufferCommand) -> Result<Found> {
    match command {
        BufferCommand::Status(arguments) => status::run(arguments),
        BufferCommand::Verify(arguments) => verify::run(arguments),
        BufferCommand::Export(arguments) => export::run(arguments),
        BufferCommand::Gaps(arguments) => gaps::run(arguments),
    }
}

/// A buffer to look at.
struct Source {
    config: Option<AgentConfig>,
    path: PathBuf,
    key_file: Option<PathBuf>,
}

impl Source {
    fn of(target: &BufferTarget) -> Result<Self> {
        let folder = match (&target.config, &target.file) {
            (None, Some(_)) => None,
            (folder, _) => Some(folder.clone().unwrap_or_else(|| CONFIG_FOLDER.into())),
        };
        let config = folder.map(|folder| edge_config::load(&folder)).transpose()?;
        let configured = config.as_ref().map(|config| config.buffer.path.clone());
        let path = target.file.clone().or(configured).context("name a buffer with --config or --file")?;
        let key_file = config.as_ref().and_then(|config| config.buffer.key_file.clone());
        Ok(Self { config, path, key_file: target.key_file.clone().or(key_file) })
    }

    /// The file, with its key not yet tried.
    fn locked(&self) -> Result<BufferReader, StoreError> {
        BufferReader::open(&self.path)
    }

    /// The file with its messages readable.
    fn open(&self) -> Result<BufferReader> {
        let mut reader = match self.locked() {
            Err(StoreError::InUse { path }) => bail!(
                "a running agent has {} locked: stop it (systemctl stop edge-agent) and start it afterwards, it goes \
                 on where it was; `buffer status` and `buffer gaps` work beside it",
                path.display()
            ),
            opened => opened?,
        };
        reader.unseal(buffer_key::load(self.key_file.as_deref())?.as_ref())?;
        Ok(reader)
    }

    /// What the size of a configured buffer may become.
    fn bytes_max(&self) -> Option<u64> {
        let buffer = &self.config.as_ref()?.buffer;
        (buffer.path == self.path).then_some(buffer.bytes_max)
    }

    /// Asks the agent that has the file locked.
    fn ask<T: DeserializeOwned>(&self, status: Option<SocketAddr>, path: &str) -> Result<T> {
        let configured = self.config.as_ref().and_then(|config| config.status.listen);
        let Some(address) = status.or(configured).filter(|address| address.port() != 0) else {
            bail!(
                "a running agent has {} locked and its status interface is not known: give --status with its address \
                 ([status] listen of its configuration), or stop the agent (systemctl stop edge-agent)",
                self.path.display()
            );
        };
        let body = runtime()?.block_on(local::get(address, path))?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{address}{path} is not the status interface of this version"))
    }
}

/// How many batches the streams hold, as far as they can be counted.
fn batches(reader: &BufferReader, streams: &[StreamId]) -> u64 {
    let mut total = 0;
    for stream in streams {
        let mut from = Some(Sequence::ZERO);
        while let Some(start) = from {
            let Ok(tally) = reader.tally(*stream, start, plant_model::Timestamp::from_micros(0)) else {
                break;
            };
            total += tally.acknowledged.batches + tally.waiting.batches;
            from = tally.next;
        }
    }
    total
}

/// A bar that appears on a terminal only.
fn progress(batches: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} batches  {elapsed}, {eta} to go");
    let bar = ProgressBar::new(batches);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
