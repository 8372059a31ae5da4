//! Outages: silence, no network at all, and everything that is done to a gateway while it is offline.

use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::factory::PlantOptions;
use factory_tests::injection::targets;
use factory_tests::oracle::{Batches, counter_run, judge, obligations, samples, series_of_tag};
use factory_tests::process::until;
use pki::CertificateAuthority;
use reqwest::Method;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, holds_hoard, number, with_link};
use crate::small_plant;

/// What machines count themselves: of the Modbus machines not one value is missing or doubled.
fn machines_agree(scene: &Scene) -> Result<()> {
    let rows = samples(&scene.held()?)?;
    let mut counted = 0;
    for (machine, series) in series_of_tag(&scene.plant.buffer(), "fast_count")? {
        let run = counter_run(rows.get(&series).map_or(&[], Vec::as_slice));
        assert_eq!((run.missing, run.repeated), (0, 0), "{machine}: {run:?}");
        counted += run.values;
    }
    assert!(counted > 50, "{counted}");
    Ok(())
}

/// 30 s of silence outlast what the agent bears (25 s), which is what makes this test long.
#[tokio::test(flavor = "multi_thread")]
async fn a1_a_silent_uplink_that_is_then_reset_and_refused_loses_and_doubles_nothing() -> Result<()> {
    // The simulator's example: 15 machines.
    let (mut scene, link) = with_link(PlantOptions { plant_file: None, ..small_plant() }).await?;
    scene.progress().await?;
    link.set_faults(json!({ "up": { "flow": "hole" }, "down": { "flow": "hole" } })).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let silent = scene.plant.status().await?;
    assert_eq!(silent["uplink"]["connected"], false, "silence is noticed");
    assert!(number(&silent, "/buffer/backlog_batches") > 0, "and nobody acknowledged anything");
    link.set_faults(json!({ "arrivals": "reset" })).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    link.set_faults(json!({})).await?;
    scene.progress().await?;
    scene.the_ledger_adds_up().await?;
    scene.settle().await?;
    machines_agree(&scene)
}

fn rewrite(scene: &Scene, change: impl FnOnce(&mut toml::Table)) -> Result<()> {
    let file = scene.plant.config().join("agent.toml");
    let mut config: toml::Table = toml::from_str(&std::fs::read_to_string(&file)?)?;
    change(&mut config);
    Ok(std::fs::write(file, toml::to_string(&config)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_without_network_names_or_broker_machines_are_read_alarms_raised_and_all_is_kept() -> Result<()> {
    let (mut scene, _link) = with_link(small_plant()).await?;
    scene.plant.stop_agent().await?;
    let dial = scene.backend.state.mqtt;
    // A buffer that never saw a backend, and a name that nobody knows.
    for name in ["buffer.db", "buffer.db-wal", "buffer.db-shm"] {
        let _ = std::fs::remove_file(scene.plant.config().join(name));
    }
    rewrite(&scene, |config| config["uplink"]["host"] = "backend.invalid".into())?;
    scene.plant.restart_agent().await?;
    let target = targets(&scene.plant)?.into_iter().next().context("the plant has alarms")?;
    let body = json!({ "tag": target.tag, "value": target.value, "hold_ms": 2_000 });
    scene.plant.simulator(Method::POST, &format!("/machines/{}/set", target.machine), Some(body)).await?;
    scene.until("/buffer/transitions_committed", |n| n > 0).await?;
    scene.until("/samples/committed", |n| n > 200).await?;
    let offline = scene.plant.status().await?;
    assert_eq!(offline["uplink"]["connects"], 0, "{}", offline["uplink"]);
    scene.plant.agent.kill().await?;
    rewrite(&scene, |config| {
        config["uplink"]["host"] = dial.ip().to_string().into();
        config["uplink"]["port"] = i64::from(dial.port()).into();
    })?;
    scene.plant.restart_agent().await?;
    scene.progress().await?;
    scene.settle().await
}

/// Every batch that was in the buffer is still in it, byte by byte.
fn keeps(scene: &Scene, before: &Batches) -> Result<()> {
    let now = obligations(&scene.plant.buffer())?.batches;
    let missing = before.iter().filter(|(key, message)| now.get(*key) != Some(*message)).count();
    anyhow::ensure!(missing == 0, "{missing} of {} batches are gone or changed", before.len());
    Ok(())
}

/// A million samples take a while to be delivered by programs that are not optimised.
#[tokio::test(flavor = "multi_thread")]
async fn a7_stops_kills_a_changed_configuration_and_a_new_certificate_while_offline_cost_no_row() -> Result<()>
{
    let (mut scene, link) = with_link(small_plant()).await?;
    scene.progress().await?;
    link.set_faults(json!({ "arrivals": "refuse" })).await?;
    scene.plant.stop_agent().await?;
    let hoard = scene.hoard(1_000, 100)?;
    assert_eq!(hoard.values().map(Vec::len).sum::<usize>(), 1_000_000);
    let before = obligations(&scene.plant.buffer())?.batches;

    scene.plant.restart_agent().await?;
    scene.plant.stop_agent().await?;
    keeps(&scene, &before).context("SIGTERM and a start")?;
    scene.plant.restart_agent().await?;
    scene.plant.agent.kill().await?;
    keeps(&scene, &before).context("SIGKILL")?;
    rewrite(&scene, |config| config["buffer"]["commit_interval_ms"] = 700.into())?;
    std::fs::remove_file(scene.plant.config().join("machines.d/lathe-1.toml"))?;
    scene.plant.restart_agent().await?;
    scene.plant.stop_agent().await?;
    keeps(&scene, &before).context("a configuration with one machine less")?;
    let authority = CertificateAuthority::open_or_create(&scene.backend.data().join("pki"))?;
    let (tenant, gateway) = (scene.plant.tenant.parse()?, scene.plant.gateway.parse()?);
    let renewed = authority.issue_gateway(&tenant, &gateway, Duration::from_secs(3_600))?;
    scene.plant.restart_agent().await?;
    let credentials = scene.plant.config().join("credentials");
    std::fs::write(credentials.join("gateway.crt"), &renewed.certificate.chain_pem)?;
    std::fs::write(credentials.join("gateway.key"), renewed.key_pem.secret())?;
    scene.plant.agent.kill().await?;
    keeps(&scene, &before).context("a new certificate")?;

    scene.plant.restart_agent().await?;
    link.set_faults(json!({})).await?;
    let delivered = || async {
        let status = scene.plant.status().await.ok()?;
        (status["uplink"]["connected"] == true && number(&status, "/buffer/backlog_batches") < 5)
            .then_some(())
    };
    until("the million is delivered", PATIENCE, delivered).await?;
    scene.plant.stop_agent().await?;
    judge(&obligations(&scene.plant.buffer())?, &scene.held()?)?;
    holds_hoard(&scene.held()?, &hoard)
}
