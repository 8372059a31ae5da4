//! The writer thread: groups samples, commits alarms at once, answers the uplink.
//!
//! Nothing leaves the inbox for good before it is committed: what could not be committed is given back to
//! it and tried again, for as long as it takes. Meanwhile the uplink is served from the file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plant_model::{Sample, Timestamp};
use protocol::limits::BATCH_RECORDS_MAX;
use protocol::{
    BatchBody, DiagnosticRecord, Dropped, LossReason, Sequence, SeriesId, SeriesSamples, StreamId,
    StreamRange,
};
use tokio::sync::watch;

use crate::client::{Request, StoreClient};
use crate::health::{BufferHealth, RecorderCounters};
use crate::inbox::{Decided, Pace, SampleInbox, Waiting};
use crate::timers::{RunningTimers, Source, TimerNotes};
use crate::{EdgeStore, StoreError};

/// Pause before a failed commit is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Failures in a row after which the file is opened again, and again after as many.
const REOPEN_AFTER: u32 = 10;

/// Failures in a row between two lines in the log: one a minute.
const REPEAT_AFTER: u32 = 120;

/// Pause between two steps of growth: leaves the disk to everybody else. 1 GiB takes half an hour, in which a
/// plant commits a few megabytes.
const GROWTH_PAUSE: Duration = Duration::from_secs(2);

/// How often old batches are looked for when nothing else happens.
const IDLE: Duration = Duration::from_secs(5);

