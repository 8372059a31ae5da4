//! What depends on the order and the times of samples: means weighted by time, times in states, increases.

use plant_model::Value;

use super::{TagKind, number};

/// Most different states of one rollup: as many as an enumeration has names. The time in others is summed up.
pub const STATES_MAX: usize = 64;

/// What a tag did in the course of time, as its kind has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// Of a measured number.
    Analog {
        /// The sum of the good values.
        sum: f64,
        /// Value times seconds, over the time in which a value was in force.
        integral: f64,
        /// Microseconds in which a value was in force.
        known_us: u64,
    },
    /// Of a counter.
    Counter {
        /// By how much it grew. After a reset it is taken to have begun at zero.
        increase: f64,
        /// How often it was less than before.
        resets: u64,
    },
    /// Of a state.
    State(StateTimes),
}

/// How long each state was in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateTimes {
    /// States that had samples and their times in microseconds, in the order in which they came first.
    times: Vec<(Value, u64)>,
    /// The time in states beyond [`STATES_MAX`], in microseconds.
    other_us: u64,
}

impl StateTimes {
    pub(crate) const fn new() -> Self {
        Self { times: Vec::new(), other_us: 0 }
    }

    pub(crate) const fn from_parts(times: Vec<(Value, u64)>, other_us: u64) -> Self {
        Self { times, other_us }
    }

    /// The states and their times in microseconds.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, u64)> {
        self.times.iter().map(|(state, time)| (state, *time))
    }

    /// The time in a state, in microseconds.
    #[must_use]
    pub fn time_in(&self, state: &Value) -> u64 {
        self.times.iter().find(|(known, _)| known.is_identical(state)).map_or(0, |(_, time)| *time)
    }

    /// The time in states that are not among the first [`STATES_MAX`], in microseconds.
    #[must_use]
    pub const fn other_us(&self) -> u64 {
        self.other_us
    }

    /// The time in which any state was in force, in microseconds.
    #[must_use]
    pub fn known_us(&self) -> u64 {
        self.times.iter().fold(self.other_us, |sum, (_, time)| sum.saturating_add(*time))
    }

    fn add(&mut self, state: &Value, micros: u64) {
        let has_room = self.times.len() < STATES_MAX;
        match self.times.iter_mut().find(|(known, _)| known.is_identical(state)) {
            Some((_, time)) => *time = time.saturating_add(micros),
            None if has_room => self.times.push((state.clone(), micros)),
            None => self.other_us = self.other_us.saturating_add(micros),
        }
    }
}

impl Course {
    pub(crate) const fn new(kind: TagKind) -> Self {
        match kind {
            TagKind::Analog => Self::Analog { sum: 0.0, integral: 0.0, known_us: 0 },
            TagKind::Counter => Self::Counter { increase: 0.0, resets: 0 },
            TagKind::State => Self::State(StateTimes::new()),
        }
    }

    /// The kind of the tag.
    #[must_use]
    pub const fn kind(&self) -> TagKind {
        match self {
            Self::Analog { .. } => TagKind::Analog,
            Self::Counter { .. } => TagKind::Counter,
            Self::State(_) => TagKind::State,
        }
    }

    /// The mean of an analog tag over the time in which a value was in force; `None` if that is no time, and always
    /// for counters and states: they have none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a time below 285 years is exact, and the mean is a float"
    )]
    pub fn time_weighted_mean(&self) -> Option<f64> {
        match self {
            Self::Analog { integral, known_us, .. } if *known_us > 0 => {
                Some(integral / (*known_us as f64 / 1e6))
            }
            Self::Analog { .. } | Self::Counter { .. } | Self::State(_) => None,
        }
    }

    /// A sample showed this value.
    pub(crate) fn count(&mut self, value: &Value) {
        match self {
            Self::Analog { sum, .. } => *sum += number(value),
            Self::Counter { .. } => {}
            Self::State(times) => times.add(value, 0),
        }
    }

    /// A value was in force so long.
    #[expect(clippy::cast_precision_loss, reason = "a time below 285 years is exact")]
    pub(crate) fn hold(&mut self, value: &Value, micros: u64) {
        match self {
            Self::Analog { integral, known_us, .. } if micros > 0 && number(value).is_finite() => {
                *integral += number(value) * (micros as f64 / 1e6);
                *known_us = known_us.saturating_add(micros);
            }
            Self::Analog { .. } | Self::Counter { .. } => {}
            Self::State(times) => times.add(value, micros),
        }
    }

    /// A good value came after another one.
    pub(crate) fn step(&mut self, from: &Value, to: &Value) {
        let Self::Counter { increase, resets } = self else { return };
        let (from, to) = (number(from), number(to));
        if to < from {
            *increase += to;
            *resets += 1;
        } else if to > from {
            *increase += to - from;
        }
    }

    /// With what does not depend on the order of samples of another course of the same time.
    pub(crate) fn with_counts_of(mut self, other: &Self) -> Self {
        if let (Self::Analog { sum, .. }, Self::Analog { sum: more, .. }) = (&mut self, other) {
            *sum += more;
        }
        self
    }

    /// Another course of the same kind came after it. One of another kind takes its place.
    pub(crate) fn append(&mut self, later: &Self) {
        match (&mut *self, later) {
            (
                Self::Analog { sum, integral, known_us },
                Self::Analog { sum: more, integral: area, known_us: time },
            ) => {
                *sum += more;
                *integral += area;
                *known_us = known_us.saturating_add(*time);
            }
            (Self::Counter { increase, resets }, Self::Counter { increase: more, resets: again }) => {
                *increase += more;
                *resets += again;
            }
            (Self::State(times), Self::State(more)) => {
                more.iter().for_each(|(state, time)| times.add(state, time));
                times.other_us = times.other_us.saturating_add(more.other_us);
            }
            (old, new) => *old = new.clone(),
        }
    }
}
