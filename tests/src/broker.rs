//! A broker between agent and backend with a fault for any packet: the program `chaos-broker` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::local;
use crate::factory::Programs;
use crate::process::Service;

/// Patience with a start on a busy machine.
const START: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct State {
    listen: SocketAddr,
    control: SocketAddr,
}

/// A broker. It ends when dropped.
#[derive(Debug)]
pub struct Broker {
    /// Where to dial.
    pub address: SocketAddr,
    control: SocketAddr,
    target: SocketAddr,
    credentials: PathBuf,
    seed: u64,
    service: Service,
    folder: TempDir,
}

impl Broker {
    /// A broker that leads to `target` for the gateway whose credentials lie in a folder; what it does by chance
    /// follows from the seed.
    ///
    /// # Errors
    /// The program is not built, or no port can be had.
    pub async fn to(target: SocketAddr, credentials: &Path, seed: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (service, state) = launch(any, target, credentials, seed, folder.path()).await?;
        let State { listen: address, control } = state;
        Ok(Self { address, control, target, credentials: credentials.to_owned(), seed, service, folder })
    }

    /// The authority that clients have to trust; another one after each start.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Other rules, one a line (see `chaos-broker --help`), in force when this returns; they begin to count now.
    ///
    /// # Errors
    /// A rule is none.
    pub async fn set_rules(&self, rules: &str) -> Result<()> {
        let url = format!("http://{}/rules", self.control);
        let request =
            crate::api::http_client().put(url).body(rules.to_owned()).timeout(Duration::from_secs(10));
        let answer = request.send().await?;
        anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(())
    }

    /// What passed, and what each rule did.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn overview(&self) -> Result<Value> {
        local(Method::GET, self.control, "/", None).await
    }

    /// How often the rule at this place fired.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn fired(&self, place: usize) -> Result<u64> {
        self.overview().await?["rules"][place]["fired"].as_u64().context("there is such a rule")
    }

    /// Closes every open connection.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn cut(&self) -> Result<()> {
        local(Method::POST, self.control, "/cut", None).await.map(drop)
    }

    /// Ends it at once; what it had taken and not handed on is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.service.kill().await
    }

    /// Starts it again on the same address, with nothing of what it knew.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<()> {
        let (service, state) =
            launch(self.address, self.target, &self.credentials, self.seed, self.folder.path()).await?;
        (self.service, self.control) = (service, state.control);
        Ok(())
    }
}

async fn launch(
    listen: SocketAddr,
    target: SocketAddr,
    credentials: &Path,
    seed: u64,
    folder: &Path,
) -> Result<(Service, State)> {
    let program = Programs::beside_this_one()?.machine_simulator.with_file_name("chaos-broker");
    let file = folder.join("broker.json");
    // A killed one leaves it.
    let _ = std::fs::remove_file(&file);
    let path = |path: PathBuf| path.display().to_string();
    let values = [
        ("--listen", listen.to_string()),
        ("--to", target.to_string()),
        ("--ca", path(credentials.join("ca.crt"))),
        ("--certificate", path(credentials.join("gateway.crt"))),
        ("--key", path(credentials.join("gateway.key"))),
        ("--own-ca", path(folder.join("ca.crt"))),
        ("--seed", seed.to_string()),
        ("--state-file", path(file.clone())),
    ];
    let arguments: Vec<&str> = values.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    let mut service = Service::spawn("chaos-broker", &program, &arguments, &folder.join("broker.log"))?;
    let state = service.wait_for_state(&file, START).await?;
    Ok((service, state))
}
