//! The session on its own: packets in, effects out, on a time that only the test moves.

use mqtt_protocol_core::mqtt::packet::v5_0::Connack;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationMethod, MaximumPacketSize, ReceiveMaximum, SubEntry, SubOpts,
};
use plant_model::{GatewayId, TenantId};
use proptest::prelude::*;
use protocol::StreamId;

use super::*;

const TELEMETRY: &str = "mfp/v1/acme/hall-2/up/telemetry";

fn identity() -> GatewayIdentity {
    let (tenant, gateway) = (TenantId::new("acme"), GatewayId::new("hall-2"));
    GatewayIdentity { tenant: tenant.expect("valid"), gateway: gateway.expect("valid") }
}

/// A session with a clock of its own.
struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(identity(), now + Duration::from_secs(10)), now }
    }

    /// A connected session; the gateway takes at most two messages unacknowledged.
    fn connected(keep_alive: u16) -> Self {
        let mut bench = Self::new();
        let connect = connect("acme/hall-2", keep_alive);
        assert_eq!(bench.feed(&connect), [Effect::Admit]);
        let effects = bench.session.admit(bench.now);
        assert!(matches!(&effects[..], [Effect::Send(bytes)] if bytes[0] == 0x20), "{effects:?}");
        bench
    }

    /// Presents all bytes, as the connection does.
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<Effect> {
        let mut effects = Vec::new();
        while !bytes.is_empty() && !effects.contains(&Effect::Admit) {
            let (taken, new) = self.session.handle_input(bytes, self.now);
            assert!(taken > 0, "bytes are always taken up to the next admission");
            bytes = &bytes[taken..];
            effects.extend(new);
        }
        effects
    }

    fn wait(&mut self, seconds: f64) -> Vec<Effect> {
        self.now += Duration::from_secs_f64(seconds);
        self.session.handle_timeout(self.now)
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) -> Vec<Effect> {
        let entry = SubEntry::new(filter, SubOpts::new().set_qos(qos)).expect("a filter");
        let packet = Subscribe::builder().packet_id(7).entries(vec![entry]).build().expect("well-formed");
        self.feed(&packet.to_continuous_buffer())
    }
}

fn connect(client_id: &str, keep_alive: u16) -> Vec<u8> {
    let properties: Vec<Property> = vec![ReceiveMaximum::new(2).expect("not zero").into()];
    Connect::builder()
        .client_id(client_id)
        .expect("short")
        .clean_start(true)
        .keep_alive(keep_alive)
        .props(properties)
        .build()
        .expect("well-formed")
        .to_continuous_buffer()
}

fn publish(topic: &str, packet_id: u16) -> Vec<u8> {
    Publish::builder()
        .topic_name(topic)
        .expect("short")
        .qos(Qos::AtLeastOnce)
        .packet_id(packet_id)
        .payload("batch")
        .build()
        .expect("well-formed")
        .to_continuous_buffer()
}

fn puback(packet_id: u16, code: u8) -> Effect {
    let [high, low] = packet_id.to_be_bytes();
    Effect::Send(vec![0x40, 3, high, low, code])
}

/// The reason code of the DISCONNECT, and the reason the connection is closed with.
fn farewell(effects: &[Effect]) -> (Option<u8>, &DisconnectReason) {
    match effects {
        [.., Effect::Send(bytes), Effect::Close(reason)] if bytes[0] == 0xE0 => (Some(bytes[2]), reason),
        [.., Effect::Close(reason)] => (None, reason),
        other => panic!("the session goes on: {other:?}"),
    }
}

fn is_protocol_error(effects: &[Effect]) -> bool {
    matches!(farewell(effects), (_, DisconnectReason::ProtocolError(_)))
}

