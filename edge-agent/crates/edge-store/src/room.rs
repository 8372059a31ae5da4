//! Making room: pages of the reserve, acknowledged batches, thinning, dropping. Every step is one short
//! transaction, so that a commit never waits long behind it.

use plant_model::Timestamp;
use protocol::{
    Batch, BatchBody, Detail, DiagnosticRecord, Gap, LossReason, Sequence, SeriesSamples, StreamId,
};
use rusqlite::{Connection, params};

use crate::file::{Growth, ROOM_FOR_ANY, failed};
use crate::placing::is_of_other_boot;
use crate::schema::{key, keys, sequence_of};
use crate::seal::Cipher;
use crate::thin::thin;
use crate::writing::Writing;
use crate::{EdgeStore, StoreError};

/// Batches freed in one transaction.
const FREE_CHUNK: i64 = 256;

/// Batches evicted in one transaction: four minutes of a plant.
const EVICT_CHUNK: i64 = 48;

/// Samples evicted in one transaction: thinning holds them decoded, at about 60 bytes each.
const EVICT_SAMPLES_MAX: i64 = 75_000;

/// Bytes of messages that are read for it.
const EVICT_BYTES_MAX: usize = 2 << 20;

/// Fewer diagnostic records than this are not worth the record that says that they are gone.
const DIAGNOSTICS_MIN: usize = 8;

/// The order in which streams give up batches that nobody has acknowledged.
const EVICTION_ORDER: [StreamId; StreamId::ALL.len()] =
    [StreamId::Telemetry, StreamId::Diagnostic, StreamId::Alarm];

/// A row of batches to be evicted: neighbours, all thinned or none.
struct Victims {
    stream: StreamId,
    first: Sequence,
    last: Sequence,
    entries: u64,
    thinned: bool,
    messages: Vec<Vec<u8>>,
}

impl EdgeStore {
    /// Frees acknowledged batches that are older than the replay window. Returns how many were freed;
    /// at most one chunk a call.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn free_replayed(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let before = self.time.keeping_at().unwrap_or(now).minus(self.settings().replay_window);
        self.free(before.micros())
    }

    /// Extends the file by one step, if it has not its full size. Says whether there is more to do.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn grow(&mut self) -> Result<bool, StoreError> {
        Ok(self.file()?.grow()? == Growth::Grown)
    }

    /// Makes room for whatever comes next, so that an alarm does not wait for it.
    pub(crate) fn make_ready(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.make_room(ROOM_FOR_ANY, now)
    }

    /// Brings the free pages to `needed` bytes.
    pub(crate) fn make_room(&mut self, needed: u64, now: Timestamp) -> Result<(), StoreError> {
        const ACTION: &str = "make room";
        loop {
            let file = self.file()?;
            if file.free_bytes().map_err(failed(ACTION))? >= needed {
                return Ok(());
            }
            let has_more = file.release().map_err(failed(ACTION))? || file.grow()? == Growth::Grown;
            if !has_more && self.free(i64::MAX)? == 0 && !self.evict(now)? {
                return Err(StoreError::Full);
            }
        }
    }

    /// Frees a chunk of acknowledged batches that were committed before an instant.
    fn free(&mut self, before: i64) -> Result<usize, StoreError> {
        for stream in EVICTION_ORDER {
            let acked = self.acked(stream);
            let freed = self.write("free batches", |writing| {
                free_stream(writing.connection, stream, acked, before).map_err(failed("free batches"))
            })?;
            if freed > 0 {
                return Ok(freed);
            }
        }
        Ok(0)
    }

    /// Gives up the oldest batches of the least important stream. Says whether there were any.
    fn evict(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        const ACTION: &str = "evict batches";
        for stream in EVICTION_ORDER {
            let (cipher, boot) = (self.cipher().clone(), self.time.boot);
            let connection = &self.file()?.connection;
            let Some(victims) = victims(connection, &cipher, stream).map_err(failed(ACTION))? else {
                continue;
            };
            if stream == StreamId::Diagnostic && victims.messages.len() < DIAGNOSTICS_MIN {
                continue;
            }
            let range = (key(stream, victims.first), key(stream, victims.last));
            let foreign = is_of_other_boot(connection, boot, range).map_err(failed(ACTION))?;
            let kept = if victims.thinned || foreign { None } else { thinned(&victims, now) };
            let lost = self.write(ACTION, |writing| {
                let range = params![key(stream, victims.first), key(stream, victims.last)];
                writing
                    .connection
                    .prepare_cached("DELETE FROM outbox WHERE key BETWEEN ?1 AND ?2")
                    .and_then(|mut statement| statement.execute(range))
                    .map_err(failed(ACTION))?;
                let kept = keep(writing, kept.as_ref(), now)?;
                let gap = gap(&victims, kept, now);
                let lost = gap.samples;
                writing.append(Detail::Full, &BatchBody::Records(vec![DiagnosticRecord::Gap(gap)]), now)?;
                Ok(lost)
            })?;
            self.evicted += lost;
            return Ok(true);
        }
        self.write(ACTION, |writing| {
            let forgotten = writing.connection.execute("DELETE FROM aside", []).map_err(failed(ACTION))?;
            Ok(forgotten > 0)
        })
    }
}

