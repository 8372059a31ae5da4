//! What the backend makes of batches that rest: segments of a machine and a minute, rollups of an hour and a day, and
//! the points of a chart.
//!
//! Bytes and samples come in, bytes and samples go out: no database, no clock, no I/O.
//!
//! * [`next_wave`] says which batches of a stream may be sealed, in the stream's order; [`Gatherer`] sorts their
//!   samples into one [`Content`] for each machine and minute.
//! * A [`Content`] knows of each sample the [`Source`] that brought it. The union of two contents is therefore
//!   exact, in any order and however often it is repeated: late data are a second content of the same minute
//!   ([`merge`]), and a sealing that was killed is simply done again.
//! * [`Content::seal`] makes a [`SealedSegment`]: a *head* with provenance, directory and statistics, and a *body*
//!   with the columns of the batch codec, each readable without the others.
//! * A [`Rollup`] says what one tag did in a stretch of time; those of a minute are the statistics in the head, those
//!   of an hour are made of them and those of a day of the hours ([`Rollup::over`], at rest [`rollups_to_bytes`]).
//! * [`downsample`] picks from samples those that draw the same picture.
//!
//! # What stays right when bodies are dropped
//!
//! Kept are the heads. Of late data then
//! * counts, smallest and largest, first and last value, and sums (but for the rounding of a float) stay exact always;
//! * time-weighted means, time in state and the increase of counters stay exact where the late samples of a minute lie
//!   before or after those that were there, as after an outage. Where they lie between them, the rollup keeps what the
//!   part with the longer known time says, and says of itself that it is [`Exactness::Approximate`]. The bodies, or the
//!   archive, would be needed to do better.
//! * Nothing is counted twice: a head names the batches that are in it.

mod content;
pub mod downsample;
mod error;
mod gather;
mod merge;
mod minute;
mod rollup;
mod sealing;
mod segment;
mod source;

pub use content::{Content, SAMPLES_MAX, TAGS_MAX, TagNumber};
pub use error::SegmentError;
pub use gather::{Gatherer, Place};
pub use merge::{Merged, Stored, merge};
pub use minute::Minute;
pub use rollup::{Course, Exactness, Hold, Reading, Rollup, STATES_MAX, StateTimes, TagKind};
pub use sealing::{
    IDLE_AFTER, WAVE_BATCHES_MAX, WAVE_SAMPLES_MAX, WaitingBatch, Wave, WaveReason, next_wave,
};
pub use segment::{HEAD_BYTES, Head, SealedSegment, Segment, TagHead, rollups_from_bytes, rollups_to_bytes};
pub use source::{Run, Source, Sourced};
