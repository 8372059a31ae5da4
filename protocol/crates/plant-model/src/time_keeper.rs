//! What a gateway knows of the time (SPEC section 11): whether its clock can be believed, when it was set, and
//! what its times since the boot are in the calendar.
//!
//! All times of a gateway are *time since its boot* plus *when it was booted*. The first runs evenly, whatever is
//! done to the clock; the second is what is kept here, and is not known until a clock is believed:
//!
//! * the clock of the system, once it shows no less than the floor: nothing can happen before the program was built,
//!   or before the newest time that the buffer knows;
//! * else the backend, which says what time it is when it answers hello.
//!
//! A clock that was believed once is followed wherever it goes, but never to before the program was built.

use std::time::Duration;

use crate::{Monotonic, Timestamp};

/// A clock that moves by more is noted; by less it was adjusted, as clocks are all the time.
const STEP_MIN: Duration = Duration::from_secs(1);

/// An answer that took longer says too little of the time.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

/// Whose clock a gateway goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// Nobody's: the time is not known.
    None,
    /// That of the system.
    System,
    /// That of the backend, because the system's cannot be believed.
    Backend,
}

impl TimeSource {
    /// A word for the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::System => "system",
            Self::Backend => "backend",
        }
    }
}

/// The calendar has moved against the time since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeChange {
    /// The time since the boot.
    pub uptime: Monotonic,
    /// What time it was until then: [`Timestamp::is_unplaced`] when that was not known.
    pub from: Timestamp,
    /// What time it is.
    pub to: Timestamp,
}

/// Keeps the time of a gateway.
#[derive(Debug, Clone)]
pub struct TimeKeeper {
    built_at: Timestamp,
    floor: Timestamp,
    source: TimeSource,
    /// Unplaced while it is not known: microseconds since the boot are their own calendar then.
    booted_at: Timestamp,
    /// The system's view of the boot, when it was last looked at.
    system: Option<Timestamp>,
    /// By how much the backend's clock is ahead, in microseconds.
    backend_ahead: Option<i64>,
}

impl TimeKeeper {
    /// Nothing is known yet. `newest` is the newest time that is known from before.
    #[must_use]
    pub fn new(built_at: Timestamp, newest: Timestamp) -> Self {
        Self {
            built_at,
            floor: built_at.max(newest),
            source: TimeSource::None,
            booted_at: Timestamp::default(),
            system: None,
            backend_ahead: None,
        }
    }

    /// Looks at the clock of the system.
    pub fn handle_system(&mut self, uptime: Monotonic, shows: Timestamp) -> Option<TimeChange> {
        let booted_at = shows.minus(since_boot(uptime));
        let before = self.system.replace(booted_at);
        let was_set = before.is_some_and(|before| !is_near(before, booted_at, STEP_MIN));
        let is_believed = match self.source {
            TimeSource::None => shows >= self.floor,
            TimeSource::System => shows >= self.built_at,
            // It did not come to the floor by running on: somebody has set it.
            TimeSource::Backend => shows >= self.floor && was_set,
        };
        if is_believed { self.take(TimeSource::System, uptime, booted_at) } else { None }
    }

    /// The backend has said what time it was, `round_trip` after it was asked.
    pub fn handle_told(
        &mut self,
        uptime: Monotonic,
        told: Timestamp,
        round_trip: Duration,
    ) -> Option<TimeChange> {
        if told < self.built_at || round_trip > ROUND_TRIP_MAX {
            return None;
        }
        let booted_at = told.plus(round_trip / 2).minus(since_boot(uptime));
        let earliest = self.built_at.minus(since_boot(uptime));
        let agrees = |system: &Timestamp| *system >= earliest && is_near(*system, booted_at, 2 * STEP_MIN);
        match self.source {
            TimeSource::System => {
                self.backend_ahead = Some(booted_at.micros().saturating_sub(self.booted_at.micros()));
                None
            }
            TimeSource::None => match self.system.filter(agrees) {
                Some(system) => self.take(TimeSource::System, uptime, system),
                None => self.take(TimeSource::Backend, uptime, booted_at),
            },
            TimeSource::Backend => self.take(TimeSource::Backend, uptime, booted_at),
        }
    }

    fn take(&mut self, source: TimeSource, uptime: Monotonic, booted_at: Timestamp) -> Option<TimeChange> {
        let from = self.booted_at.plus(since_boot(uptime));
        let to = booted_at.plus(since_boot(uptime));
        self.source = source;
        self.booted_at = booted_at;
        (!is_near(from, to, STEP_MIN)).then_some(TimeChange { uptime, from, to })
    }

    /// When the gateway was booted, by the clock it goes by; `None` while the time is not known.
    #[must_use]
    pub fn booted_at(&self) -> Option<Timestamp> {
        (self.source != TimeSource::None).then_some(self.booted_at)
    }

    /// Whose clock it goes by.
    #[must_use]
    pub const fn source(&self) -> TimeSource {
        self.source
    }

    /// It cannot be earlier than this.
    #[must_use]
    pub const fn floor(&self) -> Timestamp {
        self.floor
    }

    /// By how many microseconds the backend's clock was ahead of the system's, when it was last told.
    #[must_use]
    pub const fn backend_ahead(&self) -> Option<i64> {
        self.backend_ahead
    }
}

const fn since_boot(uptime: Monotonic) -> Duration {
    Duration::from_micros(uptime.micros())
}

