//! An alarm from the machine to a person and back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::Api;
use factory_tests::factory::{Backend, Plant, Programs, add_user};
use factory_tests::injection::{Target, targets};
use factory_tests::process::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

/// What the live stream said of one alarm.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Value>>>);

impl Heard {
    fn follow(api: &Api, tenant: &str, target: &Target) -> Self {
        let (heard, api, tenant, target) = (Self::default(), api.clone(), tenant.to_owned(), target.clone());
        let ours = heard.clone();
        tokio::spawn(async move {
            let take = |event: factory_tests::api::LiveEvent| {
                if event.data["machine"] == target.machine && event.data["alarm"] == target.alarm {
                    ours.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.data);
                }
            };
            api.follow(&tenant, take).await
        });
        heard
    }

    /// The steps with this cause, in the order in which they came.
    fn steps(&self, cause: &str) -> Vec<Value> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|step| step["cause"] == cause).cloned().collect()
    }

    /// Waits for the copy that runs ahead and the stored one.
    async fn twice(&self, cause: &str) -> Result<(Value, Value)> {
        until(cause, PATIENCE, || async {
            let steps = self.steps(cause);
            let [early, stored, ..] = steps.as_slice() else { return None };
            Some((early.clone(), stored.clone()))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_seen_before_it_is_stored_and_acknowledged_from_afar_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &small_plant()).await?;
    let account = add_user(&backend, "anna", &["--tenant", "acme"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    let target = targets(&plant)?.into_iter().next().context("the plant has alarms")?;
    let alarm = format!(
        "/tenants/acme/gateways/{}/machines/{}/alarms/{}",
        plant.gateway, target.machine, target.alarm
    );
    let connected = || async { plant.status().await.ok().filter(|s| s["uplink"]["connected"] == true) };
    until("the uplink", PATIENCE, connected).await?;

    let heard = Heard::follow(&api, "acme", &target);
    // Long enough that it stands until it is acknowledged, whatever the test machine does meanwhile.
    let body = json!({ "tag": target.tag, "value": target.value, "hold_ms": 60_000 });
    plant.simulator(Method::POST, &format!("/machines/{}/set", target.machine), Some(body)).await?;
    let (early, stored) = heard.twice("raised").await?;
    assert_eq!(early["stored_at"], Value::Null, "{early}");
    assert!(stored["stored_at"].is_string(), "{stored}");
    assert_eq!((&early["occurrence"], &early["decided_at"]), (&stored["occurrence"], &stored["decided_at"]));

    let body = json!({ "action": "acknowledge", "occurrence": stored["occurrence"], "comment": "on my way" });
    for _ in 0..2 {
        let (status, answer) = api.command(&format!("{alarm}/commands"), "ack-1", &body).await?;
        assert_eq!((status, &answer["state"]), (200, &json!("done")), "{answer}");
    }
    let (early, stored) = heard.twice("acknowledged").await?;
    assert_eq!((&early["stored_at"], &stored["to"]), (&Value::Null, &json!("ACKED")));
    let journal = api.items("/tenants/acme/alarms/transitions").await?;
    let acknowledged: Vec<&Value> =
        journal.iter().filter(|row| row["cause"] == "acknowledged" && row["alarm"] == target.alarm).collect();
    assert_eq!(acknowledged.len(), 1, "{journal:?}");
    assert_eq!(
        (&acknowledged[0]["actor"], &acknowledged[0]["comment"]),
        (&json!("anna"), &json!("on my way"))
    );
    let again = json!({ "action": "acknowledge", "occurrence": stored["occurrence"] });
    let (_, refused) = api.command(&format!("{alarm}/commands"), "ack-2", &again).await?;
    assert_eq!(refused["state"], "refused", "{refused}");

    let stages = || async {
        let latency = plant.status().await.ok()?["alarms"]["latency"].as_array().cloned()?;
        let counted = |stage: &str| latency.iter().any(|row| row["stage"] == stage);
        ["decision", "sent", "durable", "cloud"].into_iter().all(counted).then_some(())
    };
    until("every stage is timed", PATIENCE, stages).await?;
    plant.stop_agent().await?;
    let (status, problem) = api.command(&format!("{alarm}/commands"), "ack-3", &body).await?;
    assert_eq!((status, &problem["type"]), (503, &json!("/problems/gateway-offline")), "{problem}");
    Ok(())
}
