//! Reading objects: which bytes to fetch, and what they say.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use plant_model::{MachineId, TenantId, Timestamp};
use segments::{Sourced, TagNumber};
use sha2::{Digest as _, Sha256};
use tiering::{
    ArchiveError, Contents, MachineContents, MachineSource, ObjectFacts, ObjectKeys, ObjectQuery,
    ObjectSamples, ReadBudget, ReadCost, TagContents, TagHash, TagRecord, Written,
};

use crate::days;
use crate::error::{blocking, damaged, of_store};
use crate::index::{self, IndexMachine, IndexTag};
use crate::machine::ObjectMachine;
use crate::object::{Object, Opening};
use crate::sparse::{Sparse, coalesce};

/// Requests that are under way at a time for one reader.
const REQUESTS_AT_A_TIME: usize = 4;

/// Bytes from the end of an object that are fetched first when nothing is known of it.
const TAIL_GUESS_BYTES: u64 = 1 << 20;

/// One object, and what reading it cost so far.
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) keys: Option<&'a dyn ObjectKeys>,
    pub(crate) tenant: &'a TenantId,
    pub(crate) place: Path,
    pub(crate) path: &'a str,
    pub(crate) cost: ReadCost,
}

impl Reader<'_> {
    fn damaged(&self, detail: String) -> ArchiveError {
        damaged(self.path, &detail)
    }

    /// Fetches a range. An answer that is shorter than asked for is a link that failed.
    async fn fetch(&self, range: Range<u64>) -> Result<(u64, Bytes), ArchiveError> {
        let expected = range.end - range.start;
        let bytes = self.store.get_range(&self.place, range.clone()).await;
        let bytes = bytes.map_err(|error| of_store(self.path, error))?;
        if bytes.len() as u64 != expected {
            let cause = format!("{} of {expected} bytes came", bytes.len()).into();
            return Err(ArchiveError::Unavailable { path: self.path.to_owned(), cause });
        }
        Ok((range.start, bytes))
    }

    async fn fetch_all(&mut self, length: u64, ranges: Vec<Range<u64>>) -> Result<Sparse, ArchiveError> {
        if let Some(range) = ranges.iter().find(|range| range.end > length) {
            return Err(self.damaged(format!("a page ends at {} of {length} bytes", range.end)));
        }
        self.cost.requests += ranges.len() as u64;
        self.cost.bytes += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        let requests = ranges.into_iter().map(|range| self.fetch(range));
        let parts = futures_util::stream::iter(requests).buffered(REQUESTS_AT_A_TIME).try_collect();
        Ok(Sparse::new(length, parts.await?))
    }

    async fn fetch_one(&mut self, length: u64, range: Range<u64>) -> Result<Sparse, ArchiveError> {
        self.fetch_all(length, [range].into()).await
    }

    /// Opens the object by its tail; `None` if that begins too late.
    async fn try_open(&self, tail: &Sparse) -> Result<Option<Object>, ArchiveError> {
        match Object::open(tail, self.path, None).map_err(|detail| self.damaged(detail))? {
            Opening::Opened(object) => Ok(Some(object)),
            Opening::NeedsMore => Ok(None),
            Opening::NeedsKey(metadata) => {
                let refused = |detail: &str| ArchiveError::Key {
                    path: self.path.to_owned(),
                    detail: detail.to_owned(),
                };
                let keys = self.keys.ok_or_else(|| refused("it is encrypted, and there are no keys here"))?;
                let key = keys.find(self.tenant, self.path, metadata).await?;
                match Object::open(tail, self.path, Some(&key)) {
                    Ok(Opening::Opened(object)) => Ok(Some(object)),
                    Ok(Opening::NeedsMore) => Ok(None),
                    Ok(Opening::NeedsKey(_)) => Err(refused("its footer names two keys")),
                    Err(_) => {
                        Err(refused("the key is not that of this object and path, or the object was changed"))
                    }
                }
            }
        }
    }

    /// Opens the object by what the manifest knows of it: no request.
    pub(crate) async fn open_directory(&self, directory: &[u8]) -> Result<(u64, Object), ArchiveError> {
        let (length, start, tail) = index::tail(directory).map_err(|detail| self.damaged(detail))?;
        let object = self.try_open(&Sparse::new(length, vec![(start, tail)])).await?;
        Ok((length, object.ok_or_else(|| self.damaged("its directory lacks indexes".to_owned()))?))
    }

    pub(crate) async fn samples(
        mut self,
        directory: &[u8],
        query: ObjectQuery,
    ) -> Result<ObjectSamples, ArchiveError> {
        let (length, object) = self.open_directory(directory).await?;
        let found =
            object.index.machine(&query.machine).map(|machine| wanted(machine, &query)).unwrap_or_default();
        let samples = found.iter().map(|tag| tag.samples).sum();
        self.check("samples", samples, query.budget.samples)?;
        let plan = plan(&object, &found).map_err(|detail| self.damaged(detail))?;
        let ranges = coalesce(plan.iter().flat_map(|part| part.pages.clone()).collect());
        self.check_ranges(&ranges, query.budget)?;
        let pages = self.fetch_all(length, ranges).await?;
        let cost = self.cost;
        let path = self.path.to_owned();
        let decode = move || {
            let tags = decode(&object, &pages, &plan, &found, &query);
            tags.map(|tags| ObjectSamples { tags, cost }).map_err(|detail| damaged(&path, &detail))
        };
        blocking(self.path, decode).await
    }

    fn check_ranges(&self, ranges: &[Range<u64>], budget: ReadBudget) -> Result<(), ArchiveError> {
        self.check("requests", ranges.len() as u64, budget.requests)?;
        self.check("bytes", ranges.iter().map(|range| range.end - range.start).sum(), budget.bytes)
    }

    fn check(&self, what: &'static str, needed: u64, allowed: u64) -> Result<(), ArchiveError> {
        if needed > allowed {
            return Err(ArchiveError::Budget { path: self.path.to_owned(), what, needed, allowed });
        }
        Ok(())
    }

    /// All row groups of a machine.
    pub(crate) async fn machine(
        mut self,
        directory: &[u8],
        machine: &MachineId,
    ) -> Result<Option<Box<dyn MachineSource>>, ArchiveError> {
        let (length, object) = self.open_directory(directory).await?;
        let Some(index) = object.index.machine(machine) else { return Ok(None) };
        let ranges =
            index.groups().into_iter().map(|group| object.group_range(group)).collect::<Result<_, _>>();
        let groups = self.fetch_all(length, ranges.map_err(|detail| self.damaged(detail))?).await?;
        let machine = ObjectMachine::new(self.path, machine, object, groups);
        Ok(machine.map(|machine| Box::new(machine) as Box<dyn MachineSource>))
    }

    /// Reads everything once, in the order in which it lies.
    pub(crate) async fn verify(mut self, days: Range<Timestamp>) -> Result<Written, ArchiveError> {
        let days = days::split(&days).map_err(ArchiveError::Misuse)?;
        let (length, tail_start, tail, object) = self.tail().await?;
        let (mut hash, mut hashed) = (Sha256::new(), 0);
        let mut contents = Contents::default();
        for machine in &object.index.machines {
            let ranges = self.ranges_of(&object, machine, &mut hashed)?;
            let groups = self.fetch_all(length, ranges.clone()).await?;
            let check =
                Check { path: self.path.to_owned(), object: object.clone(), groups, days: days.clone() };
            let machine = machine.machine.clone();
            let work = move || {
                for range in ranges {
                    hash.update(check.groups.part(range).map_err(|error| damaged(&check.path, &error))?);
                }
                Ok((hash, check.contents(&machine)?))
            };
            let found;
            (hash, found) = blocking(self.path, work).await?;
            contents.machines.push(found);
        }
        if hashed < tail_start {
            let rest = hashed..tail_start;
            let between = self.fetch_one(length, rest.clone()).await?;
            hash.update(between.part(rest).map_err(|error| damaged(self.path, &error))?);
        }
        hash.update(&tail);
        let directory =
            index::directory(length, tail_start, &tail).map_err(|error| damaged(self.path, &error))?;
        let object = ObjectFacts { contents, bytes: length, sha256: hash.finalize().into(), directory };
        Ok(Written { object, cost: self.cost })
    }

    /// The row groups of a machine, and whatever lies before each: no byte is left that nobody hashes.
    fn ranges_of(
        &self,
        object: &Object,
        machine: &IndexMachine,
        hashed: &mut u64,
    ) -> Result<Vec<Range<u64>>, ArchiveError> {
        let mut ranges = Vec::new();
        for group in machine.groups() {
            let range = object.group_range(group).map_err(|detail| self.damaged(detail))?;
            if range.start < *hashed {
                return Err(self.damaged("its row groups overlap".to_owned()));
            }
            ranges.push(*hashed..range.end);
            *hashed = range.end;
        }
        Ok(ranges)
    }

    /// Finds indexes and footer of an object of which nothing is known: its length, where the tail begins, and the tail.
    async fn tail(&mut self) -> Result<(u64, u64, Bytes, Object), ArchiveError> {
        self.cost.requests += 1;
        let head = self.store.head(&self.place).await.map_err(|error| of_store(self.path, error))?;
        let (length, mut guess) = (head.size, TAIL_GUESS_BYTES);
        if length == 0 {
            return Err(self.damaged("it is empty".to_owned()));
        }
        loop {
            let start = length.saturating_sub(guess);
            let known = self.fetch_one(length, start..length).await?;
            if let Some(object) = self.try_open(&known).await? {
                let tail_start = object.tail_start().map_err(|detail| self.damaged(detail))?;
                if tail_start < start {
                    return Err(
                        self.damaged("something lies between its row groups and its indexes".to_owned())
                    );
                }
                let tail = known.part(tail_start..length).map_err(|error| damaged(self.path, &error))?;
                return Ok((length, tail_start, tail, object));
            }
            if start == 0 || guess >= index::TAIL_BYTES_MAX as u64 {
                return Err(self.damaged("it ends in no footer of Parquet".to_owned()));
            }
            guess *= 8;
        }
    }
}

