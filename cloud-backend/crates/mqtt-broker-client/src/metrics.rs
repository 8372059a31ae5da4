//! Counters of the link. All only grow, except whether it stands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ingestion::Rejection;

/// Why a message of the broker is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Its topic is none of the protocol.
    Topic,
    /// Its channel is one of the backend.
    Channel,
    /// It is larger than a message may be.
    TooLarge,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    connected: AtomicBool,
    connects: AtomicU64,
    messages: AtomicU64,
    sent: AtomicU64,
    unusable: [AtomicU64; Unusable::ALL.len()],
    rejected: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Unusable {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Topic, Self::Channel, Self::TooLarge];

    /// The value of the metric's `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Channel => "channel",
            Self::TooLarge => "too_large",
        }
    }
}

impl Metrics {
    /// Whether the broker is connected and has granted the subscriptions.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How often the link was made.
    #[must_use]
    pub fn connects_total(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Messages handed to the consumer.
    #[must_use]
    pub fn messages_total(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages sent to gateways.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages dropped for this reason.
    #[must_use]
    pub fn unusable_total(&self, reason: Unusable) -> u64 {
        self.unusable[reason as usize].load(Ordering::Relaxed)
    }

    /// Messages that the consumer refused; a broker has no way to tell the gateway.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Why the link does not stand, if it is so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.is_connected() {
            return None;
        }
        let last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(last.unwrap_or_else(|| "it is not connected yet".to_owned()))
    }

    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, why: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.connected.store(false, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn message_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, reason: Unusable) {
        self.unusable[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decided(&self, outcome: Result<(), Rejection>) {
        self.rejected.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
    }
}
