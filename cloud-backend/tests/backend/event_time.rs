//! Late data: what was measured later is newer, whatever came last.

use std::time::Duration;

use plant_model::{
    AcknowledgeClass, AlarmCondition, AlarmDefinition, AlarmFlags, AlarmId, AlarmPriority, AlarmState,
    AlarmTransition, DataType, Enumeration, MachineId, Quality, Sample, TagDefinition, TagId, Timestamp,
    TransitionCause, Value,
};
use protocol::{
    BatchBody, Catalogue, CatalogueMachine, CatalogueTag, Live, MachineLink, SeriesId, SeriesSamples,
    StreamId, TagRole,
};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::{Value as Json, json};

use crate::support::{Backend, EPOCH, Gateway, Installation, START, encode, sample};

const MACHINE: &str = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1";
const HOUR_MS: i64 = 3_600_000;

fn tag(series: u32, id: &str, role: TagRole) -> CatalogueTag {
    let definition = TagDefinition {
        id: TagId::new(id).expect("valid"),
        name: id.to_owned(),
        unit: String::new(),
        data_type: DataType::Int,
        enumeration: Enumeration::default(),
    };
    CatalogueTag { series: SeriesId(series), definition, role }
}

/// A press with a state, a speed, and an alarm that the speed stands still.
fn catalogue() -> Vec<u8> {
    let frozen = AlarmDefinition {
        acknowledge: AcknowledgeClass::OnReturn,
        ..AlarmDefinition::new(
            AlarmId::new("frozen").expect("valid"),
            AlarmCondition::Stale {
                tag: TagId::new("speed").expect("valid"),
                after: Duration::from_secs(30),
            },
            AlarmPriority::High,
            "The speed stands still",
        )
    };
    let machine = CatalogueMachine {
        id: MachineId::new("press-1").expect("valid"),
        name: "Press 1".into(),
        kind: "press".into(),
        protocol: "opcua".into(),
        tags: vec![tag(1, "state", TagRole::State), tag(2, "speed", TagRole::Headline)],
        alarms: vec![frozen],
    };
    Catalogue { epoch: EPOCH, machines: vec![machine] }.encode()
}

fn samples(series: u32, values: &[(i64, i64)]) -> SeriesSamples {
    let samples = values.iter().map(|(millis, value)| sample(*millis, Value::Int(*value))).collect();
    SeriesSamples { series: SeriesId(series), samples }
}

fn batch(sequence: u64, blocks: Vec<SeriesSamples>) -> Vec<u8> {
    encode(sequence, &BatchBody::Samples(blocks))
}

fn transition(sequence: u64, occurrence: u64, millis: i64, raised: bool) -> Vec<u8> {
    let at = Timestamp::from_micros(START + millis * 1_000);
    let (normal, active) = (AlarmState::Normal, AlarmState::Unacknowledged);
    let to = if raised { active } else { normal };
    let step = AlarmTransition {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("frozen").expect("valid"),
        tag: Some(TagId::new("speed").expect("valid")),
        occurrence,
        from: if raised { normal } else { active },
        to,
        cause: if raised { TransitionCause::Raised } else { TransitionCause::ReturnedToNormal },
        priority: AlarmPriority::High,
        value: None,
        limit: None,
        deadband: 0.0,
        value_at: at,
        decided_at: at,
        message: "The speed stands still".into(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: None,
    };
    encode(sequence, &BatchBody::Transitions(vec![step]))
}

fn live(millis: i64, speed: Sample) -> Live {
    let links = vec![MachineLink {
        machine: MachineId::new("press-1").expect("valid"),
        up: true,
        reason: String::new(),
    }];
    let latest = vec![SeriesSamples { series: SeriesId(2), samples: vec![speed] }];
    Live { at: Timestamp::from_micros(START + millis * 1_000), latest, links, transitions: Vec::new() }
}

async fn introduce(installation: &Installation, backend: &Backend) -> Gateway {
    let (mut gateway, _) = Gateway::hello(installation, backend).await;
    gateway.publish("up/catalogue", catalogue()).await;
    assert_eq!(gateway.puback().await, PubAckReason::Success);
    gateway
}

/// The tag as the API shows it.
fn tag_of<'a>(machine: &'a Json, id: &str) -> &'a Json {
    machine["tags"].as_array().into_iter().flatten().find(|t| t["id"] == id).expect("the tag")
}

