//! What an answer says about itself: where it came from, what it covers, what it cost.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use plant_model::Timestamp;

/// Most stretches that coverage lists: what a chart can show. Beyond it the last one grows over the breaks.
pub const STRETCHES_MAX: usize = 1_000;

/// A layer of the tiers in which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Batches that are not sealed yet.
    Batches,
    /// Segments with their bodies, or what came late beside dropped ones.
    Segments,
    /// Statistics of minutes.
    Minutes,
    /// Rollups of hours.
    Hours,
    /// Objects of the archive.
    Archive,
}

impl Layer {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Segments => "segments",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Archive => "archive",
        }
    }

    /// The tier it belongs to.
    #[must_use]
    pub const fn tier(self) -> &'static str {
        match self {
            Self::Batches | Self::Segments => "hot",
            Self::Minutes | Self::Hours => "warm",
            Self::Archive => "cold",
        }
    }
}

/// Stretches of time in their order, apart from one another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stretches(Vec<Range<Timestamp>>);

impl Stretches {
    /// The stretches.
    #[must_use]
    pub fn as_slice(&self) -> &[Range<Timestamp>] {
        &self.0
    }

    /// Adds one that begins after the others began. Those that touch become one.
    pub(crate) fn add(&mut self, stretch: Range<Timestamp>) {
        let is_full = self.0.len() >= STRETCHES_MAX;
        match self.0.last_mut() {
            Some(last) if stretch.start <= last.end || is_full => last.end = last.end.max(stretch.end),
            Some(_) | None => self.0.push(stretch),
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Which stretches have data of any of the tags, to whole minutes, or hours where rollups were read.
    pub covered: Stretches,
    /// Minutes of which samples are known to have been there that no tier gave.
    pub incomplete: Stretches,
    /// What was touched.
    pub layers: BTreeSet<Layer>,
    /// Requests to object storage.
    pub requests: u64,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Samples, and statistics of minutes and hours, that were looked at.
    pub rows: u64,
    /// Whether something is no more than approximate ([`segments::Exactness`]).
    pub is_approximate: bool,
}

impl Report {
    /// What the requests and bytes cost.
    #[must_use]
    pub const fn cost(&self, prices: &Prices) -> NanoUsd {
        let requests = self.requests.saturating_mul(prices.request.0);
        let bytes = self.bytes.saturating_mul(prices.gigabyte.0) / 1_000_000_000;
        NanoUsd(requests.saturating_add(bytes))
    }
}

/// Billionths of a US dollar: one read of an object costs some hundreds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NanoUsd(pub u64);

impl fmt::Display for NanoUsd {
    /// Dollars, with nine decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// What reading from object storage costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// One request.
    pub request: NanoUsd,
    /// 10^9 bytes.
    pub gigabyte: NanoUsd,
}

impl Prices {
    /// The standard class of a large provider, read from within its region (`s3.std.get` of the price book: 0.0004 USD
    /// for 1,000 requests, nothing for the bytes).
    pub const STANDARD: Self = Self { request: NanoUsd(400), gigabyte: NanoUsd(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: i64, to: i64) -> Range<Timestamp> {
        Timestamp::from_micros(from)..Timestamp::from_micros(to)
    }

    #[test]
    fn stretches_that_touch_become_one_and_their_number_is_bounded() {
        let mut stretches = Stretches::default();
        for (from, to) in [(0, 10), (10, 20), (15, 18), (30, 40)] {
            stretches.add(stretch(from, to));
        }
        assert_eq!(stretches.as_slice(), [stretch(0, 20), stretch(30, 40)]);
        for n in 5..2_000 {
            stretches.add(stretch(n * 10, n * 10 + 1));
        }
        assert_eq!(stretches.as_slice().len(), STRETCHES_MAX);
        assert_eq!(stretches.as_slice()[STRETCHES_MAX - 1].end, Timestamp::from_micros(19_991));
    }

    #[test]
    fn st9_a_cost_is_told_in_decimals() {
        let report = Report { requests: 366, bytes: 1_500_000_000, ..Report::default() };
        assert_eq!(report.cost(&Prices::STANDARD).to_string(), "0.000146400");
        let prices = Prices { gigabyte: NanoUsd(10_000_000), ..Prices::STANDARD };
        assert_eq!(report.cost(&prices).to_string(), "0.015146400");
    }
}
