//! Configuration, start, and the handle by which the backend speaks to gateways.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingestion::{Broker, GatewayIdentity, PublishError};
use protocol::Channel;
use thiserror::Error;
use tls_kit::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::registry::Registry;
use crate::session::RECEIVE_MAXIMUM;
use crate::{EndpointEvent, Listener, Metrics};

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The address; port 0 takes a free one, see [`Endpoint::local_addr`].
    pub listen: SocketAddr,
    /// TLS of the endpoint. It must require and verify client certificates; who they are, the endpoint
    /// reads from them. It may be replaced while the endpoint listens.
    pub tls: ServerTls,
    /// Limits.
    pub limits: Limits,
}

/// Limits of the endpoint. The defaults suit a backend of a few hundred gateways.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Gateways connected at the same time. One more is refused with 0x89 (server busy).
    pub connections_max: usize,
    /// Connections that have not finished TLS and CONNECT; more wait in the system's backlog. It bounds
    /// what strangers can occupy.
    pub handshakes_max: usize,
    /// Time for TLS, and again for CONNECT. Generous for a cellular link.
    pub handshake_deadline: Duration,
    /// Events between the endpoint and its consumer. Full, readers of connections wait in turn; a batch
    /// is about 4 KB, the worst case is a MiB each.
    pub events_max: usize,
    /// Messages that wait for one gateway. Full, [`Broker::publish`] fails.
    pub outbound_max: usize,
    /// Longest time for the network to take the next 16 KiB of a connection.
    pub write_timeout: Duration,
    /// Longest time for saying goodbye to a gateway, and for the endpoint to stop.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            handshakes_max: 64,
            handshake_deadline: Duration::from_secs(10),
            events_max: 64,
            outbound_max: 32,
            write_timeout: Duration::from_secs(30),
            farewell: Duration::from_secs(2),
        }
    }
}

/// The endpoint could not begin to listen.
#[derive(Debug, Error)]
#[error("cannot listen for MQTT on {address}; is the port free and the address one of this host?")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: std::io::Error,
}

/// What all parts of one endpoint share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
}

/// The handle of a running endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

/// Begins to listen. Connections are served while [`Listener::run`] runs.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind(
    config: EndpointConfig,
) -> Result<(Listener, Endpoint, mpsc::Receiver<EndpointEvent>), BindError> {
    let address = config.listen;
    let failed = |source| BindError { address, source };
    let tcp = TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = tcp.local_addr().map_err(failed)?;
    let metrics = Arc::new(Metrics::default());
    let registry = Registry::new(config.limits.connections_max, Arc::clone(&metrics));
    let (events, inbox) = mpsc::channel(config.limits.events_max.max(1));
    let shared = Arc::new(Shared { registry, metrics, limits: config.limits });
    let listener = Listener::new(tcp, config.tls, Arc::clone(&shared), events);
    Ok((listener, Endpoint { shared, local_addr }, inbox))
}

impl Endpoint {
    /// Unacknowledged QoS 1 publishes that one gateway may have under way.
    pub const RECEIVE_MAXIMUM: u16 = RECEIVE_MAXIMUM;

    /// Replaces the serial numbers (lower-case hexadecimal) of certificates that open nothing, and ends
    /// the connections made with them (0x87).
    pub fn revoke(&self, serials: HashSet<String>) {
        self.shared.registry.revoke(serials);
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The address listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Broker for Endpoint {
    /// The message is sent with the QoS of the gateway's subscription and within its receive maximum.
    fn publish(
        &self,
        identity: &GatewayIdentity,
        channel: Channel,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        PublishError::check(channel, &payload)?;
        self.shared.registry.publish(identity, channel, payload)
    }
}
