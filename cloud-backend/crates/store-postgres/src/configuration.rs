//! Configurations of gateways and what they say about them: the port is tenancy's.

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId};
use protocol::limits::SIGNED_CONFIGURATION_BYTES_MAX;
use protocol::{ConfigurationFiles, ConfigurationReport, ConfigurationVersion};
use tenancy::{
    CONFIGURATION_VERSIONS_KEPT, ConfigurationConflict, ConfigurationEntry, ConfigurationStanding,
    ConfigurationStore, NewConfiguration, PortFuture, ReceivedReport, StoreError, StoredConfiguration,
};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::codec::{Columns, escaped, execute, int, row, rows};
use crate::connections::Scope;
use crate::enrolment::require_gateway;
use crate::error::Fault;

/// Texts shrink to a fifth at any level; the lowest is the fastest.
const ZSTD_LEVEL: i32 = 1;

/// What [`read_entry`] reads.
macro_rules! entry_columns {
    () => {
        "c.version, c.author, c.comment, c.created_at, c.digest, c.file_count, c.size_bytes, c.accept_drift, c.restores"
    };
}
/// How many these are.
const ENTRY_COLUMNS: usize = 9;

impl ConfigurationStore for PostgresStore {
    fn save_configuration(
        &self,
        new: NewConfiguration,
    ) -> PortFuture<'_, Result<Result<ConfigurationEntry, ConfigurationConflict>, StoreError>> {
        self.change(Scope::Control(new.tenant.clone()), |t| Box::pin(async move { save(t, &new).await }))
    }

    fn configuration<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        version: Option<ConfigurationVersion>,
    ) -> PortFuture<'a, Result<Option<StoredConfiguration>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.look(Scope::Control(tenant.clone()), move |t| {
            Box::pin(async move { configuration(t, &tenant, &gateway, version).await })
        })
    }

    fn configurations<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        before: Option<ConfigurationVersion>,
        limit: u32,
    ) -> PortFuture<'a, Result<Vec<ConfigurationEntry>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        let sql = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM configuration c WHERE tenant = $1 AND gateway = $2 AND version < $3 ORDER BY version DESC LIMIT $4"
        );
        let before = before.map_or(i64::MAX, |before| before.get().into());
        let limit = i64::from(limit);
        self.look(Scope::Control(tenant.clone()), move |t| {
            Box::pin(async move {
                rows(t, sql, &[&tenant.as_str(), &gateway.as_str(), &before, &limit], read_entry).await
            })
        })
    }

    fn newest_configurations<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationVersion)>, StoreError>> {
        let tenant = tenant.clone();
        let sql = "SELECT version, gateway FROM (SELECT g.gateway, (SELECT max(version) FROM configuration c
                     WHERE c.tenant = g.tenant AND c.gateway = g.gateway) AS version
                   FROM gateway g WHERE g.tenant = $1) newest WHERE version IS NOT NULL ORDER BY gateway";
        self.look(Scope::Control(tenant.clone()), move |t| {
            Box::pin(async move {
                rows(t, sql, &[&tenant.as_str()], |r| Ok((r.parsed(1)?, version_in(r, 0)?))).await
            })
        })
    }

    fn save_configuration_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedReport,
    ) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { save_report(t, &tenant, &gateway, &received).await })
        })
    }

    fn configuration_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationStanding)>, StoreError>> {
        let tenant = tenant.clone();
        self.look(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { standings(t, &tenant, None).await })
        })
    }

    fn configuration_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<ConfigurationStanding>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.look(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move {
                let found = standings(t, &tenant, Some(&gateway)).await?;
                Ok(found.into_iter().next().map(|(_, standing)| standing))
            })
        })
    }
}

/// Two who save at a time take turns, being of one tenant.
async fn save(
    t: &Transaction<'_>,
    new: &NewConfiguration,
) -> Result<Result<ConfigurationEntry, ConfigurationConflict>, Fault> {
    require_gateway(t, &new.tenant, &new.gateway).await?;
    let newest = newest(t, &new.tenant, &new.gateway).await?;
    if newest != new.replaces {
        return Ok(Err(ConfigurationConflict { newest }));
    }
    let version = newest.map_or(Some(ConfigurationVersion::MIN), |newest| newest.checked_add(1));
    let version = version.ok_or_else(|| Fault::Contradiction("there are no more versions".to_owned()))?;
    let entry = new.entry(version);
    insert(t, new, &entry).await?;
    let trim = "DELETE FROM configuration WHERE tenant = $1 AND gateway = $2 AND version <= $3";
    let last_gone = i64::from(version.get().saturating_sub(CONFIGURATION_VERSIONS_KEPT));
    execute(t, trim, &[&new.tenant.as_str(), &new.gateway.as_str(), &last_gone]).await?;
    Ok(Ok(entry))
}

async fn insert(
    t: &Transaction<'_>,
    new: &NewConfiguration,
    entry: &ConfigurationEntry,
) -> Result<(), Fault> {
    let sql = "INSERT INTO configuration (tenant, gateway, version, author, comment, created_at, digest, file_count,
               size_bytes, accept_drift, restores, files) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    execute(
        t,
        sql,
        &[
            &new.tenant.as_str(),
            &new.gateway.as_str(),
            &i64::from(entry.version.get()),
            &escaped(&entry.author),
            &escaped(&entry.comment),
            &entry.created_at.micros(),
            &entry.digest.to_string(),
            &i64::from(entry.files),
            &int(entry.size_bytes),
            &entry.accept_drift.map(|digest| digest.to_string()),
            &entry.restores.map(|version| i64::from(version.get())),
            &pack(&new.files)?,
        ],
    )
    .await?;
    Ok(())
}

