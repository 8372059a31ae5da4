//! Commands to alarms, from the request to the gateway's answer.

use std::sync::atomic::Ordering;

use plant_model::{AlarmCommand, CommandId, Timestamp};
use protocol::{Command, CommandOutcome, CommandResult, Instruction};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value as Json, json};

use crate::support::{Api, START, acme, gw_1};

const ALARM: &str = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1/alarms/hot/commands";

async fn api() -> (Api, String) {
    let api = Api::start().await;
    api.connect_gateway().await;
    api.line.connected.store(true, Ordering::Relaxed);
    let anna = api.sign_in("anna").await;
    (api, anna)
}

fn acknowledge() -> Json {
    json!({ "action": "acknowledge", "occurrence": 3, "comment": "seen" })
}

impl Api {
    pub(crate) fn command(&self, cookie: &str, path: &str, key: &str, body: &Json) -> RequestBuilder {
        let request = self.request(Method::POST, path).header("cookie", cookie).json(body);
        request.header("x-requested-with", "fetch").header("idempotency-key", key)
    }

    /// Waits until `count` commands left, and answers the last of them.
    async fn answer(&self, count: usize, outcome: CommandOutcome) -> Command {
        let command = loop {
            {
                let sent = self.line.sent.lock().expect("whole");
                if sent.len() >= count {
                    match sent[count - 1].clone() {
                        Instruction::Alarm(command) => break command,
                        other @ Instruction::Gateway(_) => panic!("no command to an alarm: {other:?}"),
                    }
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        };
        let result = CommandResult {
            command: command.operation.command.clone(),
            outcome,
            repeated: false,
            decided_at: Timestamp::from_micros(START + 5_000),
            output: String::new(),
        };
        assert!(self.commands.answered(&acme(), &gw_1(), result));
        command
    }
}

pub(crate) async fn sent(request: RequestBuilder) -> (StatusCode, Json) {
    let response: Response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_manager_acknowledges_and_gets_the_decision_of_the_gateway() {
    let (api, anna) = api().await;
    let request = sent(api.command(&anna, ALARM, "\"key-1\"", &acknowledge()));
    let ((status, body), command) = tokio::join!(request, api.answer(1, CommandOutcome::Done));
    assert_eq!((status, &body["state"]), (StatusCode::OK, &Json::from("done")), "{body}");
    assert_eq!(body["id"], "key-1");
    assert_eq!(body["decided_at"], "2026-01-01T00:00:00.005Z");
    assert_eq!((command.request, command.occurrence), (AlarmCommand::Acknowledge, Some(3)));
    assert_eq!((command.operation.actor.as_str(), command.operation.comment.as_str()), ("anna", "seen"));
    assert_eq!(command.expires_at.since(command.issued_at).as_secs(), 60);

    let again = sent(api.command(&anna, ALARM, "key-1", &acknowledge())).await;
    assert_eq!(again, (StatusCode::OK, body.clone()), "the answer that is known, quotes or not");
    assert_eq!(api.json(&anna, "/api/v1/tenants/acme/commands/key-1").await, body);
    assert_eq!(api.line.sent.lock().expect("whole").len(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_gateway_comes_with_its_reason() {
    let (api, anna) = api().await;
    let request = sent(api.command(&anna, ALARM, "k", &acknowledge()));
    let reason = "occurrence 4 now".to_owned();
    let ((status, body), _) = tokio::join!(request, api.answer(1, CommandOutcome::Refused { reason }));
    assert_eq!(
        (status, &body["state"], &body["reason"]),
        (StatusCode::OK, &"refused".into(), &"occurrence 4 now".into())
    );
}

#[tokio::test]
async fn while_the_gateway_is_away_nothing_is_kept_and_the_caller_is_told_so() {
    let (api, anna) = api().await;
    api.line.connected.store(false, Ordering::Relaxed);
    let (status, body) = sent(api.command(&anna, ALARM, "k", &acknowledge())).await;
    assert_eq!(
        (status, &body["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"/problems/gateway-offline".into())
    );
    assert!(body["detail"].as_str().is_some_and(|text| text.contains("nothing was changed")), "{body}");
    assert_eq!(api.get(&anna, "/api/v1/tenants/acme/commands/k").await.status(), StatusCode::NOT_FOUND);
}

/// It waits for the five seconds that the API waits for an answer.
#[tokio::test]
async fn without_an_answer_the_command_is_accepted_and_its_state_can_be_asked_for() {
    let (api, anna) = api().await;
    let (status, body) = sent(api.command(&anna, ALARM, "k", &acknowledge())).await;
    assert_eq!((status, &body["state"]), (StatusCode::ACCEPTED, &"waiting".into()), "{body}");
    assert_eq!(body["decided_at"], Json::Null);
    api.answer(1, CommandOutcome::Done).await;
    assert_eq!(api.json(&anna, "/api/v1/tenants/acme/commands/k").await["state"], "done");
}

#[tokio::test]
async fn what_a_command_needs_is_named_and_nothing_leaves_without_it() {
    let (api, anna) = api().await;
    for (body, pointer) in [
        (json!({ "action": "acknowledge" }), "/occurrence"),
        (json!({ "action": "reset", "occurrence": 0 }), "/occurrence"),
        (json!({ "action": "shelve", "comment": "x" }), "/duration_s"),
        (json!({ "action": "shelve", "duration_s": 0 }), "/duration_s"),
        (json!({ "action": "unshelve", "duration_s": 5 }), "/duration_s"),
        (json!({ "action": "unshelve", "review_at": "2026-01-01T00:00:00Z" }), "/review_at"),
        (json!({ "action": "take_out_of_service", "review_at": "tomorrow" }), "/review_at"),
        (json!({ "action": "unshelve", "comment": "x".repeat(1_025) }), "/comment"),
    ] {
        let (status, problem) = sent(api.command(&anna, ALARM, "k", &body)).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::BAD_REQUEST, &pointer.into()),
            "{body}"
        );
    }
    for key in ["", "a b", &"k".repeat(65)] {
        let (status, problem) = sent(api.command(&anna, ALARM, key, &acknowledge())).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::BAD_REQUEST, &"Idempotency-Key".into())
        );
    }
    let bare = api.request(Method::POST, ALARM).header("cookie", &anna).header("x-requested-with", "fetch");
    assert_eq!(sent(bare.json(&acknowledge())).await.0, StatusCode::BAD_REQUEST, "without a key");
    assert!(api.line.sent.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn a_key_is_one_command_and_an_alarm_must_be_there() {
    let (api, anna) = api().await;
    let first = sent(api.command(&anna, ALARM, "k", &acknowledge()));
    let _ = tokio::join!(first, api.answer(1, CommandOutcome::Done));
    let other = json!({ "action": "acknowledge", "occurrence": 4, "comment": "seen" });
    let (status, body) = sent(api.command(&anna, ALARM, "k", &other)).await;
    assert_eq!(
        (status, &body["type"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &"/problems/idempotency-key-used".into())
    );
    for path in
        [ALARM.replace("hot", "cold"), ALARM.replace("press-1", "press-9"), ALARM.replace("gw-1", "gw-9")]
    {
        assert_eq!(
            sent(api.command(&anna, &path, "n", &acknowledge())).await.0,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn another_site_and_another_tenant_cannot_give_commands() {
    let (api, anna) = api().await;
    let forged = api.request(Method::POST, ALARM).header("cookie", &anna).header("idempotency-key", "k");
    assert_eq!(sent(forged.json(&acknowledge())).await.0, StatusCode::FORBIDDEN);
    let gus = api.sign_in("gus").await;
    assert_eq!(sent(api.command(&gus, ALARM, "k", &acknowledge())).await.0, StatusCode::NOT_FOUND);
    assert!(api.line.sent.lock().expect("whole").is_empty());
    assert!(CommandId::new("k").is_ok(), "the key was not what was refused");
}
