//! Updates of agents in waves, what is desired of gateways, and what they say about it: the port of rollouts.
//!
//! Rollouts and wishes are written by the platform, for gateways of all tenants; reports are the tenant's.

use std::time::Duration;

use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId};
use protocol::{AgentVersion, UpdateReport, UpdateRevision};
use rollouts::{
    Change, Conflict, Direction, Gate, GatewayName, Member, NewRollout, Plan, Progress, ROLLOUTS_KEPT,
    ReceivedUpdate, Rollout, RolloutId, RolloutState, RolloutStore, RolloutSummary, UpdateStanding, Wish,
};
use tenancy::{PortFuture, StoreError};
use tokio_postgres::Row;

use crate::PostgresStore;
use crate::codec::{Columns, escaped, execute, row, rows};
use crate::connections::Scope;
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

impl RolloutStore for PostgresStore {
    fn start_rollout(
        &self,
        new: NewRollout,
    ) -> PortFuture<'_, Result<Result<Rollout, Conflict>, StoreError>> {
        self.change(Scope::Platform, |t| Box::pin(async move { start(t, new).await }))
    }

    fn change_rollout(&self, change: Change) -> PortFuture<'_, Result<Result<(), Conflict>, StoreError>> {
        self.change(Scope::Platform, |t| Box::pin(async move { apply(t, &change).await }))
    }

    fn rollout(&self, id: RolloutId) -> PortFuture<'_, Result<Option<Rollout>, StoreError>> {
        self.look(Scope::Platform, move |t| Box::pin(rollout(t, id)))
    }

    fn unfinished_rollouts(&self) -> PortFuture<'_, Result<Vec<RolloutId>, StoreError>> {
        let sql = "SELECT id FROM rollout WHERE state NOT IN ('completed', 'aborted') ORDER BY id";
        self.look(Scope::Platform, move |t| Box::pin(rows(t, sql, &[], |r| id_in(r, 0))))
    }

    fn newest_rollouts(&self, limit: u32) -> PortFuture<'_, Result<Vec<RolloutSummary>, StoreError>> {
        let sql = concat!(
            "SELECT ",
            rollout_columns!(),
            ", (SELECT count(*) FROM rollout_member m WHERE m.rollout = r.id),
               (SELECT count(*) FROM rollout_member m WHERE m.rollout = r.id AND m.wave IS NOT NULL)
             FROM rollout r ORDER BY id DESC LIMIT $1"
        );
        self.look(Scope::Platform, move |t| {
            Box::pin(async move {
                rows(t, sql, &[&i64::from(limit)], |r| {
                    Ok(RolloutSummary {
                        id: id_in(r, 0)?,
                        plan: read_plan(r)?,
                        progress: read_progress(r)?,
                        gateways: r.position(ROLLOUT_COLUMNS)?,
                        told: r.position(ROLLOUT_COLUMNS + 1)?,
                    })
                })
                .await
            })
        })
    }

    fn update_standing<'a>(
        &'a self,
        tenant: &'a TenantId,
        gateway: &'a GatewayId,
    ) -> PortFuture<'a, Result<Option<UpdateStanding>, StoreError>> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.look(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move {
                let found = standings(t, &tenant, Some(&gateway)).await?;
                Ok(found.into_iter().next().map(|(_, standing)| standing))
            })
        })
    }

    fn update_standings<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, UpdateStanding)>, StoreError>> {
        let tenant = tenant.clone();
        self.look(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { standings(t, &tenant, None).await })
        })
    }

    fn wishes<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> PortFuture<'a, Result<Vec<(GatewayId, Wish)>, StoreError>> {
        let tenant = tenant.clone();
        let sql = "SELECT gateway, revision, version, channel, rollout, wished_at FROM update_wish
                   WHERE tenant = $1 AND version IS NOT NULL ORDER BY gateway";
        self.look(Scope::Control(tenant.clone()), move |t| {
            Box::pin(
                async move { rows(t, sql, &[&tenant.as_str()], |r| Ok((r.parsed(0)?, read_wish(r)?))).await },
            )
        })
    }

    fn save_update_report(
        &self,
        tenant: TenantId,
        gateway: GatewayId,
        received: ReceivedUpdate,
    ) -> PortFuture<'_, Result<(), StoreError>> {
        self.change(Scope::Control(tenant.clone()), |t| {
            Box::pin(async move { save_report(t, &tenant, &gateway, &received).await })
        })
    }
}

