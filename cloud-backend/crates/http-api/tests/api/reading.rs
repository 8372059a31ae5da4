//! What was stored and what is live, as the API tells it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Api, temperatures, transition};
use futures_util::StreamExt as _;
use plant_model::{Quality, TransitionCause};
use protocol::{BatchBody, StreamId};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

const MACHINE: &str = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1";
const RANGE: &str = "start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z";

#[tokio::test]
async fn a_machine_is_told_with_its_latest_values_state_and_alarms() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    api.live(1_000, 71.25, Quality::GOOD);
    api.store(1, BatchBody::Transitions(vec![transition(1, TransitionCause::Raised, 2_000)])).await;

    let machines = api.json(&anna, "/api/v1/tenants/acme/machines").await;
    let expected = json!([{
        "gateway": "gw-1", "id": "press-1", "name": "Press 1", "kind": "hydraulic-press",
        "protocol": "modbus-tcp", "link": "up", "state": "running",
        "state_since": "2026-01-01T00:00:01.000Z", "last_sample_at": "2026-01-01T00:00:01.000Z",
        "active_alarms": 1, "worst_priority": "high",
        "headline": [{
            "tag": "temperature", "name": "TEMPERATURE", "unit": "°C", "enumeration": [], "value": 71.25,
            "quality": "Good", "at": "2026-01-01T00:00:01.000Z"
        }]
    }]);
    assert_eq!(machines["items"], expected);

    let mut detail = api.json(&anna, MACHINE).await;
    assert_eq!(detail["id"], "press-1");
    let age_ms = detail["tags"][1]["latest"]["age_ms"].take();
    assert!(age_ms.as_u64().is_some_and(|age| age > 0), "{age_ms}");
    assert_eq!(
        detail["tags"][1],
        json!({
            "id": "state", "name": "STATE", "unit": "", "data_type": "int",
            "enumeration": [{ "number": 0, "name": "cutting" }, { "number": 1, "name": "waiting" }],
            "latest": {
                "value": 0, "quality": "Good", "good": true, "at": "2026-01-01T00:00:01.000Z",
                "source_at": null, "age_ms": null, "stale": false
            }
        })
    );
    assert_eq!(
        detail["alarms"],
        json!([{
            "id": "hot", "tag": "temperature", "kind": "high", "limit": 90.0, "deadband": 2.0,
            "expression": null, "acknowledge": "on_return", "latching": false, "suppress_while": null,
            "shelve_seconds_max": 28_800, "priority": "high", "message": "Oil too hot"
        }])
    );
    let tenants = api.json(&anna, "/api/v1/tenants").await;
    assert_eq!(
        tenants["items"],
        json!([
            { "id": "acme", "name": "Acme", "gateways": 1, "machines": 1, "active_alarms": 1 }
        ])
    );
    let gateways = api.json(&anna, "/api/v1/tenants/acme/gateways").await;
    assert_eq!(gateways["items"][0]["online"], true);
    assert_eq!(gateways["items"][0]["agent_version"], "1.2.3");
    assert_eq!(gateways["items"][0]["epoch"], "000000000000abcd");
    assert_eq!(gateways["items"][0]["machines"], 1);
}

