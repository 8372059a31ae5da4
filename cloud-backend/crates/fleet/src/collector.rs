//! Samples for a chart or an export, collected while batches stream by.
//!
//! A collector holds what it will answer and nothing else: raw samples up to a limit, or a fixed number
//! of buckets. Samples may come in any order.

use std::collections::BTreeMap;

use plant_model::{DataType, GatewayId, MachineId, QualityClass, Sample, TagId, Timestamp, Value};
use protocol::TagRole;

/// Which samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleQuery {
    /// The gateway.
    pub gateway: GatewayId,
    /// The machine.
    pub machine: MachineId,
    /// The tags, in the order of the answer. One that the machine never had is left out of the answer.
    pub tags: Vec<TagId>,
    /// From this instant on.
    pub start: Timestamp,
    /// Up to and without this instant.
    pub end: Timestamp,
    /// In what shape.
    pub shape: Shape,
    /// Most raw samples in the answer, over all tags.
    pub limit: usize,
}

/// How samples are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Raw,
    /// Tags that are plotted as a line in so many buckets of equal width; tags that are states, truth
    /// values or texts as they are.
    Buckets(usize),
}

/// What a tag was when its samples were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagInfo {
    /// The tag.
    pub tag: TagId,
    /// Its unit.
    pub unit: String,
    /// What its values are.
    pub data_type: DataType,
    /// What it means to people.
    pub role: TagRole,
}

impl TagInfo {
    /// Whether the values between two samples lie on a line. Of a state, a truth value or a text there
    /// is no minimum that means anything.
    #[must_use]
    pub const fn is_line(&self) -> bool {
        matches!(self.data_type, DataType::Int | DataType::Float) && !matches!(self.role, TagRole::State)
    }
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleSet {
    /// One entry a tag, in the order of the query.
    pub tags: Vec<TagSamples>,
    /// Whether there were more raw samples than the limit. Those that came first by time of their
    /// batches are in the answer.
    pub truncated: bool,
}

/// Samples of one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSamples {
    /// The tag.
    pub info: TagInfo,
    /// Its samples.
    pub data: SeriesData,
}

/// Samples of one tag, in order of time.
#[derive(Debug, Clone, PartialEq)]
pub enum SeriesData {
    /// As they are. Samples of one instant are all there, in the order in which the gateway took them.
    Raw(Vec<Sample>),
    /// Reduced; buckets without a sample are left out.
    Buckets(Vec<Bucket>),
}

/// The samples of a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// The newest of them.
    pub last: Sample,
    /// The smallest usable value; `None` when no sample had one.
    pub min: Option<f64>,
    /// The largest usable value.
    pub max: Option<f64>,
}

impl Bucket {
    fn new(sample: Sample) -> Self {
        let value = usable(&sample);
        Self { last: sample, min: value, max: value }
    }

    fn add(&mut self, sample: &Sample) {
        if let Some(value) = usable(sample) {
            self.min = Some(self.min.map_or(value, |m| m.min(value)));
            self.max = Some(self.max.map_or(value, |m| m.max(value)));
        }
        if sample.timestamp() >= self.last.timestamp() {
            self.last = sample.clone();
        }
    }
}

/// The value of a sample, where it may be used: a bad one must not widen a chart.
fn usable(sample: &Sample) -> Option<f64> {
    match sample.quality.class() {
        QualityClass::Good | QualityClass::Uncertain => {
            sample.value.as_ref().and_then(Value::as_f64).filter(|v| !v.is_nan())
        }
        QualityClass::Bad => None,
    }
}

#[derive(Debug)]
enum Column {
    Raw(Vec<Sample>),
    Buckets(BTreeMap<u64, Bucket>),
}

/// Collects the answer to a [`SampleQuery`].
#[derive(Debug)]
pub struct Collector {
    start: Timestamp,
    end: Timestamp,
    buckets: u64,
    limit: usize,
    held: usize,
    truncated: bool,
    closed: bool,
    columns: Vec<(TagInfo, Column)>,
}

impl Collector {
    /// An empty collector; `tags` are those of the query that the machine has or had.
    #[must_use]
    pub fn new(query: &SampleQuery, tags: Vec<TagInfo>) -> Self {
        let column = |info: TagInfo| {
            let column = match query.shape {
                Shape::Buckets(_) if info.is_line() => Column::Buckets(BTreeMap::new()),
                Shape::Buckets(_) | Shape::Raw => Column::Raw(Vec::new()),
            };
            (info, column)
        };
        Self {
            start: query.start,
            end: query.end,
            buckets: match query.shape {
                Shape::Buckets(count) => count.max(1) as u64,
                Shape::Raw => 1,
            },
            limit: query.limit,
            held: 0,
            truncated: false,
            closed: false,
            columns: tags.into_iter().map(column).collect(),
        }
    }

    /// Takes a sample of the tag at `index` of the list that [`Self::new`] got. One outside the range is
    /// left out, as is one beyond the limit.
    pub fn add(&mut self, index: usize, sample: Sample) {
        let at = sample.timestamp();
        if at < self.start || at >= self.end {
            return;
        }
        let number = self.bucket_of(at);
        match self.columns.get_mut(index).map(|(_, column)| column) {
            Some(Column::Buckets(buckets)) => {
                buckets.entry(number).and_modify(|b| b.add(&sample)).or_insert_with(|| Bucket::new(sample));
            }
            Some(Column::Raw(_)) if self.held >= self.limit => self.truncated = true,
            Some(Column::Raw(samples)) => {
                self.held += 1;
                samples.push(sample);
            }
            None => {}
        }
    }

    /// Says that samples are missing in the answer, and takes no more.
    pub fn cut_off(&mut self) {
        self.truncated = true;
        self.closed = true;
    }

    /// Whether nothing that comes can change the answer any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.closed
            || self.truncated && self.columns.iter().all(|(_, column)| matches!(column, Column::Raw(_)))
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> SampleSet {
        let tags = self.columns.into_iter().map(|(info, column)| TagSamples { info, data: finished(column) });
        SampleSet { tags: tags.collect(), truncated: self.truncated }
    }

    fn bucket_of(&self, at: Timestamp) -> u64 {
        let width = |from: Timestamp, to: Timestamp| u128::from(to.micros().abs_diff(from.micros()));
        let number = width(self.start, at) * u128::from(self.buckets) / width(self.start, self.end).max(1);
        u64::try_from(number).unwrap_or(self.buckets)
    }
}

fn finished(column: Column) -> SeriesData {
    match column {
        Column::Raw(mut samples) => {
            // Stable: samples of one instant stay in the order in which the gateway took them.
            samples.sort_by_key(Sample::timestamp);
            SeriesData::Raw(samples)
        }
        Column::Buckets(buckets) => SeriesData::Buckets(buckets.into_values().collect()),
    }
}

#[cfg(test)]
mod tests;
