//! The file under the buffer: opened for itself alone, extended ahead of need, measured in pages.
//!
//! Invariant: outside of [`BufferFile::grow`] `max_page_count` is the size of the file, and every page of it
//! has its blocks on the disk. What the file needs later it already has.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use protocol::limits::MESSAGE_BYTES_MAX;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::StoreError;
use crate::log;
use crate::schema::{self, Refused};

/// Small pages: a commit touches four or five of them whatever their size, so that smaller ones write less:
/// 8.5, 10.4 and 11.6 bytes a sample with 1, 2 and 4 KiB (`benches/wear.rs`).
const PAGE_BYTES: u64 = 1024;

/// The file grows by this much at a time: a moment on the slowest flash.
const STEP_BYTES: u64 = 1 << 20;

/// Most that the log takes: two steps of growth and what is free meanwhile.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// Less than this is no buffer: the log, the largest message and something to keep.
const BYTES_MIN: u64 = LOG_BYTES_MAX + (4 << 20);

/// Pause before a disk without room is asked again.
const GROWTH_RETRY: Duration = Duration::from_secs(60);

/// How many bytes of the log are used before it is written back.
const CHECKPOINT_BYTES: u64 = 512 << 10;

/// How the buffer uses the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Pages that hold something.
    pub held_bytes: u64,
    /// Size of the file and its log on the disk.
    pub disk_bytes: u64,
    /// What it may grow to.
    pub bytes_max: u64,
    /// What pages may hold before something is given up: less where the disk has no room for the file.
    pub room_bytes: u64,
}

impl Usage {
    /// Of a file that nobody extends now, and that may grow to `bytes_max`.
    #[must_use]
    pub const fn resting(held_bytes: u64, disk_bytes: u64, bytes_max: u64) -> Self {
        let most = if bytes_max < BYTES_MIN { BYTES_MIN } else { bytes_max };
        Self { held_bytes, disk_bytes, bytes_max, room_bytes: most - LOG_BYTES_MAX }
    }

    /// How much more it can hold, in bytes of pages.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.room_bytes.saturating_sub(self.held_bytes)
    }
}

/// How an attempt to extend the file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It is longer.
    Grown,
    /// It has its full size, or enough free pages for now.
    Enough,
    /// The disk has no room.
    NoRoom,
}

/// What is known of a file that could be opened.
pub(crate) enum Opening {
    Usable(BufferFile),
    /// It is no buffer, or a damaged one.
    Damaged,
}

#[derive(Debug)]
pub(crate) struct BufferFile {
    // Dropped before `tail`: closing any handle of a file gives up the locks that SQLite holds on it.
    pub connection: Connection,
    tail: File,
    path: PathBuf,
    page_bytes: u64,
    bytes_max: u64,
    /// Pages that `reserve` holds.
    reserved: u64,
    /// When the disk last had no room for a step.
    refused_at: Option<Instant>,
    /// Whether the log was shorter than it had been grown, or could not be read to its end: commits may be gone.
    pub log_was_cut: bool,
}

enum Failure {
    Damaged,
    Newer(i64),
    Sqlite(rusqlite::Error),
    Io(io::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged,
            _ => Self::Sqlite(error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Newer(found) => Self::Newer(found),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl BufferFile {
    /// Opens the file, or makes it with `epoch`, for its owner alone; the log takes after it.
    pub(crate) fn open(path: &Path, bytes_max: u64, epoch: u64) -> Result<Opening, StoreError> {
        Self::finish(
            path,
            Self::try_open(path, bytes_max, epoch, OpenOptions::new().create(true).mode(0o600)),
        )
    }

    /// Opens a file that must be there: after a fault, when something may have taken its place.
    pub(crate) fn open_again(path: &Path, bytes_max: u64) -> Result<Opening, StoreError> {
        Self::finish(path, Self::try_open(path, bytes_max, 0, &mut OpenOptions::new()))
    }

    fn finish(path: &Path, opened: Result<Self, Failure>) -> Result<Opening, StoreError> {
        let path = path.to_owned();
        match opened {
            Ok(file) => Ok(Opening::Usable(file)),
            Err(Failure::Damaged) => Ok(Opening::Damaged),
            Err(Failure::Newer(found)) => Err(StoreError::Newer { path, found, known: schema::LAYOUT }),
            Err(Failure::Io(source)) => Err(StoreError::Reach { path, source }),
            Err(Failure::Sqlite(source)) => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Err(StoreError::InUse { path }),
                Some(ErrorCode::DiskFull) => Err(StoreError::NoRoom { path, needed: BYTES_MIN }),
                _ => Err(StoreError::Open { path, source }),
            },
        }
    }

    fn try_open(path: &Path, bytes_max: u64, epoch: u64, options: &mut OpenOptions) -> Result<Self, Failure> {
        let tail = options.read(true).write(true).open(path).map_err(Failure::Io)?;
        let log_bytes = size(&log_of(path));
        // A log that is not there or has no header holds no commits.
        let commits = log::commits(&log_of(path)).unwrap_or_default();
        let mut connection = connect(path)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Failure::Damaged);
        }
        let is_cut = log::is_cut(&commits, checkpoint(&connection)?);
        schema::migrate(&mut connection, epoch)?;
        let page_bytes = pragma(&connection, "page_size")?;
        let grown_to = schema::meta(&connection, "log")?;
        let mut file = Self {
            connection,
            tail,
            path: path.to_owned(),
            page_bytes,
            bytes_max: bytes_max.max(BYTES_MIN),
            reserved: 0,
            refused_at: None,
            log_was_cut: is_cut || grown_to.is_some_and(|grown_to| log_bytes < grown_to),
        };
        if grown_to.is_none() || file.log_was_cut {
            file.grow_log()?;
        }
        file.cap()?;
        file.count_reserved()?;
        Ok(file)
    }

