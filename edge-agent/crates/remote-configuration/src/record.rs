//! What a gateway remembers of its configuration, and how that moves.

use protocol::{Configuration, ConfigurationVersion, DriftedFile, FilesDigest};
use serde::{Deserialize, Serialize};

use crate::files::{Change, Files, digest, drift, way};
use crate::trial::Baseline;

/// How often the agent may be started within one trial. A power cut is no fault of a configuration; an agent that
/// ends again and again while a new one is on trial is.
const TRIAL_STARTS_MAX: u32 = 3;

/// The version of the document.
const FORMAT: u32 = 1;

/// A numbered set of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub number: ConfigurationVersion,
    /// All of its files.
    pub files: Files,
    /// The local files that it may replace although they were edited.
    pub accept_drift: Option<FilesDigest>,
}

impl From<Configuration> for Version {
    fn from(configuration: Configuration) -> Self {
        let text = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        Self {
            number: configuration.version,
            files: configuration.files.iter().map(text).collect(),
            accept_drift: configuration.accept_drift,
        }
    }
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Nothing.
    #[default]
    None,
    /// The folder goes over to a new set.
    Applying(Attempt),
    /// The new set is in the folder and is watched.
    Trial(Attempt),
    /// The set before comes back.
    Undoing(Attempt),
}

/// A set that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The new set.
    pub to: Version,
    /// The set before.
    pub before: Files,
    /// What was good before.
    pub baseline: Baseline,
    /// How often the agent was started since.
    starts: u32,
}

/// A version that did not do well, or was not applied, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub number: ConfigurationVersion,
    pub detail: String,
}

/// All that is remembered. See the crate's documentation for the order of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// What was put into the folder last and did well.
    pub(crate) applied: Option<Version>,
    /// Whether `applied` holds what a technician made of it.
    pub(crate) is_adopted: bool,
    /// A version that came and is not applied.
    pub(crate) waiting: Option<Version>,
    /// The newest version that did not do well.
    pub(crate) failed: Option<Failed>,
    /// The version that came last and cannot be applied.
    pub(crate) refused: Option<Failed>,
    pub(crate) work: Work,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            applied: None,
            is_adopted: false,
            waiting: None,
            failed: None,
            refused: None,
            work: Work::None,
        }
    }
}

/// What became of a version that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// It waits to be applied.
    New,
    /// It is known already: it runs, waits, or did not do well.
    Known,
    /// It is older than what is known; going back takes a new number.
    Older {
        /// The newest that is known.
        known: ConfigurationVersion,
    },
}

/// What to do about the version that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// None waits, or another one is under way.
    Nothing,
    /// Files were edited at the gateway, and the version does not name them.
    Drifted(Vec<DriftedFile>),
    /// It can be applied ([`Record::begin`]).
    Apply,
}

impl Record {
    /// Whether this program understands the document.
    #[must_use]
    pub const fn is_understood(&self) -> bool {
        self.format == FORMAT
    }

    /// The newest version that is known; one with this number need not be fetched again.
    #[must_use]
    pub fn newest(&self) -> Option<ConfigurationVersion> {
        let tried = match &self.work {
            Work::None => None,
            Work::Applying(attempt) | Work::Trial(attempt) | Work::Undoing(attempt) => {
                Some(attempt.to.number)
            }
        };
        let number = |version: &Option<Version>| version.as_ref().map(|v| v.number);
        let failed = self.failed.as_ref().map(|failed| failed.number);
        [number(&self.applied), number(&self.waiting), failed, tried].into_iter().flatten().max()
    }

    /// Takes a version whose signature is good. A version that did not do well is not taken again.
    pub fn stage(&mut self, version: Version) -> Staged {
        match self.newest() {
            Some(known) if version.number < known => Staged::Older { known },
            Some(known) if version.number == known => Staged::Known,
            Some(_) | None => {
                (self.waiting, self.refused) = (Some(version), None);
                Staged::New
            }
        }
    }

    /// A version cannot be applied, as `why` says; the one that waits goes on waiting. `None`: nothing speaks against it.
    pub fn refuse(&mut self, why: Option<(ConfigurationVersion, String)>) {
        self.refused = why.map(|(number, detail)| Failed { number, detail });
    }

    /// The version that waits to be applied.
    #[must_use]
    pub const fn waiting(&self) -> Option<&Version> {
        self.waiting.as_ref()
    }

    /// What runs by the word of the backend, or of the technician who adopted it.
    #[must_use]
    pub const fn applied(&self) -> Option<&Version> {
        self.applied.as_ref()
    }

