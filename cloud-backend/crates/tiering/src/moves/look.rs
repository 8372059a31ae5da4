//! What lies where, read from the store: what a plan is made of.

use std::time::Duration;

use plant_model::{GatewayId, TenantId, Timestamp};
use segments::TagKind;

use crate::{GatewayTiers, Policy, PolicyStore, StoreError, TierStore};

/// Batches that wait for longer are behind: twice the time after which a silent stream is sealed to its end.
pub const CATCH_UP: Duration = Duration::from_secs(1_800);

/// Reads it for a gateway.
///
/// # Errors
/// The store does not answer.
pub async fn look(
    store: (&dyn TierStore, &dyn PolicyStore),
    tenant: &TenantId,
    gateway: &GatewayId,
    policy: &Policy,
    now: Timestamp,
) -> Result<GatewayTiers, StoreError> {
    let (tiers, policies) = store;
    let tags = tiers.tags(tenant, gateway, None).await?;
    let classes = TagKind::ALL.into_iter().filter(|kind| tags.iter().any(|tag| tag.kind == *kind));
    let all = Timestamp::from_micros(i64::MIN)..Timestamp::from_micros(i64::MAX);
    Ok(GatewayTiers {
        gateway: gateway.clone(),
        classes: classes.collect(),
        is_sealing_behind: is_behind(tiers, tenant, gateway, now).await?,
        usage: tiers.usage(tenant, gateway).await?,
        objects: tiers.objects(tenant, Some(gateway), all).await?,
        journal: policies.journal_usage(tenant, gateway, now.minus(policy.alarm_journal)).await?,
    })
}

async fn is_behind(
    tiers: &dyn TierStore,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    for stream in tiers.sealing_streams(tenant, gateway).await? {
        let waiting = tiers.waiting_batches(tenant, gateway, stream.epoch, 1).await?;
        let is_late = |at: Timestamp| now.since(at) > CATCH_UP;
        // Above a hole they wait for what is missing, maybe for ever.
        let may_be_sealed = waiting.first().filter(|batch| batch.sequence <= stream.committed_through);
        if may_be_sealed.is_some_and(|batch| is_late(batch.received_at)) {
            return Ok(true);
        }
    }
    Ok(false)
}
