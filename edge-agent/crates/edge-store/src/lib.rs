//! The gateway's buffer: an append-only outbox of batches in one SQLite file.
//!
//! # Layout
//!
//! The file `buffer.db` has pages of 1,024 bytes; `buffer.db-wal`, its write-ahead log, stays beside it for ever.
//! Numbers below are bytes in a row, without SQLite's own (about 10 a row).
//!
//! | table | key | what | bytes |
//! |---|---|---|---|
//! | `meta` | name | `epoch` (random, made with the file), `log` (bytes to which the log was grown), `seal` (see Encryption) | 8, 8, 29 |
//! | `stream` | code | `next` sequence (or the one after the newest batch, if that is larger), `acked` watermark; 3 rows | 1 + 8 + 8 |
//! | `outbox` | stream code · 2⁵⁶ + sequence | `committed_at` µs, `count` of entries, `thinned` 0 or 1, `message` as it will be sent | 8 + 8 + 4 + 1 + 48…1,048,576 |
//! | `aside` | as `outbox` | batches that cannot be delivered, with the reason; at most 16 | as `outbox` |
//! | `series` | number | machine and tag; a number is never given to another tag | 4 + up to 126 |
//! | `alarm` | machine, alarm | occurrence, flags, and times of shelving and review, as of the last committed transition; lengths of the timers that run, as of the last group commit | up to 184 |
//! | `command` | machine, number | id, alarm and cause of the newest 256 commands of each machine that moved an alarm | up to 220 |
//! | `boot` | number | a boot in which something was committed before the time was known: its id, when it was, and whether that is known, assumed or declared | 40 |
//! | `unplaced` | as `outbox` | the boot of a batch whose times are still times since it, see [`mod@placing`] | 8 + 2 |
//! | `reserve` | number | zeroes: pages that are set aside on the disk and not yet in use | 1 MiB |
//!
//! # Writer protocol
//!
//! One thread owns the only connection and locks the file for itself (`locking_mode=EXCLUSIVE`): a second agent on
//! the same file is refused, and no reader can keep the log from being emptied. A batch is encoded once; its
//! sequence is taken in the transaction that inserts it; `stream` is written when batches are deleted, and every 64 commits. `synchronous=FULL`: a sequence that was handed
//! out is on the medium before anybody hears of it, so that a power cut never makes a sequence be used twice. Alarm
//! transitions are committed at once, samples in groups ([`Settings::commit_interval`]). Acknowledgements are written
//! with `stream`: losing one costs a resend.
//!
//! # Space
//!
//! [`Settings::bytes_max`] bounds file and log together. The file is extended in steps of 1 MiB, one every 2 s, until
//! it has its full size: first blocks are allocated behind its end (where the file system cannot, zeroes are written), then
//! SQLite takes the pages into `reserve`, which writes each of them while there is room for whatever that takes. Every statement works with pages that the file already has (`max_page_count` = its size), and the
//! log was grown beyond the largest transaction when the file was made and is never shortened. A disk that others fill
//! to the last byte therefore stops neither commits nor evictions; it only ends the growth.
//!
//! A batch at or below `acked` is kept for [`Settings::replay_window`], by a clock of the buffer's own that nobody
//! sets and that rests while the agent does, so that a backend that was restored from an
//! older backup can ask again. Room is made, in transactions of at most 48 batches, in this order: pages from
//! `reserve`, batches that are acknowledged, then the oldest telemetry. What is evicted the first time is **thinned**
//! (each series keeps minimum, maximum and last value of each minute, see [`mod@thin`]) and appended as a new batch; when
//! that is the oldest it is dropped. Only when no telemetry is left go diagnostic records, and alarms last. Every
//! eviction leaves a gap record in the same transaction.
//!
//! # Faults
//!
//! | fault | what happens |
//! |---|---|
//! | kill at any instruction, power cut | the last commit that returned and all before it are there; what was not committed is lost, at most one commit interval |
//! | disk full | nothing, see above. While the file is being made for the first time: it is refused with a message |
//! | read-only, I/O error | a failed commit gives everything back to the memory ring, which keeps the newest 180,000 samples; commits are tried again every half second, the file is opened again every 5 s; [`BufferHealth`] says so; what the ring lost is a `Dropped` record |
//! | a batch larger than the broker takes | it is divided into new batches, with a gap record; commits keep to that size from then on |
//! | a damaged batch | it is moved to `aside` when it is read, with a gap record |
//! | a damaged file at start | it is renamed, never deleted; every batch that can be read goes on in a new file, see [`mod@salvage`]; a salvage that is killed begins anew, see [`mod@undone`] |
//! | a log that is missing, was cut or rotted | commits may be gone that were already sent: numbers are skipped so that none is used twice, with a gap record |
//! | no SQLite file at all | renamed; a new file with a new epoch, and a `Dropped` record |
//!
//! # Encryption
//!
//! With [`Settings::key`] every message in `outbox` and `aside` is sealed (29 bytes more, see [`mod@seal`]); an
//! encrypted file is refused without its key or with another, before anything in it is changed. A plain file becomes
//! an encrypted one by opening it with a key: what it held stays readable without the key until it is freed and its
//! pages are written again, what comes is sealed. **Readable without the key** stay: epoch, numbers, times and counts
//! of batches, watermarks, names of machines, tags and alarms, and how each alarm stands. Samples, texts and the
//! histories of alarms are not. The configured key is wiped from memory with its owner; the derived one stays in the
//! process that works with the file.
//!
//! # Wear
//!
//! 1,500 samples in a commit every 5 s cost about 10 bytes of writes to the medium a sample, log and checkpoints
//! included (`cargo bench -p edge-store`). Making the file costs twice its size once: each page in the log and in the file.
//! Timers of alarms go with the group commits, only those that changed: nothing while none runs, 7 bytes a sample if
//! all 150 alarms of the plant chatter.

