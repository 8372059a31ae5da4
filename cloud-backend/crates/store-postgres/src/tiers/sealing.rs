//! Sealing: a wave of batches goes, segments come, in one transaction.

use std::collections::BTreeSet;

use protocol::StreamId;
use tiering::{Hour, Revision, SealSet, SegmentKey, SegmentWrite};

use super::{Of, key_columns, parts, size};
use crate::codec::{epoch_bits, execute, int, sequence_number, stream_code};
use crate::error::Fault;

impl Of<'_> {
    pub(super) async fn seal(&self, set: &SealSet) -> Result<Revision, Fault> {
        self.hold_at(set.base).await?;
        let revision = self.raise(set.latest.as_deref()).await?;
        self.take_batches(set).await?;
        self.write_segments(&set.segments, revision).await?;
        let hours: BTreeSet<(&str, i64)> = set.segments.iter().map(|s| hour_of(&s.key)).collect();
        self.note_due(&hours.into_iter().collect::<Vec<_>>(), revision).await?;
        Ok(revision)
    }

    /// The batches go, and what has to be known of them stays.
    async fn take_batches(&self, set: &SealSet) -> Result<(), Fault> {
        let sql = "WITH gone AS (
                     DELETE FROM batch WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND epoch = $4
                       AND sequence <= $5
                     RETURNING sequence, CASE WHEN sequence = $5 THEN substr(body, 1, 8) END AS head),
                   late AS (
                     INSERT INTO recovered (tenant, gateway, epoch, sequence)
                     SELECT $1, $2, $4, sequence FROM gone
                     WHERE EXISTS (SELECT 1 FROM gap g WHERE g.tenant = $1 AND g.gateway = $2 AND g.stream = $3
                       AND g.epoch = $4 AND g.first <= gone.sequence AND g.last >= gone.sequence)
                     ON CONFLICT DO NOTHING)
                   INSERT INTO sealed AS s (tenant, gateway, epoch, through, through_head)
                   SELECT $1, $2, $4, $5, (SELECT head FROM gone WHERE sequence = $5)
                   ON CONFLICT (tenant, gateway, epoch) DO UPDATE
                     SET through = excluded.through, through_head = excluded.through_head
                     WHERE excluded.through > s.through";
        let (tenant, gateway) = self.key();
        let (stream, epoch) = (stream_code(StreamId::Telemetry), epoch_bits(set.epoch));
        let through = sequence_number(set.through);
        execute(self.t, sql, &[&tenant, &gateway, &stream, &epoch, &through]).await?;
        Ok(())
    }

    /// Writes segments in the place of those of their keys.
    async fn write_segments(&self, segments: &[SegmentWrite], revision: Revision) -> Result<(), Fault> {
        if segments.is_empty() {
            return Ok(());
        }
        parts::make(self.t, &parts::weeks(segments.iter().map(|s| s.key.minute.number()))).await?;
        self.clear_late(segments).await?;
        self.write_heads(segments, revision).await?;
        let bodies = segments.iter().filter_map(|s| Some(Body::of(&s.key, s.body.as_deref()?)));
        let late = segments.iter().filter_map(|s| {
            let late = s.late.as_ref()?;
            Some(Body { key: &s.key, is_late: true, head: Some(&late.head), body: &late.body })
        });
        self.write_bodies(&bodies.chain(late).collect::<Vec<_>>()).await
    }

    /// What had come late is part of what is written now.
    async fn clear_late(&self, segments: &[SegmentWrite]) -> Result<(), Fault> {
        let sql = "DELETE FROM segment_body b USING segment s, unnest($3::text[], $4::bigint[]) AS k (machine, minute)
                   WHERE s.tenant = $1 AND s.gateway = $2 AND s.late_bytes IS NOT NULL
                     AND s.machine = k.machine AND s.minute = k.minute AND s.minute BETWEEN $5 AND $6
                     AND b.tenant = $1 AND b.gateway = $2 AND b.machine = k.machine AND b.minute = k.minute
                     AND b.minute BETWEEN $5 AND $6 AND b.is_late";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(segments.iter().map(|s| &s.key));
        let (first, last) = ends(&minutes);
        execute(self.t, sql, &[&tenant, &gateway, &machines, &minutes, &first, &last]).await?;
        Ok(())
    }

    async fn write_heads(&self, segments: &[SegmentWrite], revision: Revision) -> Result<(), Fault> {
        let sql = "INSERT INTO segment AS s (tenant, gateway, machine, minute, revision, samples, head_bytes,
                     body_bytes, late_bytes, is_archived, head)
                   SELECT $1, $2, k.machine, k.minute, $3, k.samples, octet_length(k.head), k.body_bytes,
                     k.late_bytes, false, k.head
                   FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bytea[])
                     AS k (machine, minute, samples, body_bytes, late_bytes, head)
                   ON CONFLICT (tenant, gateway, machine, minute) DO UPDATE SET revision = excluded.revision,
                     samples = excluded.samples, head_bytes = excluded.head_bytes, head = excluded.head,
                     body_bytes = coalesce(excluded.body_bytes, s.body_bytes), late_bytes = excluded.late_bytes,
                     is_archived = false";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(segments.iter().map(|s| &s.key));
        let samples: Vec<i64> = segments.iter().map(|s| int(s.count)).collect();
        let bodies: Vec<Option<i64>> = segments.iter().map(|s| s.body.as_deref().map(size)).collect();
        let late: Vec<Option<i64>> = segments
            .iter()
            .map(|s| s.late.as_ref().map(|late| size(&late.head) + size(&late.body)))
            .collect();
        let heads: Vec<&[u8]> = segments.iter().map(|s| s.head.as_slice()).collect();
        let revision = int(revision.0);
        execute(
            self.t,
            sql,
            &[&tenant, &gateway, &revision, &machines, &minutes, &samples, &bodies, &late, &heads],
        )
        .await?;
        Ok(())
    }

    /// Writes bodies, of which the parts are there.
    pub(super) async fn write_bodies(&self, bodies: &[Body<'_>]) -> Result<(), Fault> {
        let sql = "INSERT INTO segment_body (tenant, gateway, machine, minute, is_late, head, body)
                   SELECT $1, $2, k.* FROM unnest($3::text[], $4::bigint[], $5::bool[], $6::bytea[], $7::bytea[]) AS k
                   ON CONFLICT (tenant, gateway, machine, minute, is_late) DO UPDATE SET
                     head = excluded.head, body = excluded.body";
        let (tenant, gateway) = self.key();
        let (machines, minutes) = key_columns(bodies.iter().map(|b| b.key));
        let late: Vec<bool> = bodies.iter().map(|b| b.is_late).collect();
        let heads: Vec<Option<&[u8]>> = bodies.iter().map(|b| b.head).collect();
        let columns: Vec<&[u8]> = bodies.iter().map(|b| b.body).collect();
        execute(self.t, sql, &[&tenant, &gateway, &machines, &minutes, &late, &heads, &columns]).await?;
        Ok(())
    }
}

/// A row of the table of bodies.
pub(super) struct Body<'s> {
    key: &'s SegmentKey,
    is_late: bool,
    head: Option<&'s [u8]>,
    body: &'s [u8],
}

impl<'s> Body<'s> {
    /// The body of a segment.
    pub(super) const fn of(key: &'s SegmentKey, body: &'s [u8]) -> Self {
        Self { key, is_late: false, head: None, body }
    }
}

/// The hour of a segment, as columns.
fn hour_of(key: &SegmentKey) -> (&str, i64) {
    (key.machine.as_str(), Hour::of(key.minute.start()).number())
}

/// The first and the last of these minutes: they tell the server which parts it need not open.
pub(super) fn ends(minutes: &[i64]) -> (i64, i64) {
    (minutes.iter().copied().min().unwrap_or(0), minutes.iter().copied().max().unwrap_or(-1))
}
