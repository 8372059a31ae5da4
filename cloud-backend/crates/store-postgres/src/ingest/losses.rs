//! What is missing: gaps and drops that a gateway declares, and what it no longer holds at its hello.
//!
//! A gateway that says hello names the oldest batch it can still send. A hole below that can never be
//! filled; it is noted as a gap with the reason [`NOT_HELD`], so that the acknowledgement can pass. A gap
//! record of the gateway, which knows the real reason, takes its place where it comes later.

use deadpool_postgres::Transaction;
use ingestion::Coverage;
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{BatchHeader, ClockRecord, CumulativeAck, Dropped, Gap, Hello, Sequence, StreamId};

use super::streams::{StreamKey, Streams};
use crate::codec::{Columns, epoch_bits, escaped, execute, int, row, rows, sequence_number, stream_code};
use crate::error::Fault;

/// The reason of a gap that nobody declared.
const NOT_HELD: &str = "not_held";

pub(super) async fn record_hello(
    t: &Transaction<'_>,
    tenant: &TenantId,
    gateway: &GatewayId,
    hello: &Hello,
    received_at: Timestamp,
) -> Result<[CumulativeAck; 3], Fault> {
    let sql = "INSERT INTO gateway_seen AS g (tenant, gateway, epoch, agent_version, seen_at)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (tenant, gateway) DO UPDATE SET epoch = excluded.epoch,
                 agent_version = excluded.agent_version, seen_at = greatest(g.seen_at, excluded.seen_at)";
    let (epoch, version) = (epoch_bits(hello.epoch), escaped(&hello.agent_version));
    execute(t, sql, &[&tenant.as_str(), &gateway.as_str(), &epoch, &version, &received_at.micros()]).await?;
    let key = |stream| StreamKey { gateway: gateway.clone(), epoch: hello.epoch, stream };
    let mut streams = Streams::load(t, tenant, StreamId::ALL.map(key)).await?;
    let mut acks = StreamId::ALL.map(|stream| CumulativeAck {
        epoch: hello.epoch,
        stream,
        committed_through: Sequence::ZERO,
        missing_through: None,
        last_checksum: None,
    });
    for ack in &mut acks {
        let key = key(ack.stream);
        let held = hello.streams.iter().find(|r| r.stream == ack.stream).map_or(Sequence::ZERO, |r| r.oldest);
        let coverage = &mut streams.get(&key).coverage;
        note_not_held(t, tenant, &key, coverage, held, received_at).await?;
        ack.committed_through = coverage.committed_through();
        ack.last_checksum = checksum(t, tenant, &key, ack.committed_through).await?;
    }
    streams.save(t, tenant).await?;
    Ok(acks)
}

/// The checksum of a batch that is stored, or was sealed last.
async fn checksum(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    sequence: Sequence,
) -> Result<Option<u32>, Fault> {
    let (gateway, epoch, stream) = key.columns();
    let sql = "SELECT substr(body, 1, 8) FROM batch
               WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4 AND sequence = $5
               UNION ALL SELECT through_head FROM sealed
               WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND $4 = $6 AND through = $5
                 AND through_head IS NOT NULL";
    let number = sequence_number(sequence);
    let telemetry = stream_code(StreamId::Telemetry);
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&tenant.as_str(), &gateway, &epoch, &stream, &number, &telemetry];
    Ok(row(t, sql, &params, |r| r.bytes(0).map(BatchHeader::checksum)).await?.flatten())
}

/// Notes the holes below the oldest batch that the gateway holds.
async fn note_not_held(
    t: &Transaction<'_>,
    tenant: &TenantId,
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
        insert_gap(t, tenant, key, (first, last), (0, NOT_HELD, at)).await?;
        coverage.cover(first, last).map_err(|e| Fault::Contradiction(e.to_string()))?;
    }
}

/// Writes a gap that the gateway declared.
pub(super) async fn record_gap(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    gap: &Gap,
) -> Result<(), Fault> {
    replace_not_held(t, tenant, key, (gap.first, gap.last)).await?;
    insert_gap(t, tenant, key, (gap.first, gap.last), (gap.samples, gap.reason.name(), gap.at)).await
}

/// Cuts `first..=last` out of the gaps that nobody had declared.
async fn replace_not_held(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    (first, last): (Sequence, Sequence),
) -> Result<(), Fault> {
    let (gateway, epoch, stream) = key.columns();
    let sql = "DELETE FROM gap WHERE tenant = $1 AND gateway = $2 AND epoch = $3 AND stream = $4
               AND reason = $5 AND first <= $6 AND last >= $7 RETURNING first, last, at";
    let bounds = (sequence_number(last), sequence_number(first));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&tenant.as_str(), &gateway, &epoch, &stream, &NOT_HELD, &bounds.0, &bounds.1];
    let overlapping = rows(t, sql, &params, |r| Ok((r.sequence(0)?, r.sequence(1)?, r.time(2)?))).await?;
    for (start, end, at) in overlapping {
        for rest in [(start, first.previous()), (last.next(), end)] {
            if rest.0 <= rest.1 {
                insert_gap(t, tenant, key, rest, (0, NOT_HELD, at)).await?;
            }
        }
    }
    Ok(())
}

async fn insert_gap(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    (first, last): (Sequence, Sequence),
    (samples, reason, at): (u64, &str, Timestamp),
) -> Result<(), Fault> {
    let sql = "INSERT INTO gap (tenant, gateway, epoch, stream, first, last, samples, reason, at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let (gateway, epoch, stream) = key.columns();
    let (first, last, samples) = (sequence_number(first), sequence_number(last), int(samples));
    let tenant = tenant.as_str();
    execute(t, sql, &[&tenant, &gateway, &epoch, &stream, &first, &last, &samples, &reason, &at.micros()])
        .await?;
    Ok(())
}

/// Writes samples that the gateway lost before they became a batch.
pub(super) async fn record_dropped(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    (sequence, position): (Sequence, i64),
    dropped: &Dropped,
) -> Result<(), Fault> {
    let sql =
        "INSERT INTO dropped (tenant, gateway, epoch, sequence, position, samples, reason, from_at, to_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let (gateway, epoch, _) = key.columns();
    let (sequence, samples, reason) =
        (sequence_number(sequence), int(dropped.samples), dropped.reason.name());
    let (tenant, from, to) = (tenant.as_str(), dropped.from.micros(), dropped.to.micros());
    execute(t, sql, &[&tenant, &gateway, &epoch, &sequence, &position, &samples, &reason, &from, &to])
        .await?;
    Ok(())
}

/// Writes what happened to the time of the gateway.
pub(super) async fn record_clock(
    t: &Transaction<'_>,
    tenant: &TenantId,
    key: &StreamKey,
    (sequence, position): (Sequence, i64),
    clock: &ClockRecord,
) -> Result<(), Fault> {
    let sql = "INSERT INTO clock_change
                 (tenant, gateway, epoch, sequence, position, change, from_at, to_at, uptime_us, samples)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (gateway, epoch, _) = key.columns();
    let (tenant, sequence, change) = (tenant.as_str(), sequence_number(sequence), clock.change.name());
    let (from, to) = (clock.from.micros(), clock.to.micros());
    let (uptime, samples) = (int(clock.uptime.micros()), int(clock.samples));
    execute(
        t,
        sql,
        &[&tenant, &gateway, &epoch, &sequence, &position, &change, &from, &to, &uptime, &samples],
    )
    .await?;
    Ok(())
}