    /// What is under way.
    #[must_use]
    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// How the files of the folder differ from those that were put there.
    #[must_use]
    pub fn drift(&self, actual: &Files) -> Vec<DriftedFile> {
        let none = Files::new();
        let applied = || self.applied.as_ref().map_or(&none, |version| &version.files);
        match &self.work {
            Work::None => drift(applied(), actual),
            Work::Applying(attempt) | Work::Trial(attempt) => drift(&attempt.to.files, actual),
            Work::Undoing(attempt) => drift(&attempt.before, actual),
        }
    }

    /// What to do about the version that waits, with these files in the folder.
    #[must_use]
    pub fn decide(&self, actual: &Files) -> Decision {
        let Some(waiting) = self.waiting.as_ref().filter(|_| self.work == Work::None) else {
            return Decision::Nothing;
        };
        let drifted = self.drift(actual);
        let is_named = waiting.accept_drift.is_some_and(|named| named == digest(actual));
        if drifted.is_empty() || is_named || waiting.files == *actual {
            Decision::Apply
        } else {
            Decision::Drifted(drifted)
        }
    }

    /// Begins to apply the version that waits, as [`Self::decide`] allowed. One that is in the folder already needs no
    /// trial.
    pub fn begin(&mut self, actual: &Files, baseline: Baseline) {
        let Some(to) = self.waiting.take() else { return };
        self.refused = None;
        if to.files == *actual {
            self.settle(to);
        } else {
            self.work = Work::Applying(Attempt { to, before: actual.clone(), baseline, starts: 0 });
        }
    }

    /// A technician wants the files of the backend back, whatever was edited: the newest version that may be applied.
    /// `false` if there is none, or something is under way.
    pub fn restore(&mut self, actual: &Files, baseline: Baseline) -> bool {
        if self.work != Work::None {
            return false;
        }
        let applied = || self.applied.clone().filter(|_| !self.is_adopted);
        self.waiting = self.waiting.take().or_else(applied);
        let found = self.waiting.is_some();
        self.begin(actual, baseline);
        found
    }

    /// A technician wants the files as they are: the next version from the backend is applied over them, the one that
    /// waits is not. `false` while something is under way.
    pub fn adopt(&mut self, actual: &Files) -> bool {
        if self.work != Work::None {
            return false;
        }
        let Some(number) = self.newest() else {
            return false;
        };
        self.applied = Some(Version { number, files: actual.clone(), accept_drift: None });
        (self.is_adopted, self.waiting, self.failed, self.refused) = (true, None, None, None);
        true
    }

    /// What is left to be done in the folder.
    #[must_use]
    pub fn pending(&self, actual: &Files) -> Vec<Change> {
        match &self.work {
            Work::None | Work::Trial(_) => Vec::new(),
            Work::Applying(attempt) => way(&attempt.before, &attempt.to.files, actual),
            Work::Undoing(attempt) => way(&attempt.to.files, &attempt.before, actual),
        }
    }

    /// All of [`Self::pending`] is done, durably.
    pub fn written(&mut self) {
        self.work = match std::mem::take(&mut self.work) {
            Work::Applying(attempt) => Work::Trial(attempt),
            Work::None | Work::Undoing(_) => Work::None,
            trial @ Work::Trial(_) => trial,
        };
    }

    /// The new set did well.
    pub fn keep(&mut self) {
        match std::mem::take(&mut self.work) {
            Work::Trial(attempt) => self.settle(attempt.to),
            other @ (Work::None | Work::Applying(_) | Work::Undoing(_)) => self.work = other,
        }
    }

    fn settle(&mut self, version: Version) {
        (self.applied, self.is_adopted, self.failed) = (Some(version), false, None);
    }

    /// The new set did not do well: the one before comes back, and this version is not tried again.
    pub fn undo(&mut self, detail: String) {
        self.work = match std::mem::take(&mut self.work) {
            Work::Applying(attempt) | Work::Trial(attempt) => {
                self.failed = Some(Failed { number: attempt.to.number, detail });
                Work::Undoing(attempt)
            }
            other @ (Work::None | Work::Undoing(_)) => other,
        };
    }

    /// The agent was started. A trial begins again, unless it did so too often.
    pub fn started(&mut self) {
        let (Work::Applying(attempt) | Work::Trial(attempt)) = &mut self.work else { return };
        attempt.starts += 1;
        if attempt.starts > TRIAL_STARTS_MAX {
            self.undo(format!("the agent was started {TRIAL_STARTS_MAX} times while it was on trial"));
        }
    }
}
