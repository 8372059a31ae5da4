//! The tiers: the port of `tiering`.

mod catalogue;
mod drops;
mod hours;
mod keys;
mod objects;
mod reads;
mod seal;
mod streams;
mod usage;

use std::collections::BTreeMap;
use std::ops::Range;

use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{Epoch, Sequence, SeriesId};
use rusqlite::Connection;
use segments::{Minute, SealedSegment, TagNumber, WaitingBatch};
use tiering::{
    DayUsage, Dropped, Hour, HourRow, ObjectId, ObjectRow, ObjectState, Parts, PortFuture, Revision, SealSet,
    SealingStream, SegmentKey, SegmentRow, TagRecord, TierStore, UnsealedBatch,
};

use crate::SqliteStore;
use crate::error::Fault;
use crate::writer::Target;

pub(crate) use catalogue::{save_tag, series, tags};
pub(crate) use reads::{latest, segments};
pub(crate) use seal::raise;
pub(crate) use streams::is_sealed;

impl SqliteStore {
    fn read_tiers<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> PortFuture<'a, T> {
        let target = Target::Tenant(tenant.clone());
        Box::pin(async move { Ok(self.readers.read(target, work).await?) })
    }

    fn change_tiers<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> PortFuture<'a, T> {
        let target = Target::Tenant(tenant.clone());
        Box::pin(async move { Ok(self.writer.write(target, work).await?) })
    }
}

impl TierStore for SqliteStore {
    fn revision<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Revision> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| reads::revision(c, &gateway))
    }

    fn sealing_streams<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Vec<SealingStream>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| streams::sealing_streams(c, &gateway))
    }

    fn waiting_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        limit: usize,
    ) -> PortFuture<'a, Vec<WaitingBatch>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| streams::waiting(c, &gateway, epoch, limit))
    }

    fn batches_through<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        through: Sequence,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| streams::through(c, &gateway, epoch, through))
    }

    fn unsealed_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
        limit: usize,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| streams::overlapping(c, &gateway, &range, limit))
    }

    fn tags<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: Option<&'a MachineId>,
    ) -> PortFuture<'a, Vec<TagRecord>> {
        let (gateway, machine) = (gateway.clone(), machine.cloned());
        self.read_tiers(tenant, move |c| catalogue::tags(c, &gateway, machine.as_ref()))
    }

    fn series<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
    ) -> PortFuture<'a, BTreeMap<SeriesId, (MachineId, TagNumber)>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| catalogue::series(c, &gateway, epoch))
    }

    fn segments_at<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        keys: Vec<SegmentKey>,
    ) -> PortFuture<'a, Vec<SegmentRow>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| reads::segments_at(c, &gateway, keys))
    }

    fn segments<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
        minutes: Range<Minute>,
        parts: Parts,
        limit: usize,
    ) -> PortFuture<'a, Vec<SegmentRow>> {
        let (gateway, machine) = (gateway.clone(), machine.clone());
        self.read_tiers(tenant, move |c| reads::segments(c, (&gateway, &machine), &minutes, parts, limit))
    }

    fn sealed_latest<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Option<Vec<u8>>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| reads::latest(c, &gateway))
    }

    fn seal<'a>(&'a self, tenant: &'a TenantId, set: SealSet) -> PortFuture<'a, Revision> {
        self.change_tiers(tenant, move |c| seal::seal(c, &set))
    }

    fn due_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        limit: usize,
    ) -> PortFuture<'a, Vec<(MachineId, Hour, Revision)>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| hours::due(c, &gateway, limit))
    }

    fn save_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Vec<(HourRow, Revision)>,
    ) -> PortFuture<'a, ()> {
        let gateway = gateway.clone();
        self.change_tiers(tenant, move |c| hours::save(c, &gateway, &hours))
    }

    fn hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
        hours: Range<Hour>,
    ) -> PortFuture<'a, Vec<HourRow>> {
        let (gateway, machine) = (gateway.clone(), machine.clone());
        self.read_tiers(tenant, move |c| hours::read(c, &gateway, &machine, &hours))
    }

    fn objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: Option<&'a GatewayId>,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Vec<ObjectRow>> {
        let gateway = gateway.cloned();
        self.read_tiers(tenant, move |c| objects::overlapping(c, gateway.as_ref(), &range))
    }

    fn begin_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectRow) -> PortFuture<'a, ObjectId> {
        self.change_tiers(tenant, move |c| objects::begin(c, &object))
    }

    fn commit_object<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: ObjectRow,
        as_of: Revision,
        supersedes: Vec<ObjectId>,
    ) -> PortFuture<'a, u64> {
        self.change_tiers(tenant, move |c| objects::commit(c, &object, as_of, &supersedes))
    }

    fn retire_objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        objects: Vec<ObjectId>,
        now: Timestamp,
    ) -> PortFuture<'a, u64> {
        self.change_tiers(tenant, move |c| objects::retire(c, &objects, now))
    }

    fn forget_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectId) -> PortFuture<'a, ()> {
        self.change_tiers(tenant, move |c| objects::forget(c, object))
    }

    fn objects_in<'a>(&'a self, tenant: &'a TenantId, state: ObjectState) -> PortFuture<'a, Vec<ObjectRow>> {
        self.read_tiers(tenant, move |c| objects::in_state(c, state))
    }

    fn drop_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        let gateway = gateway.clone();
        self.change_tiers(tenant, move |c| drops::bodies(c, &gateway, &minutes, limit))
    }

    fn restore_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        base: Revision,
        segments: Vec<(SegmentKey, SealedSegment)>,
    ) -> PortFuture<'a, u64> {
        let gateway = gateway.clone();
        self.change_tiers(tenant, move |c| seal::restore(c, &gateway, base, &segments))
    }

    fn drop_segments<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        let gateway = gateway.clone();
        self.change_tiers(tenant, move |c| drops::segments(c, &gateway, &minutes, limit))
    }

    fn drop_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Range<Hour>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        let gateway = gateway.clone();
        self.change_tiers(tenant, move |c| drops::hours(c, &gateway, &hours, limit))
    }

    fn usage<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Vec<DayUsage>> {
        let gateway = gateway.clone();
        self.read_tiers(tenant, move |c| usage::days(c, &gateway))
    }
}
