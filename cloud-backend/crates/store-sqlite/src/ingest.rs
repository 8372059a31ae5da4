//! What gateways send: the port of ingestion.

mod alarms;
mod catalogue;
mod ledger;
mod losses;
mod write_set;

use std::sync::Arc;

use bytes::Bytes;
use ingestion::{Applied, IngestStore, PortFuture, StoreError, WriteSet};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{Catalogue, CumulativeAck, Hello};
use service_kit::Clock;

use crate::SqliteStore;
use crate::codec::execute;
use crate::writer::Target;

impl IngestStore for SqliteStore {
    fn apply<'a>(
        &'a self,
        tenant: &'a TenantId,
        set: Arc<WriteSet>,
    ) -> PortFuture<'a, Result<Applied, StoreError>> {
        let target = Target::Tenant(tenant.clone());
        let work = move |c: &_| write_set::apply(c, &set, Clock::start().wall());
        Box::pin(async move { Ok(self.writer.write(target, work).await?) })
    }

    fn record_hello<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hello: &'a Hello,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<[CumulativeAck; 3], StoreError>> {
        let target = Target::Tenant(tenant.clone());
        let (gateway, hello) = (gateway.clone(), hello.clone());
        let work = move |c: &_| losses::record_hello(c, &gateway, &hello, received_at);
        Box::pin(async move { Ok(self.writer.write(target, work).await?) })
    }

    fn save_catalogue<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        catalogue: Arc<Catalogue>,
        bytes: Bytes,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<(), StoreError>> {
        let target = Target::Tenant(tenant.clone());
        let gateway = gateway.clone();
        let work = move |c: &_| catalogue::save(c, &gateway, &catalogue, &bytes, received_at);
        Box::pin(async move { Ok(self.writer.write(target, work).await?) })
    }

    fn ping(&self) -> PortFuture<'_, Result<(), StoreError>> {
        let now = Clock::start().wall();
        // Something useful that needs the queue, the writer and the lock of the file.
        let work = move |c: &_| execute(c, "DELETE FROM session WHERE expires_at <= ?1", [now.micros()]);
        Box::pin(async move {
            self.writer.write(Target::Control, work).await?;
            Ok(())
        })
    }
}
