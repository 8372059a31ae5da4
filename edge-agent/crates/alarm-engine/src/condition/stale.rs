//! A value that does not change although the machine is connected.
//!
//! Whether a source repeats an unchanged value or is silent about it makes no difference. While the
//! value is not good nothing is measured; when it is good again the time begins anew, because nobody saw
//! whether it moved meanwhile.

use std::time::Duration;

use plant_model::{Monotonic, Value};

use super::Verdict;
use crate::input::{Inputs, LinkStatus};

#[derive(Debug)]
pub(crate) struct Stale {
    after: Duration,
    last: Option<Value>,
    /// When the value has been unchanged for too long.
    due: Option<Monotonic>,
    is_stale: bool,
}

impl Stale {
    pub(super) const fn new(after: Duration) -> Self {
        Self { after, last: None, due: None, is_stale: false }
    }

    /// `before` says that the value was stale before a restart: it stays so until it changes.
    pub(super) fn judge(&mut self, inputs: &Inputs, tag: usize, before: bool, now: Monotonic) -> Verdict {
        match inputs.good(tag) {
            Some(value) => self.look(value, before, now),
            None if inputs.is_seen(tag) => return self.lose(),
            // A machine that is connected and says nothing about the tag.
            None => match inputs.link() {
                LinkStatus::Up { .. } if before && self.last.is_none() => return Verdict::Abnormal,
                LinkStatus::Up { since } => self.due = Some(self.due.unwrap_or(since.plus(self.after))),
                LinkStatus::Unknown | LinkStatus::Down => return self.lose(),
            },
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.is_stale = true;
        }
        Verdict::of(self.is_stale)
    }

    fn look(&mut self, value: &Value, before: bool, now: Monotonic) {
        let first = self.last.is_none();
        if first || self.last.as_ref().is_some_and(|last| !last.is_identical(value)) {
            self.last = Some(value.clone());
            self.is_stale = first && before;
            self.due = (!self.is_stale).then(|| now.plus(self.after));
        } else if !self.is_stale && self.due.is_none() {
            self.due = Some(now.plus(self.after));
        }
    }

    fn lose(&mut self) -> Verdict {
        self.due = None;
        Verdict::Unknown
    }

    pub(super) const fn due_at(&self) -> Option<Monotonic> {
        self.due
    }
}
