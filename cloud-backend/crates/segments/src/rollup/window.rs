//! The course of a tag in a window that begins and ends between samples: an hour, a shift, a day of a plant's time.

use plant_model::Timestamp;

use super::{Course, Hold, Rollup, TagKind};

impl Course {
    /// The course in `[start, end)`: the samples in it (`own`), what was in force when it began (`before`, a stretch
    /// that ends at or before the start) and what is in force until it ends. The courses of windows that follow one
    /// another add up to that of the whole. `None` if nothing is known.
    #[must_use]
    pub fn in_window(
        (start, end): (Timestamp, Timestamp),
        before: Option<&Rollup>,
        own: Option<&Rollup>,
        hold: Hold,
    ) -> Option<Self> {
        let kind: TagKind = own.or(before)?.kind();
        let before = before.filter(|before| before.kind() == kind && before.last_at <= start);
        let mut course = Self::new(kind);
        if let Some(before) = before {
            let until = own.map_or(end, |own| own.first_at);
            course.hold_open(before, (start, until), hold);
        }
        let Some(own) = own else { return Some(course) };
        if let (Some(last), Some(first)) = (before.and_then(|b| b.last.as_ref()), &own.first) {
            course.step(&last.value, &first.value);
        }
        course.append(&own.course);
        course.hold_open(own, (own.last_at, end), hold);
        Some(course)
    }

    /// What a stretch leaves in force, as far as that lies between two instants.
    fn hold_open(&mut self, stretch: &Rollup, (from, to): (Timestamp, Timestamp), hold: Hold) {
        let Some(last) = stretch.last.as_ref().filter(|_| stretch.in_force) else { return };
        let from = from.max(stretch.last_at);
        let to = to.min(hold.end(stretch.last_at));
        if from < to {
            self.hold(&last.value, hold.between(from, to));
        }
    }
}
