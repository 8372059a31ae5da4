//! A write set in one transaction.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use ingestion::{
    Applied, Contents, Coverage, Fate, Judged, Placement, PreparedBatch, Tally, Verdict, WriteSet,
};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{BatchHeader, DiagnosticRecord, Sequence, StreamId};
use tokio_postgres::types::ToSql;

use super::pending::Pending;
use super::streams::{StreamKey, Streams};
use super::{alarms, losses};
use crate::codec::{Columns, execute, int, row, sequence_number, stream_code};
use crate::error::Fault;

pub(super) async fn apply(
    t: &Transaction<'_>,
    tenant: &TenantId,
    set: &WriteSet,
    stored_at: Timestamp,
) -> Result<Applied, Fault> {
    let streams = Streams::load(t, tenant, set.entries.iter().flat_map(named_streams)).await?;
    let (pending, unreadable) = (Pending::default(), BTreeMap::new());
    let mut work = Application { t, tenant, stored_at, streams, pending, unreadable };
    let mut fates = Vec::with_capacity(set.entries.len());
    for message in &set.entries {
        fates.push(work.take(message).await?);
    }
    work.pending.flush(t, tenant).await?;
    work.save_unreadable().await?;
    Ok(Applied { stored_at, fates, acks: work.streams.save(t, tenant).await? })
}

/// The streams that a message has to do with.
fn named_streams(message: &Judged) -> Vec<StreamKey> {
    let Some(header) = message.verdict.header() else { return Vec::new() };
    let key = key_of(message, header);
    let claimed = claims(header, &message.verdict).into_iter().map(|(stream, ..)| stream);
    // What was dropped is shown with the telemetry.
    claimed.chain([StreamId::Telemetry]).map(|stream| key.sibling(stream)).collect()
}

fn key_of(message: &Judged, header: &BatchHeader) -> StreamKey {
    StreamKey { gateway: message.gateway.clone(), epoch: header.epoch, stream: header.stream }
}

struct Application<'c, 's> {
    t: &'c Transaction<'c>,
    tenant: &'c TenantId,
    stored_at: Timestamp,
    streams: Streams,
    pending: Pending<'s>,
    /// Messages without a header, by the stream of their topic.
    unreadable: BTreeMap<(GatewayId, StreamId), Tally>,
}

