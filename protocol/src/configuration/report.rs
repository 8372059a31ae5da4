//! What a gateway says about its configuration.

use super::{
    CONFIGURATION_FILES_MAX, ConfigurationError, ConfigurationVersion, Deserialize, FilesDigest,
    REPORT_DETAIL_BYTES_MAX, REPORT_NAME_BYTES_MAX, Serialize, limit,
};

/// How a gateway stands to what the cloud wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationState {
    /// It runs the files of a person; nothing has come from the cloud.
    Local,
    /// It runs `version`.
    Current,
    /// It runs `version` and watches whether it does well.
    Trial,
    /// `version` did not do well; the files before it are back.
    RolledBack,
    /// `version` was not applied; `detail` says why.
    Refused,
    /// `version` was not applied, because somebody edited files at the gateway.
    Drifted,
    /// Somebody at the gateway decided that its files stay as they are in place of `version`.
    Adopted,
}

impl ConfigurationState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Local,
        Self::Current,
        Self::Trial,
        Self::RolledBack,
        Self::Refused,
        Self::Drifted,
        Self::Adopted,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Current => "current",
            Self::Trial => "trial",
            Self::RolledBack => "rolled_back",
            Self::Refused => "refused",
            Self::Drifted => "drifted",
            Self::Adopted => "adopted",
        }
    }
}

/// What a person did to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftChange {
    /// It is there, and was not applied.
    Added,
    /// It is not as it was applied.
    Changed,
    /// It was applied, and is gone.
    Removed,
}

/// A file that differs from what was last applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedFile {
    /// Its name in `machines.d/`, whatever a person called it.
    pub file: String,
    /// What was done to it.
    pub change: DriftChange,
}

/// What a gateway says about its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub struct ConfigurationReport {
    /// How it stands.
    pub state: ConfigurationState,
    /// The version that `state` is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ConfigurationVersion>,
    /// The version that was last applied and not taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<ConfigurationVersion>,
    /// For people: the problems by file and line, the machine that did not come back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The files that differ from `applied`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftedFile>,
    /// The digest of the files as they are at the gateway: what `accept_drift` must name to replace them.
    pub files_digest: FilesDigest,
    /// The version of the agent.
    pub agent_version: String,
}

impl ConfigurationReport {
    /// The same within the limits of the protocol: what is too long is cut, with `…` at the end of a text.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        clip(&mut self.detail, REPORT_DETAIL_BYTES_MAX);
        clip(&mut self.agent_version, REPORT_NAME_BYTES_MAX);
        self.drift.truncate(CONFIGURATION_FILES_MAX);
        self.drift.iter_mut().for_each(|drifted| clip(&mut drifted.file, REPORT_NAME_BYTES_MAX));
        self
    }
}

/// Cuts a text that is too long, with `…` at its end.
pub(crate) fn clip(text: &mut String, bytes: usize) {
    const MARK: &str = "…";
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - MARK.len()));
        text.push_str(MARK);
    }
}

/// As it is read from JSON; a field that is not known is left out.
#[derive(Deserialize)]
struct Wire {
    state: ConfigurationState,
    version: Option<ConfigurationVersion>,
    applied: Option<ConfigurationVersion>,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    drift: Vec<DriftedFile>,
    files_digest: FilesDigest,
    agent_version: String,
}

impl TryFrom<Wire> for ConfigurationReport {
    type Error = ConfigurationError;

    fn try_from(wire: Wire) -> Result<Self, ConfigurationError> {
        let Wire { state, version, applied, detail, drift, files_digest, agent_version } = wire;
        limit("bytes of the detail of a report", detail.len(), REPORT_DETAIL_BYTES_MAX)?;
        limit("files of a report", drift.len(), CONFIGURATION_FILES_MAX)?;
        limit("bytes of the agent's version", agent_version.len(), REPORT_NAME_BYTES_MAX)?;
        for drifted in &drift {
            limit("bytes of the name of a file", drifted.file.len(), REPORT_NAME_BYTES_MAX)?;
        }
        Ok(Self { state, version, applied, detail, drift, files_digest, agent_version })
    }
}
