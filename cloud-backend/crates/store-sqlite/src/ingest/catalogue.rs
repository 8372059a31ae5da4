//! Catalogues: the newest of each epoch as it came, and every series that any of them named.

use plant_model::{GatewayId, Timestamp};
use protocol::limits::CATALOGUE_TAGS_MAX;
use protocol::{Catalogue, CatalogueMachine, CatalogueTag};
use rusqlite::{Connection, params};

use crate::codec::{Columns, epoch_bits, execute, row};
use crate::error::Fault;
use crate::tiers::save_tag;

/// Series that one epoch may use up: twenty times a full catalogue, so that years of changes fit and a
/// gateway that invents numbers cannot fill the store.
const SERIES_PER_EPOCH_MAX: usize = 20 * CATALOGUE_TAGS_MAX;

pub(super) fn save(
    c: &Connection,
    gateway: &GatewayId,
    catalogue: &Catalogue,
    bytes: &[u8],
    received_at: Timestamp,
) -> Result<(), Fault> {
    let epoch = epoch_bits(catalogue.epoch);
    let machines = catalogue.machines.iter().filter(|machine| !machine.is_gateway()).count();
    let machines = i64::try_from(machines).unwrap_or(i64::MAX);
    let at = received_at.micros();
    let seen = "INSERT INTO gateway (gateway, epoch, seen_at) VALUES (?1, ?2, ?3)
                ON CONFLICT (gateway) DO UPDATE SET epoch = excluded.epoch, seen_at = max(seen_at, excluded.seen_at)";
    execute(c, seen, params![gateway.as_str(), epoch, at])?;
    if is_known(c, gateway, epoch, bytes)? {
        return Ok(());
    }
    let keep =
        "INSERT INTO catalogue (gateway, epoch, machines, received_at, body) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (gateway, epoch) DO UPDATE SET machines = excluded.machines,
                  received_at = excluded.received_at, body = excluded.body";
    execute(c, keep, params![gateway.as_str(), epoch, machines, at, bytes])?;
    for machine in &catalogue.machines {
        for tag in &machine.tags {
            save_series(c, gateway, epoch, machine, tag, at)?;
            save_tag(c, gateway, &machine.id, tag)?;
        }
    }
    check_number_of_series(c, gateway, epoch)
}

/// A gateway sends its catalogue on every connection; mostly it is the one that is here.
fn is_known(c: &Connection, gateway: &GatewayId, epoch: i64, bytes: &[u8]) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM catalogue WHERE gateway = ?1 AND epoch = ?2 AND body = ?3";
    Ok(row(c, sql, params![gateway.as_str(), epoch, bytes], |_| Ok(()))?.is_some())
}

fn save_series(
    c: &Connection,
    gateway: &GatewayId,
    epoch: i64,
    machine: &CatalogueMachine,
    tag: &CatalogueTag,
    at: i64,
) -> Result<(), Fault> {
    // Nothing changes when the number belongs to another tag.
    let sql = "INSERT INTO series (gateway, epoch, series, machine, tag, unit, data_type, role, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (gateway, epoch, series) DO UPDATE SET unit = excluded.unit,
                 data_type = excluded.data_type, role = excluded.role, updated_at = excluded.updated_at
               WHERE machine = excluded.machine AND tag = excluded.tag";
    let d = &tag.definition;
    let written = execute(
        c,
        sql,
        params![
            gateway.as_str(),
            epoch,
            tag.series.0,
            machine.id.as_str(),
            d.id.as_str(),
            d.unit,
            d.data_type.name(),
            tag.role.name(),
            at
        ],
    )?;
    if written == 0 {
        return Err(Fault::Contradiction(format!(
            "series {} of gateway {gateway} meant another tag before and is now said to be {} of machine {}; \
             a number keeps its tag within an epoch",
            tag.series.0, d.id, machine.id
        )));
    }
    Ok(())
}

fn check_number_of_series(c: &Connection, gateway: &GatewayId, epoch: i64) -> Result<(), Fault> {
    let sql = "SELECT count(*) FROM series WHERE gateway = ?1 AND epoch = ?2";
    let count = row(c, sql, params![gateway.as_str(), epoch], |r| r.number(0))?.unwrap_or(0);
    if usize::try_from(count).unwrap_or(0) > SERIES_PER_EPOCH_MAX {
        return Err(Fault::Contradiction(format!(
            "gateway {gateway} used {count} series numbers in one epoch; at most {SERIES_PER_EPOCH_MAX} are allowed"
        )));
    }
    Ok(())
}
