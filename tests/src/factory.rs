//! A whole factory: one backend, and for each plant a simulator and an agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, local};
use crate::process::{Service, output, until};

/// Patience with a start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Patience with a stop: drivers, flush and delivery each have their own bound below it.
const STOP: Duration = Duration::from_secs(25);

/// Hours of a plant of 15 machines. The agent takes all of it on the disk beforehand.
const BUFFER_MAX_MIB: u32 = 64;

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `edge-agent`
    pub edge_agent: PathBuf,
    /// `cloud-backend`
    pub cloud_backend: PathBuf,
    /// `machine-simulator`
    pub machine_simulator: PathBuf,
}

impl Programs {
    /// The programs that were built beside the running one.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn beside_this_one() -> Result<Self> {
        let this = std::env::current_exe()?;
        let folder = this
            .ancestors()
            .skip(1)
            .find(|folder| folder.join("cloud-backend").is_file())
            .context("cloud-backend is not built: run `cargo build --workspace --bins` first")?;
        let find = |name: &str| {
            let path = folder.join(name);
            path.is_file()
                .then_some(path)
                .with_context(|| format!("{name} is not built: run `cargo build --workspace --bins` first"))
        };
        Ok(Self {
            edge_agent: find("edge-agent")?,
            cloud_backend: find("cloud-backend")?,
            machine_simulator: find("machine-simulator")?,
        })
    }
}

/// What the backend says of itself once it listens.
#[derive(Debug, Clone, Deserialize)]
pub struct BackendState {
    /// The API and the dashboard.
    pub http: SocketAddr,
    /// The MQTT endpoint.
    pub mqtt: SocketAddr,
    /// The API for gateways.
    pub gateways: SocketAddr,
}

/// A backend.
#[derive(Debug)]
pub struct Backend {
    /// The process.
    pub service: Service,
    /// Where it listens; the same after a restart.
    pub state: BackendState,
    folder: PathBuf,
    program: PathBuf,
    extra: Vec<String>,
}

impl Backend {
    /// Starts a backend in `folder`. Port 0 takes a free one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        programs: &Programs,
        folder: &Path,
        http: SocketAddr,
        mqtt: SocketAddr,
    ) -> Result<Self> {
        Self::start_with(programs, folder, [http, mqtt, any_port()], &[]).await
    }

    /// Starts a backend that listens for people, MQTT and gateways on these addresses, with more arguments.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(
        programs: &Programs,
        folder: &Path,
        listen: [SocketAddr; 3],
        extra: &[&str],
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let extra: Vec<String> = extra.iter().map(|&argument| argument.to_owned()).collect();
        let (service, state) = launch_backend(&programs.cloud_backend, folder, listen, &extra).await?;
        Ok(Self { service, state, folder: folder.to_owned(), program: programs.cloud_backend.clone(), extra })
    }

    /// Starts it again on the same addresses, after it ended.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<()> {
        let listen = [self.state.http, self.state.mqtt, self.state.gateways];
        let (service, state) = launch_backend(&self.program, &self.folder, listen, &self.extra).await?;
        self.service = service;
        self.state = state;
        Ok(())
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Runs an administrative command and gives its JSON answer.
    ///
    /// # Errors
    /// The command fails.
    pub async fn admin(&self, arguments: &[&str]) -> Result<Value> {
        let data = self.data();
        let mut all = arguments.to_vec();
        all.extend(["--json", "--data", data.to_str().context("the path is text")?]);
        Ok(serde_json::from_slice(&output(&self.program, &all).await?)?)
    }
}

async fn launch_backend(
    program: &Path,
    folder: &Path,
    listen: [SocketAddr; 3],
    extra: &[String],
) -> Result<(Service, BackendState)> {
    let state_file = folder.join("state.json");
    remove(&state_file)?;
    let (data, state) = (folder.join("data"), state_file.clone());
    let [http, mqtt, gateways] = listen.map(|address| address.to_string());
    let mut arguments = vec!["serve", "--data", text(&data)?, "--http", &http, "--mqtt", &mqtt];
    arguments.extend(["--gateways", &gateways, "--state-file", text(&state)?]);
    arguments.extend(extra.iter().map(String::as_str));
    let mut service = Service::spawn("cloud-backend", program, &arguments, &folder.join("backend.log"))?;
    let state = service.wait_for_state(&state_file, START).await?;
    Ok((service, state))
}

/// Any free port of this host.
#[must_use]
pub fn any_port() -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0))
}

/// Who may sign in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Adds a user with a generated password.
///
/// # Errors
/// The command fails.
pub async fn add_user(backend: &Backend, name: &str, scope: &[&str]) -> Result<Account> {
    let mut arguments = vec!["user", "add", name, "--generate"];
    arguments.extend(scope);
    let answer = backend.admin(&arguments).await?;
    let password = answer["password"].as_str().context("a password is generated")?.to_owned();
    Ok(Account { user: name.to_owned(), password })
}

