//! The ledger.

use std::collections::BTreeMap;

use fleet::{ClockRow, DroppedRow, GapRow, LedgerRow, QuarantineRow};
use ingestion::Coverage;
use plant_model::GatewayId;
use protocol::{Sequence, StreamId};
use rusqlite::{Connection, Row, params};

use crate::codec::{Columns, epoch_bits, rows};
use crate::error::Fault;

pub(super) fn ledger(c: &Connection) -> Result<Vec<LedgerRow>, Fault> {
    let sql = "SELECT s.gateway, s.epoch, s.stream, coalesce(w.last, 0), s.received, s.stored, s.duplicate,
                 s.samples_stored, s.bytes_received, s.last_received_at
               FROM stream s LEFT JOIN coverage w
                 ON w.gateway = s.gateway AND w.epoch = s.epoch AND w.stream = s.stream AND w.first = 1
               ORDER BY s.gateway, s.epoch, s.stream";
    let mut all = rows(c, sql, [], read_row)?;
    for row in &mut all {
        let Some(epoch) = row.epoch.map(epoch_bits) else { continue };
        let key = (row.gateway.as_str(), epoch, i64::from(row.stream.code()));
        row.rejected = rejections(c, key)?;
        row.missing = missing(c, key)?;
        row.gaps = gaps(c, key)?;
        row.quarantined = quarantined(c, key)?;
        if row.stream == StreamId::Telemetry {
            row.dropped = dropped(c, (key.0, key.1))?;
        }
        if row.stream == StreamId::Diagnostic {
            row.clock = clock(c, (key.0, key.1))?;
        }
    }
    all.extend(unreadable(c)?);
    all.sort_by(|a, b| (&a.gateway, a.epoch, a.stream).cmp(&(&b.gateway, b.epoch, b.stream)));
    Ok(all)
}

fn read_row(r: &Row<'_>) -> Result<LedgerRow, Fault> {
    Ok(LedgerRow {
        gateway: r.parsed(0)?,
        epoch: Some(r.epoch(1)?),
        stream: r.stream(2)?,
        committed_through: r.sequence(3)?,
        received: r.count(4)?,
        stored: r.count(5)?,
        duplicate: r.count(6)?,
        rejected: Vec::new(),
        samples_stored: r.count(7)?,
        bytes_received: r.count(8)?,
        last_received_at: r.optional_time(9)?,
        missing: Vec::new(),
        gaps: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
        clock: Vec::new(),
    })
}

fn rejections(c: &Connection, key: (&str, i64, i64)) -> Result<Vec<(String, u64)>, Fault> {
    let sql = "SELECT reason, count FROM rejection WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 ORDER BY reason";
    rows(c, sql, key, |r| Ok((r.text(0)?, r.count(1)?)))
}

fn missing(c: &Connection, key: (&str, i64, i64)) -> Result<Vec<(Sequence, Sequence)>, Fault> {
    let sql = "SELECT first, last FROM coverage WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3";
    let coverage = Coverage::from_ranges(rows(c, sql, key, |r| Ok((r.sequence(0)?, r.sequence(1)?)))?);
    Ok(coverage.holes().take(LedgerRow::LOSSES_MAX).collect())
}

fn quarantined(c: &Connection, key: (&str, i64, i64)) -> Result<Vec<QuarantineRow>, Fault> {
    let sql = "SELECT sequence, reason, detail, received_at, length(body) FROM quarantine
               WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 ORDER BY sequence DESC LIMIT ?4";
    rows(c, sql, params![key.0, key.1, key.2, LedgerRow::LOSSES_MAX as i64], |r| {
        Ok(QuarantineRow {
            sequence: r.sequence(0)?,
            reason: r.text(1)?,
            detail: r.text(2)?,
            received_at: r.time(3)?,
            size_bytes: r.count(4)?,
        })
    })
}

fn gaps(c: &Connection, key: (&str, i64, i64)) -> Result<Vec<GapRow>, Fault> {
    let sql =
        "SELECT first, last, samples, reason, at FROM gap WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3
               ORDER BY first DESC, last DESC LIMIT ?4";
    rows(c, sql, params![key.0, key.1, key.2, LedgerRow::LOSSES_MAX as i64], |r| {
        Ok(GapRow {
            first: r.sequence(0)?,
            last: r.sequence(1)?,
            samples: r.count(2)?,
            reason: r.text(3)?,
            at: r.time(4)?,
        })
    })
}

fn dropped(c: &Connection, key: (&str, i64)) -> Result<Vec<DroppedRow>, Fault> {
    let sql = "SELECT samples, reason, from_at, to_at FROM dropped WHERE gateway = ?1 AND epoch = ?2
               ORDER BY sequence DESC, position DESC LIMIT ?3";
    rows(c, sql, params![key.0, key.1, LedgerRow::LOSSES_MAX as i64], |r| {
        Ok(DroppedRow { samples: r.count(0)?, reason: r.text(1)?, from: r.time(2)?, to: r.time(3)? })
    })
}

fn clock(c: &Connection, key: (&str, i64)) -> Result<Vec<ClockRow>, Fault> {
    let sql = "SELECT change, from_at, to_at, uptime_us, samples FROM clock_change WHERE gateway = ?1 AND epoch = ?2
               ORDER BY sequence DESC, position DESC LIMIT ?3";
    rows(c, sql, params![key.0, key.1, LedgerRow::LOSSES_MAX as i64], |r| {
        Ok(ClockRow {
            change: r.text(0)?,
            from: r.time(1)?,
            to: r.time(2)?,
            uptime_us: r.count(3)?,
            samples: r.count(4)?,
        })
    })
}

/// Messages without a header: one row a gateway and stream, without an epoch.
fn unreadable(c: &Connection) -> Result<Vec<LedgerRow>, Fault> {
    let sql = "SELECT gateway, stream, reason, count, bytes_received, last_received_at FROM unreadable ORDER BY reason";
    let mut all: BTreeMap<(GatewayId, StreamId), LedgerRow> = BTreeMap::new();
    let entries = rows(c, sql, [], |r| {
        let key: (GatewayId, StreamId) = (r.parsed(0)?, r.stream(1)?);
        Ok((key, (r.text(2)?, r.count(3)?), r.count(4)?, r.optional_time(5)?))
    })?;
    for (key, (reason, count), bytes, at) in entries {
        let row = all.entry(key.clone()).or_insert_with(|| LedgerRow {
            gateway: key.0,
            epoch: None,
            stream: key.1,
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
        });
        row.received += count;
        row.rejected.push((reason, count));
        row.bytes_received += bytes;
        row.last_received_at = row.last_received_at.max(at);
    }
    Ok(all.into_values().collect())
}
