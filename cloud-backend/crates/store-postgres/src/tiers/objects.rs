//! The manifest of the archive.

use std::ops::Range;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use plant_model::{GatewayId, TenantId, Timestamp};
use segments::Minute;
use tiering::{ObjectId, ObjectRow, ObjectState, Revision};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Of;
use crate::codec::{Columns, escaped, execute, int, row, rows};
use crate::error::Fault;

const COLUMNS: &str =
    "id, gateway, start_at, end_at, path, state, samples, bytes, sha256, directory, changed_at";

pub(super) async fn overlapping(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: Option<&GatewayId>,
    range: Range<Timestamp>,
) -> Result<Vec<ObjectRow>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM archive_object WHERE tenant = $1 AND ($2::text IS NULL OR gateway = $2)
           AND end_at > $3 AND start_at < $4 ORDER BY gateway, start_at, id"
    );
    let (start, end) = (range.start.micros(), range.end.micros());
    rows(t, &sql, &[&tenant.as_str(), &gateway.map(GatewayId::as_str), &start, &end], read).await
}

pub(super) async fn in_state(
    t: &Transaction<'_>,
    tenant: &TenantId,
    state: ObjectState,
) -> Result<Vec<ObjectRow>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM archive_object WHERE tenant = $1 AND state = $2 ORDER BY changed_at, id"
    );
    rows(t, &sql, &[&tenant.as_str(), &code(state)], read).await
}

pub(super) async fn begin(
    t: &Transaction<'_>,
    tenant: &TenantId,
    object: &ObjectRow,
) -> Result<ObjectId, Fault> {
    let sql = "INSERT INTO archive_object
                 (tenant, state, gateway, start_at, end_at, path, samples, bytes, sha256, directory, changed_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id";
    let (gateway, form) = (object.gateway.as_str(), Form::of(object));
    let mut params: Vec<&(dyn ToSql + Sync)> = Vec::new();
    let (tenant, state) = (tenant.as_str(), code(ObjectState::Writing));
    params.extend([&tenant as &(dyn ToSql + Sync), &state, &gateway]);
    params.extend(form.params());
    let id = row(t, sql, &params, |r| r.count(0).map(ObjectId)).await?;
    id.ok_or_else(|| Fault::Unreadable(format!("object {} got no number", object.path)))
}

pub(super) async fn retire(
    t: &Transaction<'_>,
    tenant: &TenantId,
    objects: &[ObjectId],
    now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "UPDATE archive_object SET state = $3, changed_at = $4
               WHERE tenant = $1 AND id = ANY ($2) AND state = $5";
    let (verified, superseded) = (code(ObjectState::Verified), code(ObjectState::Superseded));
    execute(t, sql, &[&tenant.as_str(), &numbers(objects), &superseded, &now.micros(), &verified]).await
}

pub(super) async fn forget(t: &Transaction<'_>, tenant: &TenantId, object: ObjectId) -> Result<(), Fault> {
    let sql = "DELETE FROM archive_object WHERE tenant = $1 AND id = $2 AND state <> $3";
    execute(t, sql, &[&tenant.as_str(), &int(object.0), &code(ObjectState::Verified)]).await?;
    Ok(())
}

impl Of<'_> {
    pub(super) async fn commit_object(
        &self,
        object: &ObjectRow,
        as_of: Revision,
        supersedes: &[ObjectId],
    ) -> Result<u64, Fault> {
        let found = self.hold().await?;
        let replaced = retire(self.t, &self.tenant, supersedes, object.changed_at).await?;
        if replaced != supersedes.len() as u64 || self.overlaps(object).await? {
            return Err(Fault::Conflict { gateway: self.gateway.clone(), expected: as_of, found });
        }
        self.verify(object).await?;
        let minutes = Minute::of(object.start)..Minute::of(object.end);
        let archived = self.mark_archived(minutes, as_of).await?;
        self.raise(None).await?;
        Ok(archived)
    }

    /// Whether another verified object holds something of its time.
    async fn overlaps(&self, object: &ObjectRow) -> Result<bool, Fault> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM archive_object WHERE tenant = $1 AND gateway = $2 AND state = $3
                                  AND id <> $4 AND end_at > $5 AND start_at < $6)";
        let (tenant, gateway) = self.key();
        let (start, end) = (object.start.micros(), object.end.micros());
        let verified = code(ObjectState::Verified);
        let params: [&(dyn ToSql + Sync); 6] =
            [&tenant, &gateway, &verified, &int(object.id.0), &start, &end];
        Ok(row(self.t, sql, &params, |r| r.flag(0)).await?.unwrap_or(true))
    }

    /// The row takes its last form.
    async fn verify(&self, object: &ObjectRow) -> Result<(), Fault> {
        let sql = "UPDATE archive_object SET state = $3, start_at = $5, end_at = $6, path = $7, samples = $8,
                     bytes = $9, sha256 = $10, directory = $11, changed_at = $12
                   WHERE tenant = $1 AND gateway = $2 AND id = $4 AND state = $13";
        let (tenant, gateway) = self.key();
        let (state, id, form) = (code(ObjectState::Verified), int(object.id.0), Form::of(object));
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &gateway, &state, &id];
        let writing = code(ObjectState::Writing);
        params.extend(form.params());
        params.push(&writing);
        if execute(self.t, sql, &params).await? == 1 {
            return Ok(());
        }
        Err(Fault::Unreadable(format!(
            "object {} of gateway {gateway} is not one that is being written",
            object.id.0
        )))
    }

    async fn mark_archived(&self, minutes: Range<Minute>, as_of: Revision) -> Result<u64, Fault> {
        let (tenant, gateway) = self.key();
        let (start, end) = (minutes.start.number(), minutes.end.number());
        let as_of = int(as_of.0);
        let params: [&(dyn ToSql + Sync); 5] = [&tenant, &gateway, &start, &end, &as_of];
        let late = "DELETE FROM segment_body b USING segment s
                    WHERE s.tenant = $1 AND s.gateway = $2 AND s.minute >= $3 AND s.minute < $4
                      AND s.revision <= $5 AND s.late_bytes IS NOT NULL
                      AND b.tenant = $1 AND b.gateway = $2 AND b.machine = s.machine AND b.minute = s.minute
                      AND b.minute >= $3 AND b.minute < $4 AND b.is_late";
        execute(self.t, late, &params).await?;
        let mark = "UPDATE segment SET is_archived = true, late_bytes = NULL
                    WHERE tenant = $1 AND gateway = $2 AND minute >= $3 AND minute < $4 AND revision <= $5
                      AND NOT is_archived";
        execute(self.t, mark, &params).await?;
        let count = "SELECT count(*) FROM segment
                     WHERE tenant = $1 AND gateway = $2 AND minute >= $3 AND minute < $4 AND revision <= $5";
        Ok(row(self.t, count, &params, |r| r.count(0)).await?.unwrap_or(0))
    }
}