#[test]
fn connack_tells_what_the_endpoint_does_not_do() {
    let mut bench = Bench::new();
    bench.feed(&connect("acme/hall-2", 0));
    let effects = bench.session.admit(bench.now);
    let [Effect::Send(bytes)] = &effects[..] else { panic!("one CONNACK: {effects:?}") };
    let (connack, _) = Connack::parse(&bytes[2..]).expect("well-formed");
    assert!(!connack.session_present());
    let find = |wanted: fn(&Property) -> Option<u32>| connack.props().iter().find_map(wanted);
    assert_eq!(find(|p| if let Property::MaximumQos(v) = p { Some(v.val().into()) } else { None }), Some(1));
    assert_eq!(
        find(|p| if let Property::RetainAvailable(v) = p { Some(v.val().into()) } else { None }),
        Some(0)
    );
    assert_eq!(
        find(|p| if let Property::SessionExpiryInterval(v) = p { Some(v.val()) } else { None }),
        Some(0)
    );
    assert_eq!(
        find(|p| if let Property::WildcardSubscriptionAvailable(v) = p {
            Some(v.val().into())
        } else {
            None
        }),
        Some(0)
    );
    assert_eq!(
        find(|p| if let Property::SharedSubscriptionAvailable(v) = p { Some(v.val().into()) } else { None }),
        Some(0)
    );
    assert_eq!(
        find(|p| if let Property::ReceiveMaximum(v) = p { Some(v.val().into()) } else { None }),
        Some(16)
    );
    assert_eq!(
        find(|p| if let Property::MaximumPacketSize(v) = p { Some(v.val()) } else { None }),
        Some((1 << 20) + 512)
    );
    assert_eq!(
        find(|p| if let Property::ServerKeepAlive(v) = p { Some(v.val().into()) } else { None }),
        Some(300),
        "a gateway without keep-alive gets one"
    );
}

#[test]
fn a_publish_is_delivered_and_acknowledged_only_on_the_verdict() {
    let mut bench = Bench::connected(30);
    let effects = bench.feed(&publish(TELEMETRY, 5));
    let delivered = Effect::Deliver {
        channel: Channel::Stream(StreamId::Telemetry),
        payload: Bytes::from_static(b"batch"),
        packet_id: Some(5),
    };
    assert_eq!(effects, [delivered]);
    assert_eq!(bench.session.answer(5, Ok(()), bench.now), [puback(5, 0)]);
    assert_eq!(bench.session.answer(5, Ok(()), bench.now), [], "a second verdict does nothing");
}

#[test]
fn every_rejection_has_its_reason_code() {
    let mut bench = Bench::connected(30);
    let codes = [
        (Rejection::PayloadFormatInvalid, 0x99),
        (Rejection::ImplementationSpecific, 0x83),
        (Rejection::QuotaExceeded, 0x97),
        (Rejection::NotAuthorized, 0x87),
    ];
    for (rejection, code) in codes {
        bench.feed(&publish(TELEMETRY, 9));
        assert_eq!(bench.session.answer(9, Err(rejection), bench.now), [puback(9, code)]);
    }
}

#[test]
fn publishes_outside_the_gateways_own_channels_are_refused_and_counted() {
    let cases = [
        ("mfp/v1/other/hall-2/up/telemetry", Refusal::PublishForeign),
        ("mfp/v1/acme/hall-3/up/telemetry", Refusal::PublishForeign),
        ("mfp/v1/acme/hall-2/ack", Refusal::PublishChannel),
        ("mfp/v1/acme/hall-2/cmd", Refusal::PublishChannel),
        ("mfp/v1/acme/hall-2/up/else", Refusal::PublishTopic),
        ("elsewhere", Refusal::PublishTopic),
    ];
    let mut bench = Bench::connected(30);
    for (topic, refusal) in cases {
        let effects = bench.feed(&publish(topic, 3));
        assert_eq!(effects, [Effect::Refused(refusal), puback(3, 0x87)], "{topic}");
    }
}

