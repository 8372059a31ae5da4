//! The backend's store fails, stalls or is an older one, while a plant produces: the gateway keeps what is not
//! acknowledged, and the oracle finds everything in the end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use factory_tests::factory::{Backend, Plant, Programs};
use factory_tests::oracle::{judge, obligations, stored};
use factory_tests::process::until;
use rusqlite::Connection;

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    backend: Backend,
    plant: Plant,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = Programs::beside_this_one()?;
        let backend =
            Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
        let plant = Plant::start(&programs, &backend, folder.path(), &small_plant()).await?;
        let scene = Self { backend, plant, folder };
        scene.delivered(10).await?;
        Ok(scene)
    }

    /// What the agent says of its buffer.
    async fn buffer(&self, field: &str) -> Option<u64> {
        self.plant.status().await.ok()?["buffer"][field].as_u64()
    }

    /// Waits until more batches are delivered than now.
    async fn delivered(&self, more: usize) -> Result<()> {
        let before = self.stored()?;
        until("batches in the store", PATIENCE, || async {
            (self.stored().ok()? >= before + more).then_some(())
        })
        .await
    }

    /// Waits until the agent has so many batches that are not acknowledged.
    async fn backlog(&self, least: u64) -> Result<()> {
        let grown = || async { self.buffer("backlog_batches").await.filter(|n| *n >= least) };
        until("batches that nobody takes", PATIENCE, grown).await.map(drop)
    }

    fn stored(&self) -> Result<usize> {
        let Plant { tenant, gateway, state, .. } = &self.plant;
        Ok(stored(&self.backend.data(), tenant, gateway, &state.epoch)?.len())
    }

    /// The tenant's file, locked as by another process that writes and never ends.
    fn frozen(&self) -> Result<Connection> {
        let file = self.backend.data().join("tenants").join(format!("{}.db", self.plant.tenant));
        let other = Connection::open(file)?;
        other.busy_timeout(Duration::from_secs(30))?;
        other.execute_batch("BEGIN IMMEDIATE")?;
        Ok(other)
    }

    async fn readiness(&self) -> Result<u16> {
        let url = format!("http://{}/readyz", self.backend.state.http);
        let answer = factory_tests::api::http_client().get(url).send().await?;
        Ok(answer.status().as_u16())
    }

    async fn until_readiness_is(&self, status: u16) -> Result<()> {
        let is = || async { (self.readiness().await.ok()? == status).then_some(()) };
        until("the readiness", PATIENCE, is).await
    }

    /// Stops the agent as asked and holds the store against what it committed.
    async fn settle(&mut self) -> Result<()> {
        self.plant.stop_agent().await?;
        let owed = obligations(&self.plant.buffer())?;
        let Plant { tenant, gateway, state, .. } = &self.plant;
        judge(&owed, &stored(&self.backend.data(), tenant, gateway, &state.epoch)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in3_a_frozen_writer_is_told_within_5_s_the_gateway_buffers_and_all_goes_on_without_a_restart()
-> Result<()> {
    let mut scene = Scene::set().await?;
    ensure!(scene.readiness().await? == 200);
    let lock = scene.frozen()?;
    let frozen_at = Instant::now();
    let before = scene.stored()?;
    scene.until_readiness_is(503).await?;
    let told_after = frozen_at.elapsed();
    ensure!(told_after < Duration::from_secs(5), "told after {told_after:?}");
    scene.backlog(20).await?;
    ensure!(scene.stored()? == before, "nothing can have been stored");
    let pid = scene.backend.service.pid();
    lock.execute_batch("ROLLBACK")?;
    let drained = || async { scene.buffer("backlog_batches").await.filter(|n| *n < 5) };
    until("the backlog is drained", PATIENCE, drained).await?;
    scene.until_readiness_is(200).await?;
    ensure!(scene.backend.service.pid() == pid, "the same process");
    scene.settle().await
}

/// Ten minutes are 12 s here: longer than every time-out on the way (busy 1 s, silence 2 s, resend 10 s), with a
/// power cut of the agent in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a5_while_commits_fail_for_long_the_agent_keeps_everything_and_nothing_is_missing_afterwards()
-> Result<()> {
    let mut scene = Scene::set().await?;
    let lock = scene.frozen()?;
    let (frozen_at, before) = (Instant::now(), scene.stored()?);
    scene.backlog(10).await?;
    scene.plant.agent.kill().await?;
    scene.plant.restart_agent().await?;
    scene.backlog(20).await?;
    tokio::time::sleep(Duration::from_secs(12).saturating_sub(frozen_at.elapsed())).await;
    ensure!(scene.stored()? == before, "nothing can have been stored");
    lock.execute_batch("ROLLBACK")?;
    scene.delivered(25).await?;
    scene.settle().await
}

/// The backend's disk is lost and a backup of an hour ago is put in its place; an hour is 40 batches here.
#[tokio::test(flavor = "multi_thread")]
async fn a6_a_backend_restored_from_an_older_backup_gets_the_rest_from_the_window_that_is_kept() -> Result<()>
{
    let mut scene = Scene::set().await?;
    let backup = scene.folder.path().join("backup");
    scene.backend.service.terminate(PATIENCE).await?;
    copy(&scene.backend.data(), &backup)?;
    scene.backend.restart().await?;
    let (saved, pid) = (scene.stored()?, scene.plant.agent.pid());
    scene.delivered(40).await?;

    scene.backend.service.kill().await?;
    std::fs::remove_dir_all(scene.backend.data())?;
    copy(&backup, &scene.backend.data())?;
    ensure!(scene.stored()? == saved, "the store knows nothing of the last 40 batches");
    scene.backend.restart().await?;
    scene.delivered(45).await?;
    ensure!(scene.plant.agent.pid() == pid, "the agent was not restarted for it");
    scene.settle().await
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
