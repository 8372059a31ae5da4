//! A buffer that no agent uses, looked at without changing a byte of it: for tools, and for a file that was set aside.
//!
//! SQLite reads a file with a write-ahead log only if it may index the log. It gets no lock and no shared memory here
//! (VFS `unix-none`, `locking_mode=EXCLUSIVE` keeps the index in memory), a connection that cannot write, and the
//! order not to empty the log when it closes. A file without a log is opened as immutable. Nothing is locked, because
//! an agent must be able to start at any time: [`BufferReader::check_unchanged`] tells whether one did.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use plant_model::{MachineId, TagId, Timestamp};
use protocol::{Epoch, Sequence, SeriesId, StreamId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::file::{Usage, failed, log_of, pragma};
use crate::schema::{self, key, keys, sequence_of};
use crate::seal::{self, BufferKey, Cipher};
use crate::tally::{Facts, Tally, facts, tally};
use crate::walk::walk;
use crate::writing::{PerStream, read_streams, slot};
use crate::{StoreError, StoredBatch};

/// The oldest layout whose tables are read as they are.
const OLDEST_LAYOUT: i64 = 3;

/// Where SQLite locks a file of any system (file format, "The Lock-Byte Page"): behind the pending and the reserved byte.
const SHARED_LOCK: (i64, i64) = (0x4000_0002, 510);

/// Most findings of SQLite that are told.
const FINDINGS_MAX: u32 = 20;

/// A buffer that is only read.
#[derive(Debug)]
pub struct BufferReader {
    connection: Connection,
    /// Dropped last: closing a file gives up the locks of this process on it.
    file: File,
    path: PathBuf,
    stamp: Stamp,
    epoch: Option<Epoch>,
    cipher: Cipher,
    /// What comes next and what is acknowledged of each stream, if that can be read.
    heads: Option<(PerStream, PerStream)>,
}

/// A file and its log, as far as changes show.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([Option<(u64, SystemTime)>; 2]);

impl Stamp {
    fn of(path: &Path) -> Self {
        let one = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        };
        Self([one(path), one(&log_of(path))])
    }
}

/// A batch that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideBatch {
    /// The batch; its message may be damaged.
    pub batch: StoredBatch,
    /// Why, as in its gap record.
    pub reason: String,
}

/// What a look at all batches of a stream could not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unread {
    /// Damaged places; each hides one batch or several.
    pub places: u32,
    /// What SQLite said of the first.
    pub reason: Option<String>,
}

