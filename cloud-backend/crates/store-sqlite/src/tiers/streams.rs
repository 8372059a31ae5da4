//! Telemetry that is not sealed, and which is.

use std::ops::Range;

use plant_model::{GatewayId, Timestamp};
use protocol::{Epoch, Sequence, StreamId};
use rusqlite::{Connection, params};
use segments::WaitingBatch;
use tiering::{SealingStream, UnsealedBatch};

use crate::codec::{Columns, epoch_bits, execute, row, rows, sequence_number};
use crate::error::Fault;

const TELEMETRY: i64 = StreamId::Telemetry.code() as i64;

pub(super) fn sealing_streams(c: &Connection, gateway: &GatewayId) -> Result<Vec<SealingStream>, Fault> {
    let sql = "SELECT s.epoch, coalesce(w.last, 0),
                 (SELECT coalesce(max(last), 0) FROM sealed d WHERE d.gateway = s.gateway AND d.epoch = s.epoch)
               FROM stream s LEFT JOIN coverage w
                 ON w.gateway = s.gateway AND w.epoch = s.epoch AND w.stream = s.stream AND w.first = 1
               WHERE s.gateway = ?1 AND s.stream = ?2";
    let mut streams = rows(c, sql, params![gateway.as_str(), TELEMETRY], |r| {
        Ok(SealingStream {
            epoch: r.epoch(0)?,
            committed_through: r.sequence(1)?,
            sealed_through: r.sequence(2)?,
        })
    })?;
    streams.sort_by_key(|stream| stream.epoch);
    Ok(streams)
}

pub(super) fn waiting(
    c: &Connection,
    gateway: &GatewayId,
    epoch: Epoch,
    limit: usize,
) -> Result<Vec<WaitingBatch>, Fault> {
    // The columns lie before the body, so that no page of a body is read.
    let sql = "SELECT sequence, first_at, received_at, count FROM batch
               WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 ORDER BY sequence LIMIT ?4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    rows(c, sql, params![gateway.as_str(), epoch_bits(epoch), TELEMETRY, limit], |r| {
        Ok(WaitingBatch {
            sequence: r.sequence(0)?,
            first_at: r.time(1)?,
            received_at: r.time(2)?,
            count: r.position(3)?,
        })
    })
}

pub(super) fn through(
    c: &Connection,
    gateway: &GatewayId,
    epoch: Epoch,
    through: Sequence,
) -> Result<Vec<UnsealedBatch>, Fault> {
    let sql = "SELECT sequence, body FROM batch
               WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND sequence <= ?4 ORDER BY sequence";
    let key = params![gateway.as_str(), epoch_bits(epoch), TELEMETRY, sequence_number(through)];
    rows(c, sql, key, |r| Ok(UnsealedBatch { epoch, sequence: r.sequence(0)?, body: r.blob(1)? }))
}

/// A batch that overlaps `[start, end)` ends at `start` or later, and, none being longer than `longest_span`, before
/// `end + longest_span`.
pub(super) fn overlapping(
    c: &Connection,
    gateway: &GatewayId,
    range: &Range<Timestamp>,
    limit: usize,
) -> Result<Vec<UnsealedBatch>, Fault> {
    let sql = "SELECT epoch, sequence FROM batch WHERE gateway = ?1 AND stream = ?2
               AND last_at >= ?3 AND last_at < ?4 AND first_at < ?5";
    let (start, end) = (range.start.micros(), range.end.micros());
    let horizon = end.saturating_add(longest_span(c, gateway)?);
    let mut keys = rows(c, sql, params![gateway.as_str(), TELEMETRY, start, horizon, end], |r| {
        Ok((r.epoch(0)?, r.sequence(1)?))
    })?;
    keys.sort_unstable();
    keys.truncate(limit);
    let sql = "SELECT body FROM batch WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND sequence = ?4";
    let read = |(epoch, sequence): (Epoch, Sequence)| {
        let key = params![gateway.as_str(), epoch_bits(epoch), TELEMETRY, sequence_number(sequence)];
        let body = row(c, sql, key, |r| r.blob(0))?;
        Ok(body.map(|body| UnsealedBatch { epoch, sequence, body }))
    };
    keys.into_iter().filter_map(|key| read(key).transpose()).collect()
}

/// One more, because the bound in queries excludes its end.
fn longest_span(c: &Connection, gateway: &GatewayId) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(longest_span), 0) FROM stream WHERE gateway = ?1 AND stream = ?2";
    Ok(row(c, sql, params![gateway.as_str(), TELEMETRY], |r| r.number(0))?.unwrap_or(0).saturating_add(1))
}

/// Removes the batches of a wave and notes their sequences as sealed.
pub(super) fn remove(
    c: &Connection,
    gateway: &GatewayId,
    epoch: Epoch,
    through: Sequence,
) -> Result<(), Fault> {
    let key = (gateway.as_str(), epoch_bits(epoch), TELEMETRY, sequence_number(through));
    let sql =
        "SELECT sequence FROM batch WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND sequence <= ?4
               ORDER BY sequence";
    let sequences = rows(c, sql, key, |r| r.number(0))?;
    for run in sequences.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        note_sealed(c, (key.0, key.1), (run[0], run[run.len() - 1]))?;
    }
    let sql = "DELETE FROM batch WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND sequence <= ?4";
    execute(c, sql, key)?;
    Ok(())
}

fn note_sealed(c: &Connection, key: (&str, i64), (first, last): (i64, i64)) -> Result<(), Fault> {
    let grow = "UPDATE sealed SET last = ?4 WHERE gateway = ?1 AND epoch = ?2 AND last = ?3 - 1";
    if execute(c, grow, params![key.0, key.1, first, last])? == 0 {
        let sql = "INSERT INTO sealed (gateway, epoch, first, last) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (gateway, epoch, first) DO UPDATE SET last = max(last, excluded.last)";
        execute(c, sql, params![key.0, key.1, first, last])?;
    }
    Ok(())
}

/// Whether a sequence of telemetry is in segments.
pub(crate) fn is_sealed(c: &Connection, key: (&str, i64), sequence: Sequence) -> Result<bool, Fault> {
    // Ranges are disjoint: only the last that begins before it can hold it.
    let sql = "SELECT last >= ?3 FROM sealed WHERE gateway = ?1 AND epoch = ?2 AND first <= ?3
               ORDER BY first DESC LIMIT 1";
    let found = row(c, sql, params![key.0, key.1, sequence_number(sequence)], |r| Ok(r.get::<_, bool>(0)?))?;
    Ok(found.unwrap_or(false))
}
