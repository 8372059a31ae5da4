//! An agent as a process, with machines written for a bench.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::api::local;
use crate::factory::{AgentState, Programs};
use crate::process::Service;
use crate::usage::Usage;

/// Patience with the start.
const START: Duration = Duration::from_secs(30);

/// A Modbus machine with u16 tags in registers from 0 on.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Port on this host.
    pub port: u16,
    /// Unit id.
    pub unit_id: u8,
    /// How many tags.
    pub tags: u16,
    /// How often they are read.
    pub poll_interval_ms: u64,
    /// What an answer may take.
    pub timeout_ms: u64,
}

impl Machine {
    /// Its file in `machines.d`.
    #[must_use]
    pub fn file(&self, id: &str) -> String {
        let Self { port, unit_id, tags, poll_interval_ms, timeout_ms } = self;
        let mut text = format!(
            "version = 1\nid = \"{id}\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = {port}\nunit_id = {unit_id}\n\
             timeout_ms = {timeout_ms}\n"
        );
        for register in 0..*tags {
            // Writing to a text cannot fail.
            let _ = write!(
                text,
                "[[tags]]\nid = \"t{register}\"\ndata_type = \"int\"\nholding_register = {register}\n\
                 format = \"u16\"\npoll_interval_ms = {poll_interval_ms}\n"
            );
        }
        text
    }
}

/// A running agent without an uplink; it ends when dropped.
#[derive(Debug)]
pub struct Agent {
    service: Service,
    state: AgentState,
}

impl Agent {
    /// Starts an agent for these machines, with its files in `folder`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(folder: &Path, machines: &[Machine]) -> Result<Self> {
        let config = folder.join("edge-agent");
        std::fs::create_dir_all(config.join("machines.d"))?;
        let buffer = config.join("buffer.db");
        let agent = format!(
            "version = 1\ntenant = \"bench\"\ngateway = \"gateway-1\"\n[buffer]\npath = {:?}\n\
             [status]\nlisten = \"127.0.0.1:0\"\n",
            buffer.display().to_string()
        );
        std::fs::write(config.join("agent.toml"), agent)?;
        for (number, machine) in (1..).zip(machines) {
            let id = format!("machine-{number}");
            std::fs::write(config.join(format!("machines.d/{id}.toml")), machine.file(&id))?;
        }
        let state_file = folder.join("agent.json");
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the path is text");
        let (config, state) = (text(&config)?, text(&state_file)?);
        let arguments = ["run", "--config", &config, "--state-file", &state];
        let program = Programs::beside_this_one()?.edge_agent;
        let mut service = Service::spawn("edge-agent", &program, &arguments, &folder.join("agent.log"))?;
        let state = service.wait_for_state(&state_file, START).await?;
        Ok(Self { service, state })
    }

    /// Memory and processor time so far.
    ///
    /// # Errors
    /// It has ended; the end of its log is quoted.
    pub fn usage(&self) -> Result<Usage> {
        let usage = self.service.pid().and_then(Usage::of);
        usage.with_context(|| format!("the agent is gone:\n{}", self.service.log_end()))
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Value> {
        local(reqwest::Method::GET, self.state.status, "/status", None).await
    }
}
