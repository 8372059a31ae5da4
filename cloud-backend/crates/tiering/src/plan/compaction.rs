//! Small objects that lie side by side become one.

use plant_model::Timestamp;

use super::{Action, OBJECT_BYTES_MIN, OBJECT_DAYS_MAX, Planner, day, is_settled, overlap};
use crate::policy::DAY;
use crate::{DayUsage, ObjectRow};

impl<'a> Planner<'a> {
    /// Plans it. Objects younger than the storage class bills at least are left alone.
    pub(super) fn compact(&mut self, object_min_days: u32) {
        let mut row: Vec<&'a ObjectRow> = Vec::new();
        for object in self.verified.clone() {
            if !self.may_be_joined(object, object_min_days) {
                row.clear();
                continue;
            }
            if row.first().is_some_and(|first| days(first.start, object.end) > u64::from(OBJECT_DAYS_MAX)) {
                // As long as it may be, and still small.
                self.join(&row);
                row.clear();
            }
            row.push(object);
            if row.iter().map(|object| object.bytes).sum::<u64>() >= OBJECT_BYTES_MIN {
                self.join(&row);
                row.clear();
            }
        }
    }

    fn join(&mut self, row: &[&ObjectRow]) {
        let [first, .., last] = row else { return };
        let objects: Vec<ObjectRow> = row.iter().map(|object| (*object).clone()).collect();
        let samples = objects.iter().map(|object| object.samples).sum();
        let bytes = objects.iter().map(|object| object.bytes).sum();
        let range = first.start..last.end;
        // Between the objects may lie days that came since.
        let is_quiet = |usage: &DayUsage| is_settled(usage) || !overlap(&day(usage.start), &range);
        if self.is_written(&range) || !self.tiers.usage.iter().all(is_quiet) {
            return;
        }
        self.push(Action::Compact(objects), range, samples, bytes);
    }

    /// Whether it is small, and nothing of it is about to change.
    fn may_be_joined(&mut self, object: &ObjectRow, object_min_days: u32) -> bool {
        let range = object.start..object.end;
        let is_quiet = |usage: &DayUsage| is_settled(usage) || !overlap(&day(usage.start), &range);
        object.bytes < OBJECT_BYTES_MIN
            && self.tiers.usage.iter().all(is_quiet)
            && !self.is_written(&range)
            && self.is_due(object.changed_at.plus(DAY * object_min_days))
    }
}

/// Days between two boundaries of days.
fn days(start: Timestamp, end: Timestamp) -> u64 {
    end.since(start).as_secs() / DAY.as_secs()
}
