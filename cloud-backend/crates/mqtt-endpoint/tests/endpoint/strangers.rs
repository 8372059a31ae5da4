//! Callers that are not gateways, or not the gateway they say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mqtt_endpoint::{DisconnectReason, EndpointEvent, GatewayIdentity, HandshakeFailure, Limits, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    Authority, Gateway, Running, connect_packet, eventually, identity, read_packet, within,
};

async fn handshake_fails(running: &Running, reason: HandshakeFailure) {
    let metrics = running.endpoint.metrics();
    eventually(reason.label(), || metrics.handshake_failures_total(reason) == 1).await;
    let all: u64 = HandshakeFailure::ALL.into_iter().map(|any| metrics.handshake_failures_total(any)).sum();
    assert_eq!((all, metrics.connections_total()), (1, 0));
}

#[tokio::test]
async fn a_client_id_that_is_not_the_certificates_is_refused() {
    let mut running = Running::start().await;
    let (hall, victim) = (identity("acme", "hall-2"), identity("acme", "hall-3"));
    let mut connected = running.gateway(&victim).await;
    let options = running.options_with(&victim.to_string(), running.tls_of(&hall));
    let error = Gateway::start(options).error().await;
    assert!(error.contains("ClientIdentifierNotValid"), "{error}");
    assert_eq!(running.endpoint.metrics().refusals_total(Refusal::ClientId), 1);
    assert_eq!(connected.subscribe("mfp/v1/acme/hall-3/ack").await.len(), 1, "the victim stays connected");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let running = Running::start().await;
    let tls = running.authority.client_tls(&running.authority, None);
    let error = Gateway::start(running.options_with("acme/hall-2", tls)).error().await;
    assert!(error.contains("CertificateRequired"), "{error}");
    handshake_fails(&running, HandshakeFailure::NoCertificate).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let running = Running::start().await;
    let tls = running.authority.client_tls(&Authority::new(), Some("urn:mfp:acme:hall-2"));
    let error = Gateway::start(running.options_with("acme/hall-2", tls)).error().await;
    assert!(error.contains("AlertReceived"), "{error}");
    handshake_fails(&running, HandshakeFailure::BadCertificate).await;
}

#[tokio::test]
async fn a_certificate_of_ours_that_names_no_gateway_is_refused() {
    let running = Running::start().await;
    let tls = running.authority.client_tls(&running.authority, Some("urn:something:else"));
    Gateway::start(running.options_with("acme/hall-2", tls)).error().await;
    handshake_fails(&running, HandshakeFailure::NoIdentity).await;
}

/// A gateway with a certificate of its own until `end`, connected; and the certificate.
async fn connect_until(running: &mut Running, hall: &GatewayIdentity, end: SystemTime) -> (Gateway, Shown) {
    let (tls, serial) = running.authority.gateway_tls(hall, end);
    let mut gateway = Gateway::start(running.options_with(&hall.to_string(), Arc::clone(&tls)));
    gateway.connected().await;
    assert!(matches!(running.event().await, EndpointEvent::Connected { .. }));
    (gateway, Shown { tls, serial })
}

/// What a gateway shows.
struct Shown {
    tls: Arc<rustls::ClientConfig>,
    serial: String,
}

async fn ended(running: &mut Running, why: &DisconnectReason) {
    let event = running.event().await;
    let EndpointEvent::Disconnected { reason, .. } = &event else { panic!("not an end: {event:?}") };
    assert_eq!(reason, why);
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_connection_at_once_and_opens_no_other() {
    let mut running = Running::start().await;
    let (hall, other) = (identity("acme", "hall-2"), identity("acme", "hall-3"));
    let later = SystemTime::now() + Duration::from_secs(3_600);
    let (mut revoked, shown) = connect_until(&mut running, &hall, later).await;
    let (mut kept, _) = connect_until(&mut running, &other, later).await;
    running.endpoint.revoke(HashSet::from([shown.serial]));
    ended(&mut running, &DisconnectReason::CertificateRevoked).await;
    let said = revoked.error().await;
    assert!(said.contains("NotAuthorized"), "{said}");
    Gateway::start(running.options_with(&hall.to_string(), shown.tls)).error().await;
    let refused = || running.endpoint.metrics().handshake_failures_total(HandshakeFailure::Revoked);
    eventually("the next attempt is refused", || refused() == 1).await;
    assert_eq!(kept.subscribe("mfp/v1/acme/hall-3/ack").await.len(), 1, "others stay connected");
    assert_eq!(running.endpoint.metrics().connections_open(), 1);

    // A new certificate of the same gateway is another matter.
    connect_until(&mut running, &hall, later).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let mut running = Running::start().await;
    let end = SystemTime::now() + Duration::from_secs(2);
    let (mut gateway, _) = connect_until(&mut running, &identity("acme", "hall-2"), end).await;
    ended(&mut running, &DisconnectReason::CertificateExpired).await;
    let said = gateway.error().await;
    assert!(said.contains("NotAuthorized"), "{said}");
}

#[tokio::test]
async fn plain_mqtt_without_tls_is_refused() {
    let running = Running::start().await;
    let mut stream = TcpStream::connect(running.endpoint.local_addr()).await.expect("listening");
    stream.write_all(&connect_packet(&identity("acme", "hall-2"), 30)).await.expect("open");
    handshake_fails(&running, HandshakeFailure::Tls).await;
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_cut_at_the_deadline() {
    let limits = Limits { handshake_deadline: Duration::from_millis(200), ..Limits::default() };
    let running = Running::with_limits(limits).await;
    let mut stream = TcpStream::connect(running.endpoint.local_addr()).await.expect("listening");
    let read = within("the cut", stream.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    handshake_fails(&running, HandshakeFailure::Deadline).await;
    let mut stream = running.bare(&identity("acme", "hall-2")).await;
    assert_eq!(read_packet(&mut stream).await, None, "TLS without CONNECT is cut, too");
}

#[tokio::test]
async fn silent_callers_hold_up_others_only_until_the_deadline() {
    let limits =
        Limits { handshakes_max: 1, handshake_deadline: Duration::from_millis(500), ..Limits::default() };
    let mut running = Running::with_limits(limits).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(running.endpoint.local_addr()).await.expect("listening"));
    }
    running.gateway(&identity("acme", "hall-2")).await;
    assert_eq!(running.endpoint.metrics().handshake_failures_total(HandshakeFailure::Deadline), 3);
}

#[tokio::test]
async fn garbage_inside_tls_closes_the_connection_and_is_counted_once() {
    let mut running = Running::start().await;
    let hall = identity("acme", "hall-2");
    let mut stream = running.bare(&hall).await;
    stream.write_all(&[b'G'; 100]).await.expect("open");
    assert_eq!(read_packet(&mut stream).await, None);
    eventually("a count", || running.endpoint.metrics().protocol_errors_total() == 1).await;
    assert_eq!(running.endpoint.metrics().connections_total(), 0);
    let mut stream = running.bare_connected(&hall, 30).await;
    stream.write_all(&[0xF7; 40]).await.expect("open");
    assert_eq!(read_packet(&mut stream).await.expect("a DISCONNECT")[0], 0xE0);
    assert_eq!(read_packet(&mut stream).await, None);
    eventually("a count", || running.endpoint.metrics().protocol_errors_total() == 2).await;
}
