//! What a gateway of ours experiences.

use bytes::Bytes;
use mqtt_endpoint::{Broker as _, DisconnectReason, EndpointEvent, PublishError, Refusal, Rejection};
use protocol::{Channel, StreamId};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Gateway, Running, eventually, identity, read_packet, topic, within};

#[tokio::test]
async fn a_publish_is_acknowledged_when_it_is_accepted_and_not_before() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut gateway = running.gateway(&hall).await;
    gateway.send(&topic(&hall, "up/telemetry"), "first").await;
    gateway.send(&topic(&hall, "up/alarm"), "second").await;
    let first = running.publish().await;
    let second = running.publish().await;
    assert_eq!((first.identity, first.channel), (hall, Channel::Stream(StreamId::Telemetry)));
    assert_eq!((&first.payload[..], &second.payload[..]), (&b"first"[..], &b"second"[..]));
    assert_eq!(first.connection, second.connection);
    second.receipt.accept();
    assert_eq!(gateway.puback().await, (2, PubAckReason::Success), "the first one is not yet accepted");
    first.receipt.accept();
    assert_eq!(gateway.puback().await, (1, PubAckReason::Success));
    assert_eq!(running.endpoint.metrics().publishes_total(), 2);
}

#[tokio::test]
async fn a_dropped_receipt_acknowledges_nothing_and_a_rejection_names_its_reason() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut gateway = running.gateway(&hall).await;
    for payload in ["dropped", "rejected", "accepted"] {
        gateway.send(&topic(&hall, "up/hello"), payload).await;
    }
    drop(running.publish().await);
    running.publish().await.receipt.reject(Rejection::PayloadFormatInvalid);
    running.publish().await.receipt.accept();
    assert_eq!(gateway.puback().await, (2, PubAckReason::PayloadFormatInvalid));
    assert_eq!(gateway.puback().await, (3, PubAckReason::Success));
    running.shutdown.cancel();
    let end = gateway.packet().await;
    assert!(!matches!(end, Ok(Packet::PubAck(_))), "{end:?}");
}

#[tokio::test]
async fn a_live_message_needs_no_acknowledgement() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let gateway = running.gateway(&hall).await;
    let sent = gateway.client.publish(topic(&hall, "up/live"), QoS::AtMostOnce, false, "now").await;
    sent.expect("the client runs");
    let inbound = running.publish().await;
    assert_eq!((inbound.channel, &inbound.payload[..]), (Channel::Live, &b"now"[..]));
    inbound.receipt.accept();
}

#[tokio::test]
async fn acknowledgements_and_commands_reach_the_subscribed_gateway() {
    let mut running = Running::start().await;
    let (hall, other) = (identity("acme", "hall-2"), identity("acme", "hall-3"));
    let mut gateway = running.gateway(&hall).await;
    let endpoint = running.endpoint.clone();
    let unsubscribed = endpoint.publish(&hall, Channel::Ack, Bytes::from_static(b"early"));
    assert!(matches!(unsubscribed, Err(PublishError::NotSubscribed { .. })), "{unsubscribed:?}");
    for path in ["ack", "cmd"] {
        let codes = gateway.subscribe(&topic(&hall, path)).await;
        assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    }
    for number in 0..100_u8 {
        let channel = if number % 2 == 0 { Channel::Ack } else { Channel::Command };
        endpoint.publish(&hall, channel, Bytes::copy_from_slice(&[number])).expect("connected");
        let (received, payload) = gateway.message().await;
        assert_eq!(received, topic(&hall, channel.path()));
        assert_eq!(&payload[..], [number]);
    }
    let elsewhere = endpoint.publish(&other, Channel::Ack, Bytes::new());
    assert!(matches!(elsewhere, Err(PublishError::NotConnected(_))), "{elsewhere:?}");
    let wrong = endpoint.publish(&hall, Channel::Live, Bytes::new());
    assert!(matches!(wrong, Err(PublishError::Channel(Channel::Live))), "{wrong:?}");
    let large = endpoint.publish(&hall, Channel::Ack, Bytes::from(vec![0; (1 << 20) + 1]));
    assert!(matches!(large, Err(PublishError::TooLarge { .. })), "{large:?}");
}

#[tokio::test]
async fn a_message_of_the_largest_size_travels_both_ways() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut gateway = running.gateway(&hall).await;
    gateway.subscribe(&topic(&hall, "cmd")).await;
    let payload = Bytes::from(vec![7; protocol::limits::MESSAGE_BYTES_MAX]);
    running.endpoint.publish(&hall, Channel::Command, payload.clone()).expect("connected");
    assert_eq!(gateway.message().await.1, payload);
    let sent = gateway.client.publish(topic(&hall, "up/telemetry"), QoS::AtLeastOnce, false, payload.clone());
    sent.await.expect("the client runs");
    let inbound = running.publish().await;
    assert_eq!(inbound.payload, payload);
    inbound.receipt.accept();
    assert_eq!(gateway.puback().await.1, PubAckReason::Success);
    assert!(running.endpoint.metrics().received_bytes_total() > 1 << 20);
    assert!(running.endpoint.metrics().sent_bytes_total() > 1 << 20);
}

