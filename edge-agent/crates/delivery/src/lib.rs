//! Decides which batch to send next, and when a batch is safe (SPEC section 3).
//!
//! Pure: no clock, no sockets, no store. The uplink tells it what happened (connected, acknowledged,
//! committed, time passed) and asks what to do. A batch counts as delivered only when the backend's
//! cumulative acknowledgement covers it; what the transport says is ignored.
//!
//! On each connection the gateway says hello and waits until the backend has named its watermark for
//! every stream; sending resumes from there. If no acknowledgement makes progress for
//! [`Settings::stall`], everything after the watermark is sent again (go-back-N). Where the backend names a
//! range that went astray, just that is sent again, at once.
//!
//! A backlog is drained beside what is new: alarms and diagnostics go first, and no more telemetry is under
//! way than [`Settings::window_bytes`], because an alarm waits behind what the transport has already taken.
//! Sequences may have holes (evicted, set aside, skipped after damage); the backend learns of them by gap
//! records in the diagnostic stream, which therefore goes before telemetry.
//!
//! Somebody may ask for batches again that are acknowledged ([`Replay`]). They go when nothing else is due and move no
//! watermark: the backend knows them for duplicates.

mod again;
mod outbox;
mod pace;
mod replay;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use again::Again;
use pace::Pace;
use replay::Replaying;

pub use outbox::{Outbox, OutboxBatch, OutboxError, OutboxFuture};
use plant_model::Monotonic;
use protocol::{CumulativeAck, Epoch, Sequence, StreamId, StreamRange};
pub use replay::Replay;

/// How far delivery runs ahead of acknowledgement.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Most batches of one stream under way at once.
    pub window: usize,
    /// No further batch of a stream is sent while this many bytes of it are under way: 32 KiB are a second
    /// of a link of 256 kbit/s. A larger batch goes alone.
    pub window_bytes: u64,
    /// How many bytes of telemetry are sent a second, so that a long backlog leaves others on the same link
    /// their share; `None` for no limit.
    pub telemetry_bytes_per_second: Option<NonZeroU64>,
    /// How long the watermark may stand still with batches under way before they are sent again.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 8,
            window_bytes: 32 << 10,
            telemetry_bytes_per_second: None,
            stall: Duration::from_secs(10),
        }
    }
}

/// What an acknowledgement meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The backend holds the stream up to here: the store may free it.
    Committed(Sequence),
    /// The backend holds less than it once said (a restored backup): what is still kept is sent again.
    Regressed(Sequence),
    /// Nothing new.
    Known,
    /// The acknowledgement belongs to another epoch.
    OtherEpoch,
    /// The backend claims batches that this gateway never committed: its store file is a copy of an
    /// older one. Sending on under this epoch would lose data.
    Ahead(Sequence),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    /// Hello is sent; some streams have no watermark yet.
    Greeting,
    Streaming,
}

#[derive(Debug, Clone)]
struct Stream {
    /// Everything up to here is held by the backend.
    acked: Sequence,
    /// The last batch sent on this connection.
    sent: Sequence,
    /// What the next commit will be numbered.
    next: Sequence,
    /// The oldest batch still kept.
    oldest: Sequence,
    /// Whether the backend has named its watermark on this connection.
    greeted: bool,
    /// When the watermark last moved, or the first batch under way was sent.
    progress_at: Monotonic,
    /// What was sent and is not acknowledged, with its size; at most a window.
    under_way: VecDeque<(Sequence, u64)>,
    /// What the backend asked for again.
    again: Again,
}

impl Stream {
    fn candidate(&self, settings: &Settings) -> Option<Sequence> {
        let sequence = self.again.first(self.oldest).unwrap_or(self.sent.next().max(self.oldest));
        let bytes: u64 = self.under_way.iter().map(|(_, bytes)| bytes).sum();
        let has_room = self.under_way.len() < settings.window && bytes < settings.window_bytes;
        (sequence < self.next && has_room).then_some(sequence)
    }

    fn resume_from(&mut self, watermark: Sequence, now: Monotonic) {
        self.acked = watermark;
        self.sent = watermark;
        self.under_way.clear();
        self.again.forget();
        self.progress_at = now;
    }

    fn advance_to(&mut self, watermark: Sequence, now: Monotonic) {
        self.acked = watermark;
        self.sent = self.sent.max(watermark);
        self.under_way.retain(|(sequence, _)| *sequence > watermark);
        self.again.passed(watermark);
        self.progress_at = now;
    }

    /// The backend misses what lies behind the watermark, up to here, although later batches came.
    fn send_again(&mut self, through: Sequence, now: Monotonic) {
        let through = through.min(self.sent);
        if self.again.ask(self.acked.next(), through, now) {
            self.under_way.retain(|(sequence, _)| *sequence > through);
        }
    }
}

