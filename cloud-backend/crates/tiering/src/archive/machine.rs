//! Where the samples of a machine come from when an object is written: from segments, from another object, or from both.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use plant_model::{MachineId, Timestamp};
use segments::{Content, Head, Minute, Segment, SegmentError, Source, Sourced, TagNumber};

use super::ArchiveError;
use crate::{SegmentRow, TagRecord};

/// Samples of a machine, compressed; decoded one tag at a time.
pub trait MachineSource: Send + Sync {
    /// Whose.
    fn machine(&self) -> &MachineId;

    /// The tags that may have samples, by number.
    fn tags(&self) -> &[TagRecord];

    /// Opens it for reading.
    ///
    /// # Errors
    /// What it holds cannot be read.
    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError>;
}

/// Reads tags of a machine.
pub trait TagReader {
    /// The samples of a tag in a range, half open, in the order of [`Content::sourced`].
    ///
    /// # Errors
    /// They cannot be read.
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError>;
}

/// The segments of a machine, each with its late one. Memory: their bytes, and while they are open about 10 kB a minute and
/// twenty tags.
pub struct SegmentsOfMachine {
    machine: MachineId,
    tags: Vec<TagRecord>,
    /// Heads and bodies, by minute.
    parts: Vec<(Head, Bytes)>,
}

impl SegmentsOfMachine {
    /// Of rows with [`crate::Parts::All`], in the order of their minutes, and the tags of the machine. What a row has no body of is
    /// not in it.
    ///
    /// # Errors
    /// A head cannot be read, or names a tag that `tags` does not.
    pub fn new(
        machine: MachineId,
        tags: Vec<TagRecord>,
        rows: impl IntoIterator<Item = SegmentRow>,
    ) -> Result<Self, ArchiveError> {
        let mut parts = Vec::new();
        for row in rows {
            let whole = row.body.map(|body| (row.head, body));
            let late = row.late.map(|late| (late.head, late.body));
            for (head, body) in whole.into_iter().chain(late) {
                parts.push((Head::read(&head).map_err(|cause| failed(&machine, cause))?, body));
            }
        }
        let known: HashSet<TagNumber> = tags.iter().map(|tag| tag.number).collect();
        let stray = parts.iter().flat_map(|(head, _)| head.tags()).find(|tag| !known.contains(&tag.number));
        if let Some(stray) = stray {
            return Err(ArchiveError::UnknownTag { machine, tag: stray.number });
        }
        Ok(Self { machine, tags, parts })
    }
}

fn failed(machine: &MachineId, cause: SegmentError) -> ArchiveError {
    ArchiveError::Segment { machine: machine.clone(), cause }
}

impl MachineSource for SegmentsOfMachine {
    fn machine(&self) -> &MachineId {
        &self.machine
    }

    fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        let opened = self.parts.iter().map(|(head, body)| Ok((head.minute(), head.open(body)?)));
        let segments = opened.collect::<Result<_, _>>().map_err(|cause| failed(&self.machine, cause))?;
        Ok(Box::new(OpenSegments { machine: &self.machine, segments }))
    }
}

struct OpenSegments<'a> {
    machine: &'a MachineId,
    segments: Vec<(Minute, Segment<'a>)>,
}

impl TagReader for OpenSegments<'_> {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let mut all = Vec::new();
        for (minute, segment) in &self.segments {
            if minute.end() <= range.start || minute.start() >= range.end {
                continue;
            }
            let content = segment.content_of(|number| number == tag);
            all.extend(content.map_err(|cause| failed(self.machine, cause))?.sourced(tag));
        }
        if !all.is_sorted_by_key(order) {
            all.sort_by_key(order);
        }
        all.retain(|one| range.contains(&one.sample.timestamp()));
        Ok(all)
    }
}

fn order(one: &Sourced) -> (Timestamp, Source) {
    (one.sample.timestamp(), one.source)
}

/// Several sources of one machine, which may hold the same samples: what a batch brought to a minute is taken from the first
/// that has it.
pub struct Union {
    tags: Vec<TagRecord>,
    /// At least one, all of one machine.
    parts: Vec<Box<dyn MachineSource>>,
}

impl Union {
    /// `None` if there are no parts.
    ///
    /// # Errors
    /// They are of different machines.
    pub fn new(parts: Vec<Box<dyn MachineSource>>) -> Result<Option<Self>, ArchiveError> {
        let Some(first) = parts.first() else { return Ok(None) };
        if let Some(other) = parts.iter().find(|part| part.machine() != first.machine()) {
            let (one, other) = (first.machine(), other.machine());
            return Err(ArchiveError::Misuse(format!("{one} and {other} are not one machine")));
        }
        // A later part knows a tag better: the segments are newer than the object.
        let named = parts.iter().flat_map(|part| part.tags()).map(|tag| (tag.number, tag.clone()));
        let tags = named.collect::<BTreeMap<_, _>>().into_values().collect();
        Ok(Some(Self { tags, parts }))
    }
}

impl MachineSource for Union {
    fn machine(&self) -> &MachineId {
        self.parts[0].machine()
    }

    fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        let open = self.parts.iter().map(|part| part.open()).collect::<Result<_, _>>()?;
        Ok(Box::new(OpenUnion(open)))
    }
}

struct OpenUnion<'a>(Vec<Box<dyn TagReader + 'a>>);

impl TagReader for OpenUnion<'_> {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let mut all: Vec<Sourced> = Vec::new();
        let mut seen: HashSet<(Minute, Source)> = HashSet::new();
        for part in &mut self.0 {
            let mut more = part.samples(tag, range)?;
            more.retain(|one| !seen.contains(&brought(one)));
            seen.extend(more.iter().map(brought));
            all.append(&mut more);
        }
        all.sort_by_key(order);
        Ok(all)
    }
}

fn brought(one: &Sourced) -> (Minute, Source) {
    (Minute::of_sample(&one.sample), one.source)
}

/// The contents of the minutes of a range, in order, without those that hold nothing: what a restore puts back, and what a
/// reader unites with other tiers. Memory: all samples of the range; ask for an hour at a time.
///
/// # Errors
/// The samples cannot be read, or are more than a segment holds.
pub fn contents_of_minutes(
    source: &dyn MachineSource,
    minutes: Range<Minute>,
) -> Result<Vec<Content>, ArchiveError> {
    let range = minutes.start.start()..minutes.end.start();
    let mut contents: BTreeMap<Minute, Content> = BTreeMap::new();
    let mut reader = source.open()?;
    for tag in source.tags() {
        let mut samples = reader.samples(tag.number, &range)?;
        // A content takes what each batch brought, in the order of the batches.
        samples.sort_by_key(|one| (Minute::of_sample(&one.sample), one.source));
        for run in samples.chunk_by(|a, b| brought(a) == brought(b)) {
            let minute = Minute::of_sample(&run[0].sample);
            let content = contents.entry(minute).or_insert_with(|| Content::new(minute));
            let of_run: Vec<_> = run.iter().map(|one| one.sample.clone()).collect();
            let added = content.add((tag.number, tag.kind), (run[0].source, run[0].detail), &of_run);
            added.map_err(|cause| failed(source.machine(), cause))?;
        }
    }
    Ok(contents.into_values().collect())
}

#[cfg(test)]
mod tests;
