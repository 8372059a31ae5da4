//! Configurations of gateways, from the request to the store.

use std::sync::atomic::Ordering;

use plant_model::Timestamp;
use protocol::{
    ConfigurationReport, ConfigurationState, ConfigurationVersion, DriftChange, DriftedFile, FilesDigest,
    GatewayVerb, Instruction,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value as Json, json};
use tenancy::{ConfigurationStore as _, ReceivedReport};

use crate::support::{Api, START, acme, gw_1};

const PATH: &str = "/api/v1/tenants/acme/gateways/gw-1/configuration";

/// The smallest machine that the agent takes.
fn machine(id: &str, address: u16) -> String {
    format!(
        "version = 1\nid = \"{id}\"\n\n[opcua]\nendpoint = \"opc.tcp://127.0.0.1:4840\"\n\n[[tags]]\nid = \"speed\"\n\
         data_type = \"float\"\nnode_id = \"ns=2;i={address}\"\n"
    )
}

fn body(files: &[(&str, String)]) -> Json {
    let files: Vec<_> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    json!({ "files": files, "comment": "because" })
}

fn seen(version: u32) -> (&'static str, String) {
    if version == 0 { ("if-none-match", "*".to_owned()) } else { ("if-match", format!("\"{version}\"")) }
}

impl Api {
    fn change(&self, cookie: &str, method: Method, path: &str, body: &Json) -> RequestBuilder {
        let request = self.request(method, path).header("cookie", cookie).json(body);
        request.header("x-requested-with", "fetch")
    }

    async fn put(&self, cookie: &str, version: u32, body: &Json) -> (StatusCode, Json) {
        let (name, value) = seen(version);
        sent(self.change(cookie, Method::PUT, PATH, body).header(name, value)).await
    }

    async fn configuration(&self, cookie: &str, rest: &str) -> Json {
        self.json(cookie, &format!("{PATH}{rest}")).await
    }
}

async fn sent(request: RequestBuilder) -> (StatusCode, Json) {
    let response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn versions_are_saved_compared_and_brought_back() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    let unmanaged = api.configuration(&anna, "").await;
    assert_eq!((&unmanaged["status"]["rollout"], &unmanaged["desired"]), (&json!("unmanaged"), &Json::Null));

    let (press, lathe) = (machine("press", 1), machine("lathe", 2));
    let first = body(&[("press.toml", press.clone()), ("lathe.toml", lathe.clone())]);
    let (status, outcome) = api.put(&anna, 0, &first).await;
    assert_eq!((status, &outcome["saved"]), (StatusCode::OK, &json!(true)), "{outcome}");
    assert_eq!((&outcome["desired"]["version"], &outcome["desired"]["author"]), (&json!(1), &json!("anna")));
    let again = api.put(&anna, 1, &first).await;
    assert_eq!((again.0, &again.1["saved"]), (StatusCode::OK, &json!(false)), "nothing changes");

    let second = body(&[("press.toml", machine("press", 3))]);
    let dry = format!("{PATH}?dry_run=true");
    let tried = sent(api.change(&anna, Method::PUT, &dry, &second).header("if-match", "\"1\"")).await;
    let saved = api.put(&anna, 1, &second).await;
    assert_eq!((&tried.1["saved"], &tried.1["desired"]["version"]), (&json!(false), &json!(1)));
    assert_eq!(tried.1["differences"], saved.1["differences"], "a dry run tells what a change will do");
    let changes: Vec<_> = saved.1["differences"].as_array().expect("a list").iter().collect();
    assert_eq!((&changes[0]["file"], &changes[0]["change"]), (&json!("lathe.toml"), &json!("removed")));
    let unified = changes[1]["unified"].as_str().expect("text");
    assert!(unified.contains("-node_id = \"ns=2;i=1\"\n+node_id = \"ns=2;i=3\"\n"), "{unified}");

    let rollback = format!("{PATH}/rollback");
    let back = json!({ "version": 1, "comment": "the lathe is back" });
    let (status, outcome) =
        sent(api.change(&anna, Method::POST, &rollback, &back).header("if-match", "\"2\"")).await;
    assert_eq!((status, &outcome["desired"]["version"]), (StatusCode::OK, &json!(3)), "{outcome}");
    assert_eq!(outcome["desired"]["restores"], 1);
    let desired = api.configuration(&anna, "").await;
    assert_eq!(
        desired["desired"]["files"],
        json!([
            { "name": "lathe.toml", "text": lathe }, { "name": "press.toml", "text": press },
        ])
    );
    assert_eq!(desired["status"]["rollout"], "pending");
    let listed = api.configuration(&anna, "/versions?before=3&limit=1").await;
    assert_eq!(
        (&listed["items"][0]["version"], listed["items"].as_array().map(Vec::len)),
        (&json!(2), Some(1))
    );
    assert_eq!(api.configuration(&anna, "/versions/2").await["files"][0]["text"], machine("press", 3));
    assert_eq!(api.configuration(&anna, "/diff?from=1&to=3").await["differences"], json!([]));
    let whole = api.configuration(&anna, "/diff?from=0&to=1").await;
    assert_eq!(whole["differences"].as_array().map(Vec::len), Some(2));
    assert_eq!(api.get(&anna, &format!("{PATH}/versions/4")).await.status(), StatusCode::NOT_FOUND);
}

