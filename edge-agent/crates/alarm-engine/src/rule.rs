//! One alarm: its condition, its gate, the delay that runs and its life.

use std::time::Duration;

use plant_model::{AlarmDefinition, AlarmFlags, AlarmState, AlarmTimers, Monotonic, TagId, Timestamp, Value};

use crate::EngineError;
use crate::condition::{self, Condition, Trigger, Verdict};
use crate::delay::Delay;
use crate::expression::Program;
use crate::input::Inputs;
use crate::lifecycle::{Lifecycle, Step, earlier};
use crate::snapshot::AlarmSnapshot;

/// In how many steps a timer is told to who notes it.
const STEPS: u32 = 32;

/// What made the process abnormal or normal.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub tag: Option<usize>,
    pub value: Option<Value>,
    pub at: Timestamp,
}

/// A step, and the evidence where the process took it.
pub(crate) type Move = (Step, Option<Evidence>);

#[derive(Debug)]
pub(crate) struct Rule {
    pub definition: AlarmDefinition,
    condition: Condition,
    gate: Option<Program>,
    /// What the gate said last; an alarm without one is never suppressed.
    suppress: Option<bool>,
    delay: Delay,
    evidence: Option<Evidence>,
    pub life: Lifecycle,
    /// What held before the first value: what is true of the process after a restart.
    before: bool,
}

impl Rule {
    pub(crate) fn new(
        definition: AlarmDefinition,
        covered: bool,
        position: &impl Fn(&TagId) -> Result<usize, EngineError>,
    ) -> Result<Self, EngineError> {
        let alarm = &definition.id;
        let number =
            |(field, value, needed)| EngineError::Number { alarm: alarm.clone(), field, value, needed };
        condition::check(&definition.condition).map_err(number)?;
        let broken = |field| move |source| EngineError::Expression { alarm: alarm.clone(), field, source };
        let condition = Condition::new(&definition.condition, covered, position, broken("expression"))?;
        let gate = definition.suppress_while.as_ref();
        let gate = gate.map(|text| condition::bind(text, position, broken("suppress_while"))).transpose()?;
        let suppress = gate.is_none().then_some(false);
        Ok(Self {
            condition,
            gate,
            suppress,
            delay: Delay::Idle,
            evidence: None,
            life: Lifecycle::default(),
            before: false,
            definition,
        })
    }

    pub(crate) const fn flags(&self) -> &AlarmFlags {
        &self.life.flags
    }

    /// Looks at the process and starts, keeps, rests or stops the delay.
    pub(crate) fn observe(&mut self, inputs: &Inputs, trigger: Trigger, now: Monotonic, wall: Timestamp) {
        if let Some(gate) = &self.gate {
            self.suppress = gate.run(|tag| inputs.number(tag)).or(self.suppress);
        }
        let active = self.life.flags.active;
        match (self.condition.judge(inputs, trigger, self.before, now), active) {
            (Verdict::Unknown, _) => self.delay.rest(now),
            (Verdict::Abnormal, false) | (Verdict::Normal, true) => {
                if self.delay.run(now) || self.evidence.is_none() {
                    self.evidence = Some(self.evidence(inputs, trigger, wall));
                }
            }
            (Verdict::Abnormal, true) | (Verdict::Normal, false) => self.delay.stop(),
        }
    }

    fn evidence(&self, inputs: &Inputs, trigger: Trigger, wall: Timestamp) -> Evidence {
        let tag = self.condition.deciding_tag(trigger);
        let at = match trigger {
            Trigger::Sample(tag) => inputs.at(tag),
            Trigger::Time | Trigger::Link => wall,
        };
        Evidence { tag, value: tag.and_then(|tag| inputs.value(tag)).cloned(), at }
    }

