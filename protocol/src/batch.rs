//! Batches (SPEC section 4): the immutable unit of delivery.

use plant_model::{AlarmTransition, Timestamp};

use crate::columns::{self, SeriesSamples};
use crate::limits::{BATCH_RECORDS_MAX, BATCH_SAMPLES_MAX};
use crate::{DecodeError, DiagnosticRecord, Epoch, Sequence, StreamId, container, diagnostic, journal, wire};

/// Bytes of a batch before its compressed body.
pub const HEADER_BYTES: usize = 48;

/// The newest schema this version reads and writes.
const SCHEMA: u8 = 1;

/// What a store needs to know of a batch without reading its body.
///
/// ```text
/// offset size  field
///      0    1  container, 0x01
///      1    1  schema, 1
///      2    1  stream code
///      3    1  flags: bit 0 = thinned
///      4    4  CRC-32 (IEEE) over bytes 8.. of the message, little-endian as all numbers here
///      8    8  epoch
///     16    8  sequence
///     24    8  time of the earliest sample or record, microseconds since 1970, signed
///     32    8  time of the latest
///     40    4  number of samples or records
///     44    4  length of the body
///     48    …  body: zstd(protobuf Body)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The life of the store file it was committed to.
    pub epoch: Epoch,
    /// The stream.
    pub stream: StreamId,
    /// Its position in the stream.
    pub sequence: Sequence,
    /// The earliest time in the body.
    pub first_at: Timestamp,
    /// The latest time in the body.
    pub last_at: Timestamp,
    /// Samples or records in the body.
    pub count: u32,
    /// Whether it carries all samples of its time.
    pub detail: Detail,
}

/// Whether a batch carries everything that was acquired in its time (SPEC section 4, flags).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    Full,
    /// What a full buffer kept of batches that it gave up: a selection of their samples.
    Thinned,
}

impl Detail {
    /// Bit of the flags byte that says [`Self::Thinned`].
    const BIT: u8 = 1;

    const fn to_flags(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Thinned => Self::BIT,
        }
    }

    const fn from_flags(flags: u8) -> Self {
        if flags & Self::BIT == 0 { Self::Full } else { Self::Thinned }
    }
}

impl BatchHeader {
    /// The checksum that a message carries (SPEC section 4, bytes 4 to 7), unverified; `None` if it is too short to be
    /// one. Two batches with the same key and different checksums are of two buffers.
    #[must_use]
    pub fn checksum(bytes: &[u8]) -> Option<u32> {
        bytes.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Reads the header of a batch and checks its checksum; the body is not looked into.
    ///
    /// # Errors
    /// The bytes are no undamaged batch of a known schema.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        container::check_size(bytes)?;
        let Some(&found) = bytes.first() else {
            return Err(DecodeError::TooShort { actual: 0, needed: HEADER_BYTES });
        };
        if found != container::BATCH {
            return Err(DecodeError::UnknownContainer { found });
        }
        if bytes.len() < HEADER_BYTES {
            return Err(DecodeError::TooShort { actual: bytes.len(), needed: HEADER_BYTES });
        }
        if bytes[1] != SCHEMA {
            return Err(DecodeError::UnknownSchema { found: bytes[1].into(), max: SCHEMA.into() });
        }
        let stated = u32::from_le_bytes(at(bytes, 4));
        let computed = crc32fast::hash(&bytes[8..]);
        if stated != computed {
            return Err(DecodeError::Checksum { computed, stated });
        }
        let body = bytes.len() - HEADER_BYTES;
        if usize::try_from(u32::from_le_bytes(at(bytes, 44))).ok() != Some(body) {
            return Err(DecodeError::field(
                "length of the body",
                format!("the message carries {body} bytes of body"),
            ));
        }
        Ok(Self {
            stream: StreamId::from_code(bytes[2])?,
            epoch: Epoch::from_u64(u64::from_le_bytes(at(bytes, 8))),
            sequence: Sequence::from_u64(u64::from_le_bytes(at(bytes, 16))),
            first_at: Timestamp::from_micros(i64::from_le_bytes(at(bytes, 24))),
            last_at: Timestamp::from_micros(i64::from_le_bytes(at(bytes, 32))),
            count: u32::from_le_bytes(at(bytes, 40)),
            detail: Detail::from_flags(bytes[3]),
        })
    }

    fn write(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend([container::BATCH, SCHEMA, self.stream.code(), self.detail.to_flags()]);
        out.extend([0; 4]);
        out.extend(self.epoch.as_u64().to_le_bytes());
        out.extend(self.sequence.as_u64().to_le_bytes());
        out.extend(self.first_at.micros().to_le_bytes());
        out.extend(self.last_at.micros().to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(body);
        let checksum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[offset + i])
}

/// What a batch carries; each stream has its own kind.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchBody {
    /// Stream `telemetry`.
    Samples(Vec<SeriesSamples>),
    /// Stream `alarm`, in the order of the decisions.
    Transitions(Vec<AlarmTransition>),
    /// Stream `diagnostic`.
    Records(Vec<DiagnosticRecord>),
}