/// F2: what the agent would refuse is refused here, whole, and the old version stays.
#[tokio::test]
async fn f2_files_with_mistakes_are_refused_with_all_of_them_and_the_old_version_stays() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    let good = body(&[("press.toml", machine("press", 1))]);
    assert_eq!(api.put(&anna, 0, &good).await.0, StatusCode::OK);
    let broken = machine("lathe", 2).replace("data_type = \"float\"", "data_type = \"flota\"\nunti = \"mm\"");
    let files = [
        ("lathe.toml", broken),
        ("press.toml", machine("press", 1)),
        ("press-2.toml", machine("press", 4)),
        ("saw.toml", "version = = 1".to_owned()),
    ];
    let (status, problem) = api.put(&anna, 1, &body(&files)).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/problems/configuration-invalid"))
    );
    let errors = problem["errors"].as_array().expect("a list");
    let at = |file: &str, line: Option<u64>| {
        errors.iter().any(|e| e["file"] == file && e["line"].as_u64() == line)
    };
    assert!(at("lathe.toml", Some(9)) && at("lathe.toml", Some(10)), "{problem:#}");
    assert!(at("press.toml", None) || at("press-2.toml", None), "the id that is used twice: {problem:#}");
    assert!(at("saw.toml", Some(1)), "{problem:#}");
    let empty = api.put(&anna, 1, &body(&[])).await;
    assert_eq!(empty.0, StatusCode::UNPROCESSABLE_ENTITY, "no machine is no configuration: {}", empty.1);
    let desired = api.configuration(&anna, "").await;
    assert_eq!(desired["desired"]["version"]["version"], 1, "the old one stays");
}