#[test]
fn subscriptions_outside_the_gateways_own_channels_are_refused_and_counted() {
    let cases = [
        ("mfp/v1/other/hall-2/ack", Refusal::SubscribeForeign),
        ("mfp/v1/acme/hall-2/up/telemetry", Refusal::SubscribeChannel),
        ("mfp/v1/acme/hall-2/#", Refusal::SubscribeTopic),
        ("mfp/v1/acme/+/ack", Refusal::SubscribeTopic),
        ("$share/g/mfp/v1/acme/hall-2/ack", Refusal::SubscribeTopic),
        ("#", Refusal::SubscribeTopic),
    ];
    let mut bench = Bench::connected(30);
    for (filter, refusal) in cases {
        let effects = bench.subscribe(filter, Qos::AtLeastOnce);
        assert_eq!(
            effects,
            [Effect::Refused(refusal), Effect::Send(vec![0x90, 4, 0, 7, 0, 0x87])],
            "{filter}"
        );
    }
}

#[test]
fn messages_go_out_with_the_granted_qos_and_within_the_receive_maximum() {
    let mut bench = Bench::connected(30);
    let effects = bench.subscribe("mfp/v1/acme/hall-2/ack", Qos::ExactlyOnce);
    assert_eq!(effects, [Effect::Subscribed(Channel::Ack), Effect::Send(vec![0x90, 4, 0, 7, 0, 1])]);
    for _ in 0..2 {
        assert!(bench.session.can_publish());
        let effects = bench.session.publish(Channel::Ack, b"ack", bench.now);
        assert!(matches!(&effects[..], [Effect::Send(bytes)] if bytes[0] == 0x32), "{effects:?}");
    }
    assert!(!bench.session.can_publish(), "the gateway announced a receive maximum of 2");
    assert_eq!(bench.feed(&[0x40, 2, 0, 1]), []);
    assert!(bench.session.can_publish());
    bench.subscribe("mfp/v1/acme/hall-2/cmd", Qos::AtMostOnce);
    let effects = bench.session.publish(Channel::Command, b"command", bench.now);
    assert!(matches!(&effects[..], [Effect::Send(bytes)] if bytes[0] == 0x30), "{effects:?}");
}

#[test]
fn a_message_to_a_gateway_that_unsubscribed_is_counted_not_sent() {
    let mut bench = Bench::connected(30);
    bench.subscribe("mfp/v1/acme/hall-2/ack", Qos::AtLeastOnce);
    let packet = Unsubscribe::builder()
        .packet_id(8)
        .entries(["mfp/v1/acme/hall-2/ack", "mfp/v1/acme/hall-2/cmd"])
        .and_then(|builder| builder.build())
        .expect("well-formed");
    let effects = bench.feed(&packet.to_continuous_buffer());
    let unsuback = Effect::Send(vec![0xB0, 5, 0, 8, 0, 0x00, 0x11]);
    assert_eq!(effects, [Effect::Unsubscribed(Channel::Ack), unsuback]);
    let effects = bench.session.publish(Channel::Ack, b"ack", bench.now);
    assert_eq!(effects, [Effect::Refused(Refusal::OutboundUnsubscribed)]);
}

#[test]
fn a_message_larger_than_the_gateway_accepts_is_refused_and_frees_its_packet_id() {
    let mut bench = Bench::new();
    let properties: Vec<Property> = vec![MaximumPacketSize::new(100).expect("not zero").into()];
    let connect =
        Connect::builder().client_id("acme/hall-2").expect("short").clean_start(true).props(properties);
    bench.feed(&connect.build().expect("well-formed").to_continuous_buffer());
    bench.session.admit(bench.now);
    bench.subscribe("mfp/v1/acme/hall-2/ack", Qos::AtLeastOnce);
    for _ in 0..70_000 {
        let effects = bench.session.publish(Channel::Ack, &[0; 200], bench.now);
        assert_eq!(effects, [Effect::Refused(Refusal::OutboundTooLarge)]);
    }
    let effects = bench.session.publish(Channel::Ack, b"small", bench.now);
    assert!(matches!(&effects[..], [Effect::Send(_)]), "{effects:?}");
}

