//! The newest sample of every series of a gateway.

use std::sync::Arc;
use std::time::Duration;

use plant_model::{GatewayId, MachineId, Sample, TagId, Timestamp};
use protocol::{Catalogue, SeriesId};

/// How far a gateway's clock may be ahead of the backend's before its samples no longer count as the newest: stored
/// they are, and shown at their time. Otherwise one sample of next year would stand as the latest for a year.
pub const FUTURE_MAX: Duration = Duration::from_secs(300);

/// The newest sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestSample {
    /// The series.
    pub series: SeriesId,
    /// The sample.
    pub sample: Sample,
    /// The earliest time since when the value is known to have been the same.
    pub unchanged_since: Timestamp,
}

/// The newest samples of a gateway in its current epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayLatest {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its current catalogue: says what the series are.
    pub catalogue: Arc<Catalogue>,
    /// At most one sample a series.
    pub samples: Vec<LatestSample>,
}

impl GatewayLatest {
    /// What is known of the tags of a catalogue: `newest` gives the newest sample of a tag and since when its value has
    /// been the same.
    #[must_use]
    pub fn of(
        gateway: GatewayId,
        catalogue: Catalogue,
        newest: impl Fn(&MachineId, &TagId) -> Option<(Sample, Timestamp)>,
    ) -> Self {
        let tags = catalogue.machines.iter().flat_map(|m| m.tags.iter().map(move |tag| (&m.id, tag)));
        let mut samples: Vec<LatestSample> = tags
            .filter_map(|(machine, tag)| {
                let (sample, unchanged_since) = newest(machine, &tag.definition.id)?;
                Some(LatestSample { series: tag.series, sample, unchanged_since })
            })
            .collect();
        samples.sort_by_key(|latest| latest.series);
        Self { gateway, catalogue: Arc::new(catalogue), samples }
    }
}
