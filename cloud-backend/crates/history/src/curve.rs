//! Curves for charts: a line as the extremes and ends of stretches of equal length, a state as its changes.

use plant_model::{Sample, Timestamp, Value};
use segments::downsample::{Method, Window, downsample};
use segments::{Minute, Rollup, TagKind};
use tiering::{Hour, TagRecord};

use crate::fold::Fold;
use crate::{HistoryError, Reader, Report};

/// Up to this length, stretches are exactly equal and their ends are cut out of samples; beyond it they begin and end
/// with whole minutes or hours, so that statistics suffice.
const EXACT_MICROS_MAX: i64 = 6 * Hour::MICROS;

/// A curve of each tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// One entry a tag of [`Reader::tags`].
    pub tags: Vec<(TagRecord, CurveData)>,
    /// Where it came from.
    pub report: Report,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub enum CurveData {
    /// Of a number: what it did in each stretch that has samples, in order of time.
    Line(Vec<Rollup>),
    /// Of a state: its changes, and the last reading of each stretch, so that a chart sees where data end.
    State(Vec<Point>),
}

/// A reading of a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// What; `None` if it was not good.
    pub value: Option<Value>,
}

/// Changes of states that are found while stretches and samples stream by, in order of time.
#[derive(Debug)]
pub(crate) struct Changes {
    /// By tag; `None` for what is no state.
    tags: Vec<Option<Vec<Point>>>,
    /// Most points of one tag. Where there are more, the first and the last of each stretch have to do.
    limit: usize,
}

impl Changes {
    fn new(tags: &[TagRecord], limit: usize) -> Self {
        let tags = tags.iter().map(|tag| (tag.kind == TagKind::State).then(Vec::new)).collect();
        Self { tags, limit }
    }

    pub(crate) fn add_sample(&mut self, tag: usize, sample: &Sample) {
        let value = TagKind::State.good_value(sample).cloned();
        self.add(tag, Point { at: sample.timestamp(), value });
    }

    /// Of a stretch that is known by its statistics: the first and the last good value, and whether it ended otherwise.
    pub(crate) fn add_stretch(&mut self, tag: usize, rollup: &Rollup) {
        let readings = rollup.first.iter().chain(rollup.last.as_ref());
        for reading in readings {
            self.add(tag, Point { at: reading.at, value: Some(reading.value.clone()) });
        }
        if !rollup.in_force {
            self.add(tag, Point { at: rollup.last_at, value: None });
        }
    }

    fn add(&mut self, tag: usize, point: Point) {
        let Some(points) = &mut self.tags[tag] else { return };
        let is_change = points.last().is_none_or(|last| !is_same(last, &point));
        if is_change && points.len() <= self.limit {
            points.push(point);
        }
    }
}

