//! The ledger under bad input and a bad store: what came is stored, a duplicate, or rejected, at every moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::{HEADER_BYTES, StreamId};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::support::{Backend, Gateway, Installation, Received, alarm, telemetry};

/// The figures of the gateway's batches in a scrape, by stream: name to value, rejections summed.
type Figures = BTreeMap<String, BTreeMap<String, u64>>;

fn scraped(text: &str) -> Figures {
    let mut figures = Figures::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("cloud_backend_batches_")) {
        let (name, rest) = line.split_once('{').expect("every figure has labels");
        let (labels, value) = rest.rsplit_once("} ").expect("and a value");
        assert!(labels.starts_with("tenant=\"acme\",gateway=\"gw-1\","), "{line}");
        let stream = labels.split("stream=\"").nth(1).and_then(|l| l.split('"').next()).expect("a stream");
        let name = name.trim_end_matches("_total").to_owned();
        let value: u64 = value.parse().expect("a number");
        *figures.entry(stream.to_owned()).or_default().entry(name).or_default() += value;
    }
    figures
}

fn assert_balanced(figures: &Figures) {
    for (stream, f) in figures {
        let of = |name: &str| f.get(name).copied().unwrap_or(0);
        let accounted = of("stored") + of("duplicate") + of("rejected") + of("unanswered") + of("waiting");
        assert_eq!(of("received"), accounted, "{stream}: {f:?}");
    }
}

fn assert_ledger_balanced(ledger: &Json) {
    for row in ledger["items"].as_array().expect("a list") {
        let of = |name: &str| row[name].as_u64().expect("a number");
        let rejected: u64 =
            row["rejected"].as_array().expect("a list").iter().filter_map(|r| r["count"].as_u64()).sum();
        assert_eq!(of("received"), of("stored") + of("duplicate") + rejected, "{row}");
        assert_eq!(row["balanced"], true);
    }
}

/// Scrapes and reads the ledger over and over until it is told to stop; how often it did.
async fn watch(backend: &Backend, stop: &AtomicBool) -> u64 {
    let mut scrapes = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = backend.get("/metrics").await.text().await.expect("text");
        assert_balanced(&scraped(&text));
        assert_ledger_balanced(&backend.json("/api/v1/tenants/acme/ledger").await);
        scrapes += 1;
    }
    scrapes
}

