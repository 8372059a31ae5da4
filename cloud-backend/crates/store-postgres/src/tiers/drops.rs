//! What is dropped, what is put back, and what lies where.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use plant_model::Timestamp;
use segments::{Head, Minute, SealedSegment};
use tiering::{DayUsage, Dropped, Hour, Revision, SegmentKey};
use tokio_postgres::Row;

use super::sealing::{Body, ends};
use super::{Of, key_columns, most, parts, size};
use crate::codec::{Columns, execute, int, rows};
use crate::error::Fault;

/// What is gone, and the weeks in which bodies are.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) dropped: Dropped,
    pub(super) weeks: BTreeSet<i64>,
}

const DAY_MICROS: i64 = 24 * Hour::MICROS;

impl Of<'_> {
    pub(super) async fn drop_bodies(&self, minutes: Range<Minute>, limit: usize) -> Result<Gone, Fault> {
        let sql = "WITH chosen AS (
                     SELECT machine, minute, body_bytes FROM segment
                     WHERE tenant = $1 AND gateway = $2 AND minute >= $3 AND minute < $4
                       AND body_bytes IS NOT NULL AND is_archived
                     ORDER BY minute, machine LIMIT $5)
                   UPDATE segment s SET body_bytes = NULL FROM chosen c
                   WHERE s.tenant = $1 AND s.gateway = $2 AND s.machine = c.machine AND s.minute = c.minute
                   RETURNING s.machine, s.minute, c.body_bytes";
        self.drop_by(sql, minutes, limit).await
    }

    pub(super) async fn drop_segments(&self, minutes: Range<Minute>, limit: usize) -> Result<Gone, Fault> {
        let sql = "WITH chosen AS (
                     SELECT machine, minute FROM segment
                     WHERE tenant = $1 AND gateway = $2 AND minute >= $3 AND minute < $4 AND is_archived
                     ORDER BY minute, machine LIMIT $5)
                   DELETE FROM segment s USING chosen c
                   WHERE s.tenant = $1 AND s.gateway = $2 AND s.machine = c.machine AND s.minute = c.minute
                   RETURNING s.machine, s.minute, s.head_bytes + coalesce(s.body_bytes, 0) + coalesce(s.late_bytes, 0)";
        self.drop_by(sql, minutes, limit).await
    }

    /// Drops the bodies of what a statement answers: machine, minute, bytes.
    async fn drop_by(&self, sql: &str, minutes: Range<Minute>, limit: usize) -> Result<Gone, Fault> {
        self.hold().await?;
        let (tenant, gateway) = self.key();
        let (start, end) = (minutes.start.number(), minutes.end.number());
        let found = rows(self.t, sql, &[&tenant, &gateway, &start, &end, &most(limit)], |r| {
            Ok((read_key(r)?, r.count(2)?))
        })
        .await?;
        if found.is_empty() {
            return Ok(Gone::default());
        }
        let keys: Vec<SegmentKey> = found.iter().map(|(key, _)| key.clone()).collect();
        self.delete_bodies(&keys).await?;
        self.raise(None).await?;
        let bytes = found.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        Ok(Gone {
            dropped: Dropped { rows: found.len() as u64, bytes },
            weeks: parts::weeks(keys.iter().map(|key| key.minute.number())),
        })
    }

    async fn delete_bodies(&self, keys: &[SegmentKey]) -> Result<(), Fault> {
        let sql = "DELETE FROM segment_body b USING unnest($3::text[], $4::bigint[]) AS k (machine, minute)
                   WHERE b.tenant = $1 AND b.gateway = $2 AND b.machine = k.machine AND b.minute = k.minute
                     AND b.minute BETWEEN $5 AND $6";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(keys);
        let (first, last) = ends(&minutes);
        execute(self.t, sql, &[&tenant, &gateway, &machines, &minutes, &first, &last]).await?;
        Ok(())
    }

    pub(super) async fn restore_bodies(
        &self,
        base: Revision,
        segments: &[(SegmentKey, SealedSegment)],
    ) -> Result<u64, Fault> {
        self.hold_at(base).await?;
        let revision = self.raise(None).await?;
        let back = self.restore_heads(segments, revision).await?;
        let bodies = segments.iter().filter(|(key, _)| back.contains(key));
        let bodies: Vec<_> = bodies.map(|(key, sealed)| Body::of(key, &sealed.body)).collect();
        parts::make(self.t, &parts::weeks(back.iter().map(|key| key.minute.number()))).await?;
        self.write_bodies(&bodies).await?;
        Ok(back.len() as u64)
    }

    /// Writes the heads of segments that have no body and nothing late, and answers which those are.
    async fn restore_heads(
        &self,
        segments: &[(SegmentKey, SealedSegment)],
        revision: Revision,
    ) -> Result<BTreeSet<SegmentKey>, Fault> {
        let sql = "INSERT INTO segment AS s
                     (tenant, gateway, machine, minute, revision, samples, head_bytes, body_bytes, is_archived, head)
                   SELECT $1, $2, k.machine, k.minute, $3, k.samples, octet_length(k.head), k.body_bytes, true, k.head
                   FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])
                     AS k (machine, minute, samples, body_bytes, head)
                   ON CONFLICT (tenant, gateway, machine, minute) DO UPDATE SET revision = excluded.revision,
                     samples = excluded.samples, head_bytes = excluded.head_bytes, body_bytes = excluded.body_bytes,
                     is_archived = true, head = excluded.head
                   WHERE s.body_bytes IS NULL AND s.late_bytes IS NULL
                   RETURNING s.machine, s.minute";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(segments.iter().map(|(key, _)| key));
        let heads: Vec<&[u8]> = segments.iter().map(|(_, sealed)| sealed.head.as_slice()).collect();
        let sizes: Vec<i64> = segments.iter().map(|(_, sealed)| size(&sealed.body)).collect();
        let samples = heads.iter().map(|head| samples_in(head)).collect::<Result<Vec<i64>, Fault>>()?;
        let revision = int(revision.0);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
            [&tenant, &gateway, &revision, &machines, &minutes, &samples, &sizes, &heads];
        Ok(rows(self.t, sql, &params, read_key).await?.into_iter().collect())
    }

    pub(super) async fn usage(&self) -> Result<Vec<DayUsage>, Fault> {
        let sql = "SELECT floor(minute / 1440.0::float8)::bigint AS day, count(*), sum(samples)::bigint,
                     sum(head_bytes)::bigint, count(body_bytes), coalesce(sum(body_bytes), 0)::bigint,
                     count(*) FILTER (WHERE is_archived), count(late_bytes), coalesce(sum(late_bytes), 0)::bigint
                   FROM segment WHERE tenant = $1 AND gateway = $2 GROUP BY day";
        let (tenant, gateway) = self.key();
        let of_segments = rows(self.t, sql, &[&tenant, &gateway], read_usage).await?;
        let mut days: BTreeMap<Timestamp, DayUsage> =
            of_segments.into_iter().map(|day| (day.start, day)).collect();
        let sql =
            "SELECT floor(hour / 24.0::float8)::bigint AS day, count(*), sum(octet_length(rollups))::bigint
                   FROM hour_rollup WHERE tenant = $1 AND gateway = $2 GROUP BY day";
        let of_hours = rows(self.t, sql, &[&tenant, &gateway], |r| {
            Ok((day_start(r.number(0)?), r.count(1)?, r.count(2)?))
        })
        .await?;
        for (start, hours, bytes) in of_hours {
            let day = days.entry(start).or_insert_with(|| empty(start));
            (day.hours, day.hour_bytes) = (hours, bytes);
        }
        Ok(days.into_values().collect())
    }
}

fn read_key(r: &Row) -> Result<SegmentKey, Fault> {
    Ok(SegmentKey { machine: r.parsed(0)?, minute: Minute::from_number(r.number(1)?) })
}

fn samples_in(head: &[u8]) -> Result<i64, Fault> {
    let head = Head::read(head).map_err(|e| Fault::unreadable("a segment that is put back", &e))?;
    Ok(int(head.count() as u64))
}

fn day_start(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(DAY_MICROS))
}

fn read_usage(r: &Row) -> Result<DayUsage, Fault> {
    Ok(DayUsage {
        segments: r.count(1)?,
        samples: r.count(2)?,
        head_bytes: r.count(3)?,
        bodies: r.count(4)?,
        body_bytes: r.count(5)?,
        archived: r.count(6)?,
        late: r.count(7)?,
        late_bytes: r.count(8)?,
        ..empty(day_start(r.number(0)?))
    })
}

const fn empty(start: Timestamp) -> DayUsage {
    DayUsage {
        start,
        segments: 0,
        samples: 0,
        head_bytes: 0,
        bodies: 0,
        body_bytes: 0,
        archived: 0,
        late: 0,
        late_bytes: 0,
        hours: 0,
        hour_bytes: 0,
    }
}
