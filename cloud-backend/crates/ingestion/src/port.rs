//! The store that ingestion needs.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{Catalogue, CumulativeAck, Hello};
use thiserror::Error;

use crate::{Applied, WriteSet};

/// What a port answers: a future that can be sent between threads.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached or refuses to work. Nothing was written; trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// What the store holds cannot be understood.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The tenant is not known.
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    /// The gateway says something that contradicts what it said before. Trying again does not help.
    #[error("{0}")]
    Contradiction(String),
}

/// Writes what gateways send. What is answered is durable.
pub trait IngestStore: Send + Sync {
    /// Applies a set in one transaction. The caller keeps the set: it is applied again as it is when the
    /// store was not available.
    fn apply<'a>(
        &'a self,
        tenant: &'a TenantId,
        set: Arc<WriteSet>,
    ) -> PortFuture<'a, Result<Applied, StoreError>>;

    /// Notes who connected and answers where each of its three streams stands, zero included.
    ///
    /// A hole below the oldest batch that the gateway still holds can never be filled. It is noted as a
    /// gap with the reason `not_held`, so that the stream goes on (a backend meets this after it was
    /// restored from a backup); a gap record that the gateway sends later takes its place.
    fn record_hello<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        hello: &'a Hello,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<[CumulativeAck; 3], StoreError>>;

    /// Keeps a catalogue: its bytes, and for ever which tag each series number means.
    ///
    /// # Errors
    /// [`StoreError::Contradiction`]: a series number was given to another tag before, or the epoch has
    /// used up its series numbers.
    fn save_catalogue<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        catalogue: Arc<Catalogue>,
        bytes: Bytes,
        received_at: Timestamp,
    ) -> PortFuture<'a, Result<(), StoreError>>;

    /// Ready when the writer has had a transaction: the sign of life behind the readiness of the program.
    fn ping(&self) -> PortFuture<'_, Result<(), StoreError>>;
}
