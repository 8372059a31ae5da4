//! What goes into one transaction, and what came of it.

use std::collections::BTreeMap;

use plant_model::{GatewayId, Timestamp};
use protocol::{BatchHeader, CumulativeAck};

use crate::{Judged, Verdict, reason};

/// Messages of one tenant, in the order in which they came. A store applies all of it in one
/// transaction, or nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteSet {
    /// The messages.
    pub entries: Vec<Judged>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is stored.
    Stored,
    /// It was already there.
    Duplicate,
    /// Its bytes were put aside; it counts as rejected and is acknowledged.
    Quarantined {
        /// Why, a bounded word.
        reason: &'static str,
    },
    /// It was counted as rejected; it is not acknowledged.
    Refused {
        /// Why, a bounded word.
        reason: &'static str,
    },
}

/// What came of a [`WriteSet`], after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The time that the transaction put on what it stored, by the store's wall clock.
    pub stored_at: Timestamp,
    /// What became of each message, in the order of the set.
    pub fates: Vec<Fate>,
    /// Where each stream that the set touched now stands. To be published; publishing one again does
    /// no harm.
    pub acks: Vec<(GatewayId, CumulativeAck)>,
}

/// Whether a message that has a place in a stream found it free; known only inside the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The place was free and is now taken.
    New,
    /// It was taken before.
    Duplicate,
    /// The place is beyond a new hole and the stream has too many of them.
    NoRoom,
}

impl Verdict {
    /// What becomes of the message.
    #[must_use]
    pub const fn fate(&self, placement: Placement) -> Fate {
        match (self, placement) {
            (Self::Refuse { reason, .. }, _) => Fate::Refused { reason },
            (Self::Store(_) | Self::Quarantine(_), Placement::NoRoom) => {
                Fate::Refused { reason: reason::TOO_MANY_HOLES }
            }
            (Self::Store(_) | Self::Quarantine(_), Placement::Duplicate) => Fate::Duplicate,
            (Self::Store(_), Placement::New) => Fate::Stored,
            (Self::Quarantine(batch), Placement::New) => Fate::Quarantined { reason: batch.reason },
        }
    }

    /// The header, of a message that has one.
    #[must_use]
    pub const fn header(&self) -> Option<&BatchHeader> {
        match self {
            Self::Store(batch) => Some(&batch.header),
            Self::Quarantine(batch) => Some(&batch.header),
            Self::Refuse { .. } => None,
        }
    }
}

/// What one transaction adds to the counters of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Messages that came.
    pub received: u64,
    /// Of these: stored.
    pub stored: u64,
    /// Of these: already there.
    pub duplicate: u64,
    /// Of these: refused or put aside, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Samples or records in the stored ones.
    pub samples_stored: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// When the last one came; `None` when none did.
    pub last_received_at: Option<Timestamp>,
}

impl Tally {
    /// Counts a message by its fate.
    pub fn count(&mut self, message: &Judged, fate: Fate) {
        self.received += 1;
        self.bytes_received += message.size_bytes;
        self.last_received_at = self.last_received_at.max(Some(message.received_at));
        match fate {
            Fate::Stored => {
                self.stored += 1;
                self.samples_stored += message.verdict.header().map_or(0, |h| u64::from(h.count));
            }
            Fate::Duplicate => self.duplicate += 1,
            Fate::Quarantined { reason } | Fate::Refused { reason } => {
                *self.rejected.entry(reason).or_default() += 1;
            }
        }
    }

    /// Whether every message that came is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected.values().sum::<u64>()
    }
}
