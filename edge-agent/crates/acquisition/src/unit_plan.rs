//! What one unit is asked next: its poll classes, the requests under way, the tags set aside.
//!
//! The blocks of one poll interval form a class and are read together. Among classes the one whose
//! instant is oldest goes first, so that a class that cannot keep up never starves another. A refused
//! request is narrowed down (module `block_tree`); a tag at fault is set aside and asked alone again
//! under a back-off from a minute to an hour, because somebody may load another program into the
//! device. As round trips are measured, gaps are bridged further or less far; not where an address was
//! refused, because what was found out about the gaps there would be forgotten. A device that asks for patience is asked the same again after a pause, and nothing else
//! meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use plant_model::Monotonic;

use crate::block_tree::{BlockTree, Narrowed, single};
use crate::round_trip::RoundTrips;
use crate::{
    Bridging, ModbusConnection, ModbusTag, PlanLimits, PollBlock, Refusal, Schedule, TagIndex, plan, stagger,
};

/// What the schedule asked for and what was left out since somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Due instants times the tags of their class.
    pub scheduled_samples: u64,
    /// Due instants at which nothing was asked.
    pub missed_ticks: u64,
    /// How many registers a request bridges now, if that changed the plan.
    pub bridged: Option<u16>,
}

/// Why a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is due.
    Poll,
    /// To see whether a silent unit answers again.
    Probe,
    /// To see whether a tag set aside can be read again.
    Recheck,
}

/// What a refused request means for its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Smaller requests follow.
    Split,
    /// These tags are set aside.
    Quarantined(Vec<TagIndex>),
    /// All its tags are refused, until the next poll.
    Whole,
}

#[derive(Debug)]
pub(crate) struct UnitPlan {
    name: String,
    tags: Vec<ModbusTag>,
    limits: PlanLimits,
    round_trips: RoundTrips,
    /// The plan is not changed before.
    replan_at: Monotonic,
    classes: Vec<Class>,
    /// What is left of the class under way.
    queue: VecDeque<Arc<PollBlock>>,
    queue_due: Monotonic,
    /// How many requests may still be added to the class under way by splitting.
    splits_left: u32,
    quarantine: Vec<Quarantined>,
    busy_until: Monotonic,
    busy_wait: Duration,
    tally: Tally,
}

#[derive(Debug)]
struct Class {
    schedule: Schedule,
    poll_interval: Duration,
    trees: Vec<BlockTree>,
    /// Whether a request of it was refused and divided.
    is_narrowed: bool,
}

impl Class {
    /// What is asked in one poll, by address.
    fn requests(&self) -> Vec<Arc<PollBlock>> {
        let mut requests = Vec::new();
        self.trees.iter().for_each(|tree| tree.requests(&mut requests));
        requests
    }
}

impl Tally {
    /// Adds due instants of a class with these requests, unless all its tags are set aside.
    fn add(&mut self, requests: &[Arc<PollBlock>], ticks: u64, missed: u64) {
        let tags: usize = requests.iter().map(|b| b.tags.len()).sum();
        if tags > 0 {
            self.scheduled_samples += ticks * tags as u64;
            self.missed_ticks += missed;
        }
    }
}

#[derive(Debug)]
struct Quarantined {
    tag: TagIndex,
    wait: Duration,
    due: Monotonic,
}

impl UnitPlan {
    /// No class waits longer than this for its first instant, however long its interval.
    const START_SPREAD_MAX: Duration = Duration::from_secs(1);
    /// The waits before a tag set aside is asked again.
    pub(crate) const RECHECK_FIRST: Duration = Duration::from_secs(60);
    pub(crate) const RECHECK_LONGEST: Duration = Duration::from_secs(3600);
    /// The pauses a busy device is given.
    const BUSY_FIRST: Duration = Duration::from_millis(100);
    const BUSY_LONGEST: Duration = Duration::from_secs(5);
    /// So many requests may one poll add by splitting; the rest of the search goes on with the next
    /// poll, so that a wrong map does not keep the line busy for seconds.
    const SPLITS_MAX: u32 = 16;
    /// The plan stays for so long after it was changed for the sake of round trips.
    pub(crate) const REPLAN_REST: Duration = Duration::from_secs(600);

