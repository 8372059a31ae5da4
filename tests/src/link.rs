//! A TCP link between agent and backend with faults: the program `chaos-proxy` as a process, changed at run time.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::local;
use crate::factory::Programs;
use crate::process::Service;

/// Patience with a start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMode {
    /// Bytes pass.
    Open,
    /// Every connection is reset, and new ones are refused.
    Cut,
}

#[derive(Debug, Deserialize)]
struct State {
    listen: SocketAddr,
    control: SocketAddr,
}

/// A link. It ends when dropped.
#[derive(Debug)]
pub struct Link {
    /// Where to dial.
    pub address: SocketAddr,
    control: SocketAddr,
    faults: watch::Sender<Value>,
    applying: JoinHandle<()>,
    _program: Service,
    _folder: TempDir,
}

impl Link {
    /// A link that leads to `target`.
    ///
    /// # Errors
    /// The program is not built, or no port can be had.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        Self::with_seed(target, 1).await
    }

    /// A link that leads to `target`; what it does by chance follows from the seed.
    ///
    /// # Errors
    /// The program is not built, or no port can be had.
    pub async fn with_seed(target: SocketAddr, seed: u64) -> Result<Self> {
        let program = Programs::beside_this_one()?.machine_simulator.with_file_name("chaos-proxy");
        let folder = tempfile::tempdir()?;
        let (service, State { listen, control }) = launch(&program, folder.path(), target, seed).await?;
        let (faults, asked) = watch::channel(json!({}));
        let applying = tokio::spawn(apply(control, asked));
        Ok(Self { address: listen, control, faults, applying, _program: service, _folder: folder })
    }

    /// Changes the link, in a moment.
    pub fn set(&self, mode: LinkMode) {
        self.faults.send_replace(match mode {
            LinkMode::Open => json!({}),
            LinkMode::Cut => json!({ "arrivals": "refuse" }),
        });
    }

    /// Changes its faults (see `chaos-proxy --help`) and waits until they are in force.
    ///
    /// # Errors
    /// The program refuses them.
    pub async fn set_faults(&self, faults: Value) -> Result<()> {
        local(Method::PUT, self.control, "/faults", Some(faults)).await.map(drop)
    }

    /// Resets every open connection; new ones are not touched.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn cut(&self) -> Result<()> {
        local(Method::POST, self.control, "/cut", None).await.map(drop)
    }

    /// Lets every open connection die unnoticed; new ones are not touched.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn forget(&self) -> Result<()> {
        local(Method::POST, self.control, "/forget", None).await.map(drop)
    }

    /// What it does and what has passed.
    ///
    /// # Errors
    /// The program does not answer.
    pub async fn overview(&self) -> Result<Value> {
        local(Method::GET, self.control, "/", None).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.applying.abort();
    }
}

async fn launch(program: &Path, folder: &Path, target: SocketAddr, seed: u64) -> Result<(Service, State)> {
    let file = folder.join("link.json");
    let (to, seed, state_file) = (target.to_string(), seed.to_string(), file.display().to_string());
    let arguments = ["--to", &to, "--seed", &seed, "--state-file", &state_file];
    let mut service = Service::spawn("chaos-proxy", program, &arguments, &folder.join("link.log"))?;
    let state = service.wait_for_state(&file, START).await?;
    Ok((service, state))
}

async fn apply(control: SocketAddr, mut asked: watch::Receiver<Value>) {
    while asked.changed().await.is_ok() {
        let faults = asked.borrow_and_update().clone();
        // A test whose link does not follow fails by what it waits for.
        let _ = local(Method::PUT, control, "/faults", Some(faults)).await;
    }
}
