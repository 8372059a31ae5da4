//! A write set in one transaction.

use std::collections::BTreeMap;

use ingestion::{
    Applied, Contents, Coverage, Fate, Judged, Placement, PreparedBatch, QuarantinedBatch, Tally, Verdict,
    WriteSet,
};
use plant_model::{GatewayId, Timestamp};
use protocol::{BatchHeader, DiagnosticRecord, Sequence, StreamId};
use rusqlite::{Connection, params};

use super::ledger::{StreamKey, Streams};
use super::{alarms, losses};
use crate::codec::{execute, int, row, sequence_number};
use crate::error::Fault;
use crate::tiers::{is_sealed, raise};

pub(super) fn apply(c: &Connection, set: &WriteSet, stored_at: Timestamp) -> Result<Applied, Fault> {
    let mut work = Application { c, stored_at, streams: Streams::default(), unreadable: BTreeMap::new() };
    let fates = set.entries.iter().map(|message| work.take(message)).collect::<Result<_, _>>()?;
    work.save_unreadable()?;
    Ok(Applied { stored_at, fates, acks: work.streams.save(c)? })
}

struct Application<'c> {
    c: &'c Connection,
    stored_at: Timestamp,
    streams: Streams,
    /// Messages without a header, by the stream of their topic.
    unreadable: BTreeMap<(GatewayId, StreamId), Tally>,
}

