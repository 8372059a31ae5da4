//! The opening of a connection and acknowledgements (SPEC section 3).

use plant_model::Timestamp;
use prost::Message;

use crate::diagnostic::stream;
use crate::journal::text;
use crate::{DecodeError, Epoch, Sequence, StreamId, container, wire};

/// What a gateway holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRange {
    /// The stream.
    pub stream: StreamId,
    /// The oldest batch it can still send; equal to `next` when it holds none.
    pub oldest: Sequence,
    /// The sequence that the next batch will get.
    pub next: Sequence,
}

/// The first message of a gateway on every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The life of its store file.
    pub epoch: Epoch,
    /// The newest batch schema it can write.
    pub schema_max: u32,
    /// The version of the agent.
    pub agent_version: String,
    /// What it holds, one entry a stream.
    pub streams: Vec<StreamRange>,
}

impl Hello {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let streams = self
            .streams
            .iter()
            .map(|r| wire::Range {
                stream: r.stream.code().into(),
                oldest: r.oldest.as_u64(),
                next: r.next.as_u64(),
            })
            .collect();
        container::seal_plain(&wire::Hello {
            epoch: self.epoch.as_u64(),
            schema_max: self.schema_max,
            agent_version: self.agent_version.clone(),
            streams,
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no hello.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let hello: wire::Hello = container::open_plain(bytes, "Hello")?;
        let streams = hello.streams.into_iter().map(range).collect::<Result<Vec<_>, _>>()?;
        for id in StreamId::ALL {
            let entries = streams.iter().filter(|r| r.stream == id).count();
            if entries != 1 {
                return Err(DecodeError::field(
                    "streams",
                    format!("{entries} entries for stream {id}; 1 is right"),
                ));
            }
        }
        Ok(Self {
            epoch: Epoch::from_u64(hello.epoch),
            schema_max: hello.schema_max,
            agent_version: text("agent_version", hello.agent_version)?,
            streams,
        })
    }
}

fn range(range: wire::Range) -> Result<StreamRange, DecodeError> {
    if range.oldest == 0 || range.oldest > range.next {
        return Err(DecodeError::field(
            "streams",
            format!("oldest {} and next {} are no range", range.oldest, range.next),
        ));
    }
    Ok(StreamRange {
        stream: stream(range.stream)?,
        oldest: Sequence::from_u64(range.oldest),
        next: Sequence::from_u64(range.next),
    })
}

/// The backend holds every batch of a stream up to and including `committed_through`, durably, or
/// knows it for lost by a gap record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CumulativeAck {
    /// The epoch the sequences belong to.
    pub epoch: Epoch,
    /// The stream.
    pub stream: StreamId,
    /// The last batch of the unbroken row from 1.
    pub committed_through: Sequence,
    /// The backend asks for the batches behind `committed_through` up to and including this one: later
    /// ones came, these did not.
    pub missing_through: Option<Sequence>,
    /// The checksum of the batch `committed_through`, in an answer to hello and if the backend has the batch:
    /// the gateway holds its own against it.
    pub last_checksum: Option<u32>,
}

impl CumulativeAck {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        container::seal_plain(&wire::Ack {
            epoch: self.epoch.as_u64(),
            stream: self.stream.code().into(),
            committed_through: self.committed_through.as_u64(),
            missing_through: self.missing_through.map_or(0, Sequence::as_u64),
            last_checksum: self.last_checksum,
        })
    }

    /// To bytes that say beside what time it is for the sender (SPEC section 11).
    #[must_use]
    pub fn encode_at(&self, now: Timestamp) -> Vec<u8> {
        let mut bytes = self.encode();
        // Fields of a protobuf message may follow each other in any order.
        wire::AckTime { told_at_us: Some(now.micros()) }.encode_raw(&mut bytes);
        bytes
    }

    /// What time it was for the sender, if the bytes say so.
    #[must_use]
    pub fn told_at(bytes: &[u8]) -> Option<Timestamp> {
        let time: wire::AckTime = container::open_plain(bytes, "Ack").ok()?;
        time.told_at_us.map(Timestamp::from_micros)
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no acknowledgement.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ack: wire::Ack = container::open_plain(bytes, "Ack")?;
        let missing = ack.missing_through;
        if missing != 0 && missing <= ack.committed_through {
            let detail = format!(
                "{missing} cannot be missing: {} is the last of the unbroken row",
                ack.committed_through
            );
            return Err(DecodeError::field("missing_through", detail));
        }
        Ok(Self {
            epoch: Epoch::from_u64(ack.epoch),
            stream: stream(ack.stream)?,
            committed_through: Sequence::from_u64(ack.committed_through),
            missing_through: (missing != 0).then(|| Sequence::from_u64(missing)),
            last_checksum: ack.last_checksum,
        })
    }
}
