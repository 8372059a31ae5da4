//! Commands to alarms through the whole backend, and the journal on the command line.

use std::sync::Arc;

use plant_model::{AlarmCommand, Timestamp};
use protocol::{CommandOutcome, CommandResult, StreamId};
use serde_json::{Value as Json, json};

use crate::support::{Backend, Gateway, Installation, START, alarm, catalogue};

fn acknowledge() -> Json {
    json!({ "action": "acknowledge", "occurrence": 1, "comment": "on my way" })
}

/// The gateway is connected, and the backend knows its press.
async fn plant(installation: &Installation) -> (Backend, Gateway) {
    let backend = installation.serve().await;
    let (gateway, _) = Gateway::hello(installation, &backend).await;
    gateway.publish("up/catalogue", catalogue()).await;
    let machines = "/api/v1/tenants/acme/machines";
    backend.eventually("the press", machines, |json| json["items"][0]["id"] == "press-1").await;
    (backend, gateway)
}

#[tokio::test]
async fn a_command_reaches_the_gateway_once_and_its_decision_comes_back_to_the_caller() {
    let installation = Installation::new();
    let (backend, mut gateway) = plant(&installation).await;
    let body = acknowledge();
    let answering = async {
        let command = gateway.command().await;
        let result = CommandResult {
            command: command.operation.command.clone(),
            outcome: CommandOutcome::Done,
            repeated: false,
            decided_at: Timestamp::from_micros(START),
            output: String::new(),
        };
        gateway.publish("res", result.encode()).await;
        command
    };
    let ((status, answer), command) = tokio::join!(backend.give("key-1", &body), answering);
    assert_eq!((status, &answer["state"]), (200, &Json::from("done")), "{answer}");
    assert_eq!((command.request, command.occurrence), (AlarmCommand::Acknowledge, Some(1)));
    assert_eq!((command.operation.actor.as_str(), command.operation.comment.as_str()), ("anna", "on my way"));
    assert_eq!(backend.json("/api/v1/tenants/acme/commands/key-1").await, answer);
    gateway.puback().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_asked_on_the_command_line_by_who_may() {
    let installation = Arc::new(Installation::new());
    let (backend, mut gateway) = plant(&installation).await;
    let url = backend.url("");
    let ask = |verb: &'static str| {
        let (installation, url) = (Arc::clone(&installation), url.clone());
        tokio::task::spawn_blocking(move || {
            let arguments =
                ["gateway", "command", "acme/gw-1", verb, "--user", "anna", "--url", &url, "--wait"];
            let output = installation.cli_with_input(&arguments, &format!("{}\n", installation.password));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout), text(&output.stderr))
        })
    };
    let answering = async {
        let command = gateway.instruction().await;
        let result = CommandResult {
            command: command.operation().command.clone(),
            outcome: CommandOutcome::Done,
            repeated: false,
            decided_at: Timestamp::from_micros(START),
            output: "all is well".to_owned(),
        };
        gateway.publish("res", result.encode()).await;
        command
    };
    let (asked, command) = tokio::join!(ask("diagnostics"), answering);
    let (is_done, told, problem) = asked.expect("it ran");
    assert!(is_done && told.contains("done") && told.contains("all is well"), "{told}{problem}");
    assert_eq!((command.verb(), command.operation().actor.as_str()), ("diagnostics", "anna"));
    let (is_done, _, problem) = ask("restart").await.expect("it ran");
    assert!(!is_done && problem.contains("refuses"), "a manager does not control gateways: {problem}");
}

#[tokio::test]
async fn a_command_for_a_gateway_that_left_is_refused_at_once_and_not_kept() {
    let installation = Installation::new();
    let (backend, gateway) = plant(&installation).await;
    drop(gateway);
    let gateways = "/api/v1/tenants/acme/gateways";
    backend.eventually("the gateway leaves", gateways, |json| json["items"][0]["online"] == false).await;
    let (status, problem) = backend.give("key-1", &acknowledge()).await;
    assert_eq!((status, &problem["type"]), (503, &Json::from("/problems/gateway-offline")), "{problem}");
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/catalogue", catalogue()).await;
    gateway.puback().await;
    let still_waiting = tokio::time::timeout(std::time::Duration::from_millis(300), gateway.command()).await;
    assert!(still_waiting.is_err(), "what was refused does not come later: {still_waiting:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_refused_and_counted() {
    let installation = Installation::new();
    let (backend, mut gateway) = plant(&installation).await;
    gateway.publish("res", b"done".to_vec()).await;
    let refused =
        async { while gateway.puback().await == rumqttc::v5::mqttbytes::v5::PubAckReason::Success {} };
    crate::support::within("the refusal", refused).await;
    backend.answers("/metrics", |_, text| text.contains("cloud_backend_ingest_unreadable_total 1")).await;
}

#[tokio::test]
async fn the_journal_is_printed_for_people_and_for_programs() {
    let installation = Installation::new();
    let (_backend, mut gateway) = plant(&installation).await;
    gateway.publish("up/alarm", alarm(1, 1)).await;
    gateway.acknowledged(StreamId::Alarm, 1).await;
    let journal = ["alarm", "journal", "--tenant", "acme", "--gateway", "gw-1"];
    let text = installation.done(&journal);
    assert!(text.contains("NORM > UNACK") && text.contains("2026-01-01T00:00:00.000Z"), "{text}");
    let json: Json =
        serde_json::from_str(&installation.done(&[&journal[..], &["--json"]].concat())).expect("JSON");
    assert_eq!((&json["items"][0]["cause"], &json["items"][0]["alarm"]), (&"raised".into(), &"hot".into()));
    for filter in [["--machine", "press-2"], ["--alarm", "cold"], ["--limit", "0"]] {
        let text = installation.done(&[&journal[..], &filter[..]].concat());
        assert_eq!(text.lines().count(), 1, "only the heading with {filter:?}: {text}");
    }
    let unknown = installation.cli(&["alarm", "journal", "--tenant", "globex", "--gateway", "gw-1"]);
    assert!(
        !unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("no tenant globex")
    );
}
