//! Configurations of gateways and what they say about them: the port is tenancy's.

use plant_model::{GatewayId, TenantId};
use protocol::limits::SIGNED_CONFIGURATION_BYTES_MAX;
use protocol::{ConfigurationFiles, ConfigurationReport, ConfigurationVersion};
use rusqlite::{Connection, Row, params};
use tenancy::{
    CONFIGURATION_VERSIONS_KEPT, ConfigurationConflict, ConfigurationEntry, ConfigurationStanding,
    ConfigurationStore, NewConfiguration, PortFuture, ReceivedReport, StoreError, StoredConfiguration,
};

use crate::SqliteStore;
use crate::codec::{Columns, execute, int, row, rows};
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

impl ConfigurationStore for SqliteStore {
    fn save_configuration(
        &self,
        new: NewConfiguration,
    ) -> PortFuture<'_, Result<Result<ConfigurationEntry, ConfigurationConflict>, StoreError>> {
        Box::pin(async move {
            let packed = pack(&new.files)?;
            self.change(move |c| save(c, &new, &packed)).await
        })
    }

    fn configuration<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        version: Option<ConfigurationVersion>,
    ) -> PortFuture<'a, Result<Option<StoredConfiguration>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        Box::pin(self.control(move |c| configuration(c, &tenant, &gateway, version)))
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
            " FROM configuration c WHERE tenant = ?1 AND gateway = ?2 AND version < ?3 ORDER BY version DESC LIMIT ?4"
        );
        let before = before.map_or(i64::MAX, |before| before.get().into());
        Box::pin(self.control(move |c| {
            rows(c, sql, params![tenant.as_str(), gateway.as_str(), before, limit], read_entry)
        }))
    }

    fn newest_configurations<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationVersion)>, StoreError>> {
        let tenant = tenant.clone();
        let sql = "SELECT version, gateway FROM (SELECT g.gateway, (SELECT MAX(version) FROM configuration c
                     WHERE c.tenant = g.tenant AND c.gateway = g.gateway) AS version
                   FROM gateway g WHERE g.tenant = ?1) WHERE version IS NOT NULL ORDER BY gateway";
        Box::pin(
            self.control(move |c| rows(c, sql, [tenant.as_str()], |r| Ok((r.parsed(1)?, version_in(r, 0)?)))),
        )
    }

    fn save_configuration_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedReport,
    ) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| save_report(c, &tenant, &gateway, &received)))
    }

    fn configuration_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, ConfigurationStanding)>, StoreError>> {
        let tenant = tenant.clone();
        Box::pin(self.control(move |c| standings(c, &tenant, None)))
    }

    fn configuration_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<ConfigurationStanding>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        Box::pin(self.control(move |c| {
            let found = standings(c, &tenant, Some(&gateway))?;
            Ok(found.into_iter().next().map(|(_, standing)| standing))
        }))
    }
}

fn save(
    c: &Connection,
    new: &NewConfiguration,
    packed: &[u8],
) -> Result<Result<ConfigurationEntry, ConfigurationConflict>, Fault> {
    require_gateway(c, &new.tenant, &new.gateway)?;
    let newest = newest(c, &new.tenant, &new.gateway)?;
    if newest != new.replaces {
        return Ok(Err(ConfigurationConflict { newest }));
    }
    let version = newest.map_or(Some(ConfigurationVersion::MIN), |newest| newest.checked_add(1));
    let version = version.ok_or_else(|| Fault::Contradiction("there are no more versions".to_owned()))?;
    let entry = new.entry(version);
    let sql = "INSERT INTO configuration (tenant, gateway, version, author, comment, created_at, digest, file_count,
               size_bytes, accept_drift, restores, files) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let added = params![
        new.tenant.as_str(),
        new.gateway.as_str(),
        entry.version.get(),
        entry.author,
        entry.comment,
        entry.created_at.micros(),
        entry.digest.to_string(),
        entry.files,
        int(entry.size_bytes),
        entry.accept_drift.map(|digest| digest.to_string()).unwrap_or_default(),
        entry.restores.map(ConfigurationVersion::get),
        packed
    ];
    execute(c, sql, added)?;
    let trim = "DELETE FROM configuration WHERE tenant = ?1 AND gateway = ?2 AND version <= ?3";
    let last_gone = version.get().saturating_sub(CONFIGURATION_VERSIONS_KEPT);
    execute(c, trim, params![new.tenant.as_str(), new.gateway.as_str(), last_gone])?;
    Ok(Ok(entry))
}

