//! The revision of a gateway, and its row, which writers of its tiers hold.

use tiering::Revision;

use super::Of;
use crate::codec::{Columns, execute, int, row};
use crate::error::Fault;

impl Of<'_> {
    pub(super) async fn revision(&self) -> Result<Revision, Fault> {
        let sql = "SELECT revision FROM tier WHERE tenant = $1 AND gateway = $2";
        let (tenant, gateway) = self.key();
        Ok(row(self.t, sql, &[&tenant, &gateway], |r| r.count(0).map(Revision)).await?.unwrap_or_default())
    }

    pub(crate) async fn sealed_latest(&self) -> Result<Option<Vec<u8>>, Fault> {
        let sql = "SELECT latest FROM tier WHERE tenant = $1 AND gateway = $2 AND latest IS NOT NULL";
        let (tenant, gateway) = self.key();
        row(self.t, sql, &[&tenant, &gateway], |r| r.bytes(0).map(<[u8]>::to_vec)).await
    }

    /// Takes the gateway's row, makes it if there is none, and answers its revision.
    pub(super) async fn hold(&self) -> Result<Revision, Fault> {
        // What another one has just made is not in the snapshot of this statement: therefore the update.
        let sql = "INSERT INTO tier AS t (tenant, gateway, revision) VALUES ($1, $2, 0)
                   ON CONFLICT (tenant, gateway) DO UPDATE SET revision = t.revision RETURNING revision";
        let (tenant, gateway) = self.key();
        let held = row(self.t, sql, &[&tenant, &gateway], |r| r.count(0).map(Revision)).await?;
        held.ok_or_else(|| Fault::Unreadable(format!("gateway {gateway} has no revision")))
    }

    /// Takes the gateway's row if it is as the writer saw it.
    pub(super) async fn hold_at(&self, expected: Revision) -> Result<(), Fault> {
        let found = self.hold().await?;
        if found == expected {
            return Ok(());
        }
        Err(Fault::Conflict { gateway: self.gateway.clone(), expected, found })
    }

    /// Raises the revision. The row is held already.
    pub(super) async fn raise(&self, latest: Option<&[u8]>) -> Result<Revision, Fault> {
        let sql = "UPDATE tier SET revision = revision + 1, latest = coalesce($3, latest)
                   WHERE tenant = $1 AND gateway = $2 RETURNING revision";
        let (tenant, gateway) = self.key();
        let raised = row(self.t, sql, &[&tenant, &gateway, &latest], |r| r.count(0).map(Revision)).await?;
        raised.ok_or_else(|| Fault::Unreadable(format!("gateway {gateway} has no revision")))
    }

    /// An hour changes with the minutes in it: it is due for a new rollup.
    pub(super) async fn note_due(&self, hours: &[(&str, i64)], revision: Revision) -> Result<(), Fault> {
        let sql = "INSERT INTO hour_due (tenant, gateway, machine, hour, revision)
                   SELECT $1, $2, k.machine, k.hour, $5 FROM unnest($3::text[], $4::bigint[]) AS k (machine, hour)
                   ON CONFLICT (tenant, gateway, hour, machine) DO UPDATE SET revision = excluded.revision";
        let (tenant, gateway) = self.key();
        let (machines, numbers): (Vec<&str>, Vec<i64>) = hours.iter().copied().unzip();
        execute(self.t, sql, &[&tenant, &gateway, &machines, &numbers, &int(revision.0)]).await?;
        Ok(())
    }
}