/// Appends what is kept; says how many samples that is.
fn keep(writing: &mut Writing<'_>, kept: Option<&BatchBody>, now: Timestamp) -> Result<u64, StoreError> {
    let Some(body) = kept else { return Ok(0) };
    match writing.append(Detail::Thinned, body, now) {
        Ok(header) => Ok(header.count.into()),
        // What is too large for a message even when thinned is dropped.
        Err(StoreError::Encode(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

fn free_stream(
    connection: &Connection,
    stream: StreamId,
    acked: Sequence,
    before: i64,
) -> rusqlite::Result<usize> {
    let mut oldest = connection.prepare_cached(
        "SELECT key, committed_at FROM outbox WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3",
    )?;
    let rows = oldest.query_map(params![keys(stream).0, key(stream, acked), FREE_CHUNK], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let mut through = None;
    for row in rows {
        let (key, committed_at) = row?;
        if committed_at >= before {
            break;
        }
        through = Some(key);
    }
    let Some(through) = through else { return Ok(0) };
    connection
        .prepare_cached("DELETE FROM outbox WHERE key BETWEEN ?1 AND ?2")?
        .execute([keys(stream).0, through])
}

fn victims(connection: &Connection, cipher: &Cipher, stream: StreamId) -> rusqlite::Result<Option<Victims>> {
    let sql = "SELECT key, count, thinned, message FROM outbox
               WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let (first, last) = keys(stream);
    let mut rows = statement.query(params![first, last, EVICT_CHUNK])?;
    let mut found: Option<Victims> = None;
    let (mut entries, mut bytes) = (0_i64, 0_usize);
    while let Some(row) = rows.next()? {
        let (key, count, thinned) = (row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?);
        let sequence = sequence_of(key);
        let victims = found.get_or_insert_with(|| Victims {
            stream,
            first: sequence,
            last: sequence.previous(),
            entries: 0,
            thinned,
            messages: Vec::new(),
        });
        let is_neighbour = victims.last.next() == sequence && victims.thinned == thinned;
        let message = cipher.open(key, row.get(3)?);
        (entries, bytes) = (entries + count, bytes + message.len());
        let is_large = entries > EVICT_SAMPLES_MAX || bytes > EVICT_BYTES_MAX;
        if !is_neighbour || (is_large && !victims.messages.is_empty()) {
            break;
        }
        victims.last = sequence;
        victims.entries += u64::try_from(count).unwrap_or(0);
        victims.messages.push(message);
    }
    Ok(found)
}

/// What is kept of the victims, if thinning is worth it: at most half of what it replaces.
fn thinned(victims: &Victims, now: Timestamp) -> Option<BatchBody> {
    if victims.stream != StreamId::Telemetry {
        return None;
    }
    let decoded = victims.messages.iter().filter_map(|message| Batch::decode(message).ok());
    let blocks = decoded.flat_map(|batch| match batch.body {
        BatchBody::Samples(blocks) => blocks,
        BatchBody::Transitions(_) | BatchBody::Records(_) => Vec::<SeriesSamples>::new(),
    });
    let body = BatchBody::Samples(thin(blocks));
    let replaced: usize = victims.messages.iter().map(Vec::len).sum();
    let nowhere = (protocol::Epoch::from_u64(0), Sequence::ZERO);
    let size = Batch::encode(nowhere.0, nowhere.1, now, &body).ok()?.len();
    (size <= replaced / 2).then_some(body)
}

fn gap(victims: &Victims, kept: u64, now: Timestamp) -> Gap {
    Gap {
        stream: victims.stream,
        first: victims.first,
        last: victims.last,
        samples: victims.entries.saturating_sub(kept),
        reason: if kept > 0 { LossReason::Thinned } else { LossReason::BufferFull },
        at: now,
    }
}
