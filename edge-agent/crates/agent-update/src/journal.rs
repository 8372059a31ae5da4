//! What the installer remembers of an update, and how that moves.

use plant_model::Timestamp;
use protocol::{AgentVersion, UpdateState};
use remote_configuration::Baseline;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Request, Verdict};

/// The version of the document.
const FORMAT: u32 = 1;
/// How often the installer may be started before an update is at its end. A power cut is no fault of a version; a host
/// that goes down again and again while a new one is tried is.
const STARTS_MAX: u32 = 3;
/// Longest detail, in bytes: as much as a report takes.
const DETAIL_BYTES_MAX: usize = 4_000;
/// All fields at their longest, with the ids of a thousand machines.
const BYTES_MAX: usize = 256 << 10;

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both packages are brought to the disk.
    Fetching,
    /// The new version is installed and started.
    Installing,
    /// The new version is watched.
    Verifying,
    /// The version before is installed and started.
    RollingBack,
    /// The version before is watched.
    VerifyingFormer,
    /// The new version runs.
    Done,
    /// The version before runs again.
    RolledBack,
    /// Nothing was changed.
    Failed,
    /// The version before could not be brought back.
    Stranded,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fetching,
        Self::Installing,
        Self::Verifying,
        Self::RollingBack,
        Self::VerifyingFormer,
        Self::Done,
        Self::RolledBack,
        Self::Failed,
        Self::Stranded,
    ];

    /// The name in the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Installing => "installing",
            Self::Verifying => "verifying",
            Self::RollingBack => "rolling_back",
            Self::VerifyingFormer => "verifying_former",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Stranded => "stranded",
        }
    }

    /// How it is reported.
    #[must_use]
    pub const fn state(self) -> UpdateState {
        match self {
            Self::Fetching | Self::Installing | Self::RollingBack => UpdateState::Installing,
            Self::Verifying | Self::VerifyingFormer => UpdateState::Verifying,
            Self::Done => UpdateState::Done,
            Self::RolledBack => UpdateState::RolledBack,
            Self::Failed | Self::Stranded => UpdateState::Failed,
        }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bring both packages to the disk: going back must need no network.
    Fetch,
    /// Install the new version and start it.
    Install,
    /// Watch the new version.
    Watch,
    /// Install the version before and start it.
    Restore,
    /// Watch the version before.
    WatchFormer,
}

/// All that is remembered of the last update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    format: u32,
    /// What was asked for.
    pub request: Request,
    /// What ran before.
    pub former: AgentVersion,
    /// What was good before.
    pub baseline: Baseline,
    phase: Phase,
    detail: String,
    changed_at_us: i64,
    starts: u32,
}

/// Something is no journal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JournalError {
    /// It is longer than any.
    #[error("it has {found} bytes; at most {BYTES_MAX} are read")]
    TooLong {
        /// How long.
        found: usize,
    },
    /// It cannot be read.
    #[error("it is no journal of an update: {0}")]
    Json(String),
    /// It is of another program.
    #[error("it has format {found}; this program understands {FORMAT}")]
    Format {
        /// Which.
        found: u32,
    },
}

impl Journal {
    /// An update begins.
    #[must_use]
    pub fn new(request: Request, former: AgentVersion, baseline: Baseline, now: Timestamp) -> Self {
        let (detail, changed_at_us) = (String::new(), now.micros());
        let (format, phase, starts) = (FORMAT, Phase::Fetching, 0);
        Self { format, request, former, baseline, phase, detail, changed_at_us, starts }
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It is no journal, or one of another program.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        if bytes.len() > BYTES_MAX {
            return Err(JournalError::TooLong { found: bytes.len() });
        }
        let journal: Self =
            serde_json::from_slice(bytes).map_err(|error| JournalError::Json(error.to_string()))?;
        let found = journal.format;
        if found == FORMAT { Ok(journal) } else { Err(JournalError::Format { found }) }
    }

    /// Bytes that are enough to see that a journal is too long.
    #[must_use]
    pub const fn read_max() -> u64 {
        BYTES_MAX as u64 + 1
    }

