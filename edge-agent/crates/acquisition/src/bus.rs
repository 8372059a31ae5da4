//! Who is asked next on a connection that several units share.
//!
//! One request travels at a time. Units that answer are served in the order in which their polls fell
//! due; one that did not answer its last request lets all others go first, for at most 9 times what that
//! cost, so that a unit that falls silent costs them one time-out and not one for each of its requests. A unit that does not answer is silent after two requests (one, if it never answered on this
//! connection) and from then on only probed: one short request under an exponential back-off. After a
//! request without an answer that took a time t, no probe of any unit begins for another 9 t, so that
//! silent units together take at most a tenth of the line as long as somebody else needs it.
//!
//! Alone on its connection a unit has three requests: many machines have few sockets to give away.

use std::sync::Arc;
use std::time::Duration;

use plant_model::Monotonic;

use crate::breaker::Breaker;
use crate::unit_plan::{Purpose, Refused, Tally, UnitPlan};
use crate::{ModbusConnection, PollBlock, Refusal, TagIndex};

/// The shared connection: what is due and who deserves to be asked. Time comes in as an argument.
#[derive(Debug)]
pub struct Bus {
    units: Vec<Unit>,
    /// No silent unit is probed before.
    probe_gate: Monotonic,
    /// Requests in a row without an answer, of units believed to answer.
    unanswered: u32,
}

#[derive(Debug)]
struct Unit {
    plan: UnitPlan,
    breaker: Breaker,
    /// Until then others go first.
    yields_until: Monotonic,
    /// Whether it fell silent by itself; else a gateway said so, and the connection works.
    gateway_spoke: bool,
}

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Nothing before this instant.
    Wait(Monotonic),
    /// This request.
    Ask(Enquiry),
}

/// A request to one unit.
#[derive(Debug, Clone)]
pub struct Enquiry {
    /// The position of the unit on its bus.
    pub unit: usize,
    /// What is asked.
    pub block: Arc<PollBlock>,
    /// Why.
    pub purpose: Purpose,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The registers.
    Words,
    /// An exception.
    Refused(Refusal),
    /// Nothing in time.
    Nothing,
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The registers can be used.
    Usable,
    /// The request was too much at once; smaller ones follow, and nothing is to be said yet.
    Narrowed,
    /// These tags are at fault and are not asked again for a while.
    Quarantined(Vec<TagIndex>),
    /// The tags of the request could not be read this time.
    Failed,
    /// The unit is silent; all its tags are lost.
    UnitLost,
    /// The connection may be dead: a new one is to be made at once.
    Suspect,
    /// Nobody answers: the connection is lost, and with it all units.
    ConnectionLost,
}

impl Bus {
    /// The most units on one connection: what one serial line can address.
    pub const UNITS_MAX: usize = 247;
    /// A silent unit costs its time and this many times as much before the next one may.
    const PROBE_REST: u32 = 9;
    const STRIKES_ALONE: u32 = 3;
    const STRIKES_SHARED: u32 = 2;
    /// So many requests in a row without an answer make a connection suspect.
    const UNANSWERED_MAX: u32 = 3;

