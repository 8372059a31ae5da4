//! How updates stand, for the status interface.

use std::sync::{Mutex, PoisonError};

use plant_model::Timestamp;
use protocol::UpdateReport;
use serde::Serialize;
use tokio::sync::Notify;

/// How updates stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UpdateStatus {
    /// As it is reported to the backend: `idle`, `requested`, `installing`, `verifying`, `done`, `rolled_back`,
    /// `failed`, `refused` or `unsupported`.
    pub state: &'static str,
    pub channel: String,
    /// The version that the backend wants.
    pub desired: Option<String>,
    pub detail: String,
    /// When the backend answered last, milliseconds since 1970 UTC.
    pub last_contact_ms: Option<i64>,
    /// Why it did not since.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    report: Option<UpdateReport>,
    contact: Option<Timestamp>,
    error: Option<String>,
}

/// Knows how updates stand, and passes on that the backend may want another version.
#[derive(Debug, Default)]
pub(crate) struct UpdateDesk {
    is_enabled: bool,
    known: Mutex<Known>,
    nudged: Notify,
}

impl UpdateDesk {
    pub(crate) fn new(is_enabled: bool) -> Self {
        Self { is_enabled, ..Self::default() }
    }

    /// Whether it makes sense to look for this version; why not, for people.
    pub(crate) fn admits(&self, version: &str) -> Result<(), String> {
        if !self.is_enabled {
            return Err("this gateway is not updated from here: [update] enabled = false in its agent.toml"
                .to_owned());
        }
        if version == crate::version::running() {
            return Err(format!("version {version} runs already"));
        }
        Ok(())
    }

    pub(crate) fn nudge(&self) {
        self.nudged.notify_one();
    }

    pub(super) async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// What is reported to the backend is what is shown.
    pub(super) fn stands(&self, report: UpdateReport) {
        self.with(|known| known.report = Some(report));
    }

    pub(super) fn answered(&self, now: Timestamp) {
        self.with(|known| (known.contact, known.error) = (Some(now), None));
    }

    /// Whether that is news.
    pub(super) fn silent(&self, error: String) -> bool {
        self.with(|known| known.error.replace(error.clone()) != Some(error))
    }

    /// `None` where the backend is not told of updates.
    pub(crate) fn status(&self) -> Option<UpdateStatus> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let report = known.report.as_ref()?;
        Some(UpdateStatus {
            state: report.state.as_str(),
            channel: report.channel.to_string(),
            desired: report.desired.as_ref().map(|desired| desired.version.to_string()),
            detail: report.detail.clone(),
            last_contact_ms: known.contact.map(Timestamp::millis),
            error: known.error.clone(),
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_update_is_refused_with_the_reason_where_it_cannot_do_anything() {
        let running = crate::version::running();
        let refused = UpdateDesk::new(false).admits("9.9").expect_err("not enabled");
        assert!(refused.contains("[update] enabled = false"), "{refused}");
        let refused = UpdateDesk::new(true).admits(running).expect_err("it runs");
        assert!(refused.contains("runs already"), "{refused}");
        assert_eq!(UpdateDesk::new(true).admits("9.9"), Ok(()));
    }
}
