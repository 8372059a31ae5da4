//! Samples as they are, in order of time, block by block or page by page.

use std::collections::BTreeMap;

use plant_model::{Sample, Timestamp};
use segments::{Content, Minute};

use crate::plan::minutes_of;
use crate::{HistoryError, Reader};

/// How far a reader has read.
#[derive(Debug)]
pub(crate) struct Position {
    at: Timestamp,
    /// What is not sealed before `unsealed_end`.
    unsealed: BTreeMap<Minute, Content>,
    unsealed_end: Timestamp,
}

impl Position {
    pub(crate) const fn at(start: Timestamp) -> Self {
        Self { at: start, unsealed: BTreeMap::new(), unsealed_end: start }
    }
}

/// Samples of some minutes that follow one another.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// One entry a tag of [`Reader::tags`], each in order of time. Those of one instant are all there, in the order in
    /// which they were sent.
    pub samples: Vec<Vec<Sample>>,
    /// Everything before this instant was answered by now.
    pub end: Timestamp,
}

impl Block {
    /// How many samples it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.samples.iter().map(Vec::len).sum()
    }

    /// Keeps what lies before an instant.
    fn cut_at(&mut self, at: Timestamp) {
        for samples in &mut self.samples {
            samples.truncate(samples.partition_point(|sample| sample.timestamp() < at));
        }
        self.end = at;
    }
}

/// Samples up to a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// One entry a tag of [`Reader::tags`], as in [`Block`].
    pub samples: Vec<Vec<Sample>>,
    /// Where the next page starts; `None` when this is the last.
    pub next: Option<Timestamp>,
}

impl Reader<'_> {
    /// The next samples; `None` at the end of the range. Blocks may be empty.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn next_block(&mut self) -> Result<Option<Block>, HistoryError> {
        if self.stream.at >= self.range.end || self.tags.is_empty() {
            return Ok(None);
        }
        if self.stream.at >= self.stream.unsealed_end {
            let rest = self.stream.at..self.range.end;
            let (end, unsealed) = self.unsealed(&rest).await?;
            (self.stream.unsealed_end, self.stream.unsealed) = (end, unsealed);
        }
        let minutes = minutes_of(&(self.stream.at..self.stream.unsealed_end));
        let mut unsealed = std::mem::take(&mut self.stream.unsealed);
        let (end, contents) = self.contents(&minutes, &mut unsealed).await?;
        self.stream.unsealed = unsealed;
        self.stream.at = end.start().min(self.range.end);
        Ok(Some(Block { samples: self.in_range(&contents), end: self.stream.at }))
    }

    /// The samples of these minutes that lie in the range, by tag.
    fn in_range(&self, contents: &BTreeMap<Minute, Content>) -> Vec<Vec<Sample>> {
        let of_tag = |tag: &tiering::TagRecord| {
            let all = contents.values().filter_map(|content| content.samples(tag.number)).flatten();
            all.filter(|sample| self.range.contains(&sample.timestamp())).collect()
        };
        self.tags.iter().map(of_tag).collect()
    }

    /// Samples up to a limit, or of one instant if those are more, from the start of the range. All tags reach equally
    /// far.
    ///
    /// # Errors
    /// Something cannot be read.
    pub async fn page(mut self, limit: usize) -> Result<(Page, Self), HistoryError> {
        let mut page = Page { samples: vec![Vec::new(); self.tags.len()], next: None };
        let mut held = 0;
        loop {
            let mut block = match self.next_block().await {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // What was found so far is an answer; the next query has a budget of its own.
                Err(error) if error.is_over_budget() && held > 0 => {
                    page.next = Some(self.stream.at);
                    break;
                }
                Err(error) => return Err(error),
            };
            if let Some(at) = first_beyond(&block, limit.saturating_sub(held), held == 0) {
                block.cut_at(at);
                page.next = Some(at);
            }
            held += block.count();
            page.samples.iter_mut().zip(block.samples).for_each(|(all, more)| all.extend(more));
            if page.next.is_some() {
                break;
            }
        }
        Ok((page, self))
    }
}

/// The instant of the first sample that does not fit; `None` if all do. A page is never empty: where already the first
/// instant does not fit, it is taken as a whole.
fn first_beyond(block: &Block, room: usize, is_first: bool) -> Option<Timestamp> {
    if block.count() <= room {
        return None;
    }
    let mut times: Vec<Timestamp> = block.samples.iter().flatten().map(Sample::timestamp).collect();
    times.sort_unstable();
    let cut = times[room];
    if is_first && cut == times[0] {
        return times.into_iter().find(|at| *at > cut);
    }
    Some(cut)
}
