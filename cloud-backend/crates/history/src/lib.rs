//! One query over all tiers: samples, curves, figures and the newest values, wherever they rest.
//!
//! A [`Reader`] reads tags of one machine. It asks the ports of [`tiering`] and knows no database, no clock and no HTTP.
//!
//! | question | answered by |
//! |---|---|
//! | [`Reader::next_block`], [`Reader::page`]: samples as they are | batches, segments, archive |
//! | [`Reader::figures`]: what a tag did between two boundaries | rollups of hours and statistics of minutes that are up to date, samples for the rest |
//! | [`Reader::curve`]: a line or a state in so many points | the same, between boundaries of equal distance |
//! | [`Reader::shape`]: the samples that make the shape of a line | samples |
//! | [`Reader::latest`]: the newest samples | the same, going back |
//!
//! # Why nothing is missed or counted twice
//!
//! Batches that are not sealed are read first, then segments, then the manifest and its objects: what moves meanwhile is
//! met twice, never missed. The unit in which everything comes together is the [`segments::Content`] of a minute, which
//! knows which batch brought what; contents are united, and a union holds each batch once. Statistics are used only where
//! nothing waits to be added to them.
//!
//! # Memory
//!
//! A reader holds at most [`BATCHES_MAX`] batches' samples of its tags, one block of about [`BLOCK_SAMPLES`] samples with
//! [`BLOCK_BYTES`] bytes of segments, and its answer: at 1 Hz and 20 tags some 50 MB beside the answer.
//!
//! # What is not answered
//!
//! A state or a counter has no mean and no sum, and a measured number no increase: [`Function::suits`]. Nothing is
//! interpolated; a good value is in force until the next sample, at most [`segments::Hold::DEFAULT`].

mod archived;
mod contents;
mod curve;
mod error;
mod figures;
mod fold;
mod latest;
mod plan;
mod query;
mod reader;
mod report;
mod samples;

pub use contents::{BLOCK_BYTES, BLOCK_SAMPLES};
pub use curve::{Curve, CurveData, Point};
pub use error::HistoryError;
pub use figures::{Figures, Stretch};
pub use query::{Budget, Function, Subject, Tiers};
pub use reader::{BATCHES_MAX, Reader};
pub use report::{Layer, NanoUsd, Prices, Report, STRETCHES_MAX, Stretches};
pub use samples::{Block, Page};
