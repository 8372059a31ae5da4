//! Where stretches of an aggregate begin and end: equal lengths, or days, weeks and months of a plant's time.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, ToSpan as _, Zoned};
use plant_model::Timestamp;

use crate::problem::Problem;

/// Most stretches of an answer: five years of hours, or a day of two seconds.
pub(crate) const STRETCHES_MAX: usize = 50_000;

/// How wide stretches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// All in one.
    Whole,
    /// So long, from the start on.
    Length(SignedDuration),
    /// Days of the calendar: of 23 and 25 hours where the clock is changed.
    Day,
    /// Weeks of the calendar, from Monday on.
    Week,
    /// Months of the calendar.
    Month,
}

impl Width {
    /// Of its text: `1h`, `15m`, `30s`, `day`, `week`, `month`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "day" => return Some(Self::Day),
            "week" => return Some(Self::Week),
            "month" => return Some(Self::Month),
            _ => {}
        }
        let unit = text.chars().last()?;
        let number: i64 = text.strip_suffix(unit)?.parse::<u32>().ok()?.into();
        let seconds = match unit {
            's' => number,
            'm' => number * 60,
            'h' => number * 3_600,
            _ => return None,
        };
        (seconds > 0).then(|| Self::Length(SignedDuration::from_secs(seconds)))
    }
}

/// The boundaries of the stretches of a range, whose first and last may be cut off.
pub(crate) fn boundaries(
    range: &std::ops::Range<Timestamp>,
    width: Width,
    zone: &TimeZone,
) -> Result<Vec<Timestamp>, Problem> {
    let mut all = vec![range.start];
    let mut next = Next::new(range.start, width, zone)?;
    while let Some(at) = next.step()?.filter(|at| *at < range.end) {
        if at > range.start {
            all.push(at);
        }
        if all.len() > STRETCHES_MAX {
            let detail =
                format!("more than {STRETCHES_MAX} stretches; ask for a greater width or a shorter range");
            return Err(Problem::invalid("width", detail));
        }
    }
    all.push(range.end);
    Ok(all)
}

/// Goes from boundary to boundary.
enum Next {
    Nowhere,
    Length { at: Timestamp, micros: i64 },
    Calendar { at: Zoned, step: Span },
}

impl Next {
    fn new(start: Timestamp, width: Width, zone: &TimeZone) -> Result<Self, Problem> {
        let step = match width {
            Width::Whole => return Ok(Self::Nowhere),
            Width::Length(length) => {
                let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
                return Ok(Self::Length { at: start, micros });
            }
            Width::Day => 1.day(),
            Width::Week => 1.week(),
            Width::Month => 1.month(),
        };
        let start = jiff::Timestamp::from_microsecond(start.micros()).map_err(out_of_range)?;
        let day = start.to_zoned(zone.clone()).start_of_day().map_err(out_of_range)?;
        let at = match width {
            Width::Week => day.tomorrow().and_then(|next| next.nth_weekday(-1, Weekday::Monday)),
            Width::Month => day.first_of_month(),
            Width::Whole | Width::Length(_) | Width::Day => Ok(day),
        };
        Ok(Self::Calendar { at: at.and_then(|at| at.start_of_day()).map_err(out_of_range)?, step })
    }

    fn step(&mut self) -> Result<Option<Timestamp>, Problem> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Length { at, micros } => {
                *at = Timestamp::from_micros(at.micros().saturating_add(*micros));
                Ok(Some(*at))
            }
            Self::Calendar { at, step } => {
                // Where midnight does not exist, the day begins later, and the next one at midnight again.
                let next =
                    at.checked_add(*step).and_then(|next| next.start_of_day()).map_err(out_of_range)?;
                *at = next;
                Ok(Some(Timestamp::from_micros(at.timestamp().as_microsecond())))
            }
        }
    }
}

fn out_of_range(error: jiff::Error) -> Problem {
    Problem::invalid("start", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        crate::instant::parse(text).expect(text)
    }

    fn hours(from: &str, to: &str, width: &str, zone: &str) -> Vec<i64> {
        let zone = TimeZone::get(zone).expect("known");
        let all = boundaries(&(at(from)..at(to)), Width::parse(width).expect("a width"), &zone).expect("few");
        all.windows(2).map(|pair| (pair[1].micros() - pair[0].micros()) / 3_600_000_000).collect()
    }

    #[test]
    fn da2_days_of_a_plant_have_23_and_25_hours_when_the_clock_is_changed() {
        let spring = hours("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z", "day", "Europe/Berlin");
        assert_eq!(spring, [24, 23, 24]);
        let autumn = hours("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z", "day", "Europe/Berlin");
        assert_eq!(autumn, [24, 25, 24]);
        let cut = hours("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z", "day", "Europe/Berlin");
        assert_eq!(cut, [10, 14], "the range ends where it ends");
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_their_first() {
        assert_eq!(hours("2026-11-01T00:00:00Z", "2026-11-17T00:00:00Z", "week", "UTC"), [24, 168, 168, 24]);
        assert_eq!(
            hours("2026-11-02T00:00:00Z", "2026-11-10T00:00:00Z", "week", "UTC"),
            [168, 24],
            "a Monday"
        );
        let months = hours("2026-01-15T00:00:00Z", "2026-03-02T00:00:00Z", "month", "UTC");
        assert_eq!(months, [17 * 24, 28 * 24, 24]);
    }

    #[test]
    fn equal_lengths_begin_at_the_start_and_too_many_are_refused() {
        assert_eq!(hours("2026-01-01T00:30:00Z", "2026-01-01T05:00:00Z", "2h", "UTC"), [2, 2, 0]);
        let day = at("2026-01-01T00:00:00Z")..at("2026-01-02T00:00:00Z");
        assert!(boundaries(&day, Width::Length(SignedDuration::from_secs(1)), &TimeZone::UTC).is_err());
        assert_eq!(boundaries(&day, Width::Whole, &TimeZone::UTC).expect("one"), [day.start, day.end]);
        for bad in ["", "h", "0h", "-1h", "1.5h", "1d", "days", "1 h", "ü"] {
            assert_eq!(Width::parse(bad), None, "{bad}");
        }
    }
}
