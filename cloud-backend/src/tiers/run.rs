//! Makes the moves of a tenant that are due: for `serve` and for the command line alike.
//!
//! Who moves has the turn of the tenant in the store, so that two processes do not work on the same days; it is prolonged
//! while a move lasts and ends by itself when the process is killed. What a failed move was about is tried again by the
//! next run; other gateways go on.

use std::time::Duration;

use fleet::FleetStore;
use plant_model::{GatewayId, TenantId, Timestamp};
use tenancy::TenancyStore;
use tiering::{
    Archive, GatewayTiers, Hold, Move, MoveError, Moved, Mover, Plan, Policy, PolicyStore, StoreError,
    TierStore, look, plan,
};

use crate::store::Store;

/// How long a turn lasts unless it is prolonged: others wait so long after a kill.
const TURN: Duration = Duration::from_secs(120);

/// How often it is prolonged.
const PROLONG: Duration = Duration::from_secs(30);

/// What runs need.
pub(crate) struct Runner<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) archive: &'a dyn Archive,
    /// Who takes the turn: host and process.
    pub(crate) holder: &'a str,
    pub(crate) now: &'a (dyn Fn() -> Timestamp + Send + Sync),
}

/// What is told of a run while it goes on.
pub(crate) trait Watch: Send {
    /// The moves of a gateway are known.
    fn planned(&mut self, gateway: &GatewayId, plan: &Plan);
    /// A move was made, or not.
    fn made(&mut self, m: &Move, outcome: &Result<Moved, MoveError>);
}

/// How a run ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Moves that were made.
    pub(crate) made: u64,
    /// What failed, a sentence each.
    pub(crate) failures: Vec<String>,
    /// Whether more is to be done at once.
    pub(crate) is_cut: bool,
    /// When something will be due.
    pub(crate) next_at: Option<Timestamp>,
}

impl Outcome {
    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        let made = format!("{} moves made", self.made);
        match self.failures.first() {
            None => made,
            Some(first) => format!("{made}, {} failed: {first}", self.failures.len()),
        }
    }

    fn fail(&mut self, gateway: &GatewayId, error: &dyn std::error::Error) {
        self.failures.push(format!("gateway {gateway}: {}", chain(error)));
    }
}

/// Somebody else has the turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) holder: String,
}

/// What is in force for a tenant.
pub(crate) async fn in_force(
    store: &dyn PolicyStore,
    tenant: &TenantId,
) -> Result<(Policy, Vec<Hold>), StoreError> {
    let newest = store.policies(tenant, 1).await?.into_iter().next();
    Ok((newest.map(|saved| saved.policy).unwrap_or_default(), store.holds(tenant).await?))
}

/// All gateways that a tenant has or had.
pub(crate) async fn gateways(store: &dyn Store, tenant: &TenantId) -> anyhow::Result<Vec<GatewayId>> {
    let (tenancy, fleet): (&dyn TenancyStore, &dyn FleetStore) = (store, store);
    let mut gateways = tenancy.registered_gateways(tenant).await?;
    gateways.extend(fleet.gateways(tenant).await?.into_iter().map(|info| info.id));
    gateways.sort();
    gateways.dedup();
    Ok(gateways)
}

/// What lies where of a gateway.
pub(crate) async fn tiers_of(
    store: &dyn Store,
    tenant: &TenantId,
    gateway: &GatewayId,
    policy: &Policy,
    now: Timestamp,
) -> Result<GatewayTiers, StoreError> {
    let (tiers, policies): (&dyn TierStore, &dyn PolicyStore) = (store, store);
    look((tiers, policies), tenant, gateway, policy, now).await
}

impl Runner<'_> {
    /// Makes what is due for a tenant, or one gateway of it.
    pub(crate) async fn run(
        &self,
        tenant: &TenantId,
        gateway: Option<&GatewayId>,
        watch: &mut dyn Watch,
    ) -> anyhow::Result<Result<Outcome, Busy>> {
        if !self.take_turn(tenant).await? {
            let turn = self.store.turn(tenant).await?;
            let holder = turn.map(|turn| turn.holder).unwrap_or_default();
            return Ok(Err(Busy { holder }));
        }
        let outcome = self.with_turn(tenant, self.run_gateways(tenant, gateway, watch)).await;
        let told = outcome.as_ref().map_or_else(|error| format!("{error:#}"), Outcome::text);
        self.store.end_turn(tenant, self.holder, (self.now)(), &told).await?;
        outcome.map(Ok)
    }

    async fn take_turn(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let now = (self.now)();
        self.store.take_turn(tenant, self.holder, now, now.plus(TURN)).await
    }

    /// Works while the turn is prolonged; ends when it is lost.
    async fn with_turn<T>(
        &self,
        tenant: &TenantId,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let prolong = async {
            loop {
                tokio::time::sleep(PROLONG).await;
                match self.take_turn(tenant).await {
                    Ok(true) => {}
                    Ok(false) => return anyhow::anyhow!("somebody else took the turn of tenant {tenant}"),
                    Err(error) => return anyhow::Error::new(error).context("the turn cannot be prolonged"),
                }
            }
        };
        tokio::select! {
            done = work => done,
            lost = prolong => Err(lost),
        }
    }

    async fn run_gateways(
        &self,
        tenant: &TenantId,
        gateway: Option<&GatewayId>,
        watch: &mut dyn Watch,
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let all = gateways(self.store, tenant).await?;
        for one in all.iter().filter(|one| gateway.is_none_or(|only| only == *one)) {
            self.run_gateway(tenant, one, watch, &mut outcome).await?;
        }
        Ok(outcome)
    }

    async fn run_gateway(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        watch: &mut dyn Watch,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let now = (self.now)();
        let (policy, holds) = in_force(self.store, tenant).await?;
        let tiers = tiers_of(self.store, tenant, gateway, &policy, now).await?;
        let plan = plan(now, &policy, &holds, &tiers, 0);
        watch.planned(gateway, &plan);
        outcome.is_cut |= plan.is_cut;
        outcome.next_at = [outcome.next_at, plan.next_at].into_iter().flatten().min();
        let mover = Mover { tenant, tiers: self.store, policies: self.store, archive: self.archive };
        for m in &plan.moves {
            let made = mover.make(&policy, m, (self.now)()).await;
            watch.made(m, &made);
            match made {
                Ok(_) => outcome.made += 1,
                // The samples of the gateway changed meanwhile; the next run sees them as they are.
                Err(MoveError::Held | MoveError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => {
                    outcome.fail(gateway, &error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