/// Writes of rollouts take turns: two that begin at a time may want the same gateway.
async fn take_turns(t: &Transaction<'_>) -> Result<(), Fault> {
    row(t, "SELECT pg_advisory_xact_lock(hashtextextended('rollouts', 0))", &[], |_| Ok(())).await?;
    Ok(())
}

/// The ids of gateways as two columns.
fn columns_of<'a>(names: impl Iterator<Item = &'a GatewayName>) -> (Vec<&'a str>, Vec<&'a str>) {
    names.map(|name| (name.tenant.as_str(), name.gateway.as_str())).unzip()
}

async fn start(t: &Transaction<'_>, new: NewRollout) -> Result<Result<Rollout, Conflict>, Fault> {
    take_turns(t).await?;
    require_gateways(t, &new.gateways).await?;
    if let Some(conflict) = holder(t, new.gateways.iter()).await? {
        return Ok(Err(conflict));
    }
    let last = row(t, "SELECT id FROM rollout ORDER BY id DESC LIMIT 1", &[], |r| id_in(r, 0)).await?;
    let id = last.map_or(Some(RolloutId::MIN), |last| last.checked_add(1));
    let id = id.ok_or_else(|| Fault::Contradiction("there are no more numbers of rollouts".to_owned()))?;
    let progress = Progress {
        direction: Direction::Forward,
        state: RolloutState::Running,
        wave: 0,
        reason: String::new(),
        changed_at: new.plan.created_at,
    };
    insert(t, id, &new.plan, &progress).await?;
    let (tenants, gateways) = columns_of(new.gateways.iter());
    let sql = "INSERT INTO rollout_member (rollout, position, tenant, gateway, excused, holds)
               SELECT $1, position - 1, tenant, gateway, false, true
               FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS name (tenant, gateway, position)";
    execute(t, sql, &[&i64::from(id.get()), &tenants, &gateways]).await?;
    trim(t, id).await?;
    let members = new.gateways.into_iter().map(Member::new).collect();
    Ok(Ok(Rollout { id, plan: new.plan, members, progress, revision: 0 }))
}

async fn require_gateways(t: &Transaction<'_>, names: &[GatewayName]) -> Result<(), Fault> {
    let (tenants, gateways) = columns_of(names.iter());
    let sql = "SELECT name.tenant || '/' || name.gateway FROM unnest($1::text[], $2::text[]) AS name (tenant, gateway)
               LEFT JOIN gateway g ON g.tenant = name.tenant AND g.gateway = name.gateway
               WHERE g.gateway IS NULL LIMIT 1";
    match row(t, sql, &[&tenants, &gateways], |r| Ok(r.text(0)?.to_owned())).await? {
        Some(id) => Err(Fault::NotFound { kind: "gateway", id }),
        None => Ok(()),
    }
}

/// The first of these gateways that an unfinished rollout has.
async fn holder<'a>(
    t: &Transaction<'_>,
    names: impl Iterator<Item = &'a GatewayName>,
) -> Result<Option<Conflict>, Fault> {
    let (tenants, gateways) = columns_of(names);
    let sql = "SELECT m.tenant, m.gateway, m.rollout
               FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS name (tenant, gateway, position)
               JOIN rollout_member m ON m.tenant = name.tenant AND m.gateway = name.gateway AND m.holds
               ORDER BY name.position LIMIT 1";
    row(t, sql, &[&tenants, &gateways], |r| {
        let gateway = GatewayName { tenant: r.parsed(0)?, gateway: r.parsed(1)? };
        Ok(Conflict::Taken { gateway, rollout: id_in(r, 2)? })
    })
    .await
}

async fn insert(t: &Transaction<'_>, id: RolloutId, plan: &Plan, progress: &Progress) -> Result<(), Fault> {
    let sql = "INSERT INTO rollout (id, version, channel, waves, soak, max_failures, offline_wait, patience, author,
                 comment, created_at, direction, state, wave, reason, changed_at, revision)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0)";
    execute(
        t,
        sql,
        &[
            &i64::from(id.get()),
            &plan.version.as_str(),
            &plan.channel.as_str(),
            &plan.waves.to_string(),
            &micros(plan.gate.soak()),
            &i64::from(plan.gate.max_failures()),
            &micros(plan.gate.offline_wait()),
            &micros(plan.gate.patience()),
            &escaped(&plan.author),
            &escaped(&plan.comment),
            &plan.created_at.micros(),
            &progress.direction.name(),
            &progress.state.name(),
            &i64::from(progress.wave),
            &escaped(&progress.reason),
            &progress.changed_at.micros(),
        ],
    )
    .await?;
    Ok(())
}

