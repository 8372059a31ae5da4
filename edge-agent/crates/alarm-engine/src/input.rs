//! The newest value of each tag, and the link to the machine.

use plant_model::{Monotonic, Sample, Timestamp, Value};

/// Whether the machine is connected, as far as the engine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    /// Nobody said anything.
    Unknown,
    Up {
        since: Monotonic,
    },
    Down,
}

#[derive(Debug, Clone)]
struct Input {
    value: Option<Value>,
    /// NaN without a usable number.
    number: f64,
    good: bool,
    seen: bool,
    at: Timestamp,
}

const NOTHING: Input =
    Input { value: None, number: f64::NAN, good: false, seen: false, at: Timestamp::from_micros(0) };

#[derive(Debug)]
pub(crate) struct Inputs {
    tags: Vec<Input>,
    link: LinkStatus,
}

impl Inputs {
    pub(crate) fn new(tags: usize) -> Self {
        Self { tags: vec![NOTHING; tags], link: LinkStatus::Unknown }
    }

    pub(crate) fn take(&mut self, tag: usize, sample: &Sample) {
        let good = sample.quality.is_good() && sample.value.is_some();
        let number = sample.value.as_ref().filter(|_| good).and_then(Value::as_f64).unwrap_or(f64::NAN);
        self.tags[tag] =
            Input { value: sample.value.clone(), number, good, seen: true, at: sample.timestamp() };
    }

    /// Notes the link. What was read over a link that is gone says nothing any more; that nothing could
    /// be read while it was gone says nothing when it is back.
    pub(crate) fn set_link(&mut self, link: LinkStatus) {
        self.link = link;
        for input in &mut self.tags {
            if link == LinkStatus::Down {
                input.good = false;
                input.number = f64::NAN;
            }
            input.seen = input.good;
        }
    }

    pub(crate) const fn link(&self) -> LinkStatus {
        self.link
    }

    /// The value as a number, if it is good and one.
    pub(crate) fn number(&self, tag: usize) -> Option<f64> {
        Some(self.tags[tag].number).filter(|n| !n.is_nan())
    }

    /// The value, if it is good.
    pub(crate) fn good(&self, tag: usize) -> Option<&Value> {
        let input = &self.tags[tag];
        input.value.as_ref().filter(|_| input.good)
    }

    /// The value as it came.
    pub(crate) fn value(&self, tag: usize) -> Option<&Value> {
        self.tags[tag].value.as_ref()
    }

    /// When the value was measured.
    pub(crate) fn at(&self, tag: usize) -> Timestamp {
        self.tags[tag].at
    }

    /// Whether anything came over the link as it is now.
    pub(crate) fn is_seen(&self, tag: usize) -> bool {
        self.tags[tag].seen
    }
}
