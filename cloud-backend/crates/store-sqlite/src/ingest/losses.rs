//! What is missing: gaps and drops that a gateway declares, and what it no longer holds at its hello.
//!
//! A gateway that says hello names the oldest batch it can still send. A hole below that can never be
//! filled: without a decision here the acknowledgement would stand before it for ever and the gateway
//! could never free anything again (this is what a backend meets that lost its data, or was restored
//! from an older backup than the gateway's retention). The hole is then noted as a gap with the reason
//! [`NOT_HELD`]. A gap record of the gateway, which knows the real reason, takes its place where it comes
//! later.

use ingestion::Coverage;
use plant_model::{GatewayId, Timestamp};
use protocol::{BatchHeader, ClockRecord, CumulativeAck, Dropped, Gap, Hello, Sequence, StreamId};
use rusqlite::{Connection, params};

use super::ledger::{StreamKey, Streams};
use crate::codec::{Columns, epoch_bits, execute, int, row, rows, sequence_number};
use crate::error::Fault;

/// The reason of a gap that nobody declared.
const NOT_HELD: &str = "not_held";

pub(super) fn record_hello(
    c: &Connection,
    gateway: &GatewayId,
    hello: &Hello,
    received_at: Timestamp,
) -> Result<[CumulativeAck; 3], Fault> {
    let sql = "INSERT INTO gateway (gateway, epoch, agent_version, seen_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (gateway) DO UPDATE SET epoch = excluded.epoch,
                 agent_version = excluded.agent_version, seen_at = max(seen_at, excluded.seen_at)";
    let epoch = epoch_bits(hello.epoch);
    execute(c, sql, params![gateway.as_str(), epoch, hello.agent_version, received_at.micros()])?;
    let mut streams = Streams::default();
    let mut acks = StreamId::ALL.map(|stream| CumulativeAck {
        epoch: hello.epoch,
        stream,
        committed_through: Sequence::ZERO,
        missing_through: None,
        last_checksum: None,
    });
    for ack in &mut acks {
        let key = StreamKey { gateway: gateway.clone(), epoch: hello.epoch, stream: ack.stream };
        let state = streams.get(c, &key)?;
        let held = hello.streams.iter().find(|r| r.stream == ack.stream).map_or(Sequence::ZERO, |r| r.oldest);
        note_not_held(c, &key, &mut state.coverage, held, received_at)?;
        ack.committed_through = state.coverage.committed_through();
        ack.last_checksum = checksum(c, &key, ack.committed_through)?;
    }
    streams.save(c)?;
    Ok(acks)
}

/// The checksum of a batch that is stored.
fn checksum(c: &Connection, key: &StreamKey, sequence: Sequence) -> Result<Option<u32>, Fault> {
    let (gateway, epoch, stream) = key.columns();
    let sql = "SELECT substr(body, 1, 8) FROM batch
               WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND sequence = ?4";
    let head = row(c, sql, params![gateway, epoch, stream, sequence_number(sequence)], |r| {
        let head: Vec<u8> = r.get(0)?;
        Ok(head)
    })?;
    Ok(head.and_then(|head| BatchHeader::checksum(&head)))
}

/// Notes the holes below the oldest batch that the gateway holds.
fn note_not_held(
    c: &Connection,
    key: &StreamKey,
    coverage: &mut Coverage,
    oldest: Sequence,
    at: Timestamp,
) -> Result<(), Fault> {
    let oldest = oldest.min(ingestion::SEQUENCE_MAX);
    loop {
        let first = coverage.committed_through().next();
        if first >= oldest {
            return Ok(());
        }
        let above = coverage.ranges().map(|(start, _)| start).find(|start| *start > first);
        let last = above.unwrap_or(oldest).min(oldest).previous();
        insert_gap(c, key, (first, last), 0, NOT_HELD, at)?;
        coverage.cover(first, last).map_err(|e| Fault::Contradiction(e.to_string()))?;
    }
}

/// Writes a gap that the gateway declared.
pub(super) fn record_gap(c: &Connection, key: &StreamKey, gap: &Gap) -> Result<(), Fault> {
    replace_not_held(c, key, gap.first, gap.last)?;
    insert_gap(c, key, (gap.first, gap.last), gap.samples, gap.reason.name(), gap.at)
}

/// Cuts `first..=last` out of the gaps that nobody had declared.
fn replace_not_held(c: &Connection, key: &StreamKey, first: Sequence, last: Sequence) -> Result<(), Fault> {
    let (gateway, epoch, stream) = key.columns();
    let find = "SELECT first, last, at FROM gap WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3
                AND reason = ?4 AND first <= ?5 AND last >= ?6";
    let bounds = (sequence_number(last), sequence_number(first));
    let overlapping = rows(c, find, params![gateway, epoch, stream, NOT_HELD, bounds.0, bounds.1], |r| {
        Ok((r.sequence(0)?, r.sequence(1)?, r.time(2)?))
    })?;
    let delete = "DELETE FROM gap WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND reason = ?4
                  AND first = ?5 AND last = ?6";
    for (start, end, at) in overlapping {
        let range = (sequence_number(start), sequence_number(end));
        execute(c, delete, params![gateway, epoch, stream, NOT_HELD, range.0, range.1])?;
        for rest in [(start, first.previous()), (last.next(), end)] {
            if rest.0 <= rest.1 {
                insert_gap(c, key, rest, 0, NOT_HELD, at)?;
            }
        }
    }
    Ok(())
}

fn insert_gap(
    c: &Connection,
    key: &StreamKey,
    (first, last): (Sequence, Sequence),
    samples: u64,
    reason: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    let sql = "INSERT INTO gap (gateway, epoch, stream, first, last, samples, reason, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let (gateway, epoch, stream) = key.columns();
    let range = (sequence_number(first), sequence_number(last));
    execute(c, sql, params![gateway, epoch, stream, range.0, range.1, int(samples), reason, at.micros()])?;
    Ok(())
}

/// Writes samples that the gateway lost before they became a batch.
pub(super) fn record_dropped(
    c: &Connection,
    key: &StreamKey,
    (sequence, position): (Sequence, u32),
    dropped: &Dropped,
) -> Result<(), Fault> {
    let sql = "INSERT INTO dropped (gateway, epoch, sequence, position, samples, reason, from_at, to_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    execute(
        c,
        sql,
        params![
            key.gateway.as_str(),
            epoch_bits(key.epoch),
            sequence_number(sequence),
            position,
            int(dropped.samples),
            dropped.reason.name(),
            dropped.from.micros(),
            dropped.to.micros()
        ],
    )?;
    Ok(())
}

/// Writes what happened to the time of the gateway.
pub(super) fn record_clock(
    c: &Connection,
    key: &StreamKey,
    (sequence, position): (Sequence, u32),
    clock: &ClockRecord,
) -> Result<(), Fault> {
    let sql = "INSERT INTO clock_change
                 (gateway, epoch, sequence, position, change, from_at, to_at, uptime_us, samples)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    execute(
        c,
        sql,
        params![
            key.gateway.as_str(),
            epoch_bits(key.epoch),
            sequence_number(sequence),
            position,
            clock.change.name(),
            clock.from.micros(),
            clock.to.micros(),
            int(clock.uptime.micros()),
            int(clock.samples)
        ],
    )?;
    Ok(())
}