#[test]
fn a_connect_that_does_not_fit_the_certificate_is_refused() {
    let will = Connect::builder()
        .client_id("acme/hall-2")
        .and_then(|builder| builder.will_message("mfp/v1/acme/hall-2/up/live", "", Qos::AtMostOnce, false))
        .and_then(|builder| builder.clean_start(true).build())
        .expect("well-formed");
    let properties: Vec<Property> = vec![AuthenticationMethod::new("x").expect("short").into()];
    let authentication = Connect::builder()
        .client_id("acme/hall-2")
        .and_then(|builder| builder.clean_start(true).props(properties).build())
        .expect("well-formed");
    let cases = [
        (connect("acme/hall-3", 30), Refusal::ClientId, 0x85),
        (connect("", 30), Refusal::ClientId, 0x85),
        (will.to_continuous_buffer(), Refusal::Will, 0x87),
        (authentication.to_continuous_buffer(), Refusal::AuthenticationMethod, 0x8C),
    ];
    for (packet, refusal, code) in cases {
        let mut bench = Bench::new();
        let connack = Effect::Send(vec![0x20, 3, 0, code, 0]);
        let closed = Effect::Close(DisconnectReason::Refused);
        assert_eq!(bench.feed(&packet), [Effect::Refused(refusal), connack, closed]);
        assert_eq!(bench.session.poll_timeout(), None);
    }
}

#[test]
fn mqtt_3_is_answered_with_its_unsupported_version() {
    let mut bench = Bench::new();
    let effects = bench.feed(b"\x10\x17\x00\x04MQTT\x04\x02\x00\x1e\x00\x0bacme/hall-2");
    assert!(
        matches!(&effects[..], [Effect::Send(connack), Effect::Close(_)] if connack[3] == 0x84),
        "{effects:?}"
    );
}

#[test]
fn nothing_but_a_connect_opens_a_session() {
    let cases =
        [publish(TELEMETRY, 1), vec![0xC0, 0], vec![0x40, 2, 0, 1], vec![0xE0, 0], vec![0, 0], vec![0x20, 0]];
    for packet in cases {
        let effects = Bench::new().feed(&packet);
        assert!(
            matches!(&effects[..], [Effect::Close(DisconnectReason::ProtocolError(_))]),
            "{packet:?}: {effects:?}"
        );
    }
}

#[test]
fn broken_rules_end_the_session_with_the_reason_code_of_the_rule() {
    let mut qos_2 = publish(TELEMETRY, 1);
    qos_2[0] = 0x34;
    let mut retained = publish(TELEMETRY, 1);
    retained[0] = 0x33;
    let twice = [publish(TELEMETRY, 1), publish(TELEMETRY, 1)].concat();
    let seventeen: Vec<u8> = (1..=17).flat_map(|id| publish(TELEMETRY, id)).collect();
    let cases = [
        (qos_2, 0x9B),
        (retained, 0x9A),
        (twice, 0x82),
        (seventeen, 0x93),
        (connect("acme/hall-2", 30), 0x82),
        (vec![0x40, 2, 0, 9], 0x82),
        (vec![0x20, 2, 0, 0], 0x82),
        (vec![0x30, 0xFF, 0xFF, 0x7F], 0x95),
    ];
    for (packets, code) in cases {
        let mut bench = Bench::connected(30);
        let effects = bench.feed(&packets);
        assert_eq!(farewell(&effects).0, Some(code), "{effects:?}");
        assert!(is_protocol_error(&effects));
        assert_eq!(bench.feed(&publish(TELEMETRY, 2)), [], "a closed session takes nothing");
        assert_eq!(bench.session.publish(Channel::Ack, b"x", bench.now), []);
        assert_eq!(bench.wait(1_000.0), []);
    }
}

