//! Revision, segments and the latest samples.

use std::ops::Range;

use plant_model::{GatewayId, MachineId};
use rusqlite::{Connection, Row, params};
use segments::Minute;
use tiering::{LateSegment, Parts, Revision, SegmentKey, SegmentRow};

use super::keys::{machine, number_of};
use crate::codec::{Columns, row, rows};
use crate::error::Fault;

pub(super) fn revision(c: &Connection, gateway: &GatewayId) -> Result<Revision, Fault> {
    let sql = "SELECT revision FROM tier_revision WHERE gateway = ?1";
    Ok(Revision(row(c, sql, [gateway.as_str()], |r| r.count(0))?.unwrap_or(0)))
}

pub(crate) fn latest(c: &Connection, gateway: &GatewayId) -> Result<Option<Vec<u8>>, Fault> {
    let sql = "SELECT body FROM sealed_latest WHERE gateway = ?1";
    row(c, sql, [gateway.as_str()], |r| Ok(r.get(0)?))
}

const WHOLE: &str = "SELECT s.key, s.revision, s.archived, s.head, b.body, l.head, l.body FROM segment s
    LEFT JOIN segment_body b ON b.key = s.key LEFT JOIN segment_late l ON l.key = s.key";

pub(super) fn segments_at(
    c: &Connection,
    gateway: &GatewayId,
    mut keys: Vec<SegmentKey>,
) -> Result<Vec<SegmentRow>, Fault> {
    keys.sort_unstable();
    keys.dedup();
    let sql = format!("{WHOLE} WHERE s.key = ?1");
    let mut found = Vec::new();
    for of_machine in keys.chunk_by(|a, b| a.machine == b.machine) {
        let id = &of_machine[0].machine;
        let Some(number) = machine(c, gateway, id)? else { continue };
        for key in of_machine {
            found.extend(row(c, &sql, [number.key(key.minute.number())], |r| segment(id, r))?);
        }
    }
    Ok(found)
}

pub(crate) fn segments(
    c: &Connection,
    (gateway, id): (&GatewayId, &MachineId),
    minutes: &Range<Minute>,
    parts: Parts,
    limit: usize,
) -> Result<Vec<SegmentRow>, Fault> {
    let Some(number) = machine(c, gateway, id)? else { return Ok(Vec::new()) };
    let keys = number.keys(minutes.start.number()..minutes.end.number());
    let select = match parts {
        Parts::Heads => "SELECT s.key, s.revision, s.archived, s.head, NULL, NULL, NULL FROM segment s",
        Parts::All => WHOLE,
    };
    let sql = format!("{select} WHERE s.key >= ?1 AND s.key < ?2 ORDER BY s.key LIMIT ?3");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    rows(c, &sql, params![keys.start, keys.end, limit], |r| segment(id, r))
}

fn segment(machine: &MachineId, r: &Row<'_>) -> Result<SegmentRow, Fault> {
    let late = match r.optional_blob(5)? {
        Some(head) => Some(LateSegment { head, body: r.blob(6)? }),
        None => None,
    };
    Ok(SegmentRow {
        key: SegmentKey { machine: machine.clone(), minute: Minute::from_number(number_of(r.number(0)?)) },
        revision: Revision(r.count(1)?),
        head: r.blob(3)?,
        body: r.optional_blob(4)?,
        late,
        is_archived: r.number(2)? != 0,
    })
}
