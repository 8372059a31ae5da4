//! Carries rollouts on: a reconciler. What a person did on the command line, and what gateways report, is in the store;
//! what happens next is decided by `rollouts` alone.

use std::sync::Arc;
use std::time::Duration;

use fleet::FleetStore;
use http_api::{LiveFeed, Rollouts};
use ingestion::GatewayIdentity;
use plant_model::TenantId;
use protocol::GatewayVerb;
use rollouts::{Change, Decision, RolloutId, RolloutStore, decide};
use service_kit::Clock;
use tenancy::{PortFuture, StoreError, TenancyStore};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::health::Health;
use crate::nudging::{Wish, Wishes};
use crate::store::Store;

/// Pause between two looks, if nobody pokes: time passes, and another process may have changed something.
const PERIOD: Duration = Duration::from_secs(2);
/// Steps of one rollout in one look: it passes over someone, tells a wave, notes what it waits for.
const STEPS_MAX: u32 = 8;

pub(crate) struct Reconciler {
    pub(crate) rollouts: Rollouts,
    tenants: Arc<dyn TenancyStore>,
    fleet: Arc<dyn FleetStore>,
    live: LiveFeed,
    health: Arc<Health>,
    poke: Arc<Notify>,
    clock: Clock,
}

impl Reconciler {
    pub(crate) fn new(store: &Arc<dyn Store>, live: LiveFeed, health: Arc<Health>, clock: Clock) -> Self {
        let poke = Arc::new(Notify::new());
        let changed = Arc::clone(&poke);
        let rollouts = Rollouts {
            store: Arc::<dyn Store>::clone(store),
            changed: Arc::new(move || changed.notify_one()),
            watching_since: clock.wall(),
        };
        let tenants = Arc::<dyn Store>::clone(store);
        Self { rollouts, tenants, fleet: Arc::<dyn Store>::clone(store), live, health, poke, clock }
    }

    /// Goes on until `stopping` is cancelled. While the store fails, nobody else is told.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut complaint = String::new();
        loop {
            let outcome = tokio::select! {
                () = stopping.cancelled() => return,
                outcome = self.look() => outcome.map_err(|error| error.to_string()),
            };
            let error = outcome.err().unwrap_or_default();
            // The same failure every time is one event.
            if error != complaint && !error.is_empty() {
                error!(error, "rollouts cannot go on; trying again");
            }
            complaint = error;
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.poke.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        for id in self.rollouts.store.unfinished_rollouts().await? {
            self.carry_on(id).await?;
        }
        self.count().await
    }

    /// Decides and saves until there is nothing to do now.
    async fn carry_on(&self, id: RolloutId) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            let Some(rollout) = self.rollouts.store.rollout(id).await? else { return Ok(()) };
            let seen = self.rollouts.observe(&*self.fleet, &self.live, &rollout).await?;
            let watch = self.rollouts.watch(self.clock.wall());
            let Decision::Change(change) = decide(&rollout, &seen, watch) else { return Ok(()) };
            let told = tell_of(&change);
            // Somebody else may have been faster; then it is looked at again.
            if self.rollouts.store.change_rollout(*change).await?.is_ok() {
                told();
            }
        }
        Ok(())
    }

    /// Gateways that say they run another version than the desired one, or nothing.
    async fn count(&self) -> Result<(), StoreError> {
        let mut behind = 0;
        for tenant in self.tenants.tenants().await? {
            let standings = self.rollouts.store.update_standings(&tenant.id).await?;
            behind += standings.iter().filter(|(_, standing)| standing.is_behind()).count() as u64;
        }
        self.health.set_gateways_behind(behind);
        Ok(())
    }
}

/// What is said of a change once it is made; what it only waits for is no event.
fn tell_of(change: &Change) -> impl FnOnce() + use<> {
    let (id, progress, told) = (change.rollout, change.progress.clone(), change.wishes.len());
    let is_event = progress.changed_at == change.at;
    move || {
        if is_event {
            info!(
                target: "audit",
                {
                    rollout.id = id.get(), action = "step", actor = "backend", wave = progress.wave + 1, told,
                    outcome = progress.state.name(), reason = progress.reason
                },
                "rollout of an agent's version"
            );
        }
    }
}

/// Versions that gateways are to run, so that they look at once.
pub(crate) struct DesiredVersions(pub(crate) Arc<dyn RolloutStore>);

impl Wishes for DesiredVersions {
    fn newest<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Result<Vec<Wish>, StoreError>> {
        Box::pin(async move {
            let wishes = self.0.wishes(tenant).await?.into_iter();
            let wish = wishes.filter_map(|(gateway, wish)| {
                Some(Wish {
                    gateway: GatewayIdentity { tenant: tenant.clone(), gateway },
                    name: wish.revision.to_string(),
                    verb: GatewayVerb::Update { version: wish.version? },
                })
            });
            Ok(wish.collect())
        })
    }

    fn is_answered<'a>(&'a self, of: &'a GatewayIdentity) -> PortFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let standing = self.0.update_standing(&of.tenant, &of.gateway).await?.unwrap_or_default();
            let wished = standing.wish.map(|wish| wish.revision);
            let said = standing.received.and_then(|received| received.report.desired);
            Ok(said.map(|desired| desired.revision) == wished)
        })
    }
}
