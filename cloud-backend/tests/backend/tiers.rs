//! A few days of one machine on their way through the tiers and back, by the command line alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ingestion::{Arrival, IngestStore, WriteSet, decide};
use plant_model::{GatewayId, Quality, Sample, TenantId, Timestamp, Value};
use protocol::{Batch, BatchBody, Catalogue, Sequence, SeriesId, SeriesSamples, StreamId};
use serde_json::Value as Json;
use service_kit::Clock;
use store_sqlite::SqliteStore;

use crate::support::{EPOCH, Installation, catalogue};

const DAY_MICROS: i64 = 86_400_000_000;
/// Minutes of each day that hold samples.
const MINUTES: i64 = 60;
/// In a minute.
const SAMPLES: i64 = 60;

/// The start of the day so many days ago.
fn days_ago(now: Timestamp, days: i64) -> Timestamp {
    Timestamp::from_micros((now.micros().div_euclid(DAY_MICROS) - days) * DAY_MICROS)
}

fn date(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros()).expect("a time").strftime("%Y-%m-%d").to_string()
}

/// A minute of the tag: a saw tooth.
fn batch(sequence: u64, start: Timestamp) -> Vec<u8> {
    let sample = |second: i64| Sample {
        value: Some(Value::Float(f64::from(u32::try_from((second * 7) % 40).expect("small")) / 10.0)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(start.micros() + second * 1_000_000),
    };
    let samples = (0..SAMPLES).map(sample).collect();
    let body = BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]);
    Batch::encode(EPOCH, Sequence::from_u64(sequence), start, &body).expect("within the limits")
}

/// Stores an hour of each of two days, as a gateway would have sent it an hour ago, and seals it.
async fn fill(data: &Path, now: Timestamp) {
    let (tenant, gateway) = (TenantId::new("acme").expect("valid"), GatewayId::new("gw-1").expect("valid"));
    let store = SqliteStore::open(data).expect("opens");
    let received_at = now.minus(std::time::Duration::from_secs(3_600));
    let bytes = Bytes::from(catalogue());
    let catalogue = Catalogue::decode(&bytes).expect("sound");
    store.save_catalogue(&tenant, &gateway, Arc::new(catalogue), bytes, received_at).await.expect("saved");
    let minutes = [10, 3].into_iter().flat_map(|days| {
        let start = days_ago(now, days).micros();
        (0..MINUTES).map(move |minute| Timestamp::from_micros(start + minute * 60_000_000))
    });
    let judged = (1..).zip(minutes).map(|(sequence, start)| {
        decide(Arrival {
            tenant: tenant.clone(),
            gateway: gateway.clone(),
            stream: StreamId::Telemetry,
            payload: Bytes::from(batch(sequence, start)),
            received_at,
        })
    });
    let set = Arc::new(WriteSet { entries: judged.collect() });
    store.apply(&tenant, set).await.expect("stored");
    while tiering::seal_next(&store, &tenant, &gateway, now, now).await.expect("sealed").sealed.is_some() {}
}

/// Prints a command and what it printed, for the walk in the documentation.
#[expect(clippy::print_stdout, reason = "the walk in the documentation is made of it")]
fn shown(installation: &Installation, arguments: &[&str]) -> String {
    let text = installation.done(arguments);
    println!("$ cloud-backend {}\n{text}", arguments.join(" "));
    text
}

