//! Machine files from the cloud, all through the command lines: pushed, applied, tried, taken back, not written over.
//!
//! Two of the tests take half a minute: what is to happen during a trial must find it under way on a busy machine too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::local;
use factory_tests::factory::{
    AgentState, Backend, PlantOptions, Programs, any_port, launch_agent, launch_simulator,
};
use factory_tests::link::{Link, LinkMode};
use factory_tests::process::{Service, output, until};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::small_plant;

const PATIENCE: Duration = Duration::from_secs(60);
/// A trial that is waited for.
const SHORT_TRIAL_S: u32 = 4;
/// A trial in which a test does something, on a busy machine too.
const LONG_TRIAL_S: u32 = 16;

/// A gateway that takes its machine files from the cloud; version 1 is what it has.
struct Scene {
    programs: Programs,
    backend: Backend,
    _machines: Service,
    agent: Service,
    state: AgentState,
    /// On the way to the MQTT endpoint.
    link: Link,
    folder: TempDir,
}

impl Scene {
    async fn start(trial_s: u32) -> Result<Self> {
        let (folder, programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
        let (root, options): (&Path, PlantOptions) = (folder.path(), small_plant());
        let ports = [any_port(), any_port(), any_port()];
        let backend = Backend::start_with(&programs, &root.join("backend"), ports, &[]).await?;
        backend.admin(&["tenant", "add", "acme", "--name", "ACME"]).await?;
        let (config, wanted) = (root.join("etc"), root.join("wanted"));
        std::fs::create_dir(&config)?;
        let (machines, _) = launch_simulator(&programs, root, &config, &options).await?;
        enrol(&programs, &backend, root).await?;
        let link = Link::to(backend.state.mqtt).await?;
        let port = |port: u16| format!("port = {port}\n");
        let file = config.join("agent.toml");
        let text = std::fs::read_to_string(&file)?
            .replace("127.0.0.1:9180", "127.0.0.1:0")
            .replace("[remote]\n", &format!("[remote]\ntrial_s = {trial_s}\n"))
            .replace(&port(backend.state.mqtt.port()), &port(link.address.port()));
        std::fs::write(&file, text)?;
        std::fs::create_dir(&wanted)?;
        for name in names(&config.join("machines.d"))? {
            std::fs::copy(config.join("machines.d").join(&name), wanted.join(&name))?;
        }
        let (agent, state) = launch_agent(&programs.edge_agent, root, &config, &[]).await?;
        let scene = Self { programs, backend, _machines: machines, agent, state, link, folder };
        scene.until_good().await?;
        scene.push(1).await?;
        scene.until_stands("current", 1).await?;
        Ok(scene)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    async fn status(&self) -> Option<Value> {
        local(Method::GET, self.state.status, "/status", None).await.ok()
    }

    /// A power cut, and another start.
    async fn kill_agent(&mut self) -> Result<()> {
        self.agent.kill().await?;
        let root = self.folder.path();
        (self.agent, self.state) = launch_agent(&self.programs.edge_agent, root, &self.config(), &[]).await?;
        Ok(())
    }

    /// All machines and the uplink are good.
    async fn until_good(&self) -> Result<()> {
        let good = || async {
            let status = self.status().await?;
            let machines = status["machines"].as_array()?;
            let all = machines.len() > 1 && machines.iter().all(|machine| machine["link_up"] == true);
            (all && status["uplink"]["connected"] == true).then_some(())
        };
        until("the machines and the uplink are good", PATIENCE, good).await
    }

    /// Pushes the wanted files. The gateway looks by itself in minutes, or at once because it is told to.
    async fn push(&self, version: u32) -> Result<()> {
        let folder = self.folder.path().join("wanted").display().to_string();
        let saved = self.backend.admin(&["config", "push", &folder, "--gateway", "acme/hall-1"]).await?;
        assert_eq!(saved["desired"], json!(version), "{saved}");
        Ok(())
    }

    async fn ask(&self, verb: &str) -> Result<Vec<u8>> {
        let config = self.config().display().to_string();
        output(&self.programs.edge_agent, &["config", verb, "--json", "--config", &config]).await
    }

    async fn remote(&self) -> Option<Value> {
        Some(self.status().await?["remote"].clone())
    }

    /// The gateway says so of a version, and the cloud has heard it.
    async fn until_stands(&self, state: &str, version: u32) -> Result<Value> {
        let told = || async {
            let remote = self.remote().await?;
            (remote["state"] == state && remote["version"] == version).then_some(remote)
        };
        let remote = until(&format!("version {version} is {state}"), PATIENCE, told).await?;
        let heard = || async {
            let show = ["config", "show", "--gateway", "acme/hall-1"];
            let report = self.backend.admin(&show).await.ok()?["report"].clone();
            (report["state"] == state && report["version"] == version).then_some(())
        };
        until(&format!("the cloud knows that version {version} is {state}"), PATIENCE, heard).await?;
        Ok(remote)
    }

    async fn until_on_trial(&self) -> Result<()> {
        let tried = || async { self.remote().await.filter(|remote| remote["state"] == "trial").map(|_| ()) };
        until("a version is on trial", PATIENCE, tried).await
    }

    fn here(&self, name: &str) -> PathBuf {
        self.config().join("machines.d").join(name)
    }

    /// Changes a file that is to be pushed.
    fn want(&self, name: &str, change: impl FnOnce(String) -> String) -> Result<String> {
        let path = self.folder.path().join("wanted").join(name);
        let text = change(std::fs::read_to_string(&path)?);
        std::fs::write(&path, &text)?;
        Ok(text)
    }

    /// The file of the first Modbus machine.
    fn modbus(&self) -> Result<String> {
        let wanted = self.folder.path().join("wanted");
        let is_modbus = |name: &String| {
            std::fs::read_to_string(wanted.join(name)).is_ok_and(|text| text.contains("[modbus_tcp]"))
        };
        names(&wanted)?.into_iter().find(is_modbus).context("a Modbus machine")
    }
}

/// From a code to a first agent.toml, which takes machine files from the cloud.
async fn enrol(programs: &Programs, backend: &Backend, root: &Path) -> Result<()> {
    let invite = ["gateway", "invite", "--tenant", "acme", "--gateway", "hall-1"];
    let code = backend.admin(&invite).await?["code"].as_str().context("a code")?.to_owned();
    let cloud = format!("https://{}", backend.state.gateways);
    let (config, state) = (root.join("etc").display().to_string(), root.join("var").display().to_string());
    let enrol = ["enrol", "--cloud", &cloud, "--code", &code, "--config", &config, "--state", &state];
    output(&programs.edge_agent, &enrol).await.map(drop)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.extend(entry?.file_name().to_str().filter(|name| name.ends_with(".toml")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The same with another port.
fn with_port(text: &str, port: u16) -> String {
    let line = |line: &str| match line.starts_with("port = ") {
        true => format!("port = {port}\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_version_from_the_cloud_is_applied_and_kept_and_what_was_edited_here_is_not_written_over()
-> Result<()> {
    let scene = Scene::start(SHORT_TRIAL_S).await?;
    let name = scene.modbus()?;
    let second = scene.want(&name, |text| format!("# from the cloud\n{text}"))?;
    scene.push(2).await?;
    scene.until_stands("current", 2).await?;
    assert_eq!(std::fs::read_to_string(scene.here(&name))?, second);

    let edited = format!("# by hand\n{second}");
    std::fs::write(scene.here(&name), &edited)?;
    let third = scene.want(&name, |text| text.replace("from the cloud", "again from the cloud"))?;
    scene.push(3).await?;
    let remote = scene.until_stands("drifted", 3).await?;
    assert_eq!(remote["drift"], json!([{ "file": name, "change": "changed" }]));
    assert_eq!(std::fs::read_to_string(scene.here(&name))?, edited);

    scene.ask("restore").await?;
    scene.until_stands("current", 3).await?;
    assert_eq!(std::fs::read_to_string(scene.here(&name))?, third);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_address_that_is_wrong_is_taken_back_even_if_the_agent_is_killed_on_trial() -> Result<()> {
    let mut scene = Scene::start(LONG_TRIAL_S).await?;
    let name = scene.modbus()?;
    let before = std::fs::read_to_string(scene.here(&name))?;
    // Bound and not listening: whoever connects is refused, and the port stays ours.
    let nobody = TcpSocket::new_v4()?;
    nobody.bind("127.0.0.1:0".parse()?)?;
    let port = nobody.local_addr()?.port();
    scene.want(&name, |text| with_port(&text, port))?;
    scene.push(2).await?;
    scene.until_on_trial().await?;
    scene.kill_agent().await?;
    let remote = scene.until_stands("rolled_back", 2).await?;
    let detail = remote["detail"].as_str().context("a detail")?;
    assert!(detail.contains("was good before"), "{detail}");
    assert_eq!(std::fs::read_to_string(scene.here(&name))?, before);
    scene.until_good().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_that_stays_away_after_a_change_brings_the_former_files_back() -> Result<()> {
    let scene = Scene::start(LONG_TRIAL_S).await?;
    let name = scene.modbus()?;
    let before = std::fs::read_to_string(scene.here(&name))?;
    scene.want(&name, |text| format!("# from the cloud\n{text}"))?;
    scene.push(2).await?;
    scene.until_on_trial().await?;
    scene.link.set(LinkMode::Cut);
    let remote = scene.until_stands("rolled_back", 2).await?;
    assert!(remote["detail"].as_str().is_some_and(|detail| detail.contains("uplink")), "{remote}");
    assert_eq!(std::fs::read_to_string(scene.here(&name))?, before);
    Ok(())
}
