//! Limits and back-pressure.

use std::time::Duration;

use bytes::Bytes;
use mqtt_endpoint::{Broker as _, DisconnectReason, Endpoint, EndpointEvent, Limits, PublishError, Refusal};
use protocol::Channel;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Gateway, Running, eventually, identity, read_packet, topic, within};

/// A QoS 0 publish of 32 KiB on `topic`, its payload beginning with `number`.
fn large_live(topic: &str, number: u32) -> Vec<u8> {
    let mut payload = vec![0; 32 * 1024];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    mqtt_protocol_core::mqtt::packet::v5_0::Publish::builder()
        .topic_name(topic)
        .and_then(|builder| builder.payload(payload).build())
        .expect("well-formed")
        .to_continuous_buffer()
}

#[tokio::test]
async fn a_gateway_whose_publishes_are_undecided_does_not_hold_up_another() {
    let mut running = Running::start().await;
    let (slow, quick) = (identity("acme", "slow"), identity("acme", "quick"));
    let (mut first, mut second) = (running.gateway(&slow).await, running.gateway(&quick).await);
    let mut undecided = Vec::new();
    for _ in 0..Endpoint::RECEIVE_MAXIMUM {
        first.send(&topic(&slow, "up/telemetry"), "slow").await;
        undecided.push(running.publish().await);
    }
    first.send(&topic(&slow, "up/telemetry"), "one too many").await;
    for id in 1..=50 {
        second.send(&topic(&quick, "up/telemetry"), "quick").await;
        let inbound = running.publish().await;
        assert_eq!(inbound.payload, "quick", "the slow gateway respects the receive maximum");
        inbound.receipt.accept();
        let (acknowledged, reason) = second.puback().await;
        assert_eq!((acknowledged, reason), ((id - 1) % Endpoint::RECEIVE_MAXIMUM + 1, PubAckReason::Success));
    }
    undecided.remove(0).receipt.accept();
    assert_eq!(first.puback().await, (1, PubAckReason::Success));
    assert_eq!(running.publish().await.payload, "one too many");
}

#[tokio::test]
async fn a_full_consumer_stops_the_reader_and_loses_nothing() {
    const MESSAGES: u32 = 1_000;
    let mut running = Running::with_limits(Limits { events_max: 1, ..Limits::default() }).await;
    let (noisy, calm) = (identity("acme", "noisy"), identity("acme", "calm"));
    let mut other = running.gateway(&calm).await;
    other.subscribe(&topic(&calm, "ack")).await;
    let mut stream = running.bare_connected(&noisy, 1).await;
    let live = topic(&noisy, "up/live");
    let flood = tokio::spawn(async move {
        for number in 0..MESSAGES {
            stream.write_all(&large_live(&live, number)).await.expect("open");
        }
        stream
    });
    eventually("the consumer is full", || running.endpoint.metrics().publishes_total() == 1).await;
    running.endpoint.publish(&calm, Channel::Ack, Bytes::from_static(b"ack")).expect("connected");
    assert_eq!(other.message().await.1, "ack", "a gateway that publishes nothing goes on");
    // Longer than the noisy gateway's keep-alive allows: the pause is not its fault.
    tokio::time::sleep(Duration::from_millis(1_800)).await;
    assert_eq!(running.endpoint.metrics().publishes_total(), 1);
    let read = running.endpoint.metrics().received_bytes_total();
    assert!(read < 256 * 1024, "{read} bytes were read although nobody takes them");
    other.send(&topic(&calm, "up/telemetry"), "calm").await;
    let (mut next, mut calm_after) = (0, None);
    while next < MESSAGES || calm_after.is_none() {
        let inbound = running.publish().await;
        if inbound.identity == calm {
            calm_after = Some(next);
        } else {
            assert_eq!(inbound.payload[..4], next.to_be_bytes());
            next += 1;
        }
    }
    assert!(calm_after < Some(MESSAGES / 2), "gateways take turns: {calm_after:?}");
    flood.await.expect("no panic");
}

