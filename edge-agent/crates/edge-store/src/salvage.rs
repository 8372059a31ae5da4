//! What becomes of a damaged file (SPEC section 7, damage).
//!
//! The file has been renamed and is only read from here on. If its epoch, its streams and its series can be
//! read and agree with their indexes, a new file goes on under the same epoch: the backend then knows by the
//! key what it already has, and nothing arrives twice. Every batch says itself what it is and carries a
//! checksum, so each row is believed by itself. Numbers are skipped, so that none that was used since the
//! state that can be read is used again; what could not be read is declared by gap records.
//!
//! If one of the three tables is damaged, a new epoch begins, and a `Dropped` record says that
//! something is missing.

use std::path::Path;

use plant_model::Timestamp;
use protocol::{Batch, BatchBody, BatchHeader, DiagnosticRecord, Epoch, Sequence, StreamId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::file::{ROOM_FOR_ANY, connect, failed};
use crate::schema::{self, key};
use crate::seal::{BufferKey, Cipher};
use crate::walk::walk;
use crate::writing::{NUMBERS_SKIPPED, PerStream, damaged, read_streams, slot};
use crate::{EdgeStore, Settings, StoreError};

/// Acknowledged batches that are looked for, below the watermark: about the default replay window.
const REPLAYED_MAX: u64 = 20_000;

/// Batches copied in one transaction.
const CHUNK: usize = 64;

/// Bytes copied in one transaction.
const CHUNK_BYTES: usize = 512 << 10;

/// What went on from a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Salvaged {
    /// Batches that go on.
    pub batches: u64,
    /// Gap records for what could not be read, and for skipped numbers.
    pub gaps: u64,
}

/// What must be readable for the epoch to go on.
struct Head {
    epoch: Epoch,
    next: PerStream,
    acked: PerStream,
}

/// Makes a new file with what can be read of the one that lies at `aside`.
pub(crate) fn carry_on(
    aside: &Path,
    settings: Settings,
    fresh: Epoch,
    now: Timestamp,
) -> Result<(EdgeStore, Option<Salvaged>), StoreError> {
    let wreck = connect(aside).ok();
    let head = wreck.as_ref().and_then(|wreck| read_head(wreck).ok().flatten());
    let (Some(wreck), Some(head)) = (wreck, head) else {
        let mut store = EdgeStore::anew(settings, fresh)?;
        store.record_unknown_loss(now)?;
        return Ok((store, None));
    };
    let mut store = EdgeStore::anew(settings, head.epoch)?;
    let cipher = store.cipher().clone();
    let rescue = Rescue { wreck: &wreck, head: &head, cipher: &cipher, now };
    rescue.copy_tables(&mut store)?;
    let salvaged = rescue.copy_batches(&mut store)?;
    Ok((store, Some(salvaged)))
}

/// Refuses a key with which the damaged file cannot be carried on. If its head cannot be read nothing can be told, and
/// nothing of it is carried on.
pub(crate) fn check_key(path: &Path, key: Option<&BufferKey>) -> Result<(), StoreError> {
    let epoch = |wreck: &Connection| schema::meta(wreck, "epoch").ok().flatten();
    let Ok(wreck) = connect(path) else { return Ok(()) };
    let Some(epoch) = epoch(&wreck) else { return Ok(()) };
    match Cipher::of_file(&wreck, path, key, Epoch::from_u64(epoch)) {
        Err(error @ (StoreError::KeyMissing { .. } | StoreError::KeyWrong { .. })) => Err(error),
        _ => Ok(()),
    }
}

fn read_head(wreck: &Connection) -> rusqlite::Result<Option<Head>> {
    if schema::layout(wreck)? != schema::LAYOUT {
        return Ok(None);
    }
    for table in ["meta", "stream", "series"] {
        if !is_sound(wreck, table)? {
            return Ok(None);
        }
    }
    let (next, acked) = read_streams(wreck)?;
    let epoch = schema::meta(wreck, "epoch")?;
    Ok(epoch.map(|epoch| Head { epoch: Epoch::from_u64(epoch), next, acked }))
}

/// Whether a table and its indexes can be read and agree.
fn is_sound(wreck: &Connection, table: &str) -> rusqlite::Result<bool> {
    let verdict: String =
        wreck.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

/// Sequences of one stream that are accounted for, as ranges in ascending order.
#[derive(Default)]
struct Accounted(Vec<(u64, u64)>);

impl Accounted {
    fn add(&mut self, first: u64, last: u64) {
        self.0.push((first, last));
    }

    /// The ranges within `first..=last` that nothing accounts for.
    fn holes(mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        self.0.sort_unstable();
        let (mut holes, mut from) = (Vec::new(), first);
        for (start, end) in self.0 {
            if start > from {
                holes.push((from, (start - 1).min(last)));
            }
            from = from.max(end.saturating_add(1));
            if from > last {
                break;
            }
        }
        if from <= last {
            holes.push((from, last));
        }
        holes
    }
}

/// A batch that could be read.
struct Found {
    header: BatchHeader,
    committed_at: i64,
    message: Vec<u8>,
}

struct Rescue<'a> {
    wreck: &'a Connection,
    head: &'a Head,
    cipher: &'a Cipher,
    now: Timestamp,
}

