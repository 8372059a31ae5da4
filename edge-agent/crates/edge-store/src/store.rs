//! The outbox itself: synchronous, one connection, no threads.

use std::path::PathBuf;

use plant_model::{AlarmFlags, AlarmId, MachineId, TagId, Timestamp};
use protocol::{
    Batch, BatchBody, BatchHeader, DiagnosticRecord, Epoch, Gap, LossReason, Sequence, SeriesId, StreamId,
    StreamRange,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::{Settings, StoreError, schema};

/// Batches freed in one transaction: keeps each short, so that a commit never waits long behind it.
const FREE_CHUNK: i64 = 256;

/// A batch as it lies in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The stream.
    pub stream: StreamId,
    /// Its position in the stream.
    pub sequence: Sequence,
    /// The message, as it is sent.
    pub message: Vec<u8>,
}

/// Where an alarm stood when its last transition was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlarm {
    /// The machine.
    pub machine: MachineId,
    /// The alarm.
    pub alarm: AlarmId,
    /// Activations so far.
    pub occurrence: u64,
    /// What it remembers.
    pub flags: AlarmFlags,
}

/// A buffer, just opened.
#[derive(Debug)]
pub struct Opened {
    /// The buffer.
    pub store: EdgeStore,
    /// Where a damaged file was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// The gateway's buffer. See the crate for its layout.
#[derive(Debug)]
pub struct EdgeStore {
    connection: Connection,
    settings: Settings,
    epoch: Epoch,
    /// Bytes of all stored bodies.
    bytes: u64,
}

impl EdgeStore {
    /// Opens the buffer, or makes it. A damaged file is set aside and a new one made.
    ///
    /// # Errors
    /// The file can neither be used nor set aside, or was written by a newer version.
    pub fn open(settings: Settings, now: Timestamp) -> Result<Opened, StoreError> {
        let fresh_epoch: u64 = rand::random();
        let mut set_aside = None;
        let connection = match schema::open(&settings.path, fresh_epoch)? {
            Some(connection) => connection,
            None => {
                set_aside = Some(schema::set_aside(&settings.path, now.micros())?);
                schema::open(&settings.path, fresh_epoch)?.ok_or(StoreError::Open {
                    path: settings.path.clone(),
                    source: rusqlite::Error::InvalidQuery,
                })?
            }
        };
        let epoch = schema::epoch(&connection).map_err(failed("read the epoch"))?.unwrap_or(fresh_epoch);
        let bytes: i64 = connection
            .query_row("SELECT coalesce(sum(length(body)), 0) FROM batch", [], |row| row.get(0))
            .map_err(failed("measure itself"))?;
        let epoch = Epoch::from_u64(epoch);
        let store = Self { connection, settings, epoch, bytes: u64::try_from(bytes).unwrap_or(0) };
        Ok(Opened { store, set_aside })
    }

    /// The life of this file.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How it was set up.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The series numbers of a machine's tags, in their order; new tags get new numbers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn series(&mut self, machine: &MachineId, tags: &[TagId]) -> Result<Vec<SeriesId>, StoreError> {
        const ACTION: &str = "number the tags";
        let transaction = self.connection.transaction().map_err(failed(ACTION))?;
        let numbers = number_tags(&transaction, machine, tags).map_err(failed(ACTION))?;
        transaction.commit().map_err(failed(ACTION))?;
        Ok(numbers)
    }

