//! Gateways and the machines of their current catalogues.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use fleet::{GatewayInfo, MachineInfo};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::Catalogue;
use tokio_postgres::Row;

use crate::codec::{Columns, rows, unescaped};
use crate::control;
use crate::error::Fault;

/// The registered gateways and those that sent something, by id.
pub(super) async fn list(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<GatewayInfo>, Fault> {
    let unknown =
        |id: GatewayId| GatewayInfo { id, agent_version: None, epoch: None, last_seen_at: None, machines: 0 };
    let registered = control::gateways(t, tenant).await?;
    let mut all: BTreeMap<_, _> = registered.into_iter().map(|id| (id.clone(), unknown(id))).collect();
    let sql = "SELECT g.gateway, g.agent_version, g.epoch, g.seen_at, coalesce(k.machines, 0)
               FROM gateway_seen g LEFT JOIN catalogue k
                 ON k.tenant = g.tenant AND k.gateway = g.gateway AND k.epoch = g.epoch
               WHERE g.tenant = $1";
    for info in rows(t, sql, &[&tenant.as_str()], read_gateway).await? {
        all.insert(info.id.clone(), info);
    }
    for (id, at) in heard(t, tenant).await? {
        let info = all.entry(id.clone()).or_insert_with(|| unknown(id));
        info.last_seen_at = info.last_seen_at.max(at);
    }
    Ok(all.into_values().collect())
}

fn read_gateway(r: &Row) -> Result<GatewayInfo, Fault> {
    Ok(GatewayInfo {
        id: r.parsed(0)?,
        agent_version: r.optional_text(1)?.map(unescaped),
        epoch: Some(r.epoch(2)?),
        last_seen_at: Some(r.time(3)?),
        machines: usize::try_from(r.count(4)?).unwrap_or(usize::MAX),
    })
}

/// When the last message of each gateway came.
async fn heard(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<(GatewayId, Option<Timestamp>)>, Fault> {
    let sql = "SELECT gateway, max(at) FROM (
                 SELECT gateway, last_received_at AS at FROM stream WHERE tenant = $1
                 UNION ALL SELECT gateway, last_received_at FROM unreadable WHERE tenant = $1) AS heard
               GROUP BY gateway";
    rows(t, sql, &[&tenant.as_str()], |r| Ok((r.parsed(0)?, r.optional_time(1)?))).await
}

/// The current catalogues, by gateway; of one gateway where it is named.
pub(super) async fn catalogues(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, Catalogue)>, Fault> {
    let sql = "SELECT g.gateway, k.body FROM gateway_seen g
               JOIN catalogue k ON k.tenant = g.tenant AND k.gateway = g.gateway AND k.epoch = g.epoch
               WHERE g.tenant = $1 AND ($2::text IS NULL OR g.gateway = $2) ORDER BY g.gateway";
    rows(t, sql, &[&tenant.as_str(), &gateway.map(GatewayId::as_str)], |r| {
        let id: GatewayId = r.parsed(0)?;
        let catalogue = Catalogue::decode(r.bytes(1)?)
            .map_err(|e| Fault::unreadable(&format!("the catalogue of gateway {id}"), &e))?;
        Ok((id, catalogue))
    })
    .await
}

pub(super) async fn machines(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<MachineInfo>, Fault> {
    let all = catalogues(t, tenant, gateway).await?.into_iter().flat_map(|(gateway, catalogue)| {
        let epoch = catalogue.epoch;
        catalogue.machines.into_iter().map(move |definition| MachineInfo {
            gateway: gateway.clone(),
            epoch,
            definition,
        })
    });
    Ok(all.collect())
}
