//! What people want to see: the port of the fleet.

pub(crate) mod alarms;
mod gateways;
mod latest;
mod ledger;
mod samples;

use fleet::{
    AlarmFilter, AlarmRow, Cursor, FleetStore, GatewayInfo, GatewayLatest, JournalRow, LedgerRow,
    MachineInfo, PortFuture, SampleQuery, SampleSet, StoreError,
};
use plant_model::{GatewayId, MachineId, TenantId};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::control;
use crate::error::Fault;
use crate::writer::Target;

impl SqliteStore {
    /// A read of the file of a tenant.
    fn of_tenant<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> PortFuture<'a, Result<T, StoreError>> {
        let target = Target::Tenant(tenant.clone());
        Box::pin(async move { Ok(self.readers.read(target, work).await?) })
    }
}

impl FleetStore for SqliteStore {
    fn gateways<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<GatewayInfo>, StoreError>> {
        Box::pin(async move {
            let id = tenant.clone();
            let registered = self.readers.read(Target::Control, move |c| control::gateways(c, &id)).await?;
            self.of_tenant(tenant, move |c| gateways::list(c, registered)).await
        })
    }

    fn machines<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<MachineInfo>, StoreError>> {
        self.of_tenant(tenant, |c| gateways::machines(c, None))
    }

    fn machine<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
    ) -> PortFuture<'a, Result<Option<MachineInfo>, StoreError>> {
        let (gateway, machine) = (gateway.clone(), machine.clone());
        self.of_tenant(tenant, move |c| {
            let machines = gateways::machines(c, Some(&gateway))?;
            Ok(machines.into_iter().find(|m| m.definition.id == machine))
        })
    }

    fn samples<'a>(
        &'a self,
        tenant: &'a TenantId,
        query: SampleQuery,
    ) -> PortFuture<'a, Result<SampleSet, StoreError>> {
        self.of_tenant(tenant, move |c| samples::samples(c, &query))
    }

    fn alarms<'a>(
        &'a self,
        tenant: &'a TenantId,
        filter: AlarmFilter,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<(AlarmRow, Cursor)>, StoreError>> {
        self.of_tenant(tenant, move |c| alarms::occurrences(c, filter, limit, before))
    }

    fn journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<JournalRow>, StoreError>> {
        self.of_tenant(tenant, move |c| alarms::journal(c, limit, before))
    }

    fn ledger<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<LedgerRow>, StoreError>> {
        self.of_tenant(tenant, ledger::ledger)
    }

    fn latest_samples<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayLatest>, StoreError>> {
        self.of_tenant(tenant, latest::latest)
    }
}
