//! A plant whose gateway and whose backend meet at Mosquitto.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::local;
use factory_tests::factory::{AgentState, Backend, Programs, any_port, launch_agent, launch_simulator};
use factory_tests::oracle::{judge, obligations, stored};
use factory_tests::process::{Service, output, until};
use reqwest::Method;
use serde_json::Value;

use crate::mosquitto::Mosquitto;
use crate::scene::number;
use crate::small_plant;

/// Longer than silence is borne (25 s), a back-off takes (10 s) and an unanswered hello is waited for (10 s).
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the backend's program beside `serve`.
fn backend_command(programs: &Programs, data: &Path, arguments: &[&str]) {
    let mut command = std::process::Command::new(&programs.cloud_backend);
    let done = command.args(arguments).arg("--data").arg(data).output().expect("it starts");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Has the backend's program write the folder of a Mosquitto.
pub(crate) fn configured(programs: &Programs, data: &Path) -> impl FnOnce(&Path, SocketAddr) {
    move |out, listen| {
        let (out, listen) = (out.to_str().expect("text"), listen.to_string());
        let arguments =
            ["broker", "configure", "mosquitto", "--out", out, "--listen", &listen, "--user", "root"];
        backend_command(programs, data, &arguments);
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is text")
}

/// A gateway that was enrolled by a code, running, and its machines.
async fn enrolled(
    programs: &Programs,
    backend: &Backend,
    folder: &Path,
) -> Result<(Service, AgentState, Service)> {
    backend.admin(&["tenant", "add", "acme", "--name", "ACME"]).await?;
    let invited = backend.admin(&["gateway", "invite", "--tenant", "acme", "--gateway", "hall-1"]).await?;
    let (config, state) = (folder.join("etc"), folder.join("var"));
    std::fs::create_dir_all(&config)?;
    let cloud = format!("https://{}", backend.state.gateways);
    let code = invited["code"].as_str().context("a code")?;
    let arguments =
        ["enrol", "--cloud", &cloud, "--code", code, "--config", text(&config)?, "--state", text(&state)?];
    output(&programs.edge_agent, &arguments).await?;
    let (machines, _) = launch_simulator(programs, folder, &config, &small_plant()).await?;
    // The port of the status page is the same on every gateway; here others run at the same time.
    let file = config.join("agent.toml");
    std::fs::write(&file, std::fs::read_to_string(&file)?.replace("127.0.0.1:9180", "127.0.0.1:0"))?;
    let (agent, state) = launch_agent(&programs.edge_agent, folder, &config, &[]).await?;
    Ok((agent, state, machines))
}

/// Waits until something is acknowledged that is committed after now.
async fn progress(agent: SocketAddr) -> Result<()> {
    let status = || async { local(Method::GET, agent, "/status", None).await };
    let mark = number(&status().await?, "/buffer/batches_committed");
    let beyond = || async {
        let status: Value = status().await.ok()?;
        let waiting = number(&status, "/buffer/backlog_batches");
        let is_new = number(&status, "/buffer/batches_committed") - waiting > mark;
        (status["uplink"]["connected"] == true && is_new).then_some(())
    };
    until("something new is acknowledged", PATIENCE, beyond).await
}

/// Twice a hello that nobody answers is waited for (10 s): the agent is back at the broker before the backend is.
#[tokio::test(flavor = "multi_thread")]
async fn a3_a_plant_behind_mosquitto_delivers_every_sample_once_although_the_broker_is_killed() -> Result<()>
{
    let (folder, programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
    let (root, data): (PathBuf, PathBuf) =
        (folder.path().join("backend"), folder.path().join("backend/data"));
    std::fs::create_dir_all(&root)?;
    let mut broker = Mosquitto::start(folder.path().join("broker"), configured(&programs, &data)).await;
    let arguments = ["--broker", &broker.url(), "--broker-dir", text(broker.folder())?].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ports = [any_port(), any_port(), any_port()];
    let backend = Backend::start_with(&programs, &root, ports, &arguments).await?;
    let (mut agent, state, _machines) = enrolled(&programs, &backend, folder.path()).await?;
    progress(state.status).await?;
    for _ in 0..2 {
        broker.kill();
        let down = || async {
            let status = local(Method::GET, state.status, "/status", None).await.ok()?;
            (status["uplink"]["connected"] == false).then_some(())
        };
        until("the agent sees that the broker is gone", PATIENCE, down).await?;
        broker.restart().await;
        progress(state.status).await?;
    }
    assert!(agent.terminate(PATIENCE).await?.success());
    let held = stored(&backend.data(), "acme", "hall-1", &state.epoch)?;
    judge(&obligations(&folder.path().join("var/buffer.db"))?, &held)
}
