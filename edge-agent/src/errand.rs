//! When to try again what failed, and when to do again what was done.

use std::time::Duration;

use service_kit::Backoff;
use tokio::time::Instant;

/// The first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(2);

/// Something that is done again and again, at once to begin with.
pub(crate) struct Errand {
    pub due: Instant,
    backoff: Backoff,
}

impl Errand {
    /// After a failure it waits for `every` at most.
    pub(crate) fn new(every: Duration) -> Self {
        Self { due: Instant::now(), backoff: Backoff::new(BACKOFF_FIRST, every) }
    }

    pub(crate) fn done(&mut self, next: Duration) {
        self.backoff.reset();
        self.due = Instant::now() + next;
    }

    pub(crate) fn failed(&mut self) {
        self.due = Instant::now() + self.backoff.next_wait();
    }
}
