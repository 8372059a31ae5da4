//! Where samples rest: the port of the tiers.

mod drops;
mod hours;
mod objects;
mod parts;
mod revision;
mod sealing;
mod segment_rows;
pub(crate) mod tags;
mod unsealed;

use std::collections::BTreeMap;
use std::ops::Range;

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{Epoch, Sequence, SeriesId};
use segments::{Minute, SealedSegment, TagNumber, WaitingBatch};
use tiering::{
    DayUsage, Dropped, Hour, HourRow, ObjectId, ObjectRow, ObjectState, Parts, PortFuture, Revision, SealSet,
    SealingStream, SegmentKey, SegmentRow, TagRecord, TierStore, UnsealedBatch,
};

use crate::PostgresStore;
use crate::codec::int;
use crate::connections::{Scope, Work};

/// A gateway, in a transaction.
pub(crate) struct Of<'t> {
    t: &'t Transaction<'t>,
    tenant: TenantId,
    gateway: GatewayId,
}

impl<'t> Of<'t> {
    pub(crate) fn new(t: &'t Transaction<'t>, tenant: &TenantId, gateway: &GatewayId) -> Self {
        Self { t, tenant: tenant.clone(), gateway: gateway.clone() }
    }

    /// The first two parameters of most statements.
    fn key(&self) -> (&str, &str) {
        (self.tenant.as_str(), self.gateway.as_str())
    }
}

impl PostgresStore {
    fn read_tiers<'a, T: Send + 'static>(
        &'a self,
        (tenant, gateway): (&TenantId, &GatewayId),
        work: impl for<'t> FnOnce(Of<'t>) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, T> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        let scope = Scope::Tiers(tenant.clone());
        Box::pin(async move { Ok(self.readers.read(scope, |t| work(Of { t, tenant, gateway })).await?) })
    }

    fn write_tiers<'a, T: Send + 'static>(
        &'a self,
        (tenant, gateway): (&TenantId, &GatewayId),
        work: impl for<'t> FnOnce(Of<'t>) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, T> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        let scope = Scope::Tiers(tenant.clone());
        Box::pin(async move { Ok(self.writers.write(scope, |t| work(Of { t, tenant, gateway })).await?) })
    }

    /// What is done with the manifest as a whole, whose objects are of any gateway.
    fn of_manifest<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl for<'t> FnOnce(&'t Transaction<'t>, TenantId) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, T> {
        let tenant = tenant.clone();
        let scope = Scope::Tiers(tenant.clone());
        Box::pin(async move { Ok(self.writers.write(scope, |t| work(t, tenant)).await?) })
    }

    /// Drops bodies by `work`, and then the parts of weeks in which none is left.
    fn give_back<'a>(
        &'a self,
        (tenant, gateway): (&'a TenantId, &GatewayId),
        work: impl for<'t> FnOnce(Of<'t>) -> Work<'t, drops::Gone> + Send + 'a,
    ) -> PortFuture<'a, Dropped> {
        let dropping = self.write_tiers((tenant, gateway), work);
        Box::pin(async move {
            let gone = dropping.await?;
            for week in gone.weeks {
                self.drop_part_if_empty(tenant, week).await;
            }
            Ok(gone.dropped)
        })
    }

    /// The rows are gone already, which is what was asked for: who cannot have the whole part now leaves it to the next
    /// one who drops something there.
    async fn drop_part_if_empty(&self, tenant: &TenantId, week: i64) {
        let scope = Scope::Tiers(tenant.clone());
        let tenant = tenant.clone();
        let dropping = self
            .writers
            .write(scope, move |t| Box::pin(async move { parts::drop_if_empty(t, &tenant, week).await }));
        if let Err(fault) = dropping.await {
            tracing::debug!(week, error = %fault, "a part without bodies stays for now");
        }
    }
}

impl TierStore for PostgresStore {
    fn revision<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Revision> {
        self.read_tiers((tenant, gateway), |of| Box::pin(async move { of.revision().await }))
    }

    fn sealing_streams<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Vec<SealingStream>> {
        self.read_tiers((tenant, gateway), |of| Box::pin(async move { of.sealing_streams().await }))
    }

