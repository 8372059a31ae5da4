//! The manifest of the archive.

use std::ops::Range;

use plant_model::{GatewayId, Timestamp};
use rusqlite::{Connection, Row, params};
use segments::Minute;
use tiering::{ObjectId, ObjectRow, ObjectState, Revision};

use super::keys::machines;
use super::reads::revision;
use super::seal::{raise, size};
use super::usage::{Changes, Size};
use crate::codec::{Columns, execute, int, row, rows};
use crate::error::Fault;

const SELECT: &str =
    "SELECT id, gateway, start_at, end_at, path, state, samples, bytes, sha256, directory, changed_at
    FROM archive_object";

const fn code(state: ObjectState) -> i64 {
    match state {
        ObjectState::Writing => 0,
        ObjectState::Verified => 1,
        ObjectState::Superseded => 2,
    }
}

fn read(r: &Row<'_>) -> Result<ObjectRow, Fault> {
    let state = match r.number(5)? {
        0 => ObjectState::Writing,
        1 => ObjectState::Verified,
        2 => ObjectState::Superseded,
        other => return Err(Fault::Unreadable(format!("state {other} of an object is not known here"))),
    };
    Ok(ObjectRow {
        id: ObjectId(r.count(0)?),
        gateway: r.parsed(1)?,
        start: r.time(2)?,
        end: r.time(3)?,
        path: r.text(4)?,
        state,
        samples: r.count(6)?,
        bytes: r.count(7)?,
        sha256: r.get(8)?,
        directory: r.blob(9)?,
        changed_at: r.time(10)?,
    })
}

pub(super) fn overlapping(
    c: &Connection,
    gateway: Option<&GatewayId>,
    range: &Range<Timestamp>,
) -> Result<Vec<ObjectRow>, Fault> {
    let sql = format!(
        "{SELECT} WHERE (?1 IS NULL OR gateway = ?1) AND start_at < ?3 AND end_at > ?2 ORDER BY gateway, start_at, id"
    );
    let (start, end) = (range.start.micros(), range.end.micros());
    rows(c, &sql, params![gateway.map(GatewayId::as_str), start, end], read)
}

pub(super) fn in_state(c: &Connection, state: ObjectState) -> Result<Vec<ObjectRow>, Fault> {
    rows(c, &format!("{SELECT} WHERE state = ?1 ORDER BY changed_at, id"), [code(state)], read)
}

pub(super) fn begin(c: &Connection, object: &ObjectRow) -> Result<ObjectId, Fault> {
    let sql = "INSERT INTO archive_object (gateway, start_at, end_at, path, state, samples, bytes, sha256, changed_at, directory)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let o = object;
    let row = params![
        o.gateway.as_str(),
        o.start.micros(),
        o.end.micros(),
        o.path,
        code(ObjectState::Writing),
        int(o.samples),
        int(o.bytes),
        o.sha256,
        o.changed_at.micros(),
        o.directory.as_ref()
    ];
    execute(c, sql, row)?;
    u64::try_from(c.last_insert_rowid()).map(ObjectId).map_err(|e| Fault::unreadable("an object", &e))
}

pub(super) fn commit(
    c: &Connection,
    object: &ObjectRow,
    as_of: Revision,
    supersedes: &[ObjectId],
) -> Result<u64, Fault> {
    check_row(c, object, as_of, supersedes)?;
    let sql = "UPDATE archive_object SET start_at = ?2, end_at = ?3, path = ?4, state = ?5, samples = ?6, bytes = ?7,
                 sha256 = ?8, changed_at = ?9, directory = ?10 WHERE id = ?1 AND gateway = ?11 AND state = 0";
    let o = object;
    let row = params![
        int(o.id.0),
        o.start.micros(),
        o.end.micros(),
        o.path,
        code(ObjectState::Verified),
        int(o.samples),
        int(o.bytes),
        o.sha256,
        o.changed_at.micros(),
        o.directory.as_ref(),
        o.gateway.as_str()
    ];
    if execute(c, sql, row)? == 0 {
        return Err(Fault::Unreadable(format!(
            "object {} of gateway {} is not one that is being written",
            o.id.0, o.gateway
        )));
    }
    for id in supersedes {
        let sql = "UPDATE archive_object SET state = ?2, changed_at = ?3 WHERE id = ?1";
        execute(c, sql, params![int(id.0), code(ObjectState::Superseded), o.changed_at.micros()])?;
    }
    raise(c, &o.gateway, None)?;
    archive(c, object, as_of)
}

/// Two verified objects of a gateway never overlap, and only verified ones are superseded.
fn check_row(
    c: &Connection,
    object: &ObjectRow,
    as_of: Revision,
    supersedes: &[ObjectId],
) -> Result<(), Fault> {
    let verified = overlapping(c, Some(&object.gateway), &(object.start..object.end))?;
    let verified = verified.iter().filter(|row| row.state == ObjectState::Verified);
    let overlaps = verified.clone().any(|row| !supersedes.contains(&row.id));
    let sql = "SELECT 1 FROM archive_object WHERE id = ?1 AND gateway = ?2 AND state = ?3";
    let is_verified = |id: &ObjectId| {
        let key = params![int(id.0), object.gateway.as_str(), code(ObjectState::Verified)];
        Ok::<_, Fault>(row(c, sql, key, |_| Ok(()))?.is_some())
    };
    let mut are_verified = true;
    for id in supersedes {
        are_verified &= is_verified(id)?;
    }
    if overlaps || !are_verified {
        let found = revision(c, &object.gateway)?;
        return Err(Fault::Conflict { gateway: object.gateway.clone(), expected: as_of, found });
    }
    Ok(())
}

/// The segments of its range that did not change since count as archived; their late segments go.
fn archive(c: &Connection, object: &ObjectRow, as_of: Revision) -> Result<u64, Fault> {
    let minutes = Minute::of(object.start).number()..Minute::of(object.end).number();
    let sql = "SELECT key FROM segment WHERE key >= ?1 AND key < ?2 AND revision <= ?3";
    let (mut count, mut changes) = (0, Changes::default());
    for (_, machine) in machines(c, &object.gateway)? {
        let keys = machine.keys(minutes.clone());
        for key in rows(c, sql, params![keys.start, keys.end, int(as_of.0)], |r| r.number(0))? {
            count += 1;
            let Some(before) = size(c, key)? else { continue };
            if before.is_archived {
                continue;
            }
            execute(c, "UPDATE segment SET archived = 1, late_bytes = NULL WHERE key = ?1", [key])?;
            execute(c, "DELETE FROM segment_late WHERE key = ?1", [key])?;
            changes.segment(key, Some(before), Some(Size { late: None, is_archived: true, ..before }));
        }
    }
    changes.save(c)?;
    Ok(count)
}

pub(super) fn retire(c: &Connection, objects: &[ObjectId], now: Timestamp) -> Result<u64, Fault> {
    let sql = "UPDATE archive_object SET state = ?2, changed_at = ?3 WHERE id = ?1 AND state = ?4";
    let (from, to) = (code(ObjectState::Verified), code(ObjectState::Superseded));
    let mut retired = 0;
    for id in objects {
        retired += execute(c, sql, params![int(id.0), to, now.micros(), from])?;
    }
    Ok(u64::try_from(retired).unwrap_or(u64::MAX))
}

pub(super) fn forget(c: &Connection, object: ObjectId) -> Result<(), Fault> {
    let sql = "DELETE FROM archive_object WHERE id = ?1 AND state != ?2";
    execute(c, sql, params![int(object.0), code(ObjectState::Verified)])?;
    Ok(())
}
