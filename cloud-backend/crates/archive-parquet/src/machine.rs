//! A machine out of an object: its row groups are here, compressed, and are decoded tag by tag.

use std::ops::Range;

use plant_model::{MachineId, Timestamp};
use segments::{Sourced, TagNumber};
use tiering::{ArchiveError, MachineSource, TagReader, TagRecord};

use crate::index::IndexTag;
use crate::object::{Object, RowReader};
use crate::sparse::Sparse;

/// The part of an object that is of a machine.
pub(crate) struct ObjectMachine {
    path: String,
    machine: MachineId,
    tags: Vec<TagRecord>,
    index: Vec<IndexTag>,
    object: Object,
    /// Its row groups.
    groups: Sparse,
}

impl ObjectMachine {
    /// Of row groups that were fetched; `None` if the object holds nothing of the machine.
    pub(crate) fn new(path: &str, machine: &MachineId, object: Object, groups: Sparse) -> Option<Self> {
        let index = object.index.machine(machine)?.tags.clone();
        let tags = index.iter().map(|tag| tag.record(machine)).collect::<Option<_>>()?;
        Some(Self { path: path.to_owned(), machine: machine.clone(), tags, index, object, groups })
    }
}

impl MachineSource for ObjectMachine {
    fn machine(&self) -> &MachineId {
        &self.machine
    }

    fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        Ok(Box::new(OpenMachine { machine: self, reader: None, place: Place::default(), ahead: None }))
    }
}

/// Where a reader is: nothing before it is read again without starting anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Place {
    group: usize,
    row: usize,
}

/// Reads forward as long as tags and ranges come in order, so that each page is decoded once.
struct OpenMachine<'a> {
    machine: &'a ObjectMachine,
    reader: Option<RowReader>,
    place: Place,
    /// The tag at which the reader is, and the instant before which all of it was read.
    ahead: Option<(TagNumber, Timestamp)>,
}

impl TagReader for OpenMachine<'_> {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let Some(index) = self.machine.index.iter().find(|one| one.number == tag.0) else {
            return Ok(Vec::new());
        };
        let goes_on = self.ahead.is_some_and(|(at, before)| at == tag && before <= range.start);
        let read = self.read(index, range, goes_on);
        let mut samples =
            read.map_err(|detail| ArchiveError::Damaged { path: self.machine.path.clone(), detail })?;
        samples.retain(|one| range.contains(&one.sample.timestamp()));
        self.ahead = Some((tag, range.end));
        Ok(samples)
    }
}

impl OpenMachine<'_> {
    fn read(
        &mut self,
        tag: &IndexTag,
        range: &Range<Timestamp>,
        goes_on: bool,
    ) -> Result<Vec<Sourced>, String> {
        let mut out = Vec::new();
        for span in &tag.spans {
            let (start, end) = (Place { group: span.group, row: span.row }, span.row + span.rows);
            if goes_on && self.place >= (Place { group: span.group, row: end }) {
                continue;
            }
            let is_inside = goes_on && self.place >= start;
            if !is_inside && (self.reader.is_none() || self.place != start) {
                self.seek(start)?;
            }
            let rows = end - self.place.row;
            let reader = self.reader.as_mut().ok_or("no reader")?;
            let read = reader.read(TagNumber(tag.number), rows, range.end, &mut out)?;
            self.place.row += read;
            if read < rows {
                break;
            }
        }
        Ok(out)
    }

    /// A reader from a row on to the end of its group.
    fn seek(&mut self, start: Place) -> Result<(), String> {
        let object = &self.machine.object;
        let rows = start.row..object.group_rows(start.group);
        let reader = object.rows(self.machine.groups.clone(), start.group, object.all_columns(), &rows)?;
        (self.reader, self.place) = (Some(reader), start);
        Ok(())
    }
}
