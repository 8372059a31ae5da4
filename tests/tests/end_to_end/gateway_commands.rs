//! Commands to the gateway itself, with a real agent and real machines.

use std::io::Write as _;

use anyhow::{Context, Result};
use factory_tests::link::Link;
use factory_tests::process::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, with_link};
use crate::small_plant;

/// The exit code with which an agent ends that is to begin again.
const EXIT_RESTART: i32 = 75;

/// A scene in which one tag of the press may be written.
async fn scene() -> Result<(Scene, Link)> {
    let (mut scene, link) = with_link(small_plant()).await?;
    scene.plant.stop_agent().await?;
    let file = scene.plant.config().join("agent.toml");
    let mut file = std::fs::OpenOptions::new().append(true).open(file)?;
    file.write_all(b"\n[commands]\nwrite_tags = [\"press-1/pump_current\"]\n")?;
    scene.plant.restart_agent().await?;
    scene.progress().await?;
    Ok((scene, link))
}

impl Scene {
    /// Gives a command that the gateway answers.
    async fn command(&self, key: &str, body: Value) -> Result<Value> {
        let path = format!("/tenants/{}/gateways/{}/commands", self.plant.tenant, self.plant.gateway);
        let answered = || async {
            let (status, answer) = self.api.command(&path, key, &body).await.ok()?;
            (status == 200).then_some(answer)
        };
        until(&format!("the answer to {body}"), PATIENCE, answered).await
    }

    /// What the machine itself says of a tag.
    async fn at_machine(&self, machine: &str, tag: &str) -> Result<Value> {
        let detail = self.plant.simulator(Method::GET, &format!("/machines/{machine}"), None).await?;
        let tags = detail["tags"].as_array().context("tags")?;
        let found = tags.iter().find(|t| t["id"] == tag).context("the tag")?;
        Ok(found["value"].clone())
    }

    /// A number of the ledger, of the telemetry stream.
    async fn of_telemetry(&self, field: &str) -> Result<u64> {
        let rows = self.api.items(&format!("/tenants/{}/ledger", self.plant.tenant)).await?;
        let row = rows.iter().find(|row| row["stream"] == "telemetry").context("the stream")?;
        row[field].as_u64().context("a number")
    }
}

fn write(tag: &str, value: f64) -> Value {
    json!({ "action": "write_tag", "machine": "press-1", "tag": tag, "value": value, "comment": "trial" })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_by_command_is_read_at_the_machine_and_only_what_is_named_can_be_written()
-> Result<()> {
    let (scene, _link) = scene().await?;
    let answer = scene.command("w-1", write("pump_current", 41.5)).await?;
    assert_eq!(answer["state"], "done", "{answer}");
    assert!(answer["output"].as_str().is_some_and(|text| text.contains("reads 41.5")), "{answer}");
    let value = scene.at_machine("press-1", "pump_current").await?;
    assert_eq!(value.as_f64(), Some(41.5), "{value}");
    let journal = std::fs::read_to_string(scene.plant.config().join("writes.jsonl"))?;
    let lines: Vec<Value> = journal.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let told: Vec<_> =
        lines.iter().map(|l| (l["outcome"].as_str(), l["actor"].as_str(), l["command"].as_str())).collect();
    let by = (Some("operator"), Some("w-1"));
    assert_eq!(told, [(Some("begun"), by.0, by.1), (Some("written"), by.0, by.1)]);

    let before = scene.at_machine("press-1", "oil_temperature").await?;
    let refused =
        scene.command("w-2", write("oil_temperature", before.as_f64().unwrap_or(0.0) + 500.0)).await?;
    assert!(refused["reason"].as_str().is_some_and(|text| text.contains("write_tags")), "{refused}");
    let pull = scene.command("p-1", json!({ "action": "pull_configuration" })).await?;
    assert_eq!(pull["state"], "refused", "nothing is taken from the backend here: {pull}");
    assert!(pull["reason"].as_str().is_some_and(|text| text.contains("[remote]")), "{pull}");
    let out_of_range = scene.command("w-3", write("pump_current", 1e9)).await?;
    assert_eq!(out_of_range["state"], "refused", "{out_of_range}");
    assert_eq!(scene.at_machine("press-1", "pump_current").await?.as_f64(), Some(41.5));

    let diagnostics = scene.command("d-1", json!({ "action": "diagnostics" })).await?;
    let text = diagnostics["output"].as_str().context("a text")?;
    assert!(text.contains("edge-agent 0.") && text.contains("== check") && text.len() <= 16 << 10, "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_delivered_twice_happens_once_and_batches_asked_for_again_count_as_duplicates()
-> Result<()> {
    let (mut scene, _link) = scene().await?;
    let stored = || async { (scene.of_telemetry("committed_through").await.ok()? >= 3).then_some(()) };
    until("three batches are stored", PATIENCE, stored).await?;
    let before = scene.of_telemetry("duplicate").await?;
    let body = json!({ "action": "resend", "stream": "telemetry", "first": 1, "last": 3 });
    let answer = scene.command("s-1", body).await?;
    assert_eq!(answer["state"], "done", "{answer}");
    let arrived = || async { (scene.of_telemetry("duplicate").await.ok()? >= before + 3).then_some(()) };
    until("the batches come again", PATIENCE, arrived).await?;
    let beyond = json!({ "action": "resend", "stream": "telemetry", "first": 1_000_000, "last": 1_000_001 });
    let refused = scene.command("s-2", beyond).await?;
    assert!(refused["reason"].as_str().is_some_and(|text| text.contains("oldest")), "{refused}");

    let answer = scene.command("n-1", json!({ "action": "rescan", "machine": "press-1" })).await?;
    assert!(answer["output"].as_str().is_some_and(|text| text.contains("press-1")), "{answer}");
    let unknown = scene.command("n-2", json!({ "action": "rescan", "machine": "press-9" })).await?;
    assert_eq!(unknown["state"], "refused", "{unknown}");
    scene.progress().await?;

    let restart = json!({ "action": "restart", "comment": "once" });
    let answer = scene.command("r-1", restart.clone()).await?;
    assert_eq!((&answer["state"], &answer["repeated"]), (&json!("done"), &json!(false)), "{answer}");
    let ended = scene.plant.agent.wait(PATIENCE).await?;
    assert_eq!(ended.code(), Some(EXIT_RESTART));
    scene.plant.restart_agent().await?;
    scene.progress().await?;
    // A backend that forgot the answer sends the command again.
    scene.backend.service.terminate(PATIENCE).await?;
    scene.backend.restart().await?;
    scene.progress().await?;
    let again = scene.command("r-1", restart).await?;
    assert_eq!((&again["state"], &again["repeated"]), (&json!("done"), &json!(true)), "{again}");
    scene.progress().await?;
    scene.the_ledger_adds_up().await?;
    scene.settle().await
}