/// A machine that is being verified.
struct Check {
    path: String,
    object: Object,
    groups: Sparse,
    days: Vec<Range<Timestamp>>,
}

impl Check {
    /// Digests of what the rows say.
    fn contents(self, machine: &str) -> Result<MachineContents, ArchiveError> {
        let machine = MachineId::new(machine).map_err(|error| damaged(&self.path, &error))?;
        let source = ObjectMachine::new(&self.path, &machine, self.object, self.groups);
        let source = source.ok_or_else(|| damaged(&self.path, "its index names what cannot be"))?;
        let mut reader = source.open()?;
        let mut tags = Vec::new();
        for tag in source.tags() {
            let mut hash = TagHash::default();
            for day in &self.days {
                hash.add(&reader.samples(tag.number, day)?);
            }
            let digest = hash.finish().ok_or_else(|| damaged(&self.path, "a tag has no samples"))?;
            tags.push(TagContents { tag: tag.clone(), digest });
        }
        Ok(MachineContents { machine, tags })
    }
}

/// The tags that are asked for and may have samples in the range, in the order of the index.
fn wanted(machine: &IndexMachine, query: &ObjectQuery) -> Vec<IndexTag> {
    let is_wanted =
        |tag: &&IndexTag| query.tags.contains(&TagNumber(tag.number)) && tag.overlaps(&query.range);
    machine.tags.iter().filter(is_wanted).cloned().collect()
}

