//! The newest samples: as of the last sealing, and of the batches since.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use fleet::{FUTURE_MAX, GatewayLatest};
use plant_model::{GatewayId, MachineId, TagId, TenantId, Timestamp};
use protocol::{Batch, Catalogue, Epoch, SeriesId, StreamId};
use segments::TagNumber;
use service_kit::Clock;
use tiering::Latest;

use super::gateways::catalogues;
use crate::codec::{Columns, rows, stream_code};
use crate::error::Fault;
use crate::tiers::Of;

/// Batches that are looked through beside what is sealed, the newest: an hour at one batch in 5 s. Sealing is a minute
/// behind; where it is further behind, tags that change seldom may have to wait for it.
const BATCHES_PER_LATEST_MAX: i64 = 720;

/// The newest samples of every gateway.
pub(super) async fn latest(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<GatewayLatest>, Fault> {
    let until = Clock::system().plus(FUTURE_MAX);
    let mut all = Vec::new();
    for (gateway, catalogue) in catalogues(t, tenant, None).await? {
        all.push(of_gateway(t, tenant, (gateway, catalogue), until).await?);
    }
    Ok(all)
}

async fn of_gateway(
    t: &Transaction<'_>,
    tenant: &TenantId,
    (gateway, catalogue): (GatewayId, Catalogue),
    until: Timestamp,
) -> Result<GatewayLatest, Fault> {
    let of = Of::new(t, tenant, &gateway);
    let what =
        |e: &dyn std::fmt::Display| Fault::unreadable(&format!("latest samples of gateway {gateway}"), e);
    let mut latest = match of.sealed_latest().await? {
        Some(bytes) => Latest::from_bytes(&bytes).map_err(|e| what(&e))?,
        None => Latest::new(),
    };
    latest.settle(until);
    let mut places: HashMap<Epoch, BTreeMap<SeriesId, (MachineId, TagNumber)>> = HashMap::new();
    for body in newest_batches(t, tenant, &gateway).await? {
        let batch = Batch::decode(&body).map_err(|e| what(&e))?;
        let epoch = batch.header.epoch;
        if let Entry::Vacant(place) = places.entry(epoch) {
            place.insert(of.series(epoch).await?);
        }
        latest.add(&batch, |epoch, series| places.get(&epoch)?.get(&series).cloned(), until);
    }
    let numbers: HashMap<(MachineId, TagId), TagNumber> = of
        .tags(None)
        .await?
        .into_iter()
        .map(|record| ((record.machine, record.tag), record.number))
        .collect();
    Ok(GatewayLatest::of(gateway, catalogue, |machine, tag| {
        let number = numbers.get(&(machine.clone(), tag.clone()))?;
        let newest = latest.get(machine, *number)?;
        Some((newest.sample.clone(), newest.unchanged_since))
    }))
}

/// Oldest first.
async fn newest_batches(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<Vec<Vec<u8>>, Fault> {
    let sql = "SELECT body FROM batch WHERE tenant = $1 AND gateway = $2 AND stream = $3
               ORDER BY last_at DESC, sequence DESC LIMIT $4";
    let key = (tenant.as_str(), gateway.as_str(), stream_code(StreamId::Telemetry));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&key.0, &key.1, &key.2, &BATCHES_PER_LATEST_MAX];
    let mut bodies = rows(t, sql, &params, |r| r.bytes(0).map(<[u8]>::to_vec)).await?;
    bodies.reverse();
    Ok(bodies)
}
