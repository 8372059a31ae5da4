//! Updates of the agent (SPEC section 14): which version is desired, and what a gateway says about it.
//!
//! Only a name travels, never a package: what it stands for comes from the package repository that the host of
//! the gateway trusts.

use std::fmt;
use std::str::FromStr;

use plant_model::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::AgentVersion;
use crate::configuration::clip;
use crate::limits::REPORT_DETAIL_BYTES_MAX;

/// Where a gateway gets its [`DesiredUpdate`]; the ETag is `"REVISION"`.
pub const UPDATE_PATH: &str = "/gateway/v1/update";
/// Where a gateway puts its [`UpdateReport`].
pub const UPDATE_REPORT_PATH: &str = "/gateway/v1/update/report";

/// Longest name of a channel, in characters.
const CHANNEL_CHARS_MAX: usize = 32;

/// The number of a wish for one gateway: 1, 2, 3 …. The same version under a new number is wished for again.
pub type UpdateRevision = std::num::NonZeroU32;

/// Where packages come from, as an operator calls it (`stable`): `[a-z0-9][a-z0-9-]{0,31}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpdateChannel(String);

/// A text is no name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no channel: 1 to {CHANNEL_CHARS_MAX} characters a-z 0-9 - are allowed, a letter or digit first"
)]
pub struct ChannelError {
    text: String,
}

