//! Beginning rollouts and acting on them, for the API and for the command line; and what is known of their gateways.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use fleet::FleetStore;
use plant_model::{TenantId, Timestamp};
use protocol::AgentVersion;
use rollouts::{
    Conflict, GatewayName, MEMBERS_MAX, NewRollout, Operation, OperationError, OwnAlarm, Plan, Presence,
    Rollout, RolloutId, RolloutStore, Seen, UpdateStanding, Watch, operate, standings_of,
};
use tenancy::{StoreError, TenancyStore};
use thiserror::Error;

use crate::LiveFeed;

/// Attempts at a change that others are faster with: the backend itself changes a rollout every few seconds at most.
const ATTEMPTS: u32 = 5;

/// Where rollouts are kept, and who is told that one changed. Cheap to clone.
#[derive(Clone)]
pub struct Rollouts {
    /// The rollouts, what is desired, and what gateways say.
    pub store: Arc<dyn RolloutStore>,
    /// Called after a change.
    pub changed: Arc<dyn Fn() + Send + Sync>,
    /// Since when it is known who is connected.
    pub watching_since: Timestamp,
}

/// Why something was not done.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such rollout.
    #[error("there is no rollout {0}")]
    Unknown(RolloutId),
    /// A gateway belongs to another rollout.
    #[error(
        "gateway {gateway} belongs to rollout {rollout}, which is not finished: abort that one, or leave the gateway out"
    )]
    Taken {
        /// The gateway.
        gateway: GatewayName,
        /// The other rollout.
        rollout: RolloutId,
    },
    /// The state of the rollout does not allow it.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// Others were faster, again and again.
    #[error("rollout {0} changes all the time; try again")]
    Busy(RolloutId),
    /// A gateway is named twice.
    #[error("gateway {0} is named twice")]
    Twice(GatewayName),
    /// A gateway or tenant that is not registered.
    #[error("there is no {0}")]
    NotRegistered(String),
    /// There is nobody to update.
    #[error("no gateway is registered there; nothing is to be updated")]
    Nobody,
    /// More gateways than a rollout may have.
    #[error("{0} gateways; a rollout may have {MEMBERS_MAX}: begin one for each tenant")]
    TooMany(usize),
}

/// Which gateways a rollout is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These, in this order.
    pub gateways: Vec<GatewayName>,
    /// All of these tenants, by id.
    pub tenants: Vec<TenantId>,
}

impl Rollouts {
    /// Begins a rollout. An empty selection is every gateway of every tenant.
    ///
    /// # Errors
    /// The selection is empty, too large or names what is not there; a gateway belongs to another rollout; the store
    /// fails.
    pub async fn start(
        &self,
        tenancy: &dyn TenancyStore,
        plan: Plan,
        selection: Selection,
    ) -> Result<Rollout, RolloutError> {
        let gateways = select(tenancy, selection).await?;
        let actor = plan.author.clone();
        match self.store.start_rollout(NewRollout { plan, gateways }).await? {
            Ok(rollout) => {
                audit(&rollout, "start", &actor);
                (self.changed)();
                Ok(rollout)
            }
            Err(Conflict::Taken { gateway, rollout }) => Err(RolloutError::Taken { gateway, rollout }),
            Err(Conflict::Moved) => Err(RolloutError::Busy(RolloutId::MIN)),
        }
    }

    /// Does something to a rollout, and answers how it is then.
    ///
    /// # Errors
    /// There is no such rollout, its state does not allow it, a gateway belongs to another one by now, the store fails.
    pub async fn operate(
        &self,
        id: RolloutId,
        operation: Operation,
        actor: &str,
        now: Timestamp,
    ) -> Result<Rollout, RolloutError> {
        for _ in 0..ATTEMPTS {
            let rollout = self.find(id).await?;
            let standings = standings_of(&*self.store, &rollout).await?;
            let change = operate(&rollout, &standings, operation, actor, now)?;
            match self.store.change_rollout(change).await? {
                Ok(()) => {
                    let rollout = self.find(id).await?;
                    audit(&rollout, operation.name(), actor);
                    (self.changed)();
                    return Ok(rollout);
                }
                Err(Conflict::Taken { gateway, rollout }) => {
                    return Err(RolloutError::Taken { gateway, rollout });
                }
                Err(Conflict::Moved) => {}
            }
        }
        Err(RolloutError::Busy(id))
    }

