//! Policies, holds, turns and the end of the journal: the port of `tiering`.

use std::collections::BTreeMap;
use std::ops::Range;

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::StreamId;
use tiering::{
    DAY, Dropped, Hold, HoldAct, HoldId, HoldScope, POLICY_VERSIONS_KEPT, Policy, PolicyConflict,
    PolicyStore, PortFuture, RunRecord, SavedPolicy,
};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::codec::{Columns, escaped, execute, int, row, rows, stream_code};
use crate::connections::{Scope, Work};
use crate::error::Fault;

impl PostgresStore {
    fn look_at_lifecycle<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl for<'t> FnOnce(&'t Transaction<'t>, TenantId) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, T> {
        let tenant = tenant.clone();
        let scope = Scope::Telemetry(tenant.clone());
        Box::pin(async move { Ok(self.readers.read(scope, |t| work(t, tenant)).await?) })
    }

    /// Such changes of one tenant take turns.
    fn change_lifecycle<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl for<'t> FnOnce(&'t Transaction<'t>, TenantId) -> Work<'t, T> + Send + 'a,
    ) -> PortFuture<'a, T> {
        let tenant = tenant.clone();
        let scope = Scope::Telemetry(tenant.clone());
        Box::pin(async move { Ok(self.writers.write(scope, |t| work(t, tenant)).await?) })
    }
}

impl PolicyStore for PostgresStore {
    fn policies<'a>(&'a self, tenant: &'a TenantId, limit: u32) -> PortFuture<'a, Vec<SavedPolicy>> {
        let sql = "SELECT version, policy, saved_by, saved_at, reason FROM tier_policy
                   WHERE tenant = $1 ORDER BY version DESC LIMIT $2";
        self.look_at_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { rows(t, sql, &[&tenant.as_str(), &i64::from(limit)], read_policy).await })
        })
    }

    fn save_policy<'a>(
        &'a self,
        tenant: &'a TenantId,
        replaces: u32,
        policy: Policy,
        saved: HoldAct,
    ) -> PortFuture<'a, Result<u32, PolicyConflict>> {
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { save_policy(t, &tenant, replaces, &policy, &saved).await })
        })
    }

    fn holds<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Vec<Hold>> {
        let sql = "SELECT id, gateway, machine, start_at, end_at, placed_by, placed_at, reason, released_by, released_at,
                     release_reason FROM legal_hold WHERE tenant = $1 ORDER BY id";
        self.look_at_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { rows(t, sql, &[&tenant.as_str()], read_hold).await })
        })
    }

    fn place_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        scope: HoldScope,
        placed: HoldAct,
    ) -> PortFuture<'a, HoldId> {
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { place_hold(t, &tenant, &scope, &placed).await })
        })
    }

    fn release_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        hold: HoldId,
        released: HoldAct,
    ) -> PortFuture<'a, bool> {
        let sql = "UPDATE legal_hold SET released_by = $3, released_at = $4, release_reason = $5
                   WHERE tenant = $1 AND id = $2 AND released_by IS NULL";
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move {
                let (by, reason) = (escaped(&released.by), escaped(&released.reason));
                let at = released.at.micros();
                Ok(execute(t, sql, &[&tenant.as_str(), &int(hold.0), &by, &at, &reason]).await? == 1)
            })
        })
    }

    fn take_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> PortFuture<'a, bool> {
        let sql = "INSERT INTO tier_turn (tenant, holder, until_at, outcome) VALUES ($1, $2, $3, '')
                   ON CONFLICT (tenant) DO UPDATE SET holder = excluded.holder, until_at = excluded.until_at
                   WHERE tier_turn.holder IN ('', excluded.holder) OR tier_turn.until_at <= $4";
        let holder = escaped(holder).into_owned();
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move {
                let (now, until) = (now.micros(), until.micros());
                Ok(execute(t, sql, &[&tenant.as_str(), &holder, &until, &now]).await? == 1)
            })
        })
    }

    fn end_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        outcome: &'a str,
    ) -> PortFuture<'a, ()> {
        let sql =
            "UPDATE tier_turn SET holder = '', ended_at = $3, outcome = $4 WHERE tenant = $1 AND holder = $2";
        let (holder, outcome) = (escaped(holder).into_owned(), escaped(outcome).into_owned());
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move {
                execute(t, sql, &[&tenant.as_str(), &holder, &now.micros(), &outcome]).await?;
                Ok(())
            })
        })
    }

    fn turn<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Option<RunRecord>> {
        let sql = "SELECT holder, until_at, ended_at, outcome FROM tier_turn WHERE tenant = $1";
        self.look_at_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { row(t, sql, &[&tenant.as_str()], read_turn).await })
        })
    }

    fn journal_usage<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        before: Timestamp,
    ) -> PortFuture<'a, Vec<(Timestamp, Dropped)>> {
        let gateway = gateway.clone();
        self.look_at_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { journal_usage(t, (&tenant, &gateway), before).await })
        })
    }

    fn drop_journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Dropped> {
        let gateway = gateway.clone();
        self.change_lifecycle(tenant, move |t, tenant| {
            Box::pin(async move { drop_journal(t, (&tenant, &gateway), &range).await })
        })
    }
}

