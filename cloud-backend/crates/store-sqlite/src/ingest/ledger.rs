//! The state of one stream inside a transaction: loaded once, changed in memory, written at the end.

use std::collections::BTreeMap;

use ingestion::{Coverage, Tally};
use plant_model::{GatewayId, Timestamp};
use protocol::{CumulativeAck, Epoch, Sequence, StreamId};
use rusqlite::{Connection, params};

use crate::codec::{Columns, epoch_bits, execute, int, rows, sequence_number};
use crate::error::Fault;

/// Which stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey {
    pub(super) gateway: GatewayId,
    pub(super) epoch: Epoch,
    pub(super) stream: StreamId,
}

impl StreamKey {
    /// The stream of the same gateway and epoch.
    pub(super) fn sibling(&self, stream: StreamId) -> Self {
        Self { stream, ..self.clone() }
    }

    /// As the first three parameters of a statement.
    pub(super) fn columns(&self) -> (&str, i64, i64) {
        (self.gateway.as_str(), epoch_bits(self.epoch), i64::from(self.stream.code()))
    }
}

/// A stream as the transaction sees it.
#[derive(Debug)]
pub(super) struct StreamState {
    before: Coverage,
    pub(super) coverage: Coverage,
    pub(super) tally: Tally,
    longest_span: i64,
    /// The highest sequence that came.
    highest: Sequence,
}

impl StreamState {
    fn load(c: &Connection, key: &StreamKey) -> Result<Self, Fault> {
        let sql = "SELECT first, last FROM coverage WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3";
        let ranges = rows(c, sql, key.columns(), |r| Ok((r.sequence(0)?, r.sequence(1)?)))?;
        let coverage = Coverage::from_ranges(ranges);
        Ok(Self {
            before: coverage.clone(),
            coverage,
            tally: Tally::default(),
            longest_span: 0,
            highest: Sequence::ZERO,
        })
    }

    pub(super) fn note_span(&mut self, first: Timestamp, last: Timestamp) {
        self.longest_span = self.longest_span.max(last.micros().saturating_sub(first.micros()));
    }

    pub(super) fn note_arrival(&mut self, sequence: Sequence) {
        self.highest = self.highest.max(sequence);
    }

    fn save(&self, c: &Connection, key: &StreamKey) -> Result<(), Fault> {
        debug_assert!(self.tally.balances(), "every message has a fate");
        self.save_coverage(c, key)?;
        self.save_counters(c, key)?;
        self.save_rejections(c, key)
    }

    fn save_coverage(&self, c: &Connection, key: &StreamKey) -> Result<(), Fault> {
        if self.before == self.coverage {
            return Ok(());
        }
        let before: BTreeMap<_, _> = self.before.ranges().collect();
        let after: BTreeMap<_, _> = self.coverage.ranges().collect();
        let (gateway, epoch, stream) = key.columns();
        let delete = "DELETE FROM coverage WHERE gateway = ?1 AND epoch = ?2 AND stream = ?3 AND first = ?4";
        for first in before.keys().filter(|first| !after.contains_key(first)) {
            execute(c, delete, params![gateway, epoch, stream, sequence_number(*first)])?;
        }
        let upsert = "INSERT INTO coverage (gateway, epoch, stream, first, last) VALUES (?1, ?2, ?3, ?4, ?5)
                      ON CONFLICT (gateway, epoch, stream, first) DO UPDATE SET last = excluded.last";
        for (first, last) in after.iter().filter(|(first, last)| before.get(first) != Some(last)) {
            let range = (sequence_number(*first), sequence_number(*last));
            execute(c, upsert, params![gateway, epoch, stream, range.0, range.1])?;
        }
        Ok(())
    }

    fn save_counters(&self, c: &Connection, key: &StreamKey) -> Result<(), Fault> {
        let sql = "INSERT INTO stream (gateway, epoch, stream, received, stored, duplicate, samples_stored,
                     bytes_received, longest_span, last_received_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                   ON CONFLICT (gateway, epoch, stream) DO UPDATE SET
                     received = received + excluded.received, stored = stored + excluded.stored,
                     duplicate = duplicate + excluded.duplicate,
                     samples_stored = samples_stored + excluded.samples_stored,
                     bytes_received = bytes_received + excluded.bytes_received,
                     longest_span = max(longest_span, excluded.longest_span),
                     last_received_at = coalesce(max(last_received_at, excluded.last_received_at),
                                                 last_received_at, excluded.last_received_at)";
        let (gateway, epoch, stream) = key.columns();
        let t = &self.tally;
        execute(
            c,
            sql,
            params![
                gateway,
                epoch,
                stream,
                int(t.received),
                int(t.stored),
                int(t.duplicate),
                int(t.samples_stored),
                int(t.bytes_received),
                self.longest_span,
                t.last_received_at.map(Timestamp::micros)
            ],
        )?;
        Ok(())
    }

    fn save_rejections(&self, c: &Connection, key: &StreamKey) -> Result<(), Fault> {
        let sql = "INSERT INTO rejection (gateway, epoch, stream, reason, count) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (gateway, epoch, stream, reason) DO UPDATE SET count = count + excluded.count";
        let (gateway, epoch, stream) = key.columns();
        for (reason, count) in &self.tally.rejected {
            execute(c, sql, params![gateway, epoch, stream, reason, int(*count)])?;
        }
        Ok(())
    }
}

/// The streams that a transaction touched.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<StreamKey, StreamState>);

impl Streams {
    pub(super) fn get(&mut self, c: &Connection, key: &StreamKey) -> Result<&mut StreamState, Fault> {
        if !self.0.contains_key(key) {
            let state = StreamState::load(c, key)?;
            self.0.insert(key.clone(), state);
        }
        Ok(self.0.get_mut(key).expect("it was just put there"))
    }

    /// Writes all of them and answers where they stand.
    pub(super) fn save(self, c: &Connection) -> Result<Vec<(GatewayId, CumulativeAck)>, Fault> {
        let mut acks = Vec::with_capacity(self.0.len());
        for (key, state) in self.0 {
            state.save(c, &key)?;
            let ack = CumulativeAck {
                epoch: key.epoch,
                stream: key.stream,
                committed_through: state.coverage.committed_through(),
                missing_through: state.coverage.missing_below(state.highest),
                last_checksum: None,
            };
            acks.push((key.gateway, ack));
        }
        Ok(acks)
    }
}
