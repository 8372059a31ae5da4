//! The decision about one message, before the store is asked.

use bytes::Bytes;
use plant_model::{AlarmTransition, GatewayId, Sample, TenantId, Timestamp};
use protocol::{Batch, BatchBody, BatchHeader, DecodeError, DiagnosticRecord, Sequence, StreamId};

/// The largest sequence that is believed, 2^62: a gateway that commits a batch every microsecond needs
/// 146,000 years to get there, and every store can count on from it.
pub const SEQUENCE_MAX: Sequence = Sequence::from_u64(1 << 62);

/// Reasons of refusal that are not a [`DecodeError`]: words for counters.
pub mod reason {
    /// The batch says another stream than its topic.
    pub const WRONG_STREAM: &str = "wrong_stream";
    /// The sequence is 0 or beyond [`super::SEQUENCE_MAX`].
    pub const SEQUENCE: &str = "sequence";
    /// The times of the header are not those of the body.
    pub const SPAN: &str = "span";
    /// The stream has too many holes to open one more.
    pub const TOO_MANY_HOLES: &str = "too_many_holes";
}

/// A message of a gateway on one of its three streams.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Whose it is, from the certificate.
    pub tenant: TenantId,
    /// Who sent it, from the certificate.
    pub gateway: GatewayId,
    /// The stream, from the topic.
    pub stream: StreamId,
    /// The bytes.
    pub payload: Bytes,
    /// When it came, by the backend's wall clock.
    pub received_at: Timestamp,
}

/// What a store needs of a batch beside its bytes. Samples are not kept decoded: a group of batches
/// would hold a hundred times its own size in memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Contents {
    /// Samples; the payload holds them.
    Samples,
    /// Steps of alarms, for the journal.
    Transitions(Vec<AlarmTransition>),
    /// What the gateway says about its own data.
    Records(Vec<DiagnosticRecord>),
}

/// A batch that was read from end to end and may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedBatch {
    /// Its header.
    pub header: BatchHeader,
    /// What to keep beside the bytes.
    pub contents: Contents,
    /// The bytes as they came.
    pub payload: Bytes,
}

/// A batch whose header is sound and whose body is not. It is kept as it came, under its key, and the
/// acknowledgement passes it: sending it again would not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedBatch {
    /// Its header.
    pub header: BatchHeader,
    /// A bounded word for counters.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
    /// The bytes as they came.
    pub payload: Bytes,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Store it, unless it is already there.
    Store(PreparedBatch),
    /// Keep its bytes aside, unless they already are.
    Quarantine(QuarantinedBatch),
    /// Count it. It has no place of its own in a stream, so nothing is stored and nothing acknowledged.
    Refuse {
        /// A bounded word for counters.
        reason: &'static str,
        /// For people.
        detail: String,
    },
}

/// A message with its verdict, ready for a [`crate::WriteSet`].
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Who sent it.
    pub gateway: GatewayId,
    /// The stream, from the topic.
    pub stream: StreamId,
    /// When it came.
    pub received_at: Timestamp,
    /// Its size as it came.
    pub size_bytes: u64,
    /// What to do with it.
    pub verdict: Verdict,
}

/// Judges a message by itself.
#[must_use]
pub fn decide(arrival: Arrival) -> Judged {
    Judged {
        gateway: arrival.gateway,
        stream: arrival.stream,
        received_at: arrival.received_at,
        size_bytes: arrival.payload.len() as u64,
        verdict: judge(arrival.stream, arrival.payload),
    }
}

fn judge(topic: StreamId, payload: Bytes) -> Verdict {
    let header = match BatchHeader::read(&payload) {
        Ok(header) => header,
        Err(error) => return Verdict::Refuse { reason: error.reason(), detail: error.to_string() },
    };
    if header.stream != topic {
        let detail = format!("a batch of stream {} came on the topic of stream {topic}", header.stream);
        return Verdict::Refuse { reason: reason::WRONG_STREAM, detail };
    }
    if header.sequence == Sequence::ZERO || header.sequence > SEQUENCE_MAX {
        let detail = format!("sequence {} is none; 1 to {SEQUENCE_MAX} are", header.sequence);
        return Verdict::Refuse { reason: reason::SEQUENCE, detail };
    }
    match contents(&payload) {
        Ok(contents) => Verdict::Store(PreparedBatch { header, contents, payload }),
        Err((reason, detail)) => Verdict::Quarantine(QuarantinedBatch { header, reason, detail, payload }),
    }
}

type Flaw = (&'static str, String);

fn contents(payload: &[u8]) -> Result<Contents, Flaw> {
    let batch = Batch::decode(payload).map_err(|e: DecodeError| (e.reason(), e.to_string()))?;
    check_span(&batch)?;
    match batch.body {
        BatchBody::Samples(_) => Ok(Contents::Samples),
        BatchBody::Transitions(list) => Ok(Contents::Transitions(list)),
        BatchBody::Records(list) => {
            list.iter().try_for_each(check_record)?;
            Ok(Contents::Records(list))
        }
    }
}

/// A range query believes the header; a header that lies would hide samples for ever.
fn check_span(batch: &Batch) -> Result<(), Flaw> {
    let stated = (batch.header.first_at, batch.header.last_at);
    match span(&batch.body) {
        Some(actual) if actual == stated => Ok(()),
        actual => Err((reason::SPAN, format!("the header says {stated:?}, the body spans {actual:?}"))),
    }
}

fn span(body: &BatchBody) -> Option<(Timestamp, Timestamp)> {
    fn fold(times: impl Iterator<Item = Timestamp>) -> Option<(Timestamp, Timestamp)> {
        times.fold(None, |span, t| {
            let (first, last) = span.unwrap_or((t, t));
            Some((first.min(t), last.max(t)))
        })
    }
    match body {
        BatchBody::Samples(block) => fold(block.iter().flat_map(|s| s.samples.iter().map(Sample::timestamp))),
        BatchBody::Transitions(list) => fold(list.iter().map(|t| t.decided_at)),
        BatchBody::Records(list) => fold(list.iter().map(DiagnosticRecord::at)),
    }
}

fn check_record(record: &DiagnosticRecord) -> Result<(), Flaw> {
    match record {
        DiagnosticRecord::Gap(gap) if gap.last > SEQUENCE_MAX => {
            Err((reason::SEQUENCE, format!("a gap to {} is beyond {SEQUENCE_MAX}", gap.last)))
        }
        DiagnosticRecord::Gap(_) | DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
