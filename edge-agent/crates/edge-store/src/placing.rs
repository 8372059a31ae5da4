//! Batches that were committed before the time was known (SPEC section 11).
//!
//! Their times are times since a boot, and each has a row in `unplaced` that says of which. They are not sent. When it
//! is known when that boot was, it is noted in `boot` once and for all, so that a kill in the middle changes nothing,
//! and the batches are encoded anew under their numbers, a chunk in a transaction. If the system was booted again before
//! it was known, it never will be: the samples begin where what was known before ends, are uncertain, and a record says
//! so. So nothing is lost and all stays in order.

use std::time::Instant;

use plant_model::{Monotonic, Timestamp};
use protocol::{
    Batch, BatchBody, BatchHeader, Certainty, ClockChange, ClockRecord, DiagnosticRecord, LossReason,
    Sequence, StreamId,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::file::{ROOM_FOR_ANY, failed};
use crate::schema::{key, keys, sequence_of};
use crate::seal::Cipher;
use crate::{EdgeStore, StoreError};

/// Batches placed in one transaction.
const CHUNK: i64 = 64;

/// Bytes placed in one transaction: what the log takes without growing.
const CHUNK_BYTES: usize = 512 << 10;

/// The boot of the system in which a buffer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// Tells it from other boots.
    pub id: u128,
    /// It is not earlier than this: when the program was built.
    pub built_at: Timestamp,
}

/// The boot, and the newest time that was known in the buffer when it was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootNow {
    id: [u8; 16],
    floor: Timestamp,
}

/// What an open buffer knows of the time.
#[derive(Debug)]
pub(crate) struct Time {
    pub boot: Option<BootNow>,
    floor: Timestamp,
    /// When the system was booted, once that is known.
    booted_at: Option<Timestamp>,
    /// The buffer's own clock.
    clock: Option<OwnClock>,
    /// When the newest batch was committed.
    newest: Option<Timestamp>,
}

/// Runs while the buffer is open and nobody sets it: a step of the wall clock makes nothing older or younger.
#[derive(Debug)]
struct OwnClock {
    since: Instant,
    /// What time it was then.
    began: Timestamp,
    /// The same by what lay in the file: nobody knows how long the gateway was off, or whether the time is right, so
    /// that batches are rather kept too long.
    began_in_file: Timestamp,
}

impl Time {
    pub(crate) fn read(c: &Connection, cipher: &Cipher, boot: Option<Boot>) -> rusqlite::Result<Self> {
        let mut floor = boot.map_or_else(Timestamp::default, |boot| boot.built_at);
        let mut newest = None;
        for stream in StreamId::ALL {
            let Some(last) = end_of(c, cipher, stream, None, End::Last)? else { continue };
            newest = newest.max(Some(last.committed_at));
            if let Some(header) = last.header {
                floor = floor.max(header.last_at.placed(last.booted_at.unwrap_or_default()));
            }
        }
        let boot = boot.map(|boot| BootNow { id: boot.id.to_be_bytes(), floor });
        Ok(Self { boot, floor, booted_at: None, clock: None, newest })
    }

    /// What is written as the time of a commit, if the buffer's own clock runs.
    pub(crate) fn committing_at(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.began.plus(clock.since.elapsed()))
    }

    /// What times of commits are held against, if the buffer's own clock runs.
    pub(crate) fn keeping_at(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.began_in_file.plus(clock.since.elapsed()))
    }

    /// The body with its times, if some of them are times since the boot and it is known when that was.
    pub(crate) fn placed(&self, body: &BatchBody) -> Option<BatchBody> {
        let booted_at = self.booted_at?;
        body.is_unplaced().then(|| {
            let mut body = body.clone();
            body.place(booted_at, Certainty::Known);
            body
        })
    }
}

/// Batches of one boot, neighbours in a stream.
struct Chunk {
    stream: StreamId,
    boot: i64,
    booted_at: Timestamp,
    certainty: Certainty,
    is_declared: bool,
    /// Row and message as it is.
    batches: Vec<(i64, Vec<u8>)>,
}

impl EdgeStore {
    /// The newest time that the buffer knew when it was opened; it cannot be earlier now.
    #[must_use]
    pub fn time_floor(&self) -> Timestamp {
        self.time.floor
    }

    /// Starts the buffer's own clock, by which acknowledged batches are kept.
    pub(crate) fn start_clock(&mut self, now: Timestamp) {
        let newest = self.time.newest.unwrap_or(now);
        let began = if now.is_unplaced() { newest } else { now };
        self.time.clock = Some(OwnClock { since: Instant::now(), began, began_in_file: began.min(newest) });
    }

