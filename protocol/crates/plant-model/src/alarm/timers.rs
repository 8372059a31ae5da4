//! The timers of an alarm, as lengths of time: they mean the same after a restart and whatever the wall
//! clock does.

use std::time::Duration;

/// What runs for an alarm. A timer that does not run is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlarmTimers {
    /// How much of the delay to the next raise or return has passed.
    pub delay_passed: Option<Duration>,
    /// How long until it calls again, if it is acknowledged and will.
    pub re_alarm_in: Option<Duration>,
    /// How long it is still hidden by a person.
    pub shelf_left: Option<Duration>,
}

impl AlarmTimers {
    /// Nothing runs.
    pub const NONE: Self = Self { delay_passed: None, re_alarm_in: None, shelf_left: None };

    /// Whether any of them runs.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::NONE
    }
}