impl Application<'_> {
    fn take(&mut self, message: &Judged) -> Result<Fate, Fault> {
        let Some(header) = message.verdict.header() else {
            let fate = message.verdict.fate(Placement::New);
            let tally = self.unreadable.entry((message.gateway.clone(), message.stream)).or_default();
            tally.count(message, fate);
            return Ok(fate);
        };
        let key = StreamKey { gateway: message.gateway.clone(), epoch: header.epoch, stream: header.stream };
        let placement = self.place(&key, header, &message.verdict)?;
        if placement == Placement::New {
            self.store(&key, message)?;
        }
        let fate = message.verdict.fate(placement);
        let state = self.streams.get(self.c, &key)?;
        state.tally.count(message, fate);
        state.note_arrival(header.sequence);
        Ok(fate)
    }

    /// Finds the place of a message and takes it if it is free, together with the ranges that the message
    /// declares lost: all of them or none.
    fn place(
        &mut self,
        key: &StreamKey,
        header: &BatchHeader,
        verdict: &Verdict,
    ) -> Result<Placement, Fault> {
        let covered = self.streams.get(self.c, key)?.coverage.contains(header.sequence);
        if covered {
            if !self.is_free(key, header.sequence)? {
                return Ok(Placement::Duplicate);
            }
            // Whoever is sealing the batches above it has not seen it, and has to look again.
            raise(self.c, &key.gateway, None)?;
        }
        let mut trials: BTreeMap<StreamId, Coverage> = BTreeMap::new();
        for (stream, first, last) in claims(header, verdict) {
            let trial = match trials.entry(stream) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(self.streams.get(self.c, &key.sibling(stream))?.coverage.clone())
                }
            };
            if trial.cover(first, last).is_err() {
                return Ok(Placement::NoRoom);
            }
        }
        for (stream, trial) in trials {
            self.streams.get(self.c, &key.sibling(stream))?.coverage = trial;
        }
        Ok(Placement::New)
    }

    /// Whether a sequence that is accounted for was only believed lost: then a batch that arrives after
    /// all is stored rather than thrown away.
    fn is_free(&self, key: &StreamKey, sequence: Sequence) -> Result<bool, Fault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM gap WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3
                                  AND first <= ?4 AND last >= ?4)
                      AND NOT EXISTS (SELECT 1 FROM batch WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3
                                      AND sequence = ?4)
                      AND NOT EXISTS (SELECT 1 FROM quarantine WHERE gateway = ?1 AND epoch = ?2
                                      AND stream = ?3 AND sequence = ?4)";
        let (gateway, epoch, stream) = key.columns();
        if key.stream == StreamId::Telemetry && is_sealed(self.c, (gateway, epoch), sequence)? {
            return Ok(false);
        }
        let number = sequence_number(sequence);
        let free = row(self.c, sql, params![gateway, epoch, stream, number], |r| Ok(r.get::<_, bool>(0)?))?;
        Ok(free.unwrap_or(false))
    }

    fn store(&mut self, key: &StreamKey, message: &Judged) -> Result<(), Fault> {
        match &message.verdict {
            Verdict::Store(batch) => {
                self.insert_batch(key, batch, message.received_at)?;
                self.insert_contents(key, batch)
            }
            Verdict::Quarantine(batch) => self.insert_quarantined(key, batch, message.received_at),
            Verdict::Refuse { .. } => Ok(()),
        }
    }

    fn insert_batch(
        &mut self,
        key: &StreamKey,
        batch: &PreparedBatch,
        received_at: Timestamp,
    ) -> Result<(), Fault> {
        let sql = "INSERT INTO batch (gateway, epoch, stream, sequence, first_at, last_at, count, received_at, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let (gateway, epoch, stream) = key.columns();
        let h = &batch.header;
        execute(
            self.c,
            sql,
            params![
                gateway,
                epoch,
                stream,
                sequence_number(h.sequence),
                h.first_at.micros(),
                h.last_at.micros(),
                h.count,
                received_at.micros(),
                batch.payload.as_ref()
            ],
        )?;
        self.streams.get(self.c, key)?.note_span(h.first_at, h.last_at);
        Ok(())
    }

    fn insert_contents(&mut self, key: &StreamKey, batch: &PreparedBatch) -> Result<(), Fault> {
        let sequence = batch.header.sequence;
        match &batch.contents {
            Contents::Samples => Ok(()),
            Contents::Transitions(list) => (0..).zip(list).try_for_each(|(position, transition)| {
                alarms::record(self.c, key, (sequence, position), transition, self.stored_at)
            }),
            Contents::Records(list) => (0..).zip(list).try_for_each(|(position, record)| match record {
                DiagnosticRecord::Gap(gap) => losses::record_gap(self.c, &key.sibling(gap.stream), gap),
                DiagnosticRecord::Dropped(dropped) => {
                    // Touched, so that the row of the telemetry stream exists to show it.
                    self.streams.get(self.c, &key.sibling(StreamId::Telemetry))?;
                    losses::record_dropped(self.c, key, (sequence, position), dropped)
                }
                DiagnosticRecord::Clock(clock) => {
                    losses::record_clock(self.c, key, (sequence, position), clock)
                }
            }),
        }
    }

    fn insert_quarantined(
        &self,
        key: &StreamKey,
        batch: &QuarantinedBatch,
        received_at: Timestamp,
    ) -> Result<(), Fault> {
        let sql =
            "INSERT INTO quarantine (gateway, epoch, stream, sequence, reason, detail, received_at, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (gateway, epoch, stream) = key.columns();
        execute(
            self.c,
            sql,
            params![
                gateway,
                epoch,
                stream,
                sequence_number(batch.header.sequence),
                batch.reason,
                batch.detail,
                received_at.micros(),
                batch.payload.as_ref()
            ],
        )?;
        Ok(())
    }

    fn save_unreadable(&self) -> Result<(), Fault> {
        let sql = "INSERT INTO unreadable (gateway, stream, reason, count, bytes_received, last_received_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (gateway, stream, reason) DO UPDATE SET count = count + excluded.count,
                     bytes_received = bytes_received + excluded.bytes_received,
                     last_received_at = max(last_received_at, excluded.last_received_at)";
        for ((gateway, stream), tally) in &self.unreadable {
            // The bytes of all reasons are written with the first: they are only ever summed up.
            let mut bytes = tally.bytes_received;
            for (reason, count) in &tally.rejected {
                let at = tally.last_received_at.map_or(0, Timestamp::micros);
                let columns = (gateway.as_str(), i64::from(stream.code()));
                execute(self.c, sql, params![columns.0, columns.1, reason, int(*count), int(bytes), at])?;
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
