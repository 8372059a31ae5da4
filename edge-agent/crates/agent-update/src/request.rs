//! What the agent asks the installer for. It is written by a program without rights and read by one with all of them.

use std::time::Duration;

use plant_model::Timestamp;
use protocol::{AgentVersion, DesiredUpdate, UpdateChannel, UpdateRevision};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the document.
const FORMAT: u32 = 1;
/// Far beyond what its fields can hold.
const BYTES_MAX: usize = 4_096;
/// A request that nobody took for so long is not wanted any more; an agent that still wants it writes it anew.
const LIFE: Duration = Duration::from_secs(3_600);
/// A service manager takes it at once.
const OVERLOOKED: Duration = Duration::from_secs(600);

/// A request to install a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    format: u32,
    /// The number of the wish.
    pub revision: UpdateRevision,
    /// What is to be installed.
    pub version: AgentVersion,
    /// Where it comes from, as the backend calls it.
    pub channel: UpdateChannel,
    /// What ran when it was written.
    pub running: AgentVersion,
    requested_at_us: i64,
    deadline_us: i64,
}

/// Why a request is not followed. None of the messages quotes what was read: the reader may read what others may not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It is longer than any.
    #[error("the request has {found} bytes; at most {BYTES_MAX} are read")]
    TooLong {
        /// How long.
        found: usize,
    },
    /// It is no request.
    #[error("this is no request for an update: line {line}, column {column} of its JSON")]
    Json {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// It is of another program.
    #[error("the request has format {found}; this program understands {FORMAT}")]
    Format {
        /// Which.
        found: u32,
    },
    /// A package tool would read it as something else.
    #[error(
        "version {version} does not end with a letter or a digit; a sign there is an instruction to package tools"
    )]
    Ending {
        /// Which.
        version: AgentVersion,
    },
    /// It runs already.
    #[error("version {version} runs already")]
    Same {
        /// Which.
        version: AgentVersion,
    },
    /// It was written too long ago, or its time lies ahead.
    #[error("the request is not of this hour; an agent that still wants it writes it anew")]
    Stale,
}

impl Request {
    /// Asks for what is desired.
    #[must_use]
    pub fn new(desired: &DesiredUpdate, running: &AgentVersion, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            revision: desired.revision,
            version: desired.version.clone(),
            channel: desired.channel.clone(),
            running: running.clone(),
            requested_at_us: now.micros(),
            deadline_us: now.plus(LIFE).micros(),
        }
    }

    /// Reads what somebody left.
    ///
    /// # Errors
    /// It is no request that could ever be followed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > BYTES_MAX {
            return Err(RequestError::TooLong { found: bytes.len() });
        }
        let place =
            |error: serde_json::Error| RequestError::Json { line: error.line(), column: error.column() };
        let request: Self = serde_json::from_slice(bytes).map_err(place)?;
        if request.format != FORMAT {
            return Err(RequestError::Format { found: request.format });
        }
        check_version(&request.version)?;
        if request.version == request.running {
            return Err(RequestError::Same { version: request.version });
        }
        Ok(request)
    }

    /// Bytes that are enough to see that a request is too long.
    #[must_use]
    pub const fn read_max() -> u64 {
        BYTES_MAX as u64 + 1
    }

    /// The same, for longer.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> Self {
        Self { deadline_us: now.plus(LIFE).micros(), ..self.clone() }
    }

    /// Whether it may still be followed.
    ///
    /// # Errors
    /// It is too old, or of a time to come.
    pub fn check_time(&self, now: Timestamp) -> Result<(), RequestError> {
        let is_now = self.requested_at_us <= now.micros()
            && (now.micros()..=now.plus(LIFE).micros()).contains(&self.deadline_us);
        is_now.then_some(()).ok_or(RequestError::Stale)
    }

    /// Whether half of its time has passed: it is time to renew it.
    #[must_use]
    pub fn is_worn(&self, now: Timestamp) -> bool {
        self.deadline_us < now.plus(LIFE / 2).micros()
    }

    /// Whether nobody took it for so long that nobody seems to look.
    #[must_use]
    pub fn is_overlooked(&self, now: Timestamp) -> bool {
        now.minus(OVERLOOKED).micros() > self.requested_at_us
    }

    /// The wish that it is about.
    #[must_use]
    pub fn desired(&self) -> DesiredUpdate {
        DesiredUpdate {
            revision: self.revision,
            version: self.version.clone(),
            channel: self.channel.clone(),
        }
    }
}

/// `apt-get install NAME=1.0-` removes the package: a sign at the end is an instruction there.
pub(crate) fn check_version(version: &AgentVersion) -> Result<(), RequestError> {
    let ends_well = version.as_str().ends_with(|last: char| last.is_ascii_alphanumeric());
    ends_well.then_some(()).ok_or_else(|| RequestError::Ending { version: version.clone() })
}
