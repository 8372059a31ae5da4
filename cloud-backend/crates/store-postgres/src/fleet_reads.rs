//! What people want to see: the port of the fleet.

pub(crate) mod alarms;
mod gateways;
mod latest;
mod ledger;
mod samples;
mod sealed;

use deadpool_postgres::Transaction;
use fleet::{
    AlarmFilter, AlarmRow, Cursor, FleetStore, GatewayInfo, GatewayLatest, JournalRow, LedgerRow,
    MachineInfo, PortFuture, SampleQuery, SampleSet, StoreError,
};
use plant_model::{GatewayId, MachineId, TenantId};

use crate::PostgresStore;
use crate::connections::{Scope, Work};
use crate::error::Fault;

impl PostgresStore {
    /// A read of what gateways of a tenant sent.
    fn of_tenant<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl for<'t> FnOnce(&'t Transaction<'t>, TenantId) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, Result<T, StoreError>> {
        let tenant = tenant.clone();
        let scope = Scope::Tiers(tenant.clone());
        Box::pin(async move {
            let read = self.readers.read(scope, move |t| work(t, tenant)).await;
            read.map_err(|fault: Fault| fault.into())
        })
    }
}

impl FleetStore for PostgresStore {
    fn gateways<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<GatewayInfo>, StoreError>> {
        self.of_tenant(tenant, |t, tenant| Box::pin(async move { gateways::list(t, &tenant).await }))
    }

    fn machines<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<MachineInfo>, StoreError>> {
        self.of_tenant(tenant, |t, tenant| {
            Box::pin(async move { gateways::machines(t, &tenant, None).await })
        })
    }

    fn machine<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
    ) -> PortFuture<'a, Result<Option<MachineInfo>, StoreError>> {
        let (gateway, machine) = (gateway.clone(), machine.clone());
        self.of_tenant(tenant, |t, tenant| {
            Box::pin(async move {
                let machines = gateways::machines(t, &tenant, Some(&gateway)).await?;
                Ok(machines.into_iter().find(|m| m.definition.id == machine))
            })
        })
    }

    fn samples<'a>(
        &'a self,
        tenant: &'a TenantId,
        query: SampleQuery,
    ) -> PortFuture<'a, Result<SampleSet, StoreError>> {
        self.of_tenant(tenant, |t, tenant| {
            Box::pin(async move { samples::samples(t, &tenant, &query).await })
        })
    }

    fn alarms<'a>(
        &'a self,
        tenant: &'a TenantId,
        filter: AlarmFilter,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<(AlarmRow, Cursor)>, StoreError>> {
        self.of_tenant(tenant, move |t, tenant| {
            Box::pin(async move { alarms::occurrences(t, &tenant, filter, limit, before).await })
        })
    }

    fn journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<JournalRow>, StoreError>> {
        self.of_tenant(tenant, move |t, tenant| {
            Box::pin(async move { alarms::journal(t, &tenant, limit, before).await })
        })
    }

    fn ledger<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<LedgerRow>, StoreError>> {
        self.of_tenant(tenant, |t, tenant| Box::pin(async move { ledger::ledger(t, &tenant).await }))
    }

    fn latest_samples<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayLatest>, StoreError>> {
        self.of_tenant(tenant, |t, tenant| Box::pin(async move { latest::latest(t, &tenant).await }))
    }
}
