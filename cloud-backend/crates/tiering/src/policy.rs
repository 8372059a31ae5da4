//! How long what is kept: a policy of a tenant, by class of tags.
//!
//! A class is a [`TagKind`]: `analog` (measured numbers), `counter` (numbers that only grow), `state` (state tags, truth
//! values, texts). What is stored together goes together: a segment holds all tags of a machine, so the samples, minutes
//! and hours of a gateway are kept as long as the longest of the classes asks that it has tags of. A class may be left
//! out of the archive; its samples end with the bodies.

mod document;

use std::time::Duration;

use segments::TagKind;

pub use document::PolicyMistakes;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);
/// A year, of 365 days.
pub const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Nothing is kept for longer: beyond the life of any plant.
pub const PERIOD_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The shortest time for samples: a day must be closed and archived before its bodies go.
pub const SAMPLES_MIN: Duration = Duration::from_secs(2 * 86_400);

/// The longest wait before a closed day is archived: [`SAMPLES_MIN`] leaves a day for it.
pub const ARCHIVE_AFTER_MAX: Duration = DAY;

/// How long the tags of a class are kept, from the end of the day in which a sample lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Samples in the store.
    pub samples: Duration,
    /// Statistics of minutes.
    pub minutes: Duration,
    /// Rollups of hours.
    pub hours: Duration,
    /// Objects of the archive; `None` leaves the class out of it.
    pub archive: Option<Duration>,
}

impl Keep {
    /// What is kept unless somebody says otherwise.
    pub const DEFAULT: Self = Self {
        samples: Duration::from_secs(30 * DAY.as_secs()),
        minutes: Duration::from_secs(2 * YEAR.as_secs()),
        hours: Duration::from_secs(10 * YEAR.as_secs()),
        archive: Some(Duration::from_secs(10 * YEAR.as_secs())),
    };

    fn longer_of(self, other: Self) -> Self {
        Self {
            samples: self.samples.max(other.samples),
            minutes: self.minutes.max(other.minutes),
            hours: self.hours.max(other.hours),
            archive: self.archive.max(other.archive),
        }
    }
}

/// The policy of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long after its end a day is archived: time for what is late.
    pub archive_after: Duration,
    /// How long the steps of alarms that are over are kept.
    pub alarm_journal: Duration,
    /// In the order of [`TagKind::ALL`].
    classes: [Keep; TagKind::ALL.len()],
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            archive_after: Duration::from_secs(6 * 3_600),
            alarm_journal: Duration::from_secs(10 * YEAR.as_secs()),
            classes: [Keep::DEFAULT; TagKind::ALL.len()],
        }
    }
}

impl Policy {
    /// How long a class is kept.
    #[must_use]
    pub const fn keep(&self, class: TagKind) -> Keep {
        self.classes[class.code() as usize]
    }

    /// The same policy with another time for a class; it is checked by [`Self::check`].
    #[must_use]
    pub const fn with(mut self, class: TagKind, keep: Keep) -> Self {
        self.classes[class.code() as usize] = keep;
        self
    }

    /// How long what a gateway stores is kept, given the classes that it has tags of; without any it is kept as if it
    /// had all.
    #[must_use]
    pub fn horizon(&self, classes: &[TagKind]) -> Keep {
        let classes = if classes.is_empty() { &TagKind::ALL } else { classes };
        let keeps = classes.iter().map(|class| self.keep(*class));
        keeps.reduce(Keep::longer_of).unwrap_or(Keep::DEFAULT)
    }

    /// Whether a class goes to the archive.
    #[must_use]
    pub const fn archives(&self, class: TagKind) -> bool {
        self.keep(class).archive.is_some()
    }

    /// A short name of a class, in documents and answers.
    #[must_use]
    pub const fn class_name(class: TagKind) -> &'static str {
        match class {
            TagKind::Analog => "analog",
            TagKind::Counter => "counter",
            TagKind::State => "state",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_together_is_kept_as_long_as_the_longest_class_asks() {
        let short = Keep { samples: 7 * DAY, minutes: YEAR, archive: None, ..Keep::DEFAULT };
        let policy = Policy::default().with(TagKind::State, short);
        assert_eq!(policy.horizon(&[TagKind::State]), short);
        assert_eq!(policy.horizon(&[TagKind::State, TagKind::Analog]), Keep::DEFAULT);
        assert_eq!(policy.horizon(&[]), Keep::DEFAULT, "nothing is known of its tags");
        let long = Keep { samples: 60 * DAY, ..short };
        let policy = policy.with(TagKind::Counter, long);
        assert_eq!(policy.horizon(&[TagKind::State, TagKind::Counter]).samples, 60 * DAY);
        assert!(!policy.archives(TagKind::Counter) && policy.archives(TagKind::Analog));
    }
}
