//! Updates of an agent from the cloud's command line to the host and back, with machines that are read all the while:
//! a gateway that was away gets its version when it returns, a broken one is taken back, and no sample is lost.
//!
//! It takes a minute: three versions are watched for their window, and one is waited for that does not come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::factory::{Backend, PlantOptions, Programs, any_port, launch_simulator};
use factory_tests::host::{Host, until_runs};
use factory_tests::oracle::{judge, obligations, samples, stored};
use factory_tests::process::{Service, output, until};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Time for two machines and the uplink to be connected again on a busy machine.
const WINDOW_S: u32 = 15;

/// A gateway that is updated from the cloud.
struct Scene {
    backend: Backend,
    _machines: Service,
    host: Host,
    config: PathBuf,
    folder: TempDir,
}

impl Scene {
    async fn set() -> Result<Self> {
        let (folder, programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
        let root = folder.path();
        let ports = [any_port(), any_port(), any_port()];
        let backend = Backend::start_with(&programs, &root.join("backend"), ports, &[]).await?;
        backend.admin(&["tenant", "add", "acme", "--name", "ACME"]).await?;
        let config = root.join("etc");
        std::fs::create_dir(&config)?;
        let machine = |id: &str| {
            format!(
                "[[machines]]\nid = \"{id}\"\nkind = \"cnc-mill\"\nprotocol = \"modbus-tcp\"\nport = 0\n\n"
            )
        };
        let plant =
            format!("version = 1\nname = \"two\"\nseed = 7\n\n{}{}", machine("mill-1"), machine("mill-2"));
        let options = PlantOptions { plant_file: Some(plant), ..crate::small_plant() };
        let (machines, _) = launch_simulator(&programs, root, &config, &options).await?;
        let host = Host::set(&root.join("host"), &programs.edge_agent)?;
        enrol(&programs, &backend, root, &host).await?;
        Ok(Self { backend, _machines: machines, host, config, folder })
    }

    async fn rollout(&self, version: &str) -> Result<u64> {
        let start = ["rollout", "start", version, "--gateway", "acme/hall-1", "--soak", "1s"];
        self.backend.admin(&start).await?["id"].as_u64().context("a number")
    }

    /// Waits until the rollout stands so; what is said of the gateway.
    async fn until_stands(&self, rollout: u64, state: &str, of_gateway: &str) -> Result<Value> {
        let number = rollout.to_string();
        let look = || async {
            let shown = self.backend.admin(&["rollout", "show", &number]).await.ok()?;
            let member = shown["members"][0].clone();
            (shown["state"] == state && member["state"] == of_gateway).then_some(member)
        };
        let stands =
            until(&format!("rollout {rollout} is {state}, the gateway {of_gateway}"), PATIENCE, look).await;
        let now = self.backend.admin(&["rollout", "show", &number]).await;
        stands.with_context(|| format!("{now:?}\n{}", self.host.log()))
    }

    /// As root's units do when the request is there.
    async fn install(&self) -> Result<i32> {
        let asked = || async { self.host.request_file().exists().then_some(()) };
        until("the agent asks for a version", PATIENCE, asked).await.with_context(|| self.host.log())?;
        Ok(self.host.install(&self.config, WINDOW_S).await?.0)
    }

    /// All machines and the uplink are good.
    async fn until_good(&self, version: &str) -> Result<()> {
        let good = || async {
            let status = until_runs(&self.host, version).await.ok()?;
            let machines = status["machines"].as_array()?;
            let all = machines.len() > 2 && machines.iter().all(|machine| machine["link_up"] == true);
            (all && status["uplink"]["connected"] == true && status["uplink"]["connects"] != 0).then_some(())
        };
        until("machines and uplink are good", PATIENCE, good).await.with_context(|| self.host.log())
    }
}

/// From a code to an agent.toml that lets the backend update the agent.
async fn enrol(programs: &Programs, backend: &Backend, root: &Path, host: &Host) -> Result<()> {
    let invite = ["gateway", "invite", "--tenant", "acme", "--gateway", "hall-1"];
    let code = backend.admin(&invite).await?["code"].as_str().context("a code")?.to_owned();
    let cloud = format!("https://{}", backend.state.gateways);
    let (config, state) = (root.join("etc").display().to_string(), root.join("var").display().to_string());
    let enrol = ["enrol", "--cloud", &cloud, "--code", &code, "--config", &config, "--state", &state];
    output(&programs.edge_agent, &enrol).await?;
    let update = json!({ "update": {
        "enabled": true, "request_file": host.request_file(), "result_file": host.result_file(),
    } });
    let file = root.join("etc/agent.toml");
    let text = std::fs::read_to_string(&file)?.replace("127.0.0.1:9180", "127.0.0.1:0");
    Ok(std::fs::write(file, format!("{text}\n{}", toml::to_string(&update)?))?)
}

/// The sum of a count over all books.
fn sum(books: &[Value], count: impl Fn(&Value) -> Option<u64>) -> u64 {
    books.iter().filter_map(count).sum()
}

/// All that was acquired was committed, delivered and stored, over all starts of all versions. A poll that fell due while
/// an agent stopped was not made.
fn assert_nothing_lost(scene: &Scene) -> Result<()> {
    let books = scene.host.books();
    let of_machines = |book: &Value, field: &str| {
        let machines =
            book["machines"].as_array()?.iter().filter(|machine| machine["protocol"] == "modbus-tcp");
        Some(machines.filter_map(|machine| machine[field].as_u64()).sum())
    };
    let acquired = sum(&books, |book| of_machines(book, "acquired_samples"));
    assert!(acquired > 100, "{acquired} samples prove nothing");
    assert!(acquired <= sum(&books, |book| of_machines(book, "scheduled_samples")), "nothing is made up");
    let committed = sum(&books, |book| book["samples"]["committed"].as_u64());
    assert!(committed >= acquired, "{committed} of {acquired} samples were committed");
    assert_eq!(sum(&books, |book| book["samples"]["dropped"].as_u64()), 0);
    let epoch = books.last().and_then(|book| book["epoch"].as_str()).context("an epoch")?;
    let stored = stored(&scene.backend.data(), "acme", "hall-1", epoch)?;
    judge(&obligations(&scene.folder.path().join("var/buffer.db"))?, &stored)?;
    let count: usize = samples(&stored)?.values().map(Vec::len).sum();
    assert_eq!(count as u64, committed, "what was committed is what is stored");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_is_updated_a_broken_version_is_taken_back_and_no_sample_is_lost()
-> Result<()> {
    let mut scene = Scene::set().await?;
    let (old, good, bad) = (scene.host.version.clone(), scene.host.later(1), scene.host.later(2));
    scene.host.publish(&good)?;
    scene.host.publish_script(&bad, "#!/bin/sh\nexit 1\n")?;

    let first = scene.rollout(&good).await?;
    scene.host.start(&scene.config);
    scene.until_good(&old).await?;
    assert_eq!(scene.install().await?, 0, "{}", scene.host.log());
    let member = scene.until_stands(first, "completed", "done").await?;
    assert_eq!(member["running"], json!(good));

    scene.until_good(&good).await?;
    let second = scene.rollout(&bad).await?;
    assert_eq!(scene.install().await?, 3, "{}", scene.host.log());
    let member = scene.until_stands(second, "paused", "rolled_back").await?;
    assert_eq!(member["running"], json!(good));
    assert!(member["detail"].as_str().is_some_and(|why| why.contains("did not answer")), "{member}");

    scene.until_good(&good).await?;
    scene.host.stop().await?;
    assert_nothing_lost(&scene)
}
