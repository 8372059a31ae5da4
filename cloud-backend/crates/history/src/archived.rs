//! The contents of minutes that rest in objects of the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use plant_model::Timestamp;
use segments::{Content, Minute, SegmentError, Sourced, TagKind, TagNumber};
use tiering::{ObjectQuery, ObjectRow, ObjectState, ReadBudget};

use crate::plan::minutes_of;
use crate::{HistoryError, Layer, Reader};

/// Most samples that one read of an object may decode: 250 MB at the worst, where the pages of a tag are much longer than
/// what is asked for.
const OBJECT_SAMPLES_MAX: u64 = 3_000_000;

impl Reader<'_> {
    /// The contents of these minutes, as far as objects hold them; others may be among them. One read an object.
    pub(crate) async fn archived(
        &mut self,
        minutes: &BTreeSet<Minute>,
    ) -> Result<BTreeMap<Minute, Content>, HistoryError> {
        let mut contents = BTreeMap::new();
        let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else { return Ok(contents) };
        for object in self.objects(&(first.start()..last.end())).await? {
            let held = minutes_of(&(object.start..object.end));
            let mut wanted = minutes.range(held);
            let Some(first) = wanted.next() else { continue };
            let range = first.start()..wanted.next_back().unwrap_or(first).end();
            self.read_object(&object, range, &mut contents).await?;
        }
        Ok(contents)
    }

    /// The verified objects that overlap a range. Asked for anew each time, after the segments: one that was superseded
    /// meanwhile is readable for longer than a query takes.
    async fn objects(&self, range: &Range<Timestamp>) -> Result<Vec<ObjectRow>, HistoryError> {
        let (tenant, gateway) = (&self.subject.tenant, &self.subject.gateway);
        let all = self.tiers.store.objects(tenant, Some(gateway), range.clone()).await?;
        Ok(all.into_iter().filter(|object| object.state == ObjectState::Verified).collect())
    }

    async fn read_object(
        &mut self,
        object: &ObjectRow,
        range: Range<Timestamp>,
        contents: &mut BTreeMap<Minute, Content>,
    ) -> Result<(), HistoryError> {
        let budget = ReadBudget {
            requests: self.budget.requests.saturating_sub(self.report.requests),
            bytes: self.budget.bytes.saturating_sub(self.report.bytes),
            samples: OBJECT_SAMPLES_MAX,
        };
        let (machine, tags) = (self.subject.machine.clone(), self.numbers.keys().copied().collect());
        let query = ObjectQuery { machine, tags, range: range.clone(), budget };
        let found = self.tiers.archive.read(&self.subject.tenant, object, query).await?;
        self.report.layers.insert(Layer::Archive);
        self.report.requests += found.cost.requests;
        self.report.bytes += found.cost.bytes;
        for (tag, samples) in found.tags {
            let kind = self.numbers.get(&tag.number).map_or(tag.kind, |(_, kind)| *kind);
            let added = add(contents, (tag.number, kind), samples);
            added.map_err(|error| self.unreadable(range.start, error))?;
        }
        Ok(())
    }
}

/// Sorts the samples of a tag into contents.
fn add(
    contents: &mut BTreeMap<Minute, Content>,
    tag: (TagNumber, TagKind),
    mut samples: Vec<Sourced>,
) -> Result<(), SegmentError> {
    let place = |one: &Sourced| (Minute::of_sample(&one.sample), one.source);
    // Stable: samples of one instant and batch stay in the order of the batch.
    samples.sort_by_key(place);
    for run in samples.chunk_by(|a, b| place(a) == place(b)) {
        let minute = Minute::of_sample(&run[0].sample);
        let content = contents.entry(minute).or_insert_with(|| Content::new(minute));
        let of_run: Vec<_> = run.iter().map(|one| one.sample.clone()).collect();
        content.add(tag, (run[0].source, run[0].detail), &of_run)?;
    }
    Ok(())
}
