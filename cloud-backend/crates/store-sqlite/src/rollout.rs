//! Updates of agents in waves, what is desired of gateways, and what they say about it: the port of rollouts.

use std::time::Duration;

use plant_model::{GatewayId, TenantId};
use protocol::{AgentVersion, UpdateReport, UpdateRevision};
use rollouts::{
    Change, Conflict, Direction, Gate, GatewayName, Member, NewRollout, Plan, Progress, ROLLOUTS_KEPT,
    ReceivedUpdate, Rollout, RolloutId, RolloutState, RolloutStore, RolloutSummary, UpdateStanding, Wish,
    WishChange,
};
use rusqlite::{Connection, Row, params};
use tenancy::{PortFuture, StoreError};

use crate::SqliteStore;
use crate::codec::{Columns, execute, int, row, rows};
use crate::enrolment::require_gateway;
use crate::error::Fault;

/// What [`read_plan`] and [`read_progress`] read.
macro_rules! rollout_columns {
    () => {
        "id, version, channel, waves, soak, max_failures, offline_wait, patience, author, comment, created_at,
         direction, state, wave, reason, changed_at"
    };
}
/// How many these are.
const ROLLOUT_COLUMNS: usize = 16;

impl RolloutStore for SqliteStore {
    fn start_rollout(
        &self,
        new: NewRollout,
    ) -> PortFuture<'_, Result<Result<Rollout, Conflict>, StoreError>> {
        Box::pin(self.change(move |c| start(c, new)))
    }

    fn change_rollout(&self, change: Change) -> PortFuture<'_, Result<Result<(), Conflict>, StoreError>> {
        Box::pin(self.change(move |c| apply(c, &change)))
    }

    fn rollout(&self, id: RolloutId) -> PortFuture<'_, Result<Option<Rollout>, StoreError>> {
        Box::pin(self.control(move |c| rollout(c, id)))
    }

    fn unfinished_rollouts(&self) -> PortFuture<'_, Result<Vec<RolloutId>, StoreError>> {
        let sql = "SELECT id FROM rollout WHERE state NOT IN ('completed', 'aborted') ORDER BY id";
        Box::pin(self.control(move |c| rows(c, sql, [], |r| id_in(r, 0))))
    }

    fn newest_rollouts(&self, limit: u32) -> PortFuture<'_, Result<Vec<RolloutSummary>, StoreError>> {
        let sql = concat!(
            "SELECT ",
            rollout_columns!(),
            ", (SELECT count(*) FROM rollout_member m WHERE m.rollout = r.id),
               (SELECT count(*) FROM rollout_member m WHERE m.rollout = r.id AND m.wave IS NOT NULL)
             FROM rollout r ORDER BY id DESC LIMIT ?1"
        );
        Box::pin(self.control(move |c| {
            rows(c, sql, [limit], |r| {
                Ok(RolloutSummary {
                    id: id_in(r, 0)?,
                    plan: read_plan(r)?,
                    progress: read_progress(r)?,
                    gateways: r.position(ROLLOUT_COLUMNS)?,
                    told: r.position(ROLLOUT_COLUMNS + 1)?,
                })
            })
        }))
    }

    fn update_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<UpdateStanding>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        Box::pin(self.control(move |c| {
            let found = standings(c, &tenant, Some(&gateway))?;
            Ok(found.into_iter().next().map(|(_, standing)| standing))
        }))
    }

    fn update_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, UpdateStanding)>, StoreError>> {
        let tenant = tenant.clone();
        Box::pin(self.control(move |c| standings(c, &tenant, None)))
    }

    fn wishes<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, Wish)>, StoreError>> {
        let tenant = tenant.clone();
        let sql = "SELECT gateway, revision, version, channel, rollout, wished_at FROM update_wish
                   WHERE tenant = ?1 AND version <> '' ORDER BY gateway";
        Box::pin(
            self.control(move |c| rows(c, sql, [tenant.as_str()], |r| Ok((r.parsed(0)?, read_wish(r)?)))),
        )
    }

    fn save_update_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedUpdate,
    ) -> PortFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |c| save_report(c, &tenant, &gateway, &received)))
    }
}

fn start(c: &Connection, new: NewRollout) -> Result<Result<Rollout, Conflict>, Fault> {
    for name in &new.gateways {
        require_gateway(c, &name.tenant, &name.gateway)?;
        if let Some(conflict) = holder(c, name)? {
            return Ok(Err(conflict));
        }
    }
    let last = row(c, "SELECT id FROM rollout ORDER BY id DESC LIMIT 1", [], |r| id_in(r, 0))?;
    let id = last.map_or(Some(RolloutId::MIN), |last| last.checked_add(1));
    let id = id.ok_or_else(|| Fault::Contradiction("there are no more numbers of rollouts".to_owned()))?;
    let progress = Progress {
        direction: Direction::Forward,
        state: RolloutState::Running,
        wave: 0,
        reason: String::new(),
        changed_at: new.plan.created_at,
    };
    insert(c, id, &new.plan, &progress)?;
    let members: Vec<Member> = new.gateways.into_iter().map(Member::new).collect();
    let sql = "INSERT INTO rollout_member (rollout, position, tenant, gateway, wave, former, excused, holds)
               VALUES (?1, ?2, ?3, ?4, NULL, '', 0, 1)";
    for (position, Member { gateway, .. }) in members.iter().enumerate() {
        let (tenant, gateway) = (gateway.tenant.as_str(), gateway.gateway.as_str());
        execute(c, sql, params![id.get(), int(position as u64), tenant, gateway])?;
    }
    trim(c, id)?;
    Ok(Ok(Rollout { id, plan: new.plan, members, progress, revision: 0 }))
}

