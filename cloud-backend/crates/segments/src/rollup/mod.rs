//! What one tag did in a stretch of time.
//!
//! A sample counts as *good* if its quality is good and its value is of the tag's kind: a finite number of an analog
//! tag or a counter, anything of a state. Uncertain ones are treated as bad, as OPC UA Part 13 does by default. A good
//! value is *in force* from its sample to the next sample, good or not, but no longer than [`Hold`]: values are held,
//! never interpolated, as is right for what is polled and for what is reported on change.
//!
//! Stretches that follow one another are joined exactly ([`Rollup::followed_by`]): an hour is the minutes one behind
//! the other, a day the hours. Stretches that overlap are laid over one another, with what can be known
//! ([`Exactness`]).

mod course;
mod window;

use std::time::Duration;

use plant_model::{Sample, Timestamp, Value};

pub use course::{Course, STATES_MAX, StateTimes};

/// How the values of a tag are to be summed up. Where catalogues differ over time, the later kind of this list wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagKind {
    /// A measured number: it has a mean.
    Analog,
    /// A number that only grows, but for resets: it has an increase, and no mean.
    Counter,
    /// A state, a truth value or a text: it has times, and neither sum nor mean.
    State,
}

impl TagKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Analog, Self::Counter, Self::State];

    /// Its code in stored segments.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Analog => 0,
            Self::Counter => 1,
            Self::State => 2,
        }
    }

    /// The inverse of [`Self::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The value of a sample that counts as good for this kind.
    #[must_use]
    pub fn good_value(self, sample: &Sample) -> Option<&Value> {
        let value = sample.value.as_ref().filter(|_| sample.quality.is_good())?;
        let counts = match self {
            Self::Analog | Self::Counter => number(value).is_finite(),
            Self::State => true,
        };
        counts.then_some(value)
    }
}

/// The value as a number; NaN where it has none.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// How long a value is in force when nothing follows. At least a minute, so that what holds within a minute does not
/// depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold(i64);

impl Hold {
    /// Ten minutes: twice the heartbeat at which a gateway states its own values again.
    pub const DEFAULT: Self = Self(600_000_000);

    /// So long, but at least a minute. It should be longer than the heartbeat of the tag.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Self(micros.max(crate::Minute::MICROS))
    }

    /// In microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// How long, of the time between two instants, a value is in force that was read at the first.
    fn between(self, from: Timestamp, to: Timestamp) -> u64 {
        let elapsed = to.micros().saturating_sub(from.micros()).min(self.0);
        u64::try_from(elapsed).unwrap_or(0)
    }

    fn end(self, from: Timestamp) -> Timestamp {
        Timestamp::from_micros(from.micros().saturating_add(self.0))
    }
}

/// A good value and when it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: Value,
}

/// Whether everything a rollup says is what its samples would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exactness {
    /// It is.
    Exact,
    /// Samples came between others that were no longer there. Counts, extremes and ends are exact nevertheless.
    Approximate,
}

/// What one tag did in a stretch of time, from its first sample to its last.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// Samples.
    pub count: u64,
    /// Of these: good.
    pub good_count: u64,
    /// The time of the first sample, good or not.
    pub first_at: Timestamp,
    /// The time of the last sample, good or not.
    pub last_at: Timestamp,
    /// The first good value.
    pub first: Option<Reading>,
    /// The last good value.
    pub last: Option<Reading>,
    /// The smallest good value, and when it was first; `None` for states.
    pub min: Option<Reading>,
    /// The largest good value, and when it was first; `None` for states.
    pub max: Option<Reading>,
    /// Whether the last value is in force after the last sample: it is not if that sample is not good.
    pub in_force: bool,
    /// What depends on the order and the times of the samples.
    pub course: Course,
    /// Whether all of this is exact.
    pub exactness: Exactness,
}

impl Rollup {
    /// Of samples in order of time; `None` if there is none. None of them is a minute or more after the one before.
    #[must_use]
    pub fn of(kind: TagKind, samples: &[Sample]) -> Option<Self> {
        let mut rollup = Self::before(kind, samples.first()?.timestamp());
        samples.iter().for_each(|sample| rollup.add(kind, sample));
        Some(rollup)
    }

    /// Of samples in order of time, whatever lies between them; `None` if there is none.
    #[must_use]
    pub fn of_any(kind: TagKind, samples: &[Sample], hold: Hold) -> Option<Self> {
        let each = samples.iter().filter_map(|sample| Self::of(kind, std::slice::from_ref(sample)));
        each.reduce(|earlier, later| earlier.followed_by(&later, hold))
    }

