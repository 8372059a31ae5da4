//! One reading.

use crate::{Quality, Timestamp, Value};

/// One reading of a tag (an OPC UA `DataValue`). Which tag it belongs to is said beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The value; `None` when the source gave none, which only a bad quality explains.
    pub value: Option<Value>,
    /// How far the value can be trusted.
    pub quality: Quality,
    /// When the value was measured, by the clock of the machine, if it told.
    pub source_timestamp: Option<Timestamp>,
    /// When the gateway received the value, by the gateway's wall clock.
    pub gateway_timestamp: Timestamp,
}

impl Sample {
    /// How far a machine's clock may differ from the gateway's before its time is no longer used to
    /// place a sample: 5 minutes, in microseconds.
    pub const SOURCE_SKEW_MICROS_MAX: u64 = 300_000_000;

    /// The time under which the sample is placed: the source's where it is plausible, else the
    /// gateway's.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        match self.source_timestamp {
            Some(source)
                if source.micros().abs_diff(self.gateway_timestamp.micros())
                    <= Self::SOURCE_SKEW_MICROS_MAX =>
            {
                source
            }
            _ => self.gateway_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: Option<i64>) -> Sample {
        Sample {
            value: Some(Value::Int(1)),
            quality: Quality::GOOD,
            source_timestamp: source.map(Timestamp::from_micros),
            gateway_timestamp: Timestamp::from_micros(1_700_000_000_000_000),
        }
    }

    #[test]
    fn a_plausible_source_time_places_the_sample() {
        let s = sample(Some(1_700_000_000_000_000 - 1_000_000));
        assert_eq!(s.timestamp(), s.source_timestamp.expect("given"));
    }

    #[test]
    fn a_plc_clock_at_the_year_2000_is_overruled_by_the_gateway() {
        for source in [Some(946_684_800_000_000), Some(i64::MAX), Some(i64::MIN), None] {
            let s = sample(source);
            assert_eq!(s.timestamp(), s.gateway_timestamp);
        }
    }
}
