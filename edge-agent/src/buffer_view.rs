//! What is held in the buffer, as the status interface serves it and `edge-agent buffer` shows it.

use std::time::Duration;

use edge_store::{Facts, Holding, StoreClient, StoreError, Tally, Usage};
use plant_model::Timestamp;
use protocol::{Batch, BatchBody, DiagnosticRecord, Sequence, StreamId};
use serde::{Deserialize, Serialize};

/// The present rate is that of the last day.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// A rate of less than this time says nothing.
const RATE_SPAN_MIN: Duration = Duration::from_secs(60);

/// Most records of losses that are told; a buffer has a few.
const LOSSES_MAX: usize = 10_000;

/// A buffer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BufferView {
    pub epoch: Option<String>,
    pub layout: i64,
    /// Whether what is committed is encrypted.
    pub encrypted: bool,
    /// `writable` and so on of a running agent; `readable` or `damaged` of a file.
    pub health: String,
    pub held_bytes: u64,
    pub disk_bytes: u64,
    /// What it may grow to; of a file without its configuration its size.
    pub bytes_max: u64,
    /// What can be committed before anything is given up that was not delivered.
    pub room_bytes: u64,
    /// What the last day took; unknown of less than a minute.
    pub bytes_per_day: Option<u64>,
    /// How long the room lasts at that rate without the backend.
    pub days_left: Option<f64>,
    /// Tags that have a number.
    pub series: u64,
    /// Batches that could not be delivered and are kept aside.
    pub set_aside: u64,
    pub streams: Vec<StreamView>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamView {
    pub stream: String,
    /// What the backend has, up to this number.
    pub acknowledged_through: u64,
    /// The number of the next commit.
    pub next: u64,
    pub held: HoldingView,
    /// What of it the backend has not acknowledged.
    pub not_delivered: HoldingView,
}

/// Some batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HoldingView {
    pub batches: u64,
    /// Samples, alarm transitions or records.
    pub entries: u64,
    pub bytes: u64,
    pub thinned_batches: u64,
    pub first_number: Option<u64>,
    pub last_number: Option<u64>,
    /// When the first and the last were committed, RFC 3339.
    pub first_at: Option<String>,
    pub last_at: Option<String>,
}

impl From<Holding> for HoldingView {
    fn from(of: Holding) -> Self {
        Self {
            batches: of.batches,
            entries: of.entries,
            bytes: of.bytes,
            thinned_batches: of.thinned,
            first_number: of.numbers.map(|(first, _)| first.as_u64()),
            last_number: of.numbers.map(|(_, last)| last.as_u64()),
            first_at: of.committed.map(|(first, _)| written(first)),
            last_at: of.committed.map(|(_, last)| written(last)),
        }
    }
}

/// A time as people and programs read it: RFC 3339 in UTC; beyond year 9999 microseconds since 1970.
pub(crate) fn written(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros()).map_or_else(|_| at.micros().to_string(), |t| t.to_string())
}

/// A stream that was counted.
pub(crate) struct Counted {
    pub stream: StreamId,
    pub acked: Sequence,
    pub next: Sequence,
    pub acknowledged: Holding,
    pub waiting: Holding,
}

impl Counted {
    pub(crate) fn new(stream: StreamId, acked: Sequence, next: Sequence) -> Self {
        Self { stream, acked, next, acknowledged: Holding::default(), waiting: Holding::default() }
    }

    pub(crate) fn add(&mut self, tally: Tally) {
        self.acknowledged = self.acknowledged.plus(tally.acknowledged);
        self.waiting = self.waiting.plus(tally.waiting);
    }

    pub(crate) fn held(&self) -> Holding {
        self.acknowledged.plus(self.waiting)
    }
}

/// What a view is made of.
pub(crate) struct Parts {
    pub epoch: Option<String>,
    pub health: String,
    pub facts: Facts,
    pub usage: Usage,
    /// Since when bytes count as recent.
    pub recent: Timestamp,
    pub streams: Vec<Counted>,
}

