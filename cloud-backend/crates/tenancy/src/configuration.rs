//! The configurations of gateways as the cloud keeps them (SPEC section 13).
//!
//! Invariants
//! - A version never changes; the newest is the desired one, and going back is a new version with old files.
//! - A version is saved only on top of the one that its author saw: of two who edit at a time, the second is
//!   told.
//! - Who saved what, when and why stays with the version: it is the audit trail.

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{
    ConfigurationFiles, ConfigurationReport, ConfigurationState, ConfigurationVersion, FilesDigest,
};

use crate::{PortFuture, StoreError};

/// Versions of a gateway that are kept, the newest: years of changes; older ones go when new ones come.
pub const CONFIGURATION_VERSIONS_KEPT: u32 = 1_000;

/// A version without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationEntry {
    /// Its number.
    pub version: ConfigurationVersion,
    /// Who saved it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When.
    pub created_at: Timestamp,
    /// The digest of its files.
    pub digest: FilesDigest,
    /// How many files it has.
    pub files: u32,
    /// The bytes of all of them.
    pub size_bytes: u64,
    /// The files edited at the gateway that it may replace.
    pub accept_drift: Option<FilesDigest>,
    /// The version whose files it brings back.
    pub restores: Option<ConfigurationVersion>,
}

/// A version with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConfiguration {
    /// What is known of it.
    pub entry: ConfigurationEntry,
    /// The machine files.
    pub files: ConfigurationFiles,
}

/// What becomes the next version of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConfiguration {
    /// The customer.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The newest version that its author saw; `None` if there was none.
    pub replaces: Option<ConfigurationVersion>,
    /// The machine files.
    pub files: ConfigurationFiles,
    /// The files edited at the gateway that it may replace.
    pub accept_drift: Option<FilesDigest>,
    /// The version whose files it brings back.
    pub restores: Option<ConfigurationVersion>,
    /// Who saves it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When.
    pub created_at: Timestamp,
}

impl NewConfiguration {
    /// What is known of it once it is that version.
    #[must_use]
    pub fn entry(&self, version: ConfigurationVersion) -> ConfigurationEntry {
        ConfigurationEntry {
            version,
            author: self.author.clone(),
            comment: self.comment.clone(),
            created_at: self.created_at,
            digest: self.files.digest(),
            files: u32::try_from(self.files.len()).unwrap_or(u32::MAX),
            size_bytes: self.files.iter().map(|(_, text)| text.len() as u64).sum(),
            accept_drift: self.accept_drift,
            restores: self.restores,
        }
    }
}

/// Somebody else was faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigurationConflict {
    /// The newest version there is.
    pub newest: Option<ConfigurationVersion>,
}

/// What a gateway said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedReport {
    /// What it said.
    pub report: ConfigurationReport,
    /// When it came, by the clock of the backend.
    pub received_at: Timestamp,
}

/// How far a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationStanding {
    /// The newest version; `None` while the cloud configures nothing.
    pub desired: Option<ConfigurationEntry>,
    /// What the gateway said last.
    pub received: Option<ReceivedReport>,
}

/// How far the desired version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rollout {
    /// The cloud configures nothing.
    Unmanaged,
    /// The gateway did not say anything about it yet.
    Pending,
    /// The gateway tries it.
    Trial,
    /// The gateway runs it.
    Applied,
    /// The gateway tried it and gave it up.
    RolledBack,
    /// The gateway cannot use it.
    Refused,
    /// Somebody edited files at the gateway; they are not overwritten.
    Drifted,
    /// Somebody at the gateway decided that its files stay as they are in its place.
    Adopted,
}

impl Rollout {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmanaged => "unmanaged",
            Self::Pending => "pending",
            Self::Trial => "trial",
            Self::Applied => "applied",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
            Self::Drifted => "drifted",
            Self::Adopted => "adopted",
        }
    }
}

impl ConfigurationStanding {
    /// How far the desired version is. What a gateway said about another version says nothing about this one.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        let Some(desired) = &self.desired else { return Rollout::Unmanaged };
        let report = self.received.as_ref().map(|received| &received.report);
        let Some(report) = report.filter(|report| report.version == Some(desired.version)) else {
            return Rollout::Pending;
        };
        match report.state {
            ConfigurationState::Local => Rollout::Pending,
            ConfigurationState::Current => Rollout::Applied,
            ConfigurationState::Trial => Rollout::Trial,
            ConfigurationState::RolledBack => Rollout::RolledBack,
            ConfigurationState::Refused => Rollout::Refused,
            ConfigurationState::Drifted => Rollout::Drifted,
            ConfigurationState::Adopted => Rollout::Adopted,
        }
    }
}

