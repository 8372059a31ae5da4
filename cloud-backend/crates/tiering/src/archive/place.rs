//! Where an object lies.

use plant_model::{GatewayId, Timestamp};

/// Microseconds in a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// The path of an object below its tenant: `<gateway>/<year>/<first day>+<days>-<generation>.parquet`, days as
/// `2026-11-23`, the generation in 16 hexadecimal digits, so that a second writing of the same days never meets the first.
/// Start and end are boundaries of days, UTC.
#[must_use]
pub fn object_path(gateway: &GatewayId, start: Timestamp, end: Timestamp, generation: u64) -> String {
    let first = start.micros().div_euclid(DAY_MICROS);
    let days = end.micros().div_euclid(DAY_MICROS).saturating_sub(first).max(1);
    let (year, month, day) = date(first);
    format!("{gateway}/{year:04}/{year:04}-{month:02}-{day:02}+{days}-{generation:016x}.parquet")
}

/// Year, month, day of a number of days since 1970, in the Gregorian calendar (H. Hinnant, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_gateway_days_and_generation() {
        let gateway = GatewayId::new("press-hall").expect("an id");
        for (day, days, path) in [
            (0, 1, "press-hall/1970/1970-01-01+1-00000000000000ff.parquet"),
            (-1, 1, "press-hall/1969/1969-12-31+1-00000000000000ff.parquet"),
            (11_016, 31, "press-hall/2000/2000-02-29+31-00000000000000ff.parquet"),
            (20_780, 1, "press-hall/2026/2026-11-23+1-00000000000000ff.parquet"),
        ] {
            let at = |day: i64| Timestamp::from_micros(day * DAY_MICROS);
            assert_eq!(object_path(&gateway, at(day), at(day + days), 255), path);
        }
    }
}