fn insert(c: &Connection, id: RolloutId, plan: &Plan, progress: &Progress) -> Result<(), Fault> {
    let sql = "INSERT INTO rollout (id, version, channel, waves, soak, max_failures, offline_wait, patience, author,
                 comment, created_at, direction, state, wave, reason, changed_at, revision)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 0)";
    let added = params![
        id.get(),
        plan.version.as_str(),
        plan.channel.as_str(),
        plan.waves.to_string(),
        micros(plan.gate.soak()),
        plan.gate.max_failures(),
        micros(plan.gate.offline_wait()),
        micros(plan.gate.patience()),
        plan.author,
        plan.comment,
        plan.created_at.micros(),
        progress.direction.name(),
        progress.state.name(),
        progress.wave,
        progress.reason,
        progress.changed_at.micros(),
    ];
    execute(c, sql, added)?;
    Ok(())
}

/// Removes what is older than what is kept, and finished.
fn trim(c: &Connection, newest: RolloutId) -> Result<(), Fault> {
    let last_gone = newest.get().saturating_sub(ROLLOUTS_KEPT);
    let gone = "SELECT id FROM rollout WHERE id <= ?1 AND state IN ('completed', 'aborted')";
    execute(c, &format!("DELETE FROM rollout_member WHERE rollout IN ({gone})"), [last_gone])?;
    execute(c, &format!("DELETE FROM rollout WHERE id IN ({gone})"), [last_gone])?;
    Ok(())
}

/// The unfinished rollout that a gateway belongs to.
fn holder(c: &Connection, name: &GatewayName) -> Result<Option<Conflict>, Fault> {
    let sql = "SELECT rollout FROM rollout_member WHERE tenant = ?1 AND gateway = ?2 AND holds = 1";
    let found = row(c, sql, [name.tenant.as_str(), name.gateway.as_str()], |r| id_in(r, 0))?;
    Ok(found.map(|rollout| Conflict::Taken { gateway: name.clone(), rollout }))
}

fn apply(c: &Connection, change: &Change) -> Result<Result<(), Conflict>, Fault> {
    let Some(now) = rollout(c, change.rollout)? else {
        return Err(Fault::NotFound { kind: "rollout", id: change.rollout.to_string() });
    };
    if now.revision != change.on {
        return Ok(Err(Conflict::Moved));
    }
    let holds = !change.progress.state.is_finished();
    if holds && now.progress.state.is_finished() {
        for member in &now.members {
            if let Some(conflict) = holder(c, &member.gateway)? {
                return Ok(Err(conflict));
            }
        }
    }
    let sql = "UPDATE rollout SET direction = ?2, state = ?3, wave = ?4, reason = ?5, changed_at = ?6,
               revision = revision + 1 WHERE id = ?1";
    let Progress { direction, state, wave, reason, changed_at } = &change.progress;
    let id = change.rollout.get();
    execute(c, sql, params![id, direction.name(), state.name(), wave, reason, changed_at.micros()])?;
    let sql = "UPDATE rollout_member SET holds = ?2 WHERE rollout = ?1 AND holds <> ?2";
    execute(c, sql, params![id, holds])?;
    save_members(c, change)?;
    change.wishes.iter().try_for_each(|wish| save_wish(c, change, wish)).map(Ok)
}

fn save_members(c: &Connection, change: &Change) -> Result<(), Fault> {
    let sql =
        "UPDATE rollout_member SET wave = ?3, former = ?4, excused = ?5 WHERE rollout = ?1 AND position = ?2";
    for (position, Member { wave, former, excused, .. }) in &change.members {
        let former = former.as_ref().map_or("", AgentVersion::as_str);
        execute(c, sql, params![change.rollout.get(), int(*position as u64), wave, former, excused])?;
    }
    Ok(())
}

fn save_wish(c: &Connection, change: &Change, wish: &WishChange) -> Result<(), Fault> {
    let sql = "INSERT INTO update_wish (tenant, gateway, revision, version, channel, rollout, wished_at)
               VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET revision = revision + 1, version = excluded.version,
                 channel = excluded.channel, rollout = excluded.rollout, wished_at = excluded.wished_at";
    let GatewayName { tenant, gateway } = &wish.gateway;
    let version = wish.version.as_ref().map_or("", AgentVersion::as_str);
    let (channel, rollout) = (wish.channel.as_str(), change.rollout.get());
    let added = params![tenant.as_str(), gateway.as_str(), version, channel, rollout, change.at.micros()];
    execute(c, sql, added)?;
    Ok(())
}