/// Removes what is older than what is kept, and finished.
async fn trim(t: &Transaction<'_>, newest: RolloutId) -> Result<(), Fault> {
    let last_gone = i64::from(newest.get().saturating_sub(ROLLOUTS_KEPT));
    let members = "DELETE FROM rollout_member WHERE rollout <= $1 AND NOT holds";
    execute(t, members, &[&last_gone]).await?;
    let sql = "DELETE FROM rollout WHERE id <= $1 AND state IN ('completed', 'aborted')";
    execute(t, sql, &[&last_gone]).await?;
    Ok(())
}

async fn apply(t: &Transaction<'_>, change: &Change) -> Result<Result<(), Conflict>, Fault> {
    take_turns(t).await?;
    let Some(now) = rollout(t, change.rollout).await? else {
        return Err(Fault::NotFound { kind: "rollout", id: change.rollout.to_string() });
    };
    if now.revision != change.on {
        return Ok(Err(Conflict::Moved));
    }
    let holds = !change.progress.state.is_finished();
    if holds
        && now.progress.state.is_finished()
        && let Some(conflict) = holder(t, now.members.iter().map(|member| &member.gateway)).await?
    {
        return Ok(Err(conflict));
    }
    let sql = "UPDATE rollout SET direction = $2, state = $3, wave = $4, reason = $5, changed_at = $6,
               revision = revision + 1 WHERE id = $1";
    let Progress { direction, state, wave, reason, changed_at } = &change.progress;
    let (id, wave) = (i64::from(change.rollout.get()), i64::from(*wave));
    let (direction, state) = (direction.name(), state.name());
    execute(t, sql, &[&id, &direction, &state, &wave, &escaped(reason), &changed_at.micros()]).await?;
    let sql = "UPDATE rollout_member SET holds = $2 WHERE rollout = $1 AND holds <> $2";
    execute(t, sql, &[&id, &holds]).await?;
    save_members(t, change).await?;
    save_wishes(t, change).await?;
    Ok(Ok(()))
}

async fn save_members(t: &Transaction<'_>, change: &Change) -> Result<(), Fault> {
    let (mut positions, mut waves, mut formers, mut excused) = (vec![], vec![], vec![], vec![]);
    for (position, member) in &change.members {
        positions.push(i64::try_from(*position).unwrap_or(i64::MAX));
        waves.push(member.wave.map(i64::from));
        formers.push(member.former.as_ref().map(AgentVersion::as_str));
        excused.push(member.excused);
    }
    let sql = "UPDATE rollout_member m SET wave = new.wave, former = new.former, excused = new.excused
               FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::boolean[])
                 AS new (position, wave, former, excused)
               WHERE m.rollout = $1 AND m.position = new.position";
    execute(t, sql, &[&i64::from(change.rollout.get()), &positions, &waves, &formers, &excused]).await?;
    Ok(())
}

async fn save_wishes(t: &Transaction<'_>, change: &Change) -> Result<(), Fault> {
    let (tenants, gateways) = columns_of(change.wishes.iter().map(|wish| &wish.gateway));
    let versions: Vec<Option<&str>> =
        change.wishes.iter().map(|wish| wish.version.as_ref().map(AgentVersion::as_str)).collect();
    let channels: Vec<&str> = change.wishes.iter().map(|wish| wish.channel.as_str()).collect();
    let sql = "INSERT INTO update_wish (tenant, gateway, revision, version, channel, rollout, wished_at)
               SELECT tenant, gateway, 1, version, channel, $5, $6
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (tenant, gateway, version, channel)
               ON CONFLICT (tenant, gateway) DO UPDATE SET revision = update_wish.revision + 1,
                 version = excluded.version, channel = excluded.channel, rollout = excluded.rollout,
                 wished_at = excluded.wished_at";
    let (rollout, at) = (i64::from(change.rollout.get()), change.at.micros());
    execute(t, sql, &[&tenants, &gateways, &versions, &channels, &rollout, &at]).await?;
    Ok(())
}

