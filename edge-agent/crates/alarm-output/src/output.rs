//! One output: what is wanted, what is there, and what to do about the difference.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use plant_model::{AlarmPriority, AlarmState, Monotonic};

use crate::heartbeat::Heartbeat;
use crate::pace::Pace;
use crate::{AlarmKey, Drive, Level, Order, Outcome, OutputRule, Reason, Safe, Standing};

/// The waits after an order that failed.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// So often an output is driven to its safe level when the agent stops. A stop does not last for ever.
pub const STOP_ATTEMPTS: u32 = 3;

/// The wait between two of these attempts.
const STOP_RETRY: Duration = Duration::from_millis(500);

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Drives that were ordered.
    pub drives: u64,
    /// Drives that were confirmed.
    pub confirmed: u64,
    /// Drives after which something else was read back.
    pub differs: u64,
    /// Drives that were refused.
    pub refused: u64,
    /// Drives of which nothing is known.
    pub unknown: u64,
    /// Levels that were wanted, and no longer wanted before they were driven.
    pub coalesced: u64,
    /// Beats that were ordered.
    pub beats: u64,
    /// Beats that were refused or of which nothing is known.
    pub beats_failed: u64,
}

/// One output.
#[derive(Debug)]
pub struct Output {
    rule: OutputRule,
    /// The alarms that hold it on; at most those that are configured.
    holding: BTreeMap<AlarmKey, AlarmPriority>,
    /// What was confirmed last; `None` if nothing is known.
    actual: Option<Level>,
    driving: Option<Level>,
    pace: Pace,
    retry_at: Monotonic,
    retry_wait: Duration,
    refresh_at: Option<Monotonic>,
    heartbeat: Option<Heartbeat>,
    stopping: Option<Stopping>,
    fault: Option<String>,
    tally: Tally,
}

#[derive(Debug)]
struct Stopping {
    attempts_left: u32,
}

impl Output {
    /// An output of which nothing is known yet: it is driven once in any case.
    #[must_use]
    pub fn new(rule: OutputRule) -> Self {
        Self {
            holding: BTreeMap::new(),
            actual: None,
            driving: None,
            pace: Pace::new(rule.pacing),
            retry_at: Monotonic::default(),
            retry_wait: RETRY_FIRST,
            refresh_at: None,
            heartbeat: rule.heartbeat.map(Heartbeat::new),
            stopping: None,
            fault: None,
            tally: Tally::default(),
            rule,
        }
    }

    /// Its rule.
    #[must_use]
    pub const fn rule(&self) -> &OutputRule {
        &self.rule
    }

    /// What it should be at.
    #[must_use]
    pub fn desired(&self) -> Level {
        match (&self.stopping, self.rule.safe) {
            (Some(_), Safe::Driven(level)) => level,
            (Some(_), Safe::Kept) | (None, _) if self.holding.is_empty() => Level::Off,
            (Some(_), Safe::Kept) | (None, _) => Level::On,
        }
    }

    /// What was confirmed last; `None` if that is not known.
    #[must_use]
    pub const fn actual(&self) -> Option<Level> {
        self.actual
    }

    /// Why it is not known to be as it should be, after an order that failed.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// What happened since the start.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// An alarm is in this state now. States in between may be left out.
    pub fn handle_alarm(&mut self, alarm: AlarmKey, state: AlarmState, priority: AlarmPriority) {
        if !self.rule.filter.watches(&alarm, priority) {
            return;
        }
        let before = self.desired();
        if self.rule.when.holds(state) {
            self.holding.insert(alarm, priority);
        } else {
            self.holding.remove(&alarm);
        }
        if self.desired() != before {
            self.want_anew(before);
        }
    }

    /// What is wanted now need not wait for what failed before.
    fn want_anew(&mut self, before: Level) {
        if self.driving != Some(before) && self.actual != Some(before) {
            self.tally.coalesced += 1;
        }
        self.retry_at = Monotonic::default();
        self.retry_wait = RETRY_FIRST;
    }

    /// What is switched was lost: it may change unseen, by a restart for example.
    pub fn handle_lost(&mut self) {
        self.actual = None;
    }

    /// What is switched is there again: what failed before need not be waited for.
    pub fn handle_back(&mut self) {
        self.retry_at = Monotonic::default();
        self.retry_wait = RETRY_FIRST;
    }

    /// The agent stops: from now on the safe level is wanted, or nothing, and nothing else matters.
    pub fn handle_stop(&mut self) {
        let before = self.desired();
        let attempts_left = if self.rule.safe == Safe::Kept { 0 } else { STOP_ATTEMPTS };
        self.stopping = Some(Stopping { attempts_left });
        self.heartbeat = None;
        self.refresh_at = None;
        self.retry_at = Monotonic::default();
        if self.desired() != before {
            self.want_anew(before);
        }
    }

