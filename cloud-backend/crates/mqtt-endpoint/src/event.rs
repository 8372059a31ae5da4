//! What the endpoint tells its consumer, and how an acknowledgement finds its connection.

use std::net::SocketAddr;

use ingestion::{BrokerEvent, ConnectionId, GatewayIdentity, Inbound, Receipt, Rejection};
use tokio::sync::mpsc;

/// Something happened on a connection. The events of one connection arrive in order, first `Connected`,
/// last `Disconnected`. After a take-over the events of both connections may interleave: compare
/// [`ConnectionId`]s.
#[derive(Debug)]
pub enum EndpointEvent {
    /// A gateway connected.
    Connected {
        /// Who.
        identity: GatewayIdentity,
        /// The connection.
        connection: ConnectionId,
        /// From where.
        peer: SocketAddr,
    },
    /// The connection ended.
    Disconnected {
        /// Who.
        identity: GatewayIdentity,
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: DisconnectReason,
    },
    /// A gateway published.
    Publish(Inbound),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The gateway said goodbye.
    ByGateway,
    /// The network connection broke or was closed without a goodbye.
    ConnectionLost,
    /// No CONNECT within the deadline.
    ConnectTimeout,
    /// Nothing was received for 1.5 times the keep-alive.
    KeepAliveTimeout,
    /// The gateway did not read what was sent to it.
    WriteTimeout,
    /// A newer connection of the same gateway took over.
    TakenOver,
    /// The CONNECT was refused.
    Refused,
    /// The gateway broke the MQTT rules; the text names the rule.
    ProtocolError(String),
    /// The gateway's certificate was revoked.
    CertificateRevoked,
    /// The gateway's certificate has ended, or was not shown for a month.
    CertificateExpired,
    /// The endpoint is stopping.
    ShuttingDown,
}

/// What travels from a receipt to its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) packet_id: u16,
    pub(crate) outcome: Result<(), Rejection>,
}

/// The receipt of a publish: its verdict goes to the connection that the publish came on.
pub(crate) fn receipt(packet_id: Option<u16>, verdicts: &mpsc::Sender<Verdict>) -> Receipt {
    let Some(packet_id) = packet_id else { return Receipt::none() };
    let verdicts = verdicts.clone();
    Receipt::new(move |outcome| {
        // Never full: it has a place for every publish that may be unacknowledged. Closed means
        // that the connection is gone, and with it the packet id.
        let _ = verdicts.try_send(Verdict { packet_id, outcome });
    })
}

impl From<EndpointEvent> for BrokerEvent {
    fn from(event: EndpointEvent) -> Self {
        match event {
            EndpointEvent::Connected { identity, connection, .. } => Self::Connected { identity, connection },
            EndpointEvent::Disconnected { identity, connection, .. } => {
                Self::Disconnected { identity, connection }
            }
            EndpointEvent::Publish(inbound) => Self::Publish(inbound),
        }
    }
}
