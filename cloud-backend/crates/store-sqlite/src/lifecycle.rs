//! Policies, holds, turns and the end of the journal: the port of `tiering`.

use std::collections::BTreeMap;
use std::ops::Range;

use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::StreamId;
use rusqlite::{Connection, Row, params};
use tiering::{
    DAY, Dropped, Hold, HoldAct, HoldId, HoldScope, POLICY_VERSIONS_KEPT, Policy, PolicyConflict,
    PolicyStore, PortFuture, RunRecord, SavedPolicy,
};

use crate::SqliteStore;
use crate::codec::{Columns, execute, int, row, rows};
use crate::error::Fault;
use crate::writer::Target;

impl SqliteStore {
    fn look_at_lifecycle<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> PortFuture<'a, T> {
        let target = Target::Tenant(tenant.clone());
        Box::pin(async move { Ok(self.readers.read(target, work).await?) })
    }

    fn change_lifecycle<'a, T: Send + 'static>(
        &'a self,
        tenant: &TenantId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> PortFuture<'a, T> {
        let target = Target::Tenant(tenant.clone());
        Box::pin(async move { Ok(self.writer.write(target, work).await?) })
    }
}

impl PolicyStore for SqliteStore {
    fn policies<'a>(&'a self, tenant: &'a TenantId, limit: u32) -> PortFuture<'a, Vec<SavedPolicy>> {
        let sql = "SELECT version, policy, saved_by, saved_at, reason FROM tier_policy ORDER BY version DESC LIMIT ?1";
        self.look_at_lifecycle(tenant, move |c| rows(c, sql, [limit], read_policy))
    }

    fn save_policy<'a>(
        &'a self,
        tenant: &'a TenantId,
        replaces: u32,
        policy: Policy,
        saved: HoldAct,
    ) -> PortFuture<'a, Result<u32, PolicyConflict>> {
        self.change_lifecycle(tenant, move |c| save_policy(c, replaces, &policy, &saved))
    }

    fn holds<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Vec<Hold>> {
        let sql = "SELECT id, gateway, machine, start_at, end_at, placed_by, placed_at, reason, released_by, released_at,
                     release_reason FROM legal_hold ORDER BY id";
        self.look_at_lifecycle(tenant, move |c| rows(c, sql, [], read_hold))
    }

    fn place_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        scope: HoldScope,
        placed: HoldAct,
    ) -> PortFuture<'a, HoldId> {
        let sql = "INSERT INTO legal_hold (gateway, machine, start_at, end_at, placed_by, placed_at, reason)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.change_lifecycle(tenant, move |c| {
            let added = params![
                scope.gateway.as_ref().map(GatewayId::as_str),
                scope.machine.as_ref().map(MachineId::as_str),
                scope.start.micros(),
                scope.end.micros(),
                placed.by,
                placed.at.micros(),
                placed.reason
            ];
            execute(c, sql, added)?;
            Ok(HoldId(c.last_insert_rowid().cast_unsigned()))
        })
    }

    fn release_hold<'a>(
        &'a self,
        tenant: &'a TenantId,
        hold: HoldId,
        released: HoldAct,
    ) -> PortFuture<'a, bool> {
        let sql = "UPDATE legal_hold SET released_by = ?2, released_at = ?3, release_reason = ?4
                   WHERE id = ?1 AND released_by IS NULL";
        self.change_lifecycle(tenant, move |c| {
            let changed = params![int(hold.0), released.by, released.at.micros(), released.reason];
            Ok(execute(c, sql, changed)? == 1)
        })
    }

    fn take_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> PortFuture<'a, bool> {
        let sql = "INSERT INTO tier_turn (id, holder, until_at, outcome) VALUES (1, ?1, ?2, '')
                   ON CONFLICT DO UPDATE SET holder = excluded.holder, until_at = excluded.until_at
                   WHERE tier_turn.holder IN ('', excluded.holder) OR tier_turn.until_at <= ?3";
        let holder = holder.to_owned();
        self.change_lifecycle(tenant, move |c| {
            Ok(execute(c, sql, params![holder, until.micros(), now.micros()])? == 1)
        })
    }

    fn end_turn<'a>(
        &'a self,
        tenant: &'a TenantId,
        holder: &'a str,
        now: Timestamp,
        outcome: &'a str,
    ) -> PortFuture<'a, ()> {
        let sql = "UPDATE tier_turn SET holder = '', ended_at = ?2, outcome = ?3 WHERE holder = ?1";
        let (holder, outcome) = (holder.to_owned(), outcome.to_owned());
        self.change_lifecycle(tenant, move |c| {
            execute(c, sql, params![holder, now.micros(), outcome])?;
            Ok(())
        })
    }

    fn turn<'a>(&'a self, tenant: &'a TenantId) -> PortFuture<'a, Option<RunRecord>> {
        let sql = "SELECT holder, until_at, ended_at, outcome FROM tier_turn";
        self.look_at_lifecycle(tenant, move |c| {
            row(c, sql, [], |r| {
                let (holder, until, ended_at) = (r.text(0)?, r.time(1)?, r.optional_time(2)?);
                Ok(RunRecord { holder, until, ended_at, outcome: r.text(3)? })
            })
        })
    }

    fn journal_usage<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        before: Timestamp,
    ) -> PortFuture<'a, Vec<(Timestamp, Dropped)>> {
        let gateway = gateway.clone();
        self.look_at_lifecycle(tenant, move |c| journal_usage(c, &gateway, before))
    }

    fn drop_journal<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Dropped> {
        let gateway = gateway.clone();
        self.change_lifecycle(tenant, move |c| drop_journal(c, &gateway, &range))
    }
}

