//! Updates of agents in waves: begun, seen and acted on over the API.

use std::sync::atomic::Ordering;

use plant_model::{GatewayId, Timestamp};
use protocol::{AgentVersion, UpdateChannel, UpdateReport, UpdateState};
use reqwest::{Method, StatusCode};
use rollouts::{Change, Member, ReceivedUpdate, RolloutId, RolloutStore as _, WishChange};
use serde_json::{Value as Json, json};
use service_kit::Clock;
use tenancy::TenancyStore as _;

use crate::commands::sent;
use crate::support::{Api, START, acme, gw_1};

const ROLLOUTS: &str = "/api/v1/rollouts";

impl Api {
    async fn post(&self, cookie: &str, path: &str, body: &Json) -> (StatusCode, Json) {
        let request = self.request(Method::POST, path).header("cookie", cookie).json(body);
        sent(request.header("x-requested-with", "fetch")).await
    }

    /// Tells a gateway of the rollout, as the backend does.
    async fn tell(&self, id: RolloutId, position: usize) {
        let rollout = self.store.rollout(id).await.expect("works").expect("is there");
        let member = Member {
            wave: Some(0),
            former: Some(AgentVersion::new("1.2.3").expect("a version")),
            ..rollout.members[position].clone()
        };
        let wish = WishChange {
            gateway: member.gateway.clone(),
            version: Some(rollout.plan.version.clone()),
            channel: rollout.plan.channel.clone(),
        };
        let change = Change {
            rollout: id,
            on: rollout.revision,
            progress: rollout.progress,
            members: vec![(position, member)],
            wishes: vec![wish],
            at: Clock::start().wall(),
        };
        self.store.change_rollout(change).await.expect("works").expect("nobody else");
    }
}

