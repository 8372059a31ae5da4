//! More alarms than anybody can read, and a backend that hangs: nothing is lost, and nothing else suffers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use factory_tests::api::Api;
use factory_tests::factory::{Backend, Plant, Programs, add_user};
use factory_tests::flood::{self, Source};
use factory_tests::injection::targets;
use factory_tests::oracle::{
    Batches, counter_run, judge, obligations, samples, series_of_tag, stored, transitions,
};
use factory_tests::process::until;
use factory_tests::steps::{self, Course, Lane, Listener};

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

/// Alarms at each of four machines: a thousand transitions a second.
const ALARMS: usize = 250;

struct Scene {
    backend: Backend,
    plant: Plant,
    api: Api,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A plant whose agent does not run yet.
    async fn set() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = Programs::beside_this_one()?;
        let backend =
            Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
        let mut plant = Plant::start(&programs, &backend, folder.path(), &small_plant()).await?;
        plant.stop_agent().await?;
        let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
        let api = plant.sign_in(&backend, &account).await?;
        Ok(Self { backend, plant, api, _folder: folder })
    }

    async fn connected(&self) -> Result<()> {
        let connected = || async {
            self.plant.status().await.ok().filter(|s| s["uplink"]["connected"] == true).map(drop)
        };
        until("the uplink", PATIENCE, connected).await
    }

    /// Waits until everything is delivered, stops the agent and holds the store against what it committed.
    async fn settle(&mut self) -> Result<Batches> {
        let delivered = || async {
            self.plant.status().await.ok()?["buffer"]["backlog_batches"].as_u64().filter(|left| *left < 4)
        };
        until("the backlog", PATIENCE, delivered).await?;
        self.plant.stop_agent().await?;
        let Plant { tenant, gateway, state, .. } = &self.plant;
        let held = stored(&self.backend.data(), tenant, gateway, &state.epoch)?;
        judge(&obligations(&self.plant.buffer())?, &held)?;
        Ok(held)
    }
}

/// A plant whose machines have many alarms each, connected.
async fn flooded() -> Result<(Scene, Vec<Source>)> {
    let mut scene = Scene::set().await?;
    let mut firsts = targets(&scene.plant)?;
    firsts.dedup_by(|a, b| a.machine == b.machine);
    let prepare = |target| Source::prepare(&scene.plant, target, ALARMS);
    let sources: Vec<Source> = firsts.into_iter().map(prepare).collect::<Result<_>>()?;
    scene.plant.restart_agent().await?;
    scene.connected().await?;
    Ok((scene, sources))
}

/// Everything that the sources moved is stored once and in order, and no value of the machines is missing.
async fn all_is_there(scene: &mut Scene, sources: &[Source]) -> Result<()> {
    let moved: u64 = sources.iter().map(Source::transitions).sum();
    let committed = || async {
        let status = scene.plant.status().await.ok()?;
        (status["buffer"]["transitions_committed"].as_u64()? >= moved).then_some(status)
    };
    let status = until("every transition in the buffer", PATIENCE, committed).await?;
    ensure!(status["buffer"]["transitions_dropped"] == 0, "{status}");

    let held = scene.settle().await?;
    let lanes: Vec<Lane> = sources.iter().flat_map(Source::lanes).collect();
    steps::judge(&transitions(&held)?, &lanes)?;
    let rows = samples(&held)?;
    let mut counters = 0;
    for (machine, series) in series_of_tag(&scene.plant.buffer(), "scan_count")? {
        // The machine counts itself. Stopping the agent for its new alarms cost values of the time between.
        let run = counter_run(rows.get(&series).map_or(&[], Vec::as_slice));
        ensure!(run.breaks <= 1 && run.values >= 8, "{machine}: {run:?}");
        counters += 1;
    }
    ensure!(counters == 4, "{counters} machines");
    Ok(())
}

/// Eight seconds: four rounds of machines that go there and back in two.
#[tokio::test(flavor = "multi_thread")]
async fn d9_a_flood_of_a_thousand_transitions_a_second_is_stored_once_and_in_order_and_starves_nothing()
-> Result<()> {
    let (mut scene, mut sources) = flooded().await?;
    let (flooding, looking) =
        tokio::join!(flood::run(&scene.plant, &mut sources, 4), look_on(&scene.api, &scene.plant.tenant));
    flooding?;
    looking?;
    all_is_there(&mut scene, &sources).await
}

/// Twelve seconds, because after ten the gateway acts on the silence.
#[tokio::test(flavor = "multi_thread")]
async fn d9_a_flood_while_the_backend_hangs_is_stored_once_and_in_order_when_it_goes_on() -> Result<()> {
    let (mut scene, mut sources) = flooded().await?;
    scene.backend.service.suspend()?;
    flood::run(&scene.plant, &mut sources, 6).await?;
    scene.backend.service.resume()?;
    all_is_there(&mut scene, &sources).await
}

/// What a person does meanwhile: the list of alarms comes in pages, and soon.
async fn look_on(api: &Api, tenant: &str) -> Result<()> {
    let mut longest = 0;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let alarms = api.items(&format!("/tenants/{tenant}/alarms?limit=100")).await?;
        let journal = api.get(&format!("/tenants/{tenant}/alarms/transitions?limit=500")).await?;
        ensure!(begun.elapsed() < Duration::from_secs(3), "the lists took {:?}", begun.elapsed());
        ensure!(alarms.len() <= 100, "{} alarms on a page", alarms.len());
        longest = longest.max(journal["items"].as_array().context("a page")?.len());
    }
    ensure!(longest == 500, "a page of the journal had {longest} entries at most");
    Ok(())
}

/// Twelve seconds, because after ten the gateway acts on the silence.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_during_a_hang_of_the_backend_is_seen_when_it_goes_on_and_the_next_ones_at_once()
-> Result<()> {
    let mut scene = Scene::set().await?;
    scene.plant.restart_agent().await?;
    scene.connected().await?;
    let listener = Listener::start(scene.api.clone(), scene.plant.tenant.clone());
    let mut firsts = targets(&scene.plant)?;
    firsts.dedup_by(|a, b| a.machine == b.machine);
    let mut lanes: Vec<Lane> = firsts.into_iter().map(Lane::new).collect();
    let milliseconds = Duration::from_millis;
    let course =
        Course { steps: 1, hold: milliseconds(500), pause_max: milliseconds(100), patience: PATIENCE };
    steps::run(&scene.plant, &listener, &mut lanes, course).await?;

    scene.backend.service.suspend()?;
    let hang = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        scene.backend.service.resume()
    };
    let (meanwhile, resumed) = tokio::join!(steps::run(&scene.plant, &listener, &mut lanes, course), hang);
    resumed?;
    let seen = meanwhile?.iter().map(|step| step.latency_us).max().unwrap_or(0);
    ensure!((11_000_000..20_000_000).contains(&seen), "{seen} us");
    let after = steps::run(&scene.plant, &listener, &mut lanes, course).await?;
    let longest = after.iter().map(|step| step.latency_us).max().unwrap_or(i64::MAX);
    ensure!(longest < 2_000_000, "{longest} us");

    let status = scene.plant.status().await?;
    ensure!(status["uplink"]["connects"] == 1, "the connection outlives the hang: {}", status["uplink"]);
    let held = scene.settle().await?;
    steps::judge(&transitions(&held)?, &lanes)
}