/// Good, doubled, damaged, foreign and senseless messages; by number, so that a run is like the next.
fn message(n: u64) -> (&'static str, Vec<u8>) {
    match n % 10 {
        0..=4 => ("up/telemetry", telemetry(n + 1)),
        5 => ("up/telemetry", telemetry(n - 1)),
        6 => ("up/alarm", telemetry(n)),
        7 => ("up/telemetry", with_a_body_that_is_none(telemetry(n))),
        8 => ("up/diagnostic", vec![u8::try_from(n % 256).expect("small"); 100]),
        _ => ("up/alarm", alarm(n, n)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in2_received_is_stored_duplicate_or_rejected_at_every_scrape_of_a_chaotic_run() {
    const MESSAGES: u64 = 600;
    let installation = Installation::new();
    let mut backend = installation.serve().await;
    for round in 0..3 {
        let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = async {
            for n in round * MESSAGES..(round + 1) * MESSAGES {
                if n % 200 == 150 {
                    hold_the_store(&installation, Duration::from_millis(300)).await;
                }
                let (path, payload) = message(n);
                gateway.publish(path, payload).await;
            }
            for _ in 0..MESSAGES {
                gateway.puback().await;
            }
            stop.store(true, Ordering::Relaxed);
        };
        let (scrapes, ()) = tokio::join!(watch(&backend, &stop), sent);
        assert!(scrapes > 20, "{scrapes} scrapes");
        let text = backend.get("/metrics").await.text().await.expect("text");
        let received: u64 = scraped(&text).values().map(|f| f["received"]).sum();
        assert_eq!(received, MESSAGES, "since the start of this process");
        let waiting: u64 = scraped(&text).values().map(|f| f["waiting"]).sum();
        assert_eq!(waiting, 0, "all are answered");
        drop(gateway);
        backend.kill();
        backend = installation.serve().await;
    }
    let ledger = backend.json("/api/v1/tenants/acme/ledger").await;
    assert_ledger_balanced(&ledger);
    let all: u64 =
        ledger["items"].as_array().expect("a list").iter().filter_map(|row| row["received"].as_u64()).sum();
    assert_eq!(all, 3 * MESSAGES, "every message was answered, so every one is in the ledger");
}

/// Keeps the tenant's file locked for a while, as another process that writes does.
async fn hold_the_store(installation: &Installation, time: Duration) {
    let path = installation.data().join("tenants/acme.db");
    let held = tokio::task::spawn_blocking(move || {
        let other = Connection::open(path).expect("the tenant's file");
        other.busy_timeout(Duration::from_secs(30)).expect("set");
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        std::thread::sleep(time);
        other.execute_batch("ROLLBACK").expect("we hold it");
    });
    held.await.expect("it ran");
}

/// What the store holds of the epoch's telemetry, by a look from outside.
fn in_the_store(installation: &Installation) -> Vec<i64> {
    let store = Connection::open(installation.data().join("tenants/acme.db")).expect("the tenant's file");
    let mut statement =
        store.prepare("SELECT sequence FROM batch WHERE stream = 2 ORDER BY sequence").expect("a statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("numbers")
}

/// The connection to the store dies again and again: the writer waits a second for the lock in vain, gives its
/// connection up and opens another.
#[tokio::test(flavor = "multi_thread")]
async fn in9_a_store_whose_connection_dies_over_and_over_loses_nothing_and_recovers_at_once() {
    const BATCHES: u64 = 60;
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    let disturb = async {
        for _ in 0..4 {
            hold_the_store(&installation, Duration::from_millis(2_500)).await;
        }
    };
    let send = async {
        for sequence in 1..=BATCHES {
            gateway.publish("up/telemetry", telemetry(sequence)).await;
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    };
    tokio::join!(disturb, send);
    let quiet = Instant::now();
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, BATCHES).await, BATCHES);
    assert!(quiet.elapsed() < Duration::from_secs(10), "{:?}", quiet.elapsed());
    assert_eq!(in_the_store(&installation), (1..=60).collect::<Vec<_>>());
    let text = backend.get("/metrics").await.text().await.expect("text");
    let retries = text.lines().find_map(|l| l.strip_prefix("cloud_backend_ingest_retries_total "));
    assert!(retries.is_some_and(|n| n != "0"), "the connection died: {retries:?}");
    backend.answers("/readyz", |status, _| status == 200).await;
}

/// The disk goes away under the open file and comes back. What SQLite wrote into a file without a name would be
/// acknowledged and gone.
#[tokio::test]
async fn in9_a_store_whose_file_is_taken_away_acknowledges_nothing_until_it_is_back() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    let (here, away) = (installation.data().join("tenants"), installation.data().join("unplugged"));
    std::fs::rename(&here, &away).expect("moved");
    for sequence in 2..=5 {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
    }
    let missing = |status: u16, why: &str| status == 503 && why.contains("tenant acme");
    backend.answers("/readyz", missing).await;
    assert_eq!(gateway.highest_so_far(), 0, "nothing is acknowledged");
    std::fs::rename(&away, &here).expect("moved back");
    let back = Instant::now();
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, 5).await, 5);
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(in_the_store(&installation), [1, 2, 3, 4, 5]);
    backend.answers("/readyz", |status, _| status == 200).await;
}

