//! Figures between boundaries: of each hour, each shift, each day of a plant's time.

use plant_model::Timestamp;
use segments::{Course, Hold, Rollup};
use tiering::TagRecord;

use crate::fold::Fold;
use crate::{Function, HistoryError, Reader, Report};

/// What a tag did between two boundaries.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// From here on.
    pub start: Timestamp,
    /// Up to and without this instant.
    pub end: Timestamp,
    /// What its samples say; `None` if it has none.
    pub rollup: Option<Rollup>,
    /// What depends on time, with what was in force when it began and until it ended. Those of stretches that follow one
    /// another add up. `None` if nothing is known.
    pub course: Option<Course>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// One entry a tag of [`Reader::tags`], with one stretch between each two boundaries.
    pub tags: Vec<(TagRecord, Vec<Stretch>)>,
    /// Where it came from.
    pub report: Report,
}

impl Reader<'_> {
    /// What the tags did between each two of the boundaries, which rise. `functions` are what is going to be shown of it.
    ///
    /// Of a counter, the increase over a boundary belongs to the stretch in which the next value came; what it grew by
    /// since a value that is older than [`Hold::DEFAULT`] at the first boundary is not in it.
    ///
    /// # Errors
    /// A tag has no such figure, the budget does not suffice, or something cannot be read.
    pub async fn figures(
        mut self,
        boundaries: &[Timestamp],
        functions: &[Function],
    ) -> Result<Figures, HistoryError> {
        for tag in &self.tags {
            if let Some(function) = functions.iter().find(|function| !function.suits(tag.kind)) {
                let (tag, kind) = (tag.tag.clone(), tag.kind);
                return Err(HistoryError::NoSuchFigure { tag, kind, function: *function });
            }
        }
        let (Some(first), true) = (boundaries.first(), boundaries.is_sorted_by(|a, b| a < b)) else {
            return Err(HistoryError::Invalid("boundaries must rise"));
        };
        let stretches = boundaries.len().saturating_sub(1);
        let figures = (stretches as u64).saturating_mul(self.tags.len() as u64);
        Self::check("figures", figures, self.budget.figures, "ask for wider stretches, or for fewer tags")?;
        // One stretch before the first tells what was in force when that began.
        let mut all = vec![Timestamp::from_micros(first.micros().saturating_sub(Hold::DEFAULT.micros()))];
        all.extend_from_slice(boundaries);
        let mut fold = Fold::new(all, self.tags.len(), None);
        self.fold(&mut fold).await?;
        let each = self.tags.into_iter().zip(fold.tags);
        let tags = each.map(|(tag, mut found)| {
            let found = (0..=stretches).map(|place| found.remove(&place));
            (tag, with_courses(boundaries, found))
        });
        Ok(Figures { tags: tags.collect(), report: self.report })
    }
}

/// The first of the rollups is of the stretch before the first boundary.
fn with_courses(boundaries: &[Timestamp], rollups: impl Iterator<Item = Option<Rollup>>) -> Vec<Stretch> {
    let mut rollups = rollups;
    let mut before: Option<Rollup> = rollups.next().flatten();
    let mut out = Vec::with_capacity(boundaries.len());
    for (window, rollup) in boundaries.windows(2).zip(rollups) {
        let (start, end) = (window[0], window[1]);
        let course = Course::in_window((start, end), before.as_ref(), rollup.as_ref(), Hold::DEFAULT);
        before = rollup.clone().or(before);
        out.push(Stretch { start, end, rollup, course });
    }
    out
}
