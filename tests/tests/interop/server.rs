//! A Python server as a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use factory_tests::process::Service;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Patience with the start of an interpreter on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running server; it ends when dropped.
pub(crate) struct Server {
    pub service: Service,
    pub state: State,
}

/// What a server says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub port: u16,
    /// The end of the serial line that is ours.
    #[serde(default)]
    pub device: String,
    #[serde(default)]
    pub endpoint: String,
    pub tags: Vec<Expected>,
}

/// A tag and what must be read from it.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    /// Its table of a machine file.
    pub config: Map<String, Value>,
    #[serde(rename = "expected")]
    pub value: Value,
    #[serde(default = "good")]
    pub quality: String,
    #[serde(default)]
    pub source_ms: Option<i64>,
}

fn good() -> String {
    "Good".to_owned()
}

impl Server {
    /// Runs `servers/<script>` with its files in `folder`.
    pub(crate) async fn start(folder: &Path, script: &str, arguments: &[&str]) -> Result<Self> {
        let python = interpreter()?;
        let script = self::script(script);
        let state_file = folder.join("server.json");
        let _ = std::fs::remove_file(&state_file);
        let (script, state) = (text(&script)?, text(&state_file)?);
        let all: Vec<&str> =
            ["-B", script, "--state", state].into_iter().chain(arguments.iter().copied()).collect();
        let mut service = Service::spawn(script, &python, &all, &folder.join("server.log"))?;
        let state = service.wait_for_state(&state_file, START).await?;
        Ok(Self { service, state })
    }

    /// A tag of the state file.
    pub(crate) fn tag(&self, id: &str) -> Result<&Expected> {
        let found = self.state.tags.iter().find(|tag| tag.config["id"] == id);
        found.with_context(|| format!("the server has no tag {id}"))
    }
}

/// Where a script lies.
pub(crate) fn script(name: &str) -> PathBuf {
    tests().join("tests/interop/servers").join(name)
}

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The interpreter with the packages of `requirements.txt`, as `cargo xtask test` made it.
pub(crate) fn interpreter() -> Result<PathBuf> {
    let folder = tests().join("../target/interop-venv");
    // Kept by xtask when everything in it was installed.
    let installed = std::fs::read_to_string(folder.join("requirements.txt")).unwrap_or_default();
    ensure!(
        installed == include_str!("requirements.txt"),
        "{} is missing or old: `cargo xtask test` installs the Python servers that this test talks to",
        folder.display()
    );
    Ok(folder.join("bin/python"))
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
