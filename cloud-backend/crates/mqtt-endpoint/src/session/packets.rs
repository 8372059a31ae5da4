//! The packets of the endpoint's own making, and reading the core's answers.

use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::v5_0::{Connack, Disconnect};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, MaximumQos, Packet, Property, RetainAvailable, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    WildcardSubscriptionAvailable,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError};

use super::Effect;

/// The longest keep-alive granted, in seconds: a dead connection holds its place for 1.5 times this.
const KEEP_ALIVE_SECONDS_MAX: u16 = 300;

/// The CONNACK of an admitted gateway. The core adds receive maximum and maximum packet size.
pub(super) fn welcome(requested_keep_alive: u16) -> Connack {
    Connack::builder()
        .session_present(false)
        .reason_code(ConnectReasonCode::Success)
        .props(capabilities(requested_keep_alive))
        .build()
        .expect("a CONNACK of constant properties is well-formed")
}

/// The CONNACK of a refused gateway.
pub(super) fn refusal(code: ConnectReasonCode) -> Connack {
    Connack::builder()
        .session_present(false)
        .reason_code(code)
        .build()
        .expect("a CONNACK with a reason code is well-formed")
}

/// What the core asks to send, and nothing else it says.
pub(super) fn sends(events: Vec<Event>) -> Vec<Effect> {
    let packet = |event| match event {
        Event::RequestSendPacket { packet, .. } => Some(Effect::Send(encoded(&packet))),
        Event::NotifyPacketReceived(_)
        | Event::NotifyPacketIdReleased(_)
        | Event::RequestTimerReset { .. }
        | Event::RequestTimerCancel(_)
        | Event::NotifyError(_)
        | Event::RequestClose => None,
    };
    events.into_iter().filter_map(packet).collect()
}

/// A DISCONNECT is written with its empty properties. MQTT allows to omit them, but then `rumqttc` waits for
/// more and never reports the reason.
pub(super) fn encoded(packet: &Packet) -> Vec<u8> {
    let Packet::V5_0Disconnect(disconnect) = packet else { return packet.to_continuous_buffer() };
    let complete = Disconnect::builder()
        .reason_code(disconnect.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection))
        .props(disconnect.props().clone().unwrap_or_default())
        .build();
    complete.map_or_else(|_| packet.to_continuous_buffer(), |disconnect| disconnect.to_continuous_buffer())
}

/// Why the core refused to send, if it did.
pub(super) fn refused_by_core(events: &[Event]) -> Option<MqttError> {
    events.iter().find_map(|event| if let Event::NotifyError(error) = event { Some(*error) } else { None })
}

fn capabilities(requested_keep_alive: u16) -> Vec<Property> {
    let constant = "the value is within the property's range";
    let mut properties: Vec<Property> = vec![
        MaximumQos::new(1).expect(constant).into(),
        RetainAvailable::new(0).expect(constant).into(),
        SessionExpiryInterval::new(0).expect(constant).into(),
        WildcardSubscriptionAvailable::new(0).expect(constant).into(),
        SubscriptionIdentifierAvailable::new(0).expect(constant).into(),
        SharedSubscriptionAvailable::new(0).expect(constant).into(),
    ];
    if !(1..=KEEP_ALIVE_SECONDS_MAX).contains(&requested_keep_alive) {
        properties.push(ServerKeepAlive::new(KEEP_ALIVE_SECONDS_MAX).expect(constant).into());
    }
    properties
}
