//! What an answer says about where it came from.

use history::{Prices, Report, Stretches};
use serde::Serialize;
use utoipa::ToSchema;

use crate::instant::Instant;

/// A stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeRange {
    /// From here on.
    pub(crate) start: Instant,
    /// Up to, not including, here.
    pub(crate) end: Instant,
}

/// Where an answer came from, what it covers and what it cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Provenance {
    /// The tiers that were touched: `hot`, `warm`, `cold`.
    #[schema(value_type = Vec<String>)]
    pub(crate) tiers: Vec<&'static str>,
    /// What of them: `batches`, `segments`, `minutes`, `hours`, `archive`.
    #[schema(value_type = Vec<String>)]
    pub(crate) layers: Vec<&'static str>,
    /// Whether everything is what the samples themselves would say.
    pub(crate) exact: bool,
    /// Stretches that have data of any of the tags, to whole minutes or hours; at most 1,000.
    pub(crate) covered: Vec<TimeRange>,
    /// Minutes whose samples are known to have been there and are in no tier any more.
    pub(crate) incomplete: Vec<TimeRange>,
    /// Requests to object storage.
    pub(crate) requests: u64,
    /// Bytes from object storage.
    pub(crate) bytes: u64,
    /// Samples and statistics that were looked at.
    pub(crate) rows: u64,
    /// What requests and bytes cost by the price book, in US dollars.
    #[schema(example = "0.000000400")]
    pub(crate) cost_usd: String,
}

impl From<&Report> for Provenance {
    fn from(report: &Report) -> Self {
        let mut tiers: Vec<_> = report.layers.iter().map(|layer| layer.tier()).collect();
        tiers.dedup();
        Self {
            tiers,
            layers: report.layers.iter().map(|layer| layer.name()).collect(),
            exact: !report.is_approximate,
            covered: ranges(&report.covered),
            incomplete: ranges(&report.incomplete),
            requests: report.requests,
            bytes: report.bytes,
            rows: report.rows,
            cost_usd: report.cost(&Prices::STANDARD).to_string(),
        }
    }
}

fn ranges(stretches: &Stretches) -> Vec<TimeRange> {
    let range = |stretch: &std::ops::Range<plant_model::Timestamp>| TimeRange {
        start: stretch.start.into(),
        end: stretch.end.into(),
    };
    stretches.as_slice().iter().map(range).collect()
}
