//! Catalogues: the newest of each epoch as it came, and every series that any of them named.

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::limits::CATALOGUE_TAGS_MAX;
use protocol::{Catalogue, CatalogueMachine, CatalogueTag};

use crate::codec::{Columns, epoch_bits, escaped, execute, row, rows};
use crate::error::Fault;
use crate::tiers::tags;

/// Series that one epoch may use up: twenty times a full catalogue, so that years of changes fit and a
/// gateway that invents numbers cannot fill the store.
const SERIES_PER_EPOCH_MAX: usize = 20 * CATALOGUE_TAGS_MAX;

pub(super) async fn save(
    t: &Transaction<'_>,
    (tenant, gateway): (&TenantId, &GatewayId),
    catalogue: &Catalogue,
    bytes: &[u8],
    received_at: Timestamp,
) -> Result<(), Fault> {
    let key = (tenant.as_str(), gateway.as_str(), epoch_bits(catalogue.epoch));
    let machines = catalogue.machines.iter().filter(|machine| !machine.is_gateway()).count();
    let machines = i64::try_from(machines).unwrap_or(i64::MAX);
    let at = received_at.micros();
    let seen = "INSERT INTO gateway_seen AS g (tenant, gateway, epoch, seen_at) VALUES ($1, $2, $3, $4)
                ON CONFLICT (tenant, gateway) DO UPDATE SET epoch = excluded.epoch,
                  seen_at = greatest(g.seen_at, excluded.seen_at)";
    execute(t, seen, &[&key.0, &key.1, &key.2, &at]).await?;
    // A gateway sends its catalogue on every connection; mostly it is the one that is here.
    let same = "SELECT 1 FROM catalogue WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND body = $4";
    if row(t, same, &[&key.0, &key.1, &key.2, &bytes], |_| Ok(())).await?.is_some() {
        return Ok(());
    }
    let keep = "INSERT INTO catalogue (tenant, gateway, epoch, machines, received_at, body)
                VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, gateway, epoch) DO UPDATE SET
                  machines = excluded.machines, received_at = excluded.received_at, body = excluded.body";
    execute(t, keep, &[&key.0, &key.1, &key.2, &machines, &at, &bytes]).await?;
    let all =
        catalogue.machines.iter().flat_map(|machine| machine.tags.iter().map(move |tag| (machine, tag)));
    let all: Vec<_> = all.collect();
    save_series(t, key, &all, at).await?;
    tags::save(t, (key.0, key.1), &all).await?;
    check_number_of_series(t, key).await
}

async fn save_series(
    t: &Transaction<'_>,
    key: (&str, &str, i64),
    all: &[(&CatalogueMachine, &CatalogueTag)],
    at: i64,
) -> Result<(), Fault> {
    refuse_another_tag(t, key, all).await?;
    let sql =
        "INSERT INTO series (tenant, gateway, epoch, series, machine, tag, unit, data_type, role, updated_at)
               SELECT $1, $2, $3, k.*, $10 FROM unnest($4::bigint[], $5::text[], $6::text[], $7::text[],
                 $8::text[], $9::text[]) AS k
               ON CONFLICT (tenant, gateway, epoch, series) DO UPDATE SET unit = excluded.unit,
                 data_type = excluded.data_type, role = excluded.role, updated_at = excluded.updated_at";
    let (series, machines, tags) = identities(all);
    let units: Vec<_> = all.iter().map(|(_, tag)| escaped(&tag.definition.unit)).collect();
    let types: Vec<&str> = all.iter().map(|(_, tag)| tag.definition.data_type.name()).collect();
    let roles: Vec<&str> = all.iter().map(|(_, tag)| tag.role.name()).collect();
    execute(t, sql, &[&key.0, &key.1, &key.2, &series, &machines, &tags, &units, &types, &roles, &at])
        .await?;
    Ok(())
}

/// A number keeps its tag: what is known under the numbers of the catalogue must be what the catalogue says.
async fn refuse_another_tag(
    t: &Transaction<'_>,
    (tenant, gateway, epoch): (&str, &str, i64),
    all: &[(&CatalogueMachine, &CatalogueTag)],
) -> Result<(), Fault> {
    let sql = "SELECT k.series, k.tag, k.machine FROM series s
               JOIN unnest($4::bigint[], $5::text[], $6::text[]) AS k (series, machine, tag)
                 ON k.series = s.series
               WHERE s.tenant = $1 AND s.gateway = $2 AND s.epoch = $3
                 AND (s.machine <> k.machine OR s.tag <> k.tag) ORDER BY k.series LIMIT 1";
    let (series, machines, tags) = identities(all);
    let other = rows(t, sql, &[&tenant, &gateway, &epoch, &series, &machines, &tags], |r| {
        Ok((r.number(0)?, r.text(1)?.to_owned(), r.text(2)?.to_owned()))
    })
    .await?;
    match other.first() {
        None => Ok(()),
        Some((series, tag, machine)) => Err(Fault::Contradiction(format!(
            "series {series} of gateway {gateway} meant another tag before and is now said to be {tag} of \
             machine {machine}; a number keeps its tag within an epoch"
        ))),
    }
}

/// The columns series, machine and tag.
fn identities<'c>(
    all: &[(&'c CatalogueMachine, &'c CatalogueTag)],
) -> (Vec<i64>, Vec<&'c str>, Vec<&'c str>) {
    let series = all.iter().map(|(_, tag)| i64::from(tag.series.0)).collect();
    let machines = all.iter().map(|(machine, _)| machine.id.as_str()).collect();
    let tags = all.iter().map(|(_, tag)| tag.definition.id.as_str()).collect();
    (series, machines, tags)
}

async fn check_number_of_series(
    t: &Transaction<'_>,
    (tenant, gateway, epoch): (&str, &str, i64),
) -> Result<(), Fault> {
    let sql = "SELECT count(*) FROM series WHERE tenant = $1 AND gateway = $2 AND epoch = $3";
    let count = row(t, sql, &[&tenant, &gateway, &epoch], |r| r.count(0)).await?.unwrap_or(0);
    if usize::try_from(count).unwrap_or(usize::MAX) > SERIES_PER_EPOCH_MAX {
        return Err(Fault::Contradiction(format!(
            "gateway {gateway} used {count} series numbers in one epoch; at most {SERIES_PER_EPOCH_MAX} are allowed"
        )));
    }
    Ok(())
}