#[tokio::test]
async fn in5_two_samples_of_one_instant_are_both_kept_whether_in_one_batch_or_in_two() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let mut gateway = introduce(&installation, &backend).await;
    gateway.publish("up/telemetry", batch(1, vec![samples(2, &[(1_000, 7), (1_000, 8), (2_000, 1)])])).await;
    gateway.publish("up/telemetry", batch(2, vec![samples(2, &[(2_000, 2), (2_000, 2)])])).await;
    gateway.acknowledged(StreamId::Telemetry, 2).await;
    let path = format!("{MACHINE}/samples?tag=speed&start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z");
    let series = &backend.json(&path).await["series"][0];
    let times: Vec<i64> = series["times"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_i64)
        .map(|t| t - START / 1_000)
        .collect();
    assert_eq!(times, [1_000, 1_000, 2_000, 2_000, 2_000]);
    assert_eq!(series["values"], json!([7, 8, 1, 2, 2]), "in the order of their sequence");
    assert_eq!(backend.ledger("telemetry").await["samples_stored"], 5);
}

#[tokio::test]
async fn in6_a_backfill_moves_neither_latest_values_nor_alarms_back_before_and_after_a_restart() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let mut gateway = introduce(&installation, &backend).await;
    gateway
        .publish("up/telemetry", batch(1, vec![samples(1, &[(HOUR_MS, 0)]), samples(2, &[(HOUR_MS, 80)])]))
        .await;
    gateway.publish("up/alarm", transition(3, 2, HOUR_MS, true)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    gateway.send_live(&live(HOUR_MS, sample(HOUR_MS, Value::Int(80)))).await;
    let shows = |machine: &Json| tag_of(machine, "speed")["latest"]["value"] == 80;
    backend.eventually("the live value", MACHINE, shows).await;
    let active = |alarms: &Json| alarms["items"][0]["occurrence"] == 2;
    backend.eventually("the alarm", "/api/v1/tenants/acme/alarms", active).await;

    // An hour ago: another value, another state, and an alarm that came and went.
    gateway.publish("up/telemetry", batch(2, vec![samples(1, &[(0, 2)]), samples(2, &[(0, 11)])])).await;
    gateway.send_live(&live(0, sample(0, Value::Int(12)))).await;
    gateway.publish("up/alarm", transition(1, 1, 0, true)).await;
    gateway.publish("up/alarm", transition(2, 1, 1_000, false)).await;
    gateway.acknowledged(StreamId::Alarm, 3).await;
    assert_eq!(backend.ledger("telemetry").await["stored"], 2);
    let unmoved = |machine: &Json, alarms: &Json| {
        assert_eq!(tag_of(machine, "speed")["latest"]["value"], 80, "{machine}");
        assert_eq!(machine["last_sample_at"], "2026-01-01T01:00:00.000Z", "{machine}");
        assert_eq!(machine["active_alarms"], 1, "{machine}");
        let numbers: Vec<_> =
            alarms["items"].as_array().into_iter().flatten().map(|a| &a["occurrence"]).collect();
        assert_eq!(numbers, [2], "{alarms}");
    };
    unmoved(&backend.json(MACHINE).await, &backend.json("/api/v1/tenants/acme/alarms").await);
    drop(gateway);
    backend.kill();
    let backend = installation.serve().await;
    let machine = backend.json(MACHINE).await;
    unmoved(&machine, &backend.json("/api/v1/tenants/acme/alarms").await);
    assert_eq!(machine["state"], "running", "the state of an hour ago is not the state now");
}

/// What the backend makes of a row of batches: everything that looks at more than one of them.
async fn made_of(order: &[usize]) -> Json {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let mut gateway = introduce(&installation, &backend).await;
    // Forty values a second: up, down, up.
    let speeds = |second: i64| -> Vec<(i64, i64)> {
        (0..40).map(|n| (second * 1_000 + n * 25, (second * 40 + n) * 37 % 101 - 50)).collect()
    };
    let telemetry = |second: i64, states: &[(i64, i64)]| {
        let sequence = u64::try_from(second).expect("small") + 1;
        ("up/telemetry", batch(sequence, vec![samples(1, states), samples(2, &speeds(second))]))
    };
    let stories = [
        vec![
            telemetry(0, &[(0, 0), (500, 2)]),
            telemetry(1, &[(1_000, 2)]),
            telemetry(2, &[(2_000, 2)]),
            telemetry(3, &[(3_000, 2)]),
        ],
        vec![
            ("up/alarm", transition(1, 1, 100, true)),
            ("up/alarm", transition(2, 1, 200, false)),
            ("up/alarm", transition(3, 2, 300, true)),
        ],
    ];
    let messages: Vec<&(&str, Vec<u8>)> = stories.iter().flatten().collect();
    for position in order {
        let (path, payload) = messages[*position];
        gateway.publish(path, payload.clone()).await;
    }
    gateway.acknowledged(StreamId::Telemetry, 4).await;
    // The last to come need not be the last of its stream: the ledger says when all are in.
    let all = |ledger: &Json| {
        let stored =
            ledger["items"].as_array().into_iter().flatten().filter_map(|row| row["stored"].as_u64());
        stored.sum::<u64>() == 7
    };
    backend.eventually("all are stored", "/api/v1/tenants/acme/ledger", all).await;
    let before = backend.json("/api/v1/tenants/acme/alarms").await;
    drop(gateway);
    backend.kill();
    let backend = installation.serve().await;
    let range = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:00:04Z&tag=state&tag=speed";
    let mut machine = backend.json(MACHINE).await;
    for tag in machine["tags"].as_array_mut().into_iter().flatten() {
        tag["latest"]["age_ms"].take();
    }
    json!({
        "alarms before the restart": ids_taken_out(before),
        "alarms": ids_taken_out(backend.json("/api/v1/tenants/acme/alarms").await),
        "machine": machine,
        "samples": backend.json(&format!("{MACHINE}/samples?{range}")).await["series"],
        "buckets": backend.json(&format!("{MACHINE}/samples?{range}&points=20")).await["series"],
    })
}

