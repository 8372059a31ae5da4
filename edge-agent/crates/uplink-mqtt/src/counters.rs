//! What the uplink did, for the status interface.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts since the start of the agent.
#[derive(Debug, Default)]
pub struct UplinkCounters {
    connected: AtomicBool,
    /// Whether the backend answered on the current connection.
    served: AtomicBool,
    connects: AtomicU64,
    batches_sent: AtomicU64,
    bytes_sent: AtomicU64,
    resends: AtomicU64,
    backlog: AtomicU64,
    last_error: Mutex<String>,
}

impl UplinkCounters {
    /// Whether a connection stands and the backend has answered hello.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Connections on which the backend answered.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Batches handed to the transport, resends included.
    #[must_use]
    pub fn batches_sent(&self) -> u64 {
        self.batches_sent.load(Ordering::Relaxed)
    }

    /// Bytes of these batches.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// How often a row of batches had to be sent again for want of acknowledgement.
    #[must_use]
    pub fn resends(&self) -> u64 {
        self.resends.load(Ordering::Relaxed)
    }

    /// Batches committed and not yet acknowledged.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Why the last connection ended; empty when none did.
    #[must_use]
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        if connected && !self.connected.swap(true, Ordering::Relaxed) {
            self.connects.fetch_add(1, Ordering::Relaxed);
            self.served.store(true, Ordering::Relaxed);
        } else if !connected {
            self.connected.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_served(&self) -> bool {
        self.served.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.batches_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn count_resend(&self) {
        self.resends.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_backlog(&self, batches: u64) {
        self.backlog.store(batches, Ordering::Relaxed);
    }

    pub(crate) fn set_last_error(&self, text: &str) {
        text.clone_into(&mut self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
