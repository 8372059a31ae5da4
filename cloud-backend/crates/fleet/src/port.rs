//! The store that the read model needs.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;

use plant_model::{GatewayId, MachineId, TenantId};
use thiserror::Error;

use crate::{
    AlarmFilter, AlarmRow, Cursor, GatewayInfo, GatewayLatest, JournalRow, LedgerRow, MachineInfo,
    SampleQuery, SampleSet,
};

/// What a port answers: a future that can be sent between threads.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why there is no answer.
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
}

/// Reads what is stored of one tenant. A list that is empty is no error.
pub trait FleetStore: Send + Sync {
    /// The gateways, by id.
    fn gateways<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<GatewayInfo>, StoreError>>;

    /// The machines of the current catalogues, by gateway and in the order of the catalogue.
    fn machines<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<MachineInfo>, StoreError>>;

    /// One machine of a current catalogue.
    fn machine<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        machine: &'a MachineId,
    ) -> PortFuture<'a, Result<Option<MachineInfo>, StoreError>>;

    /// Samples of one machine. The memory it takes is bounded by the query, not by the range.
    fn samples<'a>(
        &'a self,
        tenant: &'a TenantId,
        query: SampleQuery,
    ) -> PortFuture<'a, Result<SampleSet, StoreError>>;

    /// Occurrences of alarms, the last raised first, at most `limit`, beginning after `before`; each
    /// with its cursor.
    fn alarms<'a>(
        &'a self,
        tenant: &'a TenantId,
        filter: AlarmFilter,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<(AlarmRow, Cursor)>, StoreError>>;

    /// The journal of transitions, the last decided first, at most `limit`, beginning after `before`.
    fn journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        limit: u32,
        before: Option<Cursor>,
    ) -> PortFuture<'a, Result<Vec<JournalRow>, StoreError>>;

    /// What is known of every stream, by gateway, epoch and stream.
    fn ledger<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<LedgerRow>, StoreError>>;

    /// The newest sample of every tag of the current catalogues, as far as the last sealing and the newest batches tell:
    /// to fill a [`crate::LiveView`] once at start.
    fn latest_samples<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<GatewayLatest>, StoreError>>;
}