    /// How far it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it did not go well, if so; for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Since when it is so far.
    #[must_use]
    pub const fn changed_at(&self) -> Timestamp {
        Timestamp::from_micros(self.changed_at_us)
    }

    /// What is to be done next; `None` at the end.
    #[must_use]
    pub const fn step(&self) -> Option<Step> {
        match self.phase {
            Phase::Fetching => Some(Step::Fetch),
            Phase::Installing => Some(Step::Install),
            Phase::Verifying => Some(Step::Watch),
            Phase::RollingBack => Some(Step::Restore),
            Phase::VerifyingFormer => Some(Step::WatchFormer),
            Phase::Done | Phase::RolledBack | Phase::Failed | Phase::Stranded => None,
        }
    }

    /// The installer was started and found it unfinished. One that is started too often gives up.
    pub fn started(&mut self, now: Timestamp) {
        self.starts += 1;
        if self.starts <= STARTS_MAX {
            return;
        }
        let why = format!("the installer was started {STARTS_MAX} times and did not come to an end");
        match self.phase {
            Phase::Fetching => self.to(Phase::Failed, why, now),
            Phase::Installing | Phase::Verifying => self.to(Phase::RollingBack, why, now),
            // The way back is gone however often it takes.
            Phase::RollingBack | Phase::VerifyingFormer => {}
            Phase::Done | Phase::RolledBack | Phase::Failed | Phase::Stranded => {}
        }
    }

    /// The packages are there, or a version is installed and was told to start; or why not.
    pub fn acted(&mut self, outcome: Result<(), String>, now: Timestamp) {
        match (self.phase, outcome) {
            (Phase::Fetching, Ok(())) => self.to(Phase::Installing, String::new(), now),
            (Phase::Fetching, Err(why)) => self.to(Phase::Failed, why, now),
            (Phase::Installing, Ok(())) => self.to(Phase::Verifying, String::new(), now),
            (Phase::Installing, Err(why)) => self.to(Phase::RollingBack, why, now),
            (Phase::RollingBack, Ok(())) => self.to(Phase::VerifyingFormer, self.detail.clone(), now),
            (Phase::RollingBack, Err(why)) => {
                let why = self.more(&format!("{} could not be brought back: {why}", self.former));
                self.to(Phase::Stranded, why, now);
            }
            (
                Phase::Verifying
                | Phase::VerifyingFormer
                | Phase::Done
                | Phase::RolledBack
                | Phase::Failed
                | Phase::Stranded,
                _,
            ) => {}
        }
    }

    /// How the version that was watched does.
    pub fn judged(&mut self, verdict: Verdict, now: Timestamp) {
        match (self.phase, verdict) {
            (Phase::Verifying, Verdict::Well) => self.to(Phase::Done, String::new(), now),
            (Phase::Verifying, Verdict::Worse(why) | Verdict::Dead(why)) => {
                self.to(Phase::RollingBack, why, now);
            }
            (Phase::VerifyingFormer, Verdict::Well) => self.to(Phase::RolledBack, self.detail.clone(), now),
            (Phase::VerifyingFormer, Verdict::Worse(why)) => {
                let why = self.more(&format!("with {} again it is no better: {why}", self.former));
                self.to(Phase::RolledBack, why, now);
            }
            (Phase::VerifyingFormer, Verdict::Dead(why)) => {
                let why = self.more(&why);
                self.to(Phase::Stranded, why, now);
            }
            (
                Phase::Fetching
                | Phase::Installing
                | Phase::RollingBack
                | Phase::Done
                | Phase::RolledBack
                | Phase::Failed
                | Phase::Stranded,
                _,
            ) => {}
        }
    }

    fn more(&self, what: &str) -> String {
        format!("{}; {what}", self.detail)
    }

    fn to(&mut self, phase: Phase, mut detail: String, now: Timestamp) {
        detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
        (self.phase, self.detail, self.changed_at_us) = (phase, detail, now.micros());
    }
}
