//! How the remote configuration stands, for the status interface.

use std::sync::{Arc, Mutex, PoisonError};

use plant_model::Timestamp;
use protocol::{ConfigurationReport, ConfigurationState, DriftedFile};
use serde::Serialize;
use tokio::sync::Notify;

/// How the remote configuration stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RemoteStatus {
    /// `local`, `current`, `trial`, `rolled_back`, `refused`, `drifted` or `adopted`.
    pub state: &'static str,
    /// The version that `state` is about.
    pub version: Option<u32>,
    /// The version that runs, if one of the backend's does.
    pub applied: Option<u32>,
    pub detail: String,
    /// Files that were edited at the gateway.
    pub drift: Vec<DriftedFile>,
    /// When the backend answered last, milliseconds since 1970 UTC.
    pub last_contact_ms: Option<i64>,
    /// Why it did not since.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    report: Option<ConfigurationReport>,
    contact: Option<Timestamp>,
    error: Option<String>,
}

/// Knows how the remote configuration stands, and passes on that there may be a new version.
#[derive(Debug, Default)]
pub(crate) struct RemoteDesk {
    known: Mutex<Known>,
    nudged: Arc<Notify>,
}

impl RemoteDesk {
    /// To be notified when there may be a new version: the backend is asked at once. Without `[remote]` nobody hears it.
    pub(crate) fn nudges(&self) -> Arc<Notify> {
        Arc::clone(&self.nudged)
    }

    pub(super) fn nudge(&self) {
        self.nudged.notify_one();
    }

    pub(super) async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// What is reported to the backend is what is shown.
    pub(super) fn stands(&self, report: ConfigurationReport) {
        self.with(|known| known.report = Some(report));
    }

    pub(super) fn answered(&self, now: Timestamp) {
        self.with(|known| (known.contact, known.error) = (Some(now), None));
    }

    /// Whether that is news.
    pub(super) fn silent(&self, error: String) -> bool {
        self.with(|known| known.error.replace(error.clone()) != Some(error))
    }

    /// Whether what runs may yet be taken back.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.with(|known| known.report.as_ref().is_some_and(|r| r.state == ConfigurationState::Trial))
    }

    /// `None` where nothing comes from the backend.
    pub(crate) fn status(&self) -> Option<RemoteStatus> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let report = known.report.as_ref()?;
        Some(RemoteStatus {
            state: report.state.as_str(),
            version: report.version.map(|version| version.get()),
            applied: report.applied.map(|version| version.get()),
            detail: report.detail.clone(),
            drift: report.drift.clone(),
            last_contact_ms: known.contact.map(Timestamp::millis),
            error: known.error.clone(),
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
