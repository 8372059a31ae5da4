//! Which requests are due next.
//!
//! The blocks of one poll interval form a class and are read together. Among classes the one whose
//! instant is oldest goes first, so that a class that cannot keep up never starves another.

use std::ops::Range;
use std::time::Duration;

use plant_model::Monotonic;

use crate::{PollBlock, Schedule, stagger};

/// The due instants of all poll classes of one connection.
#[derive(Debug, Clone)]
pub struct Agenda {
    classes: Vec<PollClass>,
}

#[derive(Debug, Clone)]
struct PollClass {
    schedule: Schedule,
    blocks: Range<usize>,
    tags: u64,
}

/// One poll of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePoll {
    /// Positions of the blocks to read.
    pub blocks: Range<usize>,
    /// How many due instants this poll serves; all but one were missed.
    pub ticks: u64,
    /// How many tags the class has.
    pub tags: u64,
}

impl Agenda {
    /// No class waits longer than this for its first instant, however long its interval.
    const START_SPREAD_MAX: Duration = Duration::from_secs(1);

    /// An agenda for `blocks`, ordered by poll interval as [`crate::plan`] gives them. Its first
    /// instants lie up to a second behind `now`, at a phase that depends on `name`.
    #[must_use]
    pub fn new(blocks: &[PollBlock], name: &str, now: Monotonic) -> Self {
        let mut begin = 0;
        let classes = blocks
            .chunk_by(|a, b| a.poll_interval == b.poll_interval)
            .map(|class| {
                let blocks = begin..begin + class.len();
                begin = blocks.end;
                let period = class[0].poll_interval;
                let first_due = now.plus(stagger(name, period.min(Self::START_SPREAD_MAX)));
                let tags = class.iter().map(|b| b.tags.len() as u64).sum();
                PollClass { schedule: Schedule::new(first_due, period), blocks, tags }
            })
            .collect();
        Self { classes }
    }

    /// The next instant at which something is due; the end of time if there is nothing to read.
    #[must_use]
    pub fn next_due(&self) -> Monotonic {
        let never = Monotonic::from_micros(u64::MAX);
        self.classes.iter().map(|c| c.schedule.next_due()).min().unwrap_or(never)
    }

    /// Takes what has been due for longest at `now`; of two that are equally old the more frequent.
    pub fn take(&mut self, now: Monotonic) -> Option<DuePoll> {
        let class = self.classes.iter_mut().min_by_key(|c| c.schedule.next_due())?;
        let ticks = class.schedule.take_due(now);
        (ticks > 0).then(|| DuePoll { blocks: class.blocks.clone(), ticks, tags: class.tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegisterTable, TagIndex};

    fn block(interval_ms: u64, tags: u16) -> PollBlock {
        PollBlock {
            table: RegisterTable::HoldingRegister,
            start: 0,
            quantity: 1,
            tags: (0..tags).map(TagIndex).collect(),
            poll_interval: Duration::from_millis(interval_ms),
        }
    }

    fn after(start: Monotonic, ms: u64) -> Monotonic {
        start.plus(Duration::from_millis(ms))
    }

    /// An agenda and the instant of its first poll, of the class with 200 ms.
    fn two_classes() -> (Agenda, Monotonic) {
        let blocks = [block(200, 3), block(1000, 7), block(1000, 10)];
        let mut agenda = Agenda::new(&blocks, "press-1", Monotonic::from_micros(0));
        while agenda.next_due().micros() < 5_000_000 {
            agenda.take(agenda.next_due());
        }
        let first = agenda.next_due();
        (agenda, first)
    }

    #[test]
    fn one_poll_reads_all_blocks_of_its_class() {
        let (mut agenda, first) = two_classes();
        let polls: Vec<DuePoll> =
            std::iter::from_fn(|| agenda.take(after(first, 1999))).filter(|poll| poll.tags == 17).collect();
        assert_eq!(polls, [DuePoll { blocks: 1..3, ticks: 2, tags: 17 }]);
    }

    #[test]
    fn what_is_due_is_taken_once_and_the_next_instant_lies_ahead() {
        let (mut agenda, first) = two_classes();
        assert_eq!(agenda.take(Monotonic::from_micros(first.micros() - 1)), None);
        assert_eq!(agenda.take(first).map(|p| (p.tags, p.ticks)), Some((3, 1)));
        while agenda.take(first).is_some() {}
        assert!(agenda.next_due() > first);
    }

    #[test]
    fn a_class_that_cannot_keep_up_does_not_starve_the_other() {
        let (mut agenda, first) = two_classes();
        let mut slow = 0;
        for round in 1..=100 {
            let poll = agenda.take(after(first, round * 300)).expect("each poll takes longer than 200 ms");
            slow += if poll.tags == 17 { poll.ticks } else { 0 };
        }
        assert!((28..=30).contains(&slow), "{slow} slow instants in 30 s");
    }

    #[test]
    fn every_class_begins_within_a_second_however_long_its_interval() {
        let now = Monotonic::from_micros(77);
        for name in ["a", "b", "machine-17", "x9"] {
            let agenda = Agenda::new(&[block(3_600_000, 1)], name, now);
            assert!(agenda.next_due() < now.plus(Duration::from_secs(1)), "{name}");
        }
        assert_eq!(Agenda::new(&[], "a", now).next_due().micros(), u64::MAX);
    }
}
