//! Sealing, step by step: which batches, what becomes of them, one transaction.
//!
//! A step that is killed or fails has written nothing or everything; it is simply done again.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{Batch, DecodeError, Epoch, Sequence, SeriesId};
use segments::{
    Content, Gatherer, Head, Merged, Minute, Place, SealedSegment, SegmentError, Stored, TagNumber,
    WAVE_BATCHES_MAX, next_wave,
};
use thiserror::Error;

use crate::{
    LateSegment, Latest, LatestError, Revision, SealSet, SealingStream, SegmentKey, SegmentRow, SegmentWrite,
    StoreError, TierStore, UnsealedBatch,
};

/// Segments that are read at a time to be merged with: some megabytes, and tens of them where they are large.
const MERGED_AT_A_TIME: usize = 64;

/// Why nothing was sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The store fails, or somebody else changed the tiers of the gateway: see [`StoreError::Conflict`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A batch that was accepted cannot be read any more. It stays where it is, and those after it.
    #[error("batch {sequence} of epoch {epoch} cannot be read")]
    Batch {
        /// Its epoch.
        epoch: Epoch,
        /// Its place.
        sequence: Sequence,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A segment cannot be read or made.
    #[error("a segment of {subject} cannot be read or made")]
    Segment {
        /// Whose: machine and start of the minute, or the batches.
        subject: String,
        /// What is wrong.
        #[source]
        source: SegmentError,
    },
    /// The latest samples as of the last sealing cannot be read.
    #[error("the latest samples as of the last sealing cannot be read")]
    Latest(#[from] LatestError),
}

impl SealError {
    /// Whether the same step may do better at once.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict { .. }))
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The wave that was sealed; without one there is nothing to seal now.
    pub sealed: Option<SealedWave>,
    /// Batches that cannot be sealed before a catalogue names this series.
    pub waits_for: Option<(Epoch, SeriesId)>,
    /// When the oldest batch was received that the stream's row holds and that was not sealed when the step began.
    pub oldest_received_at: Option<Timestamp>,
}

/// A wave that was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedWave {
    /// Batches that became segments.
    pub batches: usize,
    /// Segments that are new or changed.
    pub segments: usize,
    /// The revision of the gateway now.
    pub revision: Revision,
}

/// Seals the next wave of a gateway, if there is one. Samples of later than `believed_until` do not become the latest.
///
/// # Errors
/// Nothing was written.
pub async fn seal_next(
    store: &dyn TierStore,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
    believed_until: Timestamp,
) -> Result<Progress, SealError> {
    let base = store.revision(tenant, gateway).await?;
    let mut progress = Progress::default();
    for stream in store.sealing_streams(tenant, gateway).await? {
        // One more than a wave has, so that its end is seen to be one.
        let limit = WAVE_BATCHES_MAX + 1;
        let waiting = store.waiting_batches(tenant, gateway, stream.epoch, limit).await?;
        let row = waiting.iter().filter(|batch| batch.sequence <= stream.committed_through);
        let oldest = row.map(|batch| batch.received_at).min();
        progress.oldest_received_at = [progress.oldest_received_at, oldest].into_iter().flatten().min();
        let Some(wave) = next_wave(&waiting, stream.committed_through, now) else { continue };
        let step = Step { store, tenant, gateway, base, stream, believed_until };
        match step.seal(wave.through).await? {
            Outcome::Sealed(wave) => {
                progress.sealed = Some(wave);
                return Ok(progress);
            }
            Outcome::Waits(series) => progress.waits_for = Some((stream.epoch, series)),
        }
    }
    Ok(progress)
}

enum Outcome {
    Sealed(SealedWave),
    Waits(SeriesId),
}

struct Step<'a> {
    store: &'a dyn TierStore,
    tenant: &'a TenantId,
    gateway: &'a GatewayId,
    base: Revision,
    stream: SealingStream,
    believed_until: Timestamp,
}

