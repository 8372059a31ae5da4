//! A reader of some tags of one machine, and the layers it reads first: tags, and batches that are not sealed.

use std::collections::BTreeMap;
use std::ops::Range;

use plant_model::Timestamp;
use protocol::{Batch, BatchBody, Epoch, SeriesId};
use segments::{Content, Gatherer, Minute, Place, SegmentError, TagKind, TagNumber};
use tiering::{StoreError, TagRecord, UnsealedBatch};

use crate::contents::BlockSize;
use crate::plan::{length, minutes_of};
use crate::{Budget, HistoryError, Layer, Report, Subject, Tiers};

/// Most batches that are not sealed which a reader holds at a time; where more wait, it goes on in smaller steps. An
/// hour and a half of a gateway at one in 5 s; 100 MB if each were full of the tags that are read.
pub const BATCHES_MAX: usize = 1_000;

/// Reads tags of one machine. See the description of the crate.
pub struct Reader<'a> {
    pub(crate) tiers: Tiers<'a>,
    pub(crate) subject: Subject,
    pub(crate) budget: Budget,
    pub(crate) range: Range<Timestamp>,
    /// In the order of the answer.
    pub(crate) tags: Vec<TagRecord>,
    pub(crate) numbers: BTreeMap<TagNumber, (usize, TagKind)>,
    pub(crate) series: BTreeMap<Epoch, BTreeMap<SeriesId, Place>>,
    pub(crate) block_size: BlockSize,
    pub(crate) stream: crate::samples::Position,
    pub(crate) report: Report,
}

impl<'a> Reader<'a> {
    /// A reader of `[start, end)`.
    ///
    /// # Errors
    /// The range is empty, or the store did not answer.
    pub async fn open(
        tiers: Tiers<'a>,
        subject: Subject,
        range: Range<Timestamp>,
        budget: Budget,
    ) -> Result<Self, HistoryError> {
        if range.start >= range.end {
            return Err(HistoryError::Invalid("the end must be after the start"));
        }
        let known = tiers.store.tags(&subject.tenant, &subject.gateway, Some(&subject.machine)).await?;
        let mut tags: Vec<TagRecord> = Vec::new();
        for wanted in &subject.tags {
            let is_there = tags.iter().any(|tag| tag.tag == *wanted);
            tags.extend(known.iter().find(|tag| tag.tag == *wanted && !is_there).cloned());
        }
        let numbers = tags.iter().enumerate().map(|(index, tag)| (tag.number, (index, tag.kind))).collect();
        let stream = crate::samples::Position::at(range.start);
        Ok(Self {
            tiers,
            subject,
            budget,
            range,
            tags,
            numbers,
            series: BTreeMap::new(),
            block_size: BlockSize::default(),
            stream,
            report: Report::default(),
        })
    }

    /// The tags that the machine has or had, in the order of the answer.
    #[must_use]
    pub fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    /// The range that is read.
    #[must_use]
    pub fn range(&self) -> Range<Timestamp> {
        self.range.clone()
    }

    /// Where what was read so far came from.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn is_wanted(&self, tag: TagNumber) -> bool {
        self.numbers.contains_key(&tag)
    }

    /// What is not sealed in a range, by minute, and up to where that is: not to its end where too much waits. The
    /// minutes are whole.
    pub(crate) async fn unsealed(
        &mut self,
        range: &Range<Timestamp>,
    ) -> Result<(Timestamp, BTreeMap<Minute, Content>), HistoryError> {
        let mut minutes = minutes_of(range);
        loop {
            let (tenant, gateway) = (&self.subject.tenant, &self.subject.gateway);
            let asked = minutes.start.start()..minutes.end.start();
            let found = self.tiers.store.unsealed_batches(tenant, gateway, asked, BATCHES_MAX + 1).await?;
            if found.len() <= BATCHES_MAX {
                let end = minutes.end.start().min(range.end);
                return Ok((end, self.gather(found, &minutes).await?));
            }
            let half = i64::try_from(length(&minutes) / 2).unwrap_or(0);
            if half == 0 {
                return Err(HistoryError::Unsealed { limit: BATCHES_MAX });
            }
            let end = minutes.start.start().micros().saturating_add(half * Minute::MICROS);
            minutes.end = Minute::of(Timestamp::from_micros(end));
        }
    }

    async fn gather(
        &mut self,
        mut batches: Vec<UnsealedBatch>,
        minutes: &Range<Minute>,
    ) -> Result<BTreeMap<Minute, Content>, HistoryError> {
        batches.sort_by_key(|batch| (batch.epoch, batch.sequence));
        let mut gatherer = Gatherer::new();
        for stored in batches {
            self.learn_series(stored.epoch).await?;
            let places = &self.series[&stored.epoch];
            let batch = wanted_part(&stored, places)?;
            let added = gatherer.add(&batch, |_, series| places.get(&series).cloned());
            added.map_err(|error| self.unreadable(batch.header.first_at, error))?;
        }
        let found = gatherer.finish().into_iter().map(|((_, minute), content)| (minute, content));
        let found: BTreeMap<_, _> = found.filter(|(minute, _)| minutes.contains(minute)).collect();
        if !found.is_empty() {
            self.report.layers.insert(Layer::Batches);
        }
        Ok(found)
    }

    /// Learns which of the series of an epoch are read, and where they belong.
    async fn learn_series(&mut self, epoch: Epoch) -> Result<(), HistoryError> {
        if self.series.contains_key(&epoch) {
            return Ok(());
        }
        let all = self.tiers.store.series(&self.subject.tenant, &self.subject.gateway, epoch).await?;
        let place = |(series, (machine, tag))| {
            let (_, kind) = self.numbers.get(&tag).filter(|_| machine == self.subject.machine)?;
            Some((series, Place { machine, tag, kind: *kind }))
        };
        let places = all.into_iter().filter_map(place).collect();
        self.series.insert(epoch, places);
        Ok(())
    }

    pub(crate) fn unreadable(&self, at: Timestamp, source: SegmentError) -> HistoryError {
        HistoryError::Unreadable { machine: self.subject.machine.clone(), at, source }
    }

    /// A count of the budget that is too large.
    pub(crate) fn check(
        what: &'static str,
        needed: u64,
        allowed: u64,
        hint: &'static str,
    ) -> Result<(), HistoryError> {
        if needed > allowed { Err(HistoryError::OverBudget { what, needed, allowed, hint }) } else { Ok(()) }
    }
}

/// What a batch has of some series.
fn wanted_part(stored: &UnsealedBatch, places: &BTreeMap<SeriesId, Place>) -> Result<Batch, StoreError> {
    let name = || format!("telemetry batch {} of epoch {}", stored.sequence, stored.epoch);
    let mut batch =
        Batch::decode(&stored.body).map_err(|error| StoreError::Corrupt(format!("{}: {error}", name())))?;
    match &mut batch.body {
        BatchBody::Samples(block) => block.retain(|entry| places.contains_key(&entry.series)),
        BatchBody::Transitions(_) | BatchBody::Records(_) => {
            return Err(StoreError::Corrupt(format!("{}: it holds no samples", name())));
        }
    }
    Ok(batch)
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("subject", &self.subject)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
