//! When the timers of alarms are noted, and what there is to note.
//!
//! They are asked for once a commit interval and go with the samples that are committed then. Only what
//! changed is written, so that nothing is while no timer runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use plant_model::{AlarmId, AlarmTimers, MachineId};

use crate::alarms::StoredAlarm;
use crate::inbox::Decided;

/// Tells the alarms whose timers run. It is called by the writer and must be quick.
pub type RunningTimers = Box<dyn Fn() -> Vec<StoredAlarm> + Send>;

/// [`RunningTimers`] on its way to the writer.
pub(crate) struct Source(pub RunningTimers);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

type Noted = BTreeMap<(MachineId, AlarmId), StoredAlarm>;

pub(crate) struct TimerNotes {
    /// `None` until somebody tells: until then what is in the file stays.
    source: Option<RunningTimers>,
    /// What is in the file.
    noted: Noted,
    /// What is to be written.
    changed: Vec<StoredAlarm>,
    asked_at: Instant,
}

impl TimerNotes {
    /// `stored` is what the file holds.
    pub(crate) fn new(stored: Vec<StoredAlarm>) -> Self {
        let running = stored.into_iter().filter(|alarm| alarm.timers.any());
        Self { source: None, noted: by_name(running), changed: Vec::new(), asked_at: Instant::now() }
    }

    pub(crate) fn follow(&mut self, source: RunningTimers) {
        self.source = Some(source);
    }

    /// Asks what runs, if the last time is longer ago than `pause`.
    pub(crate) fn ask(&mut self, pause: Duration) {
        let Some(source) = self.source.as_ref().filter(|_| self.asked_at.elapsed() >= pause) else { return };
        self.asked_at = Instant::now();
        let running = by_name(source());
        let stopped = self.noted.iter().filter(|(name, _)| !running.contains_key(*name));
        let stopped = stopped.map(|(_, one)| StoredAlarm { timers: AlarmTimers::NONE, ..one.clone() });
        let news = running.iter().filter(|(name, one)| self.noted.get(*name) != Some(*one));
        self.changed = stopped.chain(news.map(|(_, one)| one.clone())).collect();
    }

    pub(crate) fn changed(&self) -> &[StoredAlarm] {
        &self.changed
    }

    /// What was to be written is written.
    pub(crate) fn written(&mut self) {
        for one in self.changed.drain(..) {
            let name = (one.machine.clone(), one.alarm.clone());
            if one.timers.any() {
                self.noted.insert(name, one);
            } else {
                self.noted.remove(&name);
            }
        }
    }

    /// Transitions were committed: of their alarms no timer is noted any more.
    pub(crate) fn moved(&mut self, decided: &[Decided]) {
        for Decided { transition, .. } in decided {
            self.noted.remove(&(transition.machine.clone(), transition.alarm.clone()));
        }
    }
}

fn by_name(alarms: impl IntoIterator<Item = StoredAlarm>) -> Noted {
    alarms.into_iter().map(|one| ((one.machine.clone(), one.alarm.clone()), one)).collect()
}

#[cfg(test)]
mod tests;
