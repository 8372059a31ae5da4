//! Counters of the endpoint. All only grow, except the number of open connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection failed before MQTT began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// TLS was not finished within the deadline.
    Deadline,
    /// The client presented no certificate.
    NoCertificate,
    /// The client's certificate is expired, of another authority, or damaged.
    BadCertificate,
    /// The client's certificate is ours but identifies no gateway.
    NoIdentity,
    /// The client's certificate is ours and revoked.
    Revoked,
    /// The bytes were not the TLS that we speak.
    Tls,
    /// The network connection broke.
    Connection,
}

/// Why something a gateway or the consumer asked for was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// CONNECT with a client id that is not the certificate's identity.
    ClientId,
    /// CONNECT with a will.
    Will,
    /// CONNECT with an authentication method.
    AuthenticationMethod,
    /// CONNECT while as many gateways as allowed are connected.
    ConnectionLimit,
    /// Publish on a topic that is no topic of the protocol.
    PublishTopic,
    /// Publish on a topic of another tenant or gateway.
    PublishForeign,
    /// Publish on a channel of the backend.
    PublishChannel,
    /// Subscription to a filter that is no topic of the protocol, wildcards included.
    SubscribeTopic,
    /// Subscription to a topic of another tenant or gateway.
    SubscribeForeign,
    /// Subscription to a channel of the gateway itself.
    SubscribeChannel,
    /// A message to a gateway that is larger than the gateway accepts.
    OutboundTooLarge,
    /// A message to a gateway that ended its subscription meanwhile.
    OutboundUnsubscribed,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    open: AtomicU64,
    connections: AtomicU64,
    publishes: AtomicU64,
    messages_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    protocol_errors: AtomicU64,
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
}

impl HandshakeFailure {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Deadline,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::NoIdentity,
        Self::Revoked,
        Self::Tls,
        Self::Connection,
    ];

    /// The value of the metric's `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::NoIdentity => "no_identity",
            Self::Revoked => "revoked",
            Self::Tls => "tls",
            Self::Connection => "connection",
        }
    }
}

impl Refusal {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 12] = [
        Self::ClientId,
        Self::Will,
        Self::AuthenticationMethod,
        Self::ConnectionLimit,
        Self::PublishTopic,
        Self::PublishForeign,
        Self::PublishChannel,
        Self::SubscribeTopic,
        Self::SubscribeForeign,
        Self::SubscribeChannel,
        Self::OutboundTooLarge,
        Self::OutboundUnsubscribed,
    ];

    /// The value of the metric's `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Will => "will",
            Self::AuthenticationMethod => "authentication_method",
            Self::ConnectionLimit => "connection_limit",
            Self::PublishTopic => "publish_topic",
            Self::PublishForeign => "publish_foreign",
            Self::PublishChannel => "publish_channel",
            Self::SubscribeTopic => "subscribe_topic",
            Self::SubscribeForeign => "subscribe_foreign",
            Self::SubscribeChannel => "subscribe_channel",
            Self::OutboundTooLarge => "outbound_too_large",
            Self::OutboundUnsubscribed => "outbound_unsubscribed",
        }
    }
}

impl Metrics {
    /// Gateways connected now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Gateways connected so far.
    #[must_use]
    pub fn connections_total(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Publishes handed to the consumer.
    #[must_use]
    pub fn publishes_total(&self) -> u64 {
        self.publishes.load(Ordering::Relaxed)
    }

    /// Messages sent to gateways.
    #[must_use]
    pub fn messages_sent_total(&self) -> u64 {
        self.messages_sent.load(Ordering::Relaxed)
    }

    /// MQTT bytes received, inside TLS.
    #[must_use]
    pub fn received_bytes_total(&self) -> u64 {
        self.bytes_received.load(Ordering::Relaxed)
    }

    /// MQTT bytes sent, inside TLS.
    #[must_use]
    pub fn sent_bytes_total(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// Connections ended because the peer broke the MQTT rules.
    #[must_use]
    pub fn protocol_errors_total(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    /// Connections that failed before MQTT began, for this reason.
    #[must_use]
    pub fn handshake_failures_total(&self, reason: HandshakeFailure) -> u64 {
        self.handshake_failures[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests refused for this reason.
    #[must_use]
    pub fn refusals_total(&self, reason: Refusal) -> u64 {
        self.refusals[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn published(&self) {
        self.publishes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn message_sent(&self) {
        self.messages_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, size_bytes: usize) {
        self.bytes_received.fetch_add(size_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, size_bytes: usize) {
        self.bytes_sent.fetch_add(size_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn protocol_error(&self) {
        self.protocol_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshake_failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refusals[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_label() {
        let metrics = Metrics::default();
        for (index, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.refused(reason);
        }
        for (index, reason) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.handshake_failed(reason);
        }
        assert!(Refusal::ALL.into_iter().all(|reason| metrics.refusals_total(reason) == 1));
        assert!(
            HandshakeFailure::ALL.into_iter().all(|reason| metrics.handshake_failures_total(reason) == 1)
        );
        let labels: std::collections::HashSet<_> = Refusal::ALL.into_iter().map(Refusal::label).collect();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }
}
