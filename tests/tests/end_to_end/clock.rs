//! Field cases E1, E2 and E5: an agent whose clock knows nothing, jumps, or is behind its own program.
//!
//! The judge goes by the clock of the machines: OPC UA values carry the machine's own time, which is this host's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::{Api, now_us};
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user};
use factory_tests::fake_clock::FakeClock;
use factory_tests::link::{Link, LinkMode};
use factory_tests::oracle::{
    Batches, Obligations, counter_run, judge, obligations, samples, series_of_tag, stored,
};
use factory_tests::process::until;
use plant_model::{Sample, Timestamp};
use protocol::{Batch, BatchBody, ClockChange, ClockRecord, DiagnosticRecord, SeriesId};
use serde_json::Value;

use crate::any_port;

const PATIENCE: Duration = Duration::from_secs(60);

/// A poll, a notification and a busy machine.
const TOLERANCE_US: u64 = 2_000_000;

struct Scene {
    backend: Backend,
    plant: Plant,
    clock: FakeClock,
    link: Link,
    api: Api,
    started_us: i64,
    _folder: tempfile::TempDir,
}

/// A small plant whose agent's clock shows this, with or without a way to the backend.
async fn set_the_scene(shows: &str, mode: LinkMode) -> Result<Scene> {
    let (folder, mut programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
    let clock = FakeClock::over(&programs.edge_agent, folder.path())?;
    clock.set(shows)?;
    programs.edge_agent = clock.program();
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let link = Link::to(backend.state.mqtt).await?;
    link.set(mode);
    let options = PlantOptions { dial: Some(link.address), ..PlantOptions::small("acme", "ACME", 7) };
    let started_us = now_us();
    let plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    Ok(Scene { backend, plant, clock, link, api, started_us, _folder: folder })
}

/// What arrived.
struct Arrived {
    owed: Obligations,
    held: Batches,
    rows: BTreeMap<SeriesId, Vec<Sample>>,
    clock: Vec<ClockRecord>,
}

impl Scene {
    /// Waits until the status of the agent says so.
    async fn until_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let look = || async { self.plant.status().await.ok().filter(|status| holds(status)) };
        let found = until(what, PATIENCE, look).await;
        found.with_context(|| self.plant.agent.log_end())
    }

    async fn until_waiting(&self, batches: u64) -> Result<Value> {
        self.until_status("batches wait for the time", |status| {
            status["clock"]["batches_waiting"].as_u64() >= Some(batches) && status["clock"]["known"] == false
        })
        .await
    }

    async fn until_nothing_waits(&self) -> Result<Value> {
        self.until_status("everything has its time and is delivered", |status| {
            let (clock, buffer) = (&status["clock"], &status["buffer"]);
            clock["known"] == true
                && clock["batches_waiting"] == 0
                && status["uplink"]["connected"] == true
                && buffer["backlog_batches"].as_u64() <= Some(3)
        })
        .await
    }

    /// More samples are committed than now.
    async fn run_on(&self, samples: u64) -> Result<()> {
        let committed = |status: &Value| status["samples"]["committed"].as_u64().unwrap_or(0);
        let before = committed(&self.plant.status().await?);
        self.until_status("new samples", |status| committed(status) >= before + samples).await.map(drop)
    }

    /// Stops the agent as asked; each batch it committed must be in the store once, as it lies in the buffer.
    async fn settle(&mut self) -> Result<Arrived> {
        self.plant.stop_agent().await?;
        let owed = obligations(&self.plant.buffer())?;
        let Plant { tenant, gateway, state, .. } = &self.plant;
        let held = stored(&self.backend.data(), tenant, gateway, &state.epoch)?;
        judge(&owed, &held)?;
        let (rows, clock) = (samples(&held)?, clock_records(&held)?);
        Ok(Arrived { owed, held, rows, clock })
    }

    /// What the backend shows of the gateway's time, the newest first.
    async fn shown(&self) -> Result<Vec<String>> {
        let rows = self.api.items(&format!("/tenants/{}/ledger", self.plant.tenant)).await?;
        let changes = rows.iter().flat_map(|row| row["clock"].as_array().cloned().unwrap_or_default());
        Ok(changes.filter_map(|change| change["change"].as_str().map(str::to_owned)).collect())
    }
}

