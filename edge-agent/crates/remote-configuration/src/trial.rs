//! The trial of a new set of machine files: what was good before must become good again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plant_model::Monotonic;
use serde::{Deserialize, Serialize};

/// What was good before a new set of files was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The ids of the machines from which data came.
    pub machines: BTreeSet<String>,
    /// Whether the uplink was connected.
    pub uplink: bool,
}

/// How machines and uplink are at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Each machine that is configured: `None` while data come from it, else the reason why not.
    pub machines: BTreeMap<String, Option<String>>,
    /// `None` while the uplink is connected, else the reason why not.
    pub uplink: Option<String>,
}

impl Health {
    /// What is good now.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let good = self.machines.iter().filter(|(_, reason)| reason.is_none());
        Baseline { machines: good.map(|(id, _)| id.clone()).collect(), uplink: self.uplink.is_none() }
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What was good before is good again.
    Kept,
    /// It is not: each machine, or the uplink, with the reason.
    Failed(Vec<String>),
}

/// A trial under way.
///
/// It is judged at the end of its window. Every machine that was good before and still exists must be good then; an
/// uplink that was connected before must have been connected at some moment of the second half, since a link of a
/// gateway may break for a moment at any time.
#[derive(Debug, Clone)]
pub struct Trial {
    before: Baseline,
    window: Duration,
    half_at: Monotonic,
    ends_at: Monotonic,
    saw_uplink: bool,
}

impl Trial {
    /// Begins at `now`.
    #[must_use]
    pub fn new(before: Baseline, window: Duration, now: Monotonic) -> Self {
        let at = |after: Duration| now.plus(after);
        Self { before, window, half_at: at(window / 2), ends_at: at(window), saw_uplink: false }
    }

    /// When it ends.
    #[must_use]
    pub const fn ends_at(&self) -> Monotonic {
        self.ends_at
    }

    /// Takes a look; the verdict once the window is over.
    pub fn look(&mut self, health: &Health, now: Monotonic) -> Option<Verdict> {
        self.saw_uplink |= now >= self.half_at && health.uplink.is_none();
        if now < self.ends_at {
            return None;
        }
        let mut failed: Vec<String> = self.lost_machines(health).collect();
        if self.before.uplink && !self.saw_uplink {
            let reason = health.uplink.as_deref().unwrap_or("it connected at the very end");
            failed.push(format!("the uplink was connected before and is not: {reason}"));
        }
        Some(if failed.is_empty() { Verdict::Kept } else { Verdict::Failed(failed) })
    }

    fn lost_machines<'a>(&'a self, health: &'a Health) -> impl Iterator<Item = String> + 'a {
        let seconds = self.window.as_secs();
        self.before.machines.iter().filter_map(move |id| {
            let reason = health.machines.get(id)?.as_ref()?;
            Some(format!("machine {id} was good before and is not {seconds} s after: {reason}"))
        })
    }
}
