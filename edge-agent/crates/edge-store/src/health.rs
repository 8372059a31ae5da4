//! How the buffer is, for the status interface.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use plant_model::Timestamp;
use rusqlite::ErrorCode;

use crate::{Backlog, StoreError};

/// Whether the buffer can do its work, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferHealth {
    /// It commits.
    Writable,
    /// It has no room.
    Full,
    /// The file or its file system is read-only.
    ReadOnly,
    /// The disk fails.
    Failing,
    /// The file is gone, or another one has taken its place.
    Gone,
    /// A part of the file cannot be read; a restart salvages the rest.
    Damaged,
}

impl BufferHealth {
    const ALL: [Self; 6] =
        [Self::Writable, Self::Full, Self::ReadOnly, Self::Failing, Self::Gone, Self::Damaged];

    /// A word for the API and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Damaged => "damaged",
        }
    }

    /// What an error says of the buffer.
    pub(crate) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Full | StoreError::NoRoom { .. } => Self::Full,
            StoreError::Gone { .. } => Self::Gone,
            StoreError::Reach { source, .. } => of_io(source),
            StoreError::Sqlite { source, .. } | StoreError::Open { source, .. } => of_sqlite(source),
            StoreError::InUse { .. }
            | StoreError::SetAside { .. }
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::NoBuffer { .. }
            | StoreError::Changed { .. }
            | StoreError::KeyFile { .. }
            | StoreError::KeyExposed { .. }
            | StoreError::KeyFormat { .. }
            | StoreError::KeyMissing { .. }
            | StoreError::KeyWrong { .. }
            | StoreError::Encode(_)
            | StoreError::Stalled
            | StoreError::Closed => Self::Failing,
        }
    }
}

fn of_io(error: &std::io::Error) -> BufferHealth {
    use std::io::ErrorKind;
    let known = [
        (ErrorKind::ReadOnlyFilesystem, BufferHealth::ReadOnly),
        (ErrorKind::StorageFull, BufferHealth::Full),
        (ErrorKind::QuotaExceeded, BufferHealth::Full),
        (ErrorKind::NotFound, BufferHealth::Gone),
    ];
    known
        .into_iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or(BufferHealth::Failing, |(_, health)| health)
}

fn of_sqlite(error: &rusqlite::Error) -> BufferHealth {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => BufferHealth::Full,
        Some(ErrorCode::ReadOnly) => BufferHealth::ReadOnly,
        Some(ErrorCode::CannotOpen) => BufferHealth::Gone,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => BufferHealth::Damaged,
        _ => BufferHealth::Failing,
    }
}

/// What the recorder did since it started.
#[derive(Debug, Default)]
pub struct RecorderCounters {
    /// Samples committed.
    pub samples_committed: AtomicU64,
    /// Samples dropped because the store stalled for too long.
    pub samples_dropped: AtomicU64,
    /// Alarm transitions committed.
    pub transitions_committed: AtomicU64,
    /// Alarm transitions dropped because the store stalled for too long; the backend sees it by their
    /// occurrence numbers.
    pub transitions_dropped: AtomicU64,
    /// Batches committed.
    pub batches_committed: AtomicU64,
    /// Commits that failed and were tried again.
    pub commit_failures: AtomicU64,
    /// Whether the last commit failed (1) or not (0).
    pub stalled: AtomicU64,
    /// Samples and records given up because the buffer was full.
    pub entries_evicted: AtomicU64,
    /// Batches that were larger than the broker takes.
    pub batches_divided: AtomicU64,
    /// Batches set aside because they cannot be delivered.
    pub batches_set_aside: AtomicU64,
    /// Batches that wait for the time to become known.
    pub batches_unplaced: AtomicU64,
    /// Samples that wait in memory.
    pub samples_waiting: AtomicU64,
    /// Bytes that the buffer holds.
    pub held_bytes: AtomicU64,
    /// Bytes of it that the backend does not have yet.
    pub undelivered_bytes: AtomicU64,
    /// Bytes that it can hold before it gives something up; 0 until it was measured.
    pub room_bytes: AtomicU64,
    /// Bytes that it takes on the disk.
    pub disk_bytes: AtomicU64,
    /// Bytes that it may take on the disk.
    pub bytes_max: AtomicU64,
    /// In microseconds since 1970; 0 where there is none.
    oldest_undelivered: AtomicI64,
    health: AtomicU8,
    damaged: AtomicBool,
}

impl RecorderCounters {
    /// How the buffer is.
    #[must_use]
    pub fn health(&self) -> BufferHealth {
        let now =
            BufferHealth::ALL[usize::from(self.health.load(Ordering::Relaxed)) % BufferHealth::ALL.len()];
        let is_damaged = self.damaged.load(Ordering::Relaxed);
        if now == BufferHealth::Writable && is_damaged { BufferHealth::Damaged } else { now }
    }

    /// The part of its room that is taken by what the backend does not have, from 0 to 1; `None` until it was measured.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share to be looked at")]
    pub fn fill(&self) -> Option<f64> {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
        let room = load(&self.room_bytes);
        (room > 0.0).then(|| (load(&self.undelivered_bytes) / room).min(1.0))
    }

    /// When the oldest batch was committed that the backend does not have.
    #[must_use]
    pub fn oldest_undelivered(&self) -> Option<Timestamp> {
        let micros = self.oldest_undelivered.load(Ordering::Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros))
    }

    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        self.undelivered_bytes.store(backlog.bytes, Ordering::Relaxed);
        self.room_bytes.store(backlog.room_bytes, Ordering::Relaxed);
        self.oldest_undelivered.store(backlog.oldest_at.map_or(0, Timestamp::micros), Ordering::Relaxed);
    }

    pub(crate) fn set_health(&self, health: BufferHealth) {
        let position = BufferHealth::ALL.iter().position(|h| *h == health).unwrap_or(0);
        self.health.store(u8::try_from(position).unwrap_or(0), Ordering::Relaxed);
        self.stalled.store(u64::from(health != BufferHealth::Writable), Ordering::Relaxed);
        if health == BufferHealth::Damaged {
            self.damaged.store(true, Ordering::Relaxed);
        }
    }

    /// A part of the file turned out to be unreadable; that does not pass by itself.
    pub(crate) fn note_damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }
}
