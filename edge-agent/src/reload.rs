//! Another configuration without a stop.
//!
//! What is asked for by SIGHUP, by `edge-agent reload` and by the backend comes together here: one change at a time, read
//! and checked as a whole before anything is touched. What is refused changes nothing; it is said once, and shown until a
//! configuration is accepted. Identity, uplink, buffer and status interface are settled at the start: a configuration
//! that changes them needs a restart, and until then nothing of it is applied.

mod reach;
pub(crate) mod web;

use std::path::PathBuf;
use std::sync::Arc;

use alarm_engine::EngineError;
use edge_config::{AgentConfig, ConfigErrors, MachineConfig, Sources};
use edge_store::StoreError;
use plant_model::MachineId;
use sd_notify::NotifyState;
use service_kit::Clock;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::configuration::{ConfigurationDesk, Origin};
use crate::floor::Floor;

/// What a change came to, by machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub added: Vec<MachineId>,
    pub removed: Vec<MachineId>,
    /// Their settings are others, or they are read more or less often for the sake of alarms on their bus.
    pub changed: Vec<MachineId>,
}

impl Changes {
    /// What leads from some machines to others.
    pub(crate) fn between(before: &[MachineConfig], after: &[MachineConfig]) -> Self {
        let find = |machines: &'_ [MachineConfig], id: &MachineId| machines.iter().position(|m| m.id == *id);
        let is_added = |m: &&MachineConfig| find(before, &m.id).is_none();
        let is_changed =
            |m: &&MachineConfig| find(before, &m.id).is_some_and(|position| !before[position].is_same(m));
        let is_removed = |m: &&MachineConfig| find(after, &m.id).is_none();
        let ids = |machines: Vec<&MachineConfig>| machines.into_iter().map(|m| m.id.clone()).collect();
        Self {
            added: ids(after.iter().filter(is_added).collect()),
            removed: ids(before.iter().filter(is_removed).collect()),
            changed: ids(after.iter().filter(is_changed).collect()),
        }
    }

    /// Whether a machine of the new configuration is new or changed.
    pub(crate) fn touch(&self, machine: &MachineId) -> bool {
        self.added.contains(machine) || self.changed.contains(machine)
    }
}

/// Why a configuration is not in use. Nothing was changed, but for [`ReloadError::Output`].
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// It is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// It changes what is settled at the start.
    #[error("needs a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// An alarm is unsound, which the check of the configuration did not see.
    #[error(transparent)]
    Alarms(#[from] EngineError),
    /// Its tags cannot be numbered in the buffer.
    #[error("the buffer does not take new machines: {0}; see the state of the disk, then try again")]
    Store(#[from] StoreError),
    /// Its machines are in use, and an output is not.
    #[error("the machines are in use, but not all outputs: {0}")]
    Output(anyhow::Error),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

impl ReloadError {
    /// One line for each mistake.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            Self::Config(errors) => errors.0.iter().map(ToString::to_string).collect(),
            Self::NeedsRestart(_) | Self::Alarms(_) | Self::Store(_) | Self::Output(_) | Self::Stopping => {
                vec![self.to_string()]
            }
        }
    }
}

/// Brings configurations into use.
pub(crate) struct Reloader {
    folder: PathBuf,
    /// `None` once the agent stops.
    floor: Mutex<Option<Floor>>,
    desk: Arc<ConfigurationDesk>,
    clock: Clock,
}

impl Reloader {
    /// For a floor that runs; `folder` has the files of the configuration.
    pub(crate) fn new(folder: PathBuf, floor: Floor, desk: Arc<ConfigurationDesk>, clock: Clock) -> Self {
        Self { folder, floor: Mutex::new(Some(floor)), desk, clock }
    }

    /// Reads the files anew and brings them into use. Machines that are not changed miss no poll. What comes of it is logged
    /// and shown. One change is made at a time; once begun it is to be awaited to its end.
    ///
    /// # Errors
    /// See [`ReloadError`]: the old configuration is in use.
    pub(crate) async fn reload(&self) -> Result<Changes, ReloadError> {
        let mut floor = self.floor.lock().await;
        announce_reload();
        let sources = Sources::read(&self.folder);
        let outcome = match sources.config() {
            Ok(config) => apply(&mut floor, config).await,
            Err(errors) => Err(errors.into()),
        };
        drop(floor);
        // Nobody there to be told is no failure.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        match &outcome {
            Ok(changes) => {
                self.desk.loaded(sources, Origin::Files, self.clock.wall());
                tracing::info!(?changes.added, ?changes.removed, ?changes.changed, "another configuration is in use");
            }
            Err(error) => {
                let problems = error.problems();
                tracing::error!(?problems, "the new configuration is refused; the one before stays in use");
                self.desk.refused(problems, self.clock.wall());
            }
        }
        outcome
    }

    /// Takes the floor for the way down; a change under way ends first.
    pub(crate) async fn close(&self) -> Option<Floor> {
        self.floor.lock().await.take()
    }
}

async fn apply(
    floor: &mut MutexGuard<'_, Option<Floor>>,
    config: AgentConfig,
) -> Result<Changes, ReloadError> {
    let floor = floor.as_mut().ok_or(ReloadError::Stopping)?;
    let settled = floor.config().map(|running| settled(running, &config)).unwrap_or_default();
    if !settled.is_empty() {
        return Err(ReloadError::NeedsRestart(settled));
    }
    floor.apply(config).await
}

/// What differs of that which is settled at the start.
fn settled(running: &AgentConfig, new: &AgentConfig) -> Vec<&'static str> {
    let AgentConfig {
        tenant,
        gateway,
        uplink,
        buffer,
        remote,
        update,
        status,
        alarm_latency_budget: _,
        silent_units: _,
        outputs: _,
        machines: _,
        raised: _,
        commands: _,
    } = running;
    let differs = [
        ("tenant", *tenant != new.tenant),
        ("gateway", *gateway != new.gateway),
        ("[uplink]", *uplink != new.uplink),
        ("[buffer]", *buffer != new.buffer),
        ("[status]", *status != new.status),
        ("[remote]", *remote != new.remote),
        ("[update]", *update != new.update),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// As `Type=notify-reload` of systemd wants it; `READY=1` follows when the reload has ended.
fn announce_reload() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        // Nobody there to be told is no failure.
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Reloads at every SIGHUP, for as long as it is polled.
pub(crate) async fn follow_hangups(reloader: Arc<Reloader>, mut hangups: tokio::signal::unix::Signal) {
    while hangups.recv().await.is_some() {
        // Logged and shown there.
        let _ = reloader.reload().await;
    }
}

#[cfg(test)]
mod tests;