fn save_policy(
    c: &Connection,
    replaces: u32,
    policy: &Policy,
    saved: &HoldAct,
) -> Result<Result<u32, PolicyConflict>, Fault> {
    let newest = "SELECT coalesce(max(version), 0) FROM tier_policy";
    let newest = row(c, newest, [], |r| r.position(0))?.unwrap_or(0);
    if newest != replaces {
        return Ok(Err(PolicyConflict { newest }));
    }
    let version = newest + 1;
    let sql =
        "INSERT INTO tier_policy (version, policy, saved_by, saved_at, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
    let document = policy.to_value().to_string();
    execute(c, sql, params![version, document, saved.by, saved.at.micros(), saved.reason])?;
    let trim = "DELETE FROM tier_policy WHERE version <= ?1";
    execute(c, trim, [version.saturating_sub(POLICY_VERSIONS_KEPT)])?;
    Ok(Ok(version))
}

fn read_policy(r: &Row<'_>) -> Result<SavedPolicy, Fault> {
    let version = r.position(0)?;
    let policy = Policy::from_json(&r.text(1)?);
    let policy = policy.map_err(|e| Fault::unreadable(&format!("policy {version}"), &e))?;
    let saved = HoldAct { by: r.text(2)?, at: r.time(3)?, reason: r.text(4)? };
    Ok(SavedPolicy { version, policy, saved })
}

fn read_hold(r: &Row<'_>) -> Result<Hold, Fault> {
    let text = |index: usize| r.get::<_, Option<String>>(index);
    let (gateway, machine) = (text(1)?, text(2)?);
    let scope = HoldScope {
        gateway: gateway
            .map(|id| GatewayId::new(&id))
            .transpose()
            .map_err(|e| Fault::unreadable("a hold", &e))?,
        machine: machine
            .map(|id| MachineId::new(&id))
            .transpose()
            .map_err(|e| Fault::unreadable("a hold", &e))?,
        start: r.time(3)?,
        end: r.time(4)?,
    };
    let placed = HoldAct { by: r.text(5)?, at: r.time(6)?, reason: r.text(7)? };
    let released = match (text(8)?, r.optional_time(9)?, text(10)?) {
        (Some(by), Some(at), Some(reason)) => Some(HoldAct { by, at, reason }),
        _ => None,
    };
    Ok(Hold { id: HoldId(r.count(0)?), scope, placed, released })
}

/// Which steps of the journal an end of retention is about: those of occurrences that are over.
macro_rules! steps_that_are_over {
    () => {
        " FROM journal AS j WHERE j.gateway = ?1 AND j.decided_at >= ?2 AND j.decided_at < ?3 AND NOT EXISTS
            (SELECT 1 FROM occurrence o WHERE o.gateway = j.gateway AND o.epoch = j.epoch AND o.machine = j.machine
               AND o.alarm = j.alarm AND o.occurrence = j.occurrence AND o.active = 1)"
    };
}

fn journal_usage(
    c: &Connection,
    gateway: &GatewayId,
    before: Timestamp,
) -> Result<Vec<(Timestamp, Dropped)>, Fault> {
    // Microseconds of a day; the remainder is that of a floor before 1970 too.
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let mut days: BTreeMap<Timestamp, Dropped> = BTreeMap::new();
    let steps = concat!(
        "SELECT j.decided_at - ((j.decided_at % ?4) + ?4) % ?4 AS day, count(*)",
        steps_that_are_over!(),
        " GROUP BY day"
    );
    let of = params![gateway.as_str(), i64::MIN, before.micros(), day];
    for (start, count) in rows(c, steps, of, |r| Ok((r.time(0)?, r.count(1)?)))? {
        days.entry(start).or_default().rows = count;
    }
    let batches = "SELECT last_at - ((last_at % ?4) + ?4) % ?4 AS day, sum(length(body)) FROM batch
                   WHERE gateway = ?1 AND stream = ?2 AND last_at < ?3 GROUP BY day";
    let of = params![gateway.as_str(), StreamId::Alarm.code(), before.micros(), day];
    for (start, bytes) in rows(c, batches, of, |r| Ok((r.time(0)?, r.count(1)?)))? {
        days.entry(start).or_default().bytes = bytes;
    }
    Ok(days.into_iter().collect())
}

fn drop_journal(c: &Connection, gateway: &GatewayId, range: &Range<Timestamp>) -> Result<Dropped, Fault> {
    let (start, end) = (range.start.micros(), range.end.micros());
    let steps = concat!("DELETE", steps_that_are_over!());
    let gone = execute(c, steps, params![gateway.as_str(), start, end])?;
    let over =
        "DELETE FROM occurrence WHERE gateway = ?1 AND active = 0 AND decided_at >= ?2 AND decided_at < ?3";
    execute(c, over, params![gateway.as_str(), start, end])?;
    let of = params![gateway.as_str(), StreamId::Alarm.code(), start, end];
    let bytes = "SELECT coalesce(sum(length(body)), 0) FROM batch
                 WHERE gateway = ?1 AND stream = ?2 AND last_at >= ?3 AND last_at < ?4";
    let bytes = row(c, bytes, of, |r| r.count(0))?.unwrap_or(0);
    let batches = "DELETE FROM batch WHERE gateway = ?1 AND stream = ?2 AND last_at >= ?3 AND last_at < ?4";
    execute(c, batches, of)?;
    Ok(Dropped { rows: gone as u64, bytes })
}