    /// Two steps of growth in one transaction make the log as long as any later one needs it.
    fn grow_log(&mut self) -> Result<(), Failure> {
        if self.extend(2 * STEP_BYTES)? == Growth::NoRoom {
            return Err(Failure::Io(io::Error::from(io::ErrorKind::StorageFull)));
        }
        schema::set_meta(&self.connection, "log", size(&log_of(&self.path)))?;
        // Into the file itself: a log that disappears must not take this number with it.
        checkpoint(&self.connection)?;
        Ok(())
    }

    /// Nothing but [`Self::grow`] makes the file longer.
    fn cap(&self) -> rusqlite::Result<()> {
        set(&self.connection, "max_page_count", pragma(&self.connection, "page_count")?)
    }

    /// Extends the file by a step, if it is not as large as it may be.
    pub(crate) fn grow(&mut self) -> Result<Growth, StoreError> {
        let pages = self.pages().map_err(failed("measure itself"))?;
        let full = (pages.all * self.page_bytes + STEP_BYTES + LOG_BYTES_MAX) > self.bytes_max;
        if full || pages.free * self.page_bytes > 2 * STEP_BYTES {
            return Ok(Growth::Enough);
        }
        if self.refused_at.is_some_and(|at| at.elapsed() < GROWTH_RETRY) {
            return Ok(Growth::NoRoom);
        }
        let growth = match self.extend(STEP_BYTES) {
            Ok(growth) => growth,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Growth::NoRoom,
            Err(error) => return Err(failed("extend the file")(error)),
        };
        self.refused_at = (growth == Growth::NoRoom).then(Instant::now);
        Ok(growth)
    }

    fn extend(&mut self, bytes: u64) -> rusqlite::Result<Growth> {
        // Everything into the file first: only then is its end where SQLite thinks it is.
        checkpoint(&self.connection)?;
        let pages = self.pages()?;
        let end = pages.all * self.page_bytes;
        if allocate(&self.tail, end, bytes).is_err() {
            // If the half step cannot be given back now, the next checkpoint does it.
            let _ = self.tail.set_len(end);
            return Ok(Growth::NoRoom);
        }
        let more = bytes / self.page_bytes;
        set(&self.connection, "max_page_count", pages.all + more)?;
        let taken = self.take_into_reserve(pages.free, more);
        self.cap()?;
        taken?;
        self.count_reserved()?;
        checkpoint(&self.connection)?;
        Ok(Growth::Grown)
    }

    /// New pages go into a row of their own; the free ones are held meanwhile, or they would be taken first.
    fn take_into_reserve(&mut self, free: u64, more: u64) -> rusqlite::Result<()> {
        // A page of a long value carries all but 4 bytes; two pages are left for the trees.
        let payload = |pages: u64| pages.saturating_sub(2) * (self.page_bytes - 4);
        let (held, added) = (payload(free), payload(more));
        let transaction = self.connection.transaction()?;
        let insert = "INSERT INTO reserve (zeroes) VALUES (zeroblob(?1))";
        transaction.execute(insert, [held.cast_signed()])?;
        let holder = transaction.last_insert_rowid();
        transaction.execute(insert, [added.cast_signed()])?;
        transaction.execute("DELETE FROM reserve WHERE number = ?1", [holder])?;
        transaction.commit()
    }

    /// Makes pages of the reserve free. Says whether there were any.
    pub(crate) fn release(&mut self) -> rusqlite::Result<bool> {
        if self.reserved == 0 {
            return Ok(false);
        }
        let sql = "DELETE FROM reserve WHERE number = (SELECT max(number) FROM reserve)";
        let released = self.connection.execute(sql, [])? > 0;
        self.count_reserved()?;
        Ok(released)
    }

