//! The head: everything about a segment but its samples.

use std::collections::BTreeSet;

use plant_model::Timestamp;
use prost::Message;

use super::packing::{Packer, Stored, decompress};
use super::{Segment, directory, statistics, wire};
use crate::content::check_limit;
use crate::{Hold, Minute, Rollup, Run, SegmentError, Source, TAGS_MAX, TagNumber};

/// Bytes of a head before its compressed part.
pub const HEAD_BYTES: usize = 32;

const FORMAT: u8 = 0x53;
const VERSION: u8 = 1;

/// What the head says of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagHead {
    /// The tag.
    pub number: TagNumber,
    /// Which batches brought how many of its samples.
    pub runs: Vec<Run>,
    /// What it did in the minute.
    pub rollup: Rollup,
    pub(crate) stored: Stored,
}

impl TagHead {
    pub(crate) fn sample_count(&self) -> usize {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.length))
    }
}

/// Provenance, directory and statistics of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    minute: Minute,
    /// By number.
    tags: Vec<TagHead>,
    frame: Stored,
    /// Length and checksum; `None` when it was dropped.
    body: Option<(usize, u32)>,
}

impl Head {
    pub(super) fn new(minute: Minute, tags: Vec<TagHead>, frame: Stored, body: &[u8]) -> Self {
        Self { minute, tags, frame, body: Some((body.len(), crc32fast::hash(body))) }
    }

    /// The minute.
    #[must_use]
    pub const fn minute(&self) -> Minute {
        self.minute
    }

