//! The agent as its status interface shows it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_update::Look;
use anyhow::{Context as _, Result, ensure};
use remote_configuration::Health;
use serde::Deserialize;

use crate::cli::UpdateInstallArguments;
use crate::tools::local;
use crate::update::read_bounded;

/// Far beyond what `run --state-file` writes before it stops.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// Where to ask.
pub(super) enum Agent {
    At(SocketAddr),
    /// Each start of the agent says anew where.
    ByStateFile(PathBuf),
}

#[derive(Deserialize)]
struct State {
    status: Option<SocketAddr>,
}

#[derive(Deserialize)]
struct Shown {
    version: String,
    uptime_s: u64,
    machines: Vec<ShownMachine>,
    uplink: ShownUplink,
}

#[derive(Deserialize)]
struct ShownMachine {
    id: String,
    link_up: bool,
    link_reason: String,
}

#[derive(Deserialize)]
struct ShownUplink {
    connected: bool,
    last_error: String,
}

impl Agent {
    pub(super) fn new(arguments: &UpdateInstallArguments) -> Result<Self> {
        if let Some(file) = &arguments.state_file {
            return Ok(Self::ByStateFile(file.clone()));
        }
        let configured =
            || local::configured(&edge_config::load_agent(&arguments.config)?, &arguments.config);
        Ok(Self::At(arguments.status.map_or_else(configured, Ok)?))
    }

    pub(super) async fn look(&self) -> Look {
        match self.ask().await {
            Ok(shown) => answer(shown),
            Err(error) => Look::Silent(format!("{error:#}")),
        }
    }

    async fn ask(&self) -> Result<Shown> {
        let address = match self {
            Self::At(address) => *address,
            Self::ByStateFile(file) => address_in(file)?,
        };
        let body = local::get(address, "/status").await?;
        serde_json::from_slice(&body).with_context(|| format!("{address}/status answers what is no status"))
    }
}

/// Root asks this gateway alone.
fn address_in(file: &Path) -> Result<SocketAddr> {
    let told = || format!("{}: no agent says there where it answers", file.display());
    let bytes = read_bounded(file, STATE_BYTES_MAX).with_context(told)?.with_context(told)?;
    let state: State = serde_json::from_slice(&bytes).with_context(told)?;
    let address = state.status.with_context(told)?;
    ensure!(address.ip().is_loopback(), "{}: {address} is not on this gateway", file.display());
    Ok(address)
}

fn answer(shown: Shown) -> Look {
    let machines = shown.machines.into_iter().map(|machine| {
        let reason = (!machine.link_up).then_some(machine.link_reason);
        (machine.id, reason)
    });
    let uplink = (!shown.uplink.connected).then_some(shown.uplink.last_error);
    let health = Health { machines: machines.collect(), uplink };
    Look::Answer { version: shown.version, uptime: Duration::from_secs(shown.uptime_s), health }
}
