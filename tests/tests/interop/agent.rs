//! The agent as a process with a configuration of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use factory_tests::api::local;
use factory_tests::factory::{AgentState, Programs};
use factory_tests::process::{LOOK, Service};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::server::{Expected, text};

/// Patience with the start; a protected connection makes a key first.
const START: Duration = Duration::from_secs(30);
/// Patience with values.
const VALUES: Duration = Duration::from_secs(30);

/// A running agent; it ends when dropped.
pub(crate) struct Agent {
    pub service: Service,
    state: AgentState,
}

/// A machine of the configuration: its id, the name and content of the connection's table, its tags.
pub(crate) struct Machine<'a> {
    pub id: &'a str,
    pub connection: (&'a str, Value),
    pub tags: Vec<Map<String, Value>>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(id: &'a str, connection: (&'a str, Value), expected: &[Expected]) -> Self {
        Self { id, connection, tags: expected.iter().map(|tag| tag.config.clone()).collect() }
    }

    fn file(&self) -> Result<String> {
        let (kind, connection) = &self.connection;
        let file = json!({ "version": 1, "id": self.id, *kind: connection, "tags": self.tags });
        Ok(toml::to_string(&file)?)
    }
}

/// Writes a configuration folder.
pub(crate) fn configure(folder: &Path, machines: &[Machine<'_>]) -> Result<PathBuf> {
    let config = folder.join("edge-agent");
    std::fs::create_dir_all(config.join("machines.d"))?;
    let agent = json!({
        "version": 1,
        "tenant": "acme",
        "gateway": "gateway-1",
        "buffer": { "path": config.join("buffer.db") },
        "status": { "listen": "127.0.0.1:0" },
    });
    std::fs::write(config.join("agent.toml"), toml::to_string(&agent)?)?;
    for machine in machines {
        let file = config.join("machines.d").join(machine.id).with_extension("toml");
        std::fs::write(file, machine.file()?)?;
    }
    Ok(config)
}

impl Agent {
    /// Configures and starts an agent in `folder`.
    pub(crate) async fn start(folder: &Path, machines: &[Machine<'_>]) -> Result<Self> {
        let config = configure(folder, machines)?;
        Self::run(folder, &config).await
    }

    /// Starts an agent with the configuration that lies in `config`.
    pub(crate) async fn run(folder: &Path, config: &Path) -> Result<Self> {
        let program = Programs::beside_this_one()?.edge_agent;
        let state_file = folder.join("agent.json");
        let arguments = ["run", "--config", text(config)?, "--state-file", text(&state_file)?];
        let mut service = Service::spawn("edge-agent", &program, &arguments, &folder.join("agent.log"))?;
        let state = service.wait_for_state(&state_file, START).await?;
        Ok(Self { service, state })
    }

    /// A machine with its link and the newest value of each tag.
    pub(crate) async fn machine(&self, id: &str) -> Result<Value> {
        local(Method::GET, self.state.status, &format!("/machines/{id}"), None).await
    }

    /// A machine's counts.
    pub(crate) async fn counts(&self, id: &str) -> Result<Value> {
        let status = local(Method::GET, self.state.status, "/status", None).await?;
        let machines = status["machines"].as_array().context("machines")?;
        let found = machines.iter().find(|machine| machine["id"] == id);
        found.cloned().with_context(|| format!("{id} is not in {status:#}"))
    }

    /// Looks at a machine until `judge` finds nothing wrong with it.
    pub(crate) async fn settles(&self, id: &str, judge: impl Fn(&Value) -> Vec<String>) -> Result<()> {
        let end = Instant::now() + VALUES;
        loop {
            let wrong = judge(&self.machine(id).await?);
            if wrong.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                let log = self.service.log_end();
                bail!("still wrong after {VALUES:?}:\n{}\nlog of the agent:\n{log}", wrong.join("\n"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a machine reads exactly what is expected.
    pub(crate) async fn reads(&self, id: &str, expected: &[Expected]) -> Result<()> {
        self.settles(id, |machine| expected.iter().filter_map(|tag| difference(machine, tag)).collect()).await
    }

    /// Waits until a machine is down for a reason that contains `part`.
    pub(crate) async fn is_down(&self, id: &str, part: &str) -> Result<()> {
        self.settles(id, |machine| {
            let reason = machine["link_reason"].as_str().unwrap_or_default();
            let down = machine["link_up"] == false && reason.contains(part);
            if down { Vec::new() } else { vec![format!("{part:?} is not in {reason:?}")] }
        })
        .await
    }
}

/// The newest reading of a tag.
pub(crate) fn reading<'a>(machine: &'a Value, id: &str) -> Option<&'a Value> {
    machine["tags"].as_array()?.iter().find(|tag| tag["id"] == id)
}

fn difference(machine: &Value, expected: &Expected) -> Option<String> {
    let id = expected.config["id"].as_str()?;
    let Some(read) = reading(machine, id) else { return Some(format!("{id} is not there")) };
    let time_fits = expected.source_ms.is_none_or(|ms| read["source_timestamp_ms"] == ms);
    let fits = read["value"] == expected.value && read["quality"] == *expected.quality && time_fits;
    (!fits).then(|| format!("{id}: {read}, but expected is {expected:?}"))
}
