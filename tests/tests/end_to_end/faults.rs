//! Faults while machines produce, then the oracle.

use std::time::Duration;

use anyhow::Result;
use factory_tests::api::Api;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user};
use factory_tests::injection::{Subscriber, inject, targets};
use factory_tests::link::{Link, LinkMode};
use factory_tests::oracle::{counter_run, judge, obligations, samples, series_of_tag, stored};
use factory_tests::process::until;

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

struct Scene {
    backend: Backend,
    plant: Plant,
    api: Api,
    link: Link,
    _folder: tempfile::TempDir,
}

async fn set_the_scene() -> Result<Scene> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let link = Link::to(backend.state.mqtt).await?;
    let options = PlantOptions { dial: Some(link.address), ..small_plant() };
    let plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    Ok(Scene { backend, plant, api, link, _folder: folder })
}

impl Scene {
    /// The samples that the ledger counts as stored.
    async fn stored_samples(&self) -> Option<u64> {
        let rows = self.api.items(&format!("/tenants/{}/ledger", self.plant.tenant)).await.ok()?;
        Some(rows.iter().filter_map(|r| r["samples_stored"].as_u64()).sum())
    }

    /// Waits until the store has `more` samples than now: the system is alive end to end.
    async fn progress(&self, more: u64) -> Result<()> {
        let before = until("the ledger", PATIENCE, || self.stored_samples()).await?;
        let grown = || async { self.stored_samples().await.filter(|now| *now >= before + more) };
        until("new samples in the store", PATIENCE, grown).await.map(drop)
    }

    /// `received = stored + duplicate + rejected`, for every stream.
    async fn the_ledger_adds_up(&self) -> Result<()> {
        for row in self.api.items(&format!("/tenants/{}/ledger", self.plant.tenant)).await? {
            let number = |field: &str| row[field].as_u64().unwrap_or(u64::MAX);
            let rejected: u64 =
                row["rejected"].as_array().into_iter().flatten().filter_map(|r| r["count"].as_u64()).sum();
            assert_eq!(number("received"), number("stored") + number("duplicate") + rejected, "{row}");
            assert_eq!(rejected, 0, "{row}");
        }
        Ok(())
    }

    /// Stops the agent as asked and holds the store against what it committed.
    async fn settle(&mut self) -> Result<()> {
        self.plant.stop_agent().await?;
        let owed = obligations(&self.plant.buffer())?;
        let (tenant, gateway, epoch) = (&self.plant.tenant, &self.plant.gateway, &self.plant.state.epoch);
        let held = stored(&self.backend.data(), tenant, gateway, epoch)?;
        judge(&owed, &held)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_agent_backend_and_link_in_turn_loses_and_doubles_nothing_committed() -> Result<()> {
    let mut scene = set_the_scene().await?;
    let epoch = scene.plant.state.epoch.clone();
    scene.progress(200).await?;
    for _ in 0..3 {
        scene.backend.service.kill().await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        scene.backend.restart().await?;
        scene.progress(100).await?;

        scene.link.set(LinkMode::Cut);
        tokio::time::sleep(Duration::from_millis(700)).await;
        scene.link.set(LinkMode::Open);
        scene.progress(100).await?;

        scene.plant.agent.kill().await?;
        scene.plant.restart_agent().await?;
        assert_eq!(scene.plant.state.epoch, epoch, "a killed agent goes on with its buffer");
        scene.progress(100).await?;
    }
    the_system_is_alive(&scene).await?;
    scene.the_ledger_adds_up().await?;
    scene.settle().await?;
    let held = stored(&scene.backend.data(), &scene.plant.tenant, &scene.plant.gateway, &epoch)?;
    let rows = samples(&held)?;
    for (machine, series) in series_of_tag(&scene.plant.buffer(), "scan_count")? {
        let run = counter_run(rows.get(&series).map_or(&[], Vec::as_slice));
        // A new OPC UA subscription is given the present value once more; a Modbus counter moves with each read.
        let given_again = if machine == "lathe-1" || machine == "furnace-1" { 3 } else { 0 };
        assert!(run.repeated <= given_again, "{machine}: {run:?}");
        // Each kill of the agent may cost what it had not committed yet, and nothing else may be missing.
        assert!(run.breaks <= 3, "{machine}: {run:?}");
        assert!(run.values > 10, "{machine}: {run:?}");
    }
    Ok(())
}

/// What the machines count themselves: with the backend killed and the link cut, but the agent alive, not
/// one value is missing and none is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_fault_of_the_agent_every_value_a_machine_gave_out_is_stored_once() -> Result<()> {
    let mut scene = set_the_scene().await?;
    scene.progress(100).await?;
    for _ in 0..2 {
        scene.backend.service.kill().await?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        scene.backend.restart().await?;
        scene.link.set(LinkMode::Cut);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        scene.link.set(LinkMode::Open);
        scene.progress(100).await?;
    }
    scene.settle().await?;
    let epoch = &scene.plant.state.epoch;
    let held = stored(&scene.backend.data(), &scene.plant.tenant, &scene.plant.gateway, epoch)?;
    let rows = samples(&held)?;
    let mut checked = 0;
    for tag in ["scan_count", "fast_count"] {
        for (machine, series) in series_of_tag(&scene.plant.buffer(), tag)? {
            let run = counter_run(rows.get(&series).map_or(&[], Vec::as_slice));
            assert_eq!((run.missing, run.repeated), (0, 0), "{machine} {tag}: {run:?}");
            assert!(run.values > 4, "{machine} {tag}: {run:?}");
            checked += 1;
        }
    }
    assert!(checked >= 6, "two Modbus machines with two counters, two OPC UA machines with one: {checked}");
    Ok(())
}

async fn the_system_is_alive(scene: &Scene) -> Result<()> {
    let subscriber = Subscriber::start(scene.api.clone(), scene.plant.tenant.clone());
    for target in targets(&scene.plant)?.iter().take(2) {
        let injected = inject(&scene.plant, &subscriber, target).await?;
        assert!(injected.latency_ms.is_some(), "{target:?} raised no alarm after the faults");
    }
    Ok(())
}
