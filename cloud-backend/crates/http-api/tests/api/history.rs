//! Samples and figures over HTTP, in all their forms.

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use plant_model::{Quality, Timestamp, Value};
use protocol::{BatchBody, SeriesId, SeriesSamples};
use reqwest::{Method, StatusCode};
use segments::Minute;
use serde_json::{Value as Json, json};
use tiering::{
    Archive as _, Hour, ObjectId, ObjectRow, ObjectState, Parts, SegmentsOfMachine, TierStore as _,
    roll_next, seal_next,
};

use crate::support::{Api, START, acme, gw_1, press, sample, temperatures};

const MACHINE: &str = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1";
const RANGE: &str = "start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z";

/// An API whose press is `cutting` (0) for ten minutes, `waiting` (1) for five, every ten seconds, beside temperatures.
async fn with_data() -> (Api, String) {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.connect_gateway().await;
    api.store(1, temperatures(900)).await;
    let state = |n: i64| sample(n * 10_000, Value::Int(i64::from(n >= 60)), Quality::GOOD);
    let states = SeriesSamples { series: SeriesId(2), samples: (0..90).map(state).collect() };
    api.store(2, BatchBody::Samples(vec![states])).await;
    (api, anna)
}

#[tokio::test]
async fn pages_of_samples_follow_one_another_and_say_where_they_came_from() {
    let (api, anna) = with_data().await;
    let base = format!("{MACHINE}/samples?tag=temperature&tag=state&{RANGE}&limit=400");
    let mut times: Vec<Json> = Vec::new();
    let mut path = base.clone();
    loop {
        let response = api.get(&anna, &path).await;
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("x-tiers"), "hot");
        assert_eq!(header("x-cost-estimate"), "0.000000000 USD; requests=0; bytes=0");
        assert!(header("server-timing").starts_with("query;dur="));
        let page: Json = response.json().await.expect("JSON");
        assert_eq!(page["provenance"]["layers"], json!(["batches"]));
        for series in page["series"].as_array().expect("a list") {
            times.extend(series["times"].as_array().expect("a list").clone());
        }
        assert_eq!(page["truncated"], page["next_cursor"].is_string());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{base}&cursor={cursor}");
    }
    assert_eq!(times.len(), 990);
    times.sort_by_key(Json::as_i64);
    assert_eq!(times[989], START / 1_000 + 899_000);
}

#[tokio::test]
async fn samples_come_as_csv_and_as_parquet() {
    let (api, anna) = with_data().await;
    let path = format!("{MACHINE}/samples?tag=temperature&tag=state&{RANGE}");
    let csv = api.get(&anna, &format!("{path}&format=csv")).await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.headers()["content-disposition"], "attachment; filename=\"gw-1-press-1.csv\"");
    let text = csv.text().await.expect("text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,source_time,tag,value,type,quality,quality_code"));
    assert_eq!(lines.next(), Some("2026-01-01T00:00:00.000000Z,,temperature,0,float,Good,0"));
    assert_eq!(lines.next(), Some("2026-01-01T00:00:00.000000Z,,state,0,int,Good,0"));
    assert_eq!(lines.count(), 988);

    let request = api.request(Method::GET, &path).header("cookie", &anna);
    let parquet = request.header("accept", "application/vnd.apache.parquet").send().await.expect("an answer");
    assert_eq!(parquet.headers()["content-type"], "application/vnd.apache.parquet");
    let reader = SerializedFileReader::new(parquet.bytes().await.expect("bytes")).expect("Parquet");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 990);
    let last = reader.get_row_iter(None).expect("rows").last().expect("one").expect("a row");
    assert!(last.to_string().contains("tag: \"temperature\""), "{last}");
    assert!(last.to_string().contains("value_float: 899.0"), "{last}");
}