/// The sender's side of the delivery contract, for all streams of one gateway.
#[derive(Debug)]
pub struct Delivery {
    settings: Settings,
    epoch: Epoch,
    phase: Phase,
    streams: [Stream; StreamId::ALL.len()],
    pace: Pace,
    replay: Option<Replaying>,
}

impl Delivery {
    /// Delivery of what a store holds.
    #[must_use]
    pub fn new(settings: Settings, epoch: Epoch, held: [StreamRange; StreamId::ALL.len()]) -> Self {
        let streams = StreamId::ALL.map(|id| {
            let (oldest, next) = held
                .iter()
                .find(|r| r.stream == id)
                .map_or((Sequence::from_u64(1), Sequence::from_u64(1)), |r| (r.oldest, r.next));
            let before = oldest.previous();
            Stream {
                acked: before,
                sent: before,
                next,
                oldest,
                greeted: false,
                progress_at: Monotonic::default(),
                under_way: VecDeque::new(),
                again: Again::default(),
            }
        });
        let pace = Pace::new(settings.telemetry_bytes_per_second);
        Self { settings, epoch, phase: Phase::Offline, streams, pace, replay: None }
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        &mut self.streams[position(id)]
    }

    /// A connection stands and hello is on its way.
    pub fn handle_connected(&mut self, now: Monotonic) {
        self.phase = Phase::Greeting;
        for stream in &mut self.streams {
            stream.greeted = false;
            stream.progress_at = now;
        }
    }

