//! From a gateway's message to the acknowledgement, the API and the live stream.

use futures_util::StreamExt as _;
use protocol::StreamId;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::json;

use crate::support::{Gateway, Installation, alarm, catalogue, live, telemetry, within};

#[tokio::test]
async fn a_hello_is_answered_with_where_each_stream_stands() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, through) = Gateway::hello(&installation, &backend).await;
    assert_eq!(through, [0, 0, 0], "nothing was sent, and the answer says so");
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    drop(gateway);
    let (_gateway, through) = Gateway::hello(&installation, &backend).await;
    assert_eq!(through, StreamId::ALL.map(|stream| u64::from(stream == StreamId::Telemetry)));
}

#[tokio::test]
async fn a_batch_is_acknowledged_when_it_is_stored_and_again_when_it_comes_again() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    for _ in 0..2 {
        gateway.publish("up/telemetry", telemetry(1)).await;
        assert_eq!(gateway.acknowledged(StreamId::Telemetry, 1).await, 1);
        let ledger = backend.ledger("telemetry").await;
        assert_eq!(
            (&ledger["stored"], &ledger["samples_stored"]),
            (&json!(1), &json!(10)),
            "stored before the ack"
        );
    }
    let ledger = backend.ledger("telemetry").await;
    assert_eq!((&ledger["received"], &ledger["duplicate"]), (&json!(2), &json!(1)));
    assert_eq!(ledger["committed_through"], 1);
}

#[tokio::test]
async fn a_batch_beyond_a_hole_is_stored_and_the_acknowledgement_stays_before_the_hole() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    for sequence in [1, 3] {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
        assert_eq!(gateway.puback().await, PubAckReason::Success);
    }
    let ledger = backend.ledger("telemetry").await;
    assert_eq!((&ledger["stored"], &ledger["committed_through"]), (&json!(2), &json!(1)));
    gateway.publish("up/telemetry", telemetry(2)).await;
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, 2).await, 3, "the hole is filled");
}

#[tokio::test]
async fn garbage_is_one_counted_rejection_and_the_connection_lives() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/telemetry", b"this is no batch".to_vec()).await;
    while let reason = gateway.puback().await
        && reason != PubAckReason::PayloadFormatInvalid
    {
        assert_eq!(reason, PubAckReason::Success, "of the hello");
    }
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    let ledger = backend.json("/api/v1/tenants/acme/ledger").await;
    let unread = ledger["items"].as_array().expect("a list").iter().find(|row| row["epoch"].is_null());
    let unread = unread.expect("the row of what could not be read");
    assert_eq!((&unread["received"], &unread["stored"]), (&json!(1), &json!(0)));
    assert_eq!(unread["rejected"].as_array().map(Vec::len), Some(1));
    assert_eq!(unread["rejected"][0]["count"], 1);
}

#[tokio::test]
async fn live_values_reach_the_api_and_the_end_of_a_connection_too() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/catalogue", catalogue()).await;
    assert_eq!(gateway.puback().await, PubAckReason::Success);
    gateway.send_live(&live(1_000, 73.5)).await;
    let path = "/api/v1/tenants/acme/machines";
    let machines =
        backend.eventually("the value", path, |json| json["items"][0]["headline"][0]["value"] == 73.5).await;
    assert_eq!(machines["items"][0]["link"], "up");
    let gateways = backend.json("/api/v1/tenants/acme/gateways").await;
    assert_eq!(gateways["items"][0]["online"], true);
    drop(gateway);
    let path = "/api/v1/tenants/acme/gateways";
    backend.eventually("going offline", path, |json| json["items"][0]["online"] == false).await;
    let machines = backend.json("/api/v1/tenants/acme/machines").await;
    assert_eq!(machines["items"][0]["link"], "unknown", "nobody can say now");
}

#[tokio::test]
async fn an_alarm_reaches_the_live_stream_once_and_after_it_is_stored() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    let stream = backend.get("/api/v1/tenants/acme/live").await;
    let mut chunks = stream.bytes_stream();
    // The duplicate must not show: the second event is the second alarm.
    for payload in [alarm(1, 1), alarm(1, 1), alarm(2, 2)] {
        gateway.publish("up/alarm", payload).await;
    }
    gateway.acknowledged(StreamId::Alarm, 2).await;
    let mut text = String::new();
    within("two alarms", async {
        while text.matches("event: alarm").count() < 2 || !text.ends_with("\n\n") {
            let chunk = chunks.next().await.expect("the stream lives").expect("a chunk");
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    })
    .await;
    let occurrences: Vec<_> =
        text.match_indices("\"occurrence\":").map(|(at, key)| &text[at + key.len()..][..1]).collect();
    assert_eq!(occurrences, ["1", "2"], "{text}");
    let active = backend.json("/api/v1/tenants/acme/alarms").await;
    let shown: Vec<_> = active["items"].as_array().into_iter().flatten().map(|a| &a["occurrence"]).collect();
    assert_eq!(shown, [2], "the later one is the state of the alarm");
}

#[tokio::test]
async fn after_a_kill_everything_acknowledged_is_there_and_nothing_is_stored_twice() {
    const BATCHES: u64 = 300;
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/catalogue", catalogue()).await;
    for sequence in 1..=60 {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
    }
    let acknowledged = gateway.acknowledged(StreamId::Telemetry, 20).await;
    backend.kill();
    let acknowledged = acknowledged.max(gateway.highest_so_far());
    drop(gateway);

    let backend = installation.serve().await;
    let (mut gateway, through) = Gateway::hello(&installation, &backend).await;
    let telemetry_position = StreamId::ALL.iter().position(|s| *s == StreamId::Telemetry).expect("a stream");
    let watermark = through[telemetry_position];
    assert!(watermark >= acknowledged, "{acknowledged} was acknowledged, {watermark} is there");
    for sequence in watermark + 1..=BATCHES {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
    }
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, BATCHES).await, BATCHES);
    let ledger = backend.ledger("telemetry").await;
    assert_eq!((&ledger["stored"], &ledger["samples_stored"]), (&json!(BATCHES), &json!(BATCHES * 10)));
    let path = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1/samples?tag=temperature\
                &start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z";
    let samples = backend.json(path).await;
    let times = samples["series"][0]["times"].as_array().expect("a list");
    assert_eq!(times.len() as u64, BATCHES * 10);
    assert!(times.windows(2).all(|pair| pair[0].as_i64() < pair[1].as_i64()), "each once");
}

#[tokio::test]
async fn while_the_store_cannot_be_written_nothing_is_acknowledged_and_it_says_so() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    assert_eq!(backend.get("/readyz").await.status(), 200);
    let path = installation.data().join("tenants/acme.db");
    let other = rusqlite::Connection::open(path).expect("the tenant's file");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    gateway.publish("up/telemetry", telemetry(1)).await;
    backend.answers("/readyz", |status, why| status == 503 && why.contains("tenant acme")).await;
    assert_eq!(gateway.highest_so_far(), 0, "nothing is acknowledged");
    other.execute_batch("ROLLBACK").expect("we hold it");
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    backend.answers("/readyz", |status, _| status == 200).await;
    assert_eq!(backend.ledger("telemetry").await["stored"], 1, "the same set was applied once");
}
