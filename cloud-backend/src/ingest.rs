//! From the events of the place where gateways publish to the tenants' workers. It never waits for a store: live values and presence
//! go on for everyone while one tenant's data cannot be written.

use std::collections::HashMap;
use std::sync::Arc;

use fleet::Presence;
use ingestion::{BrokerEvent, ConnectionId, GatewayIdentity, Inbound, Rejection};
use plant_model::TenantId;
use protocol::{Channel, CommandResult, Live};
use service_kit::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::inbox::{Inbox, Kind, Message, Room, inbox};
use crate::worker::{Shared, Worker};

/// Distributes the events.
pub(crate) struct Ingest {
    shared: Arc<Shared>,
    clock: Clock,
    inboxes: HashMap<TenantId, Inbox<Message>>,
    room: Room,
    workers: JoinSet<()>,
    /// The connection that speaks for a gateway now.
    connections: HashMap<GatewayIdentity, ConnectionId>,
}

impl Ingest {
    pub(crate) fn new(shared: Shared, clock: Clock) -> Self {
        let (inboxes, workers, connections) = (HashMap::new(), JoinSet::new(), HashMap::new());
        Self { shared: Arc::new(shared), clock, inboxes, room: Room::new(), workers, connections }
    }

    /// Works until the place has ended and all that it handed over is answered.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<impl Into<BrokerEvent>>) {
        while let Some(event) = events.recv().await {
            match event.into() {
                BrokerEvent::Connected { identity, connection } => self.connected(identity, connection),
                BrokerEvent::Disconnected { identity, connection } => {
                    self.disconnected(&identity, connection);
                }
                BrokerEvent::Publish(inbound) => self.publish(inbound),
            }
        }
        self.inboxes.clear();
        while let Some(ended) = self.workers.join_next().await {
            report(ended);
        }
    }

    fn connected(&mut self, identity: GatewayIdentity, connection: ConnectionId) {
        // The events of a take-over may interleave: the newest connection speaks for the gateway.
        if self.connections.get(&identity).is_none_or(|known| *known < connection) {
            self.set_presence(&identity, Presence::Online);
            self.connections.insert(identity, connection);
        }
    }

    fn disconnected(&mut self, identity: &GatewayIdentity, connection: ConnectionId) {
        if self.connections.get(identity) == Some(&connection) {
            self.connections.remove(identity);
            self.set_presence(identity, Presence::Offline);
        }
    }

    fn set_presence(&self, identity: &GatewayIdentity, presence: Presence) {
        self.shared.feed.presence(&identity.tenant, &identity.gateway, presence, self.clock.wall());
    }

    fn publish(&mut self, inbound: Inbound) {
        let kind = match inbound.channel {
            Channel::Hello => Kind::Hello,
            Channel::Catalogue => Kind::Catalogue,
            Channel::Stream(stream) => {
                Kind::Stream(self.shared.health.books.enter(&inbound.identity, stream))
            }
            Channel::Live => return self.live(inbound),
            Channel::Response => return self.response(inbound),
            Channel::Ack | Channel::Command => {
                return inbound.receipt.reject(Rejection::ImplementationSpecific);
            }
        };
        let Inbound { identity, payload, receipt, .. } = inbound;
        let received_at = self.clock.wall();
        self.shared.feed.heard_from(&identity.tenant, &identity.gateway, received_at);
        let tenant = identity.tenant.clone();
        let size_bytes = payload.len();
        let message = Message { identity, kind, payload, receipt, received_at };
        if let Err(message) = self.inbox_of(&tenant).put(message, size_bytes) {
            self.shared.health.overflows.add(1);
            warn!(tenant.id = %tenant, "too much waits to be stored; a message is refused and will come again");
            // Without an answer it would keep one of the places of its connection.
            message.receipt.reject(Rejection::QuotaExceeded);
        }
    }

    fn live(&self, inbound: Inbound) {
        let GatewayIdentity { tenant, gateway } = &inbound.identity;
        match Live::decode(&inbound.payload) {
            Ok(live) => {
                self.shared.feed.heard_from(tenant, gateway, self.clock.wall());
                self.shared.feed.live(tenant, gateway, &live);
                inbound.receipt.accept();
            }
            Err(error) => {
                self.shared.health.unreadable.add(1);
                debug!(tenant.id = %tenant, gateway.id = %gateway, %error, "live values cannot be read");
                inbound.receipt.reject(Rejection::PayloadFormatInvalid);
            }
        }
    }

    fn response(&self, inbound: Inbound) {
        let GatewayIdentity { tenant, gateway } = &inbound.identity;
        match CommandResult::decode(&inbound.payload) {
            Ok(result) => {
                self.shared.feed.heard_from(tenant, gateway, self.clock.wall());
                if !self.shared.commands.answered(tenant, gateway, result) {
                    debug!(tenant.id = %tenant, gateway.id = %gateway, "the answer to a command that nobody remembers");
                }
                inbound.receipt.accept();
            }
            Err(error) => {
                self.shared.health.unreadable.add(1);
                warn!(tenant.id = %tenant, gateway.id = %gateway, %error, "the answer to a command cannot be read");
                inbound.receipt.reject(Rejection::PayloadFormatInvalid);
            }
        }
    }

    fn inbox_of(&mut self, tenant: &TenantId) -> &Inbox<Message> {
        // Closed while we hold it: the worker panicked. A new one begins; what waited comes again.
        if self.inboxes.get(tenant).is_none_or(Inbox::is_closed) {
            while let Some(ended) = self.workers.try_join_next() {
                report(ended);
            }
            let (inbox, outlet) = inbox(self.room.clone());
            let worker = Worker::new(tenant.clone(), Arc::clone(&self.shared));
            self.workers.spawn(worker.run(outlet));
            self.inboxes.insert(tenant.clone(), inbox);
        }
        &self.inboxes[tenant]
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(cause) = ended {
        error!(error = %cause, "the worker of a tenant failed");
    }
}
