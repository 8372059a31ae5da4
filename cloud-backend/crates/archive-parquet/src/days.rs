//! The days of an object: samples are asked for and compared by the day, so that no more of a tag lies in memory.

use std::ops::Range;

use plant_model::Timestamp;

const DAY_MICROS: i64 = 86_400_000_000;

/// Most days of an object.
const DAYS_MAX: i64 = 366;

/// The days of a range, in order.
pub(crate) fn split(range: &Range<Timestamp>) -> Result<Vec<Range<Timestamp>>, String> {
    let (start, end) = (range.start.micros(), range.end.micros());
    let count = end.checked_sub(start).map(|length| length / DAY_MICROS);
    let is_whole = start % DAY_MICROS == 0 && end % DAY_MICROS == 0;
    let count = count.filter(|count| is_whole && (1..=DAYS_MAX).contains(count));
    let count = count.ok_or_else(|| {
        format!("an object has 1 to {DAYS_MAX} whole days, not {} to {}", range.start, range.end)
    })?;
    let at = |day: i64| Timestamp::from_micros(start + day * DAY_MICROS);
    Ok((0..count).map(|day| at(day)..at(day + 1)).collect())
}