    fn count_reserved(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT coalesce(sum(length(zeroes)), 0) FROM reserve";
        let bytes: i64 = self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        self.reserved = u64::try_from(bytes).unwrap_or(0).div_ceil(self.page_bytes - 4);
        Ok(())
    }

    /// How many bytes may be written now.
    pub(crate) fn free_bytes(&self) -> rusqlite::Result<u64> {
        let pages = self.pages()?;
        let allowed = (self.bytes_max.saturating_sub(LOG_BYTES_MAX) / self.page_bytes)
            .saturating_sub(pages.all - pages.free - pages.reserved);
        Ok(pages.free.min(allowed) * self.page_bytes)
    }

    pub(crate) fn usage(&self) -> rusqlite::Result<Usage> {
        let pages = self.pages()?;
        Ok(Usage {
            held_bytes: (pages.all - pages.free - pages.reserved) * self.page_bytes,
            disk_bytes: size(&self.path) + size(&log_of(&self.path)),
            bytes_max: self.bytes_max,
            room_bytes: self.room_bytes(pages.all * self.page_bytes),
        })
    }

    /// What the file comes to by whole steps, or is where the disk has no room for one, less what is kept free.
    fn room_bytes(&self, size: u64) -> u64 {
        let left = self.bytes_max.saturating_sub(LOG_BYTES_MAX).saturating_sub(size);
        let steps = if self.refused_at.is_some() { 0 } else { left / STEP_BYTES };
        (size + steps * STEP_BYTES).saturating_sub(ROOM_FOR_ANY)
    }

    fn pages(&self) -> rusqlite::Result<Pages> {
        let all = pragma(&self.connection, "page_count")?;
        let free = pragma(&self.connection, "freelist_count")?;
        Ok(Pages { all, free, reserved: self.reserved.min(all - free) })
    }
}

struct Pages {
    all: u64,
    free: u64,
    reserved: u64,
}

/// What a transaction may need: the largest message and what the trees around it may take.
pub(crate) const ROOM_FOR_ANY: u64 = MESSAGE_BYTES_MAX as u64 + (64 << 10);

/// What a few alarms or records need.
pub(crate) const ROOM_FOR_RECORDS: u64 = 128 << 10;

/// So many are a few, at about 3 KiB each with their longest texts.
pub(crate) const FEW: usize = 32;

/// What an alarm's row may take, with both ids at their longest and its share of the tree.
pub(crate) const ALARM_ROW_BYTES: u64 = 512;

pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // Closing must not empty and remove the log: a full disk would not give it back.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Before anything is read, so that there is no shared-memory file, which a full disk would refuse.
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    set(&connection, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "NONE")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let page_bytes = pragma(&connection, "page_size")?;
    set(&connection, "wal_autocheckpoint", CHECKPOINT_BYTES / page_bytes)?;
    Ok(connection)
}

/// Writes the log back; says how many frames it has.
fn checkpoint(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        row.get(1).map(|frames: i64| u64::try_from(frames).unwrap_or(0))
    })
}

pub(crate) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let sql = format!("PRAGMA {name}");
    let value: i64 = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// Sets a numeric pragma; some answer with a row, some do not.
fn set(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {name} = {value}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Gives a range behind the end of the file its blocks. What is allocated reads as zeroes and is written once, when
/// SQLite takes it; a file system that cannot allocate gets zeroes.
fn allocate(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), from.cast_signed(), bytes.cast_signed()) {
        Ok(()) => file.sync_all(),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => write_zeroes(file, from, bytes),
        Err(error) => Err(error.into()),
    }
}

fn write_zeroes(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    const CHUNK: u64 = 64 << 10;
    let zeroes = [0; CHUNK as usize];
    for offset in (0..bytes).step_by(CHUNK as usize) {
        let length = usize::try_from(CHUNK.min(bytes - offset)).unwrap_or(zeroes.len());
        file.write_all_at(&zeroes[..length], from + offset)?;
    }
    file.sync_data()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

pub(crate) fn log_of(path: &Path) -> PathBuf {
    with_suffix(path, "-wal")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames a damaged file and its companions; the name carries the instant, so nothing is overwritten.
pub(crate) fn set_aside(path: &Path, aside: &Path) -> Result<(), StoreError> {
    for companion in COMPANIONS {
        let (from, to) = (with_suffix(path, companion), with_suffix(aside, companion));
        if !from.exists() {
            continue;
        }
        std::fs::rename(&from, &to).map_err(|source| StoreError::SetAside {
            path: from.clone(),
            aside: to,
            source,
        })?;
    }
    Ok(())
}

/// What SQLite keeps of one file: itself, its log, the index of its log.
pub(crate) const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// Under which name a damaged file is kept.
pub(crate) fn aside_of(path: &Path, now_micros: i64) -> PathBuf {
    with_suffix(path, &format!(".damaged-{now_micros}"))
}

/// Turns what SQLite said into the error of a step.
pub(crate) fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { action, source }
}
