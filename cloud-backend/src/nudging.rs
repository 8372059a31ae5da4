//! Has gateways look at once for what is newly desired of them: a reconciler.
//!
//! What is desired may be changed by another process (`config push`, a second `serve`), so the store is looked at all the
//! time. A gateway looks by itself every few minutes; this only saves the wait. So each wish is passed on once, and one that its gateway has answered never is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http_api::Commands;
use ingestion::GatewayIdentity;
use plant_model::TenantId;
use protocol::GatewayVerb;
use service_kit::Clock;
use tenancy::{ConfigurationStore, PortFuture, Rollout, StoreError, TenancyStore};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Pause between two looks; a wish is with its gateway soon after.
const PERIOD: Duration = Duration::from_secs(1);

/// What is desired of a gateway: another wish has another name.
pub(crate) struct Wish {
    pub(crate) gateway: GatewayIdentity,
    pub(crate) name: String,
    /// What has the gateway look for it.
    pub(crate) verb: GatewayVerb,
}

/// One kind of wishes.
pub(crate) trait Wishes: Send + Sync {
    /// The newest wish of each gateway of a tenant. It is asked every second.
    fn newest<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<Wish>, StoreError>>;

    /// Whether the gateway has said anything about its newest wish. It is asked once for each wish.
    fn is_answered<'a>(&'a self, gateway: &'a GatewayIdentity) -> PortFuture<'a, Result<bool, StoreError>>;
}

/// Configurations that are newer than what the gateway knows.
pub(crate) struct NewConfigurations(pub(crate) Arc<dyn ConfigurationStore>);

impl Wishes for NewConfigurations {
    fn newest<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<Wish>, StoreError>> {
        Box::pin(async move {
            let newest = self.0.newest_configurations(tenant).await?.into_iter();
            let wish = newest.map(|(gateway, version)| Wish {
                gateway: GatewayIdentity { tenant: tenant.clone(), gateway },
                name: version.to_string(),
                verb: GatewayVerb::PullConfiguration,
            });
            Ok(wish.collect())
        })
    }

    fn is_answered<'a>(&'a self, of: &'a GatewayIdentity) -> PortFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let standing = self.0.configuration_standing(&of.tenant, &of.gateway).await?;
            Ok(standing.is_none_or(|standing| standing.rollout() != Rollout::Pending))
        })
    }
}

pub(crate) struct Nudging {
    pub(crate) tenants: Arc<dyn TenancyStore>,
    pub(crate) wishes: Vec<Box<dyn Wishes>>,
    pub(crate) commands: Commands,
    pub(crate) clock: Clock,
}

/// The newest wish for each gateway, for each kind of wishes.
type Known = Vec<HashMap<GatewayIdentity, Newest>>;

/// What became of a wish.
struct Newest {
    name: String,
    /// The gateway was told, or has answered before.
    is_heard: bool,
}

impl Nudging {
    /// Goes on until `stopping` is cancelled. While the store fails, gateways look by themselves.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut known = self.wishes.iter().map(|_| HashMap::new()).collect();
        let mut complaint = String::new();
        loop {
            let outcome = tokio::select! {
                () = stopping.cancelled() => return,
                outcome = self.look(&mut known) => outcome.map_err(|error| error.to_string()),
            };
            let error = outcome.err().unwrap_or_default();
            // The same failure every second is one event.
            if error != complaint && !error.is_empty() {
                error!(
                    error,
                    "what is desired of gateways cannot be read; they look by themselves within minutes"
                );
            }
            complaint = error;
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Passes on what is new. A gateway that is away, or busy, is told at a later look.
    async fn look(&self, known: &mut Known) -> Result<(), StoreError> {
        let tenants = self.tenants.tenants().await?;
        for (wishes, known) in self.wishes.iter().zip(known) {
            let mut seen = HashMap::new();
            for tenant in &tenants {
                for wish in wishes.newest(&tenant.id).await? {
                    let before = known.remove(&wish.gateway).filter(|before| before.name == wish.name);
                    let is_heard = match before {
                        Some(before) => before.is_heard,
                        None => wishes.is_answered(&wish.gateway).await?,
                    };
                    let is_heard = is_heard || self.tell(&wish);
                    seen.insert(wish.gateway, Newest { name: wish.name, is_heard });
                }
            }
            *known = seen;
        }
        Ok(())
    }

    /// Whether the gateway is told.
    fn tell(&self, Wish { gateway: GatewayIdentity { tenant, gateway }, name, verb }: &Wish) -> bool {
        let is_told = self.commands.nudge(tenant, gateway, verb.clone(), self.clock.wall()).is_ok();
        if is_told {
            info!(tenant.id = %tenant, gateway.id = %gateway, verb = verb.name(), wish = name,
                "the gateway is told to look");
        }
        is_told
    }
}

#[cfg(test)]
mod tests;
