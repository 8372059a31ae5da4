//! What is to be moved between the tiers of a gateway, decided from what lies where, the policy, and the time.
//!
//! The unit is a day (UTC). A day is *settled* when objects hold everything of it. In one run, in this order:
//!
//! 1. days that are closed and in no object are archived, each into an object of its own;
//! 2. objects of which days got late data are written again, as a whole, and not sooner after their last writing than a
//!    closed day is archived;
//! 3. small objects that lie side by side become one of at least [`OBJECT_BYTES_MIN`] or [`OBJECT_DAYS_MAX`] days; each
//!    sample is written again for that only once, because a row of small ones waits until it is long enough;
//! 4. of settled days, what is older than the policy asks goes: bodies, then whole segments, then rollups of hours;
//!    objects, and the journal of alarms;
//! 5. objects that nobody needs are deleted when nobody can be reading them any more.
//!
//! What a hold covers is in no move of 4 and 5, but for objects that were left behind half written.
//!
//! The same plan is the preview: each move says how many rows and bytes it is about.

mod compaction;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use plant_model::{GatewayId, Timestamp};
use segments::TagKind;

use crate::policy::DAY;
use crate::{DayUsage, Dropped, Hold, Keep, ObjectRow, ObjectState, Policy};

/// Smaller objects are joined with their neighbours: requests cost more than bytes below this size.
pub const OBJECT_BYTES_MIN: u64 = 8 << 20;

/// Most days of one object: what a late sample makes be written again.
pub const OBJECT_DAYS_MAX: u32 = 31;

/// How long an object that nobody needs stays: longer than any query.
pub const OBJECT_GRACE: Duration = Duration::from_secs(3_600);

/// Most objects that one run writes for a gateway: other gateways wait. The next run goes on.
pub const WRITES_MAX: usize = 40;

/// What lies where, of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayTiers {
    /// Which.
    pub gateway: GatewayId,
    /// The classes of its tags.
    pub classes: Vec<TagKind>,
    /// What the store holds ([`crate::TierStore::usage`]).
    pub usage: Vec<DayUsage>,
    /// Its objects in whatever state ([`crate::TierStore::objects`]).
    pub objects: Vec<ObjectRow>,
    /// Whether batches wait for longer than sealing takes. What they bring is waited for before anything is archived.
    pub is_sealing_behind: bool,
    /// What the journal of alarms holds of each day ([`crate::PolicyStore::journal_usage`]).
    pub journal: Vec<(Timestamp, Dropped)>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write a day that is in no object.
    Archive,
    /// Write an object again, with what came since.
    Rewrite(ObjectRow),
    /// Write several objects as one.
    Compact(Vec<ObjectRow>),
    /// Drop bodies of segments; their samples are in objects.
    DropBodies,
    /// Drop segments with their statistics.
    DropMinutes,
    /// Drop rollups of hours.
    DropHours,
    /// Drop steps of alarms that are over, and the batches that brought them.
    DropJournal,
    /// The retention of an object is over; it is deleted after [`OBJECT_GRACE`].
    Retire(ObjectRow),
    /// Delete the bytes of an object, then forget it.
    Delete(ObjectRow),
}

impl Action {
    /// Its name in answers and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Rewrite(_) => "rewrite",
            Self::Compact(_) => "compact",
            Self::DropBodies => "drop_bodies",
            Self::DropMinutes => "drop_minutes",
            Self::DropHours => "drop_hours",
            Self::DropJournal => "drop_journal",
            Self::Retire(_) => "retire",
            Self::Delete(_) => "delete",
        }
    }

    /// Whether an object is written.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(self, Self::Archive | Self::Rewrite(_) | Self::Compact(_))
    }
}

