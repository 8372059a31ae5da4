//! The one wall clock of the process: microseconds since 1970-01-01T00:00:00Z.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Now, in microseconds since the Unix epoch; 0 if the machine's clock stands before 1970.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(at_us: i64) -> String {
    let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::MAX);
    format!("{at:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_printed_as_utc_with_six_decimals() {
        assert_eq!(rfc3339(1_000_001), "1970-01-01T00:00:01.000001Z");
    }
}
