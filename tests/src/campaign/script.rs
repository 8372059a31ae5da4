//! What is done when: choices, and nothing but the seed decides them.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Kind;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) kind: Kind,
    /// Which plant.
    pub(super) plant: usize,
    /// A number for a further choice: which machine, which way of the link.
    pub(super) choice: usize,
    /// How long it lasts, or how long the process is away.
    pub(super) hold: Duration,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.hold.as_secs_f64();
        if self.kind.is_of_backend() {
            return write!(f, "{} for {seconds:.1} s", self.kind);
        }
        write!(f, "{} of plant {} for {seconds:.1} s", self.kind, self.plant + 1)
    }
}

/// One step: faults of which the second begins while the first lasts, then a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) strikes: Vec<Strike>,
    pub(super) calm: Duration,
}

/// All steps, without end.
#[derive(Debug)]
pub(super) struct Script {
    rng: StdRng,
    plants: usize,
    kinds: Vec<Kind>,
}

impl Script {
    pub(super) fn new(seed: u64, plants: usize, kinds: Vec<Kind>) -> Result<Self> {
        ensure!(
            !kinds.is_empty(),
            "none of these faults can be made here: brokers need 2 plants, disks the right to mount"
        );
        Ok(Self { rng: StdRng::seed_from_u64(seed), plants, kinds })
    }

    pub(super) fn next_step(&mut self) -> Step {
        let mut strikes = vec![self.strike()];
        if self.rng.random_bool(0.3) {
            let second = self.strike();
            // The same process cannot be ended twice, nor the same link be two things at once.
            if second.target() != strikes[0].target() {
                strikes.push(second);
            }
        }
        Step { strikes, calm: self.millis(0, 1_500) }
    }

    fn strike(&mut self) -> Strike {
        let weights: u32 = self.kinds.iter().map(|kind| kind.weight()).sum();
        let mut drawn = self.rng.random_range(0..weights);
        let mut kind = self.kinds[0];
        for candidate in &self.kinds {
            kind = *candidate;
            let Some(rest) = drawn.checked_sub(candidate.weight()) else { break };
            drawn = rest;
        }
        let mut plant = self.rng.random_range(0..self.plants);
        if kind.is_of_broker() {
            plant = WITH_BROKER;
        }
        let choice = self.rng.random_range(0..1_000);
        // Mostly short, now and then long enough for back-offs and time-outs.
        let hold = if self.rng.random_bool(0.1) { self.millis(4_000, 12_000) } else { self.millis(0, 2_500) };
        Strike { kind, plant, choice, hold }
    }

    fn millis(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(min..max))
    }
}

/// The plant that has a broker.
pub(super) const WITH_BROKER: usize = 1;

impl Strike {
    /// What two faults at a time must not share: 0 agent, 1 backend, 2 link, 3 broker, 4 machine, 5 disk; and where.
    fn target(&self) -> (u8, usize) {
        let what = match self.kind.name().split('-').next() {
            Some("agent") => 0,
            Some("backend") => return (1, 0),
            Some("link") => 2,
            Some("broker") => 3,
            Some("machine") => 4,
            _ => 5,
        };
        (what, self.plant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(seed: u64) -> Vec<Step> {
        let mut script = Script::new(seed, 3, Kind::ALL.to_vec()).expect("kinds");
        (0..500).map(|_| script.next_step()).collect()
    }

    #[test]
    fn a_seed_makes_the_same_steps_and_every_kind_comes() {
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        let all: Vec<Strike> = steps(7).into_iter().flat_map(|step| step.strikes).collect();
        for kind in Kind::ALL {
            assert!(all.iter().any(|strike| strike.kind == kind), "{kind} never came");
        }
        assert!(all.iter().all(|s| !s.kind.is_of_broker() || s.plant == WITH_BROKER));
    }

    #[test]
    fn two_faults_at_a_time_have_different_targets() {
        let both = steps(9).into_iter().filter(|step| step.strikes.len() == 2);
        let mut pairs = 0;
        for step in both {
            assert_ne!(step.strikes[0].target(), step.strikes[1].target(), "{step:?}");
            pairs += 1;
        }
        assert!(pairs > 50, "{pairs}");
    }

    #[test]
    fn a_campaign_without_a_possible_fault_is_refused() {
        assert!(Script::new(1, 1, Vec::new()).is_err());
    }
}