/// A move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Whose.
    pub gateway: GatewayId,
    /// What.
    pub action: Action,
    /// Boundaries of days.
    pub range: Range<Timestamp>,
    /// What is archived: samples in the store. What is written again: samples in the objects. What is dropped: rows. An
    /// object: its samples.
    pub rows: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// The moves of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be made.
    pub moves: Vec<Move>,
    /// When there will be something to do if nothing new comes; `None` if there is no telling.
    pub next_at: Option<Timestamp>,
    /// Whether a limit cut it: another run follows at once.
    pub is_cut: bool,
}

/// Decides.
#[must_use]
pub fn plan(
    now: Timestamp,
    policy: &Policy,
    holds: &[Hold],
    tiers: &GatewayTiers,
    object_min_days: u32,
) -> Plan {
    let mut planner = Planner::new(now, policy, holds, tiers);
    planner.archive();
    planner.rewrite();
    planner.compact(object_min_days);
    planner.cut();
    planner.drop_days();
    planner.drop_journal();
    planner.retire();
    planner.delete();
    let next_at = planner.next.filter(|_| !planner.is_cut);
    Plan { moves: planner.moves, next_at, is_cut: planner.is_cut }
}

struct Planner<'a> {
    now: Timestamp,
    policy: &'a Policy,
    keep: Keep,
    holds: &'a [Hold],
    tiers: &'a GatewayTiers,
    /// In order of time.
    verified: Vec<&'a ObjectRow>,
    moves: Vec<Move>,
    next: Option<Timestamp>,
    is_cut: bool,
}

/// The day that begins there.
fn day(start: Timestamp) -> Range<Timestamp> {
    start..start.plus(DAY)
}

fn overlap(a: &Range<Timestamp>, b: &Range<Timestamp>) -> bool {
    a.start < b.end && b.start < a.end
}

impl<'a> Planner<'a> {
    fn new(now: Timestamp, policy: &'a Policy, holds: &'a [Hold], tiers: &'a GatewayTiers) -> Self {
        let mut verified: Vec<_> =
            tiers.objects.iter().filter(|object| object.state == ObjectState::Verified).collect();
        verified.sort_by_key(|object| (object.start, object.id));
        let keep = policy.horizon(&tiers.classes);
        Self { now, policy, keep, holds, tiers, verified, moves: Vec::new(), next: None, is_cut: false }
    }

    fn push(&mut self, action: Action, range: Range<Timestamp>, rows: u64, bytes: u64) {
        self.moves.push(Move { gateway: self.tiers.gateway.clone(), action, range, rows, bytes });
    }

    /// Whether that instant has come; if not, it may be the next one to be waited for.
    fn is_due(&mut self, at: Timestamp) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    fn is_held(&self, range: &Range<Timestamp>) -> bool {
        self.holds.iter().any(|hold| hold.covers(&self.tiers.gateway, range))
    }