    /// The connection is gone. What was under way will be sent again from the watermark.
    pub fn handle_disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.replay = None;
    }

    /// The store holds `range` of a stream now.
    pub fn handle_held(&mut self, range: StreamRange) {
        let stream = self.stream(range.stream);
        stream.next = range.next;
        stream.oldest = range.oldest;
    }

    /// The backend acknowledged.
    pub fn handle_ack(&mut self, ack: CumulativeAck, now: Monotonic) -> AckOutcome {
        if ack.epoch != self.epoch {
            return AckOutcome::OtherEpoch;
        }
        let watermark = ack.committed_through;
        if let Some(replay) = self.replay.as_mut() {
            replay.acknowledged(ack.stream);
        }
        let stream = self.stream(ack.stream);
        if watermark >= stream.next {
            return AckOutcome::Ahead(watermark);
        }
        let before = stream.acked;
        let greeting = !stream.greeted;
        if greeting {
            stream.greeted = true;
            stream.resume_from(watermark, now);
        } else if watermark > before {
            stream.advance_to(watermark, now);
        }
        // An older acknowledgement may be late; what it misses may have come since.
        if let Some(missing) = ack.missing_through.filter(|_| !greeting && watermark >= before) {
            stream.send_again(missing, now);
        }
        if self.phase == Phase::Greeting && self.streams.iter().all(|s| s.greeted) {
            self.phase = Phase::Streaming;
        }
        match watermark.cmp(&before) {
            std::cmp::Ordering::Greater => AckOutcome::Committed(watermark),
            std::cmp::Ordering::Less if greeting => AckOutcome::Regressed(watermark),
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal => AckOutcome::Known,
        }
    }

    /// The batch to send now: alarms before diagnostics before telemetry, each within its window.
    #[must_use]
    pub fn next_to_send(&self, now: Monotonic) -> Option<(StreamId, Sequence)> {
        if self.phase != Phase::Streaming {
            return None;
        }
        let (id, sequence) = self.candidate()?;
        let must_wait = id == StreamId::Telemetry && self.pace.open_at() > now;
        (!must_wait).then_some((id, sequence))
    }

    fn candidate(&self) -> Option<(StreamId, Sequence)> {
        let of = |id| self.streams[position(id)].candidate(&self.settings).map(|sequence| (id, sequence));
        StreamId::ALL.into_iter().find_map(of).or_else(|| self.replay_candidate())
    }

    fn replay_candidate(&self) -> Option<(StreamId, Sequence)> {
        let replay = self.replay.as_ref()?;
        let stream = &self.streams[position(replay.stream())];
        replay.next(stream.oldest, self.settings.window).map(|sequence| (replay.stream(), sequence))
    }

    /// Somebody asks for acknowledged batches again; what was asked for before and is not sent yet is given up.
    pub fn handle_replay(&mut self, asked: Replay, now: Monotonic) {
        let acked = self.stream(asked.stream).acked;
        self.replay = Replaying::new(asked, acked, now);
    }

    /// The store was asked for the batch `wanted` and gave `found`, as `wanted` is not there any more. Whether it is to
    /// be sent: a range that is sent again ends where it was asked to.
    pub fn handle_found(&mut self, id: StreamId, wanted: Sequence, found: Sequence) -> bool {
        if self.replay_candidate() != Some((id, wanted)) {
            return true;
        }
        let is_asked_for = self.replay.as_ref().is_some_and(|replay| replay.covers(found));
        if !is_asked_for {
            self.replay = None;
        }
        is_asked_for
    }

    /// A batch of so many bytes was handed to the transport.
    pub fn handle_sent(&mut self, id: StreamId, sequence: Sequence, bytes: u64, now: Monotonic) {
        if id == StreamId::Telemetry {
            self.pace.spend(bytes, now);
        }
        let is_again = |replay: &&mut Replaying| replay.stream() == id && replay.covers(sequence);
        if let Some(replay) = self.replay.as_mut().filter(is_again) {
            if !replay.sent(sequence, now) {
                self.replay = None;
            }
            return;
        }
        let stream = self.stream(id);
        if stream.under_way.is_empty() {
            stream.progress_at = now;
        }
        stream.sent = stream.sent.max(sequence);
        stream.again.passed(sequence);
        stream.under_way.retain(|(known, _)| *known != sequence);
        stream.under_way.push_back((sequence, bytes));
    }

    /// A batch will never be sent, because the transport takes none of its size: the row goes on behind it.
    pub fn handle_refused(&mut self, id: StreamId, sequence: Sequence) {
        if let Some(replay) = self.replay.as_mut().filter(|replay| replay.stream() == id) {
            replay.passed(sequence);
        }
        let stream = self.stream(id);
        stream.sent = stream.sent.max(sequence);
        stream.again.passed(sequence);
        stream.under_way.retain(|(under_way, _)| *under_way != sequence);
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let waiting = |s: &&Stream| match self.phase {
            Phase::Offline => false,
            Phase::Greeting => !s.greeted,
            Phase::Streaming => !s.under_way.is_empty(),
        };
        let stalls = self.streams.iter().filter(waiting).map(|s| s.progress_at.plus(self.settings.stall));
        let replay = self.replay.as_ref().filter(|_| self.phase == Phase::Streaming);
        let replay = replay.and_then(|r| r.waits_since()).map(|since| since.plus(self.settings.stall));
        stalls.chain(self.paced_until()).chain(replay).min()
    }

    /// When telemetry that only waits for its rate may be sent.
    fn paced_until(&self) -> Option<Monotonic> {
        let is_paced = self.phase == Phase::Streaming && self.settings.telemetry_bytes_per_second.is_some();
        let waits = is_paced && matches!(self.candidate(), Some((StreamId::Telemetry, _)));
        waits.then(|| self.pace.open_at())
    }

    /// Time passed. Streams that made no progress begin again from their watermark.
    pub fn handle_timeout(&mut self, now: Monotonic) -> TimeoutOutcome {
        let stall = self.settings.stall;
        if self.phase == Phase::Greeting {
            let silent = self.streams.iter().any(|s| !s.greeted && now.since(s.progress_at) >= stall);
            return if silent { TimeoutOutcome::Reconnect } else { TimeoutOutcome::Wait };
        }
        if let Some(replay) = self.replay.as_mut()
            && replay.waits_since().is_some_and(|since| now.since(since) >= stall)
        {
            replay.acknowledged(replay.stream());
        }
        let mut resent = false;
        for stream in &mut self.streams {
            if self.phase == Phase::Streaming
                && !stream.under_way.is_empty()
                && now.since(stream.progress_at) >= stall
            {
                stream.resume_from(stream.acked, now);
                resent = true;
            }
        }
        if resent { TimeoutOutcome::Resending } else { TimeoutOutcome::Wait }
    }

    /// Batches committed and not yet acknowledged, over all streams.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let waiting = |s: &Stream| {
            let first = s.acked.next().max(s.oldest);
            s.next.as_u64().saturating_sub(first.as_u64())
        };
        self.streams.iter().map(waiting).sum()
    }

    /// Whether the backend has named its watermarks on this connection.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.phase == Phase::Streaming
    }
}

/// What the end of a wait asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutOutcome {
    /// Nothing.
    Wait,
    /// Some batches will be offered again.
    Resending,
    /// The backend does not answer hello: this connection is of no use.
    Reconnect,
}

fn position(id: StreamId) -> usize {
    match id {
        StreamId::Alarm => 0,
        StreamId::Diagnostic => 1,
        StreamId::Telemetry => 2,
    }
}

#[cfg(test)]
mod tests;
