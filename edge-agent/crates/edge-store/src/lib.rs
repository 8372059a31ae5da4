//! The gateway's buffer: an append-only outbox of batches in one SQLite file.
//!
//! # Layout
//!
//! | table | key | what |
//! |---|---|---|
//! | `meta` | name | `epoch` (8 bytes, random, made with the file), `schema` (version of this layout) |
//! | `stream` | stream code | `next` sequence, `acked` watermark of the backend; 3 rows |
//! | `batch` | stream, sequence | `committed_at` (µs), `count`, `body` (the message as it will be sent) |
//! | `series` | number | machine and tag; a number is never given to another tag |
//! | `alarm` | machine, alarm | occurrence and flags, as of the last committed transition |
//!
//! # Writer protocol
//!
//! One thread owns the only connection. A batch is encoded once; its sequence is taken from `stream`
//! and advanced in the transaction that inserts it. `synchronous=FULL`: a sequence that was handed out
//! is on the medium before anybody hears of it, so a power cut never makes a sequence be used twice.
//! Alarm transitions are committed at once, samples in groups ([`Settings::commit_interval`]).
//!
//! # Freeing
//!
//! A batch at or below `acked` is kept for [`Settings::replay_window`], so that a backend restored
//! from an older backup can ask again, and freed in chunks after it or when room is needed. If what is
//! not acknowledged alone exceeds [`Settings::bytes_max`], the oldest telemetry goes, and a gap record
//! in the diagnostic stream says so, in the same transaction.
//!
//! # Recovery
//!
//! SQLite recovers a WAL by itself. A file that is damaged is set aside under a new name, never
//! deleted, and a new file with a new epoch takes its place; [`Opened::set_aside`] says so.

mod inbox;
mod recorder;
mod schema;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use inbox::{Decided, SampleInbox};
pub use recorder::{OnAlarms, Recorder, RecorderCounters, StoreClient};
pub use store::{EdgeStore, Opened, StoredAlarm, StoredBatch};

/// How the buffer behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long samples gather before they are committed.
    pub commit_interval: Duration,
    /// How many samples are committed at the latest, whatever the interval.
    pub commit_samples: usize,
    /// Bound of the stored batches, in bytes of their bodies.
    pub bytes_max: u64,
    /// How long an acknowledged batch is kept.
    pub replay_window: Duration,
}

impl Settings {
    /// The defaults for a file: 5 s or 1,500 samples a commit, 1 GiB, replay for 24 h.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            commit_interval: Duration::from_secs(5),
            commit_samples: 1_500,
            bytes_max: 1 << 30,
            replay_window: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why the buffer could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open the buffer {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The damaged file cannot be moved out of the way.
    #[error("the buffer {} is damaged and cannot be renamed to {}: {source}", path.display(), aside.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Where it should have gone.
        aside: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file was written by a newer version.
    #[error("the buffer {} has layout {found}; this version knows {known}: install the newer version again", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest known layout.
        known: i64,
    },
    /// A statement failed.
    #[error("the buffer failed to {action}: {source}")]
    Sqlite {
        /// What was attempted.
        action: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// What was to be committed is no batch.
    #[error("cannot make a batch: {0}")]
    Encode(#[from] protocol::DecodeError),
    /// The writer has stopped.
    #[error("the buffer is closed")]
    Closed,
}
