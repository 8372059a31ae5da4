//! The client of an external MQTT 5 broker: the other place where gateways publish (`ingestion::Broker`).
//!
//! ```text
//! gateway -> broker -> Link (one connection at a time) -> BrokerEvent -> consumer
//! gateway <- broker <- Link <- BrokerClient::publish, Receipt::accept <------+
//! ```
//!
//! Invariants
//! - Who published is what the topic says: the broker's access rules let a gateway publish below its own topics only.
//!   Messages on other topics are counted and dropped.
//! - A QoS 1 message is acknowledged to the broker when its receipt is decided. What the broker keeps or loses
//!   decides nothing: gateways free a batch on the backend's own acknowledgement (SPEC section 3).
//! - One event loop serves one connection and is dropped on any error: no queue, no packet id and no session outlive
//!   it.
//! - A broker does not tell who is connected: a gateway is there while it is heard, and gone after
//!   [`SILENCE_MAX`].

mod dial;
mod link;
mod metrics;
mod presence;
mod probe;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use ingestion::{Broker, BrokerEvent, GatewayIdentity, PublishError};
use protocol::{Channel, Topic};
use tokio::sync::mpsc;

pub use dial::{Address, AddressError, Credentials, Dial};
pub use link::Link;
pub use metrics::{Metrics, Unusable};
pub use presence::SILENCE_MAX;
pub use probe::{Answer, knock};

use presence::Presence;

/// Events between the link and its consumer, as many as the endpoint's. Full, the link stops reading.
const EVENTS_MAX: usize = 64;

/// Messages that wait for the broker: the acknowledgements of a few hundred gateways. Full, publishing fails.
const OUTBOUND_MAX: usize = 1_024;

/// A message on its way to a gateway.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metrics: Metrics,
    presence: Mutex<Presence>,
}

impl Shared {
    /// Changes or asks who is there.
    pub(crate) fn presence<T>(&self, act: impl FnOnce(&mut Presence) -> T) -> T {
        act(&mut self.presence.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The handle of a link. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BrokerClient {
    shared: Arc<Shared>,
    outbound: mpsc::Sender<Outbound>,
    address: Address,
}

/// A link to a broker, its handle, and what comes over it. Nothing happens before [`Link::run`].
#[must_use]
pub fn link(dial: Dial) -> (Link, BrokerClient, mpsc::Receiver<BrokerEvent>) {
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let (outbound, waiting) = mpsc::channel(OUTBOUND_MAX);
    let shared = Arc::new(Shared { metrics: Metrics::default(), presence: Mutex::default() });
    let client = BrokerClient { shared: Arc::clone(&shared), outbound, address: dial.address.clone() };
    (Link::new(dial, shared, events, waiting), client, inbox)
}

impl BrokerClient {
    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where the broker is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Gateways that are there.
    #[must_use]
    pub fn gateways_present(&self) -> usize {
        self.shared.presence(|presence| presence.count())
    }
}

impl Broker for BrokerClient {
    /// Whether the gateway is subscribed the broker alone knows; a message without a subscriber is gone.
    fn publish(
        &self,
        identity: &GatewayIdentity,
        channel: Channel,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        PublishError::check(channel, &payload)?;
        let is_there = self.shared.presence(|presence| presence.is_there(identity, Instant::now()));
        if !is_there || !self.shared.metrics.is_connected() {
            return Err(PublishError::NotConnected(identity.clone()));
        }
        let GatewayIdentity { tenant, gateway } = identity.clone();
        let topic = Topic { tenant, gateway, channel }.to_string();
        self.outbound.try_send(Outbound { topic, payload }).map_err(|_| PublishError::Full(identity.clone()))
    }
}