/// A mistake in a machine file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationProblem {
    /// The file it is in.
    pub file: String,
    /// Its line, from 1; `None` when it concerns the whole file.
    pub line: Option<u64>,
    /// What is wrong, with the key and its value, and what is allowed.
    pub message: String,
}

/// Looks for mistakes in machine files, by the code that the agent reads them with.
pub trait MachineCheck: Send + Sync {
    /// All mistakes, by file and line. What depends on the gateway's own `agent.toml` is not among them.
    fn problems(&self, files: &ConfigurationFiles) -> Vec<ConfigurationProblem>;
}

/// Durable configurations and reports. A write is durable when its future is ready.
pub trait ConfigurationStore: Send + Sync {
    /// Saves the next version of a gateway, unless it replaces another one than its author saw.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the gateway.
    fn save_configuration(
        &self,
        new: NewConfiguration,
    ) -> PortFuture<'_, Result<Result<ConfigurationEntry, ConfigurationConflict>, StoreError>>;

    /// A version, or the newest one if none is named.
    fn configuration<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        version: Option<ConfigurationVersion>,
    ) -> PortFuture<'a, Result<Option<StoredConfiguration>, StoreError>>;

    /// Versions below `before`, or all, the newest first; at most `limit`.
    fn configurations<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        before: Option<ConfigurationVersion>,
        limit: u32,
    ) -> PortFuture<'a, Result<Vec<ConfigurationEntry>, StoreError>>;

    /// The newest version of each gateway of a tenant that has one, by id. It costs little: it is asked every second.
    fn newest_configurations<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationVersion)>, StoreError>>;

    /// Keeps what a gateway says, in the place of what it said before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the gateway.
    fn save_configuration_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedReport,
    ) -> PortFuture<'_, Result<(), StoreError>>;

    /// How far each registered gateway of a tenant is, by id; none for an unknown tenant.
    fn configuration_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationStanding)>, StoreError>>;

    /// How far a gateway is; `None` if it is not registered.
    fn configuration_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<ConfigurationStanding>, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u32) -> ConfigurationEntry {
        ConfigurationEntry {
            version: ConfigurationVersion::new(version).expect("above 0"),
            author: "anna".to_owned(),
            comment: String::new(),
            created_at: Timestamp::from_micros(0),
            digest: FilesDigest([0; 32]),
            files: 1,
            size_bytes: 1,
            accept_drift: None,
            restores: None,
        }
    }

    fn said(version: u32, state: ConfigurationState) -> ReceivedReport {
        let report = ConfigurationReport {
            state,
            version: ConfigurationVersion::new(version),
            applied: None,
            detail: String::new(),
            drift: Vec::new(),
            files_digest: FilesDigest([0; 32]),
            agent_version: "0.1.0".to_owned(),
        };
        ReceivedReport { report, received_at: Timestamp::from_micros(0) }
    }

    #[test]
    fn what_a_gateway_says_counts_for_the_version_it_is_about() {
        let standing = |desired: Option<u32>, received| {
            ConfigurationStanding { desired: desired.map(entry), received }.rollout()
        };
        assert_eq!(standing(None, Some(said(1, ConfigurationState::Current))), Rollout::Unmanaged);
        assert_eq!(standing(Some(2), None), Rollout::Pending);
        assert_eq!(standing(Some(2), Some(said(0, ConfigurationState::Local))), Rollout::Pending);
        assert_eq!(standing(Some(2), Some(said(1, ConfigurationState::Current))), Rollout::Pending);
        for (state, rollout) in [
            (ConfigurationState::Current, Rollout::Applied),
            (ConfigurationState::Trial, Rollout::Trial),
            (ConfigurationState::RolledBack, Rollout::RolledBack),
            (ConfigurationState::Refused, Rollout::Refused),
            (ConfigurationState::Drifted, Rollout::Drifted),
            (ConfigurationState::Adopted, Rollout::Adopted),
        ] {
            assert_eq!(standing(Some(2), Some(said(2, state))), rollout);
        }
    }
}