#[tokio::test]
async fn da2_figures_come_by_stretch_with_time_in_states_and_the_days_of_the_plant() {
    let (api, anna) = with_data().await;
    let path =
        format!("{MACHINE}/aggregate?tag=state&{RANGE}&function=time_in_state&function=last&width=10m");
    let found = api.json(&anna, &path).await;
    let stretches = found["series"][0]["stretches"].as_array().expect("a list");
    assert_eq!(stretches.len(), 6);
    assert_eq!(stretches[0]["time_in_state"], json!([{ "state": 0, "seconds": 600.0 }]));
    // The last value is in force for ten minutes more, and nothing is known afterwards.
    assert_eq!(stretches[1]["time_in_state"], json!([{ "state": 1, "seconds": 600.0 }]));
    assert_eq!(stretches[2]["time_in_state"], json!([{ "state": 1, "seconds": 290.0 }]));
    assert_eq!(stretches[2]["last"], Json::Null);
    assert_eq!(stretches[1]["last"], json!({ "value": 1, "at": "2026-01-01T00:14:50.000Z" }));
    assert_eq!((&found["series"][0]["kind"], &found["lost"]), (&json!("state"), &json!([])));

    let path = format!(
        "{MACHINE}/aggregate?tag=temperature&start=2025-12-30T12:00:00Z&end=2026-01-02T00:00:00Z\
        &function=mean&function=max&width=day&time_zone=Asia/Tokyo"
    );
    let found = api.json(&anna, &path).await;
    let stretches = found["series"][0]["stretches"].as_array().expect("a list");
    let starts: Vec<_> = stretches.iter().map(|s| s["start"].as_str().expect("text")).collect();
    assert_eq!(
        starts,
        [
            "2025-12-30T12:00:00.000Z",
            "2025-12-30T15:00:00.000Z",
            "2025-12-31T15:00:00.000Z",
            "2026-01-01T15:00:00.000Z"
        ]
    );
    assert_eq!(stretches[2]["max"]["value"], 899.0);
    assert_eq!((&stretches[0]["count"], &stretches[2]["count"]), (&json!(0), &json!(900)));
}

#[tokio::test]
async fn da3_what_is_no_figure_of_a_tag_is_refused_with_what_to_ask_for_instead() {
    let (api, anna) = with_data().await;
    let response = api.get(&anna, &format!("{MACHINE}/aggregate?tag=state&{RANGE}&function=mean")).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let problem: Json = response.json().await.expect("JSON");
    assert_eq!(problem["type"], "/problems/no-such-figure");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.ends_with("ask for count, first, last, time_in_state"), "{detail}");
    for (query, status) in [
        ("function=average", 400),
        ("", 400),
        ("function=count&width=1d", 400),
        ("function=count&time_zone=Atlantis", 400),
        ("function=count&width=1s&end=2026-01-02T00:00:00Z", 400),
    ] {
        let response = api.get(&anna, &format!("{MACHINE}/aggregate?tag=state&{RANGE}&{query}")).await;
        assert_eq!(response.status().as_u16(), status, "{query}");
    }
    let long = "start=2000-01-01T00:00:00Z&end=2026-01-01T00:00:00Z&function=count";
    let response = api.get(&anna, &format!("{MACHINE}/aggregate?tag=state&{long}")).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "26 years of hours");
    let problem: Json = response.json().await.expect("JSON");
    assert_eq!(problem["type"], "/problems/query-too-large", "{problem}");
}

#[tokio::test]
async fn a_curve_of_a_state_has_its_changes_and_a_shape_is_made_of_samples() {
    let (api, anna) = with_data().await;
    let quarter = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:15:00Z";
    let curve = api.json(&anna, &format!("{MACHINE}/samples?tag=state&{quarter}&points=10")).await;
    let series = &curve["series"][0];
    let at = |second: i64| START / 1_000 + second * 1_000;
    assert_eq!(series["downsampled"], true);
    let times: Vec<i64> =
        series["times"].as_array().expect("a list").iter().filter_map(Json::as_i64).collect();
    assert!(times.contains(&at(0)) && times.contains(&at(600)) && times.contains(&at(890)), "{times:?}");
    assert!(times.len() <= 13, "{times:?}");
    let shape =
        api.json(&anna, &format!("{MACHINE}/samples?tag=temperature&{quarter}&points=10&method=lttb")).await;
    assert_eq!(shape["series"][0]["times"].as_array().map(Vec::len), Some(10));
}

const DAY: i64 = 86_400_000_000;

/// What a query answers, without what it says of itself.
async fn answer(api: &Api, cookie: &str, query: &str, layers: &Json) -> Json {
    let mut found = api.json(cookie, &format!("{MACHINE}/{query}")).await;
    let provenance = found["provenance"].take();
    assert_eq!(&provenance["layers"], layers, "{query}");
    assert_eq!((&provenance["exact"], &provenance["incomplete"]), (&json!(true), &json!([])), "{query}");
    found
}