#[tokio::test]
async fn a_pause_longer_than_the_keep_alive_does_not_end_the_connection() {
    let mut running = Running::with_limits(Limits { events_max: 1, ..Limits::default() }).await;
    let hall = identity("acme", "hall-2");
    let mut stream = running.bare_connected(&hall, 1).await;
    for number in 0..2 {
        stream.write_all(&large_live(&topic(&hall, "up/live"), number)).await.expect("open");
    }
    tokio::time::sleep(Duration::from_millis(1_800)).await;
    for _ in 0..2 {
        running.publish().await;
    }
    stream.write_all(&[0xC0, 0]).await.expect("open");
    assert_eq!(read_packet(&mut stream).await.expect("a PINGRESP"), [0xD0, 0]);
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let mut running = Running::start().await;
    let mut stream = running.bare_connected(&identity("acme", "hall-2"), 1).await;
    let begin = std::time::Instant::now();
    assert_eq!(read_packet(&mut stream).await.expect("a DISCONNECT")[..3], [0xE0, 2, 0x8D]);
    assert!(begin.elapsed() >= Duration::from_millis(1_400), "{:?}", begin.elapsed());
    assert_eq!(read_packet(&mut stream).await, None);
    let event = running.event().await;
    assert!(
        matches!(event, EndpointEvent::Disconnected { reason: DisconnectReason::KeepAliveTimeout, .. }),
        "{event:?}"
    );
}

#[tokio::test]
async fn a_gateway_that_does_not_read_is_closed_and_its_queue_is_bounded() {
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let mut running = Running::with_limits(limits).await;
    let hall = identity("acme", "hall-2");
    let mut stream = running.bare_connected(&hall, 300).await;
    let filter = topic(&hall, "cmd");
    let mut subscribe = vec![0x82, filter.len() as u8 + 6, 0, 1, 0, 0, filter.len() as u8];
    subscribe.extend(filter.as_bytes());
    subscribe.push(0);
    stream.write_all(&subscribe).await.expect("open");
    assert_eq!(read_packet(&mut stream).await.expect("a SUBACK")[0], 0x90);
    let message = Bytes::from(vec![0; 1 << 19]);
    let full = within("a full queue", async {
        loop {
            match running.endpoint.publish(&hall, Channel::Command, message.clone()) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(matches!(full, PublishError::Full(_)), "{full:?}");
    let event = running.event().await;
    assert!(
        matches!(event, EndpointEvent::Disconnected { reason: DisconnectReason::WriteTimeout, .. }),
        "{event:?}"
    );
    let gone = running.endpoint.publish(&hall, Channel::Command, message);
    assert!(matches!(gone, Err(PublishError::NotConnected(_))), "{gone:?}");
}

#[tokio::test]
async fn one_gateway_more_than_allowed_is_refused_until_a_place_is_free() {
    let mut running = Running::with_limits(Limits { connections_max: 1, ..Limits::default() }).await;
    let (hall, other) = (identity("acme", "hall-2"), identity("acme", "hall-3"));
    let gateway = running.gateway(&hall).await;
    let error = Gateway::start(running.options(&other)).error().await;
    assert!(error.contains("ServerBusy"), "{error}");
    assert_eq!(running.endpoint.metrics().refusals_total(Refusal::ConnectionLimit), 1);
    gateway.client.disconnect().await.expect("the client runs");
    assert!(matches!(running.event().await, EndpointEvent::Disconnected { .. }));
    running.gateway(&other).await;
}

#[tokio::test]
async fn without_a_consumer_connections_end() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut gateway = running.gateway(&hall).await;
    running.events.close();
    gateway.send(&topic(&hall, "up/telemetry"), "for nobody").await;
    let error = gateway.error().await;
    assert!(error.contains("ServerShuttingDown"), "{error}");
}
