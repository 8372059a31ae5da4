//! Commands to a gateway itself, from the request to the gateway's answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use plant_model::{Timestamp, Value};
use protocol::{CommandOutcome, CommandResult, GatewayCommand, GatewayVerb, Instruction};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

use crate::commands::sent;
use crate::support::{Api, START, acme, gw_1};

const COMMANDS: &str = "/api/v1/tenants/acme/gateways/gw-1/commands";

/// An operator of the platform, and the manager of the tenant.
async fn api() -> (Api, String, String) {
    let api = Api::start().await;
    api.connect_gateway().await;
    api.line.connected.store(true, Ordering::Relaxed);
    let (operator, manager) = (api.sign_in("olga").await, api.sign_in("anna").await);
    (api, operator, manager)
}

/// Waits for the first command that left and answers it.
async fn answer(api: &Api, output: &str) -> GatewayCommand {
    let first = || api.line.sent.lock().expect("whole").first().cloned();
    let command = loop {
        match first() {
            Some(Instruction::Gateway(command)) => break command,
            Some(other @ Instruction::Alarm(_)) => panic!("no command to a gateway: {other:?}"),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    let result = CommandResult {
        command: command.operation.command.clone(),
        outcome: CommandOutcome::Done,
        repeated: false,
        decided_at: Timestamp::from_micros(START),
        output: output.to_owned(),
    };
    assert!(api.commands.answered(&acme(), &gw_1(), result));
    command
}

fn write() -> Json {
    json!({ "action": "write_tag", "machine": "press-1", "tag": "setpoint", "value": 41.5, "comment": "trial" })
}

#[tokio::test]
async fn an_operator_writes_a_tag_and_reads_what_the_gateway_says() {
    let (api, olga, _) = api().await;
    let request = sent(api.command(&olga, COMMANDS, "w-1", &write()));
    let ((status, body), command) = tokio::join!(request, answer(&api, "reads 41.5"));
    assert_eq!(
        (status, &body["state"], &body["output"]),
        (StatusCode::OK, &"done".into(), &"reads 41.5".into())
    );
    let GatewayVerb::WriteTag { machine, tag, value } = command.verb else { panic!("{command:?}") };
    assert_eq!((machine.as_str(), tag.as_str(), value), ("press-1", "setpoint", Value::Float(41.5)));
    assert_eq!((command.operation.actor.as_str(), command.operation.comment.as_str()), ("olga", "trial"));
    assert_eq!(sent(api.command(&olga, COMMANDS, "w-1", &write())).await, (StatusCode::OK, body.clone()));
    assert_eq!(api.json(&olga, &format!("{COMMANDS}/w-1")).await, body);
    assert_eq!(api.line.sent.lock().expect("whole").len(), 1, "the answer is known");
    for elsewhere in ["/api/v1/tenants/acme/gateways/gw-2/commands/w-1", "/api/v1/tenants/acme/commands/w-1"]
    {
        assert_eq!(api.get(&olga, elsewhere).await.status(), StatusCode::NOT_FOUND, "{elsewhere}");
    }
}

#[tokio::test]
async fn a_manager_asks_and_does_not_control() {
    let (api, _, anna) = api().await;
    let version = json!({ "action": "update", "version": "1.0" });
    for body in [write(), json!({ "action": "restart" }), version] {
        let (status, problem) = sent(api.command(&anna, COMMANDS, "k", &body)).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::FORBIDDEN, &"/problems/forbidden".into()),
            "{body}"
        );
    }
    assert!(api.line.sent.lock().expect("whole").is_empty());
    let body = json!({ "action": "diagnostics" });
    let request = sent(api.command(&anna, COMMANDS, "d-1", &body));
    let ((status, body), _) = tokio::join!(request, answer(&api, "edge-agent 0.1.0"));
    assert_eq!((status, &body["output"]), (StatusCode::OK, &"edge-agent 0.1.0".into()));
}

#[tokio::test]
async fn what_an_action_needs_or_does_not_take_is_named_and_nothing_leaves() {
    let (api, olga, _) = api().await;
    let range =
        |first, last| json!({ "action": "resend", "stream": "telemetry", "first": first, "last": last });
    for (body, pointer) in [
        (json!({ "action": "write_tag", "machine": "press-1", "tag": "t" }), "/value"),
        (json!({ "action": "write_tag", "machine": "press-1", "value": 1 }), "/tag"),
        (json!({ "action": "write_tag", "machine": "a b", "tag": "t", "value": 1 }), "/machine"),
        (json!({ "action": "write_tag", "machine": "m", "tag": "t", "value": "x".repeat(1_025) }), "/value"),
        (json!({ "action": "rescan" }), "/machine"),
        (json!({ "action": "restart", "machine": "press-1" }), "/machine"),
        (range(0, 4), "/first"),
        (range(5, 4), "/first"),
        (json!({ "action": "update" }), "/version"),
        (json!({ "action": "update", "version": "--help" }), "/version"),
        (json!({ "action": "restart", "comment": "x".repeat(1_025) }), "/comment"),
    ] {
        let (status, problem) = sent(api.command(&olga, COMMANDS, "k", &body)).await;
        let told = (status, &problem["errors"][0]["pointer"]);
        assert_eq!(told, (StatusCode::BAD_REQUEST, &pointer.into()), "{body}: {problem}");
    }
    for body in [json!({ "action": "format_disk" }), json!({ "action": "restart", "now": true })] {
        assert_eq!(sent(api.command(&olga, COMMANDS, "k", &body)).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    let restart = json!({ "action": "restart" });
    for unknown in
        ["/api/v1/tenants/acme/gateways/gw-9/commands", "/api/v1/tenants/nobody/gateways/gw-1/commands"]
    {
        assert_eq!(
            sent(api.command(&olga, unknown, "k", &restart)).await.0,
            StatusCode::NOT_FOUND,
            "{unknown}"
        );
    }
    api.line.connected.store(false, Ordering::Relaxed);
    let (status, problem) = sent(api.command(&olga, COMMANDS, "k", &restart)).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"/problems/gateway-offline".into())
    );
    assert!(api.line.sent.lock().expect("whole").is_empty());
}