    /// Whether there is nothing left to do after [`Self::handle_stop`].
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let done = |s: &Stopping| s.attempts_left == 0 || self.is_safe();
        self.driving.is_none() && self.stopping.as_ref().is_some_and(done)
    }

    /// Whether it may be left alone when the agent ends.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        match self.rule.safe {
            Safe::Driven(level) => self.actual == Some(level),
            Safe::Kept => true,
        }
    }

    /// When [`Self::next_order`] is to be asked again, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let beat = self.heartbeat.as_ref().and_then(Heartbeat::poll_timeout);
        [self.drive_at(), beat].into_iter().flatten().min()
    }

    fn drive_at(&self) -> Option<Monotonic> {
        let is_there = self.actual == Some(self.desired());
        match (&self.stopping, self.driving) {
            (_, Some(_)) => None,
            (Some(stopping), None) => (!is_there && stopping.attempts_left > 0).then_some(self.retry_at),
            (None, None) => {
                let wanted_at = if is_there { self.refresh_at? } else { self.retry_at };
                Some(wanted_at.max(self.pace.free_at()))
            }
        }
    }

    /// What is to be ordered now. Ask until there is nothing.
    pub fn next_order(&mut self, now: Monotonic) -> Option<Order> {
        if let Some(number) = self.heartbeat.as_mut().and_then(|h| h.next(now)) {
            self.tally.beats += 1;
            return Some(Order::Beat(number));
        }
        if self.drive_at()? > now {
            return None;
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.attempts_left -= 1;
        }
        self.pace.started(now);
        self.tally.drives += 1;
        let drive = self.drive();
        self.driving = Some(drive.level);
        Some(Order::Drive(drive))
    }

    fn drive(&self) -> Drive {
        let standing = |(alarm, priority): (&AlarmKey, &AlarmPriority)| Standing {
            alarm: alarm.clone(),
            priority: *priority,
        };
        let mut alarms: Vec<Standing> = self.holding.iter().map(standing).collect();
        alarms.sort_by_key(|s| Reverse(s.priority));
        alarms.truncate(Drive::ALARMS_MAX);
        let reason = if self.stopping.is_some() { Reason::Stop } else { Reason::Alarms };
        Drive { level: self.desired(), reason, alarms, alarms_total: self.holding.len() }
    }

    /// What became of an order.
    pub fn handle_outcome(&mut self, order: &Order, outcome: &Outcome, now: Monotonic) {
        match order {
            Order::Drive(drive) => self.driven(drive.level, outcome, now),
            Order::Beat(_) => self.beaten(outcome, now),
        }
    }

    fn driven(&mut self, level: Level, outcome: &Outcome, now: Monotonic) {
        self.driving = None;
        let fault = match outcome {
            Outcome::Confirmed => {
                self.tally.confirmed += 1;
                self.confirmed(level, now);
                return;
            }
            Outcome::Differs { read_back } => {
                self.tally.differs += 1;
                format!("it was driven {} and reads {read_back}", level.name())
            }
            Outcome::Refused { reason } => {
                self.tally.refused += 1;
                reason.clone()
            }
            Outcome::Unknown { reason } => {
                self.tally.unknown += 1;
                reason.clone()
            }
        };
        self.fault = Some(fault);
        self.actual = None;
        self.wait_after_failure(level, now);
    }

    fn confirmed(&mut self, level: Level, now: Monotonic) {
        self.actual = Some(level);
        self.fault = None;
        self.retry_at = now;
        self.retry_wait = RETRY_FIRST;
        self.refresh_at = self.rule.refresh.map(|after| now.plus(after));
    }

    fn wait_after_failure(&mut self, level: Level, now: Monotonic) {
        if self.stopping.is_some() {
            self.retry_at = now.plus(STOP_RETRY);
        } else if level == self.desired() {
            self.retry_at = now.plus(self.retry_wait);
            self.retry_wait = (self.retry_wait * 2).min(RETRY_LONGEST);
        }
    }

    /// A device may answer a beat by taking it back, so that one that reads differently has arrived.
    fn beaten(&mut self, outcome: &Outcome, now: Monotonic) {
        let has_failed = match outcome {
            Outcome::Confirmed | Outcome::Differs { .. } => false,
            Outcome::Refused { .. } | Outcome::Unknown { .. } => true,
        };
        self.tally.beats_failed += u64::from(has_failed);
        match &mut self.heartbeat {
            Some(heartbeat) if has_failed => heartbeat.failed(now),
            Some(heartbeat) => heartbeat.arrived(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
