//! Batches that wait to be sealed.

use std::ops::Range;

use bytes::Bytes;
use plant_model::Timestamp;
use protocol::{Epoch, Sequence, StreamId};
use segments::WaitingBatch;
use tiering::{SealingStream, UnsealedBatch};
use tokio_postgres::Row;

use super::{Of, most};
use crate::codec::{Columns, epoch_bits, rows, sequence_number, stream_code};
use crate::error::Fault;

const TELEMETRY: StreamId = StreamId::Telemetry;

impl Of<'_> {
    pub(super) async fn sealing_streams(&self) -> Result<Vec<SealingStream>, Fault> {
        let sql = "SELECT s.epoch, coalesce(d.through, 0), coalesce(w.last, 0) FROM stream s
                   LEFT JOIN sealed d ON d.tenant = s.tenant AND d.gateway = s.gateway AND d.epoch = s.epoch
                   LEFT JOIN coverage w ON w.tenant = s.tenant AND w.gateway = s.gateway AND w.epoch = s.epoch
                     AND w.stream = s.stream AND w.first = 1
                   WHERE s.tenant = $1 AND s.gateway = $2 AND s.stream = $3";
        let (tenant, gateway) = self.key();
        let mut streams = rows(self.t, sql, &[&tenant, &gateway, &stream_code(TELEMETRY)], |r| {
            Ok(SealingStream {
                epoch: r.epoch(0)?,
                sealed_through: r.sequence(1)?,
                committed_through: r.sequence(2)?,
            })
        })
        .await?;
        streams.sort_by_key(|stream| stream.epoch);
        Ok(streams)
    }

    pub(super) async fn waiting_batches(
        &self,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<WaitingBatch>, Fault> {
        let sql = "SELECT sequence, first_at, received_at, count FROM batch
                   WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND epoch = $4 ORDER BY sequence LIMIT $5";
        let (tenant, gateway) = self.key();
        let key = (stream_code(TELEMETRY), epoch_bits(epoch));
        rows(self.t, sql, &[&tenant, &gateway, &key.0, &key.1, &most(limit)], |r| {
            Ok(WaitingBatch {
                sequence: r.sequence(0)?,
                first_at: r.time(1)?,
                received_at: r.time(2)?,
                count: r.position(3)?,
            })
        })
        .await
    }

    pub(super) async fn batches_through(
        &self,
        epoch: Epoch,
        through: Sequence,
    ) -> Result<Vec<UnsealedBatch>, Fault> {
        let sql = "SELECT epoch, sequence, body FROM batch
                   WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND epoch = $4 AND sequence <= $5
                   ORDER BY sequence";
        let (tenant, gateway) = self.key();
        let key = (stream_code(TELEMETRY), epoch_bits(epoch), sequence_number(through));
        rows(self.t, sql, &[&tenant, &gateway, &key.0, &key.1, &key.2], read).await
    }

    pub(super) async fn unsealed_batches(
        &self,
        range: Range<Timestamp>,
        limit: usize,
    ) -> Result<Vec<UnsealedBatch>, Fault> {
        // Epochs are numbers without a sign, in the columns of those with one.
        let sql = "SELECT epoch, sequence, body FROM batch
                   WHERE tenant = $1 AND gateway = $2 AND stream = $3 AND last_at >= $4 AND first_at < $5
                   ORDER BY epoch < 0, epoch, sequence LIMIT $6";
        let (tenant, gateway) = self.key();
        let (start, end) = (range.start.micros(), range.end.micros());
        let stream = stream_code(TELEMETRY);
        rows(self.t, sql, &[&tenant, &gateway, &stream, &start, &end, &most(limit)], read).await
    }
}

fn read(r: &Row) -> Result<UnsealedBatch, Fault> {
    Ok(UnsealedBatch {
        epoch: r.epoch(0)?,
        sequence: r.sequence(1)?,
        body: Bytes::copy_from_slice(r.bytes(2)?),
    })
}