impl Step<'_> {
    async fn seal(&self, through: Sequence) -> Result<Outcome, SealError> {
        let epoch = self.stream.epoch;
        let batches = self.store.batches_through(self.tenant, self.gateway, epoch, through).await?;
        let places = self.places().await?;
        let mut latest = match self.store.sealed_latest(self.tenant, self.gateway).await? {
            Some(bytes) => Latest::from_bytes(&bytes)?,
            None => Latest::new(),
        };
        latest.settle(self.believed_until);
        let gathered = gather(&batches, &places, &mut latest, self.believed_until)?;
        let Some(through) = gathered.through else {
            return Ok(gathered.waits_for.map_or_else(|| self.nothing(), Outcome::Waits));
        };
        drop(batches);
        let segments = self.merge_all(gathered.contents).await?;
        let (count, gateway) = (segments.len(), self.gateway.clone());
        let latest = Some(latest.to_bytes());
        let set = SealSet { gateway, base: self.base, epoch, through, segments, latest };
        let revision = self.store.seal(self.tenant, set).await?;
        Ok(Outcome::Sealed(SealedWave { batches: gathered.batches, segments: count, revision }))
    }

    /// The batches went while we looked: somebody else seals.
    const fn nothing(&self) -> Outcome {
        Outcome::Sealed(SealedWave { batches: 0, segments: 0, revision: self.base })
    }

    /// Where the samples of each series of the epoch belong.
    async fn places(&self) -> Result<HashMap<SeriesId, Place>, StoreError> {
        let tags = self.store.tags(self.tenant, self.gateway, None).await?;
        let kinds: HashMap<(MachineId, TagNumber), _> =
            tags.into_iter().map(|tag| ((tag.machine, tag.number), tag.kind)).collect();
        let series = self.store.series(self.tenant, self.gateway, self.stream.epoch).await?;
        let place = |(series, (machine, tag)): (SeriesId, (MachineId, TagNumber))| {
            let kind = *kinds.get(&(machine.clone(), tag))?;
            Some((series, Place { machine, tag, kind }))
        };
        Ok(series.into_iter().filter_map(place).collect())
    }

    async fn merge_all(
        &self,
        contents: BTreeMap<(MachineId, Minute), Content>,
    ) -> Result<Vec<SegmentWrite>, SealError> {
        let mut writes = Vec::new();
        let mut rest = contents.into_iter();
        loop {
            let part: Vec<_> = rest.by_ref().take(MERGED_AT_A_TIME).collect();
            if part.is_empty() {
                return Ok(writes);
            }
            let key = |machine: &MachineId, minute| SegmentKey { machine: machine.clone(), minute };
            let keys = part.iter().map(|((machine, minute), _)| key(machine, *minute)).collect();
            let there = self.store.segments_at(self.tenant, self.gateway, keys).await?;
            let mut there: HashMap<SegmentKey, SegmentRow> =
                there.into_iter().map(|row| (row.key.clone(), row)).collect();
            for ((machine, minute), content) in part {
                let key = SegmentKey { machine, minute };
                let row = there.remove(&key);
                let subject = |source| SealError::Segment {
                    subject: format!("{} at {}", key.machine, key.minute.start()),
                    source,
                };
                writes.extend(merged(key.clone(), row, content).map_err(subject)?);
            }
        }
    }
}

struct Gathered {
    contents: BTreeMap<(MachineId, Minute), Content>,
    /// The last batch that is in it, and how many there are.
    through: Option<Sequence>,
    batches: usize,
    waits_for: Option<SeriesId>,
}

fn gather(
    batches: &[UnsealedBatch],
    places: &HashMap<SeriesId, Place>,
    latest: &mut Latest,
    believed_until: Timestamp,
) -> Result<Gathered, SealError> {
    let mut gatherer = Gatherer::new();
    let (mut through, mut count, mut waits_for) = (None, 0, None);
    for UnsealedBatch { epoch, sequence, body } in batches {
        let batch = Batch::decode(body).map_err(|source| SealError::Batch {
            epoch: *epoch,
            sequence: *sequence,
            source,
        })?;
        match gatherer.add(&batch, |_, series| places.get(&series).cloned()) {
            Ok(()) => {}
            Err(SegmentError::UnknownSeries { series, .. }) => {
                waits_for = Some(series);
                break;
            }
            Err(source) => {
                let subject = format!("batch {sequence} of epoch {epoch}");
                return Err(SealError::Segment { subject, source });
            }
        }
        let place = |_, series| places.get(&series).map(|place| (place.machine.clone(), place.tag));
        latest.add(&batch, place, believed_until);
        through = Some(*sequence);
        count += 1;
    }
    Ok(Gathered { contents: gatherer.finish(), through, batches: count, waits_for })
}

/// What is to be written of a content; nothing if all of it was there.
fn merged(
    key: SegmentKey,
    row: Option<SegmentRow>,
    content: Content,
) -> Result<Option<SegmentWrite>, SegmentError> {
    let stored = row.as_ref().map(|row| Stored { head: &row.head, body: row.body.as_deref() });
    match segments::merge(stored, content)? {
        Merged::Unchanged => Ok(None),
        Merged::Replaced(SealedSegment { head, body }) => write(key, head, Some(body), None).map(Some),
        Merged::Beside { head, late } => {
            let late = joined(row.and_then(|row| row.late), late)?;
            write(key, head, None, Some(late)).map(Some)
        }
    }
}

fn write(
    key: SegmentKey,
    head: Vec<u8>,
    body: Option<Vec<u8>>,
    late: Option<LateSegment>,
) -> Result<SegmentWrite, SegmentError> {
    let count = Head::read(&head)?.count();
    Ok(SegmentWrite { key, count: u64::try_from(count).unwrap_or(u64::MAX), head, body, late })
}

/// What came late before and what comes late now, as one.
fn joined(before: Option<LateSegment>, now: SealedSegment) -> Result<LateSegment, SegmentError> {
    let sealed = match before {
        None => now,
        Some(LateSegment { head, body }) => {
            let content = Head::read(&now.head)?.open(&now.body)?.content()?;
            match segments::merge(Some(Stored { head: &head, body: Some(&body) }), content)? {
                Merged::Replaced(sealed) => sealed,
                Merged::Unchanged | Merged::Beside { .. } => return Ok(LateSegment { head, body }),
            }
        }
    };
    Ok(LateSegment { head: Bytes::from(sealed.head), body: Bytes::from(sealed.body) })
}