    /// Where every alarm stood.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alarms(&self) -> Result<Vec<StoredAlarm>, StoreError> {
        const ACTION: &str = "read the alarms";
        const SQL: &str = "SELECT machine, alarm, occurrence, flags, shelved_until, review_at FROM alarm";
        let rows = self
            .connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.query_map([], stored_alarm)?.collect::<Result<Vec<_>, _>>())
            .map_err(failed(ACTION))?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Commits a batch: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// Nothing was written: the file cannot be written, or the body is no batch.
    pub fn commit(&mut self, body: &BatchBody, now: Timestamp) -> Result<BatchHeader, StoreError> {
        self.make_room(now)?;
        let epoch = self.epoch;
        let transaction = self.connection.transaction().map_err(failed("begin a commit"))?;
        let header = append(&transaction, epoch, body, now)?;
        if let BatchBody::Transitions(transitions) = body {
            remember_alarms(&transaction, transitions).map_err(failed("remember alarms"))?;
        }
        transaction.commit().map_err(failed("commit a batch"))?;
        self.bytes += header.1;
        Ok(header.0)
    }

    /// What is held of every stream.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ranges(&self) -> Result<[StreamRange; StreamId::ALL.len()], StoreError> {
        let mut ranges = StreamId::ALL.map(|stream| StreamRange {
            stream,
            oldest: Sequence::from_u64(1),
            next: Sequence::from_u64(1),
        });
        for range in &mut ranges {
            *range = self.range(range.stream).map_err(failed("look at a stream"))?;
        }
        Ok(ranges)
    }

    fn range(&self, stream: StreamId) -> rusqlite::Result<StreamRange> {
        let next: i64 = self
            .connection
            .prepare_cached("SELECT next FROM stream WHERE code = ?1")?
            .query_row([stream.code()], |row| row.get(0))?;
        let oldest: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(sequence) FROM batch WHERE stream = ?1")?
            .query_row([stream.code()], |row| row.get(0))?;
        Ok(StreamRange { stream, oldest: sequence(oldest.unwrap_or(next)), next: sequence(next) })
    }

    /// The batch at or after `from`, if one is held.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, stream: StreamId, from: Sequence) -> Result<Option<StoredBatch>, StoreError> {
        const SQL: &str =
            "SELECT sequence, body FROM batch WHERE stream = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT 1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_row(params![stream.code(), number(from)], |row| {
                        Ok(StoredBatch { stream, sequence: sequence(row.get(0)?), message: row.get(1)? })
                    })
                    .optional()
            })
            .map_err(failed("read a batch"))
    }

    /// Notes the backend's watermark. It may move back, when the backend was restored.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn acknowledge(&mut self, stream: StreamId, through: Sequence) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE stream SET acked = ?2 WHERE code = ?1 AND acked <> ?2")
            .and_then(|mut statement| statement.execute(params![stream.code(), number(through)]))
            .map_err(failed("note an acknowledgement"))?;
        Ok(())
    }

    /// Frees acknowledged batches that are older than the replay window. Returns how many were freed;
    /// at most one chunk a call.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn free_replayed(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let before = now.minus(self.settings.replay_window);
        self.free("b.committed_at < ?1", before.micros())
    }

    /// Bytes of the stored batches.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn free(&mut self, condition: &str, argument: i64) -> Result<usize, StoreError> {
        let sql = format!(
            "DELETE FROM batch WHERE (stream, sequence) IN (
                SELECT b.stream, b.sequence FROM batch b JOIN stream s ON s.code = b.stream
                WHERE b.sequence <= s.acked AND {condition}
                ORDER BY b.committed_at LIMIT {FREE_CHUNK})
             RETURNING length(body)"
        );
        let freed: Vec<i64> = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([argument], |row| row.get(0))?.collect())
            .map_err(failed("free batches"))?;
        self.bytes = self.bytes.saturating_sub(freed.iter().map(|n| u64::try_from(*n).unwrap_or(0)).sum());
        Ok(freed.len())
    }

    /// Brings the buffer below its bound: acknowledged batches first, then the oldest telemetry.
    fn make_room(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while self.bytes > self.settings.bytes_max {
            if self.free("?1 = 0", 0)? == 0 && !self.evict(now)? {
                break;
            }
        }
        Ok(())
    }

    /// Gives up the oldest telemetry and records the gap, in one transaction.
    fn evict(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        const ACTION: &str = "evict batches";
        const SQL: &str = "DELETE FROM batch WHERE stream = ?1 AND sequence IN (
                SELECT sequence FROM batch WHERE stream = ?1 ORDER BY sequence LIMIT 16)
            RETURNING sequence, count, length(body)";
        let epoch = self.epoch;
        let transaction = self.connection.transaction().map_err(failed(ACTION))?;
        let gone: Vec<(i64, i64, i64)> = transaction
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_map([StreamId::Telemetry.code()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?
                    .collect()
            })
            .map_err(failed(ACTION))?;
        let sequences = || gone.iter().map(|(s, _, _)| *s);
        let (Some(first), Some(last)) = (sequences().min(), sequences().max()) else { return Ok(false) };
        let gap = DiagnosticRecord::Gap(Gap {
            stream: StreamId::Telemetry,
            first: sequence(first),
            last: sequence(last),
            samples: gone.iter().map(|(_, n, _)| u64::try_from(*n).unwrap_or(0)).sum(),
            reason: LossReason::BufferFull,
            at: now,
        });
        let (_, added) = append(&transaction, epoch, &BatchBody::Records(vec![gap]), now)?;
        transaction.commit().map_err(failed(ACTION))?;
        let freed: u64 = gone.iter().map(|(_, _, n)| u64::try_from(*n).unwrap_or(0)).sum();
        self.bytes = (self.bytes + added).saturating_sub(freed);
        Ok(true)
    }
}