/// Rows are numbered as they came, and carry when they were stored.
fn ids_taken_out(mut alarms: Json) -> Json {
    for alarm in alarms["items"].as_array_mut().into_iter().flatten() {
        for field in ["id", "stored_at"] {
            alarm[field].take();
        }
    }
    alarms
}

#[tokio::test(flavor = "multi_thread")]
async fn in7_late_batches_give_the_windows_states_and_alarms_of_the_run_in_order() {
    let in_order = made_of(&[0, 1, 2, 3, 4, 5, 6]).await;
    assert_eq!(in_order["machine"]["state"], "down");
    assert_eq!(in_order["machine"]["state_since"], "2026-01-01T00:00:00.500Z", "over three batches");
    assert_eq!(in_order["buckets"][1]["downsampled"], true, "{}", in_order["buckets"]);
    for order in [[6, 5, 4, 3, 2, 1, 0], [2, 6, 0, 4, 3, 5, 1], [3, 1, 4, 0, 6, 2, 5]] {
        let late = made_of(&order).await;
        for part in ["alarms before the restart", "alarms", "machine", "samples", "buckets"] {
            assert_eq!(late[part], in_order[part], "{part} of {order:?}");
        }
    }
}

#[tokio::test]
async fn in8_a_frozen_value_reaches_the_api_with_its_source_time_quality_age_and_as_stale() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let gateway = introduce(&installation, &backend).await;
    // The machine gives the value of an hour ago again and again; the gateway reads it now.
    let frozen = |read_ms: i64| Sample {
        source_timestamp: Some(Timestamp::from_micros(START)),
        quality: Quality::UNCERTAIN,
        ..sample(read_ms, Value::Int(80))
    };
    gateway.send_live(&live(HOUR_MS, frozen(HOUR_MS))).await;
    let there = |machine: &Json| tag_of(machine, "speed")["latest"]["value"] == 80;
    let machine = backend.eventually("the value", MACHINE, there).await;
    let latest = &tag_of(&machine, "speed")["latest"];
    assert_eq!(latest["source_at"], "2026-01-01T00:00:00.000Z", "{latest}");
    assert_eq!(
        latest["at"], "2026-01-01T01:00:00.000Z",
        "placed when it was read, for the source is too far off"
    );
    assert_eq!((&latest["quality"], &latest["good"]), (&json!("Uncertain"), &json!(false)), "{latest}");
    let now = Timestamp::from_micros(now_micros());
    let age_ms = latest["age_ms"].as_u64().expect("a number");
    let since_source = u64::try_from(now.since(Timestamp::from_micros(START)).as_millis()).expect("small");
    assert!(
        age_ms.abs_diff(since_source) < 60_000,
        "{age_ms} is the age of the machine's value, not of the reading"
    );
    assert_eq!(latest["stale"], false, "{latest}");

    gateway.publish("up/alarm", transition(1, 1, HOUR_MS, true)).await;
    let is_stale = |machine: &Json| tag_of(machine, "speed")["latest"]["stale"] == true;
    backend.eventually("the alarm that it stands still", MACHINE, is_stale).await;
    gateway.publish("up/alarm", transition(2, 1, HOUR_MS + 1, false)).await;
    backend.eventually("the value moves again", MACHINE, |machine| !is_stale(machine)).await;
    drop(gateway);
    backend.eventually("nobody vouches for it", MACHINE, is_stale).await;
}

fn now_micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("far from the end")
}