impl BufferView {
    pub(crate) fn of(parts: &Parts) -> Self {
        let held = parts.streams.iter().map(Counted::held).fold(Holding::default(), Holding::plus);
        let acknowledged: u64 = parts.streams.iter().map(|s| s.acknowledged.bytes).sum();
        let room_bytes = parts.usage.left_bytes().saturating_add(acknowledged);
        let bytes_per_day = bytes_per_day(held, parts.recent, parts.usage.held_bytes);
        Self {
            epoch: parts.epoch.clone(),
            layout: parts.facts.layout,
            encrypted: parts.facts.is_sealed,
            health: parts.health.clone(),
            held_bytes: parts.usage.held_bytes,
            disk_bytes: parts.usage.disk_bytes,
            bytes_max: parts.usage.bytes_max,
            room_bytes,
            bytes_per_day,
            days_left: bytes_per_day.filter(|rate| *rate > 0).map(|rate| ratio(room_bytes, rate)),
            series: parts.facts.series,
            set_aside: parts.facts.set_aside,
            streams: parts.streams.iter().map(stream).collect(),
        }
    }
}

fn stream(counted: &Counted) -> StreamView {
    StreamView {
        stream: counted.stream.to_string(),
        acknowledged_through: counted.acked.as_u64(),
        next: counted.next.as_u64(),
        held: counted.held().into(),
        not_delivered: counted.waiting.into(),
    }
}

/// What a day takes on the disk, from what was committed since `recent`. Pages hold more than messages.
fn bytes_per_day(held: Holding, recent: Timestamp, held_bytes: u64) -> Option<u64> {
    let (first, last) = held.committed?;
    let span = last.since(first.max(recent));
    if span < RATE_SPAN_MIN || held.bytes == 0 {
        return None;
    }
    let pages = ratio(held_bytes.max(held.bytes), held.bytes);
    let rate = ratio(held.recent_bytes, 1) * pages / span.as_secs_f64() * 86_400.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes a day, positive")]
    Some(rate as u64)
}

#[expect(clippy::cast_precision_loss, reason = "bytes, shown with one digit")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// Something that is missing, or happened to the time of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LossView {
    /// `gap`: committed batches that will never be sent; `dropped`: samples that never became a batch; `clock`.
    pub kind: String,
    pub reason: String,
    pub stream: Option<String>,
    /// The first and the last missing number of the stream.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Samples or records; 0 where nobody knows.
    pub entries: u64,
    /// Of samples that were dropped their first and last time; else when it was recorded. RFC 3339.
    pub from: String,
    pub to: String,
    /// The batch of the diagnostic stream that says so, and whether the backend has it.
    pub recorded_in: u64,
    pub delivered: bool,
}

/// What is recorded as missing, the oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct LossesView {
    pub losses: Vec<LossView>,
    /// Records beyond the most that are told.
    pub left_out: u64,
}

impl LossesView {
    /// Takes the records of a diagnostic batch; what is none is passed over.
    pub(crate) fn add(&mut self, message: &[u8], acked: Sequence) {
        let Ok(Batch { header, body: BatchBody::Records(records), .. }) = Batch::decode(message) else {
            return;
        };
        for record in &records {
            if self.losses.len() == LOSSES_MAX {
                self.left_out += 1;
                continue;
            }
            let (recorded_in, delivered) = (header.sequence.as_u64(), header.sequence <= acked);
            self.losses.push(LossView { recorded_in, delivered, ..loss(record) });
        }
    }
}

fn loss(record: &DiagnosticRecord) -> LossView {
    let view = |kind: &str, reason: &str, entries, from, to| LossView {
        kind: kind.to_owned(),
        reason: reason.to_owned(),
        stream: None,
        first: None,
        last: None,
        entries,
        from: written(from),
        to: written(to),
        recorded_in: 0,
        delivered: false,
    };
    match record {
        DiagnosticRecord::Gap(gap) => LossView {
            stream: Some(gap.stream.to_string()),
            first: Some(gap.first.as_u64()),
            last: Some(gap.last.as_u64()),
            ..view("gap", gap.reason.name(), gap.samples, gap.at, gap.at)
        },
        DiagnosticRecord::Dropped(lost) => {
            view("dropped", lost.reason.name(), lost.samples, lost.from, lost.to)
        }
        DiagnosticRecord::Clock(clock) => {
            view("clock", clock.change.name(), clock.samples, clock.from, clock.to)
        }
    }
}

