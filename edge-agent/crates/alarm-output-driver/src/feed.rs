//! From decisions to outputs: the newest state of each alarm, never more, never late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use alarm_output::{AlarmFilter, AlarmKey, OutputRule};
use plant_model::{AlarmPriority, AlarmState, AlarmTransition, MachineId};
use tokio::sync::Notify;

/// What waits for one output.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// At most one entry for each alarm that is configured.
    pub(crate) alarms: BTreeMap<AlarmKey, (AlarmState, AlarmPriority)>,
    /// The machine that is switched was lost.
    pub(crate) is_lost: bool,
    /// It is there again; if it was lost, too, then before.
    pub(crate) is_back: bool,
}

/// Brings one output its news.
#[derive(Debug)]
pub struct Inbox {
    filter: AlarmFilter,
    /// The machine that is switched, if it is one.
    machine: Option<MachineId>,
    news: Mutex<News>,
    changed: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, alarm: &AlarmKey, state: AlarmState, priority: AlarmPriority) {
        if self.filter.watches(alarm, priority) {
            self.lock().alarms.insert(alarm.clone(), (state, priority));
            self.changed.notify_one();
        }
    }

    fn link(&self, is_up: bool) {
        let mut news = self.lock();
        news.is_lost |= !is_up;
        news.is_back = is_up;
        self.changed.notify_one();
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut self.lock())
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Where decisions are left for the outputs. Without outputs it does nothing. Outputs come and go while it is used.
#[derive(Debug, Default)]
pub struct OutputFeed {
    inboxes: RwLock<Vec<Arc<Inbox>>>,
}

impl OutputFeed {
    /// An inbox with what concerns one output from now on; `machine` is the one that it switches.
    pub fn open(&self, rule: &OutputRule, machine: Option<&MachineId>) -> Arc<Inbox> {
        let (filter, machine) = (rule.filter.clone(), machine.cloned());
        let inbox = Arc::new(Inbox { filter, machine, news: Mutex::default(), changed: Notify::new() });
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&inbox));
        inbox
    }

    /// Nothing comes into this inbox any more.
    pub fn close(&self, inbox: &Arc<Inbox>) {
        let mut inboxes = self.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
    }

    fn inboxes(&self) -> RwLockReadGuard<'_, Vec<Arc<Inbox>>> {
        self.inboxes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An alarm stands so, for example since before a restart.
    pub fn stands(&self, alarm: &AlarmKey, state: AlarmState, priority: AlarmPriority) {
        self.inboxes().iter().for_each(|inbox| inbox.put(alarm, state, priority));
    }

    /// There is no such alarm any more, whatever its priority was.
    pub fn gone(&self, alarm: &AlarmKey) {
        self.stands(alarm, AlarmState::Normal, AlarmPriority::Critical);
    }

    /// An alarm moved.
    pub fn moved(&self, transition: &AlarmTransition) {
        if self.inboxes().is_empty() {
            return;
        }
        let alarm = AlarmKey { machine: transition.machine.clone(), alarm: transition.alarm.clone() };
        self.stands(&alarm, transition.to, transition.priority);
    }

    /// A machine was lost: what is switched there may change unseen, by a restart for example.
    pub fn machine_lost(&self, machine: &MachineId) {
        self.tell_switching(machine, false);
    }

    /// A machine is there again.
    pub fn machine_back(&self, machine: &MachineId) {
        self.tell_switching(machine, true);
    }

    fn tell_switching(&self, machine: &MachineId, is_up: bool) {
        let inboxes = self.inboxes();
        let switching = inboxes.iter().filter(|inbox| inbox.machine.as_ref() == Some(machine));
        switching.for_each(|inbox| inbox.link(is_up));
    }
}
