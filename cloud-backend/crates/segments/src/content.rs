//! The samples of a machine and a minute, and where each came from.
//!
//! Invariants: runs of a tag are in the order of their sources, each source once; a tag has at least one sample; every
//! sample lies in the minute. What a source brought to a minute never changes, because batches do not: two contents
//! that name the same source hold the same samples of it. So the union is commutative, associative and idempotent.

use std::collections::{BTreeMap, BTreeSet};

use plant_model::Sample;
use protocol::{Detail, Sequence};

use crate::{Minute, Rollup, Run, SegmentError, Source, Sourced, TagKind};

/// Most samples of one segment: 1,000 tags at more than 30 Hz, and about 130 MB of memory while it is made.
pub const SAMPLES_MAX: usize = 2_000_000;

/// Most tags of one segment: what a catalogue may have.
pub const TAGS_MAX: usize = protocol::limits::CATALOGUE_TAGS_MAX;

/// The number of a tag within its machine, for ever: unlike the number of its series it outlives the gateway's
/// buffer. Whoever stores segments gives them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagNumber(pub u32);

/// What batches brought to a minute of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    minute: Minute,
    tags: BTreeMap<TagNumber, TagContent>,
    count: usize,
}

/// Of one tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TagContent {
    pub(crate) kind: TagKind,
    /// In the order of their sources.
    pub(crate) runs: Vec<Run>,
    /// Run by run.
    pub(crate) samples: Vec<Sample>,
}

impl Content {
    /// Nothing yet.
    #[must_use]
    pub const fn new(minute: Minute) -> Self {
        Self { minute, tags: BTreeMap::new(), count: 0 }
    }

    /// The minute.
    #[must_use]
    pub const fn minute(&self) -> Minute {
        self.minute
    }

    /// How many samples it holds.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tags and their kinds, by number.
    pub fn tags(&self) -> impl Iterator<Item = (TagNumber, TagKind)> {
        self.tags.iter().map(|(number, tag)| (*number, tag.kind))
    }

    /// All batches that brought something.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<Source> {
        self.tags.values().flat_map(|tag| tag.runs.iter().map(|run| run.source)).collect()
    }

    /// The samples of a tag in order of time; see [`in_order_of_time`] for those of one instant.
    #[must_use]
    pub fn samples(&self, tag: TagNumber) -> Option<Vec<Sample>> {
        self.tags.get(&tag).map(|tag| in_order_of_time(&tag.runs, tag.samples.clone()))
    }

    /// All samples of a tag, in order of time, each with the batch that brought it; those of one instant in the order
    /// of the batches, and within a batch in its order. Repetitions of thinned batches are among them.
    #[must_use]
    pub fn sourced(&self, tag: TagNumber) -> Vec<Sourced> {
        let Some(tag) = self.tags.get(&tag) else { return Vec::new() };
        let runs = tag.runs.iter().flat_map(|run| std::iter::repeat_n((run.source, run.detail), run.length));
        let with_source = |((source, detail), sample): ((Source, Detail), &Sample)| Sourced {
            sample: sample.clone(),
            source,
            detail,
        };
        let mut all: Vec<Sourced> = runs.zip(&tag.samples).map(with_source).collect();
        all.sort_by_key(|one| one.sample.timestamp());
        all
    }

    /// Adds what a batch brought to a tag, in the order of the batch. Batches are added in their order.
    ///
    /// # Errors
    /// A sample lies outside the minute, a later batch was added before, or there is no room. Nothing was added.
    pub fn add(
        &mut self,
        (number, kind): (TagNumber, TagKind),
        (source, detail): (Source, Detail),
        samples: &[Sample],
    ) -> Result<(), SegmentError> {
        self.check(number, source, samples)?;
        if samples.is_empty() {
            return Ok(());
        }
        let empty = || TagContent { kind, runs: Vec::new(), samples: Vec::new() };
        let tag = self.tags.entry(number).or_insert_with(empty);
        tag.kind = tag.kind.max(kind);
        match tag.runs.last_mut() {
            Some(run) if run.source == source => run.length += samples.len(),
            _ => tag.runs.push(Run { source, detail, length: samples.len() }),
        }
        tag.samples.extend_from_slice(samples);
        self.count += samples.len();
        Ok(())
    }

    fn check(&self, number: TagNumber, source: Source, samples: &[Sample]) -> Result<(), SegmentError> {
        if let Some(stray) = samples.iter().find(|sample| Minute::of_sample(sample) != self.minute) {
            return Err(SegmentError::OutsideMinute { at: stray.timestamp(), start: self.minute.start() });
        }
        if source.sequence == Sequence::ZERO {
            return Err(SegmentError::field("sequence", "0 is none; they begin at 1"));
        }
        let tag = self.tags.get(&number);
        if tag.and_then(|tag| tag.runs.last()).is_some_and(|run| run.source > source) {
            return Err(SegmentError::Order { source_batch: source });
        }
        check_limit("samples", self.count + samples.len(), SAMPLES_MAX)?;
        check_limit("tags", self.tags.len() + usize::from(tag.is_none()), TAGS_MAX)
    }

    /// Adds what the other holds of batches that this one does not hold. Answers how many samples that were.
    ///
    /// # Errors
    /// The other is of another minute, or there is no room. Nothing was added.
    pub fn unite(&mut self, other: Self) -> Result<usize, SegmentError> {
        if other.minute != self.minute {
            let (at, start) = (other.minute.start(), self.minute.start());
            return Err(SegmentError::OutsideMinute { at, start });
        }
        let new = other.without(&self.sources());
        check_limit("samples", self.count + new.count, SAMPLES_MAX)?;
        let tags = new.tags.keys().filter(|number| !self.tags.contains_key(number)).count();
        check_limit("tags", self.tags.len() + tags, TAGS_MAX)?;
        self.count += new.count;
        for (number, tag) in new.tags {
            match self.tags.remove(&number) {
                Some(old) => drop(self.tags.insert(number, old.interleaved(tag))),
                None => drop(self.tags.insert(number, tag)),
            }
        }
        Ok(new.count)
    }

    /// What it holds of other batches than these.
    #[must_use]
    pub fn without(mut self, sources: &BTreeSet<Source>) -> Self {
        self.tags.retain(|_, tag| {
            if tag.runs.iter().any(|run| sources.contains(&run.source)) {
                tag.retain(|source| !sources.contains(source));
            }
            !tag.runs.is_empty()
        });
        self.count = self.tags.values().map(|tag| tag.samples.len()).sum();
        self
    }

    /// What each tag did, by number.
    pub(crate) fn rollups(&self) -> impl Iterator<Item = (TagNumber, &TagContent, Option<Rollup>)> {
        self.tags.iter().map(|(number, tag)| (*number, tag, Rollup::of(tag.kind, &tag.in_order())))
    }

    pub(crate) fn insert(&mut self, number: TagNumber, tag: TagContent) {
        self.count += tag.samples.len();
        self.tags.insert(number, tag);
    }
}