/// Looks at the buffer of this process, a part at a time: no commit waits long behind it.
pub(crate) async fn survey(
    client: &StoreClient,
    epoch: &str,
    health: &str,
    usage: Usage,
    now: Timestamp,
) -> Result<BufferView, StoreError> {
    let (facts, acked) = client.facts().await?;
    let recent = now.minus(RATE_WINDOW);
    let ranges = *client.ranges().borrow();
    let mut streams = Vec::new();
    for (stream, acked) in StreamId::ALL.into_iter().zip(acked) {
        let next = ranges.iter().find(|r| r.stream == stream).map_or(Sequence::ZERO, |r| r.next);
        let mut counted = Counted::new(stream, acked, next);
        let mut from = Some(Sequence::ZERO);
        while let Some(start) = from {
            let tally = client.tally(stream, start, recent).await?;
            counted.add(tally);
            from = tally.next;
        }
        streams.push(counted);
    }
    let (epoch, health) = (Some(epoch.to_owned()), health.to_owned());
    Ok(BufferView::of(&Parts { epoch, health, facts, usage, recent, streams }))
}

/// Reads what the buffer of this process records as missing.
pub(crate) async fn losses(client: &StoreClient) -> Result<LossesView, StoreError> {
    let (_, acked) = client.facts().await?;
    let acked = StreamId::ALL.into_iter().zip(acked).find(|(stream, _)| *stream == StreamId::Diagnostic);
    let acked = acked.map_or(Sequence::ZERO, |(_, acked)| acked);
    let (mut found, mut from) = (LossesView::default(), Sequence::ZERO);
    while let Some(batch) = client.read(StreamId::Diagnostic, from).await? {
        found.add(&batch.message, acked);
        from = batch.sequence.next();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn held(bytes: u64, from: i64, to: i64) -> Holding {
        let committed = Some((Timestamp::from_micros(from), Timestamp::from_micros(to)));
        Holding { bytes, recent_bytes: bytes, committed, ..Holding::default() }
    }

    #[test]
    fn the_rate_is_that_of_the_recent_part_with_the_pages_around_it() {
        let rate = |held, recent, pages| bytes_per_day(held, Timestamp::from_micros(recent), pages);
        assert_eq!(rate(held(1_000, 0, DAY / 2), 0, 1_000), Some(2_000));
        assert_eq!(rate(held(1_000, 0, DAY), 0, 1_500), Some(1_500), "pages hold more than messages");
        let old = Holding { recent_bytes: 100, ..held(1_000, 0, 10 * DAY) };
        assert_eq!(rate(old, 9 * DAY, 1_000), Some(100));
        assert_eq!(rate(held(1_000, 0, 1_000_000), 0, 1_000), None, "a second says nothing");
        assert_eq!(rate(Holding::default(), 0, 0), None);
    }

    #[test]
    fn what_the_backend_has_counts_as_room() {
        let facts = Facts { layout: 4, is_sealed: false, series: 3, set_aside: 0 };
        let usage = Usage::resting(10 << 20, 64 << 20, 64 << 20);
        let mut counted = Counted::new(StreamId::Telemetry, Sequence::from_u64(5), Sequence::from_u64(9));
        counted.acknowledged = held(6 << 20, 0, DAY / 2);
        counted.waiting = held(4 << 20, DAY / 2, DAY);
        let recent = Timestamp::from_micros(0);
        let (epoch, health) = (None, "readable".to_owned());
        let view = BufferView::of(&Parts { epoch, health, facts, usage, recent, streams: vec![counted] });
        assert_eq!(view.room_bytes, usage.left_bytes() + (6 << 20));
        assert_eq!(view.bytes_per_day, Some(10 << 20));
        assert!(view.days_left.is_some_and(|days| (5.0..7.0).contains(&days)), "{view:?}");
        assert_eq!(view.streams[0].not_delivered.bytes, 4 << 20);
    }
}