async fn newest(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<Option<ConfigurationVersion>, Fault> {
    let sql =
        "SELECT version FROM configuration WHERE tenant = $1 AND gateway = $2 ORDER BY version DESC LIMIT 1";
    row(t, sql, &[&tenant.as_str(), &gateway.as_str()], |r| version_in(r, 0)).await
}

async fn configuration(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    version: Option<ConfigurationVersion>,
) -> Result<Option<StoredConfiguration>, Fault> {
    let sql = concat!(
        "SELECT ",
        entry_columns!(),
        ", c.files FROM configuration c
         WHERE tenant = $1 AND gateway = $2 AND ($3::bigint IS NULL OR version = $3)
         ORDER BY version DESC LIMIT 1"
    );
    let version = version.map(|version| i64::from(version.get()));
    row(t, sql, &[&tenant.as_str(), &gateway.as_str(), &version], |r| {
        let entry = read_entry(r)?;
        let files = unpack(r.bytes(ENTRY_COLUMNS)?)?;
        if files.digest() != entry.digest {
            return Err(Fault::Unreadable(format!(
                "configuration {} of gateway {tenant}/{gateway} is not as it was saved",
                entry.version
            )));
        }
        Ok(StoredConfiguration { entry, files })
    })
    .await
}

async fn save_report(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    received: &ReceivedReport,
) -> Result<(), Fault> {
    require_gateway(t, tenant, gateway).await?;
    let sql =
        "INSERT INTO configuration_report (tenant, gateway, received_at, report) VALUES ($1, $2, $3, $4)
               ON CONFLICT (tenant, gateway) DO UPDATE SET received_at = excluded.received_at,
                 report = excluded.report";
    // JSON writes NUL as an escape of its own.
    let report = serde_json::to_string(&received.report).map_err(|e| Fault::unreadable("a report", &e))?;
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str(), &received.received_at.micros(), &report]).await?;
    Ok(())
}

async fn standings(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, ConfigurationStanding)>, Fault> {
    let sql = concat!(
        "SELECT ",
        entry_columns!(),
        ", g.gateway, r.received_at, r.report FROM gateway g
         LEFT JOIN configuration c ON c.tenant = g.tenant AND c.gateway = g.gateway AND c.version =
           (SELECT max(version) FROM configuration WHERE tenant = g.tenant AND gateway = g.gateway)
         LEFT JOIN configuration_report r ON r.tenant = g.tenant AND r.gateway = g.gateway
         WHERE g.tenant = $1 AND ($2::text IS NULL OR g.gateway = $2) ORDER BY g.gateway"
    );
    rows(t, sql, &[&tenant.as_str(), &gateway.map(GatewayId::as_str)], |r| {
        let desired = r.optional_number(0)?.map(|_| read_entry(r)).transpose()?;
        let received = r.optional_number(ENTRY_COLUMNS + 1)?.map(|_| read_report(r)).transpose()?;
        Ok((r.parsed(ENTRY_COLUMNS)?, ConfigurationStanding { desired, received }))
    })
    .await
}

fn read_report(r: &Row) -> Result<ReceivedReport, Fault> {
    let json = r.text(ENTRY_COLUMNS + 2)?;
    let report: ConfigurationReport =
        serde_json::from_str(json).map_err(|e| Fault::unreadable("a configuration report", &e))?;
    Ok(ReceivedReport { report, received_at: r.time(ENTRY_COLUMNS + 1)? })
}

fn read_entry(r: &Row) -> Result<ConfigurationEntry, Fault> {
    Ok(ConfigurationEntry {
        version: version_in(r, 0)?,
        author: r.free_text(1)?,
        comment: r.free_text(2)?,
        created_at: r.time(3)?,
        digest: r.parsed(4)?,
        files: r.position(5)?,
        size_bytes: r.count(6)?,
        accept_drift: r.optional_parsed(7)?,
        restores: r.optional_number(8)?.map(|_| version_in(r, 8)).transpose()?,
    })
}

fn version_in(r: &Row, column: usize) -> Result<ConfigurationVersion, Fault> {
    let number = r.position(column)?;
    ConfigurationVersion::new(number)
        .ok_or_else(|| Fault::Unreadable("a configuration is version 0".to_owned()))
}

fn pack(files: &ConfigurationFiles) -> Result<Vec<u8>, Fault> {
    let json = serde_json::to_vec(files).map_err(|e| Fault::unreadable("machine files", &e))?;
    zstd::bulk::compress(&json, ZSTD_LEVEL).map_err(|e| Fault::unreadable("machine files", &e))
}

fn unpack(packed: &[u8]) -> Result<ConfigurationFiles, Fault> {
    let json = zstd::bulk::decompress(packed, SIGNED_CONFIGURATION_BYTES_MAX);
    let json = json.map_err(|e| Fault::unreadable("stored machine files", &e))?;
    serde_json::from_slice(&json).map_err(|e| Fault::unreadable("stored machine files", &e))
}