/// Rows of one row group that are to be read.
struct Part {
    group: usize,
    rows: Range<usize>,
    uses: u32,
    pages: Vec<Range<u64>>,
}

fn plan(object: &Object, tags: &[IndexTag]) -> Result<Vec<Part>, String> {
    let mut parts: Vec<Part> = Vec::new();
    for tag in tags {
        for span in &tag.spans {
            let rows = span.row..span.row + span.rows;
            let pages = object.pages(span.group, &object.columns(tag.uses), &rows)?;
            parts.push(Part { group: span.group, rows, uses: tag.uses, pages });
        }
    }
    Ok(parts)
}

fn decode(
    object: &Object,
    pages: &Sparse,
    plan: &[Part],
    tags: &[IndexTag],
    query: &ObjectQuery,
) -> Result<Vec<(TagRecord, Vec<Sourced>)>, String> {
    let mut parts = plan.iter();
    let mut out = Vec::new();
    for tag in tags {
        let mut samples = Vec::new();
        for part in parts.by_ref().take(tag.spans.len()) {
            let columns = object.columns(part.uses);
            let mut reader = object.rows(pages.clone(), part.group, columns, &part.rows)?;
            reader.read(TagNumber(tag.number), part.rows.len(), query.range.end, &mut samples)?;
        }
        samples.retain(|one: &Sourced| one.sample.timestamp() >= query.range.start);
        let record = tag.record(&query.machine).ok_or("its index names what cannot be")?;
        if !samples.is_empty() {
            out.push((record, samples));
        }
    }
    Ok(out)
}
