//! Exponential back-off with half jitter.

use std::time::Duration;

use rand::Rng;

/// How long to wait before the next attempt: doubles from `first` to `longest`, each wait drawn from
/// its upper half, so that many clients of one server do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// A back-off that begins at `first` and never waits longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let first = first.min(longest);
        Self { first, longest, next: first }
    }

    /// The wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.longest);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Begins anew. Call it when the peer has proven itself, not when it merely accepted a connection.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_in_their_upper_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(450));
        for full in [100, 200, 400, 450, 450] {
            let wait = backoff.next_wait();
            assert!(
                wait <= Duration::from_millis(full) && wait >= Duration::from_millis(full / 2),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn a_reset_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(10));
        for _ in 0..8 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(10));
    }
}