    /// A rollout.
    ///
    /// # Errors
    /// There is none, or the store fails.
    pub async fn find(&self, id: RolloutId) -> Result<Rollout, RolloutError> {
        self.store.rollout(id).await?.ok_or(RolloutError::Unknown(id))
    }

    /// What is known of the gateways of a rollout, in its order.
    ///
    /// # Errors
    /// A store fails.
    pub async fn observe(
        &self,
        fleet: &dyn FleetStore,
        live: &LiveFeed,
        rollout: &Rollout,
    ) -> Result<Vec<Seen>, StoreError> {
        let standings = standings_of(&*self.store, rollout).await?;
        let mut known: HashMap<&TenantId, HashMap<_, _>> = HashMap::new();
        for tenant in rollout.members.iter().map(|member| &member.gateway.tenant) {
            if !known.contains_key(tenant) {
                let infos = fleet.gateways(tenant).await.map_err(unavailable)?;
                known.insert(tenant, infos.into_iter().map(|info| (info.id.clone(), info)).collect());
            }
        }
        let each = rollout.members.iter().zip(standings).map(|(member, standing)| {
            let GatewayName { tenant, gateway } = &member.gateway;
            let info = known.get(tenant).and_then(|infos| infos.get(gateway));
            seen(live, &member.gateway, standing, info)
        });
        Ok(each.collect())
    }

    /// Who looks, and when.
    #[must_use]
    pub fn watch(&self, now: Timestamp) -> Watch {
        Watch { now, since: self.watching_since }
    }
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollouts").finish_non_exhaustive()
    }
}

fn unavailable(error: fleet::StoreError) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// An agent that does not report says its version when it connects.
fn seen(
    live: &LiveFeed,
    name: &GatewayName,
    standing: UpdateStanding,
    info: Option<&fleet::GatewayInfo>,
) -> Seen {
    let health = live.health(&name.tenant, &name.gateway);
    let said_hello = || AgentVersion::new(info?.agent_version.as_deref()?).ok();
    Seen {
        running: standing.running().cloned().or_else(said_hello),
        presence: health.online_since.map_or(Presence::Offline, Presence::Online),
        heard_at: health.heard_at.max(info.and_then(|info| info.last_seen_at)),
        alarms: health
            .alarms
            .into_iter()
            .map(|(alarm, raised_at)| OwnAlarm { alarm: alarm.to_string(), raised_at })
            .collect(),
        wish: standing.wish,
        received: standing.received,
    }
}

/// The gateways of a selection: the named ones first, in their order, then those of the tenants.
async fn select(tenancy: &dyn TenancyStore, selection: Selection) -> Result<Vec<GatewayName>, RolloutError> {
    let Selection { gateways, mut tenants } = selection;
    if gateways.is_empty() && tenants.is_empty() {
        tenants = tenancy.tenants().await?.into_iter().map(|tenant| tenant.id).collect();
    }
    let mut chosen: Vec<GatewayName> = Vec::new();
    for name in gateways {
        if chosen.contains(&name) {
            return Err(RolloutError::Twice(name));
        }
        if !tenancy.registered_gateways(&name.tenant).await?.contains(&name.gateway) {
            return Err(RolloutError::NotRegistered(format!("gateway {name}")));
        }
        chosen.push(name);
    }
    let named = chosen.len();
    for tenant in tenants {
        if tenancy.tenant(&tenant).await?.is_none() {
            return Err(RolloutError::NotRegistered(format!("tenant {tenant}")));
        }
        for gateway in tenancy.registered_gateways(&tenant).await? {
            let name = GatewayName { tenant: tenant.clone(), gateway };
            if !chosen[..named].contains(&name) {
                chosen.push(name);
            }
        }
    }
    match chosen.len() {
        0 => Err(RolloutError::Nobody),
        count if count > MEMBERS_MAX => Err(RolloutError::TooMany(count)),
        _ => Ok(chosen),
    }
}

/// Who did what to which rollout: a line of the audit log.
fn audit(rollout: &Rollout, action: &'static str, actor: &str) {
    tracing::info!(
        target: "audit",
        {
            rollout.id = rollout.id.get(), agent.version = %rollout.plan.version, gateways = rollout.members.len(),
            action, actor, outcome = rollout.progress.state.name()
        },
        "rollout of an agent's version"
    );
}
