//! The outbox itself: synchronous, one connection, no threads.

use std::path::PathBuf;

use plant_model::{MachineId, TagId, Timestamp};
use protocol::{
    BatchBody, BatchHeader, Detail, DiagnosticRecord, Dropped, Epoch, Gap, LossReason, Sequence, SeriesId,
    StreamId, StreamRange,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::alarms::{self, StoredAlarm};
use crate::file::{
    ALARM_ROW_BYTES, BufferFile, FEW, Opening, ROOM_FOR_ANY, ROOM_FOR_RECORDS, Usage, aside_of, failed,
    set_aside,
};
use crate::placing::{Time, first_unplaced};
use crate::salvage::{self, Salvaged};
use crate::schema::{key, keys, sequence_of};
use crate::seal::Cipher;
use crate::tally::{Facts, Tally, facts, tally};
use crate::undone;
use crate::writing::{NUMBERS_SKIPPED, PerStream, Writing, damaged, read_streams, slot, write_streams};
use crate::{Settings, StoreError, schema};

/// Most batches that are kept for being undeliverable; the oldest go.
const ASIDE_MAX: u32 = 16;

/// Commits between two notes of the numbers in `stream`: saves a page in each.
const UNNOTED_MAX: u32 = 64;

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

/// A buffer, just opened.
#[derive(Debug)]
pub struct Opened {
    /// The buffer.
    pub store: EdgeStore,
    /// Where a damaged file was put, if there was one.
    pub set_aside: Option<PathBuf>,
    /// What went on from a damaged file; `None` if nothing could, and a new epoch began.
    pub salvaged: Option<Salvaged>,
    /// Whether the log was missing or had been cut, so that numbers were skipped.
    pub log_was_cut: bool,
}

/// The gateway's buffer. See the crate for its layout.
#[derive(Debug)]
pub struct EdgeStore {
    /// `None` while the file is gone after a fault.
    file: Option<BufferFile>,
    settings: Settings,
    epoch: Epoch,
    cipher: Cipher,
    /// What the next commits will be numbered, as of the last commit that returned.
    next: PerStream,
    /// The backend's watermarks; written with the next commit.
    acked: PerStream,
    /// What it knows of the time.
    pub(crate) time: Time,
    /// Commits since the numbers were last written to `stream`.
    unnoted: u32,
    /// Samples and records lost by eviction since the buffer was opened.
    pub(crate) evicted: u64,
    /// Batches set aside since then.
    pub(crate) set_aside: u64,
}

impl EdgeStore {
    /// Opens the buffer, or makes it. A damaged file is set aside; what can be read of it goes on in a new one.
    ///
    /// # Errors
    /// The file can neither be used nor set aside, another agent uses it, the disk has no room for a new one,
    /// or it was written by a newer version.
    pub fn open(settings: Settings, now: Timestamp) -> Result<Opened, StoreError> {
        let (path, bytes_max) = (settings.path.clone(), settings.bytes_max);
        let fresh = Epoch::from_u64(rand::random());
        undone::take_back(&path)?;
        match BufferFile::open(&path, bytes_max, fresh.as_u64())? {
            Opening::Usable(file) => {
                undone::done(&path)?;
                let mut store = Self::over(file, settings, fresh)?;
                let log_was_cut = store.file()?.log_was_cut;
                if log_was_cut {
                    store.skip_numbers(now)?;
                }
                Ok(Opened { store, set_aside: None, salvaged: None, log_was_cut })
            }
            Opening::Damaged => {
                salvage::check_key(&path, settings.key.as_ref())?;
                let aside = aside_of(&path, now.micros());
                undone::note(&path, &aside)?;
                set_aside(&path, &aside)?;
                let (mut store, salvaged) = salvage::carry_on(&aside, settings, fresh, now)?;
                undone::done(&path)?;
                store.look_at_time()?;
                Ok(Opened { store, set_aside: Some(aside), salvaged, log_was_cut: false })
            }
        }
    }

    /// A buffer over a file that is as it should be.
    pub(crate) fn over(file: BufferFile, settings: Settings, fresh: Epoch) -> Result<Self, StoreError> {
        let epoch = schema::meta(&file.connection, "epoch").map_err(failed("read the epoch"))?;
        let (next, acked) = read_streams(&file.connection).map_err(failed("look at the streams"))?;
        let epoch = epoch.map_or(fresh, Epoch::from_u64);
        let cipher = Cipher::of_file(&file.connection, &settings.path, settings.key.as_ref(), epoch)?;
        cipher.mark(&file.connection).map_err(failed("note its encryption"))?;
        let time =
            Time::read(&file.connection, &cipher, settings.boot).map_err(failed("look for the time"))?;
        Ok(Self {
            file: Some(file),
            settings,
            epoch,
            cipher,
            next,
            acked,
            time,
            unnoted: 0,
            evicted: 0,
            set_aside: 0,
        })
    }

    /// A new file in the place of one that was set aside.
    pub(crate) fn anew(settings: Settings, epoch: Epoch) -> Result<Self, StoreError> {
        match BufferFile::open(&settings.path, settings.bytes_max, epoch.as_u64())? {
            Opening::Usable(file) => Self::over(file, settings, epoch),
            Opening::Damaged => Err(StoreError::Gone { path: settings.path }),
        }
    }

    /// Opens the file again after a fault, if it is still this buffer's. A commit that failed and is in the
    /// log all the same is taken back: it will be committed again.
    ///
    /// # Errors
    /// The file is not there, is damaged, or belongs to another buffer.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        const ACTION: &str = "take back a commit that failed";
        self.file = None;
        let path = self.settings.path.clone();
        let Opening::Usable(file) = BufferFile::open_again(&path, self.settings.bytes_max)? else {
            return Err(StoreError::Gone { path });
        };
        let epoch = schema::meta(&file.connection, "epoch").map_err(failed("read the epoch"))?;
        let (next, _) = read_streams(&file.connection).map_err(failed("look at the streams"))?;
        let is_ours = epoch == Some(self.epoch.as_u64());
        if !is_ours || (0..next.len()).any(|at| next[at] < self.next[at]) {
            return Err(StoreError::Gone { path });
        }
        self.file = Some(file);
        self.write(ACTION, |writing| {
            for (stream, next) in StreamId::ALL.into_iter().zip(writing.next) {
                let range = [key(stream, next), keys(stream).1];
                let sql = "DELETE FROM outbox WHERE key BETWEEN ?1 AND ?2";
                writing.connection.execute(sql, range).map_err(failed(ACTION))?;
            }
            Ok(())
        })
    }

    pub(crate) fn file(&mut self) -> Result<&mut BufferFile, StoreError> {
        self.file.as_mut().ok_or_else(|| StoreError::Gone { path: self.settings.path.clone() })
    }

    pub(crate) fn connection(&self) -> Result<&Connection, StoreError> {
        let gone = || StoreError::Gone { path: self.settings.path.clone() };
        self.file.as_ref().map(|file| &file.connection).ok_or_else(gone)
    }

    /// The life of this file.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What its messages are sealed with.
    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// How it was set up.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// No message becomes larger than this from here on.
    pub(crate) fn limit_messages(&mut self, bytes_max: usize) {
        self.settings.message_bytes_max = self.settings.message_bytes_max.min(bytes_max);
    }

    /// How it uses the disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn usage(&mut self) -> Result<Usage, StoreError> {
        self.file()?.usage().map_err(failed("measure itself"))
    }

    /// The series numbers of a machine's tags, in their order; new tags get new numbers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn series(
        &mut self,
        machine: &MachineId,
        tags: &[TagId],
        now: Timestamp,
    ) -> Result<Vec<SeriesId>, StoreError> {
        const ACTION: &str = "number the tags";
        self.make_room(ROOM_FOR_ANY, now)?;
        self.write(ACTION, |writing| number_tags(writing.connection, machine, tags).map_err(failed(ACTION)))
    }

    /// Commits a batch: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// Nothing was written: the file cannot be written, or the body is no batch, or larger than
    /// [`Settings::message_bytes_max`].
    pub fn commit(&mut self, body: &BatchBody, now: Timestamp) -> Result<BatchHeader, StoreError> {
        self.commit_noting(body, &[], now)
    }

    /// Commits a batch together with the timers of alarms, see [`Self::note_timers`].
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_noting(
        &mut self,
        body: &BatchBody,
        timers: &[StoredAlarm],
        now: Timestamp,
    ) -> Result<BatchHeader, StoreError> {
        self.make_room(room_for(body) + alarms::room_for(timers), now)?;
        let placed = self.time.placed(body);
        let body = placed.as_ref().unwrap_or(body);
        self.write("commit a batch", |writing| {
            writing.only_appends = true;
            let header = writing.append(Detail::Full, body, now)?;
            if let BatchBody::Transitions(transitions) = body {
                alarms::remember(writing.connection, transitions).map_err(failed("remember alarms"))?;
            }
            alarms::note(writing.connection, timers).map_err(failed(alarms::NOTE))?;
            Ok(header)
        })
    }

    /// Counts a part of a stream from a number on; `recent` sets apart what was committed since then.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tally(&self, stream: StreamId, from: Sequence, recent: Timestamp) -> Result<Tally, StoreError> {
        tally(self.connection()?, stream, from, self.acked(stream), recent).map_err(failed("count batches"))
    }

    /// What else it says of itself.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        facts(self.connection()?).map_err(failed("look at itself"))
    }

    /// What is held of every stream and may be sent: up to the first batch whose time is not known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ranges(&self) -> Result<[StreamRange; StreamId::ALL.len()], StoreError> {
        let mut ranges = StreamId::ALL.map(|stream| {
            let next = self.next[slot(stream)];
            StreamRange { stream, oldest: next, next }
        });
        for range in &mut ranges {
            let oldest: Option<i64> = self
                .connection()?
                .prepare_cached("SELECT min(key) FROM outbox WHERE key BETWEEN ?1 AND ?2")
                .and_then(|mut statement| statement.query_row(keys(range.stream), |row| row.get(0)))
                .map_err(failed("look at a stream"))?;
            let unplaced =
                first_unplaced(self.connection()?, range.stream).map_err(failed("look at a stream"))?;
            range.next = unplaced.unwrap_or(range.next);
            range.oldest = oldest.map_or(range.next, sequence_of);
        }
        Ok(ranges)
    }

    /// The batch at or after `from`, if one is held. Batches that were damaged in the file are set aside on
    /// the way, with a gap record.
    ///
    /// # Errors
    /// The file cannot be read, or a damaged batch not be set aside.
    pub fn read(
        &mut self,
        stream: StreamId,
        from: Sequence,
        now: Timestamp,
    ) -> Result<Option<StoredBatch>, StoreError> {
        loop {
            let row = read_row(self.connection()?, &self.cipher, stream, from);
            let Some(batch) = row.map_err(failed("read a batch"))? else {
                return Ok(None);
            };
            if self.is_sound(&batch) {
                return Ok(Some(batch));
            }
            self.set_aside(stream, batch.sequence, LossReason::Damaged, now)?;
        }
    }

    /// Whether a message is the batch it is kept as.
    fn is_sound(&self, batch: &StoredBatch) -> bool {
        BatchHeader::read(&batch.message).is_ok_and(|header| {
            (header.epoch, header.stream, header.sequence) == (self.epoch, batch.stream, batch.sequence)
        })
    }

    /// Takes a batch that cannot be delivered out of its stream, keeps it aside, and records the gap.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_aside(
        &mut self,
        stream: StreamId,
        sequence: Sequence,
        reason: LossReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "set a batch aside";
        self.make_room(ROOM_FOR_ANY, now)?;
        self.write(ACTION, |writing| {
            let moved = move_aside(writing.connection, key(stream, sequence), reason);
            let Some(samples) = moved.map_err(failed(ACTION))? else { return Ok(()) };
            let gap = Gap { stream, first: sequence, last: sequence, samples, reason, at: now };
            writing.record(vec![DiagnosticRecord::Gap(gap)], now)
        })?;
        self.set_aside += 1;
        Ok(())
    }

    /// Notes the backend's watermark. It may move back, when the backend was restored.
    pub fn acknowledge(&mut self, stream: StreamId, through: Sequence) {
        self.acked[slot(stream)] = through;
    }

    pub(crate) fn acked(&self, stream: StreamId) -> Sequence {
        self.acked[slot(stream)]
    }

    /// Writes what only memory holds: the watermarks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.write("note acknowledgements", |_| Ok(()))
    }

    /// Leaves out numbers after commits may have been lost, and says so.
    pub(crate) fn skip_numbers(&mut self, now: Timestamp) -> Result<(), StoreError> {
        const ACTION: &str = "skip numbers after damage";
        let gaps = StreamId::ALL.into_iter().map(|stream| {
            let first = self.next[slot(stream)];
            let last = Sequence::from_u64(first.as_u64() + NUMBERS_SKIPPED - 1);
            damaged(stream, first, last, now)
        });
        let gaps: Vec<_> = gaps.collect();
        self.write(ACTION, |writing| {
            writing.skip(NUMBERS_SKIPPED).map_err(failed(ACTION))?;
            writing.record(gaps, now)
        })
    }

    /// Says that samples may be lost of which nothing is known.
    pub(crate) fn record_unknown_loss(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let dropped = Dropped { samples: 0, reason: LossReason::Damaged, from: now, to: now };
        self.commit(&BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped)]), now).map(|_| ())
    }

    /// Runs one transaction. Only when it is committed do its numbers count.
    pub(crate) fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (epoch, next, acked, unnoted) = (self.epoch, self.next, self.acked, self.unnoted);
        let (message_bytes_max, cipher) = (self.settings.message_bytes_max, self.cipher.clone());
        let (boot, committed_at) = (self.time.boot, self.time.committing_at());
        let transaction = self.file()?.connection.transaction().map_err(failed(action))?;
        let mut writing = Writing {
            connection: &transaction,
            cipher: &cipher,
            epoch,
            next,
            message_bytes_max,
            boot,
            committed_at,
            only_appends: false,
        };
        let done = work(&mut writing)?;
        let next = writing.next;
        let unnoted = if writing.only_appends { unnoted + 1 } else { UNNOTED_MAX };
        if unnoted >= UNNOTED_MAX {
            write_streams(&transaction, next, acked).map_err(failed(action))?;
        }
        transaction.commit().map_err(failed(action))?;
        self.unnoted = unnoted % UNNOTED_MAX;
        self.next = next;
        Ok(done)
    }
}