fn clock_records(held: &Batches) -> Result<Vec<ClockRecord>> {
    let mut found = Vec::new();
    for message in held.values() {
        let BatchBody::Records(records) = Batch::decode(message)?.body else { continue };
        found.extend(records.into_iter().filter_map(|record| match record {
            DiagnosticRecord::Clock(clock) => Some(clock),
            DiagnosticRecord::Gap(_) | DiagnosticRecord::Dropped(_) => None,
        }));
    }
    Ok(found)
}

impl Arrived {
    /// Machines count what they give out: nothing may be missing or there twice, but for `breaks` runs of the agent.
    fn assert_complete(&self, plant: &Plant, breaks: usize) -> Result<()> {
        for (machine, series) in series_of_tag(&plant.buffer(), "scan_count")? {
            let run = counter_run(self.rows.get(&series).map_or(&[], Vec::as_slice));
            assert!(run.values > 4, "{machine}: {run:?}");
            assert!(run.breaks <= breaks && (breaks > 0 || run.missing == 0), "{machine}: {run:?}");
            let is_modbus = machine.starts_with("mill") || machine.starts_with("press");
            assert!(run.repeated <= if is_modbus { 0 } else { breaks }, "{machine}: {run:?}");
        }
        Ok(())
    }

    /// Samples that say of themselves that their time is right are at the time at which they were taken.
    fn assert_times(&self, from_us: i64, to_us: i64) {
        let mut compared = 0;
        for sample in self.rows.values().flatten().filter(|s| s.quality.is_good()) {
            let at = sample.gateway_timestamp.micros();
            assert!(
                (from_us - 1_000_000..to_us + 1_000_000).contains(&at),
                "{sample:?} of {from_us}..{to_us}"
            );
            if let Some(source) = sample.source_timestamp {
                // A value that stands is older than its arrival.
                let late = at - source.micros();
                assert!(late > -i64::try_from(TOLERANCE_US).unwrap_or(0), "{sample:?}");
                compared += 1;
            }
        }
        assert!(compared > 20, "{compared} samples carry the time of their machine");
    }

    fn assert_order(&self) {
        for (series, samples) in &self.rows {
            let times: Vec<Timestamp> = samples.iter().map(|s| s.gateway_timestamp).collect();
            assert!(times.is_sorted(), "{series:?}: {times:?}");
        }
    }

