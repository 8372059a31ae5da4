//! Alarms in time, whatever else happens at the gateway.

use std::time::Duration;

use anyhow::{Result, ensure};
use factory_tests::factory::{Backend, Plant, Programs, add_user};
use factory_tests::injection::targets;
use factory_tests::oracle::{judge, obligations, stored, transitions};
use factory_tests::process::until;
use factory_tests::steps::{self, Course, Lane, Listener, Times};
use factory_tests::sync_stall::SyncStall;

use crate::{any_port, backlog, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

/// How long the disk hangs at a time, and how often.
const STALL: Duration = Duration::from_secs(3);
const STALL_EVERY: Duration = Duration::from_secs(4);

/// Far more than an alarm takes, on a machine that is busy with other things; far less than the disk hangs.
const IN_TIME_MS: f64 = 1_500.0;

#[tokio::test(flavor = "multi_thread")]
async fn d1_alarms_come_in_time_once_and_in_order_while_a_backlog_drains_and_the_disk_hangs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &small_plant()).await?;
    plant.stop_agent().await?;
    let owed = backlog::fill(&plant, 4_000, 50)?;
    let stall = SyncStall::build(folder.path())?;
    plant.restart_agent_with(&stall.environment("buffer.db", STALL, STALL_EVERY)).await?;
    stall.turn_on()?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let listener = Listener::start(plant.sign_in(&backend, &account).await?, plant.tenant.clone());
    let connected = || async { plant.status().await.ok().filter(|s| s["uplink"]["connected"] == true) };
    until("the uplink", PATIENCE, connected).await?;

    let mut lanes: Vec<Lane> = targets(&plant)?.into_iter().map(Lane::new).collect();
    let course = Course {
        steps: 7,
        hold: Duration::from_millis(500),
        pause_max: Duration::from_millis(300),
        patience: PATIENCE,
    };
    let done = steps::run(&plant, &listener, &mut lanes, course).await?;
    let times: Times = done.iter().map(|step| step.latency_us).collect();
    ensure!(times.count() >= 50, "{} steps", times.count());
    ensure!(times.ms(100) < IN_TIME_MS, "p50 {} ms, max {} ms", times.ms(50), times.ms(100));
    ensure!(stall.count() > 0, "the disk did not hang");
    stall.turn_off()?;

    let delivered = || async {
        plant.status().await.ok()?["buffer"]["backlog_batches"].as_u64().filter(|left| *left < 4)
    };
    until("the backlog", PATIENCE, delivered).await?;
    plant.stop_agent().await?;
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    judge(&obligations(&plant.buffer())?, &held)?;
    steps::judge(&transitions(&held)?, &lanes)?;
    let kept = factory_tests::oracle::samples(&held)?.values().map(Vec::len).sum::<usize>();
    ensure!(kept as u64 > owed, "{kept} samples are stored, {owed} waited in the buffer");
    Ok(())
}
