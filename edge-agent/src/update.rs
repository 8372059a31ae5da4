//! Updates of the agent (SPEC section 14). The agent may not install anything: it asks the backend which version is
//! wanted, leaves a request for the installer, and reports what that one says. The installer is
//! `edge-agent update install`, which root runs. The decisions of both are those of `agent_update`.

mod files;
mod follow;
pub(crate) mod installer;
mod status;

use std::sync::Arc;

use edge_config::AgentConfig;
use gateway_identity::{IdentityFiles, UpdateClient};
use plant_model::Timestamp;
use protocol::AgentVersion;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

pub(crate) use files::{UpdateFiles, read_bounded, replace};
pub(crate) use status::{UpdateDesk, UpdateStatus};

use follow::Follower;

/// Follows what the backend wants until `stop` is cancelled. Where that is not enabled, the backend is told so.
pub(crate) fn spawn(
    config: &AgentConfig,
    (clock, floor): (Clock, Timestamp),
    desk: &Arc<UpdateDesk>,
    stop: &CancellationToken,
) {
    let Some(uplink) = config.uplink.as_ref() else { return };
    let Some(cloud) = uplink.renewal_url.clone() else { return };
    let running = match AgentVersion::new(crate::version::running()) {
        Ok(running) => running,
        Err(error) => return tracing::error!(%error, "this agent cannot be updated: its version has no name"),
    };
    let files = IdentityFiles { certificate: uplink.certificate_file.clone(), roots: uplink.ca_file.clone() };
    let client = UpdateClient { cloud, files, time: tls_kit::TlsTime { clock, floor } };
    let follower = Follower::new(client, running, (&config.update, UpdateFiles::of(config)), clock, desk);
    tokio::spawn(follower.run(stop.clone()));
}
