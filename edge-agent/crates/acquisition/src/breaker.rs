//! Whether a unit is worth asking: a circuit breaker for one unit behind a shared connection.

use std::time::Duration;

use plant_model::Monotonic;

use crate::stagger;

/// A unit that does not answer is silent after a few requests. From then on it is only probed, at
/// intervals that double and carry jitter, until it answers.
#[derive(Debug)]
pub(crate) struct Breaker {
    name: String,
    state: State,
    strikes_max: u32,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was heard since the connection was made.
    Unproven {
        strikes: u32,
    },
    Alive {
        strikes: u32,
    },
    Silent {
        wait: Duration,
        probe_at: Monotonic,
    },
}

impl Breaker {
    /// The waits between two probes of a silent unit.
    const PROBE_FIRST: Duration = Duration::from_secs(1);
    const PROBE_LONGEST: Duration = Duration::from_secs(30);

    /// A breaker that opens after `strikes_max` requests in a row without an answer.
    pub(crate) fn new(name: &str, strikes_max: u32) -> Self {
        Self { name: name.to_owned(), state: State::Unproven { strikes: 0 }, strikes_max, attempts: 0 }
    }

    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent { .. })
    }

    /// Whether the unit answered on this connection and did not fall silent since.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive { .. })
    }

    /// When a silent unit is to be probed.
    pub(crate) fn probe_at(&self) -> Option<Monotonic> {
        match self.state {
            State::Silent { probe_at, .. } => Some(probe_at),
            State::Unproven { .. } | State::Alive { .. } => None,
        }
    }

    pub(crate) fn answered(&mut self) {
        self.state = State::Alive { strikes: 0 };
    }

    /// A request stayed without an answer. Says whether the unit is silent from now on.
    pub(crate) fn struck(&mut self, now: Monotonic) -> bool {
        let strikes_allowed = match self.state {
            // Where others wait for the line, a unit that never answered gets one chance.
            State::Unproven { .. } => {
                if self.strikes_max > 2 {
                    self.strikes_max
                } else {
                    1
                }
            }
            State::Alive { .. } | State::Silent { .. } => self.strikes_max,
        };
        match &mut self.state {
            State::Unproven { strikes } | State::Alive { strikes } => {
                *strikes += 1;
                if *strikes < strikes_allowed {
                    return false;
                }
                let probe_at = self.jittered(Self::PROBE_FIRST, now);
                self.state = State::Silent { wait: Self::PROBE_FIRST, probe_at };
                true
            }
            State::Silent { wait, .. } => {
                let wait = (*wait * 2).min(Self::PROBE_LONGEST);
                let probe_at = self.jittered(wait, now);
                self.state = State::Silent { wait, probe_at };
                false
            }
        }
    }

    /// A new connection was made: what was alive has to prove itself.
    pub(crate) fn connected(&mut self) {
        match self.state {
            State::Alive { .. } | State::Unproven { .. } => self.forgive(),
            State::Silent { .. } => {}
        }
    }

    /// Gives a silent unit a new chance.
    pub(crate) fn forgive(&mut self) {
        self.state = State::Unproven { strikes: 0 };
    }

    /// An instant in the upper half of `wait`.
    fn jittered(&mut self, wait: Duration, now: Monotonic) -> Monotonic {
        self.attempts = self.attempts.wrapping_add(1);
        now.plus(wait / 2 + stagger(&format!("{}-{}", self.name, self.attempts), wait / 2))
    }
}
