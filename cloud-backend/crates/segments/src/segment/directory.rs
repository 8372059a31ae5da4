//! Provenance and directory of a head: which batches brought what, and where it lies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::{Detail, Epoch, Sequence};

use super::packing::Stored;
use super::{TagHead, wire};
use crate::{Run, SAMPLES_MAX, SegmentError, Source, TagKind, TagNumber};

/// Most runs of one segment, over its different lists: bounds what a lying directory can claim. A gateway commits a few
/// batches a second at most; tags on change have lists of their own.
const RUNS_MAX: usize = SAMPLES_MAX;

/// A line of the directory.
pub(super) struct Entry {
    pub(super) number: TagNumber,
    pub(super) kind: TagKind,
    pub(super) runs: Vec<Run>,
    pub(super) stored: Stored,
}

pub(super) fn to_wire(tags: &[TagHead], frame: Stored) -> wire::Head {
    let mut out = wire::Head { frame_stored: fold(frame), ..wire::Head::default() };
    let runs = || tags.iter().flat_map(|tag| &tag.runs);
    let sources: BTreeSet<Source> = runs().map(|run| run.source).collect();
    let thinned: BTreeSet<Source> =
        runs().filter(|run| run.detail == Detail::Thinned).map(|run| run.source).collect();
    push_sources(&mut out, &sources, &thinned);
    let places: BTreeMap<Source, u32> = sources.into_iter().zip(0..).collect();
    let mut lists: HashMap<Vec<(Source, usize)>, u32> = HashMap::new();
    let mut previous = 0;
    for tag in tags {
        let next = u32::try_from(lists.len()).unwrap_or(u32::MAX);
        let key = tag.runs.iter().map(|run| (run.source, run.length)).collect();
        let list = *lists.entry(key).or_insert_with(|| {
            push_list(&mut out, &tag.runs, &places);
            next
        });
        out.list.push(list);
        out.tag.push(tag.number.0 - previous);
        previous = tag.number.0;
        out.kind.push(tag.rollup.kind().code());
        out.stored.push(fold(tag.stored));
    }
    out
}

fn push_sources(out: &mut wire::Head, sources: &BTreeSet<Source>, thinned: &BTreeSet<Source>) {
    let mut previous = 0;
    for (index, source) in (0_u32..).zip(sources) {
        let (epoch, sequence) = (source.epoch.as_u64(), source.sequence.as_u64());
        if out.epoch.last() != Some(&epoch) {
            out.epoch.push(epoch);
            out.epoch_sources.push(0);
            previous = 0;
        }
        if let Some(count) = out.epoch_sources.last_mut() {
            *count += 1;
        }
        out.sequence.push(sequence - previous);
        previous = sequence;
        if thinned.contains(source) {
            out.thinned.push(index);
        }
    }
}

fn push_list(out: &mut wire::Head, runs: &[Run], places: &BTreeMap<Source, u32>) {
    out.list_runs.push(u32::try_from(runs.len()).unwrap_or(u32::MAX));
    let mut previous = 0;
    for run in runs {
        let place = places.get(&run.source).copied().unwrap_or(0);
        out.run_source.push(place - previous);
        previous = place;
        out.run_samples.push(u32::try_from(run.length).unwrap_or(u32::MAX));
    }
}

