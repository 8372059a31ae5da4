//! Batches that somebody asks for again although the backend has acknowledged them.

use plant_model::Monotonic;
use protocol::{Sequence, StreamId};

/// A range of acknowledged batches to be sent again, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The stream.
    pub stream: StreamId,
    /// The first batch.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

/// A range on its way.
#[derive(Debug, Clone)]
pub(crate) struct Replaying {
    /// What is left of it.
    left: Replay,
    /// Batches sent since the stream was acknowledged last: no more than a window is under way.
    unanswered: usize,
    sent_at: Monotonic,
}

impl Replaying {
    /// Of the range what is acknowledged: the rest is sent anyway.
    pub(crate) fn new(asked: Replay, acked: Sequence, now: Monotonic) -> Option<Self> {
        let left = Replay { last: asked.last.min(acked), ..asked };
        (left.first <= left.last).then_some(Self { left, unanswered: 0, sent_at: now })
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.left.stream
    }

    /// The next to send, if there is room for it.
    pub(crate) fn next(&self, oldest: Sequence, window: usize) -> Option<Sequence> {
        let next = self.left.first.max(oldest);
        (next <= self.left.last && self.unanswered < window).then_some(next)
    }

    pub(crate) fn covers(&self, sequence: Sequence) -> bool {
        (self.left.first..=self.left.last).contains(&sequence)
    }

    /// One was sent; whether some are left.
    pub(crate) fn sent(&mut self, sequence: Sequence, now: Monotonic) -> bool {
        self.passed(sequence);
        (self.unanswered, self.sent_at) = (self.unanswered + 1, now);
        self.left.first <= self.left.last
    }

    /// Everything up to here needs no sending any more.
    pub(crate) fn passed(&mut self, sequence: Sequence) {
        self.left.first = self.left.first.max(sequence.next());
    }

    /// The backend answered for a stream.
    pub(crate) fn acknowledged(&mut self, stream: StreamId) {
        if stream == self.left.stream {
            self.unanswered = 0;
        }
    }

    /// Since when an answer is awaited.
    pub(crate) fn waits_since(&self) -> Option<Monotonic> {
        (self.unanswered > 0).then_some(self.sent_at)
    }
}
