//! A running plant.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{
    control,
    error::SimulatorError,
    line::Line,
    machine::Machine,
    plant_file::PlantConfig,
    report::{LineReport, Produced, Summary},
    start::Starting,
    state_file::{MachineState, StateFile},
    ua_options,
    wall_clock::now_us,
};

/// Time the tasks get to end; OPC UA servers say goodbye to their clients first.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running plant. Clones are handles to the same plant; it runs until [`Plant::stop`].
#[derive(Clone)]
pub struct Plant {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: PlantConfig,
    pub(crate) lines: Vec<Arc<Line>>,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) keys: Keys,
    pub(crate) paused: Arc<AtomicBool>,
    pub(crate) started_at_us: i64,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// Where the keys and certificates of OPC UA servers lie: below one folder, in one of each machine's name.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Made for this plant and removed with it.
    Temporary(tempfile::TempDir),
    /// Kept for the next start.
    Kept(PathBuf),
}

impl Keys {
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Plant {
    /// Starts all machines; when this returns, every one of them listens, or refuses as its fault asks, and its model
    /// runs. Keys of OPC UA servers are made anew and removed with the plant.
    ///
    /// # Errors
    /// A port is taken or a server does not start. What was started before is stopped again.
    pub async fn start(config: PlantConfig) -> Result<Self, SimulatorError> {
        let folder = tempfile::Builder::new().prefix("machine-simulator-").tempdir();
        Self::start_with(config, Keys::Temporary(folder.map_err(SimulatorError::KeyFolder)?)).await
    }

    /// Starts all machines like [`Plant::start`]; keys of OPC UA servers are kept in `folder`, so that they and their
    /// certificates are the same at the next start.
    ///
    /// # Errors
    /// As above, or the folder cannot be made.
    pub async fn start_in(config: PlantConfig, folder: &Path) -> Result<Self, SimulatorError> {
        std::fs::create_dir_all(folder).map_err(SimulatorError::KeyFolder)?;
        Self::start_with(config, Keys::Kept(folder.to_owned())).await
    }

    async fn start_with(config: PlantConfig, keys: Keys) -> Result<Self, SimulatorError> {
        let mut starting = Starting::new();
        match starting.machines(&config, keys.folder()).await {
            Ok(machines) => Ok(starting.finish(config, machines, keys)),
            Err(error) => {
                starting.abandon().await;
                Err(error)
            }
        }
    }

    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The lines that machines share, in the order of the plant file.
    pub fn lines(&self) -> &[Arc<Line>] {
        &self.inner.lines
    }

    /// The line with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn line(&self, id: &str) -> Result<&Arc<Line>, SimulatorError> {
        let found = self.inner.lines.iter().find(|line| line.id() == id);
        found.ok_or_else(|| SimulatorError::UnknownLine(id.to_owned()))
    }

    /// What is to be said of the lines.
    pub fn line_reports(&self) -> Vec<LineReport> {
        let on = |line: &Arc<Line>| {
            let machines = self.inner.machines.iter().filter(|machine| Arc::ptr_eq(machine.line(), line));
            line.report(machines.map(|machine| machine.id().to_owned()).collect())
        };
        self.inner.lines.iter().map(on).collect()
    }

    /// The machines, in the order of the plant file.
    pub fn machines(&self) -> &[Arc<Machine>] {
        &self.inner.machines
    }

    /// The machine with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&self, id: &str) -> Result<&Arc<Machine>, SimulatorError> {
        let found = self.inner.machines.iter().find(|machine| machine.id() == id);
        found.ok_or_else(|| SimulatorError::UnknownMachine(id.to_owned()))
    }

    /// Stops all models; the servers go on answering. When this returns, no model changes any more; only the end of
    /// a hold can still change a value.
    pub fn pause(&self) {
        self.inner.paused.store(true, Ordering::SeqCst);
        for machine in &self.inner.machines {
            machine.finish_change();
        }
    }

    /// Lets the models go on where they stopped.
    pub fn resume(&self) {
        self.inner.paused.store(false, Ordering::SeqCst);
    }

    /// Totals over the plant.
    pub fn summary(&self) -> Summary {
        let sum = |modbus| {
            let mut sum = Produced::default();
            for machine in
                self.inner.machines.iter().filter(|machine| machine.protocol().is_modbus() == modbus)
            {
                sum.add(&machine.report().produced);
            }
            sum
        };
        Summary {
            plant: self.inner.config.name.clone(),
            seed: self.inner.config.seed,
            paused: self.inner.paused.load(Ordering::SeqCst),
            machines: self.inner.machines.len(),
            modbus: sum(true),
            opcua: sum(false),
            now_us: now_us(),
        }
    }

    /// Starts the control interface and returns its actual address.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn serve_control(&self, address: SocketAddr) -> Result<SocketAddr, SimulatorError> {
        let failed =
            |source| SimulatorError::Listen { what: "the control interface".to_owned(), address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        self.inner.tasks.spawn(control::serve(self.clone(), listener, self.inner.shutdown.clone()));
        Ok(address)
    }

    /// What the state file says about this plant.
    pub fn state(&self, control: SocketAddr) -> StateFile {
        StateFile {
            version: 1,
            pid: std::process::id(),
            plant: self.inner.config.name.clone(),
            seed: self.inner.config.seed,
            started_at_us: self.inner.started_at_us,
            control,
            machines: self.inner.machines.iter().map(|machine| self.machine_state(machine)).collect(),
        }
    }

    fn machine_state(&self, machine: &Machine) -> MachineState {
        let own = self.inner.keys.folder().join(machine.id());
        MachineState {
            id: machine.id().to_owned(),
            kind: machine.kind().slug().to_owned(),
            protocol: machine.protocol().slug().to_owned(),
            address: machine.address(),
            endpoint: machine.endpoint(),
            certificate: ua_options::certificate_file(machine.opcua(), &own),
        }
    }

    /// Closes all listeners and connections and waits, for at most 5 s, until all tasks have ended.
    pub async fn stop(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        if timeout(STOP_DEADLINE, self.inner.tasks.wait()).await.is_err() {
            warn!(tasks = self.inner.tasks.len(), "some tasks did not end in time");
        }
    }
}