#[tokio::test]
async fn of_two_who_change_at_a_time_the_second_is_told() {
    let api = Api::start().await;
    let (anna, olga) = (api.sign_in("anna").await, api.sign_in("olga").await);
    let of = |address| body(&[("press.toml", machine("press", address))]);
    assert_eq!(api.put(&anna, 0, &of(1)).await.0, StatusCode::OK);
    let (first, second) = (of(2), of(3));
    let both = tokio::join!(api.put(&anna, 1, &first), api.put(&olga, 1, &second));
    let statuses = [both.0.0, both.1.0];
    assert!(
        statuses.contains(&StatusCode::OK) && statuses.contains(&StatusCode::PRECONDITION_FAILED),
        "{both:?}"
    );
    assert_eq!(api.put(&anna, 0, &of(4)).await.0, StatusCode::PRECONDITION_FAILED);
    let blind = sent(api.change(&anna, Method::PUT, PATH, &of(4))).await;
    assert_eq!(blind.0, StatusCode::PRECONDITION_REQUIRED, "{}", blind.1);
    assert_eq!(api.configuration(&anna, "/versions").await["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_a_gateway_reports_is_shown_with_the_configuration_and_in_the_list() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    api.put(&anna, 0, &body(&[("press.toml", machine("press", 1))])).await;
    let report = ConfigurationReport {
        state: ConfigurationState::Drifted,
        version: ConfigurationVersion::new(1),
        applied: None,
        detail: "press.toml was edited".to_owned(),
        drift: vec![DriftedFile { file: "press.toml".to_owned(), change: DriftChange::Changed }],
        files_digest: FilesDigest([7; 32]),
        agent_version: "0.2.0".to_owned(),
    };
    let received_at = Timestamp::from_micros(START);
    let received = ReceivedReport { report, received_at };
    api.store.save_configuration_report(acme(), gw_1(), received).await.expect("saved");
    let status = api.configuration(&anna, "").await["status"].clone();
    assert_eq!(status["report"]["received_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(status["report"]["drift"], json!([{ "file": "press.toml", "change": "changed" }]));
    assert_eq!(
        (&status["rollout"], &status["desired"], &status["applied"]),
        (&json!("drifted"), &json!(1), &Json::Null)
    );
    let gateways = api.json(&anna, "/api/v1/tenants/acme/gateways").await;
    assert_eq!(gateways["items"][0]["configuration"], status);

    let digest = status["report"]["files_digest"].clone();
    let mut accepting = body(&[("press.toml", machine("press", 1))]);
    accepting["accept_drift"] = digest.clone();
    let (_, outcome) = api.put(&anna, 1, &accepting).await;
    assert_eq!(
        (&outcome["saved"], &outcome["desired"]["accept_drift"]),
        (&json!(true), &digest),
        "{outcome}"
    );
}

#[tokio::test]
async fn what_cannot_be_a_configuration_is_refused_with_its_reason() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    let text = machine("press", 1);
    let twice = body(&[("a.toml", text.clone()), ("a.toml", text.clone())]);
    let mut long = body(&[("a.toml", text.clone())]);
    long["comment"] = "x".repeat(1_025).into();
    let mut digest = body(&[("a.toml", text.clone())]);
    digest["accept_drift"] = "ab".into();
    for (wrong, pointer, reason) in [
        (body(&[("../a.toml", text.clone())]), "/files", "../a.toml"),
        (body(&[("a.txt", text)]), "/files", "a.txt"),
        (twice, "/files", "once"),
        (body(&[("a.toml", "\u{1b}".to_owned())]), "/files", "U+001B"),
        (body(&[("a.toml", "#".repeat(1 << 20)), ("b.toml", "#".to_owned())]), "/files", "at most 1048576"),
        (long, "/comment", "1024"),
        (digest, "/accept_drift", "64"),
    ] {
        let (status, problem) = api.put(&anna, 0, &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        assert!(problem["errors"][0]["detail"].as_str().is_some_and(|d| d.contains(reason)), "{problem}");
    }
    let huge = body(&[("a.toml", "#".repeat(3 << 20))]);
    assert_eq!(api.put(&anna, 0, &huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(api.configuration(&anna, "").await["desired"], Json::Null);
    let unknown = "/api/v1/tenants/acme/gateways/gw-9/configuration";
    assert_eq!(api.get(&anna, unknown).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_gateway_that_is_connected_is_told_to_look_after_each_saved_version_and_after_nothing_else() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    let of = |address| body(&[("press.toml", machine("press", address))]);
    assert_eq!(api.put(&anna, 0, &of(1)).await.0, StatusCode::OK, "it is saved although the gateway is away");
    api.line.connected.store(true, Ordering::Relaxed);
    assert_eq!(api.put(&anna, 1, &of(1)).await.1["saved"], false);
    assert_eq!(api.put(&anna, 0, &of(2)).await.0, StatusCode::PRECONDITION_FAILED);
    assert!(api.line.sent.lock().expect("whole").is_empty());
    assert_eq!(api.put(&anna, 1, &of(2)).await.1["saved"], true);
    let sent = api.line.sent.lock().expect("whole").clone();
    let [Instruction::Gateway(command)] = sent.as_slice() else {
        panic!("one command to the gateway: {sent:?}")
    };
    assert_eq!(command.verb, GatewayVerb::PullConfiguration);
}
