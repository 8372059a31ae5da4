//! What the stores hold for the tiers.

use std::ops::Range;

use bytes::Bytes;
use plant_model::{DataType, GatewayId, MachineId, TagId, Timestamp};
use protocol::{Epoch, Sequence, TagRole};
use segments::{Minute, TagKind, TagNumber};

/// Counts the changes of the tiers of one gateway: sealings, moves, removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A tag of a machine, and its number within it, for ever: through new buffers, epochs and catalogues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    /// The machine.
    pub machine: MachineId,
    /// The number.
    pub number: TagNumber,
    /// The tag.
    pub tag: TagId,
    /// How its values are summed up: the latest kind of [`TagKind`] that any catalogue gave it.
    pub kind: TagKind,
    /// The rest as the newest catalogue has it.
    pub data_type: DataType,
    /// What it means to people.
    pub role: TagRole,
    /// Its unit; may be empty.
    pub unit: String,
}

/// How far the telemetry of one epoch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingStream {
    /// The life of the gateway's buffer.
    pub epoch: Epoch,
    /// Batches up to here are in segments and no longer batches.
    pub sealed_through: Sequence,
    /// The end of the stream's unbroken row.
    pub committed_through: Sequence,
}

/// Which segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// The machine, within its gateway.
    pub machine: MachineId,
    /// The minute.
    pub minute: Minute,
}

/// A segment as it is stored. At least the head covers everything that ever came for the minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Which.
    pub key: SegmentKey,
    /// The gateway's revision when it was written last.
    pub revision: Revision,
    /// Provenance, directory, statistics of everything ([`segments::Head`]).
    pub head: Bytes,
    /// The columns of everything; `None` if it was dropped, or not asked for.
    pub body: Option<Bytes>,
    /// What came after the body had been dropped and is in no object yet; `None` also if bodies were not asked for.
    pub late: Option<LateSegment>,
    /// Whether an object that was verified holds everything of the minute.
    pub is_archived: bool,
}

/// Samples that came after the body of their minute had been dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateSegment {
    /// The head of these alone.
    pub head: Bytes,
    /// Their columns.
    pub body: Bytes,
}

/// What to read of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Heads only: provenance and statistics. Bodies are not touched.
    Heads,
    /// Heads, bodies and late segments.
    All,
}

/// A segment to be written in the place of the one of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentWrite {
    /// Which.
    pub key: SegmentKey,
    /// Samples that the head tells of.
    pub count: u64,
    /// Its head.
    pub head: Vec<u8>,
    /// Its body. `None` leaves the body as it is, which is that there is none.
    pub body: Option<Vec<u8>>,
    /// What comes after the body was dropped, all of it that is in no object yet.
    pub late: Option<LateSegment>,
}

/// A wave of one stream, sealed: what one transaction writes.
///
/// In it, the batches of the stream up to `through` go, the segments are written (not archived), their hours are noted as
/// due ([`crate::TierStore::due_hours`]), and the latest values take the place of the former.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSet {
    /// The gateway.
    pub gateway: GatewayId,
    /// The revision of the gateway that was read before anything else.
    pub base: Revision,
    /// Whose batches.
    pub epoch: Epoch,
    /// The last batch.
    pub through: Sequence,
    /// The segments that are new or changed.
    pub segments: Vec<SegmentWrite>,
    /// The newest sample of each tag, in event-time order, as the reader encodes it; `None` leaves them as they are.
    pub latest: Option<Vec<u8>>,
}

/// A batch that is not sealed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedBatch {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its place in the stream.
    pub sequence: Sequence,
    /// It, as it came.
    pub body: Bytes,
}

/// An hour of the calendar, UTC: the number of hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// Microseconds in an hour.
    pub const MICROS: i64 = 3_600_000_000;

    /// The hour in which an instant lies.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.micros().div_euclid(Self::MICROS))
    }

    /// Hours since 1970.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The hour of that number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Its first instant.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(Self::MICROS))
    }

    /// Its minutes: from the first to the first of the next hour, without that.
    #[must_use]
    pub const fn minutes(self) -> Range<Minute> {
        let end = Timestamp::from_micros(self.0.saturating_add(1).saturating_mul(Self::MICROS));
        Minute::of(self.start())..Minute::of(end)
    }
}

/// What the tags of a machine did in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourRow {
    /// The machine.
    pub machine: MachineId,
    /// The hour.
    pub hour: Hour,
    /// [`segments::rollups_to_bytes`].
    pub rollups: Bytes,
}

/// The number of an object in the manifest of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// It is being written or was left behind: nothing relies on it.
    Writing,
    /// It was read back and compared; samples may rely on it.
    Verified,
    /// Another one holds everything of it, or its retention is over; it goes when nobody can be reading it any more.
    Superseded,
}

/// An entry of the manifest: one object of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its number.
    pub id: ObjectId,
    /// The gateway whose samples it holds.
    pub gateway: GatewayId,
    /// From here on; a boundary of days, UTC.
    pub start: Timestamp,
    /// Up to and without this instant; a boundary of days.
    pub end: Timestamp,
    /// Its path below the archive of the tenant.
    pub path: String,
    /// What is known of it.
    pub state: ObjectState,
    /// Samples in it.
    pub samples: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 over its bytes.
    pub sha256: [u8; 32],
    /// What a reader has to know beforehand, so that it needs no request to find out: footer and indexes. Opaque here.
    pub directory: Bytes,
    /// When the state changed last.
    pub changed_at: Timestamp,
}

/// What was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Rows: segments, bodies or rollups.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What lies in the store of one day of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayUsage {
    /// Its first instant, UTC.
    pub start: Timestamp,
    /// Segments.
    pub segments: u64,
    /// Samples that they tell of.
    pub samples: u64,
    /// Bytes of their heads.
    pub head_bytes: u64,
    /// Segments whose body is there.
    pub bodies: u64,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// Segments of which an object holds everything.
    pub archived: u64,
    /// Late segments beside dropped bodies.
    pub late: u64,
    /// Bytes of these.
    pub late_bytes: u64,
    /// Rollups of hours.
    pub hours: u64,
    /// Bytes of these.
    pub hour_bytes: u64,
}
