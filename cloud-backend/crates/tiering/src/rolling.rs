//! Rollups of hours, made of the heads of their minutes.

use std::collections::BTreeMap;

use bytes::Bytes;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use segments::{Head, Hold, Rollup, TagNumber, rollups_to_bytes};

use crate::{Hour, HourRow, Parts, SealError, TierStore};

/// Hours that are made in one step: 60 heads each, one transaction for all.
const HOURS_AT_A_TIME: usize = 60;

/// Makes rollups that are due, of hours that are over. Answers how many it made; when that is none, there is nothing to
/// do now.
///
/// # Errors
/// Nothing was written.
pub async fn roll_next(
    store: &dyn TierStore,
    tenant: &TenantId,
    gateway: &GatewayId,
    now: Timestamp,
) -> Result<usize, SealError> {
    let due = store.due_hours(tenant, gateway, HOURS_AT_A_TIME).await?;
    let mut made = Vec::new();
    for (machine, hour, revision) in due {
        // The hour that runs would be made again every minute; its minutes are there to be read.
        if Hour::of(now) <= hour {
            break;
        }
        let rollups = roll(store, tenant, gateway, &machine, hour).await?;
        made.push((HourRow { machine, hour, rollups }, revision));
    }
    let count = made.len();
    if count > 0 {
        store.save_hours(tenant, gateway, made).await?;
    }
    Ok(count)
}

async fn roll(
    store: &dyn TierStore,
    tenant: &TenantId,
    gateway: &GatewayId,
    machine: &MachineId,
    hour: Hour,
) -> Result<Bytes, SealError> {
    let subject = |source| SealError::Segment { subject: format!("{machine} at {}", hour.start()), source };
    let minutes = store.segments(tenant, gateway, machine, hour.minutes(), Parts::Heads, usize::MAX).await?;
    let mut tags: BTreeMap<TagNumber, Vec<Rollup>> = BTreeMap::new();
    for row in &minutes {
        for tag in Head::read(&row.head).map_err(subject)?.tags() {
            tags.entry(tag.number).or_default().push(tag.rollup.clone());
        }
    }
    if minutes.is_empty() {
        // The minutes went with their retention: what was known of the hour stays.
        let next = Hour::from_number(hour.number() + 1);
        let known = store.hours(tenant, gateway, machine, hour..next).await?;
        if let Some(row) = known.into_iter().next() {
            return Ok(row.rollups);
        }
    }
    let over = |(tag, minutes): (TagNumber, Vec<Rollup>)| Some((tag, Rollup::over(&minutes, Hold::DEFAULT)?));
    let rollups = tags.into_iter().filter_map(over).collect();
    rollups_to_bytes(&rollups).map(Bytes::from).map_err(subject)
}
