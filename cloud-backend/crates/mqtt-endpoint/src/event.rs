//! What the endpoint tells its consumer, and the token by which the consumer acknowledges.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use protocol::Channel;
use tokio::sync::mpsc;

use crate::GatewayIdentity;

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

/// A publish of a gateway, on one of its own channels.
#[derive(Debug)]
pub struct Inbound {
    /// Who published, from the certificate.
    pub identity: GatewayIdentity,
    /// On which connection.
    pub connection: ConnectionId,
    /// On which channel.
    pub channel: Channel,
    /// The message, unread. At most [`protocol::limits::MESSAGE_BYTES_MAX`] bytes.
    pub payload: Bytes,
    /// Acknowledges it.
    pub receipt: Receipt,
}

/// One connection of one gateway. A later connection has a greater id; ids begin anew with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
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

/// Why the consumer refuses a publish. The gateway is told; it does not send the message again on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The payload cannot be decoded (0x99).
    PayloadFormatInvalid,
    /// The payload is understood but cannot be processed (0x83).
    ImplementationSpecific,
    /// A quota of the tenant is used up (0x97).
    QuotaExceeded,
    /// The gateway may not do this (0x87).
    NotAuthorized,
}

/// The consumer's verdict on one publish. Dropping it without a verdict sends nothing: the message stays
/// unacknowledged, keeps one of the connection's [`Endpoint::RECEIVE_MAXIMUM`](crate::Endpoint::RECEIVE_MAXIMUM)
/// places, and comes again on the next connection. For a QoS 0 publish every verdict is a no-op.
#[must_use = "a publish without a verdict is never acknowledged"]
pub struct Receipt {
    pending: Option<(u16, mpsc::Sender<Verdict>)>,
}

/// What travels from a receipt to its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) packet_id: u16,
    pub(crate) outcome: Result<(), Rejection>,
}

impl Receipt {
    pub(crate) fn new(packet_id: Option<u16>, verdicts: &mpsc::Sender<Verdict>) -> Self {
        Self { pending: packet_id.map(|id| (id, verdicts.clone())) }
    }

    /// Acknowledges: the message is stored for good.
    pub fn accept(self) {
        self.decide(Ok(()));
    }

    /// Refuses the message for good.
    pub fn reject(self, reason: Rejection) {
        self.decide(Err(reason));
    }

    fn decide(self, outcome: Result<(), Rejection>) {
        if let Some((packet_id, verdicts)) = self.pending {
            // Never full: it has a place for every publish that may be unacknowledged. Closed means
            // that the connection is gone, and with it the packet id.
            let _ = verdicts.try_send(Verdict { packet_id, outcome });
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.pending.as_ref().map(|(packet_id, _)| packet_id)).finish()
    }
}
