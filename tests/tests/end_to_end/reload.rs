//! Another configuration while the plant runs, and files that a power cut has left behind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use factory_tests::factory::{PlantOptions, Programs};
use factory_tests::link::LinkMode;
use factory_tests::process::{output, until};
use reqwest::Method;
use serde_json::Value as Json;

use crate::scene::{PATIENCE, Scene, number, with_link};
use crate::small_plant;

/// The machine that changes.
const CHANGED: &str = "injection-moulding-1";

/// Reloads until one falls into a moment in which this computer was quick enough to keep every poll.
const ROUNDS: usize = 5;

fn machine_file(scene: &Scene, id: &str) -> PathBuf {
    scene.plant.config().join(format!("machines.d/{id}.toml"))
}

/// Rewrites a machine file.
fn edit(scene: &Scene, id: &str, change: impl FnOnce(&mut Json)) -> Result<()> {
    let file = machine_file(scene, id);
    let mut machine: Json = toml::from_str(&std::fs::read_to_string(&file)?)?;
    change(&mut machine);
    Ok(std::fs::write(&file, toml::to_string(&machine)?)?)
}

/// The counts of each machine but the one that changes.
async fn others(scene: &Scene) -> Result<BTreeMap<String, Json>> {
    let status = scene.plant.status().await?;
    let machines = status["machines"].as_array().context("a list")?.iter();
    let named = machines.map(|m| (m["id"].as_str().unwrap_or_default().to_owned(), m.clone()));
    Ok(named.filter(|(id, _)| id != CHANGED && id != "gateway").collect())
}

fn count(machine: &Json, field: &str) -> u64 {
    machine[field].as_u64().unwrap_or(u64::MAX)
}

/// What the simulator has served to each machine's clients: reads, and values at the begin of a subscription.
async fn served(scene: &Scene) -> Result<BTreeMap<String, (u64, u64)>> {
    let machines = scene.plant.simulator(Method::GET, "/machines", None).await?;
    let machines = machines.as_array().context("a list")?.clone();
    let served = |m: &Json| (count(&m["produced"], "reads_served"), count(&m["produced"], "initial_values"));
    Ok(machines.iter().map(|m| (m["id"].as_str().unwrap_or_default().to_owned(), served(m))).collect())
}

async fn all_up(scene: &Scene) -> Result<()> {
    let up = || async {
        let status = scene.plant.status().await.ok()?;
        let machines = status["machines"].as_array()?;
        machines
            .iter()
            .all(|m| m["link_up"] == true && m["acquired_samples"].as_u64() > Some(0))
            .then_some(())
    };
    until("all machines", PATIENCE, up).await
}