fn json(installation: &Installation, arguments: &[&str]) -> Json {
    let text = installation.done(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn actions(body: &Json) -> Vec<&str> {
    body["moves"].as_array().expect("moves").iter().filter_map(|m| m["action"].as_str()).collect()
}

fn objects(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            objects(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

const TENANT: [&str; 2] = ["--tenant", "acme"];

#[tokio::test(flavor = "multi_thread")]
async fn st3_st4_days_go_through_the_tiers_and_come_back_with_the_same_hashes() {
    let installation = Installation::new();
    let now = Clock::start().wall();
    fill(&installation.data(), now).await;
    let tiers = |words: &[&'static str]| [&["tiers"][..], words, &TENANT].concat();

    // Two closed days are archived, as it was told before.
    shown(&installation, &tiers(&["status"]));
    shown(&installation, &tiers(&["preview"]));
    let preview = json(&installation, &tiers(&["preview"]));
    let planned = &preview["gateways"][0];
    assert_eq!(actions(planned), ["archive", "archive"], "{preview}");
    let run = shown(&installation, &tiers(&["run"]));
    assert_eq!(run.matches("SHA-256").count(), 2, "{run}");
    let samples = MINUTES * SAMPLES;
    assert_eq!(run.matches(&format!("{samples} rows")).count(), 2, "{run}");
    shown(&installation, &tiers(&["verify"]));
    let verified = json(&installation, &tiers(&["verify"]));
    assert_eq!((&verified["not_sound"], &verified["strays"]), (&Json::from(0), &Json::Array(vec![])));
    for object in verified["objects"].as_array().expect("objects") {
        assert_eq!(
            (object["samples"].as_i64(), object["tags_equal_to_the_store"].as_i64()),
            (Some(samples), Some(1))
        );
    }

    // A shorter policy: what is previewed goes, and no more.
    let policy = installation.folder().join("policy.toml");
    std::fs::write(&policy, "version = 1\n\n[keep]\nsamples = \"5d\"\n").expect("written");
    let set = ["tiers", "policy", "set", policy.to_str().expect("text")];
    let why = ["--by", "anna", "--reason", "storage"];
    installation.done(&[&set[..], &TENANT, &why].concat());
    shown(&installation, &tiers(&["preview"]));
    let preview = json(&installation, &tiers(&["preview"]));
    let planned = &preview["gateways"][0];
    assert_eq!(actions(planned), ["drop_bodies"], "{preview}");
    let ran = json(&installation, &tiers(&["run"]));
    assert_eq!(actions(&ran), ["drop_bodies"]);
    assert_eq!(ran["moves"][0]["done"]["rows"], planned["moves"][0]["rows"]);
    assert_eq!(ran["moves"][0]["done"]["bytes"], planned["moves"][0]["bytes"]);
    assert_eq!(ran["moves"][0]["done"]["rows"], Json::from(MINUTES));
    shown(&installation, &tiers(&["status"]));

    // They come back, equal to the archive, and stay because a hold keeps them.
    let (from, to) = (date(days_ago(now, 10)), date(days_ago(now, 9)));
    let period = ["--gateway", "gw-1", "--from", &from, "--to", &to, "--by", "anna", "--reason", "claim 7"];
    let restored = shown(&installation, &[&tiers(&["restore"])[..], &period].concat());
    assert!(
        restored.starts_with(&format!("{MINUTES} minutes with {samples} samples are back")),
        "{restored}"
    );
    assert!(restored.contains("1 tags equal, 0 different, 0 not compared"), "{restored}");
    assert_eq!(actions(&json(&installation, &tiers(&["run"]))), Vec::<&str>::new());
    installation.done(&[&["tiers", "hold", "release", "1"][..], &TENANT, &why].concat());
    assert_eq!(actions(&json(&installation, &tiers(&["run"]))), ["drop_bodies"]);

    // A changed byte is seen.
    let mut found = Vec::new();
    objects(&installation.data().join("archive"), &mut found);
    let path = found.iter().find(|path| path.to_string_lossy().contains(&from)).expect("the object");
    let mut bytes = std::fs::read(path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("writable");
    let verify = installation.cli(&tiers(&["verify"]));
    assert!(!verify.status.success());
    let told = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(told.contains("NOT SOUND") && told.contains("2 objects, 1 not sound"), "{told}");
}

#[test]
fn a_policy_with_mistakes_is_refused_with_all_of_them() {
    let installation = Installation::new();
    let policy = installation.folder().join("policy.toml");
    std::fs::write(&policy, "version = 2\n[keep]\nsamples = \"1 day\"\n").expect("written");
    let set = ["tiers", "policy", "set", policy.to_str().expect("text")];
    let why = ["--by", "anna", "--reason", "storage"];
    let refused = installation.cli(&[&set[..], &TENANT, &why].concat());
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("version is 2") && told.contains("keep.samples is \"1 day\""), "{told}");
    let shown = json(&installation, &["tiers", "policy", "show", "--tenant", "acme"]);
    assert_eq!(shown["version"], Json::from(0), "the default is in force");
}