#[tokio::test]
async fn another_tenants_topics_are_refused() {
    let mut running = Running::start().await;
    let (hall, foreign) = (identity("acme", "hall-2"), identity("rival", "hall-2"));
    let mut gateway = running.gateway(&hall).await;
    gateway.send(&topic(&foreign, "up/telemetry"), "stolen").await;
    assert_eq!(gateway.puback().await, (1, PubAckReason::NotAuthorized));
    for filter in [topic(&foreign, "ack"), "mfp/v1/+/+/ack".to_owned(), "#".to_owned()] {
        assert_eq!(gateway.subscribe(&filter).await, [SubscribeReasonCode::NotAuthorized], "{filter}");
    }
    gateway.send(&topic(&hall, "up/telemetry"), "own").await;
    assert_eq!(running.publish().await.payload, "own", "the foreign publish never reached the consumer");
    let metrics = running.endpoint.metrics();
    assert_eq!(metrics.refusals_total(Refusal::PublishForeign), 1);
    assert_eq!(metrics.refusals_total(Refusal::SubscribeForeign), 1);
    assert_eq!(metrics.refusals_total(Refusal::SubscribeTopic), 2);
}

#[tokio::test]
async fn a_newer_connection_takes_over_and_the_older_is_told() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut older = running.gateway(&hall).await;
    let mut newer = Gateway::start(running.options(&hall));
    newer.connected().await;
    let error = older.error().await;
    assert!(error.contains("SessionTakenOver"), "{error}");
    let (mut connected, mut disconnected) = (None, None);
    while connected.is_none() || disconnected.is_none() {
        match running.event().await {
            EndpointEvent::Connected { connection, .. } => connected = Some(connection),
            EndpointEvent::Disconnected { connection, reason, .. } => {
                assert_eq!(reason, DisconnectReason::TakenOver);
                disconnected = Some(connection);
            }
            EndpointEvent::Publish(inbound) => panic!("nobody published: {inbound:?}"),
        }
    }
    assert!(connected > disconnected, "the newer connection has the greater id");
    assert_eq!(newer.subscribe(&topic(&hall, "ack")).await.len(), 1);
    running.endpoint.publish(&hall, Channel::Ack, Bytes::from_static(b"to the newer")).expect("connected");
    assert_eq!(newer.message().await.1, "to the newer");
    assert_eq!(running.endpoint.metrics().connections_open(), 1);
}

#[tokio::test]
async fn a_goodbye_arrives_after_everything_that_was_published() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut stream = running.bare_connected(&hall, 30).await;
    let mut bytes = Vec::new();
    for _ in 0..50 {
        let topic = topic(&hall, "up/live");
        bytes.extend([0x30, u8::try_from(topic.len() + 4).expect("short"), 0, topic.len() as u8]);
        bytes.extend(topic.as_bytes());
        bytes.extend([0, 42]);
    }
    bytes.extend([0xE0, 0]);
    stream.write_all(&bytes).await.expect("open");
    for _ in 0..50 {
        assert_eq!(&running.publish().await.payload[..], [42]);
    }
    let event = running.event().await;
    assert!(
        matches!(event, EndpointEvent::Disconnected { reason: DisconnectReason::ByGateway, .. }),
        "{event:?}"
    );
    assert_eq!(read_packet(&mut stream).await, None);
}

#[tokio::test]
async fn a_broken_connection_is_reported_as_lost() {
    let mut running = Running::start().await;
    let stream = running.bare_connected(&identity("acme", "hall-2"), 30).await;
    drop(stream);
    let event = running.event().await;
    assert!(
        matches!(event, EndpointEvent::Disconnected { reason: DisconnectReason::ConnectionLost, .. }),
        "{event:?}"
    );
    eventually("the place is free", || running.endpoint.metrics().connections_open() == 0).await;
}

#[tokio::test]
async fn a_stop_says_goodbye_to_every_gateway() {
    let mut running = Running::start().await;
    let (hall, other) = (identity("acme", "hall-2"), identity("rival", "hall-1"));
    let (mut first, mut second) = (running.gateway(&hall).await, running.gateway(&other).await);
    running.shutdown.cancel();
    for gateway in [&mut first, &mut second] {
        let error = gateway.error().await;
        assert!(error.contains("ServerShuttingDown"), "{error}");
    }
    for _ in 0..2 {
        let event = running.event().await;
        assert!(
            matches!(event, EndpointEvent::Disconnected { reason: DisconnectReason::ShuttingDown, .. }),
            "{event:?}"
        );
    }
    within("the end", &mut running.listener).await.expect("no panic");
    assert!(running.events.recv().await.is_none(), "the stream of events ends");
    assert!(tokio::net::TcpStream::connect(running.endpoint.local_addr()).await.is_err());
}
