//! The contents of minutes, united over all tiers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use segments::{Content, Head, Minute, SegmentError};
use tiering::{Parts, SegmentRow};

use crate::plan::{after, each};
use crate::{HistoryError, Layer, Reader};

/// Samples of the tags read that one block of minutes is to have: 30 MB while it is worked on. A block of one minute may
/// have more.
pub const BLOCK_SAMPLES: usize = 500_000;

/// Bytes of segments that one block of minutes is to have.
pub const BLOCK_BYTES: usize = 8 << 20;

/// Most minutes of a block: a day, which is an object of the archive.
const BLOCK_MINUTES_MAX: usize = 1_440;

/// Microseconds in a day, UTC: where objects of the archive begin and end.
const DAY: i64 = 86_400_000_000;

/// How many minutes the next block has, by what the last one took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSize(usize);

impl Default for BlockSize {
    /// Half an hour, to see how large minutes are.
    fn default() -> Self {
        Self(30)
    }
}

impl BlockSize {
    /// As many minutes as the limits allow if they are like these.
    fn after(rows: usize, samples: usize, bytes: usize) -> Self {
        let fit = |limit: usize, used: usize| rows.max(1).saturating_mul(limit) / used.max(1);
        let minutes = fit(BLOCK_SAMPLES, samples).min(fit(BLOCK_BYTES, bytes));
        Self(minutes.clamp(1, BLOCK_MINUTES_MAX))
    }
}

/// What is known of minutes from the store.
#[derive(Default)]
struct Found {
    contents: BTreeMap<Minute, Content>,
    /// Samples of the tags that the heads tell of.
    stated: BTreeMap<Minute, usize>,
    /// Minutes whose samples are in the archive alone.
    elsewhere: BTreeSet<Minute>,
}

impl Reader<'_> {
    /// The contents of the first of these minutes, and the minute up to which that is. What is not sealed is taken out of
    /// `unsealed`.
    pub(crate) async fn contents(
        &mut self,
        minutes: &Range<Minute>,
        unsealed: &mut BTreeMap<Minute, Content>,
    ) -> Result<(Minute, BTreeMap<Minute, Content>), HistoryError> {
        let limit = self.block_size.0;
        let asked = minutes.start..day_end(minutes.start).min(minutes.end);
        let subject = &self.subject;
        let rows = self.tiers.store.segments(
            &subject.tenant,
            &subject.gateway,
            &subject.machine,
            asked.clone(),
            Parts::All,
            limit,
        );
        let rows = rows.await?;
        let end = match rows.last() {
            Some(last) if rows.len() >= limit => after(last.key.minute),
            Some(_) | None => asked.end,
        };
        let block = asked.start..end;
        let mut found = Found::default();
        for row in &rows {
            self.open_row(row, &mut found)?;
        }
        self.block_size = next_size(&rows, &found);
        for hour in self.dropped_hours(&block, &rows).await? {
            let part = hour.minutes().start.max(block.start)..hour.minutes().end.min(block.end);
            found.elsewhere.extend(each(&part));
        }
        self.add_archived(&mut found).await?;
        let later = unsealed.split_off(&block.end);
        for (minute, content) in std::mem::replace(unsealed, later) {
            self.unite(&mut found.contents, minute, content)?;
        }
        self.account(&block, &found);
        Ok((end, found.contents))
    }

    fn open_row(&mut self, row: &SegmentRow, found: &mut Found) -> Result<(), HistoryError> {
        let minute = row.key.minute;
        let failed = |error| self.unreadable(minute.start(), error);
        let head = Head::read(&row.head).map_err(failed)?;
        let wanted = |head: &Head| self.wanted_count(head);
        let stated = wanted(&head);
        if stated == 0 {
            return Ok(());
        }
        found.stated.insert(minute, stated);
        let is_wanted = |tag| self.is_wanted(tag);
        let open = |head: &Head, body: &[u8]| -> Result<Content, SegmentError> {
            head.open(body)?.content_of(is_wanted)
        };
        let mut parts = Vec::new();
        match &row.body {
            Some(body) => parts.push(open(&head, body).map_err(failed)?),
            None => drop(found.elsewhere.insert(minute)),
        }
        if let Some(late) = &row.late {
            let head = Head::read(&late.head).map_err(failed)?;
            parts.push(open(&head, &late.body).map_err(failed)?);
        }
        for content in parts {
            self.report.layers.insert(Layer::Segments);
            self.unite(&mut found.contents, minute, content)?;
        }
        Ok(())
    }

    fn wanted_count(&self, head: &Head) -> usize {
        let wanted = head.tags().filter(|tag| self.is_wanted(tag.number));
        wanted.flat_map(|tag| tag.runs.iter()).map(|run| run.length).sum()
    }

    async fn add_archived(&mut self, found: &mut Found) -> Result<(), HistoryError> {
        for (minute, content) in self.archived(&found.elsewhere).await? {
            if found.elsewhere.contains(&minute) {
                self.unite(&mut found.contents, minute, content)?;
            }
        }
        Ok(())
    }

    fn unite(
        &self,
        contents: &mut BTreeMap<Minute, Content>,
        minute: Minute,
        content: Content,
    ) -> Result<(), HistoryError> {
        if !content.is_empty() {
            let united = contents.entry(minute).or_insert_with(|| Content::new(minute)).unite(content);
            united.map_err(|error| self.unreadable(minute.start(), error))?;
        }
        Ok(())
    }

    fn account(&mut self, block: &Range<Minute>, found: &Found) {
        for (minute, content) in found.contents.range(block.clone()) {
            self.report.covered.add(minute.start()..minute.end());
            self.report.rows += content.count() as u64;
        }
        let given = |minute: &Minute| found.contents.get(minute).map_or(0, Content::count);
        for (minute, _) in found.stated.iter().filter(|(minute, stated)| given(minute) < **stated) {
            self.report.incomplete.add(minute.start()..minute.end());
        }
    }
}

fn next_size(rows: &[SegmentRow], found: &Found) -> BlockSize {
    let samples = found.stated.values().sum();
    let size = |row: &SegmentRow| {
        row.head.len()
            + row.body.as_ref().map_or(0, |body| body.len())
            + row.late.as_ref().map_or(0, |late| late.head.len() + late.body.len())
    };
    BlockSize::after(rows.len(), samples, rows.iter().map(size).sum())
}

/// The end of the day in which a minute lies.
fn day_end(minute: Minute) -> Minute {
    let start = minute.start().micros();
    Minute::of(plant_model::Timestamp::from_micros(
        start.saturating_sub(start.rem_euclid(DAY)).saturating_add(DAY),
    ))
}