impl UpdateChannel {
    /// Checks a text.
    ///
    /// # Errors
    /// It is no channel.
    pub fn new(text: &str) -> Result<Self, ChannelError> {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_right = text.len() <= CHANNEL_CHARS_MAX
            && text.starts_with(alphanumeric)
            && text.chars().all(|c| alphanumeric(c) || c == '-');
        if is_right {
            return Ok(Self(text.to_owned()));
        }
        Err(ChannelError { text: text.chars().take(80).collect() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for UpdateChannel {
    /// `stable`.
    fn default() -> Self {
        Self("stable".to_owned())
    }
}

impl fmt::Display for UpdateChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UpdateChannel {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for UpdateChannel {
    type Error = ChannelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<UpdateChannel> for String {
    fn from(channel: UpdateChannel) -> Self {
        channel.0
    }
}

/// What a gateway is to run. A field that is not known is left out when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredUpdate {
    /// The number of the wish.
    pub revision: UpdateRevision,
    /// The version of the agent.
    pub version: AgentVersion,
    /// Where it comes from.
    pub channel: UpdateChannel,
}

/// How far a gateway is with an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Nothing is desired, or nothing was begun yet.
    Idle,
    /// The host is asked to install it.
    Requested,
    /// The host installs it.
    Installing,
    /// It runs and is watched.
    Verifying,
    /// It runs and does well.
    Done,
    /// It did not do well; the version before runs again.
    RolledBack,
    /// It was not installed, and what ran before runs; or the version before could not be brought back.
    Failed,
    /// The gateway does not take it: another channel, for example.
    Refused,
    /// Updates are not enabled at the gateway.
    Unsupported,
}

impl UpdateState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Requested,
        Self::Installing,
        Self::Verifying,
        Self::Done,
        Self::RolledBack,
        Self::Failed,
        Self::Refused,
        Self::Unsupported,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Requested => "requested",
            Self::Installing => "installing",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What a gateway says about the version that it runs, and the one that is desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub struct UpdateReport {
    /// The version that runs.
    pub running: AgentVersion,
    /// Where the gateway takes packages from.
    pub channel: UpdateChannel,
    /// The wish that `state` is about; none while nothing is desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredUpdate>,
    /// How far it is.
    pub state: UpdateState,
    /// For people: why it was refused, what did not come back. At most 4 KiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When it was said, by the gateway's clock, microseconds since 1970.
    #[serde(rename = "at_us", with = "micros")]
    pub at: Timestamp,
}

impl UpdateReport {
    /// The same within the limits of the protocol: a detail that is too long is cut, with `…` at its end.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        clip(&mut self.detail, REPORT_DETAIL_BYTES_MAX);
        self
    }
}

/// Why something is no report of an update.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the detail of a report has {found} bytes, at most {REPORT_DETAIL_BYTES_MAX} are allowed")]
struct DetailTooLong {
    found: usize,
}

/// As it is read from JSON; a field that is not known is left out.
#[derive(Deserialize)]
struct Wire {
    running: AgentVersion,
    channel: UpdateChannel,
    desired: Option<DesiredUpdate>,
    state: UpdateState,
    #[serde(default)]
    detail: String,
    at_us: i64,
}

impl TryFrom<Wire> for UpdateReport {
    type Error = DetailTooLong;

    fn try_from(wire: Wire) -> Result<Self, DetailTooLong> {
        let Wire { running, channel, desired, state, detail, at_us } = wire;
        if detail.len() > REPORT_DETAIL_BYTES_MAX {
            return Err(DetailTooLong { found: detail.len() });
        }
        Ok(Self { running, channel, desired, state, detail, at: Timestamp::from_micros(at_us) })
    }
}

mod micros {
    use plant_model::Timestamp;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.micros())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn desired() -> DesiredUpdate {
        DesiredUpdate {
            revision: UpdateRevision::new(3).expect("above 0"),
            version: AgentVersion::new("1.2.0").expect("valid"),
            channel: UpdateChannel::default(),
        }
    }

    fn report() -> UpdateReport {
        UpdateReport {
            running: AgentVersion::new("1.1.0").expect("valid"),
            channel: UpdateChannel::new("beta-1").expect("valid"),
            desired: Some(desired()),
            state: UpdateState::RolledBack,
            detail: "press-1 did not come back".to_owned(),
            at: Timestamp::from_micros(1_790_000_000_000_001),
        }
    }

    #[test]
    fn a_report_is_written_as_the_specification_says_and_comes_back() {
        let written = json!({
            "running": "1.1.0", "channel": "beta-1",
            "desired": { "revision": 3, "version": "1.2.0", "channel": "stable" },
            "state": "rolled_back", "detail": "press-1 did not come back", "at_us": 1_790_000_000_000_001_i64,
        });
        assert_eq!(serde_json::to_value(report()).expect("writes"), written);
        assert_eq!(serde_json::from_value::<UpdateReport>(written).expect("reads"), report());
    }

    #[test]
    fn every_state_has_the_name_that_travels_and_short_forms_and_new_fields_are_read() {
        for state in UpdateState::ALL {
            let short = json!({
                "running": "1", "channel": "stable", "state": state.as_str(), "at_us": 0, "new": [1]
            });
            let read: UpdateReport = serde_json::from_value(short).expect("reads");
            assert_eq!((read.state, read.desired, read.detail.as_str()), (state, None, ""));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_when_it_is_read() {
        let right = serde_json::to_value(report()).expect("writes");
        for (pointer, wrong) in [
            ("/running", json!("--help")),
            ("/channel", json!("Stable")),
            ("/desired/version", json!("../1")),
            ("/desired/revision", json!(0)),
            ("/state", json!("finished")),
            ("/detail", json!("x".repeat(REPORT_DETAIL_BYTES_MAX + 1))),
        ] {
            let mut report = right.clone();
            *report.pointer_mut(pointer).expect("is there") = wrong;
            assert!(serde_json::from_value::<UpdateReport>(report).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_detail_that_is_too_long_is_cut_so_that_the_report_arrives() {
        let long = UpdateReport { detail: "ä".repeat(REPORT_DETAIL_BYTES_MAX), ..report() }.clipped();
        let text = serde_json::to_string(&long).expect("writes");
        let read: UpdateReport = serde_json::from_str(&text).expect("reads");
        assert!(read.detail.ends_with('…') && read.detail.len() <= REPORT_DETAIL_BYTES_MAX);
    }

    #[test]
    fn a_channel_is_a_word_of_small_letters() {
        for right in ["stable", "a", "0-9", &"c".repeat(32)] {
            assert_eq!(UpdateChannel::new(right).map(|c| c.to_string()), Ok(right.to_owned()));
        }
        for wrong in ["", "-a", "a/b", "A", "a b", "é", &"c".repeat(33)] {
            let error = UpdateChannel::new(wrong).expect_err(wrong);
            assert!(error.to_string().contains("are allowed"), "{error}");
        }
    }
}
