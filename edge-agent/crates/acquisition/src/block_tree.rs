//! Finds what is at fault in a refused request, by halving it.
//!
//! A device refuses a whole request when one of its addresses does not exist. The request is split
//! into halves, and these again, until those that are answered and the single tags that are refused
//! are told apart; the halves are polls like any other and bring values on the way. Where two halves
//! are answered that were refused together, the fault lies in the gap between them and they stay
//! apart. Otherwise neighbours grow together again, never across a tag at fault.

use std::sync::Arc;

use crate::{ModbusTag, PollBlock, TagIndex};

/// A request, or what became of it after it was refused.
#[derive(Debug, Clone)]
pub(crate) enum BlockTree {
    /// Not answered yet.
    Untested(Arc<PollBlock>),
    /// Answered.
    Passed(Arc<PollBlock>),
    /// Refused, and not divisible.
    Faulty,
    /// Refused and split.
    Split(Box<BlockTree>, Box<BlockTree>),
}

/// What a refusal led to.
#[derive(Debug)]
pub(crate) enum Narrowed {
    /// Two smaller requests.
    Split(Arc<PollBlock>, Arc<PollBlock>),
    /// These tags are at fault.
    Faulty(Vec<TagIndex>),
}

impl BlockTree {
    /// Adds all requests that are to be made, by address.
    pub(crate) fn requests(&self, out: &mut Vec<Arc<PollBlock>>) {
        match self {
            Self::Untested(block) | Self::Passed(block) => out.push(Arc::clone(block)),
            Self::Faulty => {}
            Self::Split(left, right) => {
                left.requests(out);
                right.requests(out);
            }
        }
    }

    fn find(&mut self, wanted: &Arc<PollBlock>) -> Option<&mut Self> {
        match self {
            Self::Untested(block) | Self::Passed(block) => Arc::ptr_eq(block, wanted).then_some(self),
            Self::Faulty => None,
            Self::Split(left, right) => left.find(wanted).or_else(|| right.find(wanted)),
        }
    }

    /// The request was answered. Says whether it belongs to this tree.
    pub(crate) fn pass(&mut self, block: &Arc<PollBlock>) -> bool {
        let found = self.find(block);
        let is_ours = found.is_some();
        if let Some(place) = found {
            *place = Self::Passed(Arc::clone(block));
        }
        is_ours
    }

    /// The request was refused; `None` if it does not belong to this tree.
    pub(crate) fn refuse(&mut self, block: &Arc<PollBlock>, tags: &[ModbusTag]) -> Option<Narrowed> {
        let place = self.find(block)?;
        let Some((left, right)) = halves(block, tags) else {
            *place = Self::Faulty;
            return Some(Narrowed::Faulty(block.tags.clone()));
        };
        let (left, right) = (Arc::new(left), Arc::new(right));
        let untested = |block: &Arc<PollBlock>| Box::new(Self::Untested(Arc::clone(block)));
        *place = Self::Split(untested(&left), untested(&right));
        Some(Narrowed::Split(left, right))
    }

    /// Whether this was refused, and what is at fault is known.
    pub(crate) fn is_resolved(&self) -> bool {
        match self {
            Self::Untested(_) | Self::Passed(_) => false,
            Self::Faulty => true,
            Self::Split(left, right) => left.is_tested() && right.is_tested(),
        }
    }

    fn is_tested(&self) -> bool {
        match self {
            Self::Untested(_) => false,
            Self::Passed(_) | Self::Faulty => true,
            Self::Split(left, right) => left.is_tested() && right.is_tested(),
        }
    }

    /// The fewest requests that are known or likely to be answered.
    pub(crate) fn resolve(self) -> Vec<Self> {
        self.segments().into_iter().flatten().map(Self::Untested).collect()
    }

    /// What is left, by address; `None` stands for a fault.
    fn segments(self) -> Vec<Option<Arc<PollBlock>>> {
        match self {
            Self::Untested(block) | Self::Passed(block) => vec![Some(block)],
            Self::Faulty => vec![None],
            Self::Split(left, right) => {
                let (mut left, mut right) = (left.segments(), right.segments());
                let fault_is_known = left.iter().chain(&right).any(Option::is_none);
                if fault_is_known && let (Some(Some(a)), Some(Some(b))) = (left.last(), right.first()) {
                    let joined = Arc::new(join(a, b));
                    left.pop();
                    right[0] = Some(joined);
                }
                left.append(&mut right);
                left
            }
        }
    }
}

fn join(a: &PollBlock, b: &PollBlock) -> PollBlock {
    let end = |block: &PollBlock| u32::from(block.start) + u32::from(block.quantity);
    let quantity = end(a).max(end(b)) - u32::from(a.start);
    PollBlock {
        table: a.table,
        start: a.start,
        quantity: u16::try_from(quantity).expect("both lay in one request before"),
        tags: a.tags.iter().chain(&b.tags).copied().collect(),
        poll_interval: a.poll_interval,
    }
}

/// Splits a request between two tags near its middle, never through a register that two tags share.
fn halves(block: &PollBlock, tags: &[ModbusTag]) -> Option<(PollBlock, PollBlock)> {
    let start = |i: usize| u32::from(tags[block.tags[i].as_usize()].parameters().pdu_address);
    let end = |i: usize| start(i) + u32::from(tags[block.tags[i].as_usize()].quantity());
    let mut reached = 0;
    let mut cuts = Vec::new();
    for i in 0..block.tags.len() {
        if i > 0 && start(i) >= reached {
            cuts.push(i);
        }
        reached = reached.max(end(i));
    }
    let middle = block.tags.len() / 2;
    let cut = cuts.into_iter().min_by_key(|c| c.abs_diff(middle))?;
    Some((part(block, tags, 0..cut), part(block, tags, cut..block.tags.len())))
}

fn part(block: &PollBlock, tags: &[ModbusTag], range: std::ops::Range<usize>) -> PollBlock {
    let chosen = &block.tags[range];
    let span = |tag: &TagIndex| {
        let tag = &tags[tag.as_usize()];
        let start = u32::from(tag.parameters().pdu_address);
        (start, start + u32::from(tag.quantity()))
    };
    let start = chosen.iter().map(|t| span(t).0).min().unwrap_or_default();
    let end = chosen.iter().map(|t| span(t).1).max().unwrap_or_default();
    let fits = "a part of a request fits where the request fitted";
    PollBlock {
        table: block.table,
        start: u16::try_from(start).expect(fits),
        quantity: u16::try_from(end - start).expect(fits),
        tags: chosen.to_vec(),
        poll_interval: block.poll_interval,
    }
}

/// A request for a single tag.
pub(crate) fn single(tag: TagIndex, tags: &[ModbusTag]) -> PollBlock {
    let t = &tags[tag.as_usize()];
    let p = t.parameters();
    PollBlock {
        table: p.table,
        start: p.pdu_address,
        quantity: t.quantity(),
        tags: vec![tag],
        poll_interval: p.poll_interval,
    }
}