    /// Whether the object lies in a range.
    fn object_of(&self, range: &Range<Timestamp>) -> Option<&'a ObjectRow> {
        self.verified.iter().copied().find(|object| overlap(&(object.start..object.end), range))
    }

    /// Days of which segments are in no object.
    fn unarchived(&self) -> Vec<&'a DayUsage> {
        self.tiers.usage.iter().filter(|usage| !is_settled(usage)).collect()
    }

    fn archive(&mut self) {
        for usage in self.unarchived() {
            let range = day(usage.start);
            if self.object_of(&range).is_some() || !self.is_due(range.end.plus(self.policy.archive_after)) {
                continue;
            }
            if !self.tiers.is_sealing_behind {
                self.push(Action::Archive, range, usage.samples, usage.body_bytes + usage.late_bytes);
            }
        }
    }

    fn rewrite(&mut self) {
        let days = self.unarchived();
        for object in self.verified.clone() {
            let range = object.start..object.end;
            let late: Vec<_> = days.iter().filter(|usage| overlap(&day(usage.start), &range)).collect();
            if late.is_empty() || self.tiers.is_sealing_behind || self.is_written(&range) {
                continue;
            }
            // More may come: an object that is written again and again is waited for like a day.
            if !self.is_due(object.changed_at.plus(self.policy.archive_after)) {
                continue;
            }
            let samples = late.iter().map(|usage| usage.samples).sum::<u64>().max(object.samples);
            let bytes = object.bytes + late.iter().map(|usage| usage.late_bytes).sum::<u64>();
            self.push(Action::Rewrite(object.clone()), range, samples, bytes);
        }
    }

    /// Whether a move of this plan writes the range.
    fn is_written(&self, range: &Range<Timestamp>) -> bool {
        self.moves.iter().any(|m| m.action.writes() && overlap(&m.range, range))
    }

    /// Keeps the number of objects that a run writes in its limit; the oldest go first.
    fn cut(&mut self) {
        self.is_cut = self.moves.len() > WRITES_MAX;
        self.moves.truncate(WRITES_MAX);
    }

    fn drop_days(&mut self) {
        for usage in &self.tiers.usage {
            let range = day(usage.start);
            let may_go = !self.is_held(&range) && (is_settled(usage) || self.is_written(&range));
            if !may_go {
                continue;
            }
            if usage.segments > 0 && self.is_due(range.end.plus(self.keep.minutes)) {
                self.drop(Action::DropMinutes, range, usage.segments, usage.head_bytes + usage.body_bytes);
            } else if usage.bodies > 0 && self.is_due(range.end.plus(self.keep.samples)) {
                self.drop(Action::DropBodies, range, usage.bodies, usage.body_bytes);
            }
        }
        for usage in &self.tiers.usage {
            let range = day(usage.start);
            if usage.hours > 0 && !self.is_held(&range) && self.is_due(range.end.plus(self.keep.hours)) {
                self.drop(Action::DropHours, range, usage.hours, usage.hour_bytes);
            }
        }
    }

    fn drop_journal(&mut self) {
        for (start, usage) in &self.tiers.journal {
            let range = day(*start);
            let due = self.is_due(range.end.plus(self.policy.alarm_journal));
            if due && usage.rows > 0 && !self.is_held(&range) {
                self.drop(Action::DropJournal, range, usage.rows, usage.bytes);
            }
        }
    }

    /// Adds to the last move if it is of the same kind and ends where this begins.
    fn drop(&mut self, action: Action, range: Range<Timestamp>, rows: u64, bytes: u64) {
        match self.moves.last_mut() {
            Some(last) if last.action == action && last.range.end == range.start => {
                last.range.end = range.end;
                last.rows += rows;
                last.bytes += bytes;
            }
            _ => self.push(action, range, rows, bytes),
        }
    }

    fn retire(&mut self) {
        let Some(keep) = self.keep.archive else { return };
        for object in self.verified.clone() {
            let range = object.start..object.end;
            let is_free = !self.is_held(&range) && !self.is_written(&range) && !self.has_bodies(&range);
            if self.is_due(object.end.plus(keep)) && is_free {
                self.push(Action::Retire(object.clone()), range, object.samples, object.bytes);
            }
        }
    }

    /// Whether the store still has bodies there that no move of this plan drops: what is in the store is in an object.
    fn has_bodies(&self, range: &Range<Timestamp>) -> bool {
        let drops = |m: &Move| matches!(m.action, Action::DropBodies | Action::DropMinutes);
        self.tiers.usage.iter().any(|usage| {
            let day = day(usage.start);
            let has = usage.bodies > 0 || usage.late > 0;
            has && overlap(&day, range) && !self.moves.iter().any(|m| drops(m) && overlap(&m.range, &day))
        })
    }

    fn delete(&mut self) {
        for object in &self.tiers.objects {
            let range = object.start..object.end;
            let may_go = match object.state {
                ObjectState::Verified => false,
                ObjectState::Writing => true,
                ObjectState::Superseded => !self.is_held(&range),
            };
            if may_go && self.is_due(object.changed_at.plus(OBJECT_GRACE)) {
                self.push(Action::Delete(object.clone()), range, object.samples, object.bytes);
            }
        }
    }
}

fn is_settled(usage: &DayUsage) -> bool {
    usage.archived >= usage.segments && usage.late == 0
}
