//! From decisions to outputs: the newest state of each alarm, never more, never late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alarm_output::{AlarmFilter, AlarmKey, OutputRule};
use plant_model::{AlarmPriority, AlarmState, AlarmTransition};
use tokio::sync::Notify;

type Newest = BTreeMap<AlarmKey, (AlarmState, AlarmPriority)>;

/// What waits for one output.
#[derive(Debug)]
pub struct Inbox {
    filter: AlarmFilter,
    /// At most one entry for each alarm that is configured.
    newest: Mutex<Newest>,
    changed: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, alarm: &AlarmKey, state: AlarmState, priority: AlarmPriority) {
        if self.filter.watches(alarm, priority) {
            self.lock().insert(alarm.clone(), (state, priority));
            self.changed.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Newest {
        std::mem::take(&mut self.lock())
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Where decisions are left for the outputs. Without outputs it does nothing.
#[derive(Debug, Default)]
pub struct OutputFeed {
    inboxes: Vec<Arc<Inbox>>,
}

impl OutputFeed {
    /// An inbox with what concerns one output from now on.
    pub fn open(&mut self, rule: &OutputRule) -> Arc<Inbox> {
        let filter = rule.filter.clone();
        let inbox = Arc::new(Inbox { filter, newest: Mutex::default(), changed: Notify::new() });
        self.inboxes.push(Arc::clone(&inbox));
        inbox
    }

    /// An alarm stands so, for example since before a restart.
    pub fn stands(&self, alarm: &AlarmKey, state: AlarmState, priority: AlarmPriority) {
        self.inboxes.iter().for_each(|inbox| inbox.put(alarm, state, priority));
    }

    /// An alarm moved.
    pub fn moved(&self, transition: &AlarmTransition) {
        if self.inboxes.is_empty() {
            return;
        }
        let alarm = AlarmKey { machine: transition.machine.clone(), alarm: transition.alarm.clone() };
        self.stands(&alarm, transition.to, transition.priority);
    }
}