impl<'s> Application<'_, 's> {
    async fn take(&mut self, message: &'s Judged) -> Result<Fate, Fault> {
        let Some(header) = message.verdict.header() else {
            let fate = message.verdict.fate(Placement::New);
            let tally = self.unreadable.entry((message.gateway.clone(), message.stream)).or_default();
            tally.count(message, fate);
            return Ok(fate);
        };
        let key = key_of(message, header);
        let placement = self.place(&key, header, &message.verdict).await?;
        if placement == Placement::New {
            self.store(&key, message).await?;
        }
        let fate = message.verdict.fate(placement);
        let state = self.streams.get(&key);
        state.tally.count(message, fate);
        state.note_arrival(header.sequence);
        Ok(fate)
    }

    /// Finds the place of a message and takes it if it is free, together with the ranges that the message
    /// declares lost: all of them or none.
    async fn place(
        &mut self,
        key: &StreamKey,
        header: &BatchHeader,
        verdict: &Verdict,
    ) -> Result<Placement, Fault> {
        let covered = self.streams.get(key).coverage.contains(header.sequence);
        if covered {
            if !self.is_free(key, header.sequence).await? {
                return Ok(Placement::Duplicate);
            }
            self.note_recovered(key).await?;
        }
        let mut trials: BTreeMap<StreamId, Coverage> = BTreeMap::new();
        for (stream, first, last) in claims(header, verdict) {
            let coverage = || self.streams.get(&key.sibling(stream)).coverage.clone();
            if trials.entry(stream).or_insert_with(coverage).cover(first, last).is_err() {
                return Ok(Placement::NoRoom);
            }
        }
        for (stream, trial) in trials {
            self.streams.get(&key.sibling(stream)).coverage = trial;
        }
        Ok(Placement::New)
    }

    /// Whether a sequence that is accounted for was only believed lost: then a batch that arrives after
    /// all is stored rather than thrown away.
    async fn is_free(&mut self, key: &StreamKey, sequence: Sequence) -> Result<bool, Fault> {
        // The question is put to the tables.
        self.pending.flush(self.t, self.tenant).await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM gap WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                                  AND stream = $4 AND first <= $5 AND last >= $5)
                      AND NOT EXISTS (SELECT 1 FROM batch WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                                      AND stream = $4 AND sequence = $5)
                      AND NOT EXISTS (SELECT 1 FROM quarantine WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                                      AND stream = $4 AND sequence = $5)
                      AND NOT EXISTS (SELECT 1 FROM recovered WHERE tenant = $1 AND gateway = $2 AND epoch = $3
                                      AND $4 = $6 AND sequence = $5)";
        let (gateway, epoch, stream) = key.columns();
        let number = sequence_number(sequence);
        let tenant = self.tenant.as_str();
        let telemetry = stream_code(StreamId::Telemetry);
        let params: [&(dyn ToSql + Sync); 6] = [&tenant, &gateway, &epoch, &stream, &number, &telemetry];
        Ok(row(self.t, sql, &params, |r| r.flag(0)).await?.unwrap_or(false))
    }

    /// A batch that comes after all lies below others that may just be being sealed. Whoever does that has not seen it:
    /// the higher revision makes him look again, before he takes everything below for sealed.
    async fn note_recovered(&self, key: &StreamKey) -> Result<(), Fault> {
        let sql = "INSERT INTO tier AS t (tenant, gateway, revision) VALUES ($1, $2, 1)
                   ON CONFLICT (tenant, gateway) DO UPDATE SET revision = t.revision + 1";
        execute(self.t, sql, &[&self.tenant.as_str(), &key.gateway.as_str()]).await?;
        Ok(())
    }

    async fn store(&mut self, key: &StreamKey, message: &'s Judged) -> Result<(), Fault> {
        match &message.verdict {
            Verdict::Store(batch) => {
                let h = &batch.header;
                self.pending.batch(key.clone(), batch, message.received_at);
                self.streams.get(key).note_span(h.first_at, h.last_at);
                self.insert_contents(key, batch).await
            }
            Verdict::Quarantine(batch) => {
                self.pending.quarantined(key.clone(), batch, message.received_at);
                Ok(())
            }
            Verdict::Refuse { .. } => Ok(()),
        }
    }

    async fn insert_contents(&mut self, key: &StreamKey, batch: &PreparedBatch) -> Result<(), Fault> {
        let sequence = batch.header.sequence;
        match &batch.contents {
            Contents::Samples => Ok(()),
            Contents::Transitions(list) => {
                alarms::record(self.t, self.tenant, (key, sequence), list, self.stored_at).await
            }
            Contents::Records(list) => {
                for (position, record) in (0..).zip(list) {
                    self.insert_record(key, (sequence, position), record).await?;
                }
                Ok(())
            }
        }
    }

    async fn insert_record(
        &mut self,
        key: &StreamKey,
        at: (Sequence, i64),
        record: &DiagnosticRecord,
    ) -> Result<(), Fault> {
        match record {
            DiagnosticRecord::Gap(gap) => {
                losses::record_gap(self.t, self.tenant, &key.sibling(gap.stream), gap).await
            }
            DiagnosticRecord::Dropped(dropped) => {
                // Touched, so that the row of the telemetry stream exists to show it.
                self.streams.get(&key.sibling(StreamId::Telemetry));
                losses::record_dropped(self.t, self.tenant, key, at, dropped).await
            }
            DiagnosticRecord::Clock(clock) => losses::record_clock(self.t, self.tenant, key, at, clock).await,
        }
    }

    async fn save_unreadable(&self) -> Result<(), Fault> {
        let sql = "INSERT INTO unreadable AS u
                     (tenant, gateway, stream, reason, count, bytes_received, last_received_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (tenant, gateway, stream, reason) DO UPDATE SET count = u.count + excluded.count,
                     bytes_received = u.bytes_received + excluded.bytes_received,
                     last_received_at = greatest(u.last_received_at, excluded.last_received_at)";
        let tenant = self.tenant.as_str();
        for ((gateway, stream), tally) in &self.unreadable {
            // The bytes of all reasons are written with the first: they are only ever summed up.
            let mut bytes = int(tally.bytes_received);
            for (reason, count) in &tally.rejected {
                let at = tally.last_received_at.map_or(0, Timestamp::micros);
                let (gateway, stream) = (gateway.as_str(), stream_code(*stream));
                let row: [&(dyn ToSql + Sync); 7] =
                    [&tenant, &gateway, &stream, reason, &int(*count), &bytes, &at];
                execute(self.t, sql, &row).await?;
                bytes = 0;
            }
        }
        Ok(())
    }
}

/// The ranges that a message accounts for: its own place and what it declares lost.
fn claims(header: &BatchHeader, verdict: &Verdict) -> Vec<(StreamId, Sequence, Sequence)> {
    let mut claims = vec![(header.stream, header.sequence, header.sequence)];
    if let Verdict::Store(PreparedBatch { contents: Contents::Records(records), .. }) = verdict {
        claims.extend(records.iter().filter_map(|record| match record {
            DiagnosticRecord::Gap(gap) => Some((gap.stream, gap.first, gap.last)),
            DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => None,
        }));
    }
    claims
}