/// Seals all that waits and makes the rollups.
async fn seal(api: &Api) {
    let now = Timestamp::from_micros(START + DAY);
    while seal_next(&*api.store, &acme(), &gw_1(), now, now).await.expect("sealed").sealed.is_some() {}
    while roll_next(&*api.store, &acme(), &gw_1(), now).await.expect("rolled up") > 0 {}
}

/// Writes the object of the day and drops the bodies.
async fn archive(api: &Api) {
    let (tenant, gateway) = (acme(), gw_1());
    let (start, end) = (Timestamp::from_micros(START), Timestamp::from_micros(START + DAY));
    let as_of = api.store.revision(&tenant, &gateway).await.expect("read");
    let minutes = Minute::of(start)..Minute::of(end);
    let rows = api.store.segments(&tenant, &gateway, &press(), minutes.clone(), Parts::All, 10_000).await;
    let tags = api.store.tags(&tenant, &gateway, Some(&press())).await.expect("read");
    let source = SegmentsOfMachine::new(press(), tags, rows.expect("read")).expect("sound");
    let mut object = ObjectRow {
        id: ObjectId(0),
        gateway: gateway.clone(),
        start,
        end,
        path: "gw-1/2026-01-01.parquet".to_owned(),
        state: ObjectState::Writing,
        samples: 0,
        bytes: 0,
        sha256: [0; 32],
        directory: bytes::Bytes::new(),
        changed_at: end,
    };
    object.id = api.store.begin_object(&tenant, object.clone()).await.expect("entered");
    let mut writer = api.archive.create(&tenant, &object.path, start..end).await.expect("begun");
    writer.add(Box::new(source)).await.expect("added");
    let facts = writer.finish().await.expect("written").object;
    object.samples = facts.contents.samples();
    (object.bytes, object.sha256, object.directory) = (facts.bytes, facts.sha256, facts.directory);
    assert!(api.store.commit_object(&tenant, object, as_of, Vec::new()).await.expect("committed") > 0);
    let dropped = api.store.drop_bodies(&tenant, &gateway, minutes, 10_000).await.expect("dropped");
    assert!(dropped.rows > 0);
}

#[tokio::test]
async fn st4_sealed_rolled_up_and_archived_samples_are_answered_as_they_were() {
    let (api, anna) = with_data().await;
    let hour = format!("tag=temperature&tag=state&{RANGE}");
    let raw = format!("samples?{hour}");
    let curve = format!("samples?{hour}&points=60");
    let figures = format!("aggregate?{hour}&function=count&function=last&width=15m");
    let whole = format!("aggregate?{hour}&function=first&function=last");
    let mut before = Vec::new();
    for query in [&raw, &curve, &figures, &whole] {
        before.push(answer(&api, &anna, query, &json!(["batches"])).await);
    }
    seal(&api).await;
    let sealed = [
        (&raw, json!(["segments"])),
        (&curve, json!(["minutes"])),
        (&figures, json!(["minutes"])),
        (&whole, json!(["hours"])),
    ];
    for ((query, layers), before) in sealed.iter().zip(&before) {
        assert_eq!(&answer(&api, &anna, query, layers).await, before, "{query}");
    }
    assert_eq!(api.store.due_hours(&acme(), &gw_1(), 10).await.expect("read"), []);
    let hours = Hour::of(Timestamp::from_micros(START))..Hour::of(Timestamp::from_micros(START + DAY));
    assert_eq!(api.store.hours(&acme(), &gw_1(), &press(), hours).await.expect("read").len(), 1);

    archive(&api).await;
    assert_eq!(&answer(&api, &anna, &raw, &json!(["archive"])).await, &before[0]);
    for ((query, layers), before) in sealed.iter().zip(&before).skip(1) {
        assert_eq!(&answer(&api, &anna, query, layers).await, before, "{query}");
    }
    let response = api.get(&anna, &format!("{MACHINE}/{raw}")).await;
    assert_eq!(response.headers()["x-tiers"], "cold");
    let cost = response.headers()["x-cost-estimate"].to_str().expect("text").to_owned();
    assert!(cost.starts_with("0.00000") && !cost.contains("requests=0"), "{cost}");
}