mod alarms;
mod backlog;
mod client;
mod divide;
mod file;
mod health;
mod inbox;
mod log;
mod placing;
mod reader;
mod recorder;
mod room;
mod salvage;
mod schema;
mod seal;
mod store;
mod tally;
mod thin;
mod timers;
mod undone;
mod walk;
mod writing;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use alarms::{StoredAlarm, StoredCommand};
pub use backlog::Backlog;
pub use client::{Remembered, StoreClient};
pub use file::Usage;
pub use health::{BufferHealth, RecorderCounters};
pub use inbox::{Decided, SampleInbox};
pub use placing::Boot;
pub use reader::{AsideBatch, BufferReader, Unread};
pub use recorder::{OnAlarms, Recorder};
pub use salvage::Salvaged;
pub use seal::BufferKey;
pub use store::{EdgeStore, Opened, StoredBatch};
pub use tally::{Facts, Holding, Tally};
pub use timers::RunningTimers;

/// How the buffer behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long samples gather before they are committed.
    pub commit_interval: Duration,
    /// How many samples are committed at the latest, whatever the interval.
    pub commit_samples: usize,
    /// Bound of the file and its log on the disk, in bytes; 8 MiB is the least that is used.
    pub bytes_max: u64,
    /// The largest message that the broker takes, in bytes; a larger batch is committed in parts.
    pub message_bytes_max: usize,
    /// How long an acknowledged batch is kept.
    pub replay_window: Duration,
    /// The boot of the system, so that batches may be committed before the time is known; `None`: it always is.
    pub boot: Option<Boot>,
    /// What messages are encrypted with in the file; `None`: they are not.
    pub key: Option<BufferKey>,
}

impl Settings {
    /// The defaults for a file: 5 s or 1,500 samples a commit, 1 GiB, replay for 24 h, no encryption.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            commit_interval: Duration::from_secs(5),
            commit_samples: 1_500,
            bytes_max: 1 << 30,
            message_bytes_max: protocol::limits::MESSAGE_BYTES_MAX,
            replay_window: Duration::from_secs(24 * 3600),
            boot: None,
            key: None,
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
    /// The file cannot be reached.
    #[error("cannot open the buffer {}: {source}", path.display())]
    Reach {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the buffer {} is in use by another process: stop the other agent, or give this one its own file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A new file does not fit.
    #[error("the disk has no room for the buffer {}: at least {needed} bytes are needed; free some, or move it to another disk", path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What the smallest buffer takes.
        needed: u64,
    },
    /// The file is no longer there, or another one is in its place.
    #[error("the buffer {} is gone, damaged or another one: restart the agent to begin with what is there", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
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
    /// The file is older than what is read without changing it.
    #[error("the buffer {} has layout {found}, which is only read by an agent that brings it to the newest: start the agent on it once", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
    },
    /// The file is no buffer, or its first page is damaged.
    #[error("{} is no buffer, or damaged beyond reading", path.display())]
    NoBuffer {
        /// The file.
        path: PathBuf,
    },
    /// The file changed while it was read.
    #[error("the buffer {} changed while it was read: an agent was started on it; stop the agent and try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be read.
    #[error("cannot read the key of the buffer, {}: {source}", path.display())]
    KeyFile {
        /// The file of the key.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// Everybody may read the key.
    #[error("everybody may read the key of the buffer, {} (mode {mode:o}): chmod 600 it, and make a new one if somebody may have", path.display())]
    KeyExposed {
        /// The file of the key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file holds no key.
    #[error("{} holds no key of a buffer: 64 hexadecimal digits are needed, as `openssl rand -hex 32` makes them", path.display())]
    KeyFormat {
        /// The file of the key.
        path: PathBuf,
    },
    /// The buffer is encrypted and nobody gave the key.
    #[error("the buffer {} is encrypted and there is no key: give it as buffer.key_file, as the systemd credential buffer-key, or to a tool with --key-file; nothing was changed", path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The buffer is encrypted with another key.
    #[error("the buffer {} is encrypted with another key: give back the one it was made with, or move the file away to begin a new one; nothing was changed", path.display())]
    KeyWrong {
        /// The file.
        path: PathBuf,
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
    /// It holds nothing that could be given up for what is to be committed.
    #[error("the buffer has no room, although everything that may be given up is; raise buffer.max_mib")]
    Full,
    /// It cannot be written at the moment; what waits is kept in memory.
    #[error("the buffer cannot be written at the moment")]
    Stalled,
    /// The writer has stopped.
    #[error("the buffer is closed")]
    Closed,
}
