//! What is let go of, oldest first.

use std::ops::Range;

use plant_model::GatewayId;
use rusqlite::{Connection, params};
use segments::Minute;
use tiering::{Dropped, Hour};

use super::keys::{machines, number_of};
use super::seal::{raise, size};
use super::usage::{Changes, Size};
use crate::codec::{Columns, execute, rows};
use crate::error::Fault;

pub(super) fn bodies(
    c: &Connection,
    gateway: &GatewayId,
    minutes: &Range<Minute>,
    limit: usize,
) -> Result<Dropped, Fault> {
    let sql = "SELECT key FROM segment INDEXED BY segment_droppable
               WHERE archived = 1 AND body_bytes IS NOT NULL AND key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let (mut dropped, mut changes) = (Dropped::default(), Changes::default());
    for key in oldest(c, gateway, minutes.start.number()..minutes.end.number(), limit, sql)? {
        let Some(before) = size(c, key)? else { continue };
        execute(c, "UPDATE segment SET body_bytes = NULL WHERE key = ?1", [key])?;
        execute(c, "DELETE FROM segment_body WHERE key = ?1", [key])?;
        changes.segment(key, Some(before), Some(Size { body: None, ..before }));
        count(&mut dropped, before.body);
    }
    finish(c, gateway, dropped, changes)
}

pub(super) fn segments(
    c: &Connection,
    gateway: &GatewayId,
    minutes: &Range<Minute>,
    limit: usize,
) -> Result<Dropped, Fault> {
    let sql = "SELECT key FROM segment WHERE archived = 1 AND key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let (mut dropped, mut changes) = (Dropped::default(), Changes::default());
    for key in oldest(c, gateway, minutes.start.number()..minutes.end.number(), limit, sql)? {
        let Some(before) = size(c, key)? else { continue };
        for table in ["segment", "segment_body", "segment_late"] {
            execute(c, &format!("DELETE FROM {table} WHERE key = ?1"), [key])?;
        }
        changes.segment(key, Some(before), None);
        count(&mut dropped, Some(before.head + before.body.unwrap_or(0) + before.late.unwrap_or(0)));
    }
    finish(c, gateway, dropped, changes)
}

pub(super) fn hours(
    c: &Connection,
    gateway: &GatewayId,
    hours: &Range<Hour>,
    limit: usize,
) -> Result<Dropped, Fault> {
    let sql = "SELECT key FROM hour_rollup WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
    let (mut dropped, mut changes) = (Dropped::default(), Changes::default());
    for key in oldest(c, gateway, hours.start.number()..hours.end.number(), limit, sql)? {
        let before = super::hours::size(c, key)?;
        execute(c, "DELETE FROM hour_rollup WHERE key = ?1", [key])?;
        changes.hour(key, before, None);
        count(&mut dropped, before);
    }
    finish(c, gateway, dropped, changes)
}

/// The first keys of all machines of the gateway, in order of time.
fn oldest(
    c: &Connection,
    gateway: &GatewayId,
    numbers: Range<i64>,
    limit: usize,
    sql: &str,
) -> Result<Vec<i64>, Fault> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut keys = Vec::new();
    for (_, machine) in machines(c, gateway)? {
        let range = machine.keys(numbers.clone());
        keys.extend(rows(c, sql, params![range.start, range.end, most], |r| r.number(0))?);
    }
    keys.sort_unstable_by_key(|key| (number_of(*key), *key));
    keys.truncate(limit);
    Ok(keys)
}

fn count(dropped: &mut Dropped, bytes: Option<i64>) {
    dropped.rows += 1;
    dropped.bytes += bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
}

fn finish(c: &Connection, gateway: &GatewayId, dropped: Dropped, changes: Changes) -> Result<Dropped, Fault> {
    if dropped.rows > 0 {
        raise(c, gateway, None)?;
        changes.save(c)?;
    }
    Ok(dropped)
}
