//! Who is connected now, and the way to each connection. At most one connection per identity.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::Channel;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{ConnectionId, GatewayIdentity, Metrics, PublishError};

/// A message on its way to a gateway.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) channel: Channel,
    pub(crate) payload: Bytes,
}

/// What the rest of the endpoint needs of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) connection: ConnectionId,
    pub(crate) outbound: mpsc::Sender<Outbound>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    /// Cancelled when a newer connection takes over.
    pub(crate) taken_over: CancellationToken,
    /// The serial number of the certificate.
    pub(crate) serial: Arc<str>,
    /// Cancelled when the certificate is revoked.
    pub(crate) revoked: CancellationToken,
}

/// The backend's channels a gateway is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(AtomicU8);

/// All connected gateways.
#[derive(Debug)]
pub(crate) struct Registry {
    lines: Mutex<HashMap<GatewayIdentity, Line>>,
    /// Serial numbers of certificates that open nothing.
    revoked: Mutex<Arc<HashSet<String>>>,
    connections_max: usize,
    metrics: Arc<Metrics>,
}

/// As many gateways as allowed are connected.
#[derive(Debug)]
pub(crate) struct Full;

/// A connection's entry; it goes with the connection, however that ends.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    identity: GatewayIdentity,
    connection: ConnectionId,
}

impl Registry {
    pub(crate) fn new(connections_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { lines: Mutex::default(), revoked: Mutex::default(), connections_max, metrics })
    }

    /// Enters a connection and tells an older one of the same gateway that it is taken over.
    pub(crate) fn register(
        self: &Arc<Self>,
        identity: &GatewayIdentity,
        line: Line,
    ) -> Result<Registration, Full> {
        let connection = line.connection;
        let mut lines = self.lines();
        if lines.len() >= self.connections_max && !lines.contains_key(identity) {
            return Err(Full);
        }
        if let Some(older) = lines.insert(identity.clone(), line) {
            older.taken_over.cancel();
        }
        drop(lines);
        self.metrics.opened();
        Ok(Registration { registry: Arc::clone(self), identity: identity.clone(), connection })
    }

    /// Replaces what is revoked and ends the connections that were made with it.
    ///
    /// It is set before the connections are looked through, and a connection enters itself before it asks
    /// [`Self::is_revoked`]: none slips between.
    pub(crate) fn revoke(&self, serials: HashSet<String>) {
        let serials = Arc::new(serials);
        *self.revoked.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&serials);
        for line in self.lines().values().filter(|line| serials.contains(&*line.serial)) {
            line.revoked.cancel();
        }
    }

    pub(crate) fn is_revoked(&self, serial: &str) -> bool {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }

    pub(crate) fn publish(
        &self,
        identity: &GatewayIdentity,
        channel: Channel,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let lines = self.lines();
        let line = lines.get(identity).ok_or_else(|| PublishError::NotConnected(identity.clone()))?;
        if !line.subscriptions.contains(channel) {
            return Err(PublishError::NotSubscribed { gateway: identity.clone(), channel });
        }
        line.outbound.try_send(Outbound { channel, payload }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::Full(identity.clone()),
            mpsc::error::TrySendError::Closed(_) => PublishError::NotConnected(identity.clone()),
        })
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<GatewayIdentity, Line>> {
        // Every critical section is one map operation: a panic elsewhere leaves the map whole.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.metrics.closed();
        let mut lines = self.registry.lines();
        if lines.get(&self.identity).is_some_and(|line| line.connection == self.connection) {
            lines.remove(&self.identity);
        }
    }
}

impl Subscriptions {
    pub(crate) fn insert(&self, channel: Channel) {
        self.0.fetch_or(bit(channel), Ordering::Release);
    }

    pub(crate) fn remove(&self, channel: Channel) {
        self.0.fetch_and(!bit(channel), Ordering::Release);
    }

    fn contains(&self, channel: Channel) -> bool {
        self.0.load(Ordering::Acquire) & bit(channel) != 0
    }
}

