//! The life of one alarm: the transition table of ISA-18.2, without the process and without delays.
//!
//! Kept are orthogonal flags; the state is derived from them (I before H before G before the latched
//! pair before the rest). What the process does is noted whatever hides the alarm: so nothing is lost
//! below a cover. When the last cover goes the alarm is what the condition says (rows 17, 19, 21):
//! unacknowledged if the process is abnormal, else normal.

use std::time::Duration;

use plant_model::{
    AcknowledgeClass, AlarmCommand, AlarmFlags, AlarmState, Monotonic, Timestamp, TransitionCause,
};

/// One row of the table, carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub from: AlarmState,
    pub cause: TransitionCause,
    pub occurrence: u64,
    /// What holds afterwards.
    pub flags: AlarmFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lifecycle {
    pub flags: AlarmFlags,
    pub occurrence: u64,
    /// When the shelf ends.
    pub shelf_ends_at: Option<Monotonic>,
    /// When an alarm that is acknowledged and still stands calls again.
    pub re_alarm_at: Option<Monotonic>,
}

impl Lifecycle {
    pub(crate) const fn state(&self) -> AlarmState {
        self.flags.state()
    }

    /// The process is abnormal (rows 1, 8, 12, 14).
    pub(crate) fn raise(&mut self) -> Step {
        self.occurrence += 1;
        self.step(TransitionCause::Raised, |flags| {
            flags.active = true;
            flags.acknowledged = false;
            flags.latched = false;
        })
    }

    /// The process is normal again (rows 4, 5, 6, 9, 10).
    pub(crate) fn return_to_normal(&mut self, class: AcknowledgeClass, latching: bool) -> Step {
        self.step(TransitionCause::ReturnedToNormal, |flags| {
            flags.active = false;
            flags.latched = latching;
            // What latches waits for a person in any case.
            flags.acknowledged |= class == AcknowledgeClass::OnReturn && !latching;
        })
    }

    /// Logic hides the alarm, or no longer does (rows 18, 19).
    pub(crate) fn suppress(&mut self, suppressed: bool) -> Step {
        let cause = if suppressed { TransitionCause::Suppressed } else { TransitionCause::Unsuppressed };
        self.step(cause, |flags| flags.suppressed = suppressed)
    }

    /// What is due by `now`: the end of the shelf (row 17), the re-alarm (row 3).
    pub(crate) fn expire(&mut self, now: Monotonic) -> Option<Step> {
        if self.shelf_ends_at.is_some_and(|at| at <= now) {
            self.shelf_ends_at = None;
            return Some(self.step(TransitionCause::ShelveExpired, |flags| flags.shelved_until = None));
        }
        if self.re_alarm_at.is_some_and(|at| at <= now) {
            self.occurrence += 1;
            return Some(self.step(TransitionCause::ReAlarmed, |flags| flags.acknowledged = false));
        }
        None
    }

    /// There is no such alarm any more; `None` if it left nothing to close.
    pub(crate) fn remove(&mut self) -> Option<Step> {
        (self.shelf_ends_at, self.re_alarm_at) = (None, None);
        (self.flags != AlarmFlags::NORMAL)
            .then(|| self.step(TransitionCause::Removed, |flags| *flags = AlarmFlags::NORMAL))
    }

    pub(crate) fn due_at(&self) -> Option<Monotonic> {
        earlier(self.shelf_ends_at, self.re_alarm_at)
    }