#[test]
fn a_connect_that_does_not_come_ends_the_connection() {
    let mut bench = Bench::new();
    assert_eq!(bench.wait(9.9), []);
    assert_eq!(bench.wait(0.2), [Effect::Close(DisconnectReason::ConnectTimeout)]);
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_session() {
    let mut bench = Bench::connected(10);
    assert_eq!(bench.wait(14.0), []);
    assert_eq!(bench.feed(&[0xC0, 0]), [Effect::Send(vec![0xD0, 0])], "PINGREQ is answered");
    assert_eq!(bench.wait(14.0), []);
    bench.feed(&publish(TELEMETRY, 1));
    assert_eq!(bench.wait(14.9), []);
    let effects = bench.wait(0.2);
    assert_eq!(farewell(&effects), (Some(0x8D), &DisconnectReason::KeepAliveTimeout));
}

#[test]
fn a_pause_of_our_own_does_not_count_as_silence() {
    let mut bench = Bench::connected(10);
    bench.now += Duration::from_secs(100);
    bench.session.handle_resumed(bench.now);
    assert_eq!(bench.wait(14.9), []);
    assert_eq!(farewell(&bench.wait(0.2)).1, &DisconnectReason::KeepAliveTimeout);
}

#[test]
fn the_gateway_is_told_why_the_endpoint_closes() {
    let cases = [(DisconnectReason::TakenOver, 0x8E), (DisconnectReason::ShuttingDown, 0x8B)];
    for (reason, code) in cases {
        let effects = Bench::connected(30).session.close(reason.clone());
        assert_eq!(farewell(&effects), (Some(code), &reason));
    }
    let effects = Bench::new().session.close(DisconnectReason::ShuttingDown);
    assert_eq!(farewell(&effects), (None, &DisconnectReason::ShuttingDown), "no DISCONNECT before CONNACK");
}

/// One step of a gateway or its consumer.
#[derive(Debug, Clone)]
enum Step {
    Publish,
    Answer(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Publish), any::<prop::sample::Index>().prop_map(Step::Answer)]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), open in any::<bool>()) {
        let mut bench = if open { Bench::connected(30) } else { Bench::new() };
        bench.feed(&bytes);
        bench.session.admit(bench.now);
        bench.wait(1_000.0);
    }

    #[test]
    fn mutated_packets_never_panic(
        start in 0..5_usize, at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let packets = [
            connect("acme/hall-2", 30),
            publish(TELEMETRY, 1),
            vec![0x82, 0x1C, 0, 7, 0, 0, 0x16],
            vec![0x40, 2, 0, 1],
            vec![0xE0, 2, 0, 0],
        ];
        let mut packet = packets[start].clone();
        let at = at.index(packet.len());
        packet[at] = value;
        packet.truncate(cut.index(packet.len()) + 1);
        let mut bench = if start == 0 { Bench::new() } else { Bench::connected(30) };
        bench.feed(&packet);
        bench.session.admit(bench.now);
        bench.feed(&publish(TELEMETRY, 2));
        bench.wait(1_000.0);
    }

    /// Model: the set of publishes without verdict. Each verdict is one PUBACK of that id, in the
    /// order of the verdicts; more than the receive maximum ends the session.
    #[test]
    fn verdicts_in_any_order_are_answered_one_for_one(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::connected(30);
        let mut model: Vec<u16> = Vec::new();
        let mut next_id = 0;
        for step in steps {
            match step {
                Step::Publish => {
                    next_id += 1;
                    let effects = bench.feed(&publish(TELEMETRY, next_id));
                    if model.len() == usize::from(RECEIVE_MAXIMUM) {
                        prop_assert_eq!(farewell(&effects).0, Some(0x93));
                        return Ok(());
                    }
                    let delivered =
                        matches!(&effects[..], [Effect::Deliver { packet_id: Some(id), .. }] if *id == next_id);
                    prop_assert!(delivered, "{:?}", effects);
                    model.push(next_id);
                }
                Step::Answer(index) if !model.is_empty() => {
                    let id = model.remove(index.index(model.len()));
                    prop_assert_eq!(bench.session.answer(id, Ok(()), bench.now), [puback(id, 0)]);
                }
                Step::Answer(_) => {
                    prop_assert_eq!(bench.session.answer(next_id, Ok(()), bench.now), []);
                }
            }
        }
    }
}