    /// The tags, by number.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &TagHead> {
        self.tags.iter()
    }

    /// What a tag did in the minute.
    #[must_use]
    pub fn rollup(&self, tag: TagNumber) -> Option<&Rollup> {
        self.find_index(tag).map(|index| &self.tags[index].rollup)
    }

    /// How many samples the body holds, or held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tags.iter().fold(0, |sum, tag| sum.saturating_add(tag.sample_count()))
    }

    /// All batches of which something is in it.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<Source> {
        self.tags.iter().flat_map(|tag| tag.runs.iter().map(|run| run.source)).collect()
    }

    /// Whether the samples are still there.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Reads a head and checks its checksum.
    ///
    /// # Errors
    /// The bytes are no undamaged head of a known version.
    pub fn read(bytes: &[u8]) -> Result<Self, SegmentError> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(SegmentError::TooShort { actual: bytes.len(), needed: HEAD_BYTES });
        };
        if (fixed[0], fixed[1]) != (FORMAT, VERSION) {
            return Err(SegmentError::UnknownFormat { format: fixed[0], version: fixed[1] });
        }
        let stated = u32_at(fixed, 4);
        let computed = crc32fast::hash(&bytes[8..]);
        if stated != computed {
            return Err(SegmentError::Checksum { part: "head", computed, stated });
        }
        let plain = decompress(rest, "head")?;
        let message = wire::Head::decode(plain.as_slice())
            .map_err(|error| SegmentError::field("head", error.to_string()))?;
        let start = i64::from_le_bytes(std::array::from_fn(|i| fixed[8 + i]));
        let length = usize::try_from(u32_at(fixed, 24)).unwrap_or(usize::MAX);
        let minute = Minute::of(Timestamp::from_micros(start));
        let body = (length > 0).then_some((length, u32_at(fixed, 28)));
        let head = Self::from_wire(minute, &message, body)?;
        let found = [head.count(), head.tags.len()];
        if found.map(|n| u32::try_from(n).ok()) != [16, 20].map(|at| Some(u32_at(fixed, at))) {
            return Err(SegmentError::field(
                "head",
                "its numbers of samples and tags are not those of its parts",
            ));
        }
        Ok(head)
    }

    fn from_wire(
        minute: Minute,
        message: &wire::Head,
        body: Option<(usize, u32)>,
    ) -> Result<Self, SegmentError> {
        check_limit("tags", message.tag.len(), TAGS_MAX)?;
        let entries = directory::from_wire(message)?;
        let nothing = wire::Statistics::default();
        let kinds = entries.iter().map(|entry| entry.kind).collect::<Vec<_>>();
        let rollups = statistics::from_wire(minute, &kinds, message.statistics.as_ref().unwrap_or(&nothing))?;
        let tags = entries.into_iter().zip(rollups).map(|(entry, rollup)| TagHead {
            number: entry.number,
            runs: entry.runs,
            rollup,
            stored: entry.stored,
        });
        let head =
            Self { minute, tags: tags.collect(), frame: directory::unfold(message.frame_stored), body };
        let end = head.tags.iter().fold(head.frame.length, |end, tag| end.saturating_add(tag.stored.length));
        match body {
            Some((length, _)) if end != length => Err(SegmentError::field(
                "directory",
                format!("it covers {end} of {length} bytes of the body"),
            )),
            Some(_) | None => Ok(head),
        }
    }

    /// To bytes.
    ///
    /// # Errors
    /// It is larger than a head may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SegmentError> {
        self.write(&mut Packer::new())
    }

    pub(super) fn write(&self, packer: &mut Packer) -> Result<Vec<u8>, SegmentError> {
        let mut message = directory::to_wire(&self.tags, self.frame);
        message.statistics = Some(statistics::to_wire(self.minute, self.tags.iter().map(|t| &t.rollup)));
        let plain = message.encode_to_vec();
        check_limit("bytes of head", plain.len(), protocol::limits::DECODED_BYTES_MAX)?;
        let (length, checksum) = self.body.unwrap_or((0, 0));
        let mut out = vec![FORMAT, VERSION, 0, 0, 0, 0, 0, 0];
        out.extend(self.minute.start().micros().to_le_bytes());
        for number in [self.count(), self.tags.len(), length] {
            out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend(checksum.to_le_bytes());
        let memory = || SegmentError::Compression { part: "head", limit: plain.len() };
        out.extend(packer.compress(&plain).ok_or_else(memory)?);
        let checksum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }

    /// Opens the body.
    ///
    /// # Errors
    /// There is none any more, or these bytes are not the body that belongs to this head.
    pub fn open<'a>(&'a self, body: &'a [u8]) -> Result<Segment<'a>, SegmentError> {
        Segment::open(self, body)
    }

    pub(super) fn check_body(&self, body: &[u8]) -> Result<(), SegmentError> {
        let (length, stated) = self.body.ok_or(SegmentError::NoBody)?;
        if body.len() != length {
            let detail = format!("it has {} bytes; the head says {length}", body.len());
            return Err(SegmentError::field("body", detail));
        }
        let computed = crc32fast::hash(body);
        if computed != stated {
            return Err(SegmentError::Checksum { part: "body", computed, stated });
        }
        Ok(())
    }

    /// The same without the body: what stays in the warm tier.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.body = None;
        self.frame = Stored::NOTHING;
        self.tags.iter_mut().for_each(|tag| tag.stored = Stored::NOTHING);
        self
    }

    /// What both say together, of batches that they do not have in common; without a body.
    pub(crate) fn overlaid_with(self, other: &Self) -> Self {
        let mut head = self.without_body();
        for tag in &other.tags {
            match head.tags.binary_search_by_key(&tag.number, |t| t.number) {
                Ok(index) => head.tags[index].overlay(tag),
                Err(index) => head.tags.insert(index, TagHead { stored: Stored::NOTHING, ..tag.clone() }),
            }
        }
        head
    }

    pub(super) fn frame(&self) -> (usize, Stored) {
        (0, self.frame)
    }

    /// Where the values of each tag lie in the body.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.tags.iter().scan(self.frame.length, |end, tag| {
            let place = *end;
            *end += tag.stored.length;
            Some(place)
        })
    }

    pub(super) fn tag(&self, index: usize) -> &TagHead {
        &self.tags[index]
    }

    /// The index of a tag, and where its values lie.
    pub(super) fn find(&self, tag: TagNumber) -> Option<(usize, usize)> {
        let index = self.find_index(tag)?;
        self.places().nth(index).map(|place| (index, place))
    }

    fn find_index(&self, tag: TagNumber) -> Option<usize> {
        self.tags.binary_search_by_key(&tag, |t| t.number).ok()
    }
}

impl TagHead {
    fn overlay(&mut self, other: &Self) {
        // Within a minute no value is in force for longer than any hold.
        self.rollup = self.rollup.combined_with(&other.rollup, Hold::DEFAULT);
        self.runs.extend(&other.runs);
        self.runs.sort_by_key(|run| run.source);
    }
}

fn u32_at(bytes: &[u8; HEAD_BYTES], offset: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[offset + i]))
}
