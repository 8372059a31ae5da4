//! Segments as they are read: heads first, bodies only where they are wanted.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use plant_model::MachineId;
use segments::Minute;
use tiering::{LateSegment, Parts, Revision, SegmentKey, SegmentRow};
use tokio_postgres::Row;

use super::sealing::ends;
use super::{Of, key_columns, most};
use crate::codec::{Columns, rows};
use crate::error::Fault;

/// A body by its key and whether it came late, with the head of what did.
type Body = ((SegmentKey, bool), (Option<Bytes>, Bytes));

impl Of<'_> {
    pub(super) async fn segments_at(&self, keys: &[SegmentKey]) -> Result<Vec<SegmentRow>, Fault> {
        let sql = "SELECT s.machine, s.minute, s.revision, s.head, s.is_archived
                   FROM unnest($3::text[], $4::bigint[]) AS k (machine, minute)
                   JOIN segment s ON s.tenant = $1 AND s.gateway = $2 AND s.machine = k.machine
                     AND s.minute = k.minute
                   ORDER BY s.machine, s.minute";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(keys);
        let mut found = rows(self.t, sql, &[&tenant, &gateway, &machines, &minutes], read_head).await?;
        found.dedup_by(|a, b| a.key == b.key);
        let (first, last) = ends(&minutes);
        let sql = "SELECT b.machine, b.minute, b.is_late, b.head, b.body
                   FROM unnest($3::text[], $4::bigint[]) AS k (machine, minute)
                   JOIN segment_body b ON b.tenant = $1 AND b.gateway = $2 AND b.machine = k.machine
                     AND b.minute = k.minute AND b.minute BETWEEN $5 AND $6";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&tenant, &gateway, &machines, &minutes, &first, &last];
        let bodies = rows(self.t, sql, &params, read_body).await?;
        Ok(with_bodies(found, bodies))
    }

    pub(crate) async fn segments(
        &self,
        machine: &MachineId,
        minutes: Range<Minute>,
        parts: Parts,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, Fault> {
        let sql = "SELECT machine, minute, revision, head, is_archived FROM segment
                   WHERE tenant = $1 AND gateway = $2 AND machine = $3 AND minute >= $4 AND minute < $5
                   ORDER BY minute LIMIT $6";
        let (tenant, gateway) = self.key();
        let machine = machine.as_str();
        let (start, end) = (minutes.start.number(), minutes.end.number());
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&tenant, &gateway, &machine, &start, &end, &most(limit)];
        let found = rows(self.t, sql, &params, read_head).await?;
        let (Parts::All, Some(last)) = (parts, found.last()) else { return Ok(found) };
        let last = last.key.minute.number();
        let sql = "SELECT machine, minute, is_late, head, body FROM segment_body
                   WHERE tenant = $1 AND gateway = $2 AND machine = $3 AND minute BETWEEN $4 AND $5";
        let bodies = rows(self.t, sql, &[&tenant, &gateway, &machine, &start, &last], read_body).await?;
        Ok(with_bodies(found, bodies))
    }
}

fn read_key(r: &Row) -> Result<SegmentKey, Fault> {
    Ok(SegmentKey { machine: r.parsed(0)?, minute: Minute::from_number(r.number(1)?) })
}

fn read_head(r: &Row) -> Result<SegmentRow, Fault> {
    Ok(SegmentRow {
        key: read_key(r)?,
        revision: r.count(2).map(Revision)?,
        head: Bytes::copy_from_slice(r.bytes(3)?),
        body: None,
        late: None,
        is_archived: r.flag(4)?,
    })
}

fn read_body(r: &Row) -> Result<Body, Fault> {
    let head = r.optional_bytes(3)?.map(Bytes::copy_from_slice);
    Ok(((read_key(r)?, r.flag(2)?), (head, Bytes::copy_from_slice(r.bytes(4)?))))
}

fn with_bodies(mut found: Vec<SegmentRow>, bodies: Vec<Body>) -> Vec<SegmentRow> {
    let mut bodies: BTreeMap<_, _> = bodies.into_iter().collect();
    for row in &mut found {
        row.body = bodies.remove(&(row.key.clone(), false)).map(|(_, body)| body);
        let late = bodies.remove(&(row.key.clone(), true));
        row.late = late.and_then(|(head, body)| Some(LateSegment { head: head?, body }));
    }
    found
}
