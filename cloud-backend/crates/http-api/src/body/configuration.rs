//! Configurations of gateways.

use protocol::{
    ConfigurationFiles, ConfigurationState as State, ConfigurationVersion as Number, DriftChange, FilesDigest,
};
use serde::{Deserialize, Serialize};
use tenancy::{ConfigurationEntry, ConfigurationStanding, FileChange, FileDifference, ReceivedReport};
use utoipa::ToSchema;

use crate::instant::Instant;

/// How far the desired configuration of a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rollout {
    /// The cloud configures nothing; the gateway runs its own files.
    Unmanaged,
    /// The gateway did not say anything about the desired version yet.
    Pending,
    /// The gateway tries it.
    Trial,
    /// The gateway runs it.
    Applied,
    /// The gateway tried it and gave it up.
    RolledBack,
    /// The gateway cannot use it.
    Refused,
    /// Files were edited at the gateway; they are not overwritten.
    Drifted,
    /// Somebody at the gateway decided that its files stay as they are in its place; the next version replaces them.
    Adopted,
}

impl From<tenancy::Rollout> for Rollout {
    fn from(rollout: tenancy::Rollout) -> Self {
        match rollout {
            tenancy::Rollout::Unmanaged => Self::Unmanaged,
            tenancy::Rollout::Pending => Self::Pending,
            tenancy::Rollout::Trial => Self::Trial,
            tenancy::Rollout::Applied => Self::Applied,
            tenancy::Rollout::RolledBack => Self::RolledBack,
            tenancy::Rollout::Refused => Self::Refused,
            tenancy::Rollout::Drifted => Self::Drifted,
            tenancy::Rollout::Adopted => Self::Adopted,
        }
    }
}

/// What a gateway says about its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportedState {
    /// It runs files of its own.
    Local,
    /// It runs `version`.
    Current,
    /// It tries `version`.
    Trial,
    /// It gave `version` up.
    RolledBack,
    /// It cannot use `version`.
    Refused,
    /// Files were edited at the gateway.
    Drifted,
    /// Somebody at the gateway decided that its files stay as they are in place of `version`.
    Adopted,
}

impl From<State> for ReportedState {
    fn from(state: State) -> Self {
        match state {
            State::Local => Self::Local,
            State::Current => Self::Current,
            State::Trial => Self::Trial,
            State::RolledBack => Self::RolledBack,
            State::Refused => Self::Refused,
            State::Drifted => Self::Drifted,
            State::Adopted => Self::Adopted,
        }
    }
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Added,
    Changed,
    Removed,
}

impl From<DriftChange> for Change {
    fn from(change: DriftChange) -> Self {
        match change {
            DriftChange::Added => Self::Added,
            DriftChange::Changed => Self::Changed,
            DriftChange::Removed => Self::Removed,
        }
    }
}

impl From<FileChange> for Change {
    fn from(change: FileChange) -> Self {
        match change {
            FileChange::Added => Self::Added,
            FileChange::Changed => Self::Changed,
            FileChange::Removed => Self::Removed,
        }
    }
}

/// A machine file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineFile {
    /// Its name: 1 to 64 characters a-z 0-9 . _ - with a letter or digit first, then `.toml`.
    #[schema(example = "press-1.toml")]
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// The files as they are written in the API.
pub(crate) fn machine_files(files: &ConfigurationFiles) -> Vec<MachineFile> {
    files.iter().map(|(name, text)| MachineFile { name: name.to_owned(), text: text.to_owned() }).collect()
}

/// A version of a configuration, without its files. It never changes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ConfigurationVersion {
    /// Its number: 1, 2, 3 …
    pub(crate) version: u32,
    /// The user who saved it.
    pub(crate) author: String,
    /// Why.
    pub(crate) comment: String,
    /// When.
    pub(crate) created_at: Instant,
    /// SHA-256 of its files, 64 hexadecimal digits.
    pub(crate) digest: String,
    /// How many files it has.
    pub(crate) files: u32,
    /// The bytes of all of them.
    pub(crate) size_bytes: u64,
    /// The files edited at the gateway that it may replace: their digest, as reported; null if none.
    #[schema(required)]
    pub(crate) accept_drift: Option<String>,
    /// The version whose files it brings back; null if none.
    #[schema(required)]
    pub(crate) restores: Option<u32>,
}

impl From<ConfigurationEntry> for ConfigurationVersion {
    fn from(entry: ConfigurationEntry) -> Self {
        Self {
            version: entry.version.get(),
            author: entry.author,
            comment: entry.comment,
            created_at: entry.created_at.into(),
            digest: entry.digest.to_string(),
            files: entry.files,
            size_bytes: entry.size_bytes,
            accept_drift: entry.accept_drift.as_ref().map(FilesDigest::to_string),
            restores: entry.restores.map(Number::get),
        }
    }
}