impl TagContent {
    fn in_order(&self) -> Vec<Sample> {
        in_order_of_time(&self.runs, self.samples.clone())
    }

    fn retain(&mut self, keep: impl Fn(&Source) -> bool) {
        let mut samples = std::mem::take(&mut self.samples).into_iter();
        for run in &self.runs {
            let of_run = samples.by_ref().take(run.length);
            if keep(&run.source) {
                self.samples.extend(of_run);
            } else {
                of_run.for_each(drop);
            }
        }
        self.runs.retain(|run| keep(&run.source));
    }

    /// Both, in the order of their sources, none of which they have in common.
    fn interleaved(self, other: Self) -> Self {
        let kind = self.kind.max(other.kind);
        let mut parts: Vec<(Run, Vec<Sample>)> = self.into_parts().chain(other.into_parts()).collect();
        parts.sort_by_key(|(run, _)| run.source);
        let runs = parts.iter().map(|(run, _)| *run).collect();
        Self { kind, runs, samples: parts.into_iter().flat_map(|(_, samples)| samples).collect() }
    }

    fn into_parts(self) -> impl Iterator<Item = (Run, Vec<Sample>)> {
        let mut samples = self.samples.into_iter();
        self.runs.into_iter().map(move |run| (run, samples.by_ref().take(run.length).collect()))
    }
}

/// Samples in order of time; those of one instant in the order of the batches that brought them, and within a batch
/// in its order: none takes the place of another. A sample of a thinned batch that is there from another one too, and
/// identical, is left out (SPEC section 7, thinning).
#[must_use]
pub(crate) fn in_order_of_time(runs: &[Run], mut samples: Vec<Sample>) -> Vec<Sample> {
    if runs.iter().all(|run| run.detail == Detail::Full) {
        if !samples.is_sorted_by_key(Sample::timestamp) {
            samples.sort_by_key(Sample::timestamp);
        }
        return samples;
    }
    let thinned = runs.iter().flat_map(|run| std::iter::repeat_n(run.detail == Detail::Thinned, run.length));
    let mut marked: Vec<(bool, Sample)> = thinned.zip(samples).collect();
    marked.sort_by_key(|(_, sample)| sample.timestamp());
    let instants = marked.chunk_by(|(_, a), (_, b)| a.timestamp() == b.timestamp());
    instants.flat_map(without_repetitions).collect()
}

/// Most samples of one tag and instant among which repetitions are looked for, each being compared with each: thinning
/// keeps a handful of a minute.
const INSTANT_SAMPLES_MAX: usize = 256;

fn without_repetitions(instant: &[(bool, Sample)]) -> impl Iterator<Item = Sample> {
    instant.iter().enumerate().filter_map(|(index, (is_thinned, sample))| {
        // Among thinned ones the first stays.
        let stands_elsewhere = |(place, (thinned, other)): (usize, &(bool, Sample))| {
            place != index && (!thinned || place < index) && is_identical(sample, other)
        };
        let is_looked_at = *is_thinned && instant.len() <= INSTANT_SAMPLES_MAX;
        let is_repetition = is_looked_at && instant.iter().enumerate().any(stands_elsewhere);
        (!is_repetition).then(|| sample.clone())
    })
}

fn is_identical(a: &Sample, b: &Sample) -> bool {
    let values = match (&a.value, &b.value) {
        (Some(a), Some(b)) => a.is_identical(b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    values
        && a.quality == b.quality
        && a.source_timestamp == b.source_timestamp
        && a.gateway_timestamp == b.gateway_timestamp
}

pub(crate) fn check_limit(what: &'static str, actual: usize, allowed: usize) -> Result<(), SegmentError> {
    if actual > allowed { Err(SegmentError::TooLarge { what, actual, allowed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
