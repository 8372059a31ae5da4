//! The tiers in which samples rest, and how they move between them.
//!
//! | tier | what | where |
//! |---|---|---|
//! | hot, unsealed | batches as they came | table `batch` of the store |
//! | hot | one segment a machine and minute: head and body | the store |
//! | warm | heads, and rollups of hours, without bodies | the store |
//! | cold | one object a gateway and day, Parquet | object storage, named by the manifest in the store |
//!
//! Here are the ports ([`TierStore`], for the stores), their rows, and the decisions. No database, no clock, no I/O.
//!
//! # Why nothing is lost or doubled between two tiers
//!
//! * A batch is either still a batch or sealed as a whole: one number a stream says which ([`SealingStream`]), moved in the
//!   transaction that writes the segments.
//! * A segment knows which batches brought its samples; a sample that a reader meets twice, because it looked at two tiers
//!   while it moved, is recognised by that.
//! * Everything that changes the tiers of a gateway raises its [`Revision`] in the same transaction, and says which
//!   revision it saw ([`StoreError::Conflict`] otherwise): two who work on one gateway at a time do not overwrite each other.
//! * A body goes only when an object that was read back and compared holds its samples, and nothing was added since.

mod port;
mod rows;

pub use port::{PortFuture, StoreError, TierStore};
pub use rows::{
    DayUsage, Dropped, Hour, HourRow, LateSegment, ObjectId, ObjectRow, ObjectState, Parts, Revision,
    SealSet, SealingStream, SegmentKey, SegmentRow, SegmentWrite, TagRecord, UnsealedBatch,
};
