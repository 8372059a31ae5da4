//! The state of the streams inside a transaction: loaded together, changed in memory, written together at the end.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use ingestion::{Coverage, Tally};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{CumulativeAck, Epoch, Sequence, StreamId};

use crate::codec::{Columns, epoch_bits, execute, int, rows, sequence_number, stream_code};
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

    /// As columns: gateway, epoch, stream.
    pub(super) fn columns(&self) -> (&str, i64, i64) {
        (self.gateway.as_str(), epoch_bits(self.epoch), stream_code(self.stream))
    }
}

/// A stream as the transaction sees it.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    before: Coverage,
    pub(super) coverage: Coverage,
    pub(super) tally: Tally,
    longest_span: i64,
    /// The highest sequence that came.
    highest: Sequence,
    /// Whether the transaction has to do with it, or only might have had.
    touched: bool,
}

impl StreamState {
    pub(super) fn note_span(&mut self, first: Timestamp, last: Timestamp) {
        self.longest_span = self.longest_span.max(last.micros().saturating_sub(first.micros()));
    }

    pub(super) fn note_arrival(&mut self, sequence: Sequence) {
        self.highest = self.highest.max(sequence);
    }
}

/// The streams that a transaction may touch.
#[derive(Debug)]
pub(super) struct Streams(BTreeMap<StreamKey, StreamState>);

/// The first three columns of every table of streams, one entry a row.
#[derive(Default)]
struct KeyColumns<'k> {
    gateways: Vec<&'k str>,
    epochs: Vec<i64>,
    streams: Vec<i64>,
}

impl<'k> KeyColumns<'k> {
    fn push(&mut self, key: &'k StreamKey) {
        let (gateway, epoch, stream) = key.columns();
        self.gateways.push(gateway);
        self.epochs.push(epoch);
        self.streams.push(stream);
    }
}

impl<'k> FromIterator<&'k StreamKey> for KeyColumns<'k> {
    fn from_iter<I: IntoIterator<Item = &'k StreamKey>>(keys: I) -> Self {
        let mut columns = Self::default();
        keys.into_iter().for_each(|key| columns.push(key));
        columns
    }
}

impl Streams {
    /// Reads what is known of the streams. Only these can be asked for later.
    pub(super) async fn load(
        t: &Transaction<'_>,
        tenant: &TenantId,
        keys: impl IntoIterator<Item = StreamKey>,
    ) -> Result<Self, Fault> {
        let mut all: BTreeMap<_, _> = keys.into_iter().map(|key| (key, StreamState::default())).collect();
        let k: KeyColumns<'_> = all.keys().collect();
        let sql = "SELECT c.gateway, c.epoch, c.stream, c.first, c.last FROM coverage c
                   JOIN unnest($2::text[], $3::bigint[], $4::bigint[]) AS k (gateway, epoch, stream)
                     USING (gateway, epoch, stream) WHERE c.tenant = $1";
        let ranges = rows(t, sql, &[&tenant.as_str(), &k.gateways, &k.epochs, &k.streams], |r| {
            let key = StreamKey { gateway: r.parsed(0)?, epoch: r.epoch(1)?, stream: r.stream(2)? };
            Ok((key, (r.sequence(3)?, r.sequence(4)?)))
        })
        .await?;
        let mut by_stream: BTreeMap<StreamKey, Vec<_>> = BTreeMap::new();
        for (key, range) in ranges {
            by_stream.entry(key).or_default().push(range);
        }
        for (key, ranges) in by_stream {
            let coverage = Coverage::from_ranges(ranges);
            if let Some(state) = all.get_mut(&key) {
                *state = StreamState { before: coverage.clone(), coverage, ..StreamState::default() };
            }
        }
        Ok(Self(all))
    }

    /// The state of a stream, which is written at the end.
    pub(super) fn get(&mut self, key: &StreamKey) -> &mut StreamState {
        let state = self.0.get_mut(key).expect("whatever a message names was loaded before");
        state.touched = true;
        state
    }

    /// Writes those that were touched and answers where they stand.
    pub(super) async fn save(
        mut self,
        t: &Transaction<'_>,
        tenant: &TenantId,
    ) -> Result<Vec<(GatewayId, CumulativeAck)>, Fault> {
        self.0.retain(|_, state| state.touched);
        debug_assert!(self.0.values().all(|s| s.tally.balances()), "every message has a fate");
        self.save_coverage(t, tenant).await?;
        self.save_counters(t, tenant).await?;
        self.save_rejections(t, tenant).await?;
        let ack = |(key, state): (StreamKey, StreamState)| {
            let ack = CumulativeAck {
                epoch: key.epoch,
                stream: key.stream,
                committed_through: state.coverage.committed_through(),
                missing_through: state.coverage.missing_below(state.highest),
                last_checksum: None,
            };
            (key.gateway, ack)
        };
        Ok(self.0.into_iter().map(ack).collect())
    }

