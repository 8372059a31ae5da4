//! Where samples came from.

use plant_model::Sample;
use protocol::{Detail, Epoch, Sequence};

/// The telemetry batch that brought a sample. The gateway is that of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The life of the gateway's buffer.
    pub epoch: Epoch,
    /// The batch.
    pub sequence: Sequence,
}

/// Samples of one tag that one batch brought, in the order of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The batch.
    pub source: Source,
    /// Whether the batch carries everything of its time. A sample of a thinned one may be there twice.
    pub detail: Detail,
    /// How many samples.
    pub length: usize,
}

/// A sample and the batch that brought it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced {
    /// It.
    pub sample: Sample,
    /// The batch.
    pub source: Source,
    /// Whether that batch carries everything of its time.
    pub detail: Detail,
}