fn rollout(c: &Connection, id: RolloutId) -> Result<Option<Rollout>, Fault> {
    let sql = concat!("SELECT ", rollout_columns!(), ", revision FROM rollout WHERE id = ?1");
    let found =
        row(c, sql, [id.get()], |r| Ok((read_plan(r)?, read_progress(r)?, r.position(ROLLOUT_COLUMNS)?)))?;
    let Some((plan, progress, revision)) = found else { return Ok(None) };
    let sql = "SELECT tenant, gateway, wave, former, excused FROM rollout_member WHERE rollout = ?1 ORDER BY position";
    let members = rows(c, sql, [id.get()], |r| {
        Ok(Member {
            gateway: GatewayName { tenant: r.parsed(0)?, gateway: r.parsed(1)? },
            wave: r.optional_number(2)?.map(|_| r.position(2)).transpose()?,
            former: r.optional_parsed(3)?,
            excused: r.get(4)?,
        })
    })?;
    Ok(Some(Rollout { id, plan, members, progress, revision }))
}

fn standings(
    c: &Connection,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, UpdateStanding)>, Fault> {
    let sql =
        "SELECT g.gateway, w.revision, w.version, w.channel, w.rollout, w.wished_at, r.received_at, r.since, r.report
         FROM gateway g
         LEFT JOIN update_wish w ON w.tenant = g.tenant AND w.gateway = g.gateway
         LEFT JOIN update_report r ON r.tenant = g.tenant AND r.gateway = g.gateway
         WHERE g.tenant = ?1 AND (?2 IS NULL OR g.gateway = ?2) ORDER BY g.gateway";
    rows(c, sql, params![tenant.as_str(), gateway.map(GatewayId::as_str)], |r| {
        let wish = r.optional_number(1)?.map(|_| read_wish(r)).transpose()?;
        let received = r.optional_number(6)?.map(|_| read_report(r)).transpose()?;
        Ok((r.parsed(0)?, UpdateStanding { wish, received }))
    })
}

fn read_wish(r: &Row<'_>) -> Result<Wish, Fault> {
    let revision = UpdateRevision::new(r.position(1)?);
    Ok(Wish {
        revision: revision.ok_or_else(|| Fault::Unreadable("a wish has the number 0".to_owned()))?,
        version: r.optional_parsed(2)?,
        channel: r.parsed(3)?,
        rollout: id_in(r, 4)?,
        wished_at: r.time(5)?,
    })
}

fn read_report(r: &Row<'_>) -> Result<ReceivedUpdate, Fault> {
    let report: UpdateReport =
        serde_json::from_str(&r.text(8)?).map_err(|e| Fault::unreadable("a report of an update", &e))?;
    Ok(ReceivedUpdate { report, received_at: r.time(6)?, since: r.time(7)? })
}

fn save_report(
    c: &Connection,
    tenant: &TenantId,
    gateway: &GatewayId,
    received: &ReceivedUpdate,
) -> Result<(), Fault> {
    require_gateway(c, tenant, gateway)?;
    let sql =
        "INSERT INTO update_report (tenant, gateway, received_at, since, report) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET received_at = excluded.received_at, since = excluded.since,
                 report = excluded.report";
    let report = serde_json::to_string(&received.report).map_err(|e| Fault::unreadable("a report", &e))?;
    let (at, since) = (received.received_at.micros(), received.since.micros());
    execute(c, sql, params![tenant.as_str(), gateway.as_str(), at, since, report])?;
    Ok(())
}

fn read_plan(r: &Row<'_>) -> Result<Plan, Fault> {
    let gate = Gate::new(length_in(r, 4)?, r.position(5)?, length_in(r, 6)?, length_in(r, 7)?);
    Ok(Plan {
        version: r.parsed(1)?,
        channel: r.parsed(2)?,
        waves: r.parsed(3)?,
        gate: gate.map_err(|e| Fault::unreadable("a rollout", &e))?,
        author: r.text(8)?,
        comment: r.text(9)?,
        created_at: r.time(10)?,
    })
}

fn read_progress(r: &Row<'_>) -> Result<Progress, Fault> {
    Ok(Progress {
        direction: r.word(11, Direction::from_name)?,
        state: r.word(12, RolloutState::from_name)?,
        wave: r.position(13)?,
        reason: r.text(14)?,
        changed_at: r.time(15)?,
    })
}

fn id_in(r: &Row<'_>, column: usize) -> Result<RolloutId, Fault> {
    RolloutId::new(r.position(column)?)
        .ok_or_else(|| Fault::Unreadable("a rollout has the number 0".to_owned()))
}

fn length_in(r: &Row<'_>, column: usize) -> Result<Duration, Fault> {
    r.count(column).map(Duration::from_micros)
}

/// The lengths of a gate have an end of days.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
