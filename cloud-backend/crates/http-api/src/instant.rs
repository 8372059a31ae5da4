//! Instants in the API: RFC 3339 in UTC with milliseconds.

use jiff::Timestamp as Rfc3339;
use plant_model::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// An instant in a body of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T15:00:00.123Z")]
pub(crate) struct Instant(pub(crate) Timestamp);

impl Instant {
    /// The text of the API. An instant outside the years -9999 to 9999 is shown as the nearest within.
    pub(crate) fn text(self) -> String {
        let millis = self.0.millis();
        let limit = if millis < 0 { Rfc3339::MIN } else { Rfc3339::MAX };
        format!("{:.3}", Rfc3339::from_millisecond(millis).unwrap_or(limit))
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// Reads an RFC 3339 instant with any offset; `None` when the text is none.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<Rfc3339>().ok().map(|instant| Timestamp::from_micros(instant.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_with_exactly_three_decimals() {
        let text = |micros| Instant(Timestamp::from_micros(micros)).text();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_700_000_000_123_999), "2023-11-14T22:13:20.123Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn an_instant_out_of_range_is_shown_as_the_nearest() {
        assert!(Instant(Timestamp::from_micros(i64::MAX)).text().starts_with("9999-12-3"));
        assert!(Instant(Timestamp::from_micros(i64::MIN)).text().starts_with("-009999-01-0"));
    }

    #[test]
    fn any_offset_is_read_and_nonsense_is_not() {
        assert_eq!(parse("1970-01-01T01:00:00.5+01:00"), Some(Timestamp::from_micros(500_000)));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(Timestamp::from_micros(0)));
        for bad in ["", "now", "1970-01-01", "1970-13-01T00:00:00Z", "0"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
