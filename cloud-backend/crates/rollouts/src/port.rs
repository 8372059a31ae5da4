//! The store that rollouts need.

use std::collections::HashMap;

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{AgentVersion, UpdateChannel};
use tenancy::{PortFuture, StoreError};

use crate::{GatewayName, Member, Plan, Progress, ReceivedUpdate, Rollout, RolloutId, Wish};

/// What becomes a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    /// What it is to do.
    pub plan: Plan,
    /// Its gateways, in the order in which they are told; each once, at most [`crate::MEMBERS_MAX`].
    pub gateways: Vec<GatewayName>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// A gateway belongs to another rollout that is not finished.
    Taken {
        /// The gateway.
        gateway: GatewayName,
        /// The other rollout.
        rollout: RolloutId,
    },
    /// The rollout is not as the change found it: look again.
    Moved,
}

/// What is desired of a gateway from now on. Its number is one above the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishChange {
    /// The gateway.
    pub gateway: GatewayName,
    /// The version; `None` to desire nothing any more.
    pub version: Option<AgentVersion>,
    /// Where it comes from.
    pub channel: UpdateChannel,
}

/// What happens to a rollout: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which rollout.
    pub rollout: RolloutId,
    /// The revision on which it was decided.
    pub on: u32,
    /// How far it is then.
    pub progress: Progress,
    /// The members that are different then, by position.
    pub members: Vec<(usize, Member)>,
    /// What is desired then.
    pub wishes: Vec<WishChange>,
    /// When.
    pub at: Timestamp,
}

/// A rollout at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutSummary {
    /// Its number.
    pub id: RolloutId,
    /// What it is to do.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
    /// How many gateways it has.
    pub gateways: u32,
    /// How many of them were told, in the direction that it goes.
    pub told: u32,
}

/// Rollouts that are kept, at least the unfinished ones: years of them.
pub const ROLLOUTS_KEPT: u32 = 500;

/// What is desired of a gateway, and what it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateStanding {
    /// What is desired, or was.
    pub wish: Option<Wish>,
    /// What it said last.
    pub received: Option<ReceivedUpdate>,
}

impl UpdateStanding {
    /// The version that is desired now.
    #[must_use]
    pub fn desired(&self) -> Option<&AgentVersion> {
        self.wish.as_ref().and_then(|wish| wish.version.as_ref())
    }

    /// The version that the gateway says it runs.
    #[must_use]
    pub fn running(&self) -> Option<&AgentVersion> {
        self.received.as_ref().map(|received| &received.report.running)
    }

    /// Whether another version is desired than the one that the gateway says it runs.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.desired().is_some_and(|desired| self.running() != Some(desired))
    }
}

/// Durable rollouts, wishes and reports. A write is durable when its future is ready.
pub trait RolloutStore: Send + Sync {
    /// Begins a rollout, unless a gateway belongs to another one that is not finished. Of those that are finished the
    /// newest [`ROLLOUTS_KEPT`] stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a gateway.
    fn start_rollout(&self, new: NewRollout)
    -> PortFuture<'_, Result<Result<Rollout, Conflict>, StoreError>>;

    /// Makes a change, unless the rollout is not as the change found it. A rollout that was finished and goes on takes
    /// its gateways again, unless another one has them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the rollout.
    fn change_rollout(&self, change: Change) -> PortFuture<'_, Result<Result<(), Conflict>, StoreError>>;

    /// A rollout with its gateways.
    fn rollout(&self, id: RolloutId) -> PortFuture<'_, Result<Option<Rollout>, StoreError>>;

    /// The rollouts that are not finished, by number.
    fn unfinished_rollouts(&self) -> PortFuture<'_, Result<Vec<RolloutId>, StoreError>>;

    /// The newest rollouts, the newest first; at most `limit`.
    fn newest_rollouts(&self, limit: u32) -> PortFuture<'_, Result<Vec<RolloutSummary>, StoreError>>;

    /// How a gateway stands; `None` if it is not registered.
    fn update_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<UpdateStanding>, StoreError>>;

    /// How each registered gateway of a tenant stands, by id; none for an unknown tenant.
    fn update_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, UpdateStanding)>, StoreError>>;

    /// What is desired of the gateways of a tenant, by id; gateways of which nothing is are left out. It costs little: it
    /// is asked every second.
    fn wishes<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, Wish)>, StoreError>>;

    /// Keeps what a gateway says, in the place of what it said before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the gateway.
    fn save_update_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedUpdate,
    ) -> PortFuture<'_, Result<(), StoreError>>;
}

/// How the gateways of a rollout stand, in its order.
///
/// # Errors
/// The store fails.
pub async fn standings_of<S: RolloutStore + ?Sized>(
    store: &S,
    rollout: &Rollout,
) -> Result<Vec<UpdateStanding>, StoreError> {
    let mut tenants: HashMap<TenantId, HashMap<GatewayId, UpdateStanding>> = HashMap::new();
    let mut standings = Vec::with_capacity(rollout.members.len());
    for GatewayName { tenant, gateway } in rollout.members.iter().map(|member| &member.gateway) {
        if !tenants.contains_key(tenant) {
            tenants.insert(tenant.clone(), store.update_standings(tenant).await?.into_iter().collect());
        }
        let standing = tenants.get_mut(tenant).and_then(|known| known.remove(gateway));
        standings.push(standing.unwrap_or_default());
    }
    Ok(standings)
}
