//! Whether a version that was started does as well as the one before.

use std::time::Duration;

use plant_model::Monotonic;
use protocol::AgentVersion;
use remote_configuration::{Baseline, Health, Trial, Verdict as TrialVerdict};

/// How often an agent may end by itself while it is watched: once may be a coincidence.
const ENDS_MAX: u32 = 1;

/// What an agent shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It does not answer, as this says.
    Silent(String),
    /// It answers.
    Answer {
        /// Its version.
        version: String,
        /// Since when it runs.
        uptime: Duration,
        /// How machines and uplink are.
        health: Health,
    },
}

/// How a version does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What was good before is good again.
    Well,
    /// It runs, and something is not good that was.
    Worse(String),
    /// It does not run.
    Dead(String),
}

/// How long it is waited for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For an answer, after the start and whenever there is none.
    pub answer: Duration,
    /// From the first answer: then everything must be good again.
    pub window: Duration,
}

/// Watches a version that was started.
#[derive(Debug, Clone)]
pub struct Watch {
    version: AgentVersion,
    baseline: Baseline,
    patience: Patience,
    silent_until: Monotonic,
    trial: Option<Trial>,
    uptime: Duration,
    ends: u32,
}

impl Watch {
    /// Begins at `now`, when it was told to start.
    #[must_use]
    pub fn new(version: AgentVersion, baseline: Baseline, patience: Patience, now: Monotonic) -> Self {
        let silent_until = now.plus(patience.answer);
        Self { version, baseline, patience, silent_until, trial: None, uptime: Duration::ZERO, ends: 0 }
    }

    /// Takes a look; the verdict, once there is one.
    pub fn look(&mut self, look: Look, now: Monotonic) -> Option<Verdict> {
        match look {
            Look::Answer { version, uptime, health } if version == self.version.as_str() => {
                self.answered(uptime, health, now)
            }
            Look::Answer { version, .. } => self.silent(&format!("version {version} runs"), now),
            Look::Silent(why) => self.silent(&why, now),
        }
    }

    fn silent(&self, why: &str, now: Monotonic) -> Option<Verdict> {
        let seconds = self.patience.answer.as_secs();
        let told = match self.trial {
            None => format!("version {} did not answer within {seconds} s: {why}", self.version),
            Some(_) => format!("version {} has not answered for {seconds} s: {why}", self.version),
        };
        (now >= self.silent_until).then_some(Verdict::Dead(told))
    }

    fn answered(&mut self, uptime: Duration, health: Health, now: Monotonic) -> Option<Verdict> {
        self.ends += u32::from(self.trial.is_some() && uptime < self.uptime);
        (self.uptime, self.silent_until) = (uptime, now.plus(self.patience.answer));
        if self.ends > ENDS_MAX {
            let (version, ends) = (&self.version, self.ends);
            return Some(Verdict::Dead(format!("version {version} ended {ends} times while it was watched")));
        }
        let (baseline, window) = (&self.baseline, self.patience.window);
        let trial = self.trial.get_or_insert_with(|| Trial::new(baseline.clone(), window, now));
        match trial.look(&with_missing(health, baseline), now)? {
            TrialVerdict::Kept => Some(Verdict::Well),
            TrialVerdict::Failed(reasons) => Some(Verdict::Worse(reasons.join("\n"))),
        }
    }
}

/// The files are the same: a machine that is not shown any more is lost, too.
fn with_missing(mut health: Health, baseline: &Baseline) -> Health {
    for id in &baseline.machines {
        let missing = || Some("the agent does not show it any more".to_owned());
        health.machines.entry(id.clone()).or_insert_with(missing);
    }
    health
}