fn is_same(a: &Point, b: &Point) -> bool {
    match (&a.value, &b.value) {
        (Some(a), Some(b)) => a.is_identical(b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Reader<'_> {
    /// Lines in at most so many stretches with their extremes, states in about as many points.
    ///
    /// # Errors
    /// The budget does not suffice, or something cannot be read.
    pub async fn curve(mut self, points: usize) -> Result<Curve, HistoryError> {
        let figures = (points as u64).saturating_mul(self.tags.len() as u64);
        Self::check("figures", figures, self.budget.figures, "ask for fewer points, or for fewer tags")?;
        let changes = Changes::new(&self.tags, 2 * points);
        let boundaries = boundaries(self.range.start, self.range.end, points);
        let mut fold = Fold::new(boundaries, self.tags.len(), Some(changes));
        self.fold(&mut fold).await?;
        let changes = fold.changes.map(|changes| changes.tags).unwrap_or_default();
        let each = self.tags.into_iter().zip(fold.tags).zip(changes);
        let tags = each.map(|((tag, stretches), changes)| {
            let stretches: Vec<Rollup> = stretches.into_values().collect();
            let data = match changes {
                Some(changes) => CurveData::State(state(&stretches, changes, 2 * points)),
                None => CurveData::Line(stretches),
            };
            (tag, data)
        });
        Ok(Curve { tags: tags.collect(), report: self.report })
    }

    /// At most so many samples of each tag that draw the same picture (largest triangle three buckets; states by their
    /// changes, counters by the ends of stretches).
    ///
    /// # Errors
    /// The samples do not fit into the budget, or something cannot be read.
    pub async fn shape(self, points: usize) -> Result<(Vec<Vec<Sample>>, Self), HistoryError> {
        let limit = self.budget.samples;
        let (page, reader) = self.page(limit).await?;
        if page.next.is_some() {
            let hint = "ask for min_max, which reads statistics, or for a shorter range";
            Self::check("samples", limit as u64 + 1, limit as u64, hint)?;
        }
        let window = Window { start: reader.range.start, end: reader.range.end };
        let each = reader.tags.iter().zip(&page.samples);
        let shapes = each.map(|(tag, samples)| downsample(tag.kind, samples, window, points, Method::Lttb));
        Ok((shapes.collect(), reader))
    }
}

/// Boundaries of at most so many stretches.
fn boundaries(start: Timestamp, end: Timestamp, points: usize) -> Vec<Timestamp> {
    let points = i64::try_from(points.max(1)).unwrap_or(i64::MAX);
    let length = end.micros().saturating_sub(start.micros());
    if length <= EXACT_MICROS_MAX {
        let at = |n: i64| {
            start.micros()
                + i64::try_from(i128::from(length) * i128::from(n) / i128::from(points)).unwrap_or(0)
        };
        let mut all: Vec<Timestamp> = (0..=points).map(|n| Timestamp::from_micros(at(n))).collect();
        all.dedup();
        return all;
    }
    // One stretch less, because the first and the last may be parts.
    let least = length / (points - 1).max(1) + 1;
    let unit = if least >= Hour::MICROS { Hour::MICROS } else { Minute::MICROS };
    let width = least.saturating_add(unit - 1) / unit * unit;
    let first = start.micros().saturating_sub(start.micros().rem_euclid(unit));
    let inner = (1..points).map(|n| first.saturating_add(n.saturating_mul(width)));
    let inner = inner.take_while(|at| *at < end.micros()).map(Timestamp::from_micros);
    std::iter::once(start).chain(inner).chain(std::iter::once(end)).collect()
}

/// The changes, with the last reading of each stretch; where they are too many, the first and the last of each stretch.
fn state(stretches: &[Rollup], changes: Vec<Point>, limit: usize) -> Vec<Point> {
    let mut points: Vec<Point> = if changes.len() <= limit {
        changes
    } else {
        stretches
            .iter()
            .filter_map(|s| s.first.as_ref())
            .map(|r| Point { at: r.at, value: Some(r.value.clone()) })
            .collect()
    };
    points.extend(stretches.iter().map(|stretch| {
        let value = stretch.last.as_ref().filter(|_| stretch.in_force).map(|last| last.value.clone());
        Point { at: stretch.last_at, value }
    }));
    points.sort_by_key(|point| point.at);
    points.dedup_by(|b, a| a.at == b.at && is_same(a, b));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(start: i64, end: i64, points: usize) -> Vec<i64> {
        let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(end));
        boundaries(start, end, points).into_iter().map(Timestamp::micros).collect()
    }

    #[test]
    fn short_ranges_are_divided_equally_and_long_ones_by_whole_minutes_and_hours() {
        assert_eq!(of(5, 1_005, 4), [5, 255, 505, 755, 1_005]);
        assert_eq!(of(0, 2, 5), [0, 1, 2]);
        let day = of(30_000_000, 24 * Hour::MICROS, 500);
        assert!(day.len() <= 501, "{}", day.len());
        assert!(day[1..day.len() - 1].iter().all(|at| at % Minute::MICROS == 0));
        assert_eq!(day[2] - day[1], 3 * Minute::MICROS);
        let quarter = of(17, 90 * 24 * Hour::MICROS, 2_000);
        assert!((1_000..=2_001).contains(&quarter.len()), "{}", quarter.len());
        assert!(quarter[1..quarter.len() - 1].iter().all(|at| at % Hour::MICROS == 0));
        assert_eq!(of(0, 10 * 365 * 24 * Hour::MICROS, 1).len(), 2);
    }

    #[test]
    fn boundaries_rise_and_are_no_more_than_asked_for_whatever_the_range() {
        for start in [-7_200_000_001_i64, 0, 59_999_999] {
            for length in
                [1_i64, 10, 61_000_000, 6 * Hour::MICROS + 1, 100 * Hour::MICROS, 50_000 * Hour::MICROS + 7]
            {
                for points in [1, 2, 3, 10, 777, 5_000] {
                    let all = of(start, start + length, points);
                    assert!(all.is_sorted_by(|a, b| a < b), "{start} {length} {points}");
                    assert!(
                        (2..=points + 1).contains(&all.len()),
                        "{start} {length} {points}: {}",
                        all.len()
                    );
                    assert_eq!((all[0], all[all.len() - 1]), (start, start + length));
                }
            }
        }
    }
}