async fn rollout(t: &Transaction<'_>, id: RolloutId) -> Result<Option<Rollout>, Fault> {
    let sql = concat!("SELECT ", rollout_columns!(), ", revision FROM rollout WHERE id = $1");
    let number = i64::from(id.get());
    let read = |r: &Row| Ok((read_plan(r)?, read_progress(r)?, r.position(ROLLOUT_COLUMNS)?));
    let Some((plan, progress, revision)) = row(t, sql, &[&number], read).await? else { return Ok(None) };
    let sql = "SELECT tenant, gateway, wave, former, excused FROM rollout_member WHERE rollout = $1 ORDER BY position";
    let members = rows(t, sql, &[&number], |r| {
        Ok(Member {
            gateway: GatewayName { tenant: r.parsed(0)?, gateway: r.parsed(1)? },
            wave: r.optional_number(2)?.map(|_| r.position(2)).transpose()?,
            former: r.optional_parsed(3)?,
            excused: r.flag(4)?,
        })
    })
    .await?;
    Ok(Some(Rollout { id, plan, members, progress, revision }))
}

async fn standings(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
) -> Result<Vec<(GatewayId, UpdateStanding)>, Fault> {
    let sql =
        "SELECT g.gateway, w.revision, w.version, w.channel, w.rollout, w.wished_at, r.received_at, r.since, r.report
         FROM gateway g
         LEFT JOIN update_wish w ON w.tenant = g.tenant AND w.gateway = g.gateway
         LEFT JOIN update_report r ON r.tenant = g.tenant AND r.gateway = g.gateway
         WHERE g.tenant = $1 AND ($2::text IS NULL OR g.gateway = $2) ORDER BY g.gateway";
    rows(t, sql, &[&tenant.as_str(), &gateway.map(GatewayId::as_str)], |r| {
        let wish = r.optional_number(1)?.map(|_| read_wish(r)).transpose()?;
        let received = r.optional_number(6)?.map(|_| read_report(r)).transpose()?;
        Ok((r.parsed(0)?, UpdateStanding { wish, received }))
    })
    .await
}

fn read_wish(r: &Row) -> Result<Wish, Fault> {
    let revision = UpdateRevision::new(r.position(1)?);
    Ok(Wish {
        revision: revision.ok_or_else(|| Fault::Unreadable("a wish has the number 0".to_owned()))?,
        version: r.optional_parsed(2)?,
        channel: r.parsed(3)?,
        rollout: id_in(r, 4)?,
        wished_at: r.time(5)?,
    })
}

fn read_report(r: &Row) -> Result<ReceivedUpdate, Fault> {
    let report: UpdateReport =
        serde_json::from_str(r.text(8)?).map_err(|e| Fault::unreadable("a report of an update", &e))?;
    Ok(ReceivedUpdate { report, received_at: r.time(6)?, since: r.time(7)? })
}

async fn save_report(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    received: &ReceivedUpdate,
) -> Result<(), Fault> {
    require_gateway(t, tenant, gateway).await?;
    let sql =
        "INSERT INTO update_report (tenant, gateway, received_at, since, report) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (tenant, gateway) DO UPDATE SET received_at = excluded.received_at,
                 since = excluded.since, report = excluded.report";
    // JSON writes NUL as an escape of its own.
    let report = serde_json::to_string(&received.report).map_err(|e| Fault::unreadable("a report", &e))?;
    let (at, since) = (received.received_at.micros(), received.since.micros());
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str(), &at, &since, &report]).await?;
    Ok(())
}

fn read_plan(r: &Row) -> Result<Plan, Fault> {
    let gate = Gate::new(length_in(r, 4)?, r.position(5)?, length_in(r, 6)?, length_in(r, 7)?);
    Ok(Plan {
        version: r.parsed(1)?,
        channel: r.parsed(2)?,
        waves: r.parsed(3)?,
        gate: gate.map_err(|e| Fault::unreadable("a rollout", &e))?,
        author: r.free_text(8)?,
        comment: r.free_text(9)?,
        created_at: r.time(10)?,
    })
}

fn read_progress(r: &Row) -> Result<Progress, Fault> {
    Ok(Progress {
        direction: r.word(11, Direction::from_name)?,
        state: r.word(12, RolloutState::from_name)?,
        wave: r.position(13)?,
        reason: r.free_text(14)?,
        changed_at: r.time(15)?,
    })
}

fn id_in(r: &Row, column: usize) -> Result<RolloutId, Fault> {
    RolloutId::new(r.position(column)?)
        .ok_or_else(|| Fault::Unreadable("a rollout has the number 0".to_owned()))
}

fn length_in(r: &Row, column: usize) -> Result<Duration, Fault> {
    r.count(column).map(Duration::from_micros)
}

/// The lengths of a gate have an end of days.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
