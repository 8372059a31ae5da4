//! What is known to be lost of a stretch of time.

use fleet::LedgerRow;
use plant_model::{GatewayId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::instant::Instant;

/// Samples of the gateway that never came, as far as the ledger knows when they were taken. Which tags they were of is
/// not known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Lost {
    /// Time of the first of them; null when only `end` is known.
    #[schema(required)]
    pub(crate) start: Option<Instant>,
    /// Time of the last of them, or when the gateway gave them up.
    pub(crate) end: Instant,
    /// How many samples.
    pub(crate) samples: u64,
    /// Why, a word.
    pub(crate) reason: String,
}

/// What a gateway lost in a range. Of batches that it gave up only the end is known: they are told where they were given
/// up in the range or after it.
pub(crate) fn lost(
    rows: Vec<LedgerRow>,
    gateway: &GatewayId,
    range: &std::ops::Range<Timestamp>,
) -> Vec<Lost> {
    let mut out = Vec::new();
    for row in rows.into_iter().filter(|row| row.gateway == *gateway) {
        let dropped = row.dropped.into_iter().filter(|d| d.from < range.end && d.to >= range.start);
        out.extend(dropped.map(|d| Lost {
            start: Some(d.from.into()),
            end: d.to.into(),
            samples: d.samples,
            reason: d.reason,
        }));
        if row.stream == protocol::StreamId::Telemetry {
            let gaps = row.gaps.into_iter().filter(|gap| gap.at >= range.start);
            out.extend(gaps.map(|gap| Lost {
                start: None,
                end: gap.at.into(),
                samples: gap.samples,
                reason: gap.reason,
            }));
        }
    }
    out
}
