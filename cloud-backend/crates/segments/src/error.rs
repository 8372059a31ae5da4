//! Why something is no segment, or becomes none.

use plant_model::Timestamp;
use protocol::{DecodeError, Epoch, SeriesId};
use thiserror::Error;

use crate::{Source, TagNumber};

/// What went wrong. Bytes that cannot be read stay as they are: reading them again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The head ends before it is complete.
    #[error("the head has {actual} bytes; at least {needed} are needed")]
    TooShort {
        /// Bytes given.
        actual: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The bytes are no head and no rollups, or of a version that is not known.
    #[error(
        "format {format:#04x} version {version} is not known; this program reads 0x53 (head) and 0x52 (rollups) of version 1"
    )]
    UnknownFormat {
        /// The first byte.
        format: u8,
        /// The second byte.
        version: u8,
    },
    /// The bytes were damaged, or belong to another segment.
    #[error("the checksum {computed:#010x} of the {part} differs from the stated {stated:#010x}")]
    Checksum {
        /// Head or body.
        part: &'static str,
        /// Computed over the bytes.
        computed: u32,
        /// Stated in the head.
        stated: u32,
    },
    /// A part could not be decompressed.
    #[error("the {part} is no zstd frame of at most {limit} bytes")]
    Compression {
        /// Which.
        part: &'static str,
        /// The limit after decompression.
        limit: usize,
    },
    /// Something in the head contradicts something else.
    #[error("{field}: {detail}")]
    Field {
        /// What.
        field: &'static str,
        /// How.
        detail: String,
    },
    /// Columns cannot be read.
    #[error("columns of the segment cannot be read")]
    Columns(#[from] DecodeError),
    /// There is more than a segment holds. What is too much stays in its batches.
    #[error("the segment would have {actual} {what}; at most {allowed} are allowed")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much.
        actual: usize,
        /// The limit.
        allowed: usize,
    },
    /// The body was dropped: statistics are all there is.
    #[error("the segment has no body any more; its samples are in the archive, if anywhere")]
    NoBody,
    /// The statistics are not those of the samples.
    #[error("the statistics of tag {} are not those of its samples", .tag.0)]
    Statistics {
        /// The tag.
        tag: TagNumber,
    },
    /// A sample does not belong to the minute: the caller is wrong.
    #[error("a sample at {at} does not belong to the minute that begins at {start}")]
    OutsideMinute {
        /// Where the sample is placed.
        at: Timestamp,
        /// The start of the minute.
        start: Timestamp,
    },
    /// Batches were not given in their order: the caller is wrong.
    #[error("batch {} of epoch {} was added after a later one", .source_batch.sequence, .source_batch.epoch)]
    Order {
        /// The batch.
        source_batch: Source,
    },
    /// No catalogue that came so far names the series. Sealing waits for it before this batch.
    #[error("series {} of epoch {epoch} is in no catalogue yet", .series.0)]
    UnknownSeries {
        /// The epoch.
        epoch: Epoch,
        /// The series.
        series: SeriesId,
    },
}

impl SegmentError {
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Field { field, detail: detail.into() }
    }
}
