//! The promise that alarms are raised within their budgets, held against what was measured.
//!
//! Counted is the worst that the readings allow: the process may have changed right after the last good reading before
//! the one that decides. A machine that reports its changes (OPC UA) says by its silence that there was none; its
//! values count from their receipt. While a machine is lost nothing is counted: its communication alarm says that
//! nothing can be decided. A timer counts from the instant at which it was due.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use acquisition::Reading;
use edge_config::{Connection, MachineConfig};
use plant_model::{AlarmId, AlarmPriority, AlarmTransition, Monotonic, TransitionCause};
use serde::Serialize;
use tokio::sync::Notify;

/// How the alarms of all machines keep the promise, since the start of this process.
#[derive(Debug, Default)]
pub(crate) struct Punctuality {
    /// By priority.
    late: [AtomicU64; AlarmPriority::ALL.len()],
    /// Since [`Self::take`] was called last.
    late_lately: AtomicU64,
    longest_lately_us: AtomicU64,
    last: Mutex<Option<LateAlarm>>,
    /// An alarm was late.
    broken: Notify,
}

/// An alarm that was raised later than its budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LateAlarm {
    pub machine: String,
    pub alarm: String,
    pub occurrence: u64,
    pub at_ms: i64,
    pub took_ms: u64,
    pub budget_ms: u64,
}

/// What happened since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lately {
    pub late: u64,
    pub longest: Duration,
}

impl Punctuality {
    fn note(&self, t: &AlarmTransition, took: Duration, budget: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_lately_us.fetch_max(micros, Ordering::Relaxed);
        if took <= budget {
            return;
        }
        let whole_ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let late = LateAlarm {
            machine: t.machine.to_string(),
            alarm: t.alarm.to_string(),
            occurrence: t.occurrence,
            at_ms: t.decided_at.millis(),
            took_ms: whole_ms(took),
            budget_ms: whole_ms(budget),
        };
        tracing::error!(machine.id = %t.machine, alarm.id = %t.alarm, occurrence = t.occurrence,
            took_ms = late.took_ms, budget_ms = late.budget_ms,
            "an alarm was raised later than its budget: the machine, its bus or this gateway is too slow");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(late);
        self.late[t.priority as usize].fetch_add(1, Ordering::Relaxed);
        self.late_lately.fetch_add(1, Ordering::Relaxed);
        self.broken.notify_one();
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Lately {
        let longest = self.longest_lately_us.swap(0, Ordering::Relaxed);
        Lately { late: self.late_lately.swap(0, Ordering::Relaxed), longest: Duration::from_micros(longest) }
    }

    /// Returns when an alarm was late.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Late alarms by priority, the most urgent first; priorities without any are left out.
    pub(crate) fn late(&self) -> Vec<(&'static str, u64)> {
        let count = |p: &AlarmPriority| (p.name(), self.late[*p as usize].load(Ordering::Relaxed));
        AlarmPriority::ALL.iter().rev().map(count).filter(|(_, count)| *count > 0).collect()
    }

    /// The newest of them.
    pub(crate) fn last(&self) -> Option<LateAlarm> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Since when a decision could have been made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since {
    /// The value was read, or the timer was due.
    pub read_at: Monotonic,
    /// The process may have changed.
    pub changed_at: Monotonic,
}

impl From<Monotonic> for Since {
    fn from(at: Monotonic) -> Self {
        Self { read_at: at, changed_at: at }
    }
}

/// What the alarms of one machine have promised. The default has promised nothing.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    kept: Option<Arc<Punctuality>>,
    usual: Duration,
    budgets: HashMap<AlarmId, Duration>,
    /// Of a machine that is polled: when each tag was good last, over the link as it is.
    good_at: Vec<Option<Monotonic>>,
}

impl Promise {
    pub(crate) fn of(machine: &MachineConfig, usual: Duration, kept: Arc<Punctuality>) -> Self {
        let polled = match machine.connection {
            Connection::Modbus(_) => machine.tags.len(),
            Connection::OpcUa(_) => 0,
            // What the gateway measures of itself at leisure has no budget.
            Connection::Gateway => return Self::default(),
        };
        let budgets = machine.budgets.iter().map(|(alarm, budget)| (alarm.clone(), *budget)).collect();
        Self { kept: Some(kept), usual, budgets, good_at: vec![None; polled] }
    }

