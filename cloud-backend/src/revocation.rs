//! Carries revocations from the store to the endpoint: a reconciler. `gateway revoke` may run in another
//! process, so the store is looked at all the time; an enrolment pokes it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mqtt_endpoint::Endpoint;
use service_kit::Clock;
use tenancy::TenancyStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Pause between two looks; a revocation takes effect within it.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct Revocation {
    pub(crate) store: Arc<dyn TenancyStore>,
    pub(crate) endpoint: Endpoint,
    pub(crate) poke: Arc<Notify>,
    pub(crate) clock: Clock,
}

impl Revocation {
    /// What is revoked now, told to the endpoint.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn reconcile(&self, known: &mut HashSet<String>) -> Result<(), tenancy::StoreError> {
        let revoked: HashSet<String> =
            self.store.revoked_serials(self.clock.wall()).await?.into_iter().collect();
        if revoked != *known {
            info!(certificates = revoked.len(), "revoked certificates open nothing");
            self.endpoint.revoke(revoked.clone());
            *known = revoked;
        }
        Ok(())
    }

    /// Goes on until `stopping` is cancelled. While the store fails, what was revoked stays revoked.
    pub(crate) async fn run(self, mut known: HashSet<String>, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.poke.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Err(error) = self.reconcile(&mut known).await {
                error!(%error, "revocations cannot be read");
            }
        }
    }
}