    async fn save_coverage(&self, t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
        let (mut gone, mut gone_first) = (KeyColumns::default(), Vec::new());
        let (mut new, mut new_first, mut new_last) = (KeyColumns::default(), Vec::new(), Vec::new());
        for (key, state) in self.0.iter().filter(|(_, s)| s.before != s.coverage) {
            let before: BTreeMap<_, _> = state.before.ranges().collect();
            let after: BTreeMap<_, _> = state.coverage.ranges().collect();
            for first in before.keys().filter(|first| !after.contains_key(first)) {
                gone.push(key);
                gone_first.push(sequence_number(*first));
            }
            for (first, last) in after.iter().filter(|(first, last)| before.get(first) != Some(last)) {
                new.push(key);
                new_first.push(sequence_number(*first));
                new_last.push(sequence_number(*last));
            }
        }
        let tenant = tenant.as_str();
        if !gone_first.is_empty() {
            let sql = "DELETE FROM coverage c
                       USING unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
                         AS k (gateway, epoch, stream, first)
                       WHERE c.tenant = $1 AND c.gateway = k.gateway AND c.epoch = k.epoch
                         AND c.stream = k.stream AND c.first = k.first";
            execute(t, sql, &[&tenant, &gone.gateways, &gone.epochs, &gone.streams, &gone_first]).await?;
        }
        if !new_first.is_empty() {
            let sql = "INSERT INTO coverage (tenant, gateway, epoch, stream, first, last)
                       SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                       ON CONFLICT (tenant, gateway, epoch, stream, first) DO UPDATE SET last = excluded.last";
            let k = &new;
            execute(t, sql, &[&tenant, &k.gateways, &k.epochs, &k.streams, &new_first, &new_last]).await?;
        }
        Ok(())
    }

    async fn save_counters(&self, t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
        let sql = "INSERT INTO stream AS s (tenant, gateway, epoch, stream, received, stored, duplicate,
                     samples_stored, bytes_received, longest_span, last_received_at)
                   SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                     $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
                   ON CONFLICT (tenant, gateway, epoch, stream) DO UPDATE SET
                     received = s.received + excluded.received, stored = s.stored + excluded.stored,
                     duplicate = s.duplicate + excluded.duplicate,
                     samples_stored = s.samples_stored + excluded.samples_stored,
                     bytes_received = s.bytes_received + excluded.bytes_received,
                     longest_span = greatest(s.longest_span, excluded.longest_span),
                     last_received_at = greatest(s.last_received_at, excluded.last_received_at)";
        let k: KeyColumns<'_> = self.0.keys().collect();
        let column =
            |of: fn(&Tally) -> u64| -> Vec<i64> { self.0.values().map(|s| int(of(&s.tally))).collect() };
        let spans: Vec<i64> = self.0.values().map(|s| s.longest_span).collect();
        let last: Vec<Option<i64>> =
            self.0.values().map(|s| s.tally.last_received_at.map(Timestamp::micros)).collect();
        execute(
            t,
            sql,
            &[
                &tenant.as_str(),
                &k.gateways,
                &k.epochs,
                &k.streams,
                &column(|t| t.received),
                &column(|t| t.stored),
                &column(|t| t.duplicate),
                &column(|t| t.samples_stored),
                &column(|t| t.bytes_received),
                &spans,
                &last,
            ],
        )
        .await?;
        Ok(())
    }

    async fn save_rejections(&self, t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
        let (mut k, mut reasons, mut counts) = (KeyColumns::default(), Vec::new(), Vec::new());
        for (key, state) in &self.0 {
            for (reason, count) in &state.tally.rejected {
                k.push(key);
                reasons.push(*reason);
                counts.push(int(*count));
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO rejection AS r (tenant, gateway, epoch, stream, reason, count)
                   SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
                   ON CONFLICT (tenant, gateway, epoch, stream, reason)
                   DO UPDATE SET count = r.count + excluded.count";
        execute(t, sql, &[&tenant.as_str(), &k.gateways, &k.epochs, &k.streams, &reasons, &counts]).await?;
        Ok(())
    }
}