    /// Since when a reading could decide. It counts as the last good one from now on, if it is good.
    pub(crate) fn since(&mut self, reading: &Reading) -> Since {
        let at = reading.received_at;
        let is_good = reading.sample.quality.is_good();
        match self.good_at.get_mut(reading.tag.as_usize()) {
            // That a value is not good is known when the machine says so, or is given up.
            Some(good_at) if is_good => {
                Since { read_at: at, changed_at: good_at.replace(at).unwrap_or(at).min(at) }
            }
            Some(_) | None => at.into(),
        }
    }

    /// The link came or went.
    pub(crate) fn forget(&mut self) {
        self.good_at.fill(None);
    }

    /// Holds a decision against the budget of its alarm.
    pub(crate) fn judge(&self, t: &AlarmTransition, since: Since, decided_at: Monotonic) {
        let Some(kept) = self.kept.as_ref().filter(|_| t.cause == TransitionCause::Raised) else { return };
        let budget = self.budgets.get(&t.alarm).copied().unwrap_or(self.usual);
        kept.note(t, decided_at.since(since.changed_at), budget);
    }
}

#[cfg(test)]
mod tests {
    use acquisition::TagIndex;
    use plant_model::{AlarmState, Quality, Sample, Timestamp, Value};

    use super::*;
    use crate::board::tests::transition;

    const PRESS: &str = "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"h\"\n[[tags]]\nid = \"speed\"\n\
        data_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n[[alarms]]\nid = \"fast\"\ntag = \"speed\"\n\
        kind = \"high\"\nlimit = 80\nbudget_ms = 300\nmessage = \"Too fast\"\n";

    const fn at(millis: u64) -> Monotonic {
        Monotonic::from_micros(millis * 1_000)
    }

    fn reading(millis: u64, quality: Quality) -> Reading {
        let sample = Sample {
            value: Some(Value::Int(90)),
            quality,
            source_timestamp: None,
            gateway_timestamp: Timestamp::default(),
        };
        Reading { tag: TagIndex(0), sample, received_at: at(millis) }
    }

    fn promise() -> (Promise, Arc<Punctuality>) {
        let machine = edge_config::read_machine("press.toml".as_ref(), PRESS).expect("good");
        let kept = Arc::new(Punctuality::default());
        (Promise::of(&machine, Duration::from_millis(500), Arc::clone(&kept)), kept)
    }

    #[test]
    fn a_change_may_be_as_old_as_the_last_good_reading_before() {
        let (mut promise, _) = promise();
        let changed_at = |promise: &mut Promise, reading| promise.since(&reading).changed_at;
        assert_eq!(changed_at(&mut promise, reading(100, Quality::GOOD)), at(100), "nothing is known before");
        assert_eq!(changed_at(&mut promise, reading(300, Quality::GOOD)), at(100));
        assert_eq!(
            changed_at(&mut promise, reading(500, Quality::BAD_COMMUNICATION_ERROR)),
            at(500),
            "seen to be bad just now"
        );
        assert_eq!(changed_at(&mut promise, reading(700, Quality::GOOD)), at(300));
        promise.forget();
        assert_eq!(
            changed_at(&mut promise, reading(9_000, Quality::GOOD)),
            at(9_000),
            "it was lost, and said so"
        );
    }

    #[test]
    fn what_is_raised_beyond_its_own_budget_is_late_and_a_return_never_is() {
        let (promise, kept) = promise();
        let raised = transition(AlarmState::Unacknowledged);
        promise.judge(&raised, at(0).into(), at(300));
        promise.judge(&transition(AlarmState::Normal), at(0).into(), at(9_000));
        assert_eq!(kept.take(), Lately { late: 0, longest: Duration::from_millis(300) });
        promise.judge(&raised, at(0).into(), at(301));
        assert_eq!((kept.late(), kept.take().late, kept.take().late), (vec![("medium", 1)], 1, 0));
        let last = kept.last().expect("late");
        assert_eq!((last.alarm.as_str(), last.took_ms, last.budget_ms), ("fast", 301, 300));
        let other = AlarmTransition { alarm: AlarmId::new("slow").expect("valid"), ..raised };
        promise.judge(&other, at(0).into(), at(500));
        assert_eq!(kept.take().late, 0, "500 ms is the usual budget");
    }
}