impl BatchBody {
    /// The stream that carries this kind.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        match self {
            Self::Samples(_) => StreamId::Telemetry,
            Self::Transitions(_) => StreamId::Alarm,
            Self::Records(_) => StreamId::Diagnostic,
        }
    }

    /// Samples or records in it.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Samples(block) => block.iter().map(|s| s.samples.len()).sum(),
            Self::Transitions(list) => list.len(),
            Self::Records(list) => list.len(),
        }
    }

    /// The earliest and the latest time in it; `None` when it is empty.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let times: Box<dyn Iterator<Item = Timestamp>> = match self {
            Self::Samples(block) => {
                Box::new(block.iter().flat_map(|s| s.samples.iter().map(plant_model::Sample::timestamp)))
            }
            Self::Transitions(list) => Box::new(list.iter().map(|t| t.decided_at)),
            Self::Records(list) => Box::new(list.iter().map(DiagnosticRecord::at)),
        };
        times.fold(None, |span, t| match span {
            None => Some((t, t)),
            Some((first, last)) => Some((first.min(t), last.max(t))),
        })
    }
}

/// A batch: a header and what it carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its header.
    pub header: BatchHeader,
    /// When the gateway committed it, by its wall clock.
    pub committed_at: Timestamp,
    /// What it carries.
    pub body: BatchBody,
}

impl Batch {
    /// Builds and encodes a batch.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`]: the body is empty or over the limits of one batch; commit it in parts.
    pub fn encode(
        epoch: Epoch,
        sequence: Sequence,
        committed_at: Timestamp,
        body: &BatchBody,
    ) -> Result<Vec<u8>, DecodeError> {
        Self::encode_as(Detail::Full, epoch, sequence, committed_at, body)
    }

    /// Builds and encodes a batch that says of itself whether it is complete.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_as(
        detail: Detail,
        epoch: Epoch,
        sequence: Sequence,
        committed_at: Timestamp,
        body: &BatchBody,
    ) -> Result<Vec<u8>, DecodeError> {
        let (count, allowed) = (body.count(), limit(body.stream()));
        let too_large = |what, actual, allowed| DecodeError::TooLarge { what, actual, allowed };
        if count > allowed {
            return Err(too_large("the batch in entries", count, allowed));
        }
        let Some((first_at, last_at)) = body.span() else {
            return Err(DecodeError::field("count", "a batch carries at least one sample or record"));
        };
        let compressed = container::compress(&to_wire(committed_at, body));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let header = BatchHeader { epoch, stream: body.stream(), sequence, first_at, last_at, count, detail };
        let bytes = header.write(&compressed);
        container::check_size(&bytes)?;
        Ok(bytes)
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// The bytes are no undamaged batch, or say things no sender of this protocol says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = BatchHeader::read(bytes)?;
        let wire: wire::Body = container::decompress(&bytes[HEADER_BYTES..], "Body")?;
        let committed_at = Timestamp::from_micros(wire.committed_at_us);
        let body = from_wire(header.stream, wire)?;
        if body.count() != usize::try_from(header.count).unwrap_or(usize::MAX) {
            let detail = format!("the header says {}, the body holds {}", header.count, body.count());
            return Err(DecodeError::field("count", detail));
        }
        Ok(Self { header, committed_at, body })
    }
}

const fn limit(stream: StreamId) -> usize {
    match stream {
        StreamId::Telemetry => BATCH_SAMPLES_MAX,
        StreamId::Alarm | StreamId::Diagnostic => BATCH_RECORDS_MAX,
    }
}

fn to_wire(committed_at: Timestamp, body: &BatchBody) -> wire::Body {
    let mut out = wire::Body { committed_at_us: committed_at.micros(), ..wire::Body::default() };
    match body {
        BatchBody::Samples(block) => out.samples = Some(columns::encode(block)),
        BatchBody::Transitions(list) => out.transitions = list.iter().map(journal::to_wire).collect(),
        BatchBody::Records(list) => out.records = list.iter().map(diagnostic::to_wire).collect(),
    }
    out
}

fn from_wire(stream: StreamId, body: wire::Body) -> Result<BatchBody, DecodeError> {
    let entries = body.transitions.len().max(body.records.len());
    if entries > BATCH_RECORDS_MAX {
        return Err(DecodeError::TooLarge {
            what: "the batch in records",
            actual: entries,
            allowed: BATCH_RECORDS_MAX,
        });
    }
    Ok(match stream {
        StreamId::Telemetry => BatchBody::Samples(columns::decode(&body.samples.unwrap_or_default())?),
        StreamId::Alarm => BatchBody::Transitions(
            body.transitions.into_iter().map(journal::from_wire).collect::<Result<_, _>>()?,
        ),
        StreamId::Diagnostic => {
            BatchBody::Records(body.records.into_iter().map(diagnostic::from_wire).collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests;