    /// A plan whose first instants lie up to a second behind `now`, at a phase that depends on `name`.
    pub(crate) fn new(connection: &ModbusConnection, name: &str, now: Monotonic) -> Self {
        let classes = connection.blocks().chunk_by(|a, b| a.poll_interval == b.poll_interval).map(|blocks| {
            let poll_interval = blocks[0].poll_interval;
            let first_due = now.plus(stagger(name, poll_interval.min(Self::START_SPREAD_MAX)));
            let trees = blocks.iter().map(|b| BlockTree::Untested(Arc::new(b.clone()))).collect();
            Class {
                schedule: Schedule::new(first_due, poll_interval),
                poll_interval,
                trees,
                is_narrowed: false,
            }
        });
        Self {
            name: name.to_owned(),
            classes: classes.collect(),
            tags: connection.tags().to_vec(),
            limits: connection.quirks().limits,
            round_trips: RoundTrips::new(connection.pause().as_secs_f64() * 1e6),
            replan_at: now,
            queue: VecDeque::new(),
            queue_due: now,
            splits_left: 0,
            quarantine: Vec::new(),
            busy_until: now,
            busy_wait: Self::BUSY_FIRST,
            tally: Tally::default(),
        }
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Since when something waits to be asked, or from when on something will.
    pub(crate) fn due(&self) -> Monotonic {
        if !self.queue.is_empty() {
            return self.queue_due;
        }
        let classes = self.classes.iter().map(|c| c.schedule.next_due());
        let rechecks = self.quarantine.iter().map(|q| q.due);
        classes.chain(rechecks).min().unwrap_or(Monotonic::from_micros(u64::MAX))
    }

    /// When the unit may be asked.
    pub(crate) fn ready_at(&self) -> Monotonic {
        self.due().max(self.busy_until)
    }

    /// Takes the next request, if one is due at `now`.
    pub(crate) fn take(&mut self, now: Monotonic) -> Option<(Purpose, Arc<PollBlock>)> {
        while self.ready_at() <= now {
            if let Some(block) = self.queue.pop_front() {
                return Some((Purpose::Poll, block));
            }
            if let Some(block) = self.take_recheck() {
                return Some((Purpose::Recheck, block));
            }
            self.begin_class(now);
        }
        None
    }

    /// What is left of the class under way, unless the device asked for patience.
    pub(crate) fn take_under_way(&mut self, now: Monotonic) -> Option<Arc<PollBlock>> {
        if self.busy_until <= now { self.queue.pop_front() } else { None }
    }

    /// The tag set aside whose turn came before that of every class.
    fn take_recheck(&mut self) -> Option<Arc<PollBlock>> {
        let due = self.due();
        let waiting = self.quarantine.iter_mut().find(|q| q.due == due)?;
        // Until it is answered; what never is must not be asked all the time.
        waiting.due = waiting.due.plus(waiting.wait);
        Some(Arc::new(single(waiting.tag, &self.tags)))
    }

    fn begin_class(&mut self, now: Monotonic) {
        self.heed_round_trips(now);
        let Some(class) = self.classes.iter_mut().min_by_key(|c| c.schedule.next_due()) else { return };
        self.queue_due = class.schedule.next_due();
        let ticks = class.schedule.take_due(now);
        let requests = class.requests();
        self.tally.add(&requests, ticks, ticks.saturating_sub(1));
        self.splits_left = Self::SPLITS_MAX;
        self.queue = requests.into();
    }

    /// What is left of the class under way is not asked.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
    }

    /// What is due at `now` is not asked: the unit cannot be reached.
    pub(crate) fn skip(&mut self, now: Monotonic) {
        self.abandon();
        for class in &mut self.classes {
            let ticks = class.schedule.take_due(now);
            self.tally.add(&class.requests(), ticks, ticks);
        }
    }

    /// The shortest request that shows whether the unit answers.
    pub(crate) fn probe(&self) -> Arc<PollBlock> {
        let set_aside = |tag: &TagIndex| self.quarantine.iter().any(|q| q.tag == *tag);
        let shortest = (0..self.tags.len())
            .map(|i| TagIndex(u16::try_from(i).expect("a connection has at most 10,000 tags")))
            .min_by_key(|tag| (set_aside(tag), self.tags[tag.as_usize()].quantity()))
            .expect("a connection has a tag");
        Arc::new(single(shortest, &self.tags))
    }

    /// Plans anew if gaps are worth bridging at least twice as far, or half as far, as they are.
    fn heed_round_trips(&mut self, now: Monotonic) {
        if self.limits.bridging == Bridging::Fixed || now < self.replan_at {
            return;
        }
        let Some(gap) = self.round_trips.gap() else { return };
        let (new, old) = (u32::from(gap.max(1)), u32::from(self.limits.max_gap.max(1)));
        if new < 2 * old && old < 2 * new {
            return;
        }
        self.limits.max_gap = gap;
        self.replan_at = now.plus(Self::REPLAN_REST);
        for class in 0..self.classes.len() {
            if !self.classes[class].is_narrowed && self.replan(class) {
                self.tally.bridged = Some(gap);
            }
        }
    }

    /// The request was answered after `took`.
    pub(crate) fn pass(&mut self, purpose: Purpose, block: &Arc<PollBlock>, took: Duration) {
        self.round_trips.note(block, took);
        self.busy_wait = Self::BUSY_FIRST;
        match purpose {
            Purpose::Poll => {
                if let Some((c, t)) = self.place(|tree| tree.pass(block)) {
                    self.resolve(c, t);
                }
            }
            Purpose::Recheck => self.readmit(block.tags[0]),
            Purpose::Probe => {}
        }
    }