async fn save_policy(
    t: &Transaction<'_>,
    tenant: &TenantId,
    replaces: u32,
    policy: &Policy,
    saved: &HoldAct,
) -> Result<Result<u32, PolicyConflict>, Fault> {
    let newest = "SELECT coalesce(max(version), 0) FROM tier_policy WHERE tenant = $1";
    let newest = row(t, newest, &[&tenant.as_str()], |r| r.position(0)).await?.unwrap_or(0);
    if newest != replaces {
        return Ok(Err(PolicyConflict { newest }));
    }
    let version = newest + 1;
    let sql = "INSERT INTO tier_policy (tenant, version, policy, saved_by, saved_at, reason)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let document = policy.to_value().to_string();
    let (by, reason) = (escaped(&saved.by), escaped(&saved.reason));
    let at = saved.at.micros();
    execute(t, sql, &[&tenant.as_str(), &i64::from(version), &document, &by, &at, &reason]).await?;
    let trim = "DELETE FROM tier_policy WHERE tenant = $1 AND version <= $2";
    let last_gone = i64::from(version.saturating_sub(POLICY_VERSIONS_KEPT));
    execute(t, trim, &[&tenant.as_str(), &last_gone]).await?;
    Ok(Ok(version))
}

async fn place_hold(
    t: &Transaction<'_>,
    tenant: &TenantId,
    scope: &HoldScope,
    placed: &HoldAct,
) -> Result<HoldId, Fault> {
    let next = "SELECT coalesce(max(id), 0) + 1 FROM legal_hold WHERE tenant = $1";
    let id = row(t, next, &[&tenant.as_str()], |r| r.count(0)).await?.unwrap_or(1);
    let sql = "INSERT INTO legal_hold (tenant, id, gateway, machine, start_at, end_at, placed_by, placed_at, reason)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    execute(
        t,
        sql,
        &[
            &tenant.as_str(),
            &int(id),
            &scope.gateway.as_ref().map(GatewayId::as_str),
            &scope.machine.as_ref().map(MachineId::as_str),
            &scope.start.micros(),
            &scope.end.micros(),
            &escaped(&placed.by),
            &placed.at.micros(),
            &escaped(&placed.reason),
        ],
    )
    .await?;
    Ok(HoldId(id))
}

fn read_turn(r: &Row) -> Result<RunRecord, Fault> {
    Ok(RunRecord {
        holder: r.free_text(0)?,
        until: r.time(1)?,
        ended_at: r.optional_time(2)?,
        outcome: r.free_text(3)?,
    })
}

fn read_policy(r: &Row) -> Result<SavedPolicy, Fault> {
    let version = r.position(0)?;
    let policy = Policy::from_json(r.text(1)?);
    let policy = policy.map_err(|e| Fault::unreadable(&format!("policy {version}"), &e))?;
    let saved = HoldAct { by: r.free_text(2)?, at: r.time(3)?, reason: r.free_text(4)? };
    Ok(SavedPolicy { version, policy, saved })
}