impl BufferReader {
    /// Opens a buffer for reading, a damaged one, too.
    ///
    /// # Errors
    /// An agent uses it, it cannot be read, is no buffer, or of a layout that this version does not know.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reach = |source| StoreError::Reach { path: path.to_owned(), source };
        let file = File::open(path).map_err(reach)?;
        if is_locked(&file).map_err(reach)? {
            return Err(StoreError::InUse { path: path.to_owned() });
        }
        let stamp = Stamp::of(path);
        let connection =
            connect(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let found = schema::layout(&connection).map_err(|source| no_buffer(path, source))?;
        if found < OLDEST_LAYOUT {
            return Err(StoreError::Older { path: path.to_owned(), found });
        }
        if found > schema::LAYOUT {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: schema::LAYOUT });
        }
        let epoch = schema::meta(&connection, "epoch").ok().flatten().map(Epoch::from_u64);
        let heads = read_streams(&connection).ok();
        let (path, cipher) = (path.to_owned(), Cipher::default());
        Ok(Self { connection, file, path, stamp, epoch, cipher, heads })
    }

    /// Whether messages can only be read with a key.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        seal::is_marked(&self.connection).unwrap_or(false)
    }

    /// Makes messages readable that are encrypted.
    ///
    /// # Errors
    /// The file is encrypted with another key, or with one and none is given.
    pub fn unseal(&mut self, key: Option<&BufferKey>) -> Result<(), StoreError> {
        if let Some(epoch) = self.epoch {
            self.cipher = Cipher::of_file(&self.connection, &self.path, key, epoch)?;
        }
        Ok(())
    }

    /// The life of the file, if that can be read.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// What the next commit of a stream would be numbered, and up to where the backend has it, as far as the file
    /// knows; `None` if it is damaged there.
    #[must_use]
    pub fn head(&self, stream: StreamId) -> Option<(Sequence, Sequence)> {
        self.heads.map(|(next, acked)| (next[slot(stream)], acked[slot(stream)]))
    }

    /// How it uses the disk; what it may grow to is not known to a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        const ACTION: &str = "measure itself";
        let number = |name| pragma(&self.connection, name).map_err(failed(ACTION));
        let page_bytes = number("page_size")?;
        let sql = "SELECT coalesce(sum(length(zeroes)), 0) FROM reserve";
        let reserved: i64 = self.connection.query_row(sql, [], |row| row.get(0)).map_err(failed(ACTION))?;
        let held = (number("page_count")? - number("freelist_count")?) * page_bytes;
        let disk_bytes = self.stamp.0.iter().flatten().map(|(bytes, _)| bytes).sum();
        let held_bytes = held.saturating_sub(reserved.unsigned_abs());
        Ok(Usage::resting(held_bytes, disk_bytes, disk_bytes))
    }

    /// What else it says of itself.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        facts(&self.connection).map_err(failed("look at itself"))
    }

    /// Counts a part of a stream from a number on.
    ///
    /// # Errors
    /// The file cannot be read there.
    pub fn tally(&self, stream: StreamId, from: Sequence, recent: Timestamp) -> Result<Tally, StoreError> {
        let acked = self.head(stream).map_or(Sequence::ZERO, |(_, acked)| acked);
        tally(&self.connection, stream, from, acked, recent).map_err(failed("count batches"))
    }

    /// The machine and tag of each number that can be read.
    ///
    /// # Errors
    /// The table cannot be read at all.
    pub fn series(&self) -> Result<HashMap<SeriesId, (MachineId, TagId)>, StoreError> {
        const ACTION: &str = "read the series";
        let mut statement =
            self.connection.prepare("SELECT number, machine, tag FROM series").map_err(failed(ACTION))?;
        let rows = statement.query_map([], |row| {
            Ok((SeriesId(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        let rows = rows.map_err(failed(ACTION))?.map_while(Result::ok);
        Ok(rows
            .filter_map(|(number, machine, tag)| {
                Some((number, (MachineId::new(&machine).ok()?, TagId::new(&tag).ok()?)))
            })
            .collect())
    }

    /// Hands over every batch of a stream from a number on that can be read, in their order; a message may be damaged.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub fn each<E>(
        &self,
        stream: StreamId,
        from: Sequence,
        mut take: impl FnMut(StoredBatch) -> Result<(), E>,
    ) -> Result<Unread, E> {
        let unreadable = walk(&self.connection, key(stream, from), keys(stream).1, &mut |row| {
            let message = self.cipher.open(row.key, row.message);
            take(StoredBatch { stream, sequence: sequence_of(row.key), message })
        })?;
        Ok(Unread { places: unreadable.places, reason: unreadable.reason })
    }

    /// The batches of a stream that were set aside.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn aside(&self, stream: StreamId) -> Result<Vec<AsideBatch>, StoreError> {
        const ACTION: &str = "read what was set aside";
        let sql = "SELECT key, message, reason FROM aside WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
        let mut statement = self.connection.prepare(sql).map_err(failed(ACTION))?;
        let rows = statement.query_map(keys(stream), |row| {
            let (key, stored) = (row.get(0)?, row.get(1)?);
            let message = self.cipher.open(key, stored);
            let batch = StoredBatch { stream, sequence: sequence_of(key), message };
            Ok(AsideBatch { batch, reason: row.get(2)? })
        });
        rows.and_then(Iterator::collect).map_err(failed(ACTION))
    }

    /// What SQLite finds wrong with the file, in its words, at most 20 findings.
    #[must_use]
    pub fn integrity(&self) -> Vec<String> {
        let findings = self
            .connection
            .prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))
            .and_then(|mut statement| {
                statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
            })
            .unwrap_or_else(|error| vec![error.to_string()]);
        findings.into_iter().filter(|finding| finding != "ok").collect()
    }

    /// Makes sure that what was read belongs together.
    ///
    /// # Errors
    /// An agent was started on the file, or something else wrote to it.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        let is_locked = is_locked(&self.file).unwrap_or(true);
        let is_same = !is_locked && Stamp::of(&self.path) == self.stamp;
        is_same.then_some(()).ok_or_else(|| StoreError::Changed { path: self.path.clone() })
    }
}

/// Whether an agent holds the file.
fn is_locked(file: &File) -> std::io::Result<bool> {
    let (l_start, l_len) = SHARED_LOCK;
    let [read_lock, unlocked] = [libc::F_RDLCK, libc::F_UNLCK].map(|kind| i16::try_from(kind).unwrap_or(0));
    let whence = i16::try_from(libc::SEEK_SET).unwrap_or(0);
    let mut lock = libc::flock { l_type: read_lock, l_whence: whence, l_start, l_len, l_pid: 0 };
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok(lock.l_type != unlocked)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_log = std::fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0);
    let connection = if has_log {
        Connection::open_with_flags_and_vfs(path, flags, "unix-none")?
    } else {
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    connection.pragma_update(None, "query_only", true)?;
    // Reads a file that is shorter than it says, too.
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
}

/// The URI of a file that nobody changes.
fn immutable(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte))
            }
            // Writing to a string does not fail.
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

fn no_buffer(path: &Path, source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::NoBuffer { path: path.to_owned() }
        }
        _ => StoreError::Open { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests;
