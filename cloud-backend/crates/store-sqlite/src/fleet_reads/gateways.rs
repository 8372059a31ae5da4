//! Gateways and the machines of their current catalogues.

use std::collections::BTreeMap;

use fleet::{GatewayInfo, MachineInfo};
use plant_model::{GatewayId, Timestamp};
use protocol::Catalogue;
use rusqlite::{Connection, Row};

use crate::codec::{Columns, rows};
use crate::error::Fault;

/// The registered gateways and those that sent something, by id.
pub(super) fn list(c: &Connection, registered: Vec<GatewayId>) -> Result<Vec<GatewayInfo>, Fault> {
    let unknown =
        |id: GatewayId| GatewayInfo { id, agent_version: None, epoch: None, last_seen_at: None, machines: 0 };
    let mut all: BTreeMap<_, _> = registered.into_iter().map(|id| (id.clone(), unknown(id))).collect();
    let sql = "SELECT g.gateway, g.agent_version, g.epoch, g.seen_at, coalesce(k.machines, 0)
               FROM gateway g LEFT JOIN catalogue k ON k.gateway = g.gateway AND k.epoch = g.epoch";
    for info in rows(c, sql, [], read_gateway)? {
        all.insert(info.id.clone(), info);
    }
    for (id, at) in heard(c)? {
        let info = all.entry(id.clone()).or_insert_with(|| unknown(id));
        info.last_seen_at = info.last_seen_at.max(at);
    }
    Ok(all.into_values().collect())
}

fn read_gateway(r: &Row<'_>) -> Result<GatewayInfo, Fault> {
    Ok(GatewayInfo {
        id: r.parsed(0)?,
        agent_version: r.get(1)?,
        epoch: Some(r.epoch(2)?),
        last_seen_at: Some(r.time(3)?),
        machines: usize::try_from(r.count(4)?).unwrap_or(usize::MAX),
    })
}

/// When the last message of each gateway came.
fn heard(c: &Connection) -> Result<Vec<(GatewayId, Option<Timestamp>)>, Fault> {
    let sql = "SELECT gateway, max(at) FROM (SELECT gateway, last_received_at AS at FROM stream
               UNION ALL SELECT gateway, last_received_at FROM unreadable) GROUP BY gateway";
    rows(c, sql, [], |r| Ok((r.parsed(0)?, r.optional_time(1)?)))
}

/// The current catalogues, by gateway; of one gateway where it is named.
pub(super) fn catalogues(
    c: &Connection,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, Catalogue)>, Fault> {
    let sql = "SELECT g.gateway, k.body FROM gateway g
               JOIN catalogue k ON k.gateway = g.gateway AND k.epoch = g.epoch
               WHERE ?1 IS NULL OR g.gateway = ?1 ORDER BY g.gateway";
    rows(c, sql, [gateway.map(GatewayId::as_str)], |r| {
        let id: GatewayId = r.parsed(0)?;
        let body: Vec<u8> = r.get(1)?;
        let catalogue = Catalogue::decode(&body)
            .map_err(|e| Fault::unreadable(&format!("the catalogue of gateway {id}"), &e))?;
        Ok((id, catalogue))
    })
}

pub(super) fn machines(c: &Connection, gateway: Option<&GatewayId>) -> Result<Vec<MachineInfo>, Fault> {
    let all = catalogues(c, gateway)?.into_iter().flat_map(|(gateway, catalogue)| {
        let epoch = catalogue.epoch;
        catalogue.machines.into_iter().map(move |definition| MachineInfo {
            gateway: gateway.clone(),
            epoch,
            definition,
        })
    });
    Ok(all.collect())
}
