//! The writer thread: groups samples, commits alarms at once, answers the uplink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plant_model::{Sample, Timestamp};
use protocol::limits::BATCH_RECORDS_MAX;
use protocol::{
    BatchBody, DiagnosticRecord, Dropped, LossReason, Sequence, SeriesId, SeriesSamples, StreamId,
    StreamRange,
};
use tokio::sync::{oneshot, watch};

use crate::inbox::{Decided, SampleInbox, Waiting};
use crate::{EdgeStore, StoreError, StoredBatch};

/// Pause before a failed commit is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How often old batches are looked for when nothing else happens.
const IDLE: Duration = Duration::from_secs(5);

/// What the uplink asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Read {
        stream: StreamId,
        from: Sequence,
        reply: oneshot::Sender<Result<Option<StoredBatch>, StoreError>>,
    },
    Acknowledge {
        stream: StreamId,
        through: Sequence,
    },
    /// Commit what waits, whatever the interval says.
    Flush {
        reply: oneshot::Sender<()>,
    },
}

/// What the recorder did since it started.
#[derive(Debug, Default)]
pub struct RecorderCounters {
    /// Samples committed.
    pub samples_committed: AtomicU64,
    /// Samples dropped because the store stalled for too long.
    pub samples_dropped: AtomicU64,
    /// Alarm transitions committed.
    pub transitions_committed: AtomicU64,
    /// Batches committed.
    pub batches_committed: AtomicU64,
    /// Commits that failed and were tried again.
    pub commit_failures: AtomicU64,
    /// Whether the last commit failed (1) or not (0).
    pub stalled: AtomicU64,
}

/// Told of transitions right after they were committed, as the batch with this sequence. It is called by
/// the writer and must be quick.
pub type OnAlarms = Box<dyn Fn(Sequence, &[Decided]) + Send>;

/// The uplink's view of the buffer.
#[derive(Debug, Clone)]
pub struct StoreClient {
    inbox: SampleInbox,
    ranges: watch::Receiver<[StreamRange; StreamId::ALL.len()]>,
}

impl StoreClient {
    /// What is held of every stream; changes after each commit.
    #[must_use]
    pub fn ranges(&self) -> watch::Receiver<[StreamRange; StreamId::ALL.len()]> {
        self.ranges.clone()
    }

    /// The batch at or after `from`, if one is held.
    ///
    /// # Errors
    /// The file cannot be read, or the recorder has stopped.
    pub async fn read(&self, stream: StreamId, from: Sequence) -> Result<Option<StoredBatch>, StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Read { stream, from, reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits the samples that wait, whatever the interval says.
    ///
    /// # Errors
    /// The recorder has stopped.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Flush { reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)
    }

    /// Notes the backend's watermark. Losing this note costs a resend, not data.
    pub fn acknowledge(&self, stream: StreamId, through: Sequence) {
        self.inbox.push_request(Request::Acknowledge { stream, through });
    }
}

/// The running writer thread.
#[derive(Debug)]
pub struct Recorder {
    inbox: SampleInbox,
    client: StoreClient,
    counters: Arc<RecorderCounters>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the writer thread. `wall` reads the wall clock; `on_alarms` is told of committed transitions.
    ///
    /// # Errors
    /// The buffer cannot be read, or the thread cannot be started.
    pub fn start(
        store: EdgeStore,
        wall: impl Fn() -> Timestamp + Send + 'static,
        on_alarms: OnAlarms,
    ) -> Result<Self, StoreError> {
        let (ranges_out, ranges) = watch::channel(store.ranges()?);
        let inbox = SampleInbox::new();
        let counters = Arc::new(RecorderCounters::default());
        let writer = Writer {
            store,
            inbox: inbox.clone(),
            ranges: ranges_out,
            counters: Arc::clone(&counters),
            wall: Box::new(wall),
            on_alarms,
            freed_at: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run());
        let thread = thread.map_err(|_| StoreError::Closed)?;
        let client = StoreClient { inbox: inbox.clone(), ranges };
        Ok(Self { inbox, client, counters, thread: Some(thread) })
    }