#[derive(Debug, Deserialize)]
struct SimulatorState {
    control: SocketAddr,
}

/// What an agent says of itself.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentState {
    /// Its status interface.
    pub status: SocketAddr,
    /// The life of its buffer.
    pub epoch: String,
    /// Its books, once it has stopped as asked.
    pub stopped: Option<Value>,
}

/// A plant: simulated machines, and the agent that reads them.
#[derive(Debug)]
pub struct Plant {
    /// The customer.
    pub tenant: String,
    /// The gateway.
    pub gateway: String,
    /// The simulator.
    pub simulator: Service,
    /// Its control interface.
    pub control: SocketAddr,
    /// The agent.
    pub agent: Service,
    /// What the agent said when it started.
    pub state: AgentState,
    folder: PathBuf,
    program: PathBuf,
}

/// What a plant is made of.
#[derive(Debug, Clone)]
pub struct PlantOptions {
    /// The customer's id.
    pub tenant: String,
    /// The customer's name.
    pub name: String,
    /// Seed of the machines.
    pub seed: u64,
    /// The plant file; `None` is the simulator's example of 15 machines.
    pub plant_file: Option<String>,
    /// How often the agent commits samples.
    pub commit_interval_ms: u64,
    /// Where the agent dials instead of the backend's own address, for a proxy between them.
    pub dial: Option<SocketAddr>,
    /// The authority that the agent trusts instead of the backend's own, for a broker between them.
    pub ca_file: Option<PathBuf>,
}

impl PlantOptions {
    /// The plant of the benches: the simulator's example of 15 machines, commits as on a real gateway.
    #[must_use]
    pub fn bench() -> Self {
        Self {
            tenant: "bench".to_owned(),
            name: "Bench".to_owned(),
            seed: 7,
            plant_file: None,
            commit_interval_ms: 5_000,
            dial: None,
            ca_file: None,
        }
    }

    /// A small plant: two machines of each protocol, commits every 300 ms.
    #[must_use]
    pub fn small(tenant: &str, name: &str, seed: u64) -> Self {
        let machine = |id: &str, kind: &str, protocol: &str| {
            format!("[[machines]]\nid = \"{id}\"\nkind = \"{kind}\"\nprotocol = \"{protocol}\"\nport = 0\n\n")
        };
        let file = format!(
            "version = 1\nname = \"small\"\nseed = {seed}\n\n{}{}{}{}",
            machine("mill-1", "cnc-mill", "modbus-tcp"),
            machine("press-1", "hydraulic-press", "modbus-tcp"),
            machine("lathe-1", "lathe", "opcua"),
            machine("furnace-1", "furnace", "opcua"),
        );
        Self {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            seed,
            plant_file: Some(file),
            commit_interval_ms: 300,
            dial: None,
            ca_file: None,
        }
    }
}

/// The one gateway of a plant.
const GATEWAY: &str = "gateway-1";

impl Plant {
    /// Sets up tenant and gateway in the backend, unless they are, and gives the folder with the credentials.
    ///
    /// # Errors
    /// The backend refuses.
    pub async fn enrol(backend: &Backend, root: &Path, options: &PlantOptions) -> Result<PathBuf> {
        let config = root.join(&options.tenant).join("edge-agent");
        std::fs::create_dir_all(&config)?;
        let credentials = config.join("credentials");
        if !credentials.join("gateway.key").exists() {
            register(backend, options, GATEWAY, &config).await?;
        }
        Ok(credentials)
    }

    /// Sets up tenant and gateway in the backend, then starts machines and agent.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn start(
        programs: &Programs,
        backend: &Backend,
        root: &Path,
        options: &PlantOptions,
    ) -> Result<Self> {
        let folder = root.join(&options.tenant);
        let (config, gateway) = (folder.join("edge-agent"), GATEWAY.to_owned());
        Self::enrol(backend, root, options).await?;
        let (simulator, control) = launch_simulator(programs, &folder, &config, options).await?;
        let dial = options.dial.unwrap_or(backend.state.mqtt);
        std::fs::write(config.join("agent.toml"), agent_toml(options, &gateway, &config, dial)?)?;
        let (agent, state) = launch_agent(&programs.edge_agent, &folder, &config, &[]).await?;
        Ok(Self {
            tenant: options.tenant.clone(),
            gateway,
            simulator,
            control,
            agent,
            state,
            folder,
            program: programs.edge_agent.clone(),
        })
    }

    /// Starts the agent again, after it ended.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_agent(&mut self) -> Result<()> {
        self.restart_agent_with(&[]).await
    }

    /// As [`Self::restart_agent`], with variables added to its environment.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_agent_with(&mut self, environment: &[(String, String)]) -> Result<()> {
        let (agent, state) = launch_agent(&self.program, &self.folder, &self.config(), environment).await?;
        self.agent = agent;
        self.state = state;
        Ok(())
    }

    /// Stops the agent as asked and gives its books.
    ///
    /// # Errors
    /// It does not stop in time.
    pub async fn stop_agent(&mut self) -> Result<Value> {
        self.agent.terminate(STOP).await?;
        let state: AgentState = serde_json::from_slice(&std::fs::read(self.folder.join("agent.json"))?)?;
        state.stopped.with_context(|| format!("the agent left no books:\n{}", self.agent.log_end()))
    }

    /// The agent's buffer file.
    #[must_use]
    pub fn buffer(&self) -> PathBuf {
        self.folder.join("edge-agent/buffer.db")
    }

    /// The agent's configuration folder.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("edge-agent")
    }

    /// The agent's status.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Value> {
        local(Method::GET, self.state.status, "/status", None).await
    }

    /// A request to the simulator's control interface.
    ///
    /// # Errors
    /// It is refused.
    pub async fn simulator(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        local(method, self.control, path, body).await
    }

    /// Signs a user in.
    ///
    /// # Errors
    /// The backend refuses.
    pub async fn sign_in(&self, backend: &Backend, account: &Account) -> Result<Api> {
        Api::sign_in(backend.state.http, &account.user, &account.password).await
    }
}