/// Appends a batch within a transaction; also says how many bytes it added.
fn append(
    transaction: &Transaction<'_>,
    epoch: Epoch,
    body: &BatchBody,
    now: Timestamp,
) -> Result<(BatchHeader, u64), StoreError> {
    let stream = body.stream();
    let next: i64 = transaction
        .prepare_cached("UPDATE stream SET next = next + 1 WHERE code = ?1 RETURNING next - 1")
        .and_then(|mut statement| statement.query_row([stream.code()], |row| row.get(0)))
        .map_err(failed("take a sequence"))?;
    let message = Batch::encode(epoch, sequence(next), now, body)?;
    let header = BatchHeader::read(&message)?;
    transaction
        .prepare_cached(
            "INSERT INTO batch (stream, sequence, committed_at, count, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![stream.code(), next, now.micros(), header.count, message])
        })
        .map_err(failed("insert a batch"))?;
    Ok((header, u64::try_from(message.len()).unwrap_or(u64::MAX)))
}

fn remember_alarms(
    transaction: &Transaction<'_>,
    transitions: &[plant_model::AlarmTransition],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO alarm (machine, alarm, occurrence, flags, shelved_until, review_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for t in transitions {
        statement.execute(params![
            t.machine.as_str(),
            t.alarm.as_str(),
            i64::try_from(t.occurrence).unwrap_or(i64::MAX),
            t.flags.bits(),
            t.flags.shelved_until.map(Timestamp::micros),
            t.flags.review_at.map(Timestamp::micros),
        ])?;
    }
    Ok(())
}

/// A row of the alarms; `None` for an id that no longer parses, which belongs to a definition that no
/// longer exists.
fn stored_alarm(row: &Row<'_>) -> rusqlite::Result<Option<StoredAlarm>> {
    let time =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let (machine, alarm): (String, String) = (row.get(0)?, row.get(1)?);
    let flags = AlarmFlags::from_bits(row.get(3)?, time(4)?, time(5)?);
    let (Ok(machine), Ok(alarm), Some(flags)) = (MachineId::new(&machine), AlarmId::new(&alarm), flags)
    else {
        return Ok(None);
    };
    let occurrence = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
    Ok(Some(StoredAlarm { machine, alarm, occurrence, flags }))
}

fn number_tags(
    transaction: &Transaction<'_>,
    machine: &MachineId,
    tags: &[TagId],
) -> rusqlite::Result<Vec<SeriesId>> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO series (machine, tag) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    let mut select =
        transaction.prepare_cached("SELECT number FROM series WHERE machine = ?1 AND tag = ?2")?;
    tags.iter()
        .map(|tag| {
            insert.execute([machine.as_str(), tag.as_str()])?;
            select.query_row([machine.as_str(), tag.as_str()], |row| row.get(0)).map(SeriesId)
        })
        .collect()
}

fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { action, source }
}

/// SQLite numbers are signed; sequences stay far below 2^63.
fn sequence(number: i64) -> Sequence {
    Sequence::from_u64(u64::try_from(number).unwrap_or(0))
}

fn number(sequence: Sequence) -> i64 {
    i64::try_from(sequence.as_u64()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
