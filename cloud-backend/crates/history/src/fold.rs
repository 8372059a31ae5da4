//! What tags did between boundaries, put together from rollups, statistics and samples.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use plant_model::{Sample, Timestamp};
use segments::{Content, Exactness, Head, Hold, Minute, Rollup, TagNumber, rollups_from_bytes};
use tiering::{Hour, HourRow, Parts, SegmentRow};

use crate::curve::Changes;
use crate::plan::{Freshness, Step, after, next, plan, size};
use crate::{HistoryError, Layer, Reader};

/// Heads that are read at a time: a day of a machine, about a megabyte.
const HEADS_MAX: usize = 1_440;

/// Most hours of a gateway that are to be made again among which some are looked for; where more are due, no rollup is
/// trusted.
const DUE_MAX: usize = 10_000;

const TOO_LONG: &str =
    "ask for a shorter range, or for boundaries on whole hours, which need only rollups of hours";

/// What came together so far.
pub(crate) struct Fold {
    boundaries: Vec<Timestamp>,
    /// By tag, then by the number of the boundary before.
    pub(crate) tags: Vec<BTreeMap<usize, Rollup>>,
    /// Changes of states, where somebody wants them.
    pub(crate) changes: Option<Changes>,
}

impl Fold {
    /// Boundaries are in order; of what lies outside nothing is kept.
    pub(crate) fn new(boundaries: Vec<Timestamp>, tags: usize, changes: Option<Changes>) -> Self {
        Self { boundaries, tags: vec![BTreeMap::new(); tags], changes }
    }

    fn place(&self, at: Timestamp) -> Option<usize> {
        let next = self.boundaries.partition_point(|boundary| *boundary <= at);
        next.checked_sub(1).filter(|_| next < self.boundaries.len())
    }

    /// Adds a stretch that no boundary divides.
    fn add(&mut self, tag: usize, rollup: &Rollup) {
        let Some(place) = self.place(rollup.first_at) else { return };
        let known = &mut self.tags[tag];
        let sum = known.get(&place).map(|known| known.combined_with(rollup, Hold::DEFAULT));
        known.insert(place, sum.unwrap_or_else(|| rollup.clone()));
    }

    fn add_stretch(&mut self, tag: usize, rollup: &Rollup) {
        self.add(tag, rollup);
        if let Some(changes) = &mut self.changes {
            changes.add_stretch(tag, rollup);
        }
    }

    /// Adds the samples of a minute.
    fn add_samples(&mut self, tag: usize, kind: segments::TagKind, samples: &[Sample]) {
        let parts = samples.chunk_by(|a, b| self.place(a.timestamp()) == self.place(b.timestamp()));
        let parts: Vec<Rollup> = parts.filter_map(|part| Rollup::of(kind, part)).collect();
        parts.iter().for_each(|part| self.add(tag, part));
        let Some(mut changes) = self.changes.take() else { return };
        let inside = samples.iter().filter(|sample| self.place(sample.timestamp()).is_some());
        inside.for_each(|sample| changes.add_sample(tag, sample));
        self.changes = Some(changes);
    }
}

