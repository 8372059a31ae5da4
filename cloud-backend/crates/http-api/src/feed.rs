//! The latest state of every tenant and the events that change it.
//!
//! The program applies what gateways send; the API reads the state and follows the events. Applying never
//! waits for a reader: the events of a tenant go into a ring, and a reader that falls behind is told to
//! fetch everything again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fleet::{AlarmRow, GatewayHealth, GatewayLatest, LiveView, Presence};
use plant_model::{AlarmTransition, GatewayId, TenantId, Timestamp};
use protocol::{Catalogue, Live};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::body::{GatewayEvent, ResyncEvent, Transition, ValuesEvent};

/// Events of one tenant that a reader may be behind: two seconds of a thousand machines, and some 3 MB.
const BEHIND_MAX: usize = 2_048;

/// The live state of all tenants. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct LiveFeed {
    tenants: Arc<RwLock<HashMap<TenantId, Arc<TenantFeed>>>>,
}

/// One event, made into text once for all readers.
#[derive(Debug, Clone)]
pub(crate) struct FeedEvent {
    pub(crate) name: &'static str,
    pub(crate) data: Arc<str>,
}

impl FeedEvent {
    fn new(name: &'static str, body: &impl Serialize) -> Self {
        let json = serde_json::to_string(body).expect("events have text keys and no failing parts");
        Self { name, data: json.into() }
    }

    pub(crate) fn resync() -> Self {
        Self::new("resync", &ResyncEvent {})
    }
}

/// A reader's place in the events of a tenant.
pub(crate) struct Subscription {
    /// The values at the beginning.
    pub(crate) snapshot: Vec<FeedEvent>,
    /// Everything after it.
    pub(crate) events: broadcast::Receiver<FeedEvent>,
}

struct TenantFeed {
    view: Mutex<LiveView>,
    events: broadcast::Sender<FeedEvent>,
}

impl TenantFeed {
    fn new() -> Self {
        Self { view: Mutex::new(LiveView::new()), events: broadcast::channel(BEHIND_MAX).0 }
    }

    fn view(&self) -> MutexGuard<'_, LiveView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Call it while the view is locked: then no reader sees an event twice or misses one.
    fn send(&self, name: &'static str, body: impl FnOnce() -> FeedBody) {
        if self.events.receiver_count() > 0 {
            let event = match body() {
                FeedBody::Values(body) => FeedEvent::new(name, &body),
                FeedBody::Gateway(body) => FeedEvent::new(name, &body),
                FeedBody::Transition(body) => FeedEvent::new(name, &body),
                FeedBody::Resync => FeedEvent::resync(),
            };
            // An error only says that the last reader has just gone.
            let _ = self.events.send(event);
        }
    }
}

enum FeedBody {
    Values(ValuesEvent),
    Gateway(GatewayEvent),
    Transition(Box<Transition>),
    Resync,
}

impl LiveFeed {
    /// A feed that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the store knew of a tenant, once at start.
    pub fn restore(&self, tenant: &TenantId, latest: &[GatewayLatest], active: &[AlarmRow]) {
        let feed = self.tenant(tenant);
        let mut view = feed.view();
        latest.iter().for_each(|gateway| view.restore(gateway));
        active.iter().for_each(|alarm| view.restore_alarm(alarm));
    }

    /// A gateway connected or disconnected.
    pub fn presence(&self, tenant: &TenantId, gateway: &GatewayId, presence: Presence, at: Timestamp) {
        let feed = self.tenant(tenant);
        let mut view = feed.view();
        if view.set_presence(gateway, presence, at) {
            let online = presence == Presence::Online;
            feed.send("gateway", || FeedBody::Gateway(GatewayEvent { gateway: gateway.to_string(), online }));
        }
    }

    /// Something came from a gateway.
    pub fn heard_from(&self, tenant: &TenantId, gateway: &GatewayId, at: Timestamp) {
        self.tenant(tenant).view().heard_from(gateway, at);
    }

    /// A gateway said what it reads. When that is news, readers are told to fetch everything again.
    pub fn catalogue(&self, tenant: &TenantId, gateway: &GatewayId, catalogue: Arc<Catalogue>) {
        let feed = self.tenant(tenant);
        let mut view = feed.view();
        if view.catalogue(gateway) == Some(&catalogue) {
            return;
        }
        view.apply_catalogue(gateway, catalogue);
        feed.send("resync", || FeedBody::Resync);
    }

    /// A gateway sent its latest values.
    pub fn live(&self, tenant: &TenantId, gateway: &GatewayId, live: &Live) {
        let feed = self.tenant(tenant);
        let mut view = feed.view();
        for update in view.apply_live(gateway, live) {
            feed.send("values", || FeedBody::Values(ValuesEvent::of_update(&update)));
        }
        // The fast lane: what a person must see now, before it is stored anywhere.
        view.apply_transitions(gateway, &live.transitions);
        Self::announce(&feed, gateway, &live.transitions, None);
    }

    /// Alarm transitions were stored for the first time, at `stored_at`.
    pub fn stored_transitions(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        transitions: &[AlarmTransition],
        stored_at: Timestamp,
    ) {
        let feed = self.tenant(tenant);
        let mut view = feed.view();
        view.apply_transitions(gateway, transitions);
        Self::announce(&feed, gateway, transitions, Some(stored_at));
    }

    /// Call it while the view is locked.
    fn announce(
        feed: &TenantFeed,
        gateway: &GatewayId,
        transitions: &[AlarmTransition],
        stored_at: Option<Timestamp>,
    ) {
        for transition in transitions {
            let body = || FeedBody::Transition(Box::new(Transition::new(gateway, transition, stored_at)));
            feed.send("alarm", body);
        }
    }

    /// How a gateway itself is.
    #[must_use]
    pub fn health(&self, tenant: &TenantId, gateway: &GatewayId) -> GatewayHealth {
        self.read(tenant, |view| view.health(gateway))
    }

    /// Reads the state of a tenant. Nothing is applied meanwhile: be quick.
    pub(crate) fn read<T>(&self, tenant: &TenantId, read: impl FnOnce(&LiveView) -> T) -> T {
        let feed = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        match feed {
            Some(feed) => read(&feed.view()),
            None => read(&LiveView::new()),
        }
    }

    /// Follows the events of a tenant. Only for a tenant that exists: it gets a place in memory.
    pub(crate) fn subscribe(&self, tenant: &TenantId) -> Subscription {
        let feed = self.tenant(tenant);
        let view = feed.view();
        let events = view.machines().flat_map(|machine| ValuesEvent::of_view(&machine));
        let snapshot = events.map(|event| FeedEvent::new("values", &event)).collect();
        Subscription { snapshot, events: feed.events.subscribe() }
    }

    fn tenant(&self, tenant: &TenantId) -> Arc<TenantFeed> {
        let known = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        known.unwrap_or_else(|| {
            let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(TenantFeed::new())))
        })
    }
}

impl fmt::Debug for LiveFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFeed").finish_non_exhaustive()
    }
}
