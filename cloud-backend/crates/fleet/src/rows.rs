//! Gateways, machines and the ledger.

use plant_model::{GatewayId, Timestamp};
use protocol::{CatalogueMachine, Epoch, Sequence, StreamId};

/// A registered gateway, or one that sent something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInfo {
    /// Its id.
    pub id: GatewayId,
    /// The version of its agent, once it said hello.
    pub agent_version: Option<String>,
    /// The epoch it is in, once it said hello or sent a catalogue.
    pub epoch: Option<Epoch>,
    /// When the last message came that is stored or counted; `None` when none ever did.
    pub last_seen_at: Option<Timestamp>,
    /// Machines in its catalogue.
    pub machines: usize,
}

/// A machine of the current catalogue of its gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineInfo {
    /// Its gateway.
    pub gateway: GatewayId,
    /// The epoch of the catalogue.
    pub epoch: Epoch,
    /// Its name, tags and alarms.
    pub definition: CatalogueMachine,
}

/// What is known of one stream of one gateway in one epoch. Always
/// `received = stored + duplicate + sum of rejected`, in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The gateway.
    pub gateway: GatewayId,
    /// The epoch; `None` for messages of which not even the header could be read.
    pub epoch: Option<Epoch>,
    /// The stream.
    pub stream: StreamId,
    /// The end of the unbroken row from 1.
    pub committed_through: Sequence,
    /// Messages that came.
    pub received: u64,
    /// Of these: stored.
    pub stored: u64,
    /// Of these: already there.
    pub duplicate: u64,
    /// Of these: refused or put aside, by reason, in the order of the words.
    pub rejected: Vec<(String, u64)>,
    /// Samples or records in the stored ones.
    pub samples_stored: u64,
    /// Bytes that came, duplicates and rejected ones included.
    pub bytes_received: u64,
    /// When the last message came; `None` for a stream that is only known from gap records.
    pub last_received_at: Option<Timestamp>,
    /// Batches that are missing although later ones came: first and last of each hole, in order, at most
    /// [`Self::LOSSES_MAX`]. The gateway is asked for them.
    pub missing: Vec<(Sequence, Sequence)>,
    /// Batches that the gateway gave up, the newest first, at most [`Self::LOSSES_MAX`].
    pub gaps: Vec<GapRow>,
    /// Batches that were put aside because their body could not be read, the newest first, at most
    /// [`Self::LOSSES_MAX`].
    pub quarantined: Vec<QuarantineRow>,
    /// Samples that the gateway lost before they became a batch, the newest first, at most
    /// [`Self::LOSSES_MAX`]; in the row of the telemetry stream.
    pub dropped: Vec<DroppedRow>,
    /// What happened to the time of the gateway, the newest first, at most [`Self::LOSSES_MAX`]; in the row of the
    /// diagnostic stream.
    pub clock: Vec<ClockRow>,
}

impl LedgerRow {
    /// Most gaps, and most drops, that one row lists: what a person can look through. Older ones stay
    /// in the store.
    pub const LOSSES_MAX: usize = 100;

    /// Whether every message that came is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected.iter().map(|(_, n)| n).sum::<u64>()
    }
}

/// Something that happened to the time of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockRow {
    /// What, a word: `set`, `stepped` or `never_known`.
    pub change: String,
    /// What time it was until then; of `never_known` the earliest time that was given.
    pub from: Timestamp,
    /// What time it was from then on; of `never_known` the latest time that was given.
    pub to: Timestamp,
    /// How long the gateway had been up.
    pub uptime_us: u64,
    /// Samples, transitions and records whose time was never known.
    pub samples: u64,
}

/// A batch whose header is sound and whose body is not; its bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineRow {
    /// Its sequence.
    pub sequence: Sequence,
    /// Why, a word.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Its size.
    pub size_bytes: u64,
}

/// Batches that a gateway gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
    /// Samples or records that were in them.
    pub samples: u64,
    /// Why, a word.
    pub reason: String,
    /// When, by the gateway's clock.
    pub at: Timestamp,
}

/// Samples that a gateway lost before they became a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedRow {
    /// How many.
    pub samples: u64,
    /// Why, a word.
    pub reason: String,
    /// Time of the first of them.
    pub from: Timestamp,
    /// Time of the last of them.
    pub to: Timestamp,
}
