//! What gateways send: the port of ingestion.

mod alarms;
mod catalogue;
mod losses;
mod pending;
mod streams;
mod write_set;

use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use ingestion::{Applied, IngestStore, PortFuture, StoreError, WriteSet};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{Catalogue, CumulativeAck, Hello};
use service_kit::Clock;

use crate::PostgresStore;
use crate::connections::{Scope, Work};
use crate::control::expire_sessions;

impl PostgresStore {
    fn ingest<'a, T: Send + 'static>(
        &'a self,
        scope: Scope,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, Result<T, StoreError>> {
        Box::pin(async move { Ok(self.writers.write(scope, work).await?) })
    }
}

impl IngestStore for PostgresStore {
    fn apply<'a>(
        &'a self,
        tenant: &'a TenantId,
        set: Arc<WriteSet>,
    ) -> PortFuture<'a, Result<Applied, StoreError>> {
        let tenant = tenant.clone();
        self.ingest(Scope::Telemetry(tenant.clone()), |t| {
            Box::pin(async move { write_set::apply(t, &tenant, &set, Clock::system()).await })
        })
    }

    fn record_hello<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hello: &'a Hello,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<[CumulativeAck; 3], StoreError>> {
        let (tenant, gateway, hello) = (tenant.clone(), gateway.clone(), hello.clone());
        self.ingest(Scope::Telemetry(tenant.clone()), move |t| {
            Box::pin(async move { losses::record_hello(t, &tenant, &gateway, &hello, received_at).await })
        })
    }

    fn save_catalogue<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        catalogue: Arc<Catalogue>,
        bytes: Bytes,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<(), StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.ingest(Scope::Telemetry(tenant.clone()), move |t| {
            Box::pin(
                async move { catalogue::save(t, (&tenant, &gateway), &catalogue, &bytes, received_at).await },
            )
        })
    }

    fn ping(&self) -> PortFuture<'_, Result<(), StoreError>> {
        // Something useful that needs a connection and a transaction that writes.
        self.ingest(Scope::Platform, |t| {
            Box::pin(async move {
                expire_sessions(t, Clock::system()).await?;
                Ok(())
            })
        })
    }
}
