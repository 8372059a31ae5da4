//! The ledger.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use fleet::{ClockRow, DroppedRow, GapRow, LedgerRow, QuarantineRow};
use ingestion::Coverage;
use plant_model::{GatewayId, TenantId};
use protocol::{Epoch, Sequence, StreamId};
use tokio_postgres::Row;

use crate::codec::{Columns, epoch_bits, rows, stream_code};
use crate::error::Fault;

const LOSSES_MAX: i64 = LedgerRow::LOSSES_MAX as i64;

pub(super) async fn ledger(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<LedgerRow>, Fault> {
    let sql = "SELECT s.gateway, s.epoch, s.stream, coalesce(w.last, 0), s.received, s.stored, s.duplicate,
                 s.samples_stored, s.bytes_received, s.last_received_at
               FROM stream s LEFT JOIN coverage w ON w.tenant = s.tenant AND w.gateway = s.gateway
                 AND w.epoch = s.epoch AND w.stream = s.stream AND w.first = 1
               WHERE s.tenant = $1";
    let mut all = rows(t, sql, &[&tenant.as_str()], read_row).await?;
    for row in &mut all {
        let Some(epoch) = row.epoch.map(epoch_bits) else { continue };
        let gateway = row.gateway.clone();
        let of = Of {
            t,
            tenant: tenant.as_str(),
            gateway: gateway.as_str(),
            epoch,
            stream: stream_code(row.stream),
        };
        row.rejected = of.rejections().await?;
        row.missing = of.missing().await?;
        row.gaps = of.gaps().await?;
        row.quarantined = of.quarantined().await?;
        if row.stream == StreamId::Telemetry {
            row.dropped = of.dropped().await?;
        }
        if row.stream == StreamId::Diagnostic {
            row.clock = of.clock().await?;
        }
    }
    all.extend(unreadable(t, tenant).await?);
    all.sort_by(|a, b| (&a.gateway, a.epoch, a.stream).cmp(&(&b.gateway, b.epoch, b.stream)));
    Ok(all)
}

fn empty(gateway: GatewayId, epoch: Option<Epoch>, stream: StreamId) -> LedgerRow {
    LedgerRow {
        gateway,
        epoch,
        stream,
        committed_through: Sequence::ZERO,
        received: 0,
        stored: 0,
        duplicate: 0,
        rejected: Vec::new(),
        samples_stored: 0,
        bytes_received: 0,
        last_received_at: None,
        missing: Vec::new(),
        gaps: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
        clock: Vec::new(),
    }
}

fn read_row(r: &Row) -> Result<LedgerRow, Fault> {
    Ok(LedgerRow {
        committed_through: r.sequence(3)?,
        received: r.count(4)?,
        stored: r.count(5)?,
        duplicate: r.count(6)?,
        samples_stored: r.count(7)?,
        bytes_received: r.count(8)?,
        last_received_at: r.optional_time(9)?,
        ..empty(r.parsed(0)?, Some(r.epoch(1)?), r.stream(2)?)
    })
}

/// The lists of one stream.
struct Of<'a> {
    t: &'a Transaction<'a>,
    tenant: &'a str,
    gateway: &'a str,
    epoch: i64,
    stream: i64,
}

impl Of<'_> {
    async fn rejections(&self) -> Result<Vec<(String, u64)>, Fault> {
        let sql = "SELECT reason, count FROM rejection
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4 ORDER BY reason";
        rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &self.stream], |r| {
            Ok((r.text(0)?.to_owned(), r.count(1)?))
        })
        .await
    }

    async fn missing(&self) -> Result<Vec<(Sequence, Sequence)>, Fault> {
        let sql = "SELECT first, last FROM coverage
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4";
        let ranges = rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &self.stream], |r| {
            Ok((r.sequence(0)?, r.sequence(1)?))
        })
        .await?;
        Ok(Coverage::from_ranges(ranges).holes().take(LedgerRow::LOSSES_MAX).collect())
    }

    async fn quarantined(&self) -> Result<Vec<QuarantineRow>, Fault> {
        let sql = "SELECT sequence, reason, detail, received_at, length(body)::bigint FROM quarantine
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4
                   ORDER BY sequence DESC LIMIT $5";
        rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &self.stream, &LOSSES_MAX], |r| {
            Ok(QuarantineRow {
                sequence: r.sequence(0)?,
                reason: r.text(1)?.to_owned(),
                detail: r.free_text(2)?,
                received_at: r.time(3)?,
                size_bytes: r.count(4)?,
            })
        })
        .await
    }

    async fn gaps(&self) -> Result<Vec<GapRow>, Fault> {
        let sql = "SELECT first, last, samples, reason, at FROM gap
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4
                   ORDER BY first DESC, last DESC LIMIT $5";
        rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &self.stream, &LOSSES_MAX], |r| {
            Ok(GapRow {
                first: r.sequence(0)?,
                last: r.sequence(1)?,
                samples: r.count(2)?,
                reason: r.text(3)?.to_owned(),
                at: r.time(4)?,
            })
        })
        .await
    }

    async fn dropped(&self) -> Result<Vec<DroppedRow>, Fault> {
        let sql = "SELECT samples, reason, from_at, to_at FROM dropped
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                   ORDER BY sequence DESC, position DESC LIMIT $4";
        rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &LOSSES_MAX], |r| {
            Ok(DroppedRow {
                samples: r.count(0)?,
                reason: r.text(1)?.to_owned(),
                from: r.time(2)?,
                to: r.time(3)?,
            })
        })
        .await
    }

    async fn clock(&self) -> Result<Vec<ClockRow>, Fault> {
        let sql = "SELECT change, from_at, to_at, uptime_us, samples FROM clock_change
                   WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                   ORDER BY sequence DESC, position DESC LIMIT $4";
        rows(self.t, sql, &[&self.tenant, &self.gateway, &self.epoch, &LOSSES_MAX], |r| {
            Ok(ClockRow {
                change: r.text(0)?.to_owned(),
                from: r.time(1)?,
                to: r.time(2)?,
                uptime_us: r.count(3)?,
                samples: r.count(4)?,
            })
        })
        .await
    }
}

/// Messages without a header: one row a gateway and stream, without an epoch.
async fn unreadable(t: &Transaction<'_>, tenant: &TenantId) -> Result<Vec<LedgerRow>, Fault> {
    let sql = "SELECT gateway, stream, reason, count, bytes_received, last_received_at FROM unreadable
               WHERE tenant = $1 ORDER BY reason";
    let mut all: BTreeMap<(GatewayId, StreamId), LedgerRow> = BTreeMap::new();
    let entries = rows(t, sql, &[&tenant.as_str()], |r| {
        let key: (GatewayId, StreamId) = (r.parsed(0)?, r.stream(1)?);
        Ok((key, (r.text(2)?.to_owned(), r.count(3)?), r.count(4)?, r.optional_time(5)?))
    })
    .await?;
    for (key, (reason, count), bytes, at) in entries {
        let row = all.entry(key.clone()).or_insert_with(|| empty(key.0, None, key.1));
        row.received += count;
        row.rejected.push((reason, count));
        row.bytes_received += bytes;
        row.last_received_at = row.last_received_at.max(at);
    }
    Ok(all.into_values().collect())
}
