//! Which layer answers which stretch of time. Pure.
//!
//! Rollups of hours answer hours that lie whole between two boundaries and are up to date; statistics of minutes answer
//! such minutes; samples answer the rest. An hour is not up to date when it is due to be made again, or when batches
//! that are not sealed have something in it; a minute for the latter reason only.

use std::collections::BTreeSet;
use std::ops::Range;

use plant_model::Timestamp;
use segments::Minute;
use tiering::Hour;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Rollups.
    Hours(Range<Hour>),
    /// Statistics.
    Minutes(Range<Minute>),
    /// Samples.
    Samples(Range<Minute>),
}

/// What makes a stretch of time unfit for its statistics.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// Hours whose rollups are to be made again.
    pub(crate) due: BTreeSet<Hour>,
    /// Whether those are all; else no rollup of an hour is trusted.
    pub(crate) are_all_known: bool,
    /// Minutes in which batches that are not sealed have something.
    pub(crate) unsealed: BTreeSet<Minute>,
}

impl Freshness {
    fn is_fresh(&self, hour: Hour) -> bool {
        self.are_all_known
            && !self.due.contains(&hour)
            && self.unsealed.range(hour.minutes()).next().is_none()
    }
}

pub(crate) const fn after(minute: Minute) -> Minute {
    Minute::of(minute.end())
}

pub(crate) const fn next(hour: Hour) -> Hour {
    Hour::of(hour.minutes().end.start())
}

/// The minutes that a stretch of time touches.
pub(crate) fn minutes_of(range: &Range<Timestamp>) -> Range<Minute> {
    let end = Minute::of(range.end);
    Minute::of(range.start)..if end.start() == range.end { end } else { after(end) }
}

/// How many minutes a range has.
pub(crate) fn length(minutes: &Range<Minute>) -> u64 {
    let micros = minutes.end.start().micros().saturating_sub(minutes.start.start().micros());
    u64::try_from(micros / Minute::MICROS).unwrap_or(0)
}

/// The hours that minutes lie in.
pub(crate) fn hours_of(minutes: &Range<Minute>) -> impl Iterator<Item = Hour> + use<> {
    let (start, end) = (minutes.start.start(), minutes.end.start());
    let first = (start < end).then(|| Hour::of(start));
    std::iter::successors(first, move |hour| Some(next(*hour)).filter(|next| next.start() < end))
}

/// The minutes one by one.
pub(crate) fn each(minutes: &Range<Minute>) -> impl Iterator<Item = Minute> + use<> {
    let end = minutes.end;
    let first = Some(minutes.start).filter(|first| *first < end);
    std::iter::successors(first, move |minute| Some(after(*minute)).filter(|next| *next < end))
}

/// Whether a boundary lies inside.
fn is_divided(boundaries: &[Timestamp], start: Timestamp, end: Timestamp) -> bool {
    let first_inside = boundaries.partition_point(|b| *b <= start);
    boundaries.get(first_inside).is_some_and(|b| *b < end)
}

/// The steps that answer a window, in order of time. `boundaries` are in order; what lies before the first or after the
/// last of them does not matter.
pub(crate) fn plan(window: &Range<Timestamp>, boundaries: &[Timestamp], freshness: &Freshness) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut hour = Hour::of(window.start);
    while hour.start() < window.end {
        let end = next(hour).start();
        let is_whole = hour.start() >= window.start && end <= window.end;
        if is_whole && !is_divided(boundaries, hour.start(), end) && freshness.is_fresh(hour) {
            push(&mut steps, Step::Hours(hour..next(hour)));
        } else {
            let part = hour.start().max(window.start)..end.min(window.end);
            plan_minutes(&part, boundaries, freshness, &mut steps);
        }
        hour = next(hour);
    }
    without_short_rows(steps)
}

fn plan_minutes(
    part: &Range<Timestamp>,
    boundaries: &[Timestamp],
    freshness: &Freshness,
    steps: &mut Vec<Step>,
) {
    for minute in each(&minutes_of(part)) {
        let is_whole = minute.start() >= part.start && minute.end() <= part.end;
        let is_fresh = !freshness.unsealed.contains(&minute);
        let range = minute..after(minute);
        if is_whole && is_fresh && !is_divided(boundaries, minute.start(), minute.end()) {
            push(steps, Step::Minutes(range));
        } else {
            push(steps, Step::Samples(range));
        }
    }
}

/// Adds a step, or lengthens the one before.
fn push(steps: &mut Vec<Step>, step: Step) {
    match (steps.last_mut(), step) {
        (Some(Step::Hours(last)), Step::Hours(new)) if last.end == new.start => last.end = new.end,
        (Some(Step::Minutes(last)), Step::Minutes(new)) if last.end == new.start => last.end = new.end,
        (Some(Step::Samples(last)), Step::Samples(new)) if last.end == new.start => last.end = new.end,
        (_, step) => steps.push(step),
    }
}

/// Rows of minutes this short between samples are read as samples too: a call less costs more than some bodies.
const SHORT_MINUTES: u64 = 10;