    fn changes(&self) -> Vec<ClockChange> {
        self.clock.iter().map(|record| record.change).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_what_was_read_in_1970_arrives_once_in_order_and_at_its_right_time() -> Result<()> {
    let mut scene = set_the_scene("@1970-01-01 00:00:30", LinkMode::Cut).await?;
    scene.until_waiting(25).await?;
    scene.clock.set("+0")?;
    scene.until_status("the time is known", |status| status["clock"]["source"] == "system").await?;
    scene.run_on(100).await?;
    scene.link.set(LinkMode::Open);
    scene.until_nothing_waits().await?;
    assert_eq!(scene.shown().await?, ["set"], "the backend shows it");
    let arrived = scene.settle().await?;
    arrived.assert_complete(&scene.plant, 0)?;
    arrived.assert_times(scene.started_us, now_us());
    arrived.assert_order();
    assert_eq!(arrived.changes(), [ClockChange::Set]);
    assert!(arrived.held.len() > 25);
    Ok(())
}

/// Twice: before the time is known, and while batches are given theirs.
#[tokio::test(flavor = "multi_thread")]
async fn e1_a_killed_agent_of_the_same_boot_still_knows_when_it_was() -> Result<()> {
    let mut scene = set_the_scene("@1970-01-01 00:00:30", LinkMode::Cut).await?;
    scene.until_waiting(25).await?;
    scene.plant.agent.kill().await?;
    scene.plant.restart_agent().await?;
    scene.until_waiting(40).await?;
    scene.clock.set("+0")?;
    scene.until_status("the time is known", |status| status["clock"]["known"] == true).await?;
    scene.plant.agent.kill().await?;
    scene.plant.restart_agent().await?;
    scene.link.set(LinkMode::Open);
    scene.until_nothing_waits().await?;
    let arrived = scene.settle().await?;
    arrived.assert_complete(&scene.plant, 2)?;
    arrived.assert_times(scene.started_us, now_us());
    arrived.assert_order();
    assert!(
        arrived.rows.values().flatten().all(|s| s.quality.status_code() != 0x4000_0000),
        "all are certain"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_a_second_boot_without_the_time_loses_nothing_and_says_what_is_uncertain() -> Result<()> {
    let mut scene = set_the_scene("@1970-01-01 00:00:30", LinkMode::Cut).await?;
    scene.until_waiting(25).await?;
    scene.plant.agent.kill().await?;
    scene.clock.boot(2)?;
    scene.plant.restart_agent().await?;
    scene.until_waiting(10).await?;
    scene.clock.set("+0")?;
    scene.link.set(LinkMode::Open);
    scene.until_nothing_waits().await?;
    let mut shown = scene.shown().await?;
    shown.sort();
    assert_eq!(shown, ["never_known", "set"]);
    let arrived = scene.settle().await?;
    arrived.assert_complete(&scene.plant, 1)?;
    arrived.assert_times(scene.started_us, now_us());
    arrived.assert_order();
    let lost = arrived.clock.iter().find(|record| record.change == ClockChange::NeverKnown);
    let lost = lost.context("the record of it")?;
    let uncertain = arrived.rows.values().flatten().filter(|s| s.quality.status_code() == 0x4000_0000);
    let uncertain: Vec<Timestamp> = uncertain.map(|s| s.gateway_timestamp).collect();
    assert!(!uncertain.is_empty() && uncertain.len() as u64 <= lost.samples, "{lost:?}");
    assert!(uncertain.iter().all(|at| (lost.from..=lost.to).contains(at)), "{lost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_clock_that_steps_an_hour_either_way_doubles_loses_and_evicts_nothing() -> Result<()> {
    let mut scene = set_the_scene("+0", LinkMode::Open).await?;
    scene.run_on(150).await?;
    // Never below the present: that may be before the program was built.
    for (steps, shows) in (1..).zip(["+3600", "+0", "+7200", "+0"]) {
        scene.clock.set(shows)?;
        scene.until_status("the step", |status| status["clock"]["steps"] == steps).await?;
        scene.run_on(150).await?;
        let status = scene.until_nothing_waits().await?;
        assert_eq!(
            (&status["buffer"]["entries_evicted"], &status["samples"]["dropped"]),
            (&0.into(), &0.into())
        );
    }
    assert_eq!(scene.shown().await?, ["stepped"; 4]);
    let arrived = scene.settle().await?;
    arrived.assert_complete(&scene.plant, 0)?;
    assert!(arrived.owed.batches.contains_key(&(2, 1)), "what was acknowledged before is still kept");
    let moved: Vec<i64> = arrived
        .clock
        .iter()
        .map(|r| (r.to.micros() - r.from.micros() + 500_000).div_euclid(1_000_000))
        .collect();
    assert_eq!(moved, [3600, -3600, 7200, -7200]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_a_clock_from_before_the_program_was_built_keeps_nobody_from_connecting() -> Result<()> {
    let mut scene = set_the_scene("@2001-01-01 00:00:00", LinkMode::Open).await?;
    scene
        .until_status("the backend has told the time", |status| status["clock"]["source"] == "backend")
        .await?;
    scene.run_on(800).await?;
    scene.until_nothing_waits().await?;
    let arrived = scene.settle().await?;
    arrived.assert_complete(&scene.plant, 0)?;
    arrived.assert_times(scene.started_us, now_us());
    arrived.assert_order();
    assert_eq!(arrived.changes(), [ClockChange::Set]);
    Ok(())
}
