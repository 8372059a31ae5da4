//! Reads, beside the writer and off the asynchronous threads.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::Fault;
use crate::file::Files;
use crate::writer::Target;

/// Reads at a time. SQLite reads are bound by the processor; more of them would only take turns.
const READS_MAX: usize = 4;

/// Idle connections kept for the next read: two or three descriptors each.
const IDLE_MAX: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Readers {
    files: Files,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<(Target, Connection)>>>,
}

impl Readers {
    pub(crate) fn new(files: Files) -> Self {
        Self { files, permits: Arc::new(Semaphore::new(READS_MAX)), idle: Arc::default() }
    }

    /// Runs a read on a snapshot of a file.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        target: Target,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Fault::Stopped)?;
        let readers = self.clone();
        let read = move || {
            let _permit = permit;
            let connection = readers.take(&target)?;
            let answer =
                connection.unchecked_transaction().map_err(Fault::from).and_then(|snapshot| work(&snapshot));
            if answer.is_ok() {
                readers.give_back(target, connection);
            }
            answer
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| Fault::Stopped)?
    }

    fn take(&self, target: &Target) -> Result<Connection, Fault> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = idle.iter().position(|(t, _)| t == target) {
            return Ok(idle.swap_remove(position).1);
        }
        drop(idle);
        self.files.require(target)?;
        Ok(self.files.open_for_reading(target)?)
    }

    fn give_back(&self, target: Target, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((target, connection));
        }
    }
}
