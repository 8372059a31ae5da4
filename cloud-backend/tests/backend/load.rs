//! More is offered than the store takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use plant_model::Value;
use protocol::{BatchBody, SeriesId, SeriesSamples, StreamId};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use rusqlite::Connection;

use crate::support::{Gateway, Installation, Received, encode, sample};

/// Another process that writes the tenant's file nearly all the time: the backend gets a turn ten times a second.
struct Throttle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    fn on(installation: &Installation) -> Self {
        let path = installation.data().join("tenants/acme.db");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let other = Connection::open(path).expect("the tenant's file");
            other.busy_timeout(Duration::from_secs(10)).expect("set");
            while !stopped.load(Ordering::Relaxed) {
                other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
                std::thread::sleep(Duration::from_millis(75));
                other.execute_batch("ROLLBACK").expect("we hold it");
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|e| e.is_ok()), "the throttle failed");
    }
}

/// How many batches of telemetry from 1 on are in the store without a hole, by a look from outside.
fn row_in(store: &Connection) -> u64 {
    let sql = "SELECT count(*), coalesce(max(sequence), 0) FROM batch WHERE stream = 2";
    let (count, last): (i64, i64) =
        store.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("the store can be read");
    assert!(count <= last, "{count} of {last}");
    u64::try_from(if count == last { last } else { first_hole(store) - 1 }).expect("not negative")
}

fn first_hole(store: &Connection) -> i64 {
    let sql = "SELECT min(sequence) + 1 FROM (SELECT 0 AS sequence UNION SELECT sequence FROM batch WHERE stream = 2)
               WHERE sequence + 1 NOT IN (SELECT sequence FROM batch WHERE stream = 2)";
    store.query_row(sql, [], |row| row.get(0)).expect("the store can be read")
}

/// Fifty samples.
fn fifty(sequence: u64) -> Vec<u8> {
    let base = i64::try_from(sequence).expect("small") * 1_000;
    let samples = (0..50).map(|n| sample(base + n * 20, Value::Int(n))).collect();
    encode(sequence, &BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]))
}

/// 100,000 samples as fast as the link takes them into a store that takes some 200 rows a second. Each
/// acknowledgement is held against the store in the moment when it arrives.
#[tokio::test(flavor = "multi_thread")]
async fn in1_a_throttled_and_killed_backend_acknowledges_nothing_that_is_not_in_the_store() {
    const BATCHES: u64 = 2_000;
    let installation = Installation::new();
    let store = Connection::open(installation.data().join("tenants/acme.db")).expect("the tenant's file");
    let throttle = Throttle::on(&installation);
    let (mut acknowledged, mut acks) = (0, 0);
    for kill_at in [300, 600, 900, 1_200, 1_500, BATCHES] {
        let backend = installation.serve().await;
        let (mut gateway, through) = Gateway::hello(&installation, &backend).await;
        let position = StreamId::ALL.iter().position(|s| *s == StreamId::Telemetry).expect("a stream");
        assert!(
            through[position] >= acknowledged,
            "{acknowledged} were acknowledged, {} are there",
            through[position]
        );
        acknowledged = through[position];
        let mut sent = acknowledged;
        while acknowledged < kill_at {
            // The transport keeps sixteen under way; some more wait in the client.
            while sent < BATCHES && sent < acknowledged + 40 {
                sent += 1;
                gateway.publish("up/telemetry", fifty(sent)).await;
            }
            if let Received::Ack(ack) = gateway.next().await
                && ack.stream == StreamId::Telemetry
            {
                let (said, there) = (ack.committed_through.as_u64(), row_in(&store));
                assert!(said <= there, "{said} is acknowledged and {there} are in the store");
                assert_eq!(ack.missing_through, None, "a connection keeps the order");
                (acknowledged, acks) = (acknowledged.max(said), acks + 1);
            }
        }
        backend.kill();
    }
    drop(throttle);
    assert!(acks > 50, "{acks} acknowledgements were looked at");
    assert_eq!(row_in(&store), BATCHES, "none is missing");
    let sql = "SELECT sum(count) FROM batch WHERE stream = 2";
    let samples: i64 = store.query_row(sql, [], |row| row.get(0)).expect("read");
    assert_eq!(samples, 100_000, "and none is there twice");
}

/// A batch of nearly the largest size: numbers that do not compress.
fn large(sequence: u64) -> Vec<u8> {
    let mut random = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        f64::from_bits((random >> 2) | (1 << 61))
    };
    let base = i64::try_from(sequence).expect("small") * 100_000;
    let samples = (0..100_000).map(|n| sample(base + n, Value::Float(next()))).collect();
    encode(sequence, &BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]))
}

/// Twelve gateways send the largest batches without a pause while the store is locked. With the sixteen messages
/// that each may have under way, 150 MiB are offered at once and over again; a tenant has room for 32.
#[tokio::test(flavor = "multi_thread")]
async fn in4_a_stalled_store_costs_a_bounded_memory_and_loses_nothing() {
    const GATEWAYS: usize = 12;
    const EACH: u64 = 20;
    let installation = Installation::new();
    let backend = installation.serve().await;
    let names: Vec<String> = (2..GATEWAYS + 2).map(|n| format!("gw-{n}")).collect();
    names.iter().for_each(|name| installation.add_gateway(name));
    let other = Connection::open(installation.data().join("tenants/acme.db")).expect("the tenant's file");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    let batches: Arc<Vec<Vec<u8>>> = Arc::new((1..=EACH).map(large).collect());
    assert!(batches.iter().all(|b| b.len() > 500_000), "{} bytes", batches[0].len());
    let before = backend.rss_mib();
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        let mut gateway = Gateway::connect_as(&name, &installation, &backend).await;
        let batches = Arc::clone(&batches);
        tasks.spawn(async move {
            let mut refused = 0_u64;
            // What is refused because too much waits comes again, as an agent does it; slowly, for the wire's sake.
            for round in 0.. {
                for batch in batches.iter() {
                    gateway.publish("up/telemetry", batch.clone()).await;
                }
                let mut here = 0;
                for _ in 0..EACH {
                    here += u64::from(gateway.puback().await == PubAckReason::QuotaExceeded);
                }
                refused += here;
                if here == 0 {
                    return (round, refused);
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            unreachable!("it ends when nothing is refused")
        });
    }
    let mut highest = before;
    for _ in 0..60 {
        highest = highest.max(backend.rss_mib());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    backend.answers("/readyz", |status, _| status == 503).await;
    other.execute_batch("ROLLBACK").expect("we hold it");
    let mut refused = 0;
    while let Some(ended) = tasks.join_next().await {
        highest = highest.max(backend.rss_mib());
        refused += ended.expect("the gateway ended well").1;
    }
    assert!(refused > 0, "more was offered than there was room for");
    assert!(highest < 256, "{highest} MiB, {before} before");
    let count = |sql: &str| -> i64 { other.query_row(sql, [], |row| row.get(0)).expect("read") };
    let all = i64::try_from(GATEWAYS).expect("small") * i64::try_from(EACH).expect("small");
    assert_eq!(count("SELECT count(*) FROM batch"), all, "every batch once");
    assert_eq!(count("SELECT count(DISTINCT gateway) FROM batch"), 12);
}