    /// Does what a person asks, or says why not. `re_alarm` is how long an acknowledged alarm keeps
    /// quiet.
    pub(crate) fn command(
        &mut self,
        command: &AlarmCommand,
        re_alarm: Option<Duration>,
        now: Monotonic,
        wall: Timestamp,
    ) -> Result<Step, &'static str> {
        self.check(command)?;
        Ok(match *command {
            AlarmCommand::Acknowledge => {
                let step = self.step(TransitionCause::Acknowledged, |flags| flags.acknowledged = true);
                self.re_alarm_at =
                    re_alarm.filter(|_| step.flags.state() == AlarmState::Acknowledged).map(|d| now.plus(d));
                step
            }
            AlarmCommand::Reset => self.step(TransitionCause::Reset, |flags| flags.latched = false),
            AlarmCommand::Shelve { duration } => {
                self.shelf_ends_at = Some(now.plus(duration));
                let until = Some(wall.plus(duration));
                self.step(TransitionCause::Shelved, |flags| flags.shelved_until = until)
            }
            AlarmCommand::Unshelve => {
                self.shelf_ends_at = None;
                self.step(TransitionCause::Unshelved, |flags| flags.shelved_until = None)
            }
            AlarmCommand::TakeOutOfService { review_at } => {
                self.step(TransitionCause::TakenOutOfService, |flags| {
                    flags.out_of_service = true;
                    flags.review_at = review_at;
                })
            }
            AlarmCommand::ReturnToService => self.step(TransitionCause::ReturnedToService, |flags| {
                flags.out_of_service = false;
                flags.review_at = None;
            }),
        })
    }

    /// Why the command cannot be carried out now.
    fn check(&self, command: &AlarmCommand) -> Result<(), &'static str> {
        use AlarmState::{
            Acknowledged, LatchedAcknowledged, LatchedUnacknowledged, Normal, OutOfService,
            ReturnedUnacknowledged, Shelved, SuppressedByDesign, Unacknowledged,
        };
        match (command, self.state()) {
            (AlarmCommand::Acknowledge, Unacknowledged | ReturnedUnacknowledged | LatchedUnacknowledged)
            | (AlarmCommand::Reset, LatchedAcknowledged) => Ok(()),
            (
                AlarmCommand::Acknowledge | AlarmCommand::Reset,
                Shelved | SuppressedByDesign | OutOfService,
            ) => Err("it is hidden and asks for nothing"),
            (AlarmCommand::Acknowledge, Acknowledged | LatchedAcknowledged) => {
                Err("it is acknowledged already")
            }
            (AlarmCommand::Acknowledge | AlarmCommand::Reset, Normal) => Err("there is nothing to do"),
            (AlarmCommand::Reset, LatchedUnacknowledged | ReturnedUnacknowledged) => {
                Err("acknowledge it first")
            }
            (AlarmCommand::Reset, Unacknowledged | Acknowledged) => Err("the process is still abnormal"),
            (AlarmCommand::Shelve { .. }, OutOfService) => Err("return it to service before you shelve it"),
            (AlarmCommand::Shelve { .. }, _) if self.flags.shelved_until.is_some() => {
                Err("unshelve it before you shelve it anew")
            }
            (AlarmCommand::Unshelve, _) if self.flags.shelved_until.is_none() => Err("it is not shelved"),
            (AlarmCommand::TakeOutOfService { .. }, OutOfService) => Err("it is out of service already"),
            (AlarmCommand::ReturnToService, _) if !self.flags.out_of_service => Err("it is in service"),
            (
                AlarmCommand::Shelve { .. }
                | AlarmCommand::Unshelve
                | AlarmCommand::TakeOutOfService { .. }
                | AlarmCommand::ReturnToService,
                _,
            ) => Ok(()),
        }
    }

    fn step(&mut self, cause: TransitionCause, change: impl FnOnce(&mut AlarmFlags)) -> Step {
        let from = self.state();
        change(&mut self.flags);
        if from.is_hidden() && !self.state().is_hidden() {
            self.flags.acknowledged = !self.flags.active;
            self.flags.latched = false;
        }
        if self.state() != AlarmState::Acknowledged {
            self.re_alarm_at = None;
        }
        Step { from, cause, occurrence: self.occurrence, flags: self.flags }
    }
}

/// The earlier of two instants, where there are any.
pub(crate) fn earlier(a: Option<Monotonic>, b: Option<Monotonic>) -> Option<Monotonic> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests;