fn read_hold(r: &Row) -> Result<Hold, Fault> {
    let scope = HoldScope {
        gateway: r.optional_parsed(1)?,
        machine: r.optional_parsed(2)?,
        start: r.time(3)?,
        end: r.time(4)?,
    };
    let placed = HoldAct { by: r.free_text(5)?, at: r.time(6)?, reason: r.free_text(7)? };
    let released = r
        .optional_time(9)?
        .map(|at| -> Result<_, Fault> { Ok(HoldAct { by: r.free_text(8)?, at, reason: r.free_text(10)? }) });
    Ok(Hold { id: HoldId(r.count(0)?), scope, placed, released: released.transpose()? })
}

/// Which steps of the journal an end of retention is about: those of occurrences that are over.
macro_rules! steps_that_are_over {
    () => {
        " FROM journal AS j WHERE j.tenant = $1 AND j.gateway = $2 AND j.decided_at >= $3 AND j.decided_at < $4
            AND NOT EXISTS (SELECT 1 FROM occurrence o WHERE o.tenant = j.tenant AND o.gateway = j.gateway
              AND o.epoch = j.epoch AND o.machine = j.machine AND o.alarm = j.alarm AND o.occurrence = j.occurrence
              AND o.active)"
    };
}

async fn journal_usage(
    t: &Transaction<'_>,
    (tenant, gateway): (&TenantId, &GatewayId),
    before: Timestamp,
) -> Result<Vec<(Timestamp, Dropped)>, Fault> {
    // Microseconds of a day; the remainder is that of a floor before 1970 too.
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let mut days: BTreeMap<Timestamp, Dropped> = BTreeMap::new();
    let (tenant, gateway, before) = (tenant.as_str(), gateway.as_str(), before.micros());
    let steps = concat!(
        "SELECT j.decided_at - ((j.decided_at % $5) + $5) % $5 AS day, count(*)",
        steps_that_are_over!(),
        " GROUP BY day"
    );
    let read = |r: &Row| Ok((r.time(0)?, r.count(1)?));
    let found = rows(t, steps, &[&tenant, &gateway, &i64::MIN, &before, &day], read).await?;
    for (start, count) in found {
        days.entry(start).or_default().rows = count;
    }
    let batches =
        "SELECT last_at - ((last_at % $5) + $5) % $5 AS day, sum(octet_length(body))::bigint FROM batch
                   WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND last_at < $4 GROUP BY day";
    let stream = stream_code(StreamId::Alarm);
    let found = rows(t, batches, &[&tenant, &gateway, &stream, &before, &day], read).await?;
    for (start, bytes) in found {
        days.entry(start).or_default().bytes = bytes;
    }
    Ok(days.into_iter().collect())
}

async fn drop_journal(
    t: &Transaction<'_>,
    (tenant, gateway): (&TenantId, &GatewayId),
    range: &Range<Timestamp>,
) -> Result<Dropped, Fault> {
    let (tenant, gateway) = (tenant.as_str(), gateway.as_str());
    let (start, end) = (range.start.micros(), range.end.micros());
    let steps = concat!("DELETE", steps_that_are_over!());
    let gone = execute(t, steps, &[&tenant, &gateway, &start, &end]).await?;
    let over = "DELETE FROM occurrence WHERE tenant = $1 AND gateway = $2 AND NOT active AND decided_at >= $3
                AND decided_at < $4";
    execute(t, over, &[&tenant, &gateway, &start, &end]).await?;
    let batches =
        "WITH gone AS (DELETE FROM batch WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND last_at >= $4
                     AND last_at < $5 RETURNING octet_length(body) AS bytes)
                   SELECT coalesce(sum(bytes), 0)::bigint FROM gone";
    let stream = stream_code(StreamId::Alarm);
    let bytes = row(t, batches, &[&tenant, &gateway, &stream, &start, &end], |r| r.count(0)).await?;
    Ok(Dropped { rows: gone, bytes: bytes.unwrap_or(0) })
}