/// A version with its files.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationContents {
    /// What is known of it.
    pub(crate) version: ConfigurationVersion,
    /// The machine files, by name.
    pub(crate) files: Vec<MachineFile>,
}

/// A file that differs from what was last applied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Drift {
    /// Its name at the gateway.
    pub(crate) file: String,
    /// What was done to it.
    pub(crate) change: Change,
}

/// What a gateway said last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationReport {
    /// When it came.
    pub(crate) received_at: Instant,
    /// How the gateway stands.
    pub(crate) state: ReportedState,
    /// The version that the state is about; null if none.
    #[schema(required)]
    pub(crate) version: Option<u32>,
    /// Why; empty if there is nothing to say.
    pub(crate) detail: String,
    /// The files that differ from what was last applied.
    pub(crate) drift: Vec<Drift>,
    /// The digest of the files as they are at the gateway: `accept_drift` of a version that may replace them.
    pub(crate) files_digest: String,
    /// The version of the agent.
    pub(crate) agent_version: String,
}

impl From<ReceivedReport> for ConfigurationReport {
    fn from(received: ReceivedReport) -> Self {
        let report = received.report;
        let drift = report.drift.into_iter().map(|d| Drift { file: d.file, change: d.change.into() });
        Self {
            received_at: received.received_at.into(),
            state: report.state.into(),
            version: report.version.map(Number::get),
            detail: report.detail,
            drift: drift.collect(),
            files_digest: report.files_digest.to_string(),
            agent_version: report.agent_version,
        }
    }
}

/// How a gateway stands to what the cloud wants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationStatus {
    /// How far the desired version is.
    pub(crate) rollout: Rollout,
    /// The desired version, which is the newest; null while the cloud configures nothing.
    #[schema(required)]
    pub(crate) desired: Option<u32>,
    /// The version that the gateway last applied and did not take back; null if none.
    #[schema(required)]
    pub(crate) applied: Option<u32>,
    /// What the gateway said last; null if nothing.
    #[schema(required)]
    pub(crate) report: Option<ConfigurationReport>,
}

impl From<ConfigurationStanding> for ConfigurationStatus {
    fn from(standing: ConfigurationStanding) -> Self {
        Self {
            rollout: standing.rollout().into(),
            desired: standing.desired.as_ref().map(|entry| entry.version.get()),
            applied: standing.received.as_ref().and_then(|r| r.report.applied).map(Number::get),
            report: standing.received.map(ConfigurationReport::from),
        }
    }
}

/// The configuration of a gateway: what it should run, and what it runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayConfiguration {
    /// How far it is.
    pub(crate) status: ConfigurationStatus,
    /// What it should run; null while the cloud configures nothing.
    #[schema(required)]
    pub(crate) desired: Option<ConfigurationContents>,
}

/// What becomes the next version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigurationRequest {
    /// All machine files, in any order; files that are not here go.
    pub(crate) files: Vec<MachineFile>,
    /// Why, for the history; at most 1,024 bytes.
    #[serde(default)]
    pub(crate) comment: String,
    /// `files_digest` of the gateway's report, to replace files that were edited there.
    #[serde(default)]
    pub(crate) accept_drift: Option<String>,
}

/// Which version comes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    /// Its number.
    pub(crate) version: u32,
    /// Why, for the history; at most 1,024 bytes.
    #[serde(default)]
    pub(crate) comment: String,
}

/// A file that differs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Difference {
    /// Its name.
    pub(crate) file: String,
    /// What happens to it.
    pub(crate) change: Change,
    /// The lines, in the unified format.
    pub(crate) unified: String,
}

impl From<FileDifference> for Difference {
    fn from(difference: FileDifference) -> Self {
        let FileDifference { file, change, unified } = difference;
        Self { file, change: change.into(), unified }
    }
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationDiff {
    /// The earlier version; 0 for none.
    pub(crate) from: u32,
    /// The later version.
    pub(crate) to: u32,
    /// The files that differ, by name.
    pub(crate) differences: Vec<Difference>,
}

/// What a request to change the configuration did, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigurationOutcome {
    /// Whether a version was saved: not for a dry run, nor if nothing changes.
    pub(crate) saved: bool,
    /// The desired version as it now is; null if there is none.
    #[schema(required)]
    pub(crate) desired: Option<ConfigurationVersion>,
    /// What changes, by name of the file.
    pub(crate) differences: Vec<Difference>,
}