async fn register(backend: &Backend, options: &PlantOptions, gateway: &str, config: &Path) -> Result<()> {
    backend.admin(&["tenant", "add", &options.tenant, "--name", &options.name]).await?;
    let out = config.join("credentials");
    let arguments =
        ["gateway", "add", "--tenant", &options.tenant, "--gateway", gateway, "--out", text(&out)?];
    backend.admin(&arguments).await?;
    Ok(())
}

/// Starts the machines of a plant in `folder` and writes their files for an agent to `config`; answers the
/// control interface.
///
/// # Errors
/// A machine does not start.
pub async fn launch_simulator(
    programs: &Programs,
    folder: &Path,
    config: &Path,
    options: &PlantOptions,
) -> Result<(Service, SocketAddr)> {
    let program = &programs.machine_simulator;
    let (plant, state_file) = (folder.join("plant.toml"), folder.join("simulator.json"));
    let content = match &options.plant_file {
        Some(content) => content.clone().into_bytes(),
        None => output(program, &["example"]).await?,
    };
    std::fs::write(&plant, content)?;
    remove(&state_file)?;
    let seed = options.seed.to_string();
    let keys = folder.join("simulator-keys");
    let mut arguments = vec!["run", "--plant", text(&plant)?, "--seed", &seed];
    arguments.extend(["--state-file", text(&state_file)?, "--key-dir", text(&keys)?]);
    let mut service =
        Service::spawn("machine-simulator", program, &arguments, &folder.join("simulator.log"))?;
    let state: SimulatorState = service.wait_for_state(&state_file, START).await?;
    let arguments =
        ["agent-config", "--plant", text(&plant)?, "--state", text(&state_file)?, "--out", text(config)?];
    output(program, &arguments).await?;
    Ok((service, state.control))
}

fn agent_toml(options: &PlantOptions, gateway: &str, config: &Path, dial: SocketAddr) -> Result<String> {
    let credentials = config.join("credentials");
    let path = |name: &str| credentials.join(name).display().to_string();
    let authority =
        options.ca_file.as_ref().map_or_else(|| path("ca.crt"), |file| file.display().to_string());
    let file = serde_json::json!({
        "version": 1,
        "tenant": options.tenant,
        "gateway": gateway,
        "uplink": {
            "host": dial.ip().to_string(),
            "port": dial.port(),
            "ca_file": authority,
            "certificate_file": path("gateway.crt"),
            "key_file": path("gateway.key"),
        },
        "buffer": {
            "path": config.join("buffer.db").display().to_string(),
            "commit_interval_ms": options.commit_interval_ms,
            "max_mib": BUFFER_MAX_MIB,
        },
        "status": { "listen": "127.0.0.1:0" },
    });
    Ok(toml::to_string(&file)?)
}

/// Starts an agent with its configuration in `config` and more in its environment; log and state file lie in `folder`.
///
/// # Errors
/// It does not start.
pub async fn launch_agent(
    program: &Path,
    folder: &Path,
    config: &Path,
    environment: &[(String, String)],
) -> Result<(Service, AgentState)> {
    let state_file = folder.join("agent.json");
    remove(&state_file)?;
    let arguments = ["run", "--config", text(config)?, "--state-file", text(&state_file)?];
    let mut service =
        Service::spawn_with("edge-agent", program, &arguments, environment, &folder.join("agent.log"))?;
    let state: AgentState = service.wait_for_state(&state_file, START).await?;
    // Before it answers it may not listen to signals yet.
    let answer = || async { local(Method::GET, state.status, "/status", None).await.ok() };
    until("the status of the agent", START, answer).await?;
    Ok((service, state))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
