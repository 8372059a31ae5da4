//! One transaction: batches get their numbers and are inserted together with what belongs to them.

use plant_model::Timestamp;
use protocol::{
    Batch, BatchBody, BatchHeader, DecodeError, Detail, DiagnosticRecord, Epoch, Gap, LossReason, Sequence,
    StreamId,
};
use rusqlite::{Connection, Transaction, params};

use crate::StoreError;
use crate::file::failed;
use crate::placing::{BootNow, note_unplaced};
use crate::schema::{key, keys, sequence_of};
use crate::seal::Cipher;

/// How many numbers of each stream are left out after damage: more than the log can have held, and more
/// than a plant commits in five days.
pub(crate) const NUMBERS_SKIPPED: u64 = 100_000;

/// How many numbers of series are left out after damage.
const SERIES_SKIPPED: i64 = 10_000;

/// One number for each stream, in the order of [`StreamId::ALL`].
pub(crate) type PerStream = [Sequence; StreamId::ALL.len()];

/// What a transaction works with.
pub(crate) struct Writing<'a> {
    pub connection: &'a Transaction<'a>,
    pub cipher: &'a Cipher,
    pub epoch: Epoch,
    pub next: PerStream,
    pub message_bytes_max: usize,
    /// The boot in which this is.
    pub boot: Option<BootNow>,
    /// What is written as the time of a commit; `None`: what the caller says.
    pub committed_at: Option<Timestamp>,
    /// Whether the numbers can be read off the batches, so that they need not be written.
    pub only_appends: bool,
}

impl Writing<'_> {
    /// Appends a batch to its stream.
    pub(crate) fn append(
        &mut self,
        detail: Detail,
        body: &BatchBody,
        now: Timestamp,
    ) -> Result<BatchHeader, StoreError> {
        let stream = body.stream();
        let sequence = self.next[slot(stream)];
        let message = Batch::encode_as(detail, self.epoch, sequence, now, body)?;
        if message.len() > self.message_bytes_max {
            let (what, actual) = ("the message in bytes", message.len());
            return Err(DecodeError::TooLarge { what, actual, allowed: self.message_bytes_max }.into());
        }
        let header = BatchHeader::read(&message)?;
        self.insert(&header, self.committed_at.unwrap_or(now).micros(), message)
            .map_err(failed("insert a batch"))?;
        self.next[slot(stream)] = sequence.next();
        Ok(header)
    }

    /// Puts a message into its row.
    pub(crate) fn insert(
        &mut self,
        header: &BatchHeader,
        committed_at: i64,
        message: Vec<u8>,
    ) -> rusqlite::Result<()> {
        let sql =
            "INSERT INTO outbox (key, committed_at, count, thinned, message) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (key, thinned) = (key(header.stream, header.sequence), header.detail == Detail::Thinned);
        let stored = self.cipher.seal(key, message);
        self.connection.prepare_cached(sql)?.execute(params![
            key,
            committed_at,
            header.count,
            thinned,
            stored
        ])?;
        note_unplaced(self.connection, self.boot, key, header)
    }

    /// Appends diagnostic records.
    pub(crate) fn record(
        &mut self,
        records: Vec<DiagnosticRecord>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.append(Detail::Full, &BatchBody::Records(records), now).map(|_| ())
    }

    /// Goes on with numbers that lie further on, of streams and of series.
    pub(crate) fn skip(&mut self, numbers: u64) -> rusqlite::Result<()> {
        self.next = self.next.map(|next| Sequence::from_u64(next.as_u64() + numbers));
        let sql = "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'series'";
        self.connection.execute(sql, [SERIES_SKIPPED]).map(|_| ())
    }

    /// Goes on from numbers of another file.
    pub(crate) fn continue_from(&mut self, next: PerStream) {
        self.next = next;
    }
}

/// Where a stream has its place in [`PerStream`].
pub(crate) const fn slot(stream: StreamId) -> usize {
    match stream {
        StreamId::Alarm => 0,
        StreamId::Diagnostic => 1,
        StreamId::Telemetry => 2,
    }
}

/// The record of batches that a damaged file gave up.
pub(crate) fn damaged(stream: StreamId, first: Sequence, last: Sequence, at: Timestamp) -> DiagnosticRecord {
    DiagnosticRecord::Gap(Gap { stream, first, last, samples: 0, reason: LossReason::Damaged, at })
}

/// Next sequences and watermarks. The next one is beyond the newest batch, if that can be read.
pub(crate) fn read_streams(connection: &Connection) -> rusqlite::Result<(PerStream, PerStream)> {
    let (mut next, mut acked) = (PerStream::default(), PerStream::default());
    for stream in StreamId::ALL {
        let row = connection
            .prepare_cached("SELECT next, acked FROM stream WHERE code = ?1")?
            .query_row([stream.code()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let newest: Option<i64> = connection
            .prepare_cached("SELECT max(key) FROM outbox WHERE key BETWEEN ?1 AND ?2")
            .and_then(|mut statement| statement.query_row(keys(stream), |row| row.get(0)))
            .unwrap_or(None);
        next[slot(stream)] = newest.map_or(Sequence::ZERO, sequence_of).next().max(sequence_of(row.0));
        acked[slot(stream)] = sequence_of(row.1);
    }
    Ok((next, acked))
}

pub(crate) fn write_streams(
    connection: &Connection,
    next: PerStream,
    acked: PerStream,
) -> rusqlite::Result<()> {
    // A row that stays as it is does not become a page to write.
    let sql = "UPDATE stream SET next = ?2, acked = ?3 WHERE code = ?1 AND (next <> ?2 OR acked <> ?3)";
    let mut statement = connection.prepare_cached(sql)?;
    for stream in StreamId::ALL {
        let (next, acked) = (number(next[slot(stream)]), number(acked[slot(stream)]));
        statement.execute(params![stream.code(), next, acked])?;
    }
    Ok(())
}

/// SQLite numbers are signed; sequences stay far below 2^63.
fn number(sequence: Sequence) -> i64 {
    i64::try_from(sequence.as_u64()).unwrap_or(i64::MAX)
}