/// `edge-agent reload`, and what it answers.
async fn reload(scene: &Scene) -> Result<Json> {
    let (config, status) = (scene.plant.config(), scene.plant.state.status.to_string());
    let config = config.to_str().context("the path is text")?;
    let program = Programs::beside_this_one()?.edge_agent;
    let answer = output(&program, &["reload", "--config", config, "--status", &status, "--json"]).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Waits until each of the others was read again, twice, or has reported changes.
async fn read_on(scene: &Scene, before: &BTreeMap<String, Json>) -> Result<()> {
    let read = || async {
        let now = others(scene).await.ok()?;
        let is_read = |(id, m): (&String, &Json)| {
            count(&now[id], "acquired_samples") > count(m, "acquired_samples")
                && (m["protocol"] == "opcua" || count(&now[id], "polls_ok") > count(m, "polls_ok") + 1)
        };
        before.iter().all(is_read).then_some(())
    };
    until("the others are read on", PATIENCE, read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_one_of_fifteen_machines_changes_and_the_others_miss_no_poll_and_keep_their_sessions() -> Result<()>
{
    let (mut scene, _link) =
        with_link(PlantOptions { commit_interval_ms: 300, ..PlantOptions::bench() }).await?;
    all_up(&scene).await?;
    let mut missed_none = false;
    for round in 0..ROUNDS {
        let (before, served_before) = (others(&scene).await?, served(&scene).await?);
        ensure!(before.len() == 14, "{} others", before.len());
        // The last tag goes; then the one before it.
        edit(&scene, CHANGED, |machine| {
            let tags = machine["tags"].as_array_mut().expect("tags");
            tags.truncate(tags.len() - 1);
            machine["alarms"] = Json::Array(Vec::new());
        })?;
        let answer = reload(&scene).await?;
        assert_eq!(
            (&answer["outcome"], &answer["changed"]),
            (&"applied".into(), &serde_json::json!([CHANGED])),
            "round {round}: {answer}"
        );
        read_on(&scene, &before).await?;
        let (after, served_after) = (others(&scene).await?, served(&scene).await?);
        let mut missed = 0;
        for (id, was) in &before {
            let is = &after[id];
            for field in ["connects", "disconnects", "polls_failed"] {
                assert_eq!(count(is, field), count(was, field), "{field} of {id}");
            }
            assert_eq!(served_after[id].1, served_before[id].1, "{id} subscribed once");
            assert!(was["protocol"] == "opcua" || served_after[id].0 > served_before[id].0, "{id} is read");
            missed += count(is, "missed_ticks") - count(was, "missed_ticks");
        }
        missed_none |= missed == 0;
        if missed_none {
            break;
        }
    }
    assert!(missed_none, "polls were missed around each of {ROUNDS} reloads");
    all_up(&scene).await?;
    scene.progress().await?;
    scene.settle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a_reload_without_a_connection_keeps_the_backlog_and_the_backend_learns_of_new_machines()
-> Result<()> {
    let (mut scene, link) = with_link(small_plant()).await?;
    all_up(&scene).await?;
    scene.progress().await?;
    link.set(LinkMode::Cut);
    let mark = number(&scene.plant.status().await?, "/buffer/batches_committed");
    scene.until("/buffer/batches_committed", |committed| committed > mark + 3).await?;
    let before = scene.plant.status().await?;
    assert_eq!(before["uplink"]["connected"], false, "{before}");
    let twin = std::fs::read_to_string(machine_file(&scene, "mill-1"))?.replace("\"mill-1\"", "\"mill-9\"");
    std::fs::write(machine_file(&scene, "mill-9"), twin)?;
    scene.plant.agent.hang_up()?;
    let is_there = || async {
        let status = scene.plant.status().await.ok()?;
        let machines = status["machines"].as_array()?;
        machines.iter().any(|m| m["id"] == "mill-9" && m["link_up"] == true).then_some(status)
    };
    let after = until("the new machine", PATIENCE, is_there).await?;
    for field in ["/buffer/held_bytes", "/buffer/batches_committed"] {
        assert!(number(&after, field) >= number(&before, field), "{field}: {before} {after}");
    }
    assert_eq!(after["epoch"], before["epoch"]);
    link.set(LinkMode::Open);
    scene.progress().await?;
    let known = || async {
        let machines = scene.api.items(&format!("/tenants/{}/machines", scene.plant.tenant)).await.ok()?;
        machines.iter().any(|m| m["id"] == "mill-9" || m["machine"] == "mill-9").then_some(())
    };
    until("the backend knows the new machine", PATIENCE, known).await?;
    scene.settle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_after_a_power_cut_that_emptied_the_files_the_last_good_configuration_runs_until_they_are_mended()
-> Result<()> {
    let (mut scene, _link) = with_link(small_plant()).await?;
    let config = scene.plant.config();
    let state = scene.folder.path().join("state");
    std::fs::create_dir(&state)?;
    let environment = [
        ("STATE_DIRECTORY".to_owned(), state.display().to_string()),
        ("EDGE_AGENT_PROVEN_AFTER_S".to_owned(), "1".to_owned()),
    ];
    scene.plant.stop_agent().await?;
    scene.plant.restart_agent_with(&environment).await?;
    all_up(&scene).await?;
    until("a good copy", PATIENCE, || async { state.join("configuration.good").exists().then_some(()) })
        .await?;
    let digest = scene.plant.status().await?["configuration"]["digest"].clone();

    scene.plant.agent.kill().await?;
    let agent = std::fs::read_to_string(config.join("agent.toml"))?;
    std::fs::write(config.join("agent.toml"), "\0".repeat(agent.len()))?;
    std::fs::write(machine_file(&scene, "mill-1"), "")?;
    scene.plant.restart_agent_with(&environment).await?;
    all_up(&scene).await?;
    let status = scene.plant.status().await?["configuration"].clone();
    assert_eq!((&status["origin"], &status["digest"]), (&"last_good".into(), &digest), "{status}");
    let refused = status["refused"].to_string();
    assert!(refused.contains("agent.toml") && refused.contains("mill-1.toml"), "{refused}");
    assert_eq!(std::fs::read(machine_file(&scene, "mill-1"))?, b"", "what the technician finds is as it was");
    scene.progress().await?;

    let mended =
        std::fs::read_to_string(machine_file(&scene, "press-1"))?.replace("\"press-1\"", "\"mill-1\"");
    std::fs::write(machine_file(&scene, "mill-1"), mended)?;
    std::fs::write(config.join("agent.toml"), agent)?;
    let answer = reload(&scene).await?;
    assert_eq!(answer["changed"], serde_json::json!(["mill-1"]), "{answer}");
    let status = scene.plant.status().await?["configuration"].clone();
    assert_eq!(
        (&status["origin"], &status["refused"]),
        (&"files".into(), &serde_json::json!([])),
        "{status}"
    );
    scene.settle().await
}