#[tokio::test]
async fn in11_each_bad_frame_is_one_counted_rejection_of_its_gateway_and_the_connection_lives() {
    const FRAMES: u64 = 300;
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    let good = telemetry(1);
    for n in 0..usize::try_from(FRAMES).expect("small") {
        // Cut, or one byte changed, at ever other places.
        let at = n * good.len() / usize::try_from(FRAMES).expect("small");
        let mut frame = good.clone();
        if n % 2 == 0 {
            frame.truncate(at)
        } else {
            frame[at] ^= 1 << (n % 8)
        };
        gateway.publish("up/telemetry", frame).await;
    }
    let mut rejected_here = 0;
    for _ in 0..FRAMES {
        rejected_here += u64::from(gateway.puback().await == PubAckReason::PayloadFormatInvalid);
    }
    gateway.publish("up/telemetry", telemetry(2)).await;
    while !matches!(gateway.next().await, Received::PubAck(PubAckReason::Success)) {}
    let ledger = backend.json("/api/v1/tenants/acme/ledger").await;
    assert_ledger_balanced(&ledger);
    let rows: Vec<&Json> = ledger["items"].as_array().expect("a list").iter().collect();
    assert!(rows.iter().all(|row| row["gateway"] == "gw-1"), "{ledger}");
    let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    let counts = rows.iter().flat_map(|row| row["rejected"].as_array().expect("a list"));
    let rejected: u64 = counts.filter_map(|r| r["count"].as_u64()).sum();
    assert_eq!(sum("received"), FRAMES + 1);
    assert_eq!(sum("stored") + sum("duplicate"), FRAMES + 1 - rejected);
    // A flag that readers ignore may be changed without harm; everything else is one rejection.
    assert!(rejected >= FRAMES - 8 && rejected_here >= FRAMES - 8, "{rejected}, {rejected_here}: {ledger}");
    let quarantined = installation.done(&["ledger", "--tenant", "acme", "--gateway", "gw-1"]);
    assert!(quarantined.contains("rejected, by reason:") && quarantined.contains("holds"), "{quarantined}");
}

#[tokio::test]
async fn a_batch_above_a_hole_makes_the_backend_ask_for_the_hole() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    for sequence in [1, 5, 6] {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
    }
    let asked = loop {
        if let Received::Ack(ack) = gateway.next().await
            && let Some(missing) = ack.missing_through
        {
            break (ack.committed_through.as_u64(), missing.as_u64());
        }
    };
    assert_eq!(asked, (1, 4));
    let row = backend.ledger("telemetry").await;
    assert_eq!(row["missing"], serde_json::json!([{ "first": 2, "last": 4 }]));
    let text = installation.done(&["ledger", "--tenant", "acme"]);
    assert!(text.contains("missing, and asked for again:") && text.contains("2 to 4"), "{text}");
    for sequence in [2, 3, 4] {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
    }
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, 6).await, 6);
    assert_eq!(backend.ledger("telemetry").await["missing"], serde_json::json!([]));
}

#[tokio::test]
async fn the_operator_sees_what_is_in_quarantine_and_why() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.publish("up/telemetry", with_a_body_that_is_none(telemetry(2))).await;
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, 2).await, 2, "the watermark passes it");
    let row = backend.ledger("telemetry").await;
    assert_eq!(row["quarantined"][0]["sequence"], 2, "{row}");
    assert_eq!(row["quarantined"][0]["reason"], row["rejected"][0]["reason"], "{row}");
    let text = installation.done(&["ledger", "--tenant", "acme", "--gateway", "gw-1"]);
    let lines: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("in quarantine")).collect();
    assert!(lines.get(1).is_some_and(|l| l.contains("gw-1/telemetry") && l.contains(" 2: ")), "{text}");
    let other = installation.done(&["ledger", "--tenant", "acme", "--gateway", "gw-9"]);
    assert!(!other.contains("gw-1"), "{other}");
}

/// Its header and checksum are right, its body is not.
fn with_a_body_that_is_none(mut batch: Vec<u8>) -> Vec<u8> {
    batch[HEADER_BYTES..].fill(0x55);
    let checksum = crc32fast::hash(&batch[8..]);
    batch[4..8].copy_from_slice(&checksum.to_le_bytes());
    batch
}