fn newest(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
) -> Result<Option<ConfigurationVersion>, Fault> {
    let sql =
        "SELECT version FROM configuration WHERE tenant = ?1 AND gateway = ?2 ORDER BY version DESC LIMIT 1";
    row(c, sql, [tenant.as_str(), gateway.as_str()], |r| version_in(r, 0))
}

fn configuration(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
    version: Option<ConfigurationVersion>,
) -> Result<Option<StoredConfiguration>, Fault> {
    let sql = concat!(
        "SELECT ",
        entry_columns!(),
        ", c.files FROM configuration c WHERE tenant = ?1 AND gateway = ?2 AND (?3 IS NULL OR version = ?3)
         ORDER BY version DESC LIMIT 1"
    );
    let version = version.map(ConfigurationVersion::get);
    row(c, sql, params![tenant.as_str(), gateway.as_str(), version], |r| {
        let entry = read_entry(r)?;
        let packed: Vec<u8> = r.get(ENTRY_COLUMNS)?;
        let files = unpack(&packed)?;
        if files.digest() != entry.digest {
            return Err(Fault::Unreadable(format!(
                "configuration {} of gateway {tenant}/{gateway} is not as it was saved",
                entry.version
            )));
        }
        Ok(StoredConfiguration { entry, files })
    })
}

fn save_report(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
    received: &ReceivedReport,
) -> Result<(), Fault> {
    require_gateway(c, tenant, gateway)?;
    let sql =
        "INSERT INTO configuration_report (tenant, gateway, received_at, report) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET received_at = excluded.received_at, report = excluded.report";
    let report = serde_json::to_string(&received.report).map_err(|e| Fault::unreadable("a report", &e))?;
    execute(c, sql, params![tenant.as_str(), gateway.as_str(), received.received_at.micros(), report])?;
    Ok(())
}

fn standings(
    c: &Connection,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, ConfigurationStanding)>, Fault> {
    let sql = concat!(
        "SELECT ",
        entry_columns!(),
        ", g.gateway, r.received_at, r.report FROM gateway g
         LEFT JOIN configuration c ON c.tenant = g.tenant AND c.gateway = g.gateway AND c.version =
           (SELECT MAX(version) FROM configuration WHERE tenant = g.tenant AND gateway = g.gateway)
         LEFT JOIN configuration_report r ON r.tenant = g.tenant AND r.gateway = g.gateway
         WHERE g.tenant = ?1 AND (?2 IS NULL OR g.gateway = ?2) ORDER BY g.gateway"
    );
    rows(c, sql, params![tenant.as_str(), gateway.map(GatewayId::as_str)], |r| {
        let desired = r.optional_number(0)?.map(|_| read_entry(r)).transpose()?;
        let received = r.optional_number(ENTRY_COLUMNS + 1)?.map(|_| read_report(r)).transpose()?;
        Ok((r.parsed(ENTRY_COLUMNS)?, ConfigurationStanding { desired, received }))
    })
}

fn read_report(r: &Row<'_>) -> Result<ReceivedReport, Fault> {
    let json = r.text(ENTRY_COLUMNS + 2)?;
    let report: ConfigurationReport =
        serde_json::from_str(&json).map_err(|e| Fault::unreadable("a configuration report", &e))?;
    Ok(ReceivedReport { report, received_at: r.time(ENTRY_COLUMNS + 1)? })
}

fn read_entry(r: &Row<'_>) -> Result<ConfigurationEntry, Fault> {
    Ok(ConfigurationEntry {
        version: version_in(r, 0)?,
        author: r.text(1)?,
        comment: r.text(2)?,
        created_at: r.time(3)?,
        digest: r.parsed(4)?,
        files: r.position(5)?,
        size_bytes: r.count(6)?,
        accept_drift: r.optional_parsed(7)?,
        restores: r.optional_number(8)?.map(|_| version_in(r, 8)).transpose()?,
    })
}

fn version_in(r: &Row<'_>, column: usize) -> Result<ConfigurationVersion, Fault> {
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
