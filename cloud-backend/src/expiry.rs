//! Looks at the newest certificate of each gateway, for the metrics: a reconciler.

use std::sync::Arc;
use std::time::Duration;

use ingestion::GatewayIdentity;
use plant_model::Timestamp;
use tenancy::TenancyStore;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::health::Health;

/// Pause between two looks: a gateway that was enrolled is to be seen soon.
const PERIOD: Duration = Duration::from_secs(10);

pub(crate) struct Expiry {
    pub(crate) store: Arc<dyn TenancyStore>,
    pub(crate) health: Arc<Health>,
}

impl Expiry {
    /// Goes on until `stopping` is cancelled. While the store fails, what was seen last is told.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        loop {
            match self.look().await {
                Ok(seen) => self.health.set_certificate_ends(seen),
                Err(error) => error!(%error, "the certificates of gateways cannot be read"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// The end of the newest certificate of each gateway that is not revoked.
    async fn look(&self) -> Result<Vec<(GatewayIdentity, Timestamp)>, tenancy::StoreError> {
        let mut seen = Vec::new();
        for tenant in self.store.tenants().await? {
            for gateway in self.store.registered_gateways(&tenant.id).await? {
                let newest = self.store.certificates(&tenant.id, &gateway).await?.into_iter().next();
                if let Some(newest) = newest.filter(|newest| newest.revoked_at.is_none()) {
                    seen.push((GatewayIdentity { tenant: tenant.id.clone(), gateway }, newest.expires_at));
                }
            }
        }
        Ok(seen)
    }
}
