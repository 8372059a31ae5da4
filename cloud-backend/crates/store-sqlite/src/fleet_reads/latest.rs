//! The newest samples: as of the last sealing, and of the batches since.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use fleet::{FUTURE_MAX, GatewayLatest};
use plant_model::{GatewayId, MachineId, TagId, Timestamp};
use protocol::{Batch, Catalogue, Epoch, SeriesId, StreamId};
use rusqlite::{Connection, params};
use segments::TagNumber;
use service_kit::Clock;
use tiering::Latest;

use super::gateways::catalogues;
use crate::codec::{Columns, rows};
use crate::error::Fault;
use crate::tiers;

/// Batches that are looked through beside what is sealed, the newest: an hour at one batch in 5 s. Sealing is a minute
/// behind; where it is further behind, tags that change seldom may have to wait for it.
const BATCHES_PER_LATEST_MAX: u32 = 720;

const TELEMETRY: i64 = StreamId::Telemetry.code() as i64;

/// The newest samples of every gateway.
pub(super) fn latest(c: &Connection) -> Result<Vec<GatewayLatest>, Fault> {
    let until = Clock::system().plus(FUTURE_MAX);
    catalogues(c, None)?
        .into_iter()
        .map(|(gateway, catalogue)| of_gateway(c, gateway, catalogue, until))
        .collect()
}

fn of_gateway(
    c: &Connection,
    gateway: GatewayId,
    catalogue: Catalogue,
    until: Timestamp,
) -> Result<GatewayLatest, Fault> {
    let what =
        |e: &dyn std::fmt::Display| Fault::unreadable(&format!("latest samples of gateway {gateway}"), e);
    let mut latest = match tiers::latest(c, &gateway)? {
        Some(bytes) => Latest::from_bytes(&bytes).map_err(|e| what(&e))?,
        None => Latest::new(),
    };
    latest.settle(until);
    let mut places: HashMap<Epoch, BTreeMap<SeriesId, (MachineId, TagNumber)>> = HashMap::new();
    for body in newest_batches(c, &gateway)? {
        let batch = Batch::decode(&body).map_err(|e| what(&e))?;
        let epoch = batch.header.epoch;
        if let Entry::Vacant(place) = places.entry(epoch) {
            place.insert(tiers::series(c, &gateway, epoch)?);
        }
        latest.add(&batch, |epoch, series| places.get(&epoch)?.get(&series).cloned(), until);
    }
    let numbers: HashMap<(MachineId, TagId), TagNumber> = tiers::tags(c, &gateway, None)?
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
fn newest_batches(c: &Connection, gateway: &GatewayId) -> Result<Vec<bytes::Bytes>, Fault> {
    let sql = "SELECT body FROM batch WHERE gateway = ?1 AND stream = ?2
               ORDER BY last_at DESC, sequence DESC LIMIT ?3";
    let mut bodies =
        rows(c, sql, params![gateway.as_str(), TELEMETRY, BATCHES_PER_LATEST_MAX], |r| r.blob(0))?;
    bodies.reverse();
    Ok(bodies)
}
