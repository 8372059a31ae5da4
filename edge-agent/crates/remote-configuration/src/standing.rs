//! What a gateway says about its configuration.

use protocol::{ConfigurationReport, ConfigurationState, ConfigurationVersion, DriftedFile};

use crate::files::{Files, digest};
use crate::record::{Record, Work};

/// How a gateway stands to what the backend wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In one word.
    pub state: ConfigurationState,
    /// The version that `state` is about.
    pub version: Option<ConfigurationVersion>,
    /// The version that runs, if one of the backend's does.
    pub applied: Option<ConfigurationVersion>,
    /// Why, for people.
    pub detail: String,
    /// The files that were edited at the gateway.
    pub drift: Vec<DriftedFile>,
}

impl Standing {
    /// With these files in the folder.
    #[must_use]
    pub fn of(record: &Record, actual: &Files) -> Self {
        let number = record.applied.as_ref().map(|version| version.number);
        // Files that were adopted are of nobody's version.
        let applied = number.filter(|_| !record.is_adopted);
        // Before anything came from the backend, no file is an edited one.
        let drift = if record.newest().is_some() { record.drift(actual) } else { Vec::new() };
        let waiting = record.waiting.as_ref().map(|version| version.number);
        let (state, version, detail) = if let Work::Applying(attempt) | Work::Trial(attempt) = &record.work {
            (ConfigurationState::Trial, Some(attempt.to.number), String::new())
        } else if let Some(refused) = &record.refused {
            (ConfigurationState::Refused, Some(refused.number), refused.detail.clone())
        } else if waiting.is_some() && !drift.is_empty() {
            (ConfigurationState::Drifted, waiting, edited(&drift))
        } else if let Some(failed) = &record.failed {
            (ConfigurationState::RolledBack, Some(failed.number), failed.detail.clone())
        } else if !drift.is_empty() {
            (ConfigurationState::Drifted, number, edited(&drift))
        } else if number.is_none() {
            (ConfigurationState::Local, None, String::new())
        } else if record.is_adopted {
            (ConfigurationState::Adopted, number, String::new())
        } else {
            (ConfigurationState::Current, number, String::new())
        };
        Self { state, version, applied, detail, drift }
    }

    /// The report of a gateway with these files.
    #[must_use]
    pub fn report(self, actual: &Files, agent_version: &str) -> ConfigurationReport {
        let Self { state, version, applied, detail, drift } = self;
        let agent_version = agent_version.to_owned();
        let files_digest = digest(actual);
        ConfigurationReport { state, version, applied, detail, drift, files_digest, agent_version }.clipped()
    }
}

fn edited(drift: &[DriftedFile]) -> String {
    format!(
        "{} file(s) of machines.d were edited at the gateway and are not written over; accept their digest with the \
         next version, or run `edge-agent config adopt` or `edge-agent config restore` there",
        drift.len()
    )
}