    /// It is known when the system was booted. From here on nothing is committed without its time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn know_time(&mut self, booted_at: Timestamp) -> Result<(), StoreError> {
        const ACTION: &str = "note the time";
        let Some(boot) = self.time.boot else { return Ok(()) };
        // Times of polls are whole milliseconds, and stay so.
        let booted_at = booted_at.to_whole_millis();
        self.write(ACTION, |writing| {
            writing.only_appends = true;
            let sql = "UPDATE boot SET booted_at = ?2, known = 1 WHERE id = ?1 AND known = 0";
            let noted = writing.connection.execute(sql, params![boot.id, booted_at.micros()]);
            noted.map(|_| ()).map_err(failed(ACTION))
        })?;
        self.time.booted_at = Some(booted_at);
        Ok(())
    }

    /// Looks again at what the file knows of the time.
    pub(crate) fn look_at_time(&mut self) -> Result<(), StoreError> {
        let time = Time::read(self.connection()?, self.cipher(), self.settings().boot);
        self.time = time.map_err(failed("look for the time"))?;
        Ok(())
    }

    /// How many batches wait for their time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unplaced(&self) -> Result<u64, StoreError> {
        let count = self.connection()?.query_row("SELECT count(*) FROM unplaced", [], |row| row.get(0));
        count.map(|count: i64| count.cast_unsigned()).map_err(failed("count what waits for its time"))
    }

    /// Places the next batches whose time is known, or never will be. Says whether there were any.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn place(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        const ACTION: &str = "give batches their time";
        let Some(boot) = self.time.boot else { return Ok(false) };
        let chunk = next_chunk(self.connection()?, self.cipher(), boot).map_err(failed(ACTION))?;
        let Some(chunk) = chunk else { return Ok(false) };
        if chunk.certainty == Certainty::Assumed && !chunk.is_declared {
            self.declare(&chunk, now)?;
        }
        self.make_room(ROOM_FOR_ANY, now)?;
        let (mut placed, mut refused) = (Vec::new(), Vec::new());
        for (row, message) in &chunk.batches {
            match Batch::place(message, chunk.booted_at, chunk.certainty) {
                Ok(message) => placed.push((*row, message)),
                Err(_) => refused.push(sequence_of(*row)),
            }
        }
        self.write(ACTION, |writing| {
            for (row, message) in placed {
                let stored = writing.cipher.seal(row, message);
                replace(writing.connection, row, &stored).map_err(failed(ACTION))?;
            }
            forget_boots(writing.connection, boot).map_err(failed(ACTION))
        })?;
        for sequence in refused {
            self.set_aside(chunk.stream, sequence, LossReason::Damaged, now)?;
        }
        Ok(true)
    }

    /// Records that the time of a boot will never be known.
    fn declare(&mut self, chunk: &Chunk, now: Timestamp) -> Result<(), StoreError> {
        const ACTION: &str = "record that a time was never known";
        let clock = never_known(self.connection()?, self.cipher(), chunk).map_err(failed(ACTION))?;
        self.make_room(ROOM_FOR_ANY, now)?;
        self.write(ACTION, |writing| {
            let sql = "UPDATE boot SET declared = 1 WHERE number = ?1";
            writing.connection.execute(sql, [chunk.boot]).map_err(failed(ACTION))?;
            writing.record(vec![DiagnosticRecord::Clock(clock)], now)
        })
    }
}

/// Notes a batch that carries times since this boot.
pub(crate) fn note_unplaced(
    c: &Connection,
    boot: Option<BootNow>,
    row: i64,
    header: &BatchHeader,
) -> rusqlite::Result<()> {
    let Some(boot) = boot.filter(|_| header.is_unplaced()) else { return Ok(()) };
    // If it is never known, the first of them was taken right after what was known.
    let assumed = boot.floor.micros() - header.first_at.micros();
    let sql =
        "INSERT INTO boot (id, booted_at, known, declared) VALUES (?1, ?2, 0, 0) ON CONFLICT DO NOTHING";
    c.prepare_cached(sql)?.execute(params![boot.id, assumed])?;
    let sql =
        "INSERT INTO unplaced (key, boot) SELECT ?1, number FROM boot WHERE id = ?2 ON CONFLICT DO NOTHING";
    c.prepare_cached(sql)?.execute(params![row, boot.id]).map(|_| ())
}

/// The first batch of a stream whose time is not known.
pub(crate) fn first_unplaced(c: &Connection, stream: StreamId) -> rusqlite::Result<Option<Sequence>> {
    let sql = "SELECT min(key) FROM unplaced WHERE key BETWEEN ?1 AND ?2";
    let first: Option<i64> = c.prepare_cached(sql)?.query_row(keys(stream), |row| row.get(0))?;
    Ok(first.map(sequence_of))
}

/// Whether some of a row of batches wait for the time of another boot: what is kept of them could not say so.
pub(crate) fn is_of_other_boot(
    c: &Connection,
    now: Option<BootNow>,
    (first, last): (i64, i64),
) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM unplaced u LEFT JOIN boot b ON b.number = u.boot
               WHERE u.key BETWEEN ?1 AND ?2 AND b.id IS NOT ?3)";
    c.prepare_cached(sql)?.query_row(params![first, last, now.map(|now| now.id)], |row| row.get(0))
}

