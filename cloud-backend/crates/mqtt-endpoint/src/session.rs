//! The MQTT 5 rules of one connection (OASIS MQTT 5.0, server side), without any I/O: bytes and the time
//! go in, [`Effect`]s come out.
//!
//! ```text
//! Opening --CONNECT--> Admitting --admit--> Open --DISCONNECT, error, close--> Closed
//!                          \--refuse--------------------------------------------^
//! ```
//!
//! Framing, packet ids and flow control are `mqtt-protocol-core`'s; what a gateway may do is decided here.
//! Every error of the core ends the connection: a peer that is ours makes none.

mod granted;
mod packets;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::v5_0::{
    Connect, Disconnect, Puback, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
};
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
    UnsubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{Channel, Topic};

use self::granted::Granted;
use crate::{DisconnectReason, GatewayIdentity, Refusal, Rejection};

/// Unacknowledged publishes that a gateway may have under way. Twice an agent's window of 8 batches.
pub(crate) const RECEIVE_MAXIMUM: u16 = 16;
/// A packet is a message with its topic (at most 63 + 63 + 24 bytes) and its header.
const PACKET_BYTES_MAX: u32 = MESSAGE_BYTES_MAX as u32 + 512;
/// What the connection has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Answer with [`Session::admit`] or [`Session::refuse_busy`].
    Admit,
    /// Hand this publish to the consumer; `packet_id` is what [`Session::answer`] expects.
    Deliver { channel: Channel, payload: Bytes, packet_id: Option<u16> },
    /// The gateway wants messages on this channel.
    Subscribed(Channel),
    /// It no longer does.
    Unsubscribed(Channel),
    /// Count this.
    Refused(Refusal),
    /// Close the connection after what was sent. No effect follows.
    Close(DisconnectReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Admitting,
    Open,
    Closed,
}

/// One connection's protocol state.
pub(crate) struct Session {
    core: Connection<role::Server>,
    identity: GatewayIdentity,
    phase: Phase,
    deadline: Option<Instant>,
    keep_alive: Option<Duration>,
    requested_keep_alive: u16,
    unanswered: HashSet<u16>,
    granted: Granted,
}