/// What an object's row says beside its number, state and gateway.
struct Form<'o> {
    start: i64,
    end: i64,
    path: std::borrow::Cow<'o, str>,
    samples: i64,
    bytes: i64,
    sha256: &'o [u8],
    directory: &'o [u8],
    changed_at: i64,
}

impl<'o> Form<'o> {
    fn of(object: &'o ObjectRow) -> Self {
        Self {
            start: object.start.micros(),
            end: object.end.micros(),
            path: escaped(&object.path),
            samples: int(object.samples),
            bytes: int(object.bytes),
            sha256: &object.sha256,
            directory: &object.directory,
            changed_at: object.changed_at.micros(),
        }
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.start,
            &self.end,
            &self.path,
            &self.samples,
            &self.bytes,
            &self.sha256,
            &self.directory,
            &self.changed_at,
        ]
    }
}

fn read(r: &Row) -> Result<ObjectRow, Fault> {
    let sha256 = r.bytes(8)?.try_into().map_err(|e| Fault::unreadable("the hash of an object", &e))?;
    Ok(ObjectRow {
        id: r.count(0).map(ObjectId)?,
        gateway: r.parsed(1)?,
        start: r.time(2)?,
        end: r.time(3)?,
        path: r.free_text(4)?,
        state: state(r.number(5)?)?,
        samples: r.count(6)?,
        bytes: r.count(7)?,
        sha256,
        directory: Bytes::copy_from_slice(r.bytes(9)?),
        changed_at: r.time(10)?,
    })
}

const STATES: [ObjectState; 3] = [ObjectState::Writing, ObjectState::Verified, ObjectState::Superseded];

const fn code(state: ObjectState) -> i64 {
    match state {
        ObjectState::Writing => 0,
        ObjectState::Verified => 1,
        ObjectState::Superseded => 2,
    }
}

fn state(number: i64) -> Result<ObjectState, Fault> {
    let known = STATES.into_iter().find(|state| code(*state) == number);
    known.ok_or_else(|| Fault::Unreadable(format!("an object of the archive is in the state {number}")))
}

fn numbers(objects: &[ObjectId]) -> Vec<i64> {
    objects.iter().map(|object| int(object.0)).collect()
}