impl Reader<'_> {
    /// Reads everything between the first and the last boundary.
    pub(crate) async fn fold(&mut self, fold: &mut Fold) -> Result<(), HistoryError> {
        let (Some(&start), Some(&end)) = (fold.boundaries.first(), fold.boundaries.last()) else {
            return Ok(());
        };
        let mut at = start;
        let (mut hours, mut minutes) = (0, 0);
        while at < end && !self.tags.is_empty() {
            let (until, mut unsealed) = self.unsealed(&(at..end)).await?;
            let freshness = self.freshness(&unsealed).await?;
            let steps = plan(&(at..until), &fold.boundaries, &freshness);
            let (more_hours, more_minutes) = size(&steps);
            (hours, minutes) = (hours + more_hours, minutes + more_minutes);
            Self::check("hours", hours, self.budget.hours, "ask for a shorter range")?;
            Self::check("minutes", minutes, self.budget.minutes, TOO_LONG)?;
            for step in steps {
                match step {
                    Step::Hours(range) => self.fold_hours(range, fold).await?,
                    Step::Minutes(range) => self.fold_minutes(range, fold).await?,
                    Step::Samples(range) => self.fold_samples(range, &mut unsealed, fold).await?,
                }
            }
            at = until;
        }
        Ok(())
    }

    async fn freshness(&self, unsealed: &BTreeMap<Minute, Content>) -> Result<Freshness, HistoryError> {
        let (tenant, gateway) = (&self.subject.tenant, &self.subject.gateway);
        let due = self.tiers.store.due_hours(tenant, gateway, DUE_MAX).await?;
        let are_all_known = due.len() < DUE_MAX;
        let due = due.into_iter().filter(|(machine, ..)| *machine == self.subject.machine);
        let due = due.map(|(_, hour, _)| hour).collect();
        Ok(Freshness { due, are_all_known, unsealed: unsealed.keys().copied().collect() })
    }

    async fn hour_rows(&self, hours: Range<Hour>) -> Result<Vec<HourRow>, HistoryError> {
        let subject = &self.subject;
        Ok(self.tiers.store.hours(&subject.tenant, &subject.gateway, &subject.machine, hours).await?)
    }

    async fn fold_hours(&mut self, hours: Range<Hour>, fold: &mut Fold) -> Result<(), HistoryError> {
        for row in self.hour_rows(hours).await? {
            let start = row.hour.start();
            let rollups = rollups_from_bytes(&row.rollups).map_err(|error| self.unreadable(start, error))?;
            let wanted = rollups.iter().map(|(tag, rollup)| (*tag, rollup));
            self.fold_rollups(start..next(row.hour).start(), wanted, Layer::Hours, fold);
        }
        Ok(())
    }

    async fn fold_minutes(&mut self, minutes: Range<Minute>, fold: &mut Fold) -> Result<(), HistoryError> {
        let mut start = minutes.start;
        while start < minutes.end {
            let rows = self.heads(start..minutes.end).await?;
            let end = match rows.last() {
                Some(last) if rows.len() >= HEADS_MAX => after(last.key.minute),
                Some(_) | None => minutes.end,
            };
            let dropped = self.dropped_hours(&(start..end), &rows).await?;
            let mut rows = rows.into_iter().peekable();
            for hour in dropped {
                while let Some(row) = rows.next_if(|row| row.key.minute < hour.minutes().start) {
                    self.fold_head(&row, fold)?;
                }
                let part = hour.minutes().start.max(start)..hour.minutes().end.min(end);
                self.fold_samples(part, &mut BTreeMap::new(), fold).await?;
            }
            rows.try_for_each(|row| self.fold_head(&row, fold))?;
            start = end;
        }
        Ok(())
    }

    async fn heads(&self, minutes: Range<Minute>) -> Result<Vec<SegmentRow>, HistoryError> {
        let (subject, store) = (&self.subject, self.tiers.store);
        let (tenant, gateway, machine) = (&subject.tenant, &subject.gateway, &subject.machine);
        Ok(store.segments(tenant, gateway, machine, minutes, Parts::Heads, HEADS_MAX).await?)
    }

    fn fold_head(&mut self, row: &SegmentRow, fold: &mut Fold) -> Result<(), HistoryError> {
        let minute = row.key.minute;
        let head = Head::read(&row.head).map_err(|error| self.unreadable(minute.start(), error))?;
        let rollups = head.tags().map(|tag| (tag.number, &tag.rollup));
        self.fold_rollups(minute.start()..minute.end(), rollups, Layer::Minutes, fold);
        Ok(())
    }

    fn fold_rollups<'r>(
        &mut self,
        stretch: Range<Timestamp>,
        rollups: impl Iterator<Item = (TagNumber, &'r Rollup)>,
        layer: Layer,
        fold: &mut Fold,
    ) {
        let mut is_covered = false;
        for (number, rollup) in rollups {
            let Some((tag, _)) = self.numbers.get(&number) else { continue };
            fold.add_stretch(*tag, rollup);
            is_covered = true;
            self.report.rows += 1;
            self.report.is_approximate |= rollup.exactness == Exactness::Approximate;
        }
        if is_covered {
            self.report.layers.insert(layer);
            self.report.covered.add(stretch);
        }
    }

    async fn fold_samples(
        &mut self,
        minutes: Range<Minute>,
        unsealed: &mut BTreeMap<Minute, Content>,
        fold: &mut Fold,
    ) -> Result<(), HistoryError> {
        let mut start = minutes.start;
        while start < minutes.end {
            let (end, contents) = self.contents(&(start..minutes.end), unsealed).await?;
            for content in contents.values() {
                for (number, (tag, kind)) in &self.numbers {
                    if let Some(samples) = content.samples(*number) {
                        fold.add_samples(*tag, *kind, &samples);
                    }
                }
            }
            start = end;
        }
        Ok(())
    }

    /// The hours among these minutes of which the store has no segments any more, though rollups say that there were
    /// some: their samples are in the archive, if anywhere.
    pub(crate) async fn dropped_hours(
        &self,
        minutes: &Range<Minute>,
        rows: &[SegmentRow],
    ) -> Result<BTreeSet<Hour>, HistoryError> {
        let mut silent: BTreeSet<Hour> = crate::plan::hours_of(minutes).collect();
        for row in rows {
            silent.remove(&Hour::of(row.key.minute.start()));
        }
        let (Some(first), Some(last)) = (silent.first(), silent.last()) else { return Ok(silent) };
        let known = self.hour_rows(*first..next(*last)).await?;
        Ok(known.into_iter().map(|row| row.hour).filter(|hour| silent.contains(hour)).collect())
    }
}
