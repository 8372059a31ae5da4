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

mod archive;
mod hold;
mod kind;
mod latest;
mod lifecycle;
mod moves;
mod plan;
mod policy;
mod port;
mod price;
mod rolling;
mod rows;
mod sealing;

pub use archive::{
    Archive, ArchiveError, ArchiveFuture, Contents, MachineContents, MachineSource, NewKey, ObjectFacts,
    ObjectKey, ObjectKeys, ObjectQuery, ObjectSamples, ObjectWriter, ReadBudget, ReadCost, SegmentsOfMachine,
    StoredObject, TagContents, TagDigest, TagHash, TagReader, Union, Written, contents_of_minutes,
    object_path,
};
pub use hold::{Hold, HoldAct, HoldId, HoldScope};
pub use kind::tag_kind;
pub use latest::{Latest, LatestError, Newest};
pub use lifecycle::{POLICY_VERSIONS_KEPT, PolicyConflict, PolicyStore, RunRecord, SavedPolicy};
pub use moves::{CATCH_UP, Compared, MoveError, Moved, Mover, Restored, look};
pub use plan::{
    Action, GatewayTiers, Move, OBJECT_BYTES_MIN, OBJECT_DAYS_MAX, OBJECT_GRACE, Plan, WRITES_MAX, plan,
};
pub use policy::{ARCHIVE_AFTER_MAX, DAY, Keep, PERIOD_MAX, Policy, PolicyMistakes, SAMPLES_MIN, YEAR};
pub use port::{PortFuture, StoreError, TierStore};
pub use price::{Micros, PriceError, Prices, StoragePrice};
pub use rolling::roll_next;
pub use rows::{
    DayUsage, Dropped, Hour, HourRow, LateSegment, ObjectId, ObjectRow, ObjectState, Parts, Revision,
    SealSet, SealingStream, SegmentKey, SegmentRow, SegmentWrite, TagRecord, UnsealedBatch,
};
pub use sealing::{Progress, SealError, SealedWave, seal_next};
