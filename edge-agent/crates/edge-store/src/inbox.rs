//! Where the drivers leave what is to be recorded. Leaving something never waits for the disk: the lock
//! is held for a push or a swap, never during I/O.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plant_model::{AlarmTransition, Monotonic, Sample, Timestamp};
use protocol::{Dropped, LossReason, SeriesId};

use crate::recorder::Request;

/// Most samples that wait in memory: 10 minutes of a plant of 300 samples a second. Beyond it the
/// oldest go, counted and recorded, because the newest are worth more to the people on the floor.
pub(crate) const SAMPLES_MAX: usize = 180_000;

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
    /// Alarm transitions are never dropped: their number is bounded by what the plant can raise.
    pub transitions: VecDeque<Decided>,
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
        while waiting.samples.len() > SAMPLES_MAX {
            if let Some((_, oldest)) = waiting.samples.pop_front() {
                note_dropped(&mut waiting.dropped, oldest.timestamp());
            }
        }
        if was_empty && !waiting.samples.is_empty() {
            waiting.samples_since = Some(Instant::now());
            drop(waiting);
            self.shared.wake.notify_one();
        }
    }

    /// Leaves alarm transitions; they are committed at once, ahead of all samples.
    pub fn push_transitions(&self, transitions: impl IntoIterator<Item = Decided>) {
        self.lock().transitions.extend(transitions);
        self.shared.wake.notify_one();
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

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until there is work, then runs `take` on what waits.
    pub(crate) fn wait<R>(
        &self,
        commit_interval: Duration,
        commit_samples: usize,
        idle: Duration,
        take: impl FnOnce(&mut Waiting) -> R,
    ) -> R {
        let began = Instant::now();
        let mut waiting = self.lock();
        loop {
            let due_in = waiting.samples_since.map(|since| commit_interval.saturating_sub(since.elapsed()));
            let ready = !waiting.transitions.is_empty()
                || !waiting.requests.is_empty()
                || waiting.closed
                || waiting.samples.len() >= commit_samples
                || due_in.is_some_and(|left| left.is_zero())
                || began.elapsed() >= idle;
            if ready {
                return take(&mut waiting);
            }
            let left = due_in.unwrap_or(idle).min(idle.saturating_sub(began.elapsed()));
            let (guard, _) =
                self.shared.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
        }
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