    fn waiting_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        limit: usize,
    ) -> PortFuture<'a, Vec<WaitingBatch>> {
        self.read_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.waiting_batches(epoch, limit).await })
        })
    }

    fn batches_through<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
        through: Sequence,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        self.read_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.batches_through(epoch, through).await })
        })
    }

    fn unsealed_batches<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
        limit: usize,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        self.read_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.unsealed_batches(range, limit).await })
        })
    }

    fn tags<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: Option<&'a MachineId>,
    ) -> PortFuture<'a, Vec<TagRecord>> {
        let machine = machine.cloned();
        self.read_tiers((tenant, gateway), move |of| Box::pin(async move { of.tags(machine.as_ref()).await }))
    }

    fn series<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        epoch: Epoch,
    ) -> PortFuture<'a, BTreeMap<SeriesId, (MachineId, TagNumber)>> {
        self.read_tiers((tenant, gateway), move |of| Box::pin(async move { of.series(epoch).await }))
    }

    fn segments_at<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        keys: Vec<SegmentKey>,
    ) -> PortFuture<'a, Vec<SegmentRow>> {
        self.read_tiers((tenant, gateway), move |of| Box::pin(async move { of.segments_at(&keys).await }))
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
        let machine = machine.clone();
        self.read_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.segments(&machine, minutes, parts, limit).await })
        })
    }

    fn sealed_latest<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Option<Vec<u8>>> {
        self.read_tiers((tenant, gateway), |of| Box::pin(async move { of.sealed_latest().await }))
    }

    fn seal<'a>(&'a self, tenant: &'a TenantId, set: SealSet) -> PortFuture<'a, Revision> {
        let gateway = set.gateway.clone();
        self.write_tiers((tenant, &gateway), move |of| Box::pin(async move { of.seal(&set).await }))
    }

    fn due_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        limit: usize,
    ) -> PortFuture<'a, Vec<(MachineId, Hour, Revision)>> {
        self.read_tiers((tenant, gateway), move |of| Box::pin(async move { of.due_hours(limit).await }))
    }

    fn save_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Vec<(HourRow, Revision)>,
    ) -> PortFuture<'a, ()> {
        self.write_tiers((tenant, gateway), move |of| Box::pin(async move { of.save_hours(&hours).await }))
    }

    fn hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
        hours: Range<Hour>,
    ) -> PortFuture<'a, Vec<HourRow>> {
        let machine = machine.clone();
        self.read_tiers((tenant, gateway), move |of| Box::pin(async move { of.hours(&machine, hours).await }))
    }

    fn objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: Option<&'a GatewayId>,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Vec<ObjectRow>> {
        let gateway = gateway.cloned();
        self.of_manifest(tenant, move |t, tenant| {
            Box::pin(async move { objects::overlapping(t, &tenant, gateway.as_ref(), range).await })
        })
    }

    fn begin_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectRow) -> PortFuture<'a, ObjectId> {
        self.of_manifest(tenant, move |t, tenant| {
            Box::pin(async move { objects::begin(t, &tenant, &object).await })
        })
    }

    fn commit_object<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: ObjectRow,
        as_of: Revision,
        supersedes: Vec<ObjectId>,
    ) -> PortFuture<'a, u64> {
        let gateway = object.gateway.clone();
        self.write_tiers((tenant, &gateway), move |of| {
            Box::pin(async move { of.commit_object(&object, as_of, &supersedes).await })
        })
    }

    fn retire_objects<'a>(
        &'a self,
        tenant: &'a TenantId,
        objects: Vec<ObjectId>,
        now: Timestamp,
    ) -> PortFuture<'a, u64> {
        self.of_manifest(tenant, move |t, tenant| {
            Box::pin(async move { objects::retire(t, &tenant, &objects, now).await })
        })
    }

    fn forget_object<'a>(&'a self, tenant: &'a TenantId, object: ObjectId) -> PortFuture<'a, ()> {
        self.of_manifest(tenant, move |t, tenant| {
            Box::pin(async move { objects::forget(t, &tenant, object).await })
        })
    }

    fn objects_in<'a>(&'a self, tenant: &'a TenantId, state: ObjectState) -> PortFuture<'a, Vec<ObjectRow>> {
        self.of_manifest(tenant, move |t, tenant| {
            Box::pin(async move { objects::in_state(t, &tenant, state).await })
        })
    }

    fn drop_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        self.give_back((tenant, gateway), move |of| {
            Box::pin(async move { of.drop_bodies(minutes, limit).await })
        })
    }

    fn restore_bodies<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        base: Revision,
        segments: Vec<(SegmentKey, SealedSegment)>,
    ) -> PortFuture<'a, u64> {
        self.write_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.restore_bodies(base, &segments).await })
        })
    }

    fn drop_segments<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        minutes: Range<Minute>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        self.give_back((tenant, gateway), move |of| {
            Box::pin(async move { of.drop_segments(minutes, limit).await })
        })
    }

    fn drop_hours<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hours: Range<Hour>,
        limit: usize,
    ) -> PortFuture<'a, Dropped> {
        self.write_tiers((tenant, gateway), move |of| {
            Box::pin(async move { of.drop_hours(hours, limit).await })
        })
    }

    fn usage<'a>(&'a self, tenant: &'a TenantId, gateway: &'a GatewayId) -> PortFuture<'a, Vec<DayUsage>> {
        self.read_tiers((tenant, gateway), |of| Box::pin(async move { of.usage().await }))
    }
}

/// A limit as a parameter.
fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn size(bytes: &[u8]) -> i64 {
    int(bytes.len() as u64)
}

/// Keys of segments as columns: machine, minute.
fn key_columns<'k>(keys: impl IntoIterator<Item = &'k SegmentKey>) -> (Vec<&'k str>, Vec<i64>) {
    keys.into_iter().map(|key| (key.machine.as_str(), key.minute.number())).unzip()
}
