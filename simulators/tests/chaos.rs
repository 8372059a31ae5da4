//! The link with faults, between a client and an echo server.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use simulators::chaos::{Faults, Flow, Proxy, Way, serve_control};
use support::{PATIENCE, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// Long enough for bytes on a busy host, short enough to wait for some that must not come.
const SILENCE: Duration = Duration::from_millis(300);

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

async fn link(seed: u64) -> Proxy {
    Proxy::start(any_port(), echo().await, seed).unwrap()
}

async fn dial(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("the link listens")
}

async fn hear(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("bytes").expect("an open connection");
    heard
}

async fn round(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    hear(stream, bytes.len()).await
}

async fn silence(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read_u8()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn a_healthy_link_hands_on_bytes_and_ends() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    assert_eq!(round(&mut stream, b"hello").await, b"hello");
    stream.shutdown().await.unwrap();
    let end = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    let stats = proxy.stats();
    assert_eq!((stats.up_bytes, stats.down_bytes, stats.connections_total), (5, 5, 1));
    eventually("the end of the connection", || proxy.stats().connections_open == 0).await;
}

#[tokio::test]
async fn a_paused_link_hands_on_later_what_it_held_back() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    proxy.set(Faults::pause()).await.unwrap();
    stream.write_all(b"bcd").await.unwrap();
    silence(&mut stream).await;
    proxy.set(Faults::default()).await.unwrap();
    assert_eq!(hear(&mut stream, 3).await, b"bcd");
}

#[tokio::test]
async fn a_cut_resets_open_connections_and_no_others() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    assert_eq!(proxy.cut(), 1);
    let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(round(&mut dial(&proxy).await, b"b").await, b"b");
}

#[tokio::test]
async fn a_hole_swallows_bytes_and_ends_and_its_connections_stay_dead() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    proxy
        .set(Faults { down: Way { flow: Flow::Hole, ..Way::default() }, ..Faults::default() })
        .await
        .unwrap();
    stream.write_all(b"b").await.unwrap();
    eventually("the swallowed answer", || proxy.stats().swallowed_bytes == 1).await;
    proxy.set(Faults::default()).await.unwrap();
    stream.write_all(b"c").await.unwrap();
    // The server ends, too: even that is not heard.
    stream.shutdown().await.unwrap();
    silence(&mut stream).await;
    assert_eq!((proxy.stats().up_bytes, proxy.stats().connections_open), (3, 1));
    assert_eq!(round(&mut dial(&proxy).await, b"d").await, b"d");
}

#[tokio::test]
async fn forgotten_connections_hear_nothing_and_new_ones_work() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    assert_eq!(proxy.forget(), 1);
    stream.write_all(b"b").await.unwrap();
    silence(&mut stream).await;
    assert_eq!(round(&mut dial(&proxy).await, b"c").await, b"c");
}

#[tokio::test]
async fn a_refusing_link_keeps_its_port_and_opens_it_again() {
    let proxy = link(1).await;
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    proxy.set(Faults::refuse()).await.unwrap();
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    proxy.set(Faults::default()).await.unwrap();
    assert_eq!(round(&mut dial(&proxy).await, b"b").await, b"b");
}

#[tokio::test]
async fn a_delay_is_of_one_direction_and_keeps_the_order_of_bytes() {
    let proxy = link(1).await;
    proxy.set(Faults { up: "delay=200,jitter=100".parse().unwrap(), ..Faults::default() }).await.unwrap();
    let mut stream = dial(&proxy).await;
    let started = Instant::now();
    for byte in 0..50_u8 {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(hear(&mut stream, 50).await, (0..50).collect::<Vec<_>>());
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(200), "{elapsed:?}");
}

#[tokio::test]
async fn a_throttled_direction_passes_no_more_than_its_rate() {
    let proxy = link(1).await;
    proxy.set(Faults { down: "rate=20000".parse().unwrap(), ..Faults::default() }).await.unwrap();
    let mut stream = dial(&proxy).await;
    let started = Instant::now();
    let bytes: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
    assert_eq!(round(&mut stream, &bytes).await, bytes);
    // The last piece is not waited for.
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
}

async fn damaged(seed: u64) -> Vec<usize> {
    let proxy = link(seed).await;
    proxy.set(Faults { up: "flip=100".parse().unwrap(), ..Faults::default() }).await.unwrap();
    let heard = round(&mut dial(&proxy).await, &[0; 1_000]).await;
    assert_eq!(heard.iter().map(|byte| byte.count_ones()).sum::<u32>(), 10, "one bit in a hundred bytes");
    assert_eq!(proxy.stats().flipped_bits, 10);
    let bits = heard.iter().enumerate().filter(|(_, byte)| **byte != 0);
    bits.map(|(index, byte)| index * 8 + byte.trailing_zeros() as usize).collect()
}

#[tokio::test]
async fn the_same_seed_flips_the_same_bits() {
    let (one, same, other) = (damaged(7).await, damaged(7).await, damaged(8).await);
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[tokio::test]
async fn faults_are_changed_over_http_and_mistakes_are_named() {
    let proxy = Arc::new(link(1).await);
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve_control(Arc::clone(&proxy), listener, shutdown.clone()));
    let http = http();
    let put = async |body: &str| {
        let request = http.put(format!("{base}/faults")).header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(put(r#"{"up":{"delay_ms":5}}"#).await.0, 200);
    assert_eq!(proxy.faults().up.delay_ms, 5);
    let (status, problem) = put(r#"{"up":{"delay_ms":60001}}"#).await;
    assert!(status == 422 && problem.contains("0 to 60000"), "{status} {problem}");
    let (status, problem) = put(r#"{"sideways":{}}"#).await;
    assert!(status == 422 && problem.contains("sideways"), "{status} {problem}");
    let mut stream = dial(&proxy).await;
    round(&mut stream, b"a").await;
    let cut = http.post(format!("{base}/cut")).send().await.unwrap().text().await.unwrap();
    assert_eq!(cut, r#"{"connections":1}"#);
    let overview = http.get(&base).send().await.unwrap().text().await.unwrap();
    assert!(overview.contains(r#""connections_total":1"#), "{overview}");
    shutdown.cancel();
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}

/// A client of plain HTTP.
fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