fn bit(channel: Channel) -> u8 {
    match channel {
        Channel::Ack => 1,
        Channel::Command => 2,
        Channel::Hello | Channel::Catalogue | Channel::Stream(_) | Channel::Live | Channel::Response => 0,
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{GatewayId, TenantId};

    use super::*;

    fn gateway(name: &str) -> GatewayIdentity {
        let (tenant, gateway) = (TenantId::new("acme"), GatewayId::new(name));
        GatewayIdentity { tenant: tenant.expect("valid"), gateway: gateway.expect("valid") }
    }

    fn line(connection: u64) -> (Line, mpsc::Receiver<Outbound>) {
        let (outbound, inbox) = mpsc::channel(2);
        let line = Line {
            connection: ConnectionId::new(connection),
            outbound,
            subscriptions: Arc::default(),
            taken_over: CancellationToken::new(),
            serial: format!("{connection:02x}").into(),
            revoked: CancellationToken::new(),
        };
        (line, inbox)
    }

    #[test]
    fn the_end_of_an_old_connection_does_not_remove_the_one_that_took_over() {
        let registry = Registry::new(10, Arc::default());
        let ((old, _old_inbox), (new, mut inbox)) = (line(1), line(2));
        let old_registration = registry.register(&gateway("a"), old.clone()).expect("room");
        let new_registration = registry.register(&gateway("a"), new.clone()).expect("room");
        assert!(old.taken_over.is_cancelled() && !new.taken_over.is_cancelled());
        drop(old_registration);
        new.subscriptions.insert(Channel::Ack);
        registry.publish(&gateway("a"), Channel::Ack, Bytes::from_static(b"x")).expect("connected");
        assert_eq!(inbox.try_recv().expect("queued").payload, "x");
        drop(new_registration);
        let error = registry.publish(&gateway("a"), Channel::Ack, Bytes::new()).expect_err("gone");
        assert!(matches!(error, PublishError::NotConnected(_)), "{error}");
    }

    #[test]
    fn a_certificate_that_is_revoked_ends_its_connection_and_opens_no_other() {
        let registry = Registry::new(10, Arc::default());
        let ((one, _), (other, _)) = (line(1), line(2));
        let _one = registry.register(&gateway("a"), one.clone()).expect("room");
        let _other = registry.register(&gateway("b"), other.clone()).expect("room");
        registry.revoke(HashSet::from(["01".to_owned()]));
        assert!(one.revoked.is_cancelled() && !other.revoked.is_cancelled());
        assert!(registry.is_revoked("01") && !registry.is_revoked("02"));
        registry.revoke(HashSet::new());
        assert!(!registry.is_revoked("01"));
    }

    #[test]
    fn a_full_registry_refuses_another_gateway_but_not_a_take_over() {
        let registry = Registry::new(1, Arc::default());
        let _first = registry.register(&gateway("a"), line(1).0).expect("room");
        assert!(registry.register(&gateway("b"), line(2).0).is_err());
        assert!(registry.register(&gateway("a"), line(3).0).is_ok());
    }

    #[test]
    fn a_full_queue_and_a_missing_subscription_are_told_apart() {
        let registry = Registry::new(1, Arc::default());
        let (line, _inbox) = line(1);
        let subscriptions = Arc::clone(&line.subscriptions);
        let _registration = registry.register(&gateway("a"), line).expect("room");
        let publish = |channel| registry.publish(&gateway("a"), channel, Bytes::new());
        assert!(matches!(publish(Channel::Command), Err(PublishError::NotSubscribed { .. })));
        subscriptions.insert(Channel::Command);
        assert!(matches!(publish(Channel::Ack), Err(PublishError::NotSubscribed { .. })));
        assert!(publish(Channel::Command).is_ok() && publish(Channel::Command).is_ok());
        assert!(matches!(publish(Channel::Command), Err(PublishError::Full(_))));
        subscriptions.remove(Channel::Command);
        assert!(matches!(publish(Channel::Command), Err(PublishError::NotSubscribed { .. })));
    }
}