impl Session {
    /// A session of a gateway whose certificate was verified. Its CONNECT must come before `connect_by`.
    pub(crate) fn new(identity: GatewayIdentity, connect_by: Instant) -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(PACKET_BYTES_MAX)
            .receive_maximum(RECEIVE_MAXIMUM);
        let mut core = Connection::with_options(Version::V5_0, options);
        core.set_auto_ping_response(true);
        Self {
            core,
            identity,
            phase: Phase::Opening,
            deadline: Some(connect_by),
            keep_alive: None,
            requested_keep_alive: 0,
            unanswered: HashSet::new(),
            granted: Granted::default(),
        }
    }

    /// Takes received bytes up to the end of one packet; the caller presents the rest again. Returns
    /// how many bytes were taken.
    pub(crate) fn handle_input(&mut self, input: &[u8], now: Instant) -> (usize, Vec<Effect>) {
        match self.phase {
            Phase::Admitting => (0, Vec::new()),
            Phase::Closed => (input.len(), Vec::new()),
            Phase::Opening | Phase::Open => {
                let mut cursor = Cursor::new(input);
                let events = self.core.recv(&mut cursor);
                let taken = usize::try_from(cursor.position()).unwrap_or(input.len());
                (taken, self.absorb(events, now))
            }
        }
    }

    /// Accepts the CONNECT that asked for admission.
    pub(crate) fn admit(&mut self, now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Admitting {
            return Vec::new();
        }
        self.phase = Phase::Open;
        let events = self.core.checked_send(packets::welcome(self.requested_keep_alive));
        self.absorb(events, now)
    }

    /// Refuses the CONNECT that asked for admission: too many gateways are connected.
    pub(crate) fn refuse_busy(&mut self) -> Vec<Effect> {
        self.refuse(ConnectReasonCode::ServerBusy, Refusal::ConnectionLimit)
    }

    /// Answers a delivered publish. Order does not matter; a second answer does nothing.
    pub(crate) fn answer(
        &mut self,
        packet_id: u16,
        outcome: Result<(), Rejection>,
        now: Instant,
    ) -> Vec<Effect> {
        let code = match outcome {
            Ok(()) => PubackReasonCode::Success,
            Err(Rejection::PayloadFormatInvalid) => PubackReasonCode::PayloadFormatInvalid,
            Err(Rejection::ImplementationSpecific) => PubackReasonCode::ImplementationSpecificError,
            Err(Rejection::QuotaExceeded) => PubackReasonCode::QuotaExceeded,
            Err(Rejection::NotAuthorized) => PubackReasonCode::NotAuthorized,
        };
        self.puback(packet_id, code, now)
    }

    /// Whether the gateway takes another message now.
    pub(crate) fn can_publish(&self) -> bool {
        let vacancy = self.core.get_receive_maximum_vacancy_for_send();
        self.phase == Phase::Open && vacancy.is_none_or(|places| places > 0)
    }

    /// Sends a message to the gateway, with the QoS granted to its subscription.
    pub(crate) fn publish(&mut self, channel: Channel, payload: &[u8], now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Open {
            return Vec::new();
        }
        let Some(qos) = self.granted.get(channel) else {
            return vec![Effect::Refused(Refusal::OutboundUnsubscribed)];
        };
        match self.outbound(channel, payload, qos) {
            Ok(events) => self.absorb(events, now),
            Err(_) => vec![Effect::Refused(Refusal::OutboundTooLarge)],
        }
    }

    /// Ends the session from this side; the gateway is told why where MQTT has a word for it.
    pub(crate) fn close(&mut self, reason: DisconnectReason) -> Vec<Effect> {
        let code = match &reason {
            DisconnectReason::ShuttingDown => Some(DisconnectReasonCode::ServerShuttingDown),
            DisconnectReason::TakenOver => Some(DisconnectReasonCode::SessionTakenOver),
            DisconnectReason::KeepAliveTimeout => Some(DisconnectReasonCode::KeepAliveTimeout),
            DisconnectReason::CertificateRevoked | DisconnectReason::CertificateExpired => {
                Some(DisconnectReasonCode::NotAuthorized)
            }
            DisconnectReason::ByGateway
            | DisconnectReason::ConnectionLost
            | DisconnectReason::ConnectTimeout
            | DisconnectReason::WriteTimeout
            | DisconnectReason::Refused
            | DisconnectReason::ProtocolError(_) => None,
        };
        self.end(code, reason)
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Closes the session if its deadline has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Effect> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.phase {
            Phase::Opening | Phase::Admitting => self.close(DisconnectReason::ConnectTimeout),
            Phase::Open => self.close(DisconnectReason::KeepAliveTimeout),
            Phase::Closed => Vec::new(),
        }
    }

    /// Reading goes on after a pause that was ours: the silence of the pause is not the gateway's.
    pub(crate) fn handle_resumed(&mut self, now: Instant) {
        if let (Phase::Open, Some(keep_alive)) = (self.phase, self.keep_alive) {
            self.deadline = Some(now + keep_alive);
        }
    }

    fn absorb(&mut self, events: Vec<Event>, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut failure = None;
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    effects.push(Effect::Send(packets::encoded(&packet)));
                }
                Event::NotifyPacketReceived(packet) => effects.extend(self.handle_packet(packet, now)),
                Event::NotifyError(error) => failure = Some(error),
                Event::RequestTimerReset { duration_ms, .. } => {
                    let keep_alive = Duration::from_millis(duration_ms);
                    self.keep_alive = Some(keep_alive);
                    self.deadline = Some(now + keep_alive);
                }
                Event::RequestTimerCancel(_) => self.deadline = None,
                // Packet ids are the core's to manage; a close always comes with an error or is ours.
                Event::NotifyPacketIdReleased(_) | Event::RequestClose => {}
            }
        }
        if let Some(error) = failure {
            effects.extend(self.fail(error));
        }
        effects
    }

    fn handle_packet(&mut self, packet: Packet, now: Instant) -> Vec<Effect> {
        match (self.phase, packet) {
            (Phase::Opening, Packet::V5_0Connect(connect)) => self.handle_connect(&connect),
            (Phase::Open, Packet::V5_0Publish(publish)) => self.handle_publish(&publish, now),
            (Phase::Open, Packet::V5_0Subscribe(subscribe)) => self.handle_subscribe(&subscribe, now),
            (Phase::Open, Packet::V5_0Unsubscribe(unsubscribe)) => self.handle_unsubscribe(&unsubscribe, now),
            (Phase::Open, Packet::V5_0Puback(_) | Packet::V5_0Pingreq(_)) => Vec::new(),
            (Phase::Open, Packet::V5_0Disconnect(_)) => self.end(None, DisconnectReason::ByGateway),
            _ => self.fail(MqttError::ProtocolError),
        }
    }

    fn handle_connect(&mut self, connect: &Connect) -> Vec<Effect> {
        if connect.client_id() != self.identity.to_string() {
            return self.refuse(ConnectReasonCode::ClientIdentifierNotValid, Refusal::ClientId);
        }
        if connect.will_flag() {
            return self.refuse(ConnectReasonCode::NotAuthorized, Refusal::Will);
        }
        if connect.props().iter().any(|property| matches!(property, Property::AuthenticationMethod(_))) {
            return self.refuse(ConnectReasonCode::BadAuthenticationMethod, Refusal::AuthenticationMethod);
        }
        self.requested_keep_alive = connect.keep_alive();
        self.phase = Phase::Admitting;
        vec![Effect::Admit]
    }

    fn handle_publish(&mut self, publish: &Publish, now: Instant) -> Vec<Effect> {
        if publish.qos() == Qos::ExactlyOnce {
            return self.fail(MqttError::QosNotSupported);
        }
        if publish.retain() {
            return self.fail(MqttError::RetainNotSupported);
        }
        let packet_id = publish.packet_id();
        if packet_id.is_some_and(|id| !self.unanswered.insert(id)) {
            return self.fail(MqttError::ProtocolError);
        }
        match self.publish_channel(publish.topic_name()) {
            Ok(channel) => {
                let payload = Bytes::copy_from_slice(publish.payload().as_slice());
                vec![Effect::Deliver { channel, payload, packet_id }]
            }
            Err(refusal) => {
                let mut effects = vec![Effect::Refused(refusal)];
                if let Some(packet_id) = packet_id {
                    effects.extend(self.puback(packet_id, PubackReasonCode::NotAuthorized, now));
                }
                effects
            }
        }
    }

    fn publish_channel(&self, topic: &str) -> Result<Channel, Refusal> {
        let topic = Topic::parse(topic).map_err(|_| Refusal::PublishTopic)?;
        if !self.is_own(&topic) {
            return Err(Refusal::PublishForeign);
        }
        if !topic.channel.is_from_gateway() {
            return Err(Refusal::PublishChannel);
        }
        Ok(topic.channel)
    }

    fn subscribe_channel(&self, filter: &str) -> Result<Channel, Refusal> {
        let topic = Topic::parse(filter).map_err(|_| Refusal::SubscribeTopic)?;
        if !self.is_own(&topic) {
            return Err(Refusal::SubscribeForeign);
        }
        if topic.channel.is_from_gateway() {
            return Err(Refusal::SubscribeChannel);
        }
        Ok(topic.channel)
    }

    fn is_own(&self, topic: &Topic) -> bool {
        topic.tenant == self.identity.tenant && topic.gateway == self.identity.gateway
    }

    fn puback(&mut self, packet_id: u16, code: PubackReasonCode, now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Open || !self.unanswered.remove(&packet_id) {
            return Vec::new();
        }
        let puback = Puback::builder()
            .packet_id(packet_id)
            .reason_code(code)
            .build()
            .expect("a received packet id is not zero");
        let events = self.core.checked_send(puback);
        self.absorb(events, now)
    }

    fn handle_subscribe(&mut self, subscribe: &Subscribe, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut codes = Vec::new();
        for entry in subscribe.entries() {
            match self.subscribe_channel(entry.topic_filter()) {
                Ok(channel) => {
                    codes.push(self.granted.grant(channel, entry.sub_opts().qos()));
                    effects.push(Effect::Subscribed(channel));
                }
                Err(refusal) => {
                    codes.push(SubackReasonCode::NotAuthorized);
                    effects.push(Effect::Refused(refusal));
                }
            }
        }
        let suback = Suback::builder()
            .packet_id(subscribe.packet_id())
            .reason_codes(codes)
            .build()
            .expect("a SUBSCRIBE has an id and at least one filter");
        let events = self.core.checked_send(suback);
        effects.extend(self.absorb(events, now));
        effects
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut codes = Vec::new();
        for filter in unsubscribe.entries() {
            let channel = self.subscribe_channel(filter.as_str()).ok();
            let revoked = channel.filter(|channel| self.granted.revoke(*channel));
            effects.extend(revoked.map(Effect::Unsubscribed));
            codes.push(if revoked.is_some() {
                UnsubackReasonCode::Success
            } else {
                UnsubackReasonCode::NoSubscriptionExisted
            });
        }
        let unsuback = Unsuback::builder()
            .packet_id(unsubscribe.packet_id())
            .reason_codes(codes)
            .build()
            .expect("an UNSUBSCRIBE has an id and at least one filter");
        let events = self.core.checked_send(unsuback);
        effects.extend(self.absorb(events, now));
        effects
    }

    /// The core's events for a message to the gateway, or why the gateway cannot take it.
    fn outbound(&mut self, channel: Channel, payload: &[u8], qos: Qos) -> Result<Vec<Event>, MqttError> {
        let GatewayIdentity { tenant, gateway } = self.identity.clone();
        let topic = Topic { tenant, gateway, channel }.to_string();
        let builder = Publish::builder().topic_name(topic)?.payload(payload).qos(qos);
        if qos == Qos::AtMostOnce {
            let events = self.core.checked_send(builder.build()?);
            return packets::refused_by_core(&events).map_or(Ok(events), Err);
        }
        let packet_id = self.core.acquire_packet_id()?;
        let packet = builder.packet_id(packet_id).build();
        let sent = packet.and_then(|packet| {
            let events = self.core.checked_send(packet);
            packets::refused_by_core(&events).map_or(Ok(events), Err)
        });
        if sent.is_err() {
            self.core.release_packet_id(packet_id);
        }
        sent
    }

    fn refuse(&mut self, code: ConnectReasonCode, refusal: Refusal) -> Vec<Effect> {
        self.phase = Phase::Closed;
        self.deadline = None;
        let mut effects = vec![Effect::Refused(refusal)];
        effects.extend(packets::sends(self.core.checked_send(packets::refusal(code))));
        effects.push(Effect::Close(DisconnectReason::Refused));
        effects
    }

    fn fail(&mut self, error: MqttError) -> Vec<Effect> {
        self.end(Some(error.into()), DisconnectReason::ProtocolError(error.to_string()))
    }

    fn end(&mut self, code: Option<DisconnectReasonCode>, reason: DisconnectReason) -> Vec<Effect> {
        if self.phase == Phase::Closed {
            return Vec::new();
        }
        self.phase = Phase::Closed;
        self.deadline = None;
        // The core sends it only on an open connection, and never twice.
        let farewell = code.and_then(|code| Disconnect::builder().reason_code(code).build().ok());
        let mut effects =
            farewell.map(|packet| packets::sends(self.core.checked_send(packet))).unwrap_or_default();
        effects.push(Effect::Close(reason));
        effects
    }
}

#[cfg(test)]
mod tests;