#[tokio::test]
async fn an_operator_begins_a_rollout_and_sees_how_each_gateway_stands() {
    let api = Api::start().await;
    api.connect_gateway().await;
    api.store.add_gateway(acme(), GatewayId::new("gw-2").expect("valid")).await.expect("new");
    let olga = api.sign_in("olga").await;
    let body = json!({
        "version": "2.0.0", "gateways": ["acme/gw-2"], "tenants": ["acme"], "waves": "1,100%", "soak_s": 60,
        "max_failures": 1, "comment": "the new poller",
    });
    let (status, begun) = api.post(&olga, ROLLOUTS, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{begun}");
    assert_eq!(api.poked.load(Ordering::Relaxed), 1, "somebody is told that there is work");
    for (field, value) in [
        ("id", json!(1)),
        ("channel", json!("stable")),
        ("state", json!("running")),
        ("wave", json!(1)),
        ("patience_s", json!(86_400)),
        ("gateways", json!(2)),
        ("author", json!("olga")),
    ] {
        assert_eq!(begun[field], value, "{field}");
    }
    let order: Vec<_> = begun["members"].as_array().expect("a list").iter().map(|m| &m["gateway"]).collect();
    assert_eq!(order, ["acme/gw-2", "acme/gw-1"], "who is named goes first, and nobody is there twice");
    api.tell(RolloutId::MIN, 1).await;
    let shown = api.json(&olga, "/api/v1/rollouts/1").await;
    let member = &shown["members"][1];
    assert_eq!((&member["standing"], &member["wave"]), (&json!("working"), &json!(1)), "{member}");
    assert_eq!(
        (&member["running"], &member["former"]),
        (&json!("1.2.3"), &json!("1.2.3")),
        "as it said hello"
    );
    let list = api.json(&olga, ROLLOUTS).await;
    assert_eq!((&list["items"][0]["told"], &list["items"][0]["waves"]), (&json!(1), &json!("1,100%")));
    assert_eq!(api.get(&olga, "/api/v1/rollouts/2").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(api.get(&olga, "/api/v1/rollouts/x").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_gateways_of_a_tenant_say_which_version_they_run_and_which_is_desired() {
    let api = Api::start().await;
    let (olga, anna) = (api.sign_in("olga").await, api.sign_in("anna").await);
    let update =
        async || api.json(&anna, "/api/v1/tenants/acme/gateways").await["items"][0]["update"].clone();
    let nothing = json!({
        "channel": null, "running": null, "desired": null, "state": null, "detail": "", "reported_at": null,
    });
    assert_eq!(update().await, nothing);
    let (status, _) = api.post(&olga, ROLLOUTS, &json!({ "version": "2.0.0" })).await;
    assert_eq!(status, StatusCode::CREATED);
    api.tell(RolloutId::MIN, 0).await;
    let report = UpdateReport {
        running: AgentVersion::new("1.2.3").expect("a version"),
        channel: UpdateChannel::default(),
        desired: None,
        state: UpdateState::RolledBack,
        detail: "press-1 did not come back".to_owned(),
        at: Timestamp::from_micros(START),
    };
    let received = ReceivedUpdate::after(None, report, Timestamp::from_micros(START));
    api.store.save_update_report(acme(), gw_1(), received).await.expect("works");
    let said = json!({
        "channel": "stable", "running": "1.2.3", "desired": "2.0.0", "state": "rolled_back",
        "detail": "press-1 did not come back", "reported_at": "2026-01-01T00:00:00.000Z",
    });
    assert_eq!(update().await, said);
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_aborted_and_rolled_back_where_its_state_allows_it() {
    let api = Api::start().await;
    let olga = api.sign_in("olga").await;
    api.post(&olga, ROLLOUTS, &json!({ "version": "2.0.0" })).await;
    let operate = async |operation: &str| {
        let body = json!({ "operation": operation });
        api.post(&olga, "/api/v1/rollouts/1/operations", &body).await
    };
    for (operation, status, state) in [
        ("resume", 409, ""),
        ("pause", 200, "paused"),
        ("pause", 409, ""),
        ("resume", 200, "resuming"),
        ("abort", 200, "aborted"),
        ("abort", 409, ""),
        ("rollback", 200, "running"),
        ("rollback", 409, ""),
        ("explode", 400, ""),
    ] {
        let (answered, body) = operate(operation).await;
        assert_eq!(answered.as_u16(), status, "{operation}: {body}");
        match status {
            200 => assert_eq!(body["state"], state, "{operation}"),
            409 => assert_eq!(body["type"], "/problems/rollout-conflict", "{operation}"),
            _ => {}
        }
    }
    let shown = api.json(&olga, "/api/v1/rollouts/1").await;
    assert_eq!((&shown["direction"], &shown["reason"]), (&json!("back"), &json!("rolled back by olga")));
    assert_eq!(api.poked.load(Ordering::Relaxed), 5, "one for each change");
}

#[tokio::test]
async fn what_cannot_be_rolled_out_is_refused_with_the_field_or_the_other_rollout() {
    let api = Api::start().await;
    let olga = api.sign_in("olga").await;
    for (body, pointer) in [
        (json!({ "version": "--help" }), "/version"),
        (json!({ "version": "2", "channel": "Stable" }), "/channel"),
        (json!({ "version": "2", "waves": "5" }), "/waves"),
        (json!({ "version": "2", "gateways": ["gw-1"] }), "/gateways"),
        (json!({ "version": "2", "tenants": ["No body"] }), "/tenants"),
        (json!({ "version": "2", "comment": "x".repeat(1_025) }), "/comment"),
    ] {
        let (status, problem) = api.post(&olga, ROLLOUTS, &body).await;
        let told = (status, &problem["errors"][0]["pointer"]);
        assert_eq!(told, (StatusCode::BAD_REQUEST, &pointer.into()), "{body}: {problem}");
    }
    for (body, word) in [
        (json!({ "version": "2", "gateways": ["acme/gw-9"] }), "there is no gateway acme/gw-9"),
        (json!({ "version": "2", "tenants": ["nobody"] }), "there is no tenant nobody"),
        (json!({ "version": "2", "tenants": ["globex"] }), "no gateway is registered"),
        (json!({ "version": "2", "gateways": ["acme/gw-1", "acme/gw-1"] }), "twice"),
    ] {
        let (status, problem) = api.post(&olga, ROLLOUTS, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{problem}");
    }
    assert_eq!(api.post(&olga, ROLLOUTS, &json!({ "version": "2" })).await.0, StatusCode::CREATED);
    let (status, problem) = api.post(&olga, ROLLOUTS, &json!({ "version": "3" })).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("gateway acme/gw-1 belongs to rollout 1"), "{detail}");
}

#[tokio::test]
async fn only_operators_of_the_platform_see_and_begin_rollouts() {
    let api = Api::start().await;
    let anna = api.sign_in("anna").await;
    assert_eq!(api.get(&anna, ROLLOUTS).await.status(), StatusCode::FORBIDDEN);
    let (status, _) = api.post(&anna, ROLLOUTS, &json!({ "version": "2", "tenants": ["acme"] })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) =
        api.post(&anna, "/api/v1/rollouts/1/operations", &json!({ "operation": "pause" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(api.store.newest_rollouts(1).await.expect("works"), []);
}