    /// The next step that is due. A cover that comes with the reason for a raise comes first.
    pub(crate) fn advance(&mut self, now: Monotonic) -> Option<Move> {
        if let Some(suppress) = self.suppress
            && suppress != self.life.flags.suppressed
        {
            return Some((self.life.suppress(suppress), None));
        }
        if self.delay_due_at().is_some_and(|due| due <= now) {
            self.delay.stop();
            let step = if self.life.flags.active {
                self.life.return_to_normal(self.definition.acknowledge, self.definition.latching)
            } else {
                self.life.raise()
            };
            return Some((step, self.evidence.take()));
        }
        self.life.expire(now).map(|step| (step, None))
    }

    fn delay_due_at(&self) -> Option<Monotonic> {
        self.delay.due_at(self.delay_length())
    }

    /// When something happens without a sample.
    pub(crate) fn due_at(&self) -> Option<Monotonic> {
        earlier(earlier(self.delay_due_at(), self.condition.due_at()), self.life.due_at())
    }

    fn delay_length(&self) -> Duration {
        if self.life.flags.active { self.definition.off_delay } else { self.definition.on_delay }
    }

    pub(crate) fn snapshot(&self, now: Monotonic) -> AlarmSnapshot {
        let timers = AlarmTimers {
            delay_passed: self.delay.passed(now),
            re_alarm_in: self.life.re_alarm_at.map(|at| at.since(now)),
            shelf_left: self.life.shelf_ends_at.map(|at| at.since(now)),
        };
        AlarmSnapshot { occurrence: self.life.occurrence, flags: self.life.flags, timers }
    }

    /// [`Self::snapshot`] if a timer runs, with what has passed of it in steps of a [`STEPS`]th of its
    /// length, so that who notes it has little to write.
    pub(crate) fn running(&self, now: Monotonic) -> Option<AlarmSnapshot> {
        let mut kept = self.snapshot(now);
        let AlarmTimers { delay_passed, re_alarm_in, shelf_left } = &mut kept.timers;
        let re_alarm = self.definition.re_alarm.unwrap_or_default();
        if let Some(passed) = delay_passed {
            *passed = whole_steps(*passed, self.delay_length());
        }
        for (left, full) in [(re_alarm_in, re_alarm), (shelf_left, self.definition.shelve_max)] {
            if let Some(left) = left {
                *left = full.saturating_sub(whole_steps(full.saturating_sub(*left), full));
            }
        }
        kept.timers.any().then_some(kept)
    }

    /// Takes up what a snapshot kept. A shelf ends at its instant of the wall clock or when the rest of its
    /// time has passed, whichever is first: that clock may have been set.
    pub(crate) fn restore(&mut self, kept: &AlarmSnapshot, now: Monotonic, wall: Timestamp) {
        let AlarmTimers { delay_passed, re_alarm_in, shelf_left } = kept.timers;
        let shelf_left = shelf_left.unwrap_or(Duration::MAX).min(self.definition.shelve_max);
        let left = |until: Timestamp| until.since(wall).min(shelf_left);
        // Nobody may have noted how long it was quiet already: then it keeps quiet once more in full.
        let quiet = |full: Duration| now.plus(re_alarm_in.unwrap_or(full).min(full));
        let is_quiet = kept.flags.state() == AlarmState::Acknowledged;
        self.life = Lifecycle {
            flags: kept.flags,
            occurrence: kept.occurrence,
            shelf_ends_at: kept.flags.shelved_until.map(|until| now.plus(left(until))),
            re_alarm_at: self.definition.re_alarm.filter(|_| is_quiet).map(quiet),
        };
        self.delay = delay_passed.map_or(Delay::Idle, |passed| Delay::Resting { passed });
        // A delay that was running says that the process had already changed sides.
        self.before = kept.flags.active != delay_passed.is_some();
    }
}

/// The largest multiple of a [`STEPS`]th of `full` in `passed`.
fn whole_steps(passed: Duration, full: Duration) -> Duration {
    let step = (full / STEPS).as_nanos();
    let over = passed.as_nanos().checked_rem(step).unwrap_or(0);
    passed.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or(0)))
}
