//! Rollups of hours, and which are to be made.

use std::ops::Range;

use plant_model::{GatewayId, MachineId};
use rusqlite::{Connection, params};
use segments::Minute;
use tiering::{Hour, HourRow, Revision};

use super::keys::{MachineNumber, machine, machine_or_new, machines, number_of};
use super::usage::{Changes, length};
use crate::codec::{Columns, execute, int, row, rows};
use crate::error::Fault;

/// A minute of the hour changed.
pub(super) fn note_due(
    c: &Connection,
    machine: MachineNumber,
    minute: Minute,
    revision: Revision,
) -> Result<(), Fault> {
    let sql = "INSERT INTO due_hour (key, revision) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET revision = excluded.revision";
    let hour = Hour::of(minute.start());
    execute(c, sql, params![machine.key(hour.number()), int(revision.0)])?;
    Ok(())
}

/// The earliest hours first; those of one hour by machine.
pub(super) fn due(
    c: &Connection,
    gateway: &GatewayId,
    limit: usize,
) -> Result<Vec<(MachineId, Hour, Revision)>, Fault> {
    let sql = "SELECT key, revision FROM due_hour WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due = Vec::new();
    for (id, number) in machines(c, gateway)? {
        let keys = number.all_keys();
        due.extend(rows(c, sql, params![keys.start, keys.end, most], |r| {
            Ok((id.clone(), Hour::from_number(number_of(r.number(0)?)), Revision(r.count(1)?)))
        })?);
    }
    due.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    due.truncate(limit);
    Ok(due)
}

pub(super) fn save(c: &Connection, gateway: &GatewayId, rows: &[(HourRow, Revision)]) -> Result<(), Fault> {
    let keep = "INSERT INTO hour_rollup (key, body) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET body = excluded.body";
    let done = "DELETE FROM due_hour WHERE key = ?1 AND revision <= ?2";
    let mut changes = Changes::default();
    for (hour, revision) in rows {
        let key = machine_or_new(c, gateway, &hour.machine)?.key(hour.hour.number());
        changes.hour(key, size(c, key)?, Some(length(&hour.rollups)));
        execute(c, keep, params![key, hour.rollups.as_ref()])?;
        execute(c, done, params![key, int(revision.0)])?;
    }
    changes.save(c)
}

pub(super) fn size(c: &Connection, key: i64) -> Result<Option<i64>, Fault> {
    row(c, "SELECT length(body) FROM hour_rollup WHERE key = ?1", [key], |r| r.number(0))
}

pub(super) fn read(
    c: &Connection,
    gateway: &GatewayId,
    id: &MachineId,
    hours: &Range<Hour>,
) -> Result<Vec<HourRow>, Fault> {
    let Some(number) = machine(c, gateway, id)? else { return Ok(Vec::new()) };
    let keys = number.keys(hours.start.number()..hours.end.number());
    let sql = "SELECT key, body FROM hour_rollup WHERE key >= ?1 AND key < ?2 ORDER BY key";
    rows(c, sql, [keys.start, keys.end], |r| {
        let hour = Hour::from_number(number_of(r.number(0)?));
        Ok(HourRow { machine: id.clone(), hour, rollups: r.blob(1)? })
    })
}