fn read_row(
    connection: &Connection,
    cipher: &Cipher,
    stream: StreamId,
    from: Sequence,
) -> rusqlite::Result<Option<StoredBatch>> {
    let sql = "SELECT key, message FROM outbox WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1";
    connection
        .prepare_cached(sql)?
        .query_row([key(stream, from), keys(stream).1], |row| {
            let (key, stored) = (row.get(0)?, row.get(1)?);
            Ok(StoredBatch { stream, sequence: sequence_of(key), message: cipher.open(key, stored) })
        })
        .optional()
}

/// Moves a row; says how many entries it had, or `None` if it is not there.
fn move_aside(connection: &Connection, key: i64, reason: LossReason) -> rusqlite::Result<Option<u64>> {
    let keep = "INSERT OR REPLACE INTO aside SELECT key, ?2, message FROM outbox WHERE key = ?1";
    connection.execute(keep, params![key, reason.name()])?;
    let bound = "DELETE FROM aside WHERE key IN (SELECT key FROM aside ORDER BY key DESC LIMIT -1 OFFSET ?1)";
    connection.execute(bound, [ASIDE_MAX])?;
    let count: Option<i64> = connection
        .query_row("DELETE FROM outbox WHERE key = ?1 RETURNING count", [key], |row| row.get(0))
        .optional()?;
    Ok(count.map(|count| u64::try_from(count).unwrap_or(0)))
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

/// What a commit of `body` may take. A few alarms do not wait for an eviction as long as there is any room at
/// all; a flood of them may fill a message, and each of its alarms a row of its own.
fn room_for(body: &BatchBody) -> u64 {
    match body {
        BatchBody::Transitions(few) if few.len() <= FEW => ROOM_FOR_RECORDS,
        BatchBody::Records(few) if few.len() <= FEW => ROOM_FOR_RECORDS,
        BatchBody::Transitions(many) => ROOM_FOR_ANY + many.len() as u64 * ALARM_ROW_BYTES,
        BatchBody::Samples(_) | BatchBody::Records(_) => ROOM_FOR_ANY,
    }
}

#[cfg(test)]
mod tests;
