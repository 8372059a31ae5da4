//! Segments: what of one machine falls into one minute, as it rests.
//!
//! A segment is two strings of bytes, so that a store can keep them apart: the head is read to find out, the body to
//! get samples, and the body may be dropped before the head.
//!
//! ```text
//! head: offset size  field
//!            0    1  format, 0x53
//!            1    1  version, 1
//!            2    2  0
//!            4    4  CRC-32 (IEEE) over bytes 8.. of the head, little-endian as all numbers here
//!            8    8  start of the minute, microseconds since 1970, signed
//!           16    4  number of samples
//!           20    4  number of tags
//!           24    4  length of the body; 0 if it was dropped
//!           28    4  CRC-32 over the body
//!           32    …  zstd(protobuf Head): provenance, directory, statistics
//!
//! body: the frame (axes and what the columns are), then the values of each tag, as the directory says. Each is a
//!       protobuf message `Columns` of the batch codec, in a zstd frame where that is shorter.
//! ```
//!
//! Within a tag, samples lie in the order of the batches that brought them, and *runs* say how many each brought. Tags
//! that are read together share axis and runs. A content has exactly one encoding.

mod directory;
mod head;
mod packing;
mod rollups;
mod statistics;
mod wire;

use plant_model::Sample;
use protocol::{ApartColumns, ColumnFrame, SeriesId, SeriesSamples};

pub use head::{HEAD_BYTES, Head, TagHead};
pub use rollups::{rollups_from_bytes, rollups_to_bytes};

use crate::content::{TagContent, check_limit, in_order_of_time};
use crate::{Content, Rollup, SegmentError, TagNumber};
use packing::Packer;

/// Longest body, in bytes: what a segment of [`crate::SAMPLES_MAX`] samples may need, and what a blob of a database
/// easily takes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A segment as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSegment {
    /// Provenance, directory, statistics.
    pub head: Vec<u8>,
    /// Columns.
    pub body: Vec<u8>,
}

impl Content {
    /// To bytes.
    ///
    /// # Errors
    /// It is larger than a segment may be.
    pub fn seal(&self) -> Result<SealedSegment, SegmentError> {
        let mut packer = Packer::new();
        let (mut block, mut tags) = (Vec::new(), Vec::new());
        for (number, tag, rollup) in self.rollups() {
            let Some(rollup) = rollup else { continue };
            block.push(SeriesSamples { series: SeriesId(number.0), samples: tag.samples.clone() });
            tags.push(TagHead { number, runs: tag.runs.clone(), rollup, stored: packing::Stored::NOTHING });
        }
        let columns = ApartColumns::encode(&block);
        let mut body = Vec::new();
        let frame = packer.append(&mut body, &columns.frame)?;
        for (tag, values) in tags.iter_mut().zip(&columns.values) {
            tag.stored = packer.append(&mut body, values)?;
        }
        check_limit("bytes of body", body.len(), BODY_BYTES_MAX)?;
        let head = Head::new(self.minute(), tags, frame, &body);
        Ok(SealedSegment { head: head.write(&mut packer)?, body })
    }
}

/// A segment that is being read: a head and its body.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    head: &'a Head,
    body: &'a [u8],
    frame: ColumnFrame,
}

impl<'a> Segment<'a> {
    pub(crate) fn open(head: &'a Head, body: &'a [u8]) -> Result<Self, SegmentError> {
        head.check_body(body)?;
        let (place, stored) = head.frame();
        let frame = ColumnFrame::decode(&packing::unpack(body, place, stored, "frame of the columns")?)?;
        let stated = head.tags().map(|tag| (SeriesId(tag.number.0), tag.sample_count()));
        if !frame.series().eq(stated) {
            return Err(SegmentError::field("directory", "it is not that of these columns"));
        }
        Ok(Self { head, body, frame })
    }

    /// The samples of a tag in order of time, those of one instant in the order in which they were sent; `None` if it
    /// has none. Other tags are not looked at.
    ///
    /// # Errors
    /// The columns cannot be read.
    pub fn samples(&self, tag: TagNumber) -> Result<Option<Vec<Sample>>, SegmentError> {
        let Some((index, place)) = self.head.find(tag) else { return Ok(None) };
        let samples = self.read(index, place)?;
        Ok(Some(in_order_of_time(&self.head.tag(index).runs, samples)))
    }

    fn read(&self, index: usize, place: usize) -> Result<Vec<Sample>, SegmentError> {
        let stored = self.head.tag(index).stored;
        let values = packing::unpack(self.body, place, stored, "values of a tag")?;
        Ok(self.frame.read(index, &values)?)
    }

    /// Everything in it, with its provenance.
    ///
    /// # Errors
    /// The columns cannot be read, or hold what does not belong into the minute.
    pub fn content(&self) -> Result<Content, SegmentError> {
        self.content_of(|_| true)
    }

    /// What it holds of some tags, with its provenance. Other tags are not looked at.
    ///
    /// # Errors
    /// As [`Self::content`].
    pub fn content_of(&self, is_wanted: impl Fn(TagNumber) -> bool) -> Result<Content, SegmentError> {
        let mut content = Content::new(self.head.minute());
        for (index, place) in self.head.places().enumerate() {
            let tag = self.head.tag(index);
            if !is_wanted(tag.number) {
                continue;
            }
            let samples = self.read(index, place)?;
            let start = content.minute().start();
            if let Some(stray) = samples.iter().find(|s| crate::Minute::of_sample(s) != content.minute()) {
                return Err(SegmentError::OutsideMinute { at: stray.timestamp(), start });
            }
            let kind = tag.rollup.kind();
            content.insert(tag.number, TagContent { kind, runs: tag.runs.clone(), samples });
        }
        Ok(content)
    }

    /// Reads everything and compares the statistics with the samples: what a tier move does before it lets go of
    /// anything.
    ///
    /// # Errors
    /// Something cannot be read, or the statistics are others.
    pub fn verify(&self) -> Result<Content, SegmentError> {
        let content = self.content()?;
        for ((number, _, actual), stated) in content.rollups().zip(self.head.tags()) {
            // Compared as bytes, because a state may be a NaN, which equals nothing.
            let is_same =
                |actual: &Rollup| statistics::to_bytes(actual) == statistics::to_bytes(&stated.rollup);
            if !actual.as_ref().is_some_and(is_same) {
                return Err(SegmentError::Statistics { tag: number });
            }
        }
        Ok(content)
    }
}
