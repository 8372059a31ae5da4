//! The program `machine-simulator` as a process.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use simulators::{PlantConfig, StateFile};
use support::eventually;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_machine-simulator"));
    command.env("RUST_LOG", "off");
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// A running simulator that is killed when the test ends early.
struct Running {
    child: Child,
    state: PathBuf,
}

impl Running {
    async fn start(dir: &Path, plant: &Path) -> Self {
        let state = dir.join("state.json");
        let child = program()
            .args(["run", "--seed", "7", "--plant"])
            .arg(plant)
            .arg("--state-file")
            .arg(&state)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { child, state };
        eventually("the state file", || running.state.exists()).await;
        running
    }

    async fn stop(mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        let mut status = None;
        eventually("the end of the process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone after a clean stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_example_plant_runs_and_its_machine_files_name_the_actual_ports() {
    let dir = tempfile::tempdir().unwrap();
    let plant = dir.path().join("plant.toml");
    let example = output(&["example"]);
    assert!(example.status.success());
    fs::write(&plant, &example.stdout).unwrap();

    let running = Running::start(dir.path(), &plant).await;
    let state = StateFile::read(&running.state).unwrap();
    assert_eq!((state.seed, state.machines.len(), state.pid), (7, 15, running.child.id()));
    for machine in &state.machines {
        tokio::net::TcpStream::connect(machine.address.unwrap()).await.expect("every machine listens");
    }
    let summary = http().get(format!("http://{}/summary", state.control)).send().await.unwrap();
    assert!(summary.text().await.unwrap().contains("\"machines\":15"));

    let out = dir.path().join("agent");
    let written = program()
        .args(["agent-config", "--plant"])
        .arg(&plant)
        .arg("--state")
        .arg(&running.state)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    for machine in &state.machines {
        let file = fs::read_to_string(out.join("machines.d").join(format!("{}.toml", machine.id))).unwrap();
        assert!(file.contains(&machine.address.unwrap().port().to_string()), "{file}");
    }

    let state_file = running.state.clone();
    assert_eq!(running.stop(Signal::SIGTERM).await.code(), Some(0));
    assert!(!state_file.exists(), "a clean stop removes the state file");
}

#[tokio::test]
async fn ctrl_c_is_a_clean_stop_too() {
    let dir = tempfile::tempdir().unwrap();
    let plant = dir.path().join("plant.toml");
    let text = PlantConfig::example_toml();
    let one_machine = text.match_indices("[[machines]]").nth(1).unwrap().0;
    fs::write(&plant, &text[..one_machine]).unwrap();
    let running = Running::start(dir.path(), &plant).await;
    assert_eq!(running.stop(Signal::SIGINT).await.code(), Some(0));
}

#[test]
fn a_wrong_plant_file_ends_with_code_2_and_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let plant = dir.path().join("plant.toml");
    fs::write(
        &plant,
        PlantConfig::example_toml().replace("cnc-mill\"", "mill\"").replace("seed = 42", "seed = -1"),
    )
    .unwrap();
    let refused = output(&["run", "--plant", plant.to_str().unwrap()]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    for mistake in ["plant.toml", "line 5: seed = -1", "machines.kind = \"mill\": allowed is cnc-mill, lathe"]
    {
        assert!(message.contains(mistake), "{message}");
    }
}

#[test]
fn a_missing_plant_file_is_named() {
    let refused = output(&["run", "--plant", "no-such-plant.toml"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("no-such-plant.toml"), "{message}");
}

#[tokio::test]
async fn a_bad_link_is_made_by_command_line_and_healed_at_run_time() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap().to_string();
    let state_file = dir.path().join("link.json");
    let child = Command::new(env!("CARGO_BIN_EXE_chaos-proxy"))
        .args(["--to", &to, "--up", "pause", "--state-file", state_file.to_str().unwrap()])
        .env("RUST_LOG", "off")
        .spawn()
        .unwrap();
    let running = Running { child, state: state_file };
    eventually("the state file", || running.state.exists()).await;
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&running.state).unwrap()).unwrap();
    let mut client = tokio::net::TcpStream::connect(state["listen"].as_str().unwrap()).await.unwrap();
    let (mut far, _) = server.accept().await.unwrap();
    client.write_all(b"a").await.unwrap();
    let held = tokio::time::timeout(std::time::Duration::from_millis(200), far.read_u8()).await;
    assert!(held.is_err(), "{held:?}");
    let url = format!("http://{}/faults", state["control"].as_str().unwrap());
    let healed = http().put(url).json(&serde_json::json!({})).send().await.unwrap();
    assert!(healed.status().is_success(), "{healed:?}");
    assert_eq!(tokio::time::timeout(support::PATIENCE, far.read_u8()).await.unwrap().unwrap(), b'a');
    assert_eq!(running.stop(Signal::SIGTERM).await.code(), Some(0));
}

#[test]
fn a_direction_that_cannot_be_understood_is_refused_with_what_is_known() {
    let refused = Command::new(env!("CARGO_BIN_EXE_chaos-proxy"))
        .args(["--to", "127.0.0.1:1", "--both", "slow"])
        .output()
        .unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("delay=MS"), "{message}");
}

/// A client of plain HTTP.
fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