#[tokio::test]
async fn a_machine_that_is_not_there_is_not_found() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    for path in [
        "/api/v1/tenants/acme/gateways/gw-1/machines/press-2".to_owned(),
        "/api/v1/tenants/acme/gateways/gw-2/machines/press-1".to_owned(),
        "/api/v1/tenants/acme/gateways/GW/machines/press-1".to_owned(),
        format!("/api/v1/tenants/acme/gateways/gw-1/machines/x/samples?tag=temperature&{RANGE}"),
    ] {
        assert_eq!(api.get(&anna, &path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn stored_samples_come_back_raw_and_reduced() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    api.store(1, temperatures(1_000)).await;

    let raw = api.json(&anna, &format!("{MACHINE}/samples?tag=temperature&{RANGE}")).await;
    assert_eq!(raw["start"], "2026-01-01T00:00:00.000Z");
    assert_eq!(raw["truncated"], false);
    let series = &raw["series"][0];
    assert_eq!(
        (&series["tag"], &series["unit"], &series["data_type"]),
        (&json!("temperature"), &json!("°C"), &json!("float"))
    );
    assert_eq!(series["downsampled"], false);
    assert_eq!(series["times"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(series["times"][999], crate::support::START / 1_000 + 999_000);
    assert_eq!(series["values"][999], 999.0);

    let range = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:16:40Z&points=10";
    let reduced = api.json(&anna, &format!("{MACHINE}/samples?tag=temperature&{range}")).await;
    let series = &reduced["series"][0];
    assert_eq!(series["downsampled"], true);
    assert_eq!(series["min"], json!([0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0]));
    assert_eq!(series["max"][9], 999.0);
    assert_eq!(series["values"], series["max"], "the last of a rising bucket is its greatest");
}

#[tokio::test]
async fn a_query_for_samples_that_makes_no_sense_names_the_parameter() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    for (query, parameter) in [
        (RANGE.to_owned(), "tag"),
        (format!("tag=temperature&{RANGE}&points=3"), "points"),
        (format!("tag=temperature&{RANGE}&colour=red"), "colour"),
        ("tag=temperature&start=now&end=2026-01-01T00:00:00Z".to_owned(), "start"),
    ] {
        let response = api.get(&anna, &format!("{MACHINE}/samples?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem: Json = response.json().await.expect("JSON");
        assert_eq!(problem["errors"][0]["pointer"], parameter, "{problem}");
    }
}

#[tokio::test]
async fn alarms_and_their_journal_are_paged_newest_first() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    let steps = [
        transition(1, TransitionCause::Raised, 1_000),
        transition(1, TransitionCause::ReturnedToNormal, 2_000),
        transition(2, TransitionCause::Raised, 3_000),
    ];
    api.store(1, BatchBody::Transitions(steps.to_vec())).await;

    let active = api.json(&anna, "/api/v1/tenants/acme/alarms").await;
    assert_eq!(active["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(active["items"][0]["occurrence"], 2);
    assert_eq!(
        (&active["items"][0]["state"], &active["items"][0]["active"]),
        (&json!("UNACK"), &json!(true))
    );
    assert_eq!(active["items"][0]["value"], 91.5);

    let all = api.json(&anna, "/api/v1/tenants/acme/alarms?state=all").await;
    assert_eq!(all["items"][1]["returned_at"], "2026-01-01T00:00:02.000Z");
    assert_eq!(all["next_cursor"], Json::Null);

    let mut seen = Vec::new();
    let mut path = "/api/v1/tenants/acme/alarms/transitions?limit=2".to_owned();
    loop {
        let page = api.json(&anna, &path).await;
        let items = page["items"].as_array().expect("a list");
        seen.extend(items.iter().map(|t| t["decided_at"].as_str().expect("text")[17..19].to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/tenants/acme/alarms/transitions?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["03", "02", "01"]);
    for bad in ["limit=0", "limit=501", "cursor=x", "state=some", "limit=1&limit=2"] {
        let response = api.get(&anna, &format!("/api/v1/tenants/acme/alarms?{bad}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn the_ledger_accounts_for_every_message() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    for _ in 0..2 {
        api.store(1, temperatures(10)).await;
    }
    api.apply(StreamId::Telemetry, vec![0xFF; 20]).await;
    let ledger = api.json(&anna, "/api/v1/tenants/acme/ledger").await;
    let rows: Vec<&Json> =
        ledger["items"].as_array().expect("a list").iter().filter(|r| r["stream"] == "telemetry").collect();
    let sum = |field: &str| rows.iter().map(|r| r[field].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("received"), sum("stored"), sum("duplicate")), (3, 1, 1));
    assert_eq!(sum("samples_stored"), 10);
    let rejected: Vec<&Json> = rows.iter().flat_map(|r| r["rejected"].as_array().expect("a list")).collect();
    assert_eq!(rejected, [&json!({ "reason": "unknown_container", "count": 1 })]);
    let known = rows.iter().find(|r| r["epoch"] == "000000000000abcd").expect("the epoch's row");
    assert_eq!(known["committed_through"], 1);
}

/// Reads a stream of events as `name`, `data`.
struct Events {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    async fn open(api: &Api, cookie: &str) -> Self {
        let request = api.client.get(format!("http://{}/api/v1/tenants/acme/live", api.address));
        let response = request.header("cookie", cookie).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Json)> {
        // Around the whole: comments keep coming when events do not.
        tokio::time::timeout(Duration::from_secs(20), self.read()).await.expect("no event came")
    }

    async fn read(&mut self) -> Option<(String, Json)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = event_in(block);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let chunk = self.body.next().await?.expect("a chunk");
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

/// The name and the data of an event; `None` for a comment.
fn event_in(block: &str) -> Option<(String, Json)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (name, data) = field("event:").zip(field("data:"))?;
    Some((name.to_owned(), serde_json::from_str(data).expect("JSON")))
}

#[tokio::test]
async fn a_stream_begins_with_what_is_known_and_goes_on_with_what_changes() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    api.live(1_000, 70.0, Quality::GOOD);
    let mut events = Events::open(&api, &anna).await;
    let (name, data) = events.next().await.expect("the snapshot");
    assert_eq!(name, "values");
    let at = crate::support::START / 1_000 + 1_000;
    assert_eq!(
        data,
        json!({
            "gateway": "gw-1", "machine": "press-1", "at": at, "link": "up",
            "values": { "temperature": 70.0, "state": 0 }
        })
    );

    api.live(2_000, 71.0, Quality::BAD_TIMEOUT);
    let (_, data) = events.next().await.expect("new values");
    assert_eq!(data["values"]["temperature"], Json::Null);
    assert_eq!(data["bad"], json!({ "temperature": "BadTimeout" }));

    let applied =
        api.store(1, BatchBody::Transitions(vec![transition(1, TransitionCause::Raised, 2_000)])).await;
    let (name, data) = events.next().await.expect("the alarm");
    assert_eq!(
        (name.as_str(), &data["cause"], &data["message"]),
        ("alarm", &json!("raised"), &json!("Oil too hot"))
    );
    let stored = format!("{:03}Z", applied.stored_at.millis() % 1_000);
    assert!(data["stored_at"].as_str().is_some_and(|text| text.ends_with(&stored)), "{data}");

    api.feed.presence(
        &crate::support::acme(),
        &crate::support::gw_1(),
        fleet::Presence::Offline,
        applied.stored_at,
    );
    let (name, data) = events.next().await.expect("the gateway left");
    assert_eq!((name.as_str(), data), ("gateway", json!({ "gateway": "gw-1", "online": false })));
}

#[tokio::test]
async fn an_old_value_is_not_shown_with_the_time_of_a_new_one() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    api.live(1_000, 70.0, Quality::GOOD);
    let latest = protocol::SeriesSamples {
        series: protocol::SeriesId(2),
        samples: vec![crate::support::sample(60_000, plant_model::Value::Int(1), Quality::GOOD)],
    };
    let at = plant_model::Timestamp::from_micros(crate::support::START + 60_000_000);
    let live = protocol::Live { at, latest: vec![latest], links: Vec::new(), transitions: Vec::new() };
    api.feed.live(&crate::support::acme(), &crate::support::gw_1(), &live);
    let mut events = Events::open(&api, &anna).await;
    let (_, old) = events.next().await.expect("the older values");
    let (_, new) = events.next().await.expect("the newer values");
    assert_eq!(old["values"], json!({ "temperature": 70.0 }));
    assert_eq!(new["values"], json!({ "state": 1 }));
    assert_eq!(new["at"].as_i64().zip(old["at"].as_i64()).map(|(new, old)| new - old), Some(59_000));
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_to_fetch_everything_and_holds_up_nobody() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    let mut events = Events::open(&api, &anna).await;
    // More than the ring and all socket buffers hold; applying must not wait for the reader.
    let applied = tokio::task::spawn_blocking({
        let feed = api.feed.clone();
        move || {
            let message = "x".repeat(1_000);
            let steps: Vec<_> = (1..=20_000)
                .map(|n| {
                    let mut step = transition(n, TransitionCause::Raised, 1_000);
                    step.message.clone_from(&message);
                    step
                })
                .collect();
            let at = plant_model::Timestamp::from_micros(crate::support::START);
            feed.stored_transitions(&crate::support::acme(), &crate::support::gw_1(), &steps, at);
        }
    });
    tokio::time::timeout(Duration::from_secs(20), applied).await.expect("applying waited").expect("joined");
    loop {
        let (name, _) = events.next().await.expect("the stream goes on");
        if name == "resync" {
            break;
        }
    }
    let metrics =
        api.request(Method::GET, "/metrics").send().await.expect("an answer").text().await.expect("text");
    assert!(!metrics.contains("cloud_backend_live_resyncs_total 0"), "{metrics}");
}

#[tokio::test]
async fn stopping_ends_streams_and_the_server() {
    let mut api = Api::start().await;
    let anna = api.sign_in("anna").await;
    let mut events = Events::open(&api, &anna).await;
    api.shutdown.cancel();
    assert_eq!(events.next().await, None);
    let served = api.served.take().expect("it runs");
    tokio::time::timeout(Duration::from_secs(4), served).await.expect("it ends in time").expect("joined");
}

#[tokio::test]
async fn readiness_names_the_reason_and_liveness_does_not_care() {
    let api = Api::start().await;
    let get = |path: &'static str| api.request(Method::GET, path).send();
    assert_eq!(get("/readyz").await.expect("an answer").status(), StatusCode::OK);
    api.ready.store(false, Ordering::Relaxed);
    let red = get("/readyz").await.expect("an answer");
    assert_eq!(red.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(red.json::<Json>().await.expect("JSON")["detail"], "the disk is full");
    assert_eq!(get("/livez").await.expect("an answer").status(), StatusCode::OK);
    let metrics = get("/metrics").await.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("\ntest_total 1\n"), "{metrics}");
    assert!(metrics.contains("cloud_backend_http_responses_total{class=\"5xx\"} 1"), "{metrics}");
}

#[tokio::test]
async fn an_alarm_is_shown_before_it_is_stored_and_its_stored_copy_confirms_it() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    let mut events = Events::open(&api, &anna).await;
    let raised = transition(1, TransitionCause::Raised, 2_000);
    let at = raised.decided_at;
    let live =
        protocol::Live { at, latest: Vec::new(), links: Vec::new(), transitions: vec![raised.clone()] };
    api.feed.live(&crate::support::acme(), &crate::support::gw_1(), &live);
    let early = loop {
        let (name, data) = events.next().await.expect("the alarm");
        if name == "alarm" {
            break data;
        }
    };
    assert_eq!((&early["stored_at"], &early["to"]), (&Json::Null, &json!("UNACK")));
    let machine = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1";
    assert_eq!(api.json(&anna, machine).await["active_alarms"], 1, "it counts at once");
    let journal = "/api/v1/tenants/acme/alarms/transitions";
    assert_eq!(api.json(&anna, journal).await["items"], json!([]), "and is not in the journal");

    api.store(1, BatchBody::Transitions(vec![raised])).await;
    let (_, mut stored) = events.next().await.expect("the stored copy");
    assert!(stored["stored_at"].is_string(), "{stored}");
    stored["stored_at"] = Json::Null;
    assert_eq!(stored, early, "the same step");
    assert_eq!(api.json(&anna, machine).await["active_alarms"], 1, "counted once");
}
