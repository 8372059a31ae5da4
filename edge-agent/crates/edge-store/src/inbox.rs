//! Where the drivers leave what is to be recorded. Leaving something never waits for the disk: the lock
//! is held for a push or a swap, never during I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plant_model::{AlarmTransition, Monotonic, Sample, Timestamp};
use protocol::{DiagnosticRecord, Dropped, LossReason, SeriesId};

use crate::client::Request;

/// Most samples that wait in memory: 10 minutes of a plant of 300 samples a second. Beyond it the
/// oldest go, counted and recorded, because the newest are worth more to the people on the floor.
pub(crate) const SAMPLES_MAX: usize = 180_000;

/// Most alarm transitions that wait: a flood of a thousand a second for most of a minute. Beyond it the
/// oldest go, counted.
const TRANSITIONS_MAX: usize = 50_000;

/// Most records that wait: more than a clock is set while a disk fails. Beyond it the oldest go; they are in the
/// agent's log.
const RECORDS_MAX: usize = 256;

/// Most requests that wait; the uplink has one under way at a time.
const REQUESTS_MAX: usize = 64;

/// A transition, and when it was decided by the clock that is never set: what comes after it is measured
/// from there.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What was decided.
    pub transition: AlarmTransition,
    /// When.
    pub at: Monotonic,
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// They go last of all, and only beyond [`TRANSITIONS_MAX`].
    pub transitions: VecDeque<Decided>,
    pub transitions_dropped: u64,
    pub records: VecDeque<DiagnosticRecord>,
    pub samples: VecDeque<(SeriesId, Sample)>,
    pub samples_since: Option<Instant>,
    pub dropped: Option<Dropped>,
    pub requests: VecDeque<Request>,
    pub closed: bool,
}

/// The way into the recorder. Clones lead to the same recorder.
#[derive(Debug, Clone)]
pub struct SampleInbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl SampleInbox {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic between push and unlock leaves the queues whole.
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves samples. If too many wait, the oldest are dropped and a diagnostic record will say so.
    pub fn push_samples(&self, samples: impl IntoIterator<Item = (SeriesId, Sample)>) {
        let mut waiting = self.lock();
        let was_empty = waiting.samples.is_empty();
        waiting.samples.extend(samples);
        waiting.enforce_bounds();
        if was_empty && !waiting.samples.is_empty() {
            waiting.samples_since = Some(Instant::now());
            drop(waiting);
            self.shared.wake.notify_one();
        }
    }

    /// Leaves alarm transitions; they are committed at once, ahead of all samples.
    pub fn push_transitions(&self, transitions: impl IntoIterator<Item = Decided>) {
        let mut waiting = self.lock();
        waiting.transitions.extend(transitions);
        waiting.enforce_bounds();
        drop(waiting);
        self.shared.wake.notify_one();
    }

    /// Leaves what the gateway has to say of itself; it is committed at once.
    pub fn push_record(&self, record: DiagnosticRecord) {
        let mut waiting = self.lock();
        waiting.records.push_back(record);
        waiting.enforce_bounds();
        drop(waiting);
        self.shared.wake.notify_one();
    }

    /// Takes back, in front of what came since, what could not be committed.
    pub(crate) fn give_back(
        &self,
        transitions: Vec<Decided>,
        records: Vec<DiagnosticRecord>,
        samples: Vec<(SeriesId, Sample)>,
        dropped: Option<Dropped>,
    ) {
        let mut waiting = self.lock();
        for transition in transitions.into_iter().rev() {
            waiting.transitions.push_front(transition);
        }
        for record in records.into_iter().rev() {
            waiting.records.push_front(record);
        }
        if !samples.is_empty() {
            waiting.samples_since.get_or_insert_with(Instant::now);
        }
        for sample in samples.into_iter().rev() {
            waiting.samples.push_front(sample);
        }
        waiting.dropped = merged(dropped, waiting.dropped.take());
        waiting.enforce_bounds();
    }

    /// Samples that wait.
    pub(crate) fn samples_waiting(&self) -> usize {
        self.lock().samples.len()
    }

    pub(crate) fn push_request(&self, request: Request) -> bool {
        let mut waiting = self.lock();
        let accepted = !waiting.closed && waiting.requests.len() < REQUESTS_MAX;
        if accepted {
            waiting.requests.push_back(request);
        }
        drop(waiting);
        self.shared.wake.notify_one();
        accepted
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.shared.wake.notify_one();
    }

    /// Waits until there is work, then runs `take` on what waits. While commits are held back only requests
    /// and the end are work.
    pub(crate) fn wait<R>(&self, pace: &Pace, take: impl FnOnce(&mut Waiting) -> R) -> R {
        let began = Instant::now();
        let mut waiting = self.lock();
        loop {
            let due_in = pace.due_in(&waiting);
            let ready = !waiting.requests.is_empty()
                || waiting.closed
                || due_in.is_some_and(|left| left.is_zero())
                || began.elapsed() >= pace.idle;
            if ready {
                return take(&mut waiting);
            }
            let left = due_in.unwrap_or(pace.idle).min(pace.idle.saturating_sub(began.elapsed()));
            let (guard, _) =
                self.shared.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
        }
    }
}

/// When what waits is to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub commit_interval: Duration,
    pub commit_samples: usize,
    /// How long to wait when there is nothing to do.
    pub idle: Duration,
    /// Nothing is committed before this: the last attempt failed.
    pub held_until: Option<Instant>,
}

impl Pace {
    /// Whether commits are held back.
    pub(crate) fn is_held(&self) -> bool {
        self.held_until.is_some_and(|at| at > Instant::now())
    }

    /// How long until something is to be committed; `None` while nothing waits.
    pub(crate) fn due_in(&self, waiting: &Waiting) -> Option<Duration> {
        let is_urgent = !waiting.transitions.is_empty() || !waiting.records.is_empty();
        let due_in = if is_urgent || waiting.samples.len() >= self.commit_samples {
            Some(Duration::ZERO)
        } else {
            waiting.samples_since.map(|since| self.commit_interval.saturating_sub(since.elapsed()))
        };
        let held = self.held_until.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        due_in.map(|left| left.max(held))
    }
}

impl Waiting {
    /// The oldest go where too many wait.
    fn enforce_bounds(&mut self) {
        while self.samples.len() > SAMPLES_MAX {
            if let Some((_, oldest)) = self.samples.pop_front() {
                note_dropped(&mut self.dropped, oldest.timestamp());
            }
        }
        while self.transitions.len() > TRANSITIONS_MAX {
            self.transitions.pop_front();
            self.transitions_dropped += 1;
        }
        let over = self.records.len().saturating_sub(RECORDS_MAX);
        self.records.drain(..over);
    }
}

/// Two losses as one; the first is the older.
fn merged(first: Option<Dropped>, second: Option<Dropped>) -> Option<Dropped> {
    match (first, second) {
        (Some(first), Some(second)) => {
            Some(Dropped { samples: first.samples + second.samples, to: second.to, ..first })
        }
        (first, second) => first.or(second),
    }
}

fn note_dropped(slot: &mut Option<Dropped>, at: Timestamp) {
    match slot {
        Some(dropped) => {
            dropped.samples += 1;
            dropped.to = at;
        }
        None => *slot = Some(Dropped { samples: 1, reason: LossReason::StoreStalled, from: at, to: at }),
    }
}
