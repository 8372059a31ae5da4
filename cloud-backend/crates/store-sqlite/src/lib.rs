//! The store in SQLite: one `control.db` for tenants, users, gateways and sessions, and one
//! `tenants/<id>.db` for everything of a tenant. Isolation, export and erasure go by file.
//!
//! - All writes of a process go through one thread. Commands that wait together for the same file share
//!   one transaction and one sync; each is answered after the COMMIT. `synchronous=FULL`: what was
//!   answered survives a power cut.
//! - Reads run on a few connections beside it, each on a snapshot, off the asynchronous threads.
//! - Several processes may have the same directory open: an administrator's command and the server.
//! - A file that is damaged, missing or newer than this program is never replaced: the store refuses to
//!   open and says which file and what to do.
//!
//! Implements the ports [`ingestion::IngestStore`], [`fleet::FleetStore`], [`tenancy::TenancyStore`],
//! [`tenancy::ConfigurationStore`], [`rollouts::RolloutStore`], [`tiering::TierStore`] and [`tiering::PolicyStore`].
//! The tables are described in `src/migrations`.

mod codec;
mod configuration;
mod control;
mod enrolment;
mod error;
mod file;
mod fleet_reads;
mod ingest;
mod lifecycle;
mod readers;
mod rollout;
mod tiers;
mod writer;

use std::collections::HashSet;
use std::path::Path;

use tenancy::Tenant;

pub use error::SqliteError;
use file::Files;
use readers::Readers;
use writer::{Target, Writer};

/// The store. Share it in an `Arc`; the last one to go waits for the writer to finish what was asked.
#[derive(Debug)]
pub struct SqliteStore {
    files: Files,
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the store in a directory, making both when they do not exist, and checks every file.
    /// Blocks; call it before serving.
    ///
    /// # Errors
    /// A file is damaged, missing, of a newer program, or cannot be opened. Nothing was changed.
    pub fn open(directory: &Path) -> Result<Self, SqliteError> {
        let files = Files::prepare(directory)?;
        let control = files.open_checked(&Target::Control)?;
        let path = files.path(&Target::Control);
        let tenants = control::tenants(&control).map_err(|fault| SqliteError::damaged(&path, &fault))?;
        let mut known = HashSet::from([Target::Control]);
        for Tenant { id, .. } in tenants {
            let target = Target::Tenant(id);
            files.open_checked(&target)?;
            known.insert(target);
        }
        let writer = Writer::start(files.clone(), known)?;
        Ok(Self { readers: Readers::new(files.clone()), files, writer })
    }
}
