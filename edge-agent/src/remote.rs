//! Machine files from the backend (SPEC section 13): fetched, checked, put into `machines.d/`, tried, and taken back if
//! what was good before does not become good again. The decisions are those of `remote_configuration`.
//!
//! Two tasks share the work. The courier speaks with the backend and never touches a file; the keeper owns the files and
//! the record and never waits for the network, so that a trial is judged in time whatever the uplink does.

mod book;
mod check;
mod courier;
mod folder;
mod keeper;
#[cfg(test)]
mod kill;
mod plant;
mod recovery;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_config::{AgentConfig, Sources};
use gateway_identity::{ConfigurationClient, IdentityFiles, Verifier};
use plant_model::Timestamp;
use protocol::{ConfigurationReport, ConfigurationVersion};
use remote_configuration::Version;
use service_kit::Clock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use book::{Book, Request};
pub(crate) use folder::Folder;
pub(crate) use plant::RunningPlant;
pub(crate) use recovery::recover;
pub(crate) use status::{RemoteDesk, RemoteStatus};

use courier::Courier;
use keeper::{Keeper, Plant};

/// What the courier brings.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// The backend was asked: it wants what is known, or nothing.
    Nothing,
    /// It wants this version, which is signed as it should be.
    Wanted(Box<Version>),
    /// It wants a version that is not to be trusted.
    Untrusted(ConfigurationVersion, String),
}

/// What the keeper tells the courier.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// What need not be fetched again.
    newest: Option<ConfigurationVersion>,
    report: ConfigurationReport,
}

/// What the remote configuration works with.
pub(crate) struct Parts<P> {
    /// The folder of the configuration.
    pub folder: PathBuf,
    pub plant: P,
    pub clock: Clock,
    /// It is not earlier.
    pub floor: Timestamp,
    pub desk: Arc<RemoteDesk>,
}

/// Follows the configuration of the backend until `stop` is cancelled, if that is configured.
pub(crate) fn spawn<P: Plant>(config: &AgentConfig, parts: Parts<P>, stop: &CancellationToken) {
    let Some(uplink) = config.uplink.as_ref().filter(|_| config.remote.configuration) else { return };
    let Some(cloud) = uplink.renewal_url.clone() else { return };
    let files = IdentityFiles { certificate: uplink.certificate_file.clone(), roots: uplink.ca_file.clone() };
    let Parts { folder, plant, clock, floor, desk } = parts;
    let verifier = Verifier {
        tenant: config.tenant.clone(),
        gateway: config.gateway.clone(),
        files: files.clone(),
        clock,
        floor,
    };
    // One at a time: the courier waits until the keeper has heard the last.
    let (words, heard) = mpsc::channel(1);
    let (told, tidings) = watch::channel(None);
    let client = ConfigurationClient { cloud, files, time: tls_kit::TlsTime { clock, floor } };
    let courier = Courier { client, verifier, words, tidings, desk: Arc::clone(&desk), clock };
    tokio::spawn(courier.run(stop.clone()));
    let keeper = Keeper::new(Book::of(config), folder, plant, config.remote.trial, clock, told, desk);
    let (handle, stop) = (tokio::runtime::Handle::current(), stop.clone());
    // A thread of its own: it writes files and waits until they are on the medium.
    tokio::task::spawn_blocking(move || handle.block_on(keeper.run(heard, stop)));
}

/// The configuration of a gateway that waits for its first machine files: it runs without machines.
pub(crate) fn awaits_machines(root: &Path) -> Option<(AgentConfig, Sources)> {
    let files = Folder::of(root).read().ok()?;
    let texts = Sources::read(root).texts().clone();
    let sources = Sources::kept(root.to_owned(), texts);
    let config = sources.config().ok()?;
    let is_new = Book::of(&config).load().ok()?.newest().is_none();
    (files.is_empty() && config.remote.configuration && is_new).then_some((config, sources))
}
