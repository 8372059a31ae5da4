//! Alarms that nobody configured: of a lost connection, and of the gateway itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use factory_tests::api::local;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs};
use factory_tests::injection::{Target, targets};
use factory_tests::oracle::{stored, transitions};
use factory_tests::process::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{any_port, small_plant};

/// Patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

async fn start(folder: &std::path::Path, options: &PlantOptions) -> Result<(Backend, Plant)> {
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.join("backend"), any_port(), any_port()).await?;
    let plant = Plant::start(&programs, &backend, folder, options).await?;
    Ok((backend, plant))
}

/// An alarm that is not normal, as the agent shows it.
async fn standing(plant: &Plant, machine: &str, alarm: &str) -> Option<Value> {
    let view = local(Method::GET, plant.state.status, &format!("/machines/{machine}"), None).await.ok()?;
    view["alarms"].as_array()?.iter().find(|standing| standing["id"] == alarm).cloned()
}

/// Brings the process of an alarm beyond its limit.
async fn step(plant: &Plant, target: &Target) -> Result<()> {
    let body = json!({ "tag": target.tag, "value": target.value });
    plant.simulator(Method::POST, &format!("/machines/{}/set", target.machine), Some(body)).await?;
    Ok(())
}

/// Alarm and cause of each transition of a machine, in the order of the journal.
fn journal(backend: &Backend, plant: &Plant, machine: &str) -> Result<Vec<(String, &'static str)>> {
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    let of_machine = transitions(&held)?.into_iter().filter(|t| t.machine.as_str() == machine);
    Ok(of_machine.map(|t| (t.alarm.to_string(), t.cause.name())).collect())
}

/// A process alarm stands at one machine of each protocol; then the machines are gone. It takes the ten seconds after
/// which a lost connection is an alarm.
#[tokio::test(flavor = "multi_thread")]
async fn d4_a_lost_machine_raises_its_own_alarm_and_neither_clears_nor_raises_one_of_the_process()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let (backend, mut plant) = start(folder.path(), &small_plant()).await?;
    let all = targets(&plant)?;
    let of = |machine: &str| all.iter().find(|t| t.machine == machine).context("each machine has an alarm");
    for machine in ["mill-1", "lathe-1"] {
        let target = of(machine)?;
        step(&plant, target).await?;
        until("the process alarm", PATIENCE, || standing(&plant, machine, &target.alarm)).await?;
    }

    plant.simulator.kill().await?;
    for machine in ["mill-1", "press-1", "lathe-1", "furnace-1"] {
        until("the alarm of the connection", PATIENCE, || standing(&plant, machine, "communication")).await?;
    }
    for machine in ["mill-1", "lathe-1"] {
        let stands = standing(&plant, machine, &of(machine)?.alarm).await.context("it still stands")?;
        ensure!(stands["occurrence"] == 1, "{stands}");
    }
    plant.stop_agent().await?;
    let lost = ("communication".to_owned(), "raised");
    for machine in ["mill-1", "lathe-1"] {
        let raised = (of(machine)?.alarm.clone(), "raised");
        let journal = journal(&backend, &plant, machine)?;
        ensure!(journal == [raised, lost.clone()], "{machine}: {journal:?}");
    }
    for machine in ["press-1", "furnace-1"] {
        let journal = journal(&backend, &plant, machine)?;
        ensure!(journal == [lost.clone()], "{machine}: {journal:?}");
    }
    Ok(())
}

/// A machine that takes 800 ms to answer, and an alarm that may take 500.
#[tokio::test(flavor = "multi_thread")]
async fn d1_an_alarm_that_a_slow_machine_makes_late_raises_one_of_the_gateway_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (backend, mut plant) = start(folder.path(), &small_plant()).await?;
    let path = plant.config().join("machines.d/mill-1.toml");
    let patient = std::fs::read_to_string(&path)?.replace("timeout_ms = 250", "timeout_ms = 5000");
    ensure!(patient.contains("timeout_ms = 5000"), "{patient}");
    std::fs::write(&path, patient)?;
    plant.stop_agent().await?;
    plant.restart_agent().await?;
    let target = targets(&plant)?.into_iter().find(|t| t.machine == "mill-1").context("an alarm")?;
    let answers = || async {
        let view = local(Method::GET, plant.state.status, "/machines/mill-1", None).await.ok()?;
        (view["link_up"] == true).then_some(())
    };
    until("the machine", PATIENCE, answers).await?;
    ensure!(plant.status().await?["alarms"]["last_late"].is_null(), "all are in time so far");

    let slow = json!({ "mode": "slow", "delay_ms": 800 });
    plant.simulator(Method::POST, "/machines/mill-1/mode", Some(slow)).await?;
    step(&plant, &target).await?;
    let broken =
        until("the gateway's alarm", PATIENCE, || standing(&plant, "gateway", "alarm_promise_broken"));
    ensure!(broken.await?["priority"] == "high", "it stands");
    let last = plant.status().await?["alarms"]["last_late"].clone();
    ensure!(last["machine"] == "mill-1" && last["alarm"] == target.alarm.as_str(), "{last}");
    ensure!(last["took_ms"].as_u64() > Some(500) && last["budget_ms"] == 500, "{last}");
    plant.stop_agent().await?;
    let journal = journal(&backend, &plant, "gateway")?;
    ensure!(journal == [("alarm_promise_broken".to_owned(), "raised")], "{journal:?}");
    Ok(())
}