impl Rescue<'_> {
    /// Numbers of streams and series, alarms and their commands. The numbers lie beyond all that were used.
    fn copy_tables(&self, store: &mut EdgeStore) -> Result<(), StoreError> {
        const ACTION: &str = "carry on from a damaged file";
        for stream in StreamId::ALL {
            store.acknowledge(stream, self.head.acked[slot(stream)]);
        }
        store.make_room(ROOM_FOR_ANY, self.now)?;
        store.write(ACTION, |writing| {
            copy_table(self.wreck, writing.connection, "series").map_err(failed(ACTION))?;
            // Alarms that cannot be read begin anew; a command that cannot is answered anew.
            for table in ["boot", "unplaced", "alarm", "command"] {
                if is_sound(self.wreck, table).unwrap_or(false) {
                    copy_table(self.wreck, writing.connection, table).map_err(failed(ACTION))?;
                }
            }
            writing.continue_from(self.head.next);
            writing.skip(NUMBERS_SKIPPED).map_err(failed(ACTION))
        })
    }

    /// Diagnostic records first: they tell which batches were gone before.
    fn copy_batches(&self, store: &mut EdgeStore) -> Result<Salvaged, StoreError> {
        let mut accounted: [Accounted; StreamId::ALL.len()] = Default::default();
        let mut salvaged = Salvaged::default();
        for stream in [StreamId::Diagnostic, StreamId::Alarm, StreamId::Telemetry] {
            let mut chunk = Vec::new();
            self.scan(stream, &mut |found| {
                let sequence = found.header.sequence.as_u64();
                accounted[slot(stream)].add(sequence, sequence);
                note_gaps(&found.message, &mut accounted);
                salvaged.batches += 1;
                let bytes: usize = chunk.iter().map(|f: &Found| f.message.len()).sum();
                if chunk.len() == CHUNK || bytes + found.message.len() > CHUNK_BYTES {
                    self.store_chunk(store, &mut chunk)?;
                }
                chunk.push(found);
                Ok(())
            })?;
            self.store_chunk(store, &mut chunk)?;
        }
        salvaged.gaps = self.declare(store, accounted)?;
        Ok(salvaged)
    }

    fn store_chunk(&self, store: &mut EdgeStore, chunk: &mut Vec<Found>) -> Result<(), StoreError> {
        const ACTION: &str = "carry on a batch";
        store.make_room(ROOM_FOR_ANY, self.now)?;
        store.write(ACTION, |writing| {
            chunk.drain(..).try_for_each(|found| {
                writing.insert(&found.header, found.committed_at, found.message).map_err(failed(ACTION))
            })
        })
    }

    /// Records what is missing between the watermark and the new numbers.
    fn declare(
        &self,
        store: &mut EdgeStore,
        accounted: [Accounted; StreamId::ALL.len()],
    ) -> Result<u64, StoreError> {
        let mut records = Vec::new();
        for (stream, accounted) in StreamId::ALL.into_iter().zip(accounted) {
            let first = self.head.acked[slot(stream)].next().as_u64();
            let last = self.head.next[slot(stream)].as_u64() + NUMBERS_SKIPPED - 1;
            let holes = accounted.holes(first, last).into_iter();
            records.extend(holes.map(|(first, last)| {
                damaged(stream, Sequence::from_u64(first), Sequence::from_u64(last), self.now)
            }));
        }
        let gaps = u64::try_from(records.len()).unwrap_or(u64::MAX);
        for part in records.chunks(protocol::limits::BATCH_RECORDS_MAX / 4) {
            store.commit(&BatchBody::Records(part.to_vec()), self.now)?;
        }
        Ok(gaps)
    }

    /// Hands over every batch that can be read.
    fn scan(
        &self,
        stream: StreamId,
        take: &mut impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (next, acked) = (self.head.next[slot(stream)], self.head.acked[slot(stream)]);
        // The log may be cut: batches can be readable beyond the number that the stream knows.
        let end = Sequence::from_u64(next.as_u64() + NUMBERS_SKIPPED - 1);
        let begin = Sequence::from_u64(acked.as_u64().saturating_sub(REPLAYED_MAX) + 1);
        walk(self.wreck, key(stream, begin), key(stream, end), &mut |row| {
            let message = self.cipher.open(row.key, row.message);
            let Some(header) = self.check(row.key, &message) else { return Ok(()) };
            take(Found { header, committed_at: row.committed_at, message })
        })
        .map(|_| ())
    }

    /// The header, if the message is what its key says and its checksum holds.
    fn check(&self, found: i64, message: &[u8]) -> Option<BatchHeader> {
        let header = BatchHeader::read(message).ok()?;
        let is_right = header.epoch == self.head.epoch && key(header.stream, header.sequence) == found;
        is_right.then_some(header)
    }
}

/// Notes what a diagnostic batch already declares as lost.
fn note_gaps(message: &[u8], accounted: &mut [Accounted; StreamId::ALL.len()]) {
    let Ok(Batch { body: BatchBody::Records(records), .. }) = Batch::decode(message) else { return };
    for record in records {
        match record {
            DiagnosticRecord::Gap(gap) => {
                accounted[slot(gap.stream)].add(gap.first.as_u64(), gap.last.as_u64());
            }
            DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => {}
        }
    }
}

/// Copies all rows, whatever the columns are: both files have the same layout.
fn copy_table(from: &Connection, to: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut select = from.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = select.column_count();
    let places = vec!["?"; columns].join(", ");
    let mut insert = to.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>()?;
        insert.execute(params_from_iter(values))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(ranges: &[(u64, u64)], first: u64, last: u64) -> Vec<(u64, u64)> {
        Accounted(ranges.to_vec()).holes(first, last)
    }

    #[test]
    fn holes_are_what_nothing_accounts_for() {
        assert_eq!(holes(&[], 3, 9), [(3, 9)]);
        assert_eq!(holes(&[(3, 9)], 3, 9), []);
        assert_eq!(holes(&[(1, 4), (8, 8), (6, 6)], 3, 9), [(5, 5), (7, 7), (9, 9)]);
        assert_eq!(holes(&[(1, 100), (5, 6)], 3, 9), []);
        assert_eq!(holes(&[(20, 30)], 3, 9), [(3, 9)]);
    }
}
