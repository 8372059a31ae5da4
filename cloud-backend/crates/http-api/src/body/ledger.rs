//! The ledger: what became of everything a gateway sent.

use fleet::{ClockRow, DroppedRow, GapRow, LedgerRow, QuarantineRow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::instant::Instant;

/// The stream of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stream {
    Alarm,
    Telemetry,
    Diagnostic,
}

impl From<protocol::StreamId> for Stream {
    fn from(stream: protocol::StreamId) -> Self {
        match stream {
            protocol::StreamId::Alarm => Self::Alarm,
            protocol::StreamId::Telemetry => Self::Telemetry,
            protocol::StreamId::Diagnostic => Self::Diagnostic,
        }
    }
}

/// Batches refused for one reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rejected {
    /// The reason.
    pub(crate) reason: String,
    /// How many.
    pub(crate) count: u64,
}

/// Batches that the gateway declared lost: `first` to `last`, both included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Gap {
    /// The first lost sequence.
    pub(crate) first: u64,
    /// The last lost sequence.
    pub(crate) last: u64,
    /// Samples or records that were in them.
    pub(crate) samples: u64,
    /// Why they were lost.
    pub(crate) reason: String,
}

/// Batches that are missing although later ones came: `first` to `last`, both included.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Missing {
    /// The first missing sequence.
    pub(crate) first: u64,
    /// The last missing sequence.
    pub(crate) last: u64,
}

/// A batch that was put aside: its header is sound and its body is not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quarantined {
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Why, a word as in `rejected`.
    pub(crate) reason: String,
    /// Why, for people.
    pub(crate) detail: String,
    /// When it came.
    pub(crate) received_at: Instant,
    /// Its size; the bytes are kept.
    pub(crate) size_bytes: u64,
}

/// Something that happened to the time of the gateway.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClockChange {
    /// `set`: it was not known and now is. `stepped`: the clock was set. `never_known`: it was booted again before
    /// the time of `samples` was known; their time is uncertain.
    pub(crate) change: String,
    /// What time it was until then; of `never_known` the earliest time that was given.
    pub(crate) from: Instant,
    /// What time it was from then on; of `never_known` the latest time that was given.
    pub(crate) to: Instant,
    /// How long the gateway had been up, in milliseconds.
    pub(crate) uptime_ms: u64,
    /// Samples, transitions and records whose time was never known.
    pub(crate) samples: u64,
}

/// Samples that the gateway lost before they became a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// How many.
    pub(crate) samples: u64,
    /// Why they were lost.
    pub(crate) reason: String,
    /// Time of the first of them.
    pub(crate) from: Instant,
    /// Time of the last of them.
    pub(crate) to: Instant,
}

/// One stream of one life of a gateway's store. `received = stored + duplicate + sum(rejected)`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ledger {
    /// The gateway.
    pub(crate) gateway: String,
    /// The life of its store file, 16 hexadecimal digits; null for messages that did not say.
    #[schema(required)]
    pub(crate) epoch: Option<String>,
    /// The stream.
    pub(crate) stream: Stream,
    /// The end of the unbroken row of batches from 1: what the gateway may forget.
    pub(crate) committed_through: u64,
    /// Batches received.
    pub(crate) received: u64,
    /// Batches stored.
    pub(crate) stored: u64,
    /// Batches received again.
    pub(crate) duplicate: u64,
    /// Batches refused.
    pub(crate) rejected: Vec<Rejected>,
    /// Samples or records in the stored batches.
    pub(crate) samples_stored: u64,
    /// Bytes of all batches received.
    pub(crate) bytes_received: u64,
    /// Whether every batch that came is accounted for.
    pub(crate) balanced: bool,
    /// Batches that the gateway is asked for again.
    pub(crate) missing: Vec<Missing>,
    /// Batches that the gateway declared lost.
    pub(crate) gaps: Vec<Gap>,
    /// Batches put aside; the newest hundred.
    pub(crate) quarantined: Vec<Quarantined>,
    /// Samples that never became a batch; in the row of the telemetry stream.
    pub(crate) dropped: Vec<Dropped>,
    /// What happened to the time of the gateway, the newest hundred; in the row of the diagnostic stream.
    pub(crate) clock: Vec<ClockChange>,
    /// When the last batch arrived.
    #[schema(required)]
    pub(crate) last_received_at: Option<Instant>,
}

impl From<LedgerRow> for Ledger {
    fn from(row: LedgerRow) -> Self {
        let gap = |gap: GapRow| Gap {
            first: gap.first.as_u64(),
            last: gap.last.as_u64(),
            samples: gap.samples,
            reason: gap.reason,
        };
        let dropped = |dropped: DroppedRow| Dropped {
            samples: dropped.samples,
            reason: dropped.reason,
            from: dropped.from.into(),
            to: dropped.to.into(),
        };
        let clock = |row: ClockRow| ClockChange {
            change: row.change,
            from: row.from.into(),
            to: row.to.into(),
            uptime_ms: row.uptime_us / 1000,
            samples: row.samples,
        };
        let quarantined = |batch: QuarantineRow| Quarantined {
            sequence: batch.sequence.as_u64(),
            reason: batch.reason,
            detail: batch.detail,
            received_at: batch.received_at.into(),
            size_bytes: batch.size_bytes,
        };
        let balanced = row.balances();
        let missing = row.missing.into_iter();
        Self {
            balanced,
            missing: missing
                .map(|(first, last)| Missing { first: first.as_u64(), last: last.as_u64() })
                .collect(),
            quarantined: row.quarantined.into_iter().map(quarantined).collect(),
            gateway: row.gateway.to_string(),
            epoch: row.epoch.map(|epoch| epoch.to_string()),
            stream: row.stream.into(),
            committed_through: row.committed_through.as_u64(),
            received: row.received,
            stored: row.stored,
            duplicate: row.duplicate,
            rejected: row.rejected.into_iter().map(|(reason, count)| Rejected { reason, count }).collect(),
            samples_stored: row.samples_stored,
            bytes_received: row.bytes_received,
            gaps: row.gaps.into_iter().map(gap).collect(),
            dropped: row.dropped.into_iter().map(dropped).collect(),
            clock: row.clock.into_iter().map(clock).collect(),
            last_received_at: row.last_received_at.map(Instant),
        }
    }
}