/// Told of transitions right after they were committed, as the batch with this sequence. It is called by
/// the writer and must be quick.
pub type OnAlarms = Box<dyn Fn(Sequence, &[Decided]) + Send>;

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
        let mut store = store;
        store.start_clock(wall());
        let (ranges_out, ranges) = watch::channel(store.ranges()?);
        let timers = TimerNotes::new(store.alarms()?);
        let inbox = SampleInbox::new();
        let counters = Arc::new(RecorderCounters::default());
        let writer = Writer {
            store,
            inbox: inbox.clone(),
            ranges: ranges_out,
            counters: Arc::clone(&counters),
            wall: Box::new(wall),
            on_alarms,
            timers,
            trouble: None,
            tended_at: Instant::now(),
            is_growing: true,
            is_placing: true,
            booted_at: None,
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

    /// From here on the timers that run are noted, so that they go on after a restart. What `running` does
    /// not tell is forgotten: call this once the alarms are as they were.
    pub fn note_timers(&self, running: RunningTimers) {
        self.inbox.push_request(Request::NoteTimers { running: Source(running) });
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

/// What became of the first of some entries.
struct Part {
    count: usize,
    /// The batch they are in; `None` where an entry was given up.
    sequence: Option<Sequence>,
}

/// What one turn of the loop takes from the inbox.
struct Work {
    transitions: Vec<Decided>,
    records: Vec<DiagnosticRecord>,
    dropped: Option<Dropped>,
    samples: Vec<(SeriesId, Sample)>,
    requests: Vec<Request>,
    closed: bool,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.transitions.is_empty()
            && self.records.is_empty()
            && self.dropped.is_none()
            && self.samples.is_empty()
    }
}

/// Commits fail.
struct Trouble {
    failures: u32,
    again_at: Instant,
}

struct Writer {
    store: EdgeStore,
    inbox: SampleInbox,
    ranges: watch::Sender<[StreamRange; StreamId::ALL.len()]>,
    counters: Arc<RecorderCounters>,
    wall: Box<dyn Fn() -> Timestamp + Send>,
    on_alarms: OnAlarms,
    timers: TimerNotes,
    trouble: Option<Trouble>,
    /// When old batches were last looked for, and the file last grew.
    tended_at: Instant,
    is_growing: bool,
    /// There may be more batches whose time has become known.
    is_placing: bool,
    /// When the system was booted, if that became known and is not noted yet.
    booted_at: Option<Timestamp>,
}

impl Writer {
    fn run(mut self) {
        self.tend();
        loop {
            let pace = self.pace();
            let counters = Arc::clone(&self.counters);
            let mut work = self.inbox.wait(&pace, |waiting| take(waiting, &pace, &counters));
            let committed = self.commit_all(&mut work);
            let closed = work.closed;
            let requests = std::mem::take(&mut work.requests);
            let is_stalled = committed.is_err();
            if let Err(error) = committed {
                self.give_back(work, &error);
            }
            for request in requests {
                self.answer(request, is_stalled);
            }
            if closed {
                self.close();
                return;
            }
            self.tend();
        }
    }

    fn pace(&self) -> Pace {
        let settings = self.store.settings();
        Pace {
            commit_interval: settings.commit_interval,
            commit_samples: settings.commit_samples,
            idle: match (self.is_placing && self.trouble.is_none(), self.is_growing) {
                (true, _) => Duration::ZERO,
                (false, true) => GROWTH_PAUSE,
                (false, false) => IDLE,
            },
            held_until: self.trouble.as_ref().map(|t| t.again_at),
        }
    }

    /// Commits in the order of urgency. What is committed leaves `work`.
    fn commit_all(&mut self, work: &mut Work) -> Result<(), StoreError> {
        self.ask_for_timers(work);
        if work.is_empty() && self.timers.changed().is_empty() {
            return Ok(());
        }
        self.commit_transitions(&mut work.transitions)?;
        if !work.records.is_empty() {
            self.commit(&BatchBody::Records(work.records.clone()))?;
            work.records.clear();
        }
        if let Some(dropped) = &work.dropped {
            let samples = dropped.samples;
            self.commit(&BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped.clone())]))?;
            self.counters.samples_dropped.fetch_add(samples, Ordering::Relaxed);
            work.dropped = None;
        }
        let most = self.store.settings().commit_samples;
        while !work.samples.is_empty() {
            let part = work.samples.len().min(most);
            let make = |part: &[(SeriesId, Sample)]| BatchBody::Samples(group(part));
            let done = self.commit_first(&work.samples[..part], make)?;
            work.samples.drain(..done.count);
        }
        if !self.timers.changed().is_empty() {
            self.store.note_timers(self.timers.changed(), (self.wall)())?;
            self.timers.written();
        }
        self.publish();
        Ok(())
    }

    /// Timers go with samples; where none come, by themselves, and at the end in any case.
    fn ask_for_timers(&mut self, work: &Work) {
        if self.pace().is_held() {
            return;
        }
        let interval = self.store.settings().commit_interval;
        self.timers.ask(match (work.closed, work.samples.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, false) => interval,
            (false, true) => 2 * interval,
        });
    }

    /// Commits transitions in as many batches as they take, and tells who waits for them of each.
    fn commit_transitions(&mut self, decided: &mut Vec<Decided>) -> Result<(), StoreError> {
        let make =
            |part: &[Decided]| BatchBody::Transitions(part.iter().map(|d| d.transition.clone()).collect());
        while !decided.is_empty() {
            let most = decided.len().min(BATCH_RECORDS_MAX);
            let part = self.commit_first(&decided[..most], make)?;
            if let Some(sequence) = part.sequence {
                self.timers.moved(&decided[..part.count]);
                (self.on_alarms)(sequence, &decided[..part.count]);
            }
            decided.drain(..part.count);
        }
        Ok(())
    }

    /// Commits the first of some entries, as many as one message carries.
    fn commit_first<T>(
        &mut self,
        entries: &[T],
        make: impl Fn(&[T]) -> BatchBody,
    ) -> Result<Part, StoreError> {
        let mut count = entries.len();
        loop {
            match self.commit(&make(&entries[..count])) {
                Ok(sequence) => return Ok(Part { count, sequence: Some(sequence) }),
                Err(StoreError::Encode(_)) if count > 1 => count /= 2,
                Err(StoreError::Encode(error)) => {
                    tracing::error!(error = %error, "an entry that no message can carry is given up");
                    self.give_up_one()?;
                    return Ok(Part { count: 1, sequence: None });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Records an entry that cannot be encoded by itself.
    fn give_up_one(&mut self) -> Result<(), StoreError> {
        let at = (self.wall)();
        let dropped = Dropped { samples: 1, reason: LossReason::Damaged, from: at, to: at };
        self.counters.samples_dropped.fetch_add(1, Ordering::Relaxed);
        self.commit(&BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped)])).map(|_| ())
    }

    fn commit(&mut self, body: &BatchBody) -> Result<Sequence, StoreError> {
        let header = match body {
            BatchBody::Samples(_) => {
                let header = self.store.commit_noting(body, self.timers.changed(), (self.wall)())?;
                self.timers.written();
                header
            }
            BatchBody::Transitions(_) | BatchBody::Records(_) => self.store.commit(body, (self.wall)())?,
        };
        let counter = match body {
            BatchBody::Samples(_) => Some(&self.counters.samples_committed),
            BatchBody::Transitions(_) => Some(&self.counters.transitions_committed),
            BatchBody::Records(_) => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(entries(body), Ordering::Relaxed);
        }
        self.counters.batches_committed.fetch_add(1, Ordering::Relaxed);
        if self.trouble.take().is_some() {
            self.counters.set_health(BufferHealth::Writable);
            tracing::info!("the buffer can be written again");
        }
        Ok(header.sequence)
    }

    /// After a failed commit: everything back to the inbox, and a pause.
    fn give_back(&mut self, work: Work, error: &StoreError) {
        let failures = self.trouble.as_ref().map_or(0, |t| t.failures) + 1;
        let health = BufferHealth::of(error);
        self.counters.commit_failures.fetch_add(1, Ordering::Relaxed);
        self.counters.set_health(health);
        if failures % REPEAT_AFTER == 1 {
            tracing::error!(error = %error, health = health.name(), failures,
                "the buffer cannot be written; samples wait in memory and it is tried again");
        }
        self.inbox.give_back(work.transitions, work.records, work.samples, work.dropped);
        if failures.is_multiple_of(REOPEN_AFTER)
            && health != BufferHealth::Full
            && let Err(error) = self.store.reopen()
        {
            tracing::warn!(error = %error, "the buffer cannot be opened again");
        }
        self.publish();
        self.trouble = Some(Trouble { failures, again_at: Instant::now() + RETRY });
    }

    /// The last turn: what could not be committed is lost with the process.
    fn close(&mut self) {
        let waiting = self.inbox.samples_waiting();
        if waiting > 0 {
            tracing::error!(samples = waiting, "stopping with samples that could not be committed");
        }
        if let Err(error) = self.store.flush() {
            tracing::warn!(error = %error, "the newest acknowledgements are not noted; they will come again");
        }
    }

    /// Housekeeping between commits: room for the next, one step of growth, one chunk of old batches.
    fn tend(&mut self) {
        let pause = if self.is_growing { GROWTH_PAUSE } else { IDLE };
        if self.trouble.is_some() {
            return;
        }
        let now = (self.wall)();
        self.place(now);
        let mut done = self.store.make_ready(now);
        if done.is_ok() && self.tended_at.elapsed() >= pause {
            (self.tended_at, self.is_placing) = (Instant::now(), true);
            done = self.store.grow().map(|grown| self.is_growing = grown);
            done = done.and_then(|()| self.store.free_replayed(now).map(|_| ()));
            self.publish();
        }
        if let Err(error) = done {
            tracing::warn!(error = %error, "the buffer cannot be tended");
        }
    }

    /// Gives one chunk of batches the time that they were committed without.
    fn place(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.is_placing) {
            return;
        }
        let noted = self.booted_at.map_or(Ok(()), |booted_at| self.store.know_time(booted_at));
        let placed = noted.and_then(|()| {
            self.booted_at = None;
            self.store.place(now)
        });
        match placed {
            Ok(is_placing) => self.is_placing = is_placing,
            Err(error) => tracing::warn!(error = %error, "batches cannot be given their time yet"),
        }
        self.publish();
    }

    fn answer(&mut self, request: Request, is_stalled: bool) {
        match request {
            Request::Read { stream, from, reply } => {
                let answer = self.store.read(stream, from, (self.wall)());
                if let Err(error) = &answer
                    && BufferHealth::of(error) == BufferHealth::Damaged
                {
                    self.counters.note_damage();
                    tracing::error!(error = %error, "the buffer is damaged; a restart salvages what can be read");
                }
                // The asker may have gone; then nobody needs the answer.
                let _ = reply.send(answer);
            }
            Request::NoteTimers { running: Source(running) } => self.timers.follow(running),
            Request::Acknowledge { stream, through } => self.store.acknowledge(stream, through),
            Request::KnowTime { booted_at } => {
                (self.booted_at, self.is_placing) = (Some(booted_at), true);
            }
            Request::Divide { stream, sequence, bytes_max } => self.divide(stream, sequence, bytes_max),
            // The asker may have gone; then nobody needs the answer.
            Request::Tally { stream, from, recent, reply } => {
                drop(reply.send(self.store.tally(stream, from, recent)));
            }
            Request::Series { machines, reply } => {
                let now = (self.wall)();
                let numbers = machines.iter().map(|(machine, tags)| self.store.series(machine, tags, now));
                drop(reply.send(numbers.collect()));
            }
            Request::Remembered { reply } => {
                let alarms = self.store.alarms();
                drop(reply.send(alarms.and_then(|alarms| Ok((alarms, self.store.commands()?)))));
            }
            Request::Facts { reply } => {
                let acked = StreamId::ALL.map(|stream| self.store.acked(stream));
                drop(reply.send(self.store.facts().map(|facts| (facts, acked))));
            }
            Request::Flush { reply } => {
                let _ = reply.send(if is_stalled { Err(StoreError::Stalled) } else { Ok(()) });
            }
        }
    }

    fn divide(&mut self, stream: StreamId, sequence: Sequence, bytes_max: usize) {
        tracing::warn!(stream.id = %stream, seq.first = %sequence, size_bytes_max = bytes_max,
            "a batch is larger than the broker takes and is divided");
        match self.store.divide(stream, sequence, bytes_max, (self.wall)()) {
            Ok(()) => {
                self.counters.batches_divided.fetch_add(1, Ordering::Relaxed);
                self.publish();
            }
            Err(error) => {
                tracing::warn!(error = %error, "the batch cannot be divided; it will be tried again");
            }
        }
    }

    /// Tells the uplink what is held, and the status interface how the disk is used.
    fn publish(&mut self) {
        match self.store.ranges() {
            Ok(ranges) => {
                self.ranges.send_replace(ranges);
            }
            Err(error) => tracing::warn!(error = %error, "cannot read what the buffer holds"),
        }
        let counters = &self.counters;
        let waiting = u64::try_from(self.inbox.samples_waiting()).unwrap_or(u64::MAX);
        counters.samples_waiting.store(waiting, Ordering::Relaxed);
        counters.entries_evicted.store(self.store.evicted, Ordering::Relaxed);
        counters.batches_set_aside.store(self.store.set_aside, Ordering::Relaxed);
        if let Ok(unplaced) = self.store.unplaced() {
            counters.batches_unplaced.store(unplaced, Ordering::Relaxed);
        }
        if let Ok(usage) = self.store.usage() {
            counters.held_bytes.store(usage.held_bytes, Ordering::Relaxed);
            counters.disk_bytes.store(usage.disk_bytes, Ordering::Relaxed);
            counters.bytes_max.store(usage.bytes_max, Ordering::Relaxed);
        }
        if let Ok(backlog) = self.store.backlog() {
            counters.set_backlog(backlog);
        }
    }
}

fn take(waiting: &mut Waiting, pace: &Pace, counters: &RecorderCounters) -> Work {
    let dropped = std::mem::take(&mut waiting.transitions_dropped);
    counters.transitions_dropped.fetch_add(dropped, Ordering::Relaxed);
    let flush = waiting.requests.iter().any(|r| matches!(r, Request::Flush { .. }));
    let all = flush || waiting.closed;
    let mut work = Work {
        transitions: Vec::new(),
        records: Vec::new(),
        dropped: None,
        samples: Vec::new(),
        requests: waiting.requests.drain(..).collect(),
        closed: waiting.closed,
    };
    if !all && pace.is_held() {
        return work;
    }
    work.transitions = waiting.transitions.drain(..).collect();
    work.records = waiting.records.drain(..).collect();
    work.dropped = waiting.dropped.take();
    if all || pace.due_in(waiting).is_some_and(|left| left.is_zero()) {
        let count = if all { waiting.samples.len() } else { waiting.samples.len().min(pace.commit_samples) };
        work.samples = waiting.samples.drain(..count).collect();
    }
    if waiting.samples.is_empty() {
        waiting.samples_since = None;
    }
    work
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
