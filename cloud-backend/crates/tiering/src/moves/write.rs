//! Writes an object: of a day, again with what came since, or of several as one.
//!
//! Memory: the compressed segments and objects of one machine in the range, about 2 MB a day of twenty tags at 1 Hz, and
//! one tag decoded.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use plant_model::{GatewayId, MachineId, Timestamp};
use segments::Minute;

use super::{MoveError, Mover};
use crate::{
    ArchiveError, MachineSource, ObjectFacts, ObjectId, ObjectRow, ObjectState, Parts, Policy, SegmentRow,
    SegmentsOfMachine, TagReader, TagRecord, Union, object_path,
};

/// Segments that are read at a time: half a day.
const PAGE: usize = 720;

impl Mover<'_> {
    /// Writes one object of what the store and the superseded objects hold of a range, has it read back, compares, and
    /// enters it.
    pub(super) async fn write_object(
        &self,
        policy: &Policy,
        (gateway, range): (&GatewayId, &Range<Timestamp>),
        supersedes: &[ObjectRow],
        now: Timestamp,
    ) -> Result<ObjectRow, MoveError> {
        // Before the segments are read: those that change from now on do not count as archived.
        let as_of = self.tiers.revision(self.tenant, gateway).await?;
        for old in supersedes {
            self.verify(old).await?;
        }
        let mut row = draft(gateway, range, now);
        row.id = self.tiers.begin_object(self.tenant, row.clone()).await?;
        let written = self.write_machines(policy, &row, supersedes).await?;
        self.read_back(&row, &written).await?;
        row.state = ObjectState::Verified;
        row.samples = written.contents.samples();
        row.bytes = written.bytes;
        row.sha256 = written.sha256;
        row.directory = written.directory;
        let superseded = supersedes.iter().map(|old| old.id).collect();
        self.tiers.commit_object(self.tenant, row.clone(), as_of, superseded).await?;
        Ok(row)
    }

    async fn write_machines(
        &self,
        policy: &Policy,
        row: &ObjectRow,
        supersedes: &[ObjectRow],
    ) -> Result<ObjectFacts, MoveError> {
        let mut machines: BTreeMap<MachineId, Vec<TagRecord>> = BTreeMap::new();
        for tag in self.tiers.tags(self.tenant, &row.gateway, None).await? {
            machines.entry(tag.machine.clone()).or_default().push(tag);
        }
        let mut writer = self.archive.create(self.tenant, &row.path, row.start..row.end).await?;
        for (machine, tags) in machines {
            if let Some(source) = self.source_of(policy, row, (&machine, tags), supersedes).await? {
                writer.add(source).await?;
            }
        }
        Ok(writer.finish().await?.object)
    }

    /// All that the old objects and the store hold of a machine, without the classes that are not archived; `None` if
    /// there is nothing.
    async fn source_of(
        &self,
        policy: &Policy,
        row: &ObjectRow,
        (machine, tags): (&MachineId, Vec<TagRecord>),
        supersedes: &[ObjectRow],
    ) -> Result<Option<Box<dyn MachineSource>>, MoveError> {
        let mut parts: Vec<Box<dyn MachineSource>> = Vec::new();
        for old in supersedes {
            parts.extend(self.archive.machine(self.tenant, old, machine).await?);
        }
        let rows = self.segments_of(&row.gateway, machine, &(row.start..row.end)).await?;
        let nowhere = rows.iter().find(|row| !row.is_archived && row.body.is_none() && row.late.is_none());
        if let Some(nowhere) = nowhere {
            return Err(MoveError::Nowhere { gateway: row.gateway.clone(), minute: nowhere.key.minute });
        }
        if !rows.is_empty() {
            parts.push(Box::new(SegmentsOfMachine::new(machine.clone(), tags, rows)?));
        }
        let Some(union) = Union::new(parts)? else { return Ok(None) };
        let tags: Vec<_> = union.tags().iter().filter(|tag| policy.archives(tag.kind)).cloned().collect();
        if tags.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Archived { all: union, tags })))
    }

    /// The segments of a machine in a range with their bodies.
    pub(super) async fn segments_of(
        &self,
        gateway: &GatewayId,
        machine: &MachineId,
        range: &Range<Timestamp>,
    ) -> Result<Vec<SegmentRow>, MoveError> {
        let (mut rows, mut start) = (Vec::new(), Minute::of(range.start));
        let end = Minute::of(range.end);
        loop {
            let page =
                self.tiers.segments(self.tenant, gateway, machine, start..end, Parts::All, PAGE).await?;
            let is_last = page.len() < PAGE;
            start = page.last().map_or(end, |row| Minute::of(row.key.minute.end()));
            rows.extend(page);
            if is_last {
                return Ok(rows);
            }
        }
    }

    /// Reads from where it lies, not from memory.
    async fn read_back(&self, row: &ObjectRow, written: &ObjectFacts) -> Result<(), MoveError> {
        let found = self.archive.verify(self.tenant, row).await?.object;
        let same = [
            ("samples", found.contents == written.contents),
            ("hashes", found.sha256 == written.sha256),
            ("sizes", found.bytes == written.bytes),
            ("directories", found.directory == written.directory),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => {
                Err(MoveError::Differs { path: row.path.clone(), expected: "was written", what })
            }
            None => Ok(()),
        }
    }
}

fn draft(gateway: &GatewayId, range: &Range<Timestamp>, now: Timestamp) -> ObjectRow {
    ObjectRow {
        id: ObjectId(0),
        gateway: gateway.clone(),
        start: range.start,
        end: range.end,
        path: object_path(gateway, range.start, range.end, now.micros().cast_unsigned()),
        state: ObjectState::Writing,
        samples: 0,
        bytes: 0,
        sha256: [0; 32],
        directory: Bytes::new(),
        changed_at: now,
    }
}

/// The tags of a machine that the policy archives.
struct Archived {
    all: Union,
    tags: Vec<TagRecord>,
}

impl MachineSource for Archived {
    fn machine(&self) -> &MachineId {
        self.all.machine()
    }

    fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        self.all.open()
    }
}