    /// Where the drivers leave samples and transitions.
    #[must_use]
    pub fn inbox(&self) -> SampleInbox {
        self.inbox.clone()
    }

    /// The uplink's view.
    #[must_use]
    pub fn client(&self) -> StoreClient {
        self.client.clone()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Arc<RecorderCounters> {
        Arc::clone(&self.counters)
    }

    /// Commits what waits and ends the thread. Call it after the drivers have stopped.
    pub fn stop(mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store thread panicked");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Committed {
    /// As the batch with this sequence.
    As(Sequence),
    /// The recorder stops and cannot wait for the store.
    GivenUp,
    /// The body is over the limits of one batch.
    NoBatch,
}

/// What one turn of the loop takes from the inbox.
struct Work {
    transitions: Vec<Decided>,
    dropped: Option<Dropped>,
    samples: Vec<(SeriesId, Sample)>,
    requests: Vec<Request>,
    closed: bool,
}

struct Writer {
    store: EdgeStore,
    inbox: SampleInbox,
    ranges: watch::Sender<[StreamRange; StreamId::ALL.len()]>,
    counters: Arc<RecorderCounters>,
    wall: Box<dyn Fn() -> Timestamp + Send>,
    on_alarms: OnAlarms,
    freed_at: Instant,
}

impl Writer {
    fn run(mut self) {
        loop {
            let settings = self.store.settings();
            let (interval, most) = (settings.commit_interval, settings.commit_samples);
            let work = self.inbox.wait(interval, most, IDLE, |waiting| take(waiting, interval, most));
            if self.commit_all(&work) {
                self.publish_ranges();
            }
            for request in work.requests {
                self.answer(request);
            }
            self.free();
            if work.closed && work.transitions.is_empty() && work.samples.is_empty() {
                return;
            }
        }
    }

    /// Commits in the order of urgency; says whether there was anything.
    fn commit_all(&mut self, work: &Work) -> bool {
        self.commit_transitions(&work.transitions);
        if let Some(dropped) = &work.dropped {
            self.counters.samples_dropped.fetch_add(dropped.samples, Ordering::Relaxed);
            self.commit(&BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped.clone())]));
        }
        let most = self.store.settings().commit_samples;
        for samples in work.samples.chunks(most) {
            self.commit_samples(samples);
        }
        !work.transitions.is_empty() || work.dropped.is_some() || !work.samples.is_empty()
    }

    /// Commits transitions as one batch, or in halves where one would be too large.
    fn commit_transitions(&mut self, decided: &[Decided]) {
        if decided.is_empty() {
            return;
        }
        let transitions = decided.iter().map(|d| d.transition.clone()).collect();
        match self.commit(&BatchBody::Transitions(transitions)) {
            Committed::As(sequence) => (self.on_alarms)(sequence, decided),
            Committed::NoBatch if decided.len() > 1 => {
                let (first, second) = decided.split_at(decided.len() / 2);
                self.commit_transitions(first);
                self.commit_transitions(second);
            }
            // The texts of one transition are bounded far below the limits of a batch.
            Committed::NoBatch | Committed::GivenUp => {}
        }
    }

    /// Commits samples as one batch, or in halves where one would be too large.
    fn commit_samples(&mut self, samples: &[(SeriesId, Sample)]) {
        if samples.is_empty() || self.commit(&BatchBody::Samples(group(samples))) != Committed::NoBatch {
            return;
        }
        if let [(_, only)] = samples {
            let at = only.timestamp();
            let dropped = Dropped { samples: 1, reason: LossReason::Damaged, from: at, to: at };
            self.counters.samples_dropped.fetch_add(1, Ordering::Relaxed);
            self.commit(&BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped)]));
            return;
        }
        let (first, second) = samples.split_at(samples.len() / 2);
        self.commit_samples(first);
        self.commit_samples(second);
    }

    /// Commits a batch, trying again for as long as it takes: nothing that was taken from the inbox is
    /// given up. Samples gather in the inbox meanwhile, within its bound.
    fn commit(&mut self, body: &BatchBody) -> Committed {
        loop {
            match self.store.commit(body, (self.wall)()) {
                Ok(header) => {
                    self.count(body);
                    return Committed::As(header.sequence);
                }
                Err(StoreError::Encode(error)) => {
                    tracing::warn!(error = %error, entries = body.count(), "a batch cannot be made in one piece");
                    return Committed::NoBatch;
                }
                Err(error) => {
                    if self.counters.stalled.swap(1, Ordering::Relaxed) == 0 {
                        tracing::error!(error = %error, "the buffer cannot be written; trying again");
                    }
                    self.counters.commit_failures.fetch_add(1, Ordering::Relaxed);
                    if self.inbox.is_closed() {
                        tracing::error!(
                            entries = body.count(),
                            "stopping with entries that could not be committed"
                        );
                        return Committed::GivenUp;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn count(&self, body: &BatchBody) {
        let counter = match body {
            BatchBody::Samples(_) => Some(&self.counters.samples_committed),
            BatchBody::Transitions(_) => Some(&self.counters.transitions_committed),
            BatchBody::Records(_) => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(entries(body), Ordering::Relaxed);
        }
        self.counters.batches_committed.fetch_add(1, Ordering::Relaxed);
        if self.counters.stalled.swap(0, Ordering::Relaxed) == 1 {
            tracing::info!("the buffer can be written again");
        }
    }

    /// Frees what is acknowledged and old, at most one chunk every [`IDLE`].
    fn free(&mut self) {
        if self.freed_at.elapsed() < IDLE {
            return;
        }
        self.freed_at = Instant::now();
        match self.store.free_replayed((self.wall)()) {
            Ok(0) => {}
            Ok(_) => self.publish_ranges(),
            Err(error) => tracing::warn!(error = %error, "cannot free acknowledged batches"),
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Read { stream, from, reply } => {
                // The asker may have gone; then nobody needs the answer.
                let _ = reply.send(self.store.read(stream, from));
            }
            Request::Acknowledge { stream, through } => {
                if let Err(error) = self.store.acknowledge(stream, through) {
                    tracing::warn!(error = %error, "cannot note an acknowledgement; it will come again");
                }
            }
            Request::Flush { reply } => {
                let _ = reply.send(());
            }
        }
    }

    fn publish_ranges(&self) {
        match self.store.ranges() {
            Ok(ranges) => {
                self.ranges.send_replace(ranges);
            }
            Err(error) => tracing::warn!(error = %error, "cannot read what the buffer holds"),
        }
    }
}

fn take(waiting: &mut Waiting, interval: Duration, most: usize) -> Work {
    let flush = waiting.requests.iter().any(|r| matches!(r, Request::Flush { .. }));
    let all = flush || waiting.closed;
    let due = all
        || waiting.samples.len() >= most
        || waiting.samples_since.is_some_and(|since| since.elapsed() >= interval);
    let samples = if due {
        let count = if all { waiting.samples.len() } else { waiting.samples.len().min(most) };
        let taken = waiting.samples.drain(..count).collect();
        waiting.samples_since = if waiting.samples.is_empty() { None } else { waiting.samples_since };
        taken
    } else {
        Vec::new()
    };
    let transitions = waiting.transitions.len().min(BATCH_RECORDS_MAX);
    Work {
        transitions: waiting.transitions.drain(..transitions).collect(),
        dropped: waiting.dropped.take(),
        samples,
        requests: waiting.requests.drain(..).collect(),
        closed: waiting.closed,
    }
}

/// Samples by series, the order within each kept.
fn group(samples: &[(SeriesId, Sample)]) -> Vec<SeriesSamples> {
    let mut by_series: BTreeMap<SeriesId, Vec<Sample>> = BTreeMap::new();
    for (series, sample) in samples {
        by_series.entry(*series).or_default().push(sample.clone());
    }
    by_series.into_iter().map(|(series, samples)| SeriesSamples { series, samples }).collect()
}

fn entries(body: &BatchBody) -> u64 {
    u64::try_from(body.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