pub(super) fn from_wire(head: &wire::Head) -> Result<Vec<Entry>, SegmentError> {
    let count = head.tag.len();
    for (field, length) in
        [("kind", head.kind.len()), ("list", head.list.len()), ("stored", head.stored.len())]
    {
        if length != count {
            return Err(SegmentError::field(field, format!("{length} entries for {count} tags")));
        }
    }
    let lists = lists(head, &sources(head)?)?;
    let (mut number, mut samples, mut runs) = (0_u32, 0_usize, 0_usize);
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let step = head.tag[index];
        number = number.checked_add(step).filter(|_| step > 0 || index == 0).ok_or_else(|| {
            SegmentError::field("tag", format!("the number after {number} is not a larger one"))
        })?;
        let list = usize::try_from(head.list[index]).ok().and_then(|list| lists.get(list));
        let list = list.ok_or_else(|| SegmentError::field("list", "a tag names a list that is not there"))?;
        samples = list.iter().fold(samples, |sum, run| sum.saturating_add(run.length));
        runs = runs.saturating_add(list.len());
        crate::content::check_limit("samples", samples, SAMPLES_MAX)?;
        crate::content::check_limit("runs", runs, RUNS_MAX)?;
        let kind = TagKind::from_code(head.kind[index])
            .ok_or_else(|| SegmentError::field("kind", format!("{} is none", head.kind[index])))?;
        let stored = unfold(head.stored[index]);
        entries.push(Entry { number: TagNumber(number), kind, runs: list.clone(), stored });
    }
    Ok(entries)
}

fn sources(head: &wire::Head) -> Result<Vec<(Source, Detail)>, SegmentError> {
    let uneven = |detail: &str| SegmentError::field("sequence", detail);
    if head.epoch.len() != head.epoch_sources.len() || !head.epoch.is_sorted_by(|a, b| a < b) {
        return Err(SegmentError::field("epoch", "they are not in order, each with its number of batches"));
    }
    let mut sequences = head.sequence.iter();
    let mut out: Vec<(Source, Detail)> = Vec::with_capacity(head.sequence.len());
    for (epoch, count) in head.epoch.iter().zip(&head.epoch_sources) {
        let mut sequence = 0_u64;
        for _ in 0..*count {
            let step = sequences.next().ok_or_else(|| uneven("there are fewer than the epochs have"))?;
            let next = sequence.checked_add(*step).filter(|next| *next > sequence);
            sequence = next.ok_or_else(|| uneven("the one after is not a larger one"))?;
            let source = Source { epoch: Epoch::from_u64(*epoch), sequence: Sequence::from_u64(sequence) };
            out.push((source, Detail::Full));
        }
    }
    if sequences.next().is_some() {
        return Err(uneven("there are more than the epochs have"));
    }
    for index in &head.thinned {
        let source = usize::try_from(*index).ok().and_then(|index| out.get_mut(index));
        let source = source.ok_or_else(|| SegmentError::field("thinned", "a batch that is not there"))?;
        source.1 = Detail::Thinned;
    }
    Ok(out)
}

fn lists(head: &wire::Head, sources: &[(Source, Detail)]) -> Result<Vec<Vec<Run>>, SegmentError> {
    let mut runs = head.run_source.iter().zip(&head.run_samples);
    let list = |count: &u32| {
        let mut list: Vec<Run> = Vec::new();
        let mut place = 0_usize;
        for _ in 0..*count {
            let (step, length) =
                runs.next().ok_or_else(|| SegmentError::field("list_runs", "there are fewer runs"))?;
            let (step, length) = (usize::try_from(*step).ok(), usize::try_from(*length).ok());
            let (Some(step), Some(length @ 1..)) = (step, length) else {
                return Err(SegmentError::field("run_samples", "a run without a sample"));
            };
            if step == 0 && !list.is_empty() {
                return Err(SegmentError::field("run_source", "a batch has two runs of one tag"));
            }
            place = place.saturating_add(step);
            let (source, detail) = *sources
                .get(place)
                .ok_or_else(|| SegmentError::field("run_source", "a batch that is not there"))?;
            list.push(Run { source, detail, length });
        }
        Ok(list)
    };
    head.list_runs.iter().map(list).collect()
}

/// A length and whether it is compressed, in one number.
fn fold(stored: Stored) -> u32 {
    u32::try_from(stored.length << 1 | usize::from(stored.is_compressed)).unwrap_or(u32::MAX)
}

pub(super) fn unfold(number: u32) -> Stored {
    let length = usize::try_from(number >> 1).unwrap_or(usize::MAX);
    Stored { length, is_compressed: number & 1 == 1 }
}
