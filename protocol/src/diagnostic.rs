//! Diagnostic records (SPEC section 7): what is missing, and why.

use plant_model::{Monotonic, Timestamp};

use crate::journal::text;
use crate::wire::record::Kind;
use crate::{DecodeError, Sequence, StreamId, wire};

/// Why samples are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The buffer reached its bound and the oldest batches made room.
    BufferFull,
    /// As [`Self::BufferFull`], and a selection of the samples goes on in a later, thinned batch.
    Thinned,
    /// The buffer could not be written for so long that the memory ring overflowed.
    StoreStalled,
    /// A stored batch could not be read back.
    Damaged,
    /// The broker takes no message of its size: the entries go on in later, smaller batches.
    Refused,
}

impl LossReason {
    const ALL: [Self; 5] =
        [Self::BufferFull, Self::Thinned, Self::StoreStalled, Self::Damaged, Self::Refused];

    /// The name used on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::Thinned => "thinned",
            Self::StoreStalled => "store_stalled",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
        }
    }

    fn from_name(name: &str) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == name)
            .ok_or_else(|| DecodeError::field("reason", format!("{name:?} is not known")))
    }
}

/// Batches that were committed and will never be sent: `first..=last` of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The stream.
    pub stream: StreamId,
    /// The first missing batch.
    pub first: Sequence,
    /// The last missing batch.
    pub last: Sequence,
    /// Samples or records that were in them and are nowhere else; 0 where nobody knows.
    pub samples: u64,
    /// Why.
    pub reason: LossReason,
    /// When the gateway gave them up.
    pub at: Timestamp,
}

/// Samples that were acquired and never became part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub samples: u64,
    /// Why.
    pub reason: LossReason,
    /// Time of the first of them.
    pub from: Timestamp,
    /// Time of the last of them.
    pub to: Timestamp,
}

/// What happened to the time of a gateway (SPEC section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClockChange {
    /// It was not known and now is.
    Set,
    /// The clock was set while its time was believed.
    Stepped,
    /// The gateway was booted again before the time of its samples was known, and it will never be.
    NeverKnown,
}

impl ClockChange {
    const ALL: [Self; 3] = [Self::Set, Self::Stepped, Self::NeverKnown];

    /// The name used on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Stepped => "stepped",
            Self::NeverKnown => "never_known",
        }
    }

    fn from_name(name: &str) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| DecodeError::field("change", format!("{name:?} is not known")))
    }
}

/// Something happened to the time of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockRecord {
    /// What.
    pub change: ClockChange,
    /// What time it was until then; of [`ClockChange::NeverKnown`] the earliest time that was given.
    pub from: Timestamp,
    /// What time it is from then on; of [`ClockChange::NeverKnown`] the latest time that was given.
    pub to: Timestamp,
    /// The time since the gateway was booted.
    pub uptime: Monotonic,
    /// Samples, transitions and records whose time was never known.
    pub samples: u64,
}

/// What a gateway says about its own data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiagnosticRecord {
    /// Batches that are lost.
    Gap(Gap),
    /// Samples that are lost.
    Dropped(Dropped),
    /// Its time.
    Clock(ClockRecord),
}

impl DiagnosticRecord {
    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Gap(gap) => gap.at,
            Self::Dropped(dropped) => dropped.to,
            Self::Clock(clock) => clock.to,
        }
    }
}

pub(crate) fn to_wire(record: &DiagnosticRecord) -> wire::Record {
    let kind = match record {
        DiagnosticRecord::Gap(gap) => Kind::Gap(wire::Gap {
            stream: gap.stream.code().into(),
            first: gap.first.as_u64(),
            last: gap.last.as_u64(),
            samples: gap.samples,
            reason: gap.reason.name().to_owned(),
            at_us: gap.at.micros(),
        }),
        DiagnosticRecord::Dropped(dropped) => Kind::Dropped(wire::Dropped {
            samples: dropped.samples,
            reason: dropped.reason.name().to_owned(),
            from_us: dropped.from.micros(),
            to_us: dropped.to.micros(),
        }),
        DiagnosticRecord::Clock(clock) => Kind::Clock(wire::Clock {
            change: clock.change.name().to_owned(),
            from_us: clock.from.micros(),
            to_us: clock.to.micros(),
            uptime_us: clock.uptime.micros(),
            samples: clock.samples,
        }),
    };
    wire::Record { kind: Some(kind) }
}

pub(crate) fn from_wire(record: wire::Record) -> Result<DiagnosticRecord, DecodeError> {
    match record.kind {
        Some(Kind::Gap(gap)) => gap_from_wire(gap),
        Some(Kind::Dropped(dropped)) => Ok(DiagnosticRecord::Dropped(Dropped {
            samples: dropped.samples,
            reason: LossReason::from_name(&text("reason", dropped.reason)?)?,
            from: Timestamp::from_micros(dropped.from_us),
            to: Timestamp::from_micros(dropped.to_us),
        })),
        Some(Kind::Clock(clock)) => Ok(DiagnosticRecord::Clock(ClockRecord {
            change: ClockChange::from_name(&text("change", clock.change)?)?,
            from: Timestamp::from_micros(clock.from_us),
            to: Timestamp::from_micros(clock.to_us),
            uptime: Monotonic::from_micros(clock.uptime_us),
            samples: clock.samples,
        })),
        None => Err(DecodeError::field("record", "the kind of the record is not known")),
    }
}

fn gap_from_wire(gap: wire::Gap) -> Result<DiagnosticRecord, DecodeError> {
    if gap.first == 0 || gap.first > gap.last {
        return Err(DecodeError::field(
            "gap",
            format!("{}..={} is no range of sequences", gap.first, gap.last),
        ));
    }
    Ok(DiagnosticRecord::Gap(Gap {
        stream: stream(gap.stream)?,
        first: Sequence::from_u64(gap.first),
        last: Sequence::from_u64(gap.last),
        samples: gap.samples,
        reason: LossReason::from_name(&text("reason", gap.reason)?)?,
        at: Timestamp::from_micros(gap.at_us),
    }))
}

/// A stream from a 32-bit field.
pub(crate) fn stream(code: u32) -> Result<StreamId, DecodeError> {
    StreamId::from_code(u8::try_from(code).unwrap_or(0))
}