fn next_chunk(c: &Connection, cipher: &Cipher, now: BootNow) -> rusqlite::Result<Option<Chunk>> {
    for stream in StreamId::ALL {
        let Some(mut chunk) = first_boot(c, stream, now)? else { continue };
        let sql = "SELECT o.key, o.message FROM unplaced u JOIN outbox o USING (key)
                   WHERE u.key BETWEEN ?1 AND ?2 AND u.boot = ?3 ORDER BY u.key LIMIT ?4";
        let (first, last) = keys(stream);
        let mut statement = c.prepare_cached(sql)?;
        let mut rows = statement.query(params![first, last, chunk.boot, CHUNK])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let key = row.get(0)?;
            let message = cipher.open(key, row.get(1)?);
            bytes += message.len();
            if bytes > CHUNK_BYTES && !chunk.batches.is_empty() {
                break;
            }
            chunk.batches.push((key, message));
        }
        return Ok(Some(chunk));
    }
    Ok(None)
}

/// The boot of the first batch of a stream that waits, unless it is this one and its time may still become known.
fn first_boot(c: &Connection, stream: StreamId, now: BootNow) -> rusqlite::Result<Option<Chunk>> {
    let sql = "SELECT b.number, b.booted_at, b.known, b.declared, b.id FROM unplaced u JOIN boot b ON b.number = u.boot
               WHERE u.key BETWEEN ?1 AND ?2 ORDER BY u.key LIMIT 1";
    let found = c.prepare_cached(sql)?.query_row(keys(stream), |row| {
        let (is_known, id) = (row.get(2)?, row.get::<_, Vec<u8>>(4)?);
        let chunk = Chunk {
            stream,
            boot: row.get(0)?,
            booted_at: Timestamp::from_micros(row.get(1)?),
            certainty: if is_known { Certainty::Known } else { Certainty::Assumed },
            is_declared: row.get(3)?,
            batches: Vec::new(),
        };
        Ok((is_known || id != now.id).then_some(chunk))
    });
    Ok(found.optional()?.flatten())
}

fn replace(c: &Connection, row: i64, stored: &[u8]) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE outbox SET message = ?2 WHERE key = ?1")?.execute(params![row, stored])?;
    c.prepare_cached("DELETE FROM unplaced WHERE key = ?1")?.execute([row]).map(|_| ())
}

/// Boots of which nothing waits any more, but for the present one.
fn forget_boots(c: &Connection, now: BootNow) -> rusqlite::Result<()> {
    if c.query_row("SELECT EXISTS (SELECT 1 FROM unplaced)", [], |row| row.get(0))? {
        return Ok(());
    }
    c.execute("DELETE FROM boot WHERE id <> ?1", [now.id]).map(|_| ())
}

fn never_known(c: &Connection, cipher: &Cipher, chunk: &Chunk) -> rusqlite::Result<ClockRecord> {
    let (mut first, mut last) = (Timestamp::UNPLACED_BELOW, Timestamp::default());
    for stream in StreamId::ALL {
        for end in [End::First, End::Last] {
            let row = end_of(c, cipher, stream, Some(chunk.boot), end)?;
            let Some(header) = row.and_then(|row| row.header) else { continue };
            first = first.min(header.first_at);
            last = if header.last_at.is_unplaced() { last.max(header.last_at) } else { last };
        }
    }
    let sql = "SELECT coalesce(sum(o.count), 0) FROM unplaced u JOIN outbox o USING (key) WHERE u.boot = ?1";
    let samples: i64 = c.query_row(sql, [chunk.boot], |row| row.get(0))?;
    Ok(ClockRecord {
        change: ClockChange::NeverKnown,
        from: first.placed(chunk.booted_at),
        to: last.placed(chunk.booted_at),
        uptime: Monotonic::from_micros(last.micros().cast_unsigned()),
        samples: samples.cast_unsigned(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// A batch at one end of a stream.
struct EndOfStream {
    committed_at: Timestamp,
    /// `None` if it cannot be read.
    header: Option<BatchHeader>,
    /// When its boot is taken to have been, if it waits for its time.
    booted_at: Option<Timestamp>,
}

/// The first or last batch of a stream: of all, or of those that wait for the time of a boot.
fn end_of(
    c: &Connection,
    cipher: &Cipher,
    stream: StreamId,
    boot: Option<i64>,
    end: End,
) -> rusqlite::Result<Option<EndOfStream>> {
    let order = if end == End::First { "ASC" } else { "DESC" };
    let sql = format!(
        "SELECT o.key, o.message, o.committed_at, b.booted_at FROM outbox o
         LEFT JOIN unplaced u USING (key) LEFT JOIN boot b ON b.number = u.boot
         WHERE o.key BETWEEN ?1 AND ?2 AND (?3 IS NULL OR u.boot = ?3) ORDER BY o.key {order} LIMIT 1"
    );
    let read = |row: &Row<'_>| {
        let key = row.get(0)?;
        Ok(EndOfStream {
            header: BatchHeader::read(&cipher.open(key, row.get(1)?)).ok(),
            committed_at: Timestamp::from_micros(row.get(2)?),
            booted_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
        })
    };
    let (first, last) = (keys(stream).0, key(stream, Sequence::from_u64(u64::MAX)));
    c.prepare_cached(&sql)?.query_row(params![first, last, boot], read).optional()
}