fn is_near(a: Timestamp, b: Timestamp, tolerance: Duration) -> bool {
    u128::from(a.micros().abs_diff(b.micros())) <= tolerance.as_micros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUILT: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const NO_TIME: Duration = Duration::ZERO;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_micros(seconds * 1_000_000)
    }

    fn fresh() -> TimeKeeper {
        TimeKeeper::new(BUILT, Timestamp::default())
    }

    /// The time that the keeper gives a moment.
    fn wall(keeper: &TimeKeeper, uptime: Monotonic) -> Option<Timestamp> {
        keeper.booted_at().map(|booted_at| booted_at.plus(since_boot(uptime)))
    }

    #[test]
    fn e1_a_clock_of_1970_is_not_believed_until_somebody_sets_it() {
        let mut keeper = fresh();
        for second in 0..600 {
            let shows = Timestamp::default().plus(Duration::from_secs(second));
            assert_eq!(keeper.handle_system(at(second), shows), None);
            assert_eq!(keeper.booted_at(), None);
        }
        let right = BUILT.plus(HOUR);
        let change = keeper.handle_system(at(600), right).expect("the time is known");
        assert_eq!((change.to, change.from.is_unplaced()), (right, true));
        assert_eq!(wall(&keeper, at(601)), Some(right.plus(Duration::from_secs(1))));
        assert_eq!(keeper.source(), TimeSource::System);
    }

    #[test]
    fn e1_the_backend_tells_the_time_at_the_middle_of_question_and_answer() {
        let mut keeper = fresh();
        assert_eq!(keeper.handle_system(at(5), Timestamp::from_micros(7)), None);
        let told = BUILT.plus(HOUR);
        let change = keeper.handle_told(at(10), told, Duration::from_secs(4)).expect("known");
        assert_eq!((change.to, keeper.source()), (told.plus(Duration::from_secs(2)), TimeSource::Backend));
        assert_eq!(
            keeper.handle_told(at(20), told, Duration::from_secs(11)),
            None,
            "too slow to say anything"
        );
        assert_eq!(keeper.handle_system(at(30), Timestamp::from_micros(25_000_007)), None);
        let set = keeper.handle_system(at(40), told.plus(HOUR)).expect("the clock was set");
        assert_eq!((set.to, keeper.source()), (told.plus(HOUR), TimeSource::System));
    }

    #[test]
    fn a_clock_behind_the_newest_known_time_that_the_backend_confirms_is_believed() {
        let mut keeper = TimeKeeper::new(BUILT, BUILT.plus(2 * HOUR));
        let shows = BUILT.plus(HOUR);
        assert_eq!(keeper.handle_system(at(1), shows), None);
        assert!(keeper.handle_told(at(1), shows, NO_TIME).is_some());
        assert_eq!(keeper.source(), TimeSource::System);
    }

    #[test]
    fn e2_a_step_of_a_believed_clock_is_noted_with_both_times_and_followed() {
        let mut keeper = fresh();
        keeper.handle_system(at(10), BUILT.plus(2 * HOUR));
        let back = BUILT.plus(HOUR);
        let change = keeper.handle_system(at(11), back).expect("a step");
        assert_eq!(change.from, BUILT.plus(2 * HOUR).plus(Duration::from_secs(1)));
        assert_eq!((change.to, change.uptime), (back, at(11)));
        assert_eq!(keeper.handle_system(at(12), back.plus(Duration::from_secs(1))), None, "told once");
        assert_eq!(keeper.handle_system(at(13), Timestamp::default()), None, "nobody lives in 1970");
        assert_eq!(wall(&keeper, at(13)), Some(back.plus(Duration::from_secs(2))));
    }

    #[test]
    fn the_backend_moves_no_clock_that_is_believed_and_says_how_far_it_is_off() {
        let mut keeper = fresh();
        keeper.handle_system(at(1), BUILT.plus(HOUR));
        assert_eq!(keeper.handle_told(at(1), BUILT.plus(2 * HOUR), NO_TIME), None);
        assert_eq!(keeper.backend_ahead(), Some(3_600_000_000));
    }

    proptest! {
        /// Whatever clocks do: the time is never from before the program was built, it moves as the time since
        /// the boot does, and by more than a second only where a change says so.
        #[test]
        fn e2_the_time_runs_evenly_but_for_the_changes_that_are_told(
            steps in prop::collection::vec((1_u64..100, 0_u8..4, -20_000_i64..20_000), 1..80)
        ) {
            let mut keeper = fresh();
            let (mut uptime, mut shows) = (0, Timestamp::default());
            for (seconds, what, amount) in steps {
                uptime += seconds;
                shows = shows.plus(Duration::from_secs(seconds));
                let before = wall(&keeper, at(uptime));
                let elsewhere = Timestamp::from_micros(BUILT.micros() + amount * 1_000_000);
                let change = match what {
                    0 => keeper.handle_told(at(uptime), elsewhere, NO_TIME),
                    1 => { shows = elsewhere; keeper.handle_system(at(uptime), shows) }
                    2 => { shows = Timestamp::default(); keeper.handle_system(at(uptime), shows) }
                    _ => keeper.handle_system(at(uptime), shows),
                };
                let after = wall(&keeper, at(uptime));
                prop_assert!(after.is_none_or(|t| t >= BUILT));
                prop_assert!(before.is_none() || after.is_some(), "what is known stays known");
                match (before, after, change) {
                    (Some(before), Some(after), None) => prop_assert!(is_near(before, after, STEP_MIN)),
                    (Some(before), Some(after), Some(change)) => {
                        prop_assert_eq!((change.from, change.to), (before, after));
                    }
                    (None, after, change) => prop_assert_eq!(after, change.map(|c| c.to)),
                    (Some(_), None, _) => {}
                }
            }
        }
    }
}
