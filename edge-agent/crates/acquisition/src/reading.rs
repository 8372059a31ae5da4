//! What a driver hands over, and to whom.

use plant_model::{Monotonic, Sample};

/// The position of a tag in its machine's tag list, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagIndex(pub u16);

impl TagIndex {
    /// The position, ready to index a slice.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// One sample, the tag it belongs to and when it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The tag.
    pub tag: TagIndex,
    /// The value with its quality and wall-clock times.
    pub sample: Sample,
    /// When the answer arrived, by the monotonic clock of this process; alarm delays and latencies
    /// count from here.
    pub received_at: Monotonic,
}

/// Whether the machine can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Data arrive.
    Up,
    /// No data arrive.
    Down {
        /// What failed, for a person.
        reason: String,
    },
}

/// Takes the readings of one machine: evaluates its alarms and hands the samples to the recorder.
///
/// A driver calls it inside its own task, between two requests. It therefore must never block, wait
/// or do input or output; whatever is slow goes behind a bounded queue.
pub trait MachineSink: Send {
    /// Takes what one answer brought, in the order of measurement for each tag. An empty slice says:
    /// the machine is alive and nothing changed; time-dependent rules can be evaluated.
    fn accept(&mut self, readings: &[Reading]);

    /// Takes a change of the link; called once for each change, before the readings that belong to
    /// the new state.
    fn link(&mut self, link: LinkState);
}
