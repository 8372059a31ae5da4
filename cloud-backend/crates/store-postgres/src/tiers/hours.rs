//! Rollups of hours.

use std::ops::Range;

use bytes::Bytes;
use plant_model::MachineId;
use tiering::{Dropped, Hour, HourRow, Revision};

use super::{Of, most};
use crate::codec::{Columns, execute, int, row, rows};
use crate::error::Fault;

impl Of<'_> {
    pub(super) async fn due_hours(&self, limit: usize) -> Result<Vec<(MachineId, Hour, Revision)>, Fault> {
        let sql = "SELECT machine, hour, revision FROM hour_due WHERE tenant = $1 AND gateway = $2
                   ORDER BY hour, machine LIMIT $3";
        let (tenant, gateway) = self.key();
        rows(self.t, sql, &[&tenant, &gateway, &most(limit)], |r| {
            Ok((r.parsed(0)?, Hour::from_number(r.number(1)?), r.count(2).map(Revision)?))
        })
        .await
    }

    pub(super) async fn save_hours(&self, hours: &[(HourRow, Revision)]) -> Result<(), Fault> {
        let (tenant, gateway) = self.key();
        let machines: Vec<&str> = hours.iter().map(|(row, _)| row.machine.as_str()).collect();
        let numbers: Vec<i64> = hours.iter().map(|(row, _)| row.hour.number()).collect();
        let revisions: Vec<i64> = hours.iter().map(|(_, revision)| int(revision.0)).collect();
        let rollups: Vec<&[u8]> = hours.iter().map(|(row, _)| row.rollups.as_ref()).collect();
        // Of two who make the same hour, the one who saw less does not overwrite the other.
        let keep = "INSERT INTO hour_rollup AS h (tenant, gateway, machine, hour, revision, rollups)
                    SELECT $1, $2, k.* FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bytea[]) AS k
                    ON CONFLICT (tenant, gateway, machine, hour) DO UPDATE SET revision = excluded.revision,
                      rollups = excluded.rollups WHERE h.revision <= excluded.revision";
        execute(self.t, keep, &[&tenant, &gateway, &machines, &numbers, &revisions, &rollups]).await?;
        let done = "DELETE FROM hour_due d
                    USING unnest($3::text[], $4::bigint[], $5::bigint[]) AS k (machine, hour, revision)
                    WHERE d.tenant = $1 AND d.gateway = $2 AND d.machine = k.machine AND d.hour = k.hour
                      AND d.revision <= k.revision";
        execute(self.t, done, &[&tenant, &gateway, &machines, &numbers, &revisions]).await?;
        Ok(())
    }

    pub(super) async fn hours(&self, machine: &MachineId, hours: Range<Hour>) -> Result<Vec<HourRow>, Fault> {
        let sql = "SELECT hour, rollups FROM hour_rollup
                   WHERE tenant = $1 AND gateway = $2 AND machine = $3 AND hour >= $4 AND hour < $5 ORDER BY hour";
        let (tenant, gateway) = self.key();
        let (start, end) = (hours.start.number(), hours.end.number());
        rows(self.t, sql, &[&tenant, &gateway, &machine.as_str(), &start, &end], |r| {
            Ok(HourRow {
                machine: machine.clone(),
                hour: Hour::from_number(r.number(0)?),
                rollups: Bytes::copy_from_slice(r.bytes(1)?),
            })
        })
        .await
    }

    pub(super) async fn drop_hours(&self, hours: Range<Hour>, limit: usize) -> Result<Dropped, Fault> {
        self.hold().await?;
        let sql = "WITH chosen AS (
                     SELECT machine, hour FROM hour_rollup
                     WHERE tenant = $1 AND gateway = $2 AND hour >= $3 AND hour < $4
                     ORDER BY hour, machine LIMIT $5),
                   gone AS (
                     DELETE FROM hour_rollup h USING chosen c
                     WHERE h.tenant = $1 AND h.gateway = $2 AND h.machine = c.machine AND h.hour = c.hour
                     RETURNING octet_length(h.rollups) AS bytes)
                   SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone";
        let (tenant, gateway) = self.key();
        let (start, end) = (hours.start.number(), hours.end.number());
        let dropped = row(self.t, sql, &[&tenant, &gateway, &start, &end, &most(limit)], |r| {
            Ok(Dropped { rows: r.count(0)?, bytes: r.count(1)? })
        })
        .await?
        .unwrap_or_default();
        if dropped.rows > 0 {
            self.raise(None).await?;
        }
        Ok(dropped)
    }
}
