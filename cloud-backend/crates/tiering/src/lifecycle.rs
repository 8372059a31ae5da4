//! The store of what decides over the tiers: policies, holds, whose turn it is, and the journal of alarms.

use std::ops::Range;

use plant_model::{GatewayId, TenantId, Timestamp};

use crate::{Dropped, Hold, HoldAct, HoldId, HoldScope, Policy, PortFuture};

/// Versions of a policy that are kept, the newest: the audit trail of years.
pub const POLICY_VERSIONS_KEPT: u32 = 1_000;

/// A policy that somebody saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPolicy {
    /// Its number; they begin at 1.
    pub version: u32,
    /// It.
    pub policy: Policy,
    /// Who saved it, when and why.
    pub saved: HoldAct,
}

/// Somebody else saved a policy meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyConflict {
    /// The newest version; 0 if there is none.
    pub newest: u32,
}

/// Who moves the tiers of a tenant, and what the last run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Who holds the turn: host and process. Empty when nobody does.
    pub holder: String,
    /// Until when, unless it is prolonged.
    pub until: Timestamp,
    /// When the last run ended.
    pub ended_at: Option<Timestamp>,
    /// What it did, or why it failed, for people.
    pub outcome: String,
}

/// Keeps policies, holds and turns of each tenant. Each call is one transaction; a write is durable when its future is
/// ready. What was saved and held is never changed: it is the audit trail.
pub trait PolicyStore: Send + Sync {
    /// The newest versions of the policy of a tenant, the newest first; none while the default is in force.
    fn policies<'a>(&'a self, tenant: &'a TenantId, limit: u32) -> PortFuture<'a, Vec<SavedPolicy>>;

    /// Saves the next version on top of the one that its author saw (0: none). Answers its number.
    fn save_policy<'a>(
        &'a self,
        tenant: &'a TenantId,
        replaces: u32,
        policy: Policy,
        saved: HoldAct,
    ) -> PortFuture<'a, Result<u32, PolicyConflict>>;

    /// All holds of a tenant, released ones too, by number.
    fn holds<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Vec<Hold>>;

    /// Places a hold.
    fn place_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        scope: HoldScope,
        placed: HoldAct,
    ) -> PortFuture<'a, HoldId>;

    /// Ends a hold. Answers whether there was one in force.
    fn release_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        hold: HoldId,
        released: HoldAct,
    ) -> PortFuture<'a, bool>;

    /// Takes the turn to move the tiers of a tenant, or prolongs it. Answers whether the holder has it: not while
    /// somebody else has it and `now` is before the end of that.
    fn take_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> PortFuture<'a, bool>;

    /// Gives the turn back, if the holder still has it, and notes what the run did.
    fn end_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        outcome: &'a str,
    ) -> PortFuture<'a, ()>;

    /// Whose turn it is, and what the last run did; `None` if there never was one.
    fn turn<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Option<RunRecord>>;

    /// What [`Self::drop_journal`] would drop of each day (UTC) of a gateway before an instant, in order.
    fn journal_usage<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        before: Timestamp,
    ) -> PortFuture<'a, Vec<(Timestamp, Dropped)>>;

    /// Drops the steps of alarms that a gateway decided in a range, but for those of occurrences that are active; then
    /// occurrences that ended in the range; and batches of the alarm stream that end in the range. The watermark stays: a
    /// batch that comes again is a duplicate. Answers how many steps and bytes of batches that were.
    fn drop_journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Dropped>;
}