    /// A bus whose schedules begin at `now`, for units with these names.
    #[must_use]
    pub fn new<'a>(units: impl Iterator<Item = (&'a ModbusConnection, &'a str)>, now: Monotonic) -> Self {
        let plans: Vec<_> = units.map(|(unit, name)| (UnitPlan::new(unit, name, now), name)).collect();
        let strikes = if plans.len() == 1 { Self::STRIKES_ALONE } else { Self::STRIKES_SHARED };
        let unit = |(plan, name)| Unit {
            plan,
            breaker: Breaker::new(name, strikes),
            yields_until: now,
            gateway_spoke: false,
        };
        Self { units: plans.into_iter().map(unit).collect(), probe_gate: now, unanswered: 0 }
    }

    /// A connection was made. What was under way on the one before is not asked again. If nobody was heard on the one before, everybody gets a new chance.
    pub fn connected(&mut self) {
        self.unanswered = 0;
        let nobody_answers = self.units.iter().all(|u| u.breaker.is_silent());
        for unit in &mut self.units {
            unit.plan.abandon();
            if nobody_answers {
                unit.breaker.forgive();
            } else {
                unit.breaker.connected();
            }
        }
    }

    /// There is no connection at `now`: what fell due is missed.
    pub fn skip(&mut self, now: Monotonic) {
        self.units.iter_mut().for_each(|unit| unit.plan.skip(now));
    }

    /// What the schedule of a unit asked for since this was called last.
    pub fn take_tally(&mut self, unit: usize) -> Tally {
        self.units[unit].plan.take_tally()
    }

    /// What is to be done at `now`.
    pub fn next(&mut self, now: Monotonic) -> Turn {
        for unit in self.units.iter_mut().filter(|u| u.breaker.is_silent()) {
            unit.plan.skip(now);
        }
        if let Some(enquiry) = self.probe(now).or_else(|| self.poll(now)) {
            return Turn::Ask(enquiry);
        }
        Turn::Wait(self.next_due(now))
    }

    /// When something is due next; `now` if something is.
    #[must_use]
    pub fn next_due(&self, now: Monotonic) -> Monotonic {
        let polls = self.units.iter().filter(|u| !u.breaker.is_silent()).map(|u| u.plan.ready_at());
        let gate = self.gate();
        let probes = self.units.iter().filter_map(|u| u.breaker.probe_at()).map(|at| at.max(gate));
        polls.chain(probes).min().unwrap_or(Monotonic::from_micros(u64::MAX)).max(now)
    }

    /// What is left of polls that were begun; for a driver that is to stop.
    pub fn next_under_way(&mut self, now: Monotonic) -> Option<Enquiry> {
        self.units.iter_mut().enumerate().filter(|(_, u)| !u.breaker.is_silent()).find_map(|(unit, u)| {
            let block = u.plan.take_under_way(now)?;
            Some(Enquiry { unit, block, purpose: Purpose::Poll })
        })
    }

    /// Where nobody answers, nobody is disturbed.
    fn gate(&self) -> Monotonic {
        let someone_answers = self.units.iter().any(|u| !u.breaker.is_silent());
        if someone_answers { self.probe_gate } else { Monotonic::from_micros(0) }
    }

    fn probe(&self, now: Monotonic) -> Option<Enquiry> {
        if now < self.gate() {
            return None;
        }
        let waiting = self.units.iter().enumerate().filter_map(|(i, u)| Some((u.breaker.probe_at()?, i)));
        let (_, unit) = waiting.filter(|(at, _)| *at <= now).min()?;
        Some(Enquiry { unit, block: self.units[unit].plan.probe(), purpose: Purpose::Probe })
    }

    fn poll(&mut self, now: Monotonic) -> Option<Enquiry> {
        let ready = |u: &Unit| !u.breaker.is_silent() && u.plan.ready_at() <= now;
        let waiting = self.units.iter().enumerate().filter(|(_, u)| ready(u));
        let (unit, _) = waiting.min_by_key(|(_, u)| (u.yields_until > now, u.plan.due()))?;
        match self.units[unit].plan.take(now) {
            Some((purpose, block)) => Some(Enquiry { unit, block, purpose }),
            // Its class has no tag left; its next instant lies ahead now.
            None => self.poll(now),
        }
    }

    /// Takes what came of a request that was sent at `begun` and kept the line busy until `now`.
    pub fn handle_reply(
        &mut self,
        enquiry: &Enquiry,
        reply: Reply,
        begun: Monotonic,
        now: Monotonic,
    ) -> Verdict {
        let unit = &mut self.units[enquiry.unit];
        match reply {
            Reply::Words => {
                self.unanswered = 0;
                unit.yields_until = now;
                unit.breaker.answered();
                unit.plan.pass(enquiry.purpose, &enquiry.block, now.since(begun));
                Verdict::Usable
            }
            Reply::Refused(refusal) if refusal.is_silence() => {
                self.unanswered = 0;
                unit.gateway_spoke = true;
                self.strike(enquiry.unit, now.since(begun), now)
            }
            Reply::Refused(refusal) => {
                self.unanswered = 0;
                unit.breaker.answered();
                match unit.plan.refuse(enquiry.purpose, &enquiry.block, refusal, now) {
                    Refused::Split => Verdict::Narrowed,
                    Refused::Quarantined(tags) => Verdict::Quarantined(tags),
                    Refused::Whole => Verdict::Failed,
                }
            }
            Reply::Nothing => {
                unit.gateway_spoke = false;
                self.unanswered += u32::from(unit.breaker.is_alive());
                self.strike(enquiry.unit, now.since(begun), now)
            }
        }
    }

    fn strike(&mut self, unit: usize, cost: Duration, now: Monotonic) -> Verdict {
        let rest = cost * Self::PROBE_REST;
        self.probe_gate = self.probe_gate.max(now).plus(rest);
        self.units[unit].yields_until = now.plus(rest);
        let is_lost = self.units[unit].breaker.struck(now);
        if self.units.iter().all(|u| u.breaker.is_silent() && !u.gateway_spoke) {
            return Verdict::ConnectionLost;
        }
        if is_lost {
            return Verdict::UnitLost;
        }
        if self.unanswered >= Self::UNANSWERED_MAX {
            return Verdict::Suspect;
        }
        Verdict::Failed
    }
}

#[cfg(test)]
mod tests;
