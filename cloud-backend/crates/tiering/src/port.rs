//! The store that the tiers need.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{Epoch, Sequence, SeriesId};
use segments::{Minute, SealedSegment, TagNumber, WaitingBatch};
use thiserror::Error;

use crate::{
    DayUsage, Dropped, Hour, HourRow, ObjectId, ObjectRow, ObjectState, Parts, Revision, SealSet,
    SealingStream, SegmentKey, SegmentRow, TagRecord, UnsealedBatch,
};

/// What a port answers: a future that can be sent between threads.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why nothing was read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached or refuses to work; trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// What the store holds cannot be understood.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The tenant is not known.
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    /// Somebody else changed the gateway's tiers meanwhile. Read again and decide again.
    #[error("the tiers of gateway {gateway} are at revision {}, not {}", .found.0, .expected.0)]
    Conflict {
        /// The gateway.
        gateway: GatewayId,
        /// What the writer had seen.
        expected: Revision,
        /// What is.
        found: Revision,
    },
}

/// Keeps segments, rollups and the manifest of the archive of each tenant. Each call is one transaction.
///
/// Lists are in the order of their keys. A range of minutes or instants is half open.
pub trait TierStore: Send + Sync {
    /// The revision of a gateway's tiers; zero if nothing was ever sealed.
    fn revision<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Revision>;

    /// The telemetry streams of a gateway, by epoch.
    fn sealing_streams<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Vec<SealingStream>>;

    /// The batches of a stream that are not sealed, from the first on, at most `limit`. Bodies are not touched.
    fn waiting_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        limit: usize,
    ) -> PortFuture<'a, Vec<WaitingBatch>>;

    /// The batches of a stream that are not sealed, up to one, in their order.
    fn batches_through<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        through: Sequence,
    ) -> PortFuture<'a, Vec<UnsealedBatch>>;

    /// The batches of all epochs of a gateway that are not sealed and overlap `[start, end)`. A reader that looks at
    /// several tiers asks for these first.
    fn unsealed_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
        limit: usize,
    ) -> PortFuture<'a, Vec<UnsealedBatch>>;

    /// All tags that the machines of a gateway, or one of them, ever had. A tag gets its number in the transaction that
    /// saves the first catalogue which names it.
    fn tags<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: Option<&'a MachineId>,
    ) -> PortFuture<'a, Vec<TagRecord>>;

    /// Which tag each series of an epoch means.
    fn series<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
    ) -> PortFuture<'a, BTreeMap<SeriesId, (MachineId, TagNumber)>>;

    /// The segments of these keys, as far as there are any: what sealing merges with.
    fn segments_at<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        keys: Vec<SegmentKey>,
    ) -> PortFuture<'a, Vec<SegmentRow>>;

    /// The segments of a machine in a range, at most `limit`, the first of them. Without bodies they are not even read
    /// from the medium.
    fn segments<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
        minutes: Range<Minute>,
        parts: Parts,
        limit: usize,
    ) -> PortFuture<'a, Vec<SegmentRow>>;

    /// The newest sample of each tag as of the last sealing ([`SealSet::latest`]).
    fn sealed_latest<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Option<Vec<u8>>>;

    /// Seals a wave. Answers the new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: nothing was written.
    fn seal<'a>(&'a self, tenant: &'a TenantId, set: SealSet) -> PortFuture<'a, Revision>;

    /// Hours of which minutes changed since their rollup was made, at most `limit`, each with the revision of the last
    /// change.
    fn due_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        limit: usize,
    ) -> PortFuture<'a, Vec<(MachineId, Hour, Revision)>>;

    /// Keeps the rollups of hours. An hour is no longer due if it did not change after the revision beside it.
    fn save_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Vec<(HourRow, Revision)>,
    ) -> PortFuture<'a, ()>;

    /// The rollups of a machine.
    fn hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
        hours: Range<Hour>,
    ) -> PortFuture<'a, Vec<HourRow>>;

    /// The objects of the archive, of a gateway or of all, that overlap a range, in whatever state.
    fn objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: Option<&'a GatewayId>,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Vec<ObjectRow>>;

    /// Enters an object that is about to be written ([`ObjectState::Writing`]) and gives it its number; that of the row is
    /// not looked at.
    fn begin_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectRow) -> PortFuture<'a, ObjectId>;

    /// The object was written, read back and compared. In one transaction its row takes this form, it becomes
    /// [`ObjectState::Verified`], the objects of `supersedes` become [`ObjectState::Superseded`], and all segments of the
    /// gateway within its range that did not change after `as_of` count as archived; their late segments go. Answers how
    /// many segments that were.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] (`as_of` and what is): a verified object of the gateway that is not in `supersedes`
    /// overlaps its range, or one in `supersedes` is not verified. Nothing was written.
    fn commit_object<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: ObjectRow,
        as_of: Revision,
        supersedes: Vec<ObjectId>,
    ) -> PortFuture<'a, u64>;

    /// The retention of objects is over: verified ones become [`ObjectState::Superseded`]; others are left as they are.
    /// Answers how many those were.
    fn retire_objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        objects: Vec<ObjectId>,
        now: Timestamp,
    ) -> PortFuture<'a, u64>;

    /// Forgets an object that is not [`ObjectState::Verified`], after its bytes are gone.
    fn forget_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectId) -> PortFuture<'a, ()>;

    /// Objects in a state, oldest change first.
    fn objects_in<'a>(&'a self, tenant: &'a TenantId, state: ObjectState) -> PortFuture<'a, Vec<ObjectRow>>;

    /// Drops bodies of archived segments of a gateway in a range, at most `limit` of them, oldest first. Answers how
    /// many segments and bytes of bodies that were. The space is free for others without anybody's help.
    fn drop_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped>;

    /// Puts bodies back that were dropped, with their heads; the segments stay archived. One that has a body, or a late
    /// segment, is left as it is. Answers how many were put back.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: nothing was written.
    fn restore_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        base: Revision,
        segments: Vec<(SegmentKey, SealedSegment)>,
    ) -> PortFuture<'a, u64>;

    /// Drops whole archived segments in a range, at most `limit`, oldest first: the end of their retention. Answers how
    /// many and how many bytes of heads and bodies that were.
    fn drop_segments<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped>;

    /// Drops rollups in a range, at most `limit`, oldest first.
    fn drop_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Range<Hour>,
        limit: usize,
    ) -> PortFuture<'a, Dropped>;

    /// What lies in the store of each day (UTC) of a gateway, in order; days without anything are left out.
    fn usage<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Vec<DayUsage>>;
}