fn without_short_rows(steps: Vec<Step>) -> Vec<Step> {
    let are_samples = |index: usize| matches!(steps.get(index), Some(Step::Samples(_)));
    let is_short = |index: usize, range: &Range<Minute>| {
        length(range) < SHORT_MINUTES && index > 0 && are_samples(index - 1) && are_samples(index + 1)
    };
    let mut out = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Minutes(range) if is_short(index, range) => push(&mut out, Step::Samples(range.clone())),
            Step::Hours(_) | Step::Minutes(_) | Step::Samples(_) => push(&mut out, step.clone()),
        }
    }
    out
}

/// How many hours and minutes the steps look at.
pub(crate) fn size(steps: &[Step]) -> (u64, u64) {
    steps.iter().fold((0, 0), |(hours, minutes), step| match step {
        Step::Hours(range) => {
            (hours + length(&(range.start.minutes().start..range.end.minutes().start)) / 60, minutes)
        }
        Step::Minutes(range) | Step::Samples(range) => (hours, minutes + length(range)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = Hour::MICROS;

    fn at(hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_micros(hour * HOUR + minute * Minute::MICROS)
    }

    fn minutes(from: (i64, i64), to: (i64, i64)) -> Range<Minute> {
        Minute::of(at(from.0, from.1))..Minute::of(at(to.0, to.1))
    }

    fn hours(from: i64, to: i64) -> Range<Hour> {
        Hour::of(at(from, 0))..Hour::of(at(to, 0))
    }

    fn fresh() -> Freshness {
        Freshness { due: BTreeSet::new(), are_all_known: true, unsealed: BTreeSet::new() }
    }

    #[test]
    fn whole_hours_are_answered_by_rollups_and_their_ends_by_minutes_and_samples() {
        let start = Timestamp::from_micros(at(9, 58).micros() + 1);
        let window = start..at(13, 1);
        let boundaries = [window.start, window.end];
        let steps = plan(&window, &boundaries, &fresh());
        let expected = [
            Step::Samples(minutes((9, 58), (9, 59))),
            Step::Minutes(minutes((9, 59), (10, 0))),
            Step::Hours(hours(10, 13)),
            Step::Minutes(minutes((13, 0), (13, 1))),
        ];
        assert_eq!(steps, expected);
        assert_eq!(size(&steps), (3, 3));
    }

    #[test]
    fn a_boundary_within_an_hour_divides_it_and_one_within_a_minute_that() {
        let window = at(10, 0)..at(12, 0);
        let inside = Timestamp::from_micros(at(11, 20).micros() + 1);
        let steps = plan(&window, &[at(10, 0), at(10, 30), inside, at(12, 0)], &fresh());
        let expected = [
            Step::Minutes(minutes((10, 0), (11, 20))),
            Step::Samples(minutes((11, 20), (11, 21))),
            Step::Minutes(minutes((11, 21), (12, 0))),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn st5_what_is_not_up_to_date_is_looked_at_more_closely() {
        let window = at(10, 0)..at(13, 0);
        let due = BTreeSet::from([Hour::of(at(10, 0))]);
        let unsealed = BTreeSet::from([Minute::of(at(12, 5))]);
        let freshness = Freshness { due, are_all_known: true, unsealed };
        let steps = plan(&window, &[at(10, 0), at(13, 0)], &freshness);
        let expected = [
            Step::Minutes(minutes((10, 0), (11, 0))),
            Step::Hours(hours(11, 12)),
            Step::Minutes(minutes((12, 0), (12, 5))),
            Step::Samples(minutes((12, 5), (12, 6))),
            Step::Minutes(minutes((12, 6), (13, 0))),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn short_rows_of_minutes_between_samples_are_samples_and_without_all_due_hours_no_rollup_is_used() {
        let window = at(10, 0)..at(11, 0);
        let cut = |minute: i64| Timestamp::from_micros(at(10, minute).micros() + 1);
        let steps = plan(&window, &[at(10, 0), cut(5), cut(9), cut(40), at(11, 0)], &fresh());
        let expected = [
            Step::Minutes(minutes((10, 0), (10, 5))),
            Step::Samples(minutes((10, 5), (10, 10))),
            Step::Minutes(minutes((10, 10), (10, 40))),
            Step::Samples(minutes((10, 40), (10, 41))),
            Step::Minutes(minutes((10, 41), (11, 0))),
        ];
        assert_eq!(steps, expected);
        let unknown = Freshness { are_all_known: false, ..fresh() };
        let steps = plan(&window, &[at(10, 0), at(11, 0)], &unknown);
        assert_eq!(steps, [Step::Minutes(minutes((10, 0), (11, 0)))]);
    }

    #[test]
    fn a_plan_covers_its_window_once_before_1970_too() {
        for start in [-3 * HOUR - 17, -HOUR, 0, 5 * HOUR + 1] {
            let window = Timestamp::from_micros(start)..Timestamp::from_micros(start + 4 * HOUR + 3);
            let mut end = Minute::of(window.start);
            for step in plan(&window, &[window.start, window.end], &fresh()) {
                let range = match step {
                    Step::Hours(range) => range.start.minutes().start..range.end.minutes().start,
                    Step::Minutes(range) | Step::Samples(range) => range,
                };
                assert_eq!(range.start, end, "from {start}");
                end = range.end;
            }
            assert_eq!(end, minutes_of(&window).end, "from {start}");
        }
    }
}
