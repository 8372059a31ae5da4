//! What the backend asked for again.

use std::time::Duration;

use plant_model::Monotonic;
use protocol::Sequence;

/// Pause between two requests of a stream that are answered: a round trip over a slow link, so that what is
/// already on its way is not sent once more.
const PAUSE: Duration = Duration::from_secs(1);

/// One range that is to be sent again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Again {
    range: Option<(Sequence, Sequence)>,
    answered_at: Option<Monotonic>,
}

impl Again {
    /// Takes a request; `false` if it comes too soon after the last or asks for nothing.
    pub(crate) fn ask(&mut self, first: Sequence, last: Sequence, now: Monotonic) -> bool {
        let is_soon = self.answered_at.is_some_and(|at| now.since(at) < PAUSE);
        if is_soon || first > last {
            return false;
        }
        (self.range, self.answered_at) = (Some((first, last)), Some(now));
        true
    }

    /// The next of the range that is still held.
    pub(crate) fn first(&self, oldest: Sequence) -> Option<Sequence> {
        self.range
            .map(|(first, last)| (first.max(oldest), last))
            .filter(|(first, last)| first <= last)
            .map(|(first, _)| first)
    }

    /// Everything up to here needs no sending again.
    pub(crate) fn passed(&mut self, sequence: Sequence) {
        self.range = self
            .range
            .map(|(first, last)| (first.max(sequence.next()), last))
            .filter(|(first, last)| first <= last);
    }

    pub(crate) fn forget(&mut self) {
        self.range = None;
    }
}