    /// The request was refused.
    pub(crate) fn refuse(
        &mut self,
        purpose: Purpose,
        block: &Arc<PollBlock>,
        refusal: Refusal,
        now: Monotonic,
    ) -> Refused {
        if refusal == Refusal::Busy {
            self.wait_patiently(purpose, block, now);
            return Refused::Whole;
        }
        self.busy_wait = Self::BUSY_FIRST;
        match purpose {
            Purpose::Poll if refusal.is_divisible() => self.narrow(block, now),
            Purpose::Recheck => {
                self.postpone(block.tags[0], now);
                Refused::Quarantined(block.tags.clone())
            }
            Purpose::Poll | Purpose::Probe => Refused::Whole,
        }
    }

    fn wait_patiently(&mut self, purpose: Purpose, block: &Arc<PollBlock>, now: Monotonic) {
        self.busy_until = now.plus(self.busy_wait);
        self.busy_wait = (self.busy_wait * 2).min(Self::BUSY_LONGEST);
        if purpose == Purpose::Poll {
            self.queue.push_front(Arc::clone(block));
        }
    }

    fn narrow(&mut self, block: &Arc<PollBlock>, now: Monotonic) -> Refused {
        let tags = std::mem::take(&mut self.tags);
        let mut narrowed = None;
        let place = self.place(|tree| {
            narrowed = tree.refuse(block, &tags);
            narrowed.is_some()
        });
        self.tags = tags;
        let refused = match narrowed {
            None => Refused::Whole,
            Some(Narrowed::Split(left, right)) => {
                if self.splits_left >= 2 {
                    self.splits_left -= 2;
                    self.queue.push_front(right);
                    self.queue.push_front(left);
                }
                Refused::Split
            }
            Some(Narrowed::Faulty(tags)) => {
                tags.iter().for_each(|tag| self.set_aside(*tag, now));
                Refused::Quarantined(tags)
            }
        };
        if let Some((c, t)) = place {
            self.classes[c].is_narrowed = true;
            self.resolve(c, t);
        }
        refused
    }

    /// The first tree for which `is_it` holds.
    fn place(&mut self, mut is_it: impl FnMut(&mut BlockTree) -> bool) -> Option<(usize, usize)> {
        self.classes
            .iter_mut()
            .enumerate()
            .find_map(|(c, class)| class.trees.iter_mut().position(&mut is_it).map(|t| (c, t)))
    }

    /// Replaces a split that is fully tested by the requests to go on with.
    fn resolve(&mut self, class: usize, tree: usize) {
        let trees = &mut self.classes[class].trees;
        if trees[tree].is_resolved() {
            let found = trees.remove(tree).resolve();
            trees.splice(tree..tree, found);
        }
    }

    fn set_aside(&mut self, tag: TagIndex, now: Monotonic) {
        let wait = Self::RECHECK_FIRST;
        let due = now.plus(wait + self.spread(tag, wait));
        self.quarantine.push(Quarantined { tag, wait, due });
    }

    fn postpone(&mut self, tag: TagIndex, now: Monotonic) {
        let Some(position) = self.quarantine.iter().position(|q| q.tag == tag) else { return };
        let wait = (self.quarantine[position].wait * 2).min(Self::RECHECK_LONGEST);
        let due = now.plus(wait + self.spread(tag, wait));
        self.quarantine[position] = Quarantined { tag, wait, due };
    }

    /// Up to a tenth of `wait`, so that many tags are not asked again at once.
    fn spread(&self, tag: TagIndex, wait: Duration) -> Duration {
        stagger(&format!("{}-{}", self.name, tag.0), wait / 10)
    }

    /// A tag set aside can be read: its class is planned anew, because its neighbours may share a
    /// request with it again.
    fn readmit(&mut self, tag: TagIndex) {
        self.quarantine.retain(|q| q.tag != tag);
        let poll_interval = self.tags[tag.as_usize()].parameters().poll_interval;
        if let Some(class) = self.classes.iter().position(|c| c.poll_interval == poll_interval) {
            self.replan(class);
        }
    }

    /// Plans a class anew, without the tags set aside. Says whether that changed anything.
    fn replan(&mut self, class: usize) -> bool {
        let poll_interval = self.classes[class].poll_interval;
        let chosen: Vec<TagIndex> = (0..self.tags.len())
            .map(|i| TagIndex(u16::try_from(i).expect("a connection has at most 10,000 tags")))
            .filter(|t| self.tags[t.as_usize()].parameters().poll_interval == poll_interval)
            .filter(|t| self.quarantine.iter().all(|q| q.tag != *t))
            .collect();
        let tags: Vec<ModbusTag> = chosen.iter().map(|t| self.tags[t.as_usize()].clone()).collect();
        let blocks = plan(&tags, &self.limits).expect("these tags were planned before");
        let own = |block: PollBlock| {
            let tags = block.tags.iter().map(|t| chosen[t.as_usize()]).collect();
            Arc::new(PollBlock { tags, ..block })
        };
        let blocks: Vec<_> = blocks.into_iter().map(own).collect();
        let class = &mut self.classes[class];
        let is_change = class.requests() != blocks;
        if is_change {
            class.trees = blocks.into_iter().map(BlockTree::Untested).collect();
        }
        is_change
    }
}
