//! The port of the place where gateways publish: our own endpoint, or an external MQTT 5 broker.
//!
//! A place hands [`BrokerEvent`]s to one consumer, each message with a [`Receipt`] that is accepted when the
//! message is stored for good, and takes messages for gateways through [`Broker`]. That the identity of a message is
//! its sender's is the place's promise: by the client certificate, or by the access rules of the broker (SPEC
//! section 2).

use std::fmt;

use bytes::Bytes;
use plant_model::{GatewayId, TenantId};
use protocol::Channel;
use protocol::limits::MESSAGE_BYTES_MAX;
use thiserror::Error;

/// A gateway of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayIdentity {
    /// The tenant.
    pub tenant: TenantId,
    /// The gateway, unique within its tenant.
    pub gateway: GatewayId,
}

impl fmt::Display for GatewayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.gateway)
    }
}

/// One connection of one gateway, or its presence at a broker. A later one has a greater id; ids begin anew with the
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The connection of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the consumer hears. The events of one connection are in order; those of an old and a new connection of a
/// gateway may interleave.
#[derive(Debug)]
pub enum BrokerEvent {
    /// A gateway is there.
    Connected {
        /// Who.
        identity: GatewayIdentity,
        /// Its connection.
        connection: ConnectionId,
    },
    /// It is not there any more.
    Disconnected {
        /// Who.
        identity: GatewayIdentity,
        /// Its connection.
        connection: ConnectionId,
    },
    /// A gateway published.
    Publish(Inbound),
}

/// A publish of a gateway, on one of its own channels.
#[derive(Debug)]
pub struct Inbound {
    /// Who published.
    pub identity: GatewayIdentity,
    /// On which connection.
    pub connection: ConnectionId,
    /// On which channel.
    pub channel: Channel,
    /// The message, unread. At most [`MESSAGE_BYTES_MAX`] bytes.
    pub payload: Bytes,
    /// Acknowledges it.
    pub receipt: Receipt,
}

/// Why the consumer refuses a publish for good.
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

type Answer = Box<dyn FnOnce(Result<(), Rejection>) + Send>;

/// The consumer's verdict on one publish. Dropping it without a verdict sends nothing: the message stays
/// unacknowledged, keeps its place among those under way, and comes again. For a QoS 0 publish every verdict is a
/// no-op.
#[must_use = "a publish without a verdict is never acknowledged"]
pub struct Receipt(Option<Answer>);

impl Receipt {
    /// A receipt that tells its verdict to `answer`, which must not wait.
    pub fn new(answer: impl FnOnce(Result<(), Rejection>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// The receipt of a message that nobody acknowledges.
    pub const fn none() -> Self {
        Self(None)
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
        if let Some(answer) = self.0 {
            answer(outcome);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.0.is_some()).finish()
    }
}

/// Why a message cannot be sent to a gateway. The message was not sent.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The gateway is not connected.
    #[error("gateway {0} is not connected")]
    NotConnected(GatewayIdentity),
    /// The gateway is connected but not subscribed to the channel.
    #[error("gateway {gateway} is not subscribed to its {} channel", .channel.path())]
    NotSubscribed {
        /// The gateway.
        gateway: GatewayIdentity,
        /// The channel it should subscribe to.
        channel: Channel,
    },
    /// The gateway, or the broker, does not take its messages fast enough.
    #[error("too many messages wait for gateway {0}")]
    Full(GatewayIdentity),
    /// The channel is the gateway's own.
    #[error("the backend does not publish on the {} channel; only on ack and cmd", .0.path())]
    Channel(Channel),
    /// The message is too large.
    #[error("a message of {size_bytes} bytes is too large; at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
}

impl PublishError {
    /// Refuses what no place takes: a channel that is not the backend's, a message that is too large.
    ///
    /// # Errors
    /// [`PublishError::Channel`], [`PublishError::TooLarge`].
    pub fn check(channel: Channel, payload: &Bytes) -> Result<(), Self> {
        if channel.is_from_gateway() {
            return Err(Self::Channel(channel));
        }
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(Self::TooLarge { size_bytes: payload.len() });
        }
        Ok(())
    }
}

/// Takes messages for gateways.
pub trait Broker: Send + Sync {
    /// Queues a message for a gateway that is there, on [`Channel::Ack`] or [`Channel::Command`], without waiting.
    /// `Ok` means queued: if a connection ends, the message is gone.
    ///
    /// # Errors
    /// The gateway is not there or does not take it; the channel is not the backend's; the message is too large.
    fn publish(
        &self,
        identity: &GatewayIdentity,
        channel: Channel,
        payload: Bytes,
    ) -> Result<(), PublishError>;
}