    /// Of stretches in any order; `None` if there is none. It is exact if they are and do not overlap.
    #[must_use]
    pub fn over<'a>(stretches: impl IntoIterator<Item = &'a Self>, hold: Hold) -> Option<Self> {
        let mut stretches: Vec<&Self> = stretches.into_iter().collect();
        stretches.sort_by_key(|stretch| (stretch.first_at, stretch.last_at));
        let mut rest = stretches.into_iter();
        let first = rest.next()?.clone();
        Some(rest.fold(first, |earlier, later| earlier.combined_with(later, hold)))
    }

    /// The kind of the tag.
    #[must_use]
    pub const fn kind(&self) -> TagKind {
        self.course.kind()
    }

    /// The stretch and one that begins when it ends or later. Of different kinds, the later one's course is begun anew.
    #[must_use]
    pub fn followed_by(&self, next: &Self, hold: Hold) -> Self {
        let mut course = self.course.clone();
        if let Some(last) = self.last.as_ref().filter(|_| self.in_force) {
            course.hold(&last.value, hold.between(self.last_at, next.first_at));
        }
        if let (Some(last), Some(first)) = (&self.last, &next.first) {
            course.step(&last.value, &first.value);
        }
        course.append(&next.course);
        self.with(next, next.in_force, course, self.exactness.max(next.exactness))
    }

    /// Both, wherever they lie.
    #[must_use]
    pub fn combined_with(&self, other: &Self, hold: Hold) -> Self {
        if self.last_at <= other.first_at {
            return self.followed_by(other, hold);
        }
        if other.last_at <= self.first_at {
            return other.followed_by(self, hold);
        }
        let (earlier, later) = if self.last_at <= other.last_at { (self, other) } else { (other, self) };
        let (longer, shorter) =
            if earlier.span() > later.span() { (earlier, later) } else { (later, earlier) };
        let course = longer.course.clone().with_counts_of(&shorter.course);
        earlier.with(later, later.in_force, course, Exactness::Approximate)
    }

    fn span(&self) -> i64 {
        self.last_at.micros().saturating_sub(self.first_at.micros())
    }

    /// What needs neither order nor times, of both; the other one ends last.
    fn with(&self, later: &Self, in_force: bool, course: Course, exactness: Exactness) -> Self {
        Self {
            count: self.count + later.count,
            good_count: self.good_count + later.good_count,
            first_at: self.first_at.min(later.first_at),
            last_at: self.last_at.max(later.last_at),
            first: pick(&self.first, &later.first, |a, b| b.at < a.at),
            last: pick(&self.last, &later.last, |a, b| b.at >= a.at),
            min: pick(&self.min, &later.min, |a, b| comes_first(b, a, number(&b.value) < number(&a.value))),
            max: pick(&self.max, &later.max, |a, b| comes_first(b, a, number(&b.value) > number(&a.value))),
            in_force,
            course,
            exactness,
        }
    }

    /// Before the first sample.
    const fn before(kind: TagKind, at: Timestamp) -> Self {
        Self {
            count: 0,
            good_count: 0,
            first_at: at,
            last_at: at,
            first: None,
            last: None,
            min: None,
            max: None,
            in_force: false,
            course: Course::new(kind),
            exactness: Exactness::Exact,
        }
    }

    fn add(&mut self, kind: TagKind, sample: &Sample) {
        let at = sample.timestamp();
        if let Some(last) = self.last.as_ref().filter(|_| self.in_force) {
            self.course.hold(&last.value, Hold(i64::MAX).between(self.last_at, at));
        }
        self.count += 1;
        self.last_at = at;
        let value = kind.good_value(sample);
        self.in_force = value.is_some();
        let Some(value) = value else { return };
        if let Some(last) = &self.last {
            self.course.step(&last.value, value);
        }
        self.course.count(value);
        self.good_count += 1;
        let reading = || Reading { at, value: value.clone() };
        if kind != TagKind::State {
            let beats = |known: &Option<Reading>, beats: fn(&f64, &f64) -> bool| {
                known.as_ref().is_none_or(|known| beats(&number(value), &number(&known.value)))
            };
            if beats(&self.min, f64::lt) {
                self.min = Some(reading());
            }
            if beats(&self.max, f64::gt) {
                self.max = Some(reading());
            }
        }
        if self.first.is_none() {
            self.first = Some(reading());
        }
        match &mut self.last {
            Some(last) => {
                last.at = at;
                last.value.clone_from(value);
            }
            None => self.last = Some(reading()),
        }
    }
}

/// The second where both are there and it is better, or where only it is there.
fn pick(
    a: &Option<Reading>,
    b: &Option<Reading>,
    is_better: impl Fn(&Reading, &Reading) -> bool,
) -> Option<Reading> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if is_better(a, b) { b } else { a }.clone()),
        (a, b) => a.as_ref().or(b.as_ref()).cloned(),
    }
}

/// Whether a reading beats another as an extreme: by value, and if they are equal by being earlier.
fn comes_first(candidate: &Reading, known: &Reading, beats: bool) -> bool {
    let are_equal = number(&candidate.value) == number(&known.value);
    beats || (are_equal && candidate.at < known.at)
}

#[cfg(test)]
mod tests;
