//! A running plant: the composition of models, servers and fronts. All tasks of the library are spawned from here.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    control,
    error::SimulatorError,
    front::Front,
    kind::Protocol,
    machine::Machine,
    modbus,
    plant_file::{MachineConfig, PlantConfig},
    report::{Produced, Summary},
    state_file::{MachineState, StateFile},
    ua_server,
    wall_clock::now_us,
};

/// One model tick.
const TICK: Duration = Duration::from_secs(1);
/// Time the tasks get to end; OPC UA servers say goodbye to their clients first.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running plant. Clones are handles to the same plant; it runs until [`Plant::stop`].
#[derive(Clone)]
pub struct Plant {
    inner: Arc<Inner>,
}

struct Inner {
    config: PlantConfig,
    machines: Vec<Arc<Machine>>,
    paused: Arc<AtomicBool>,
    started_at_us: i64,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Plant {
    /// Starts all machines; when this returns, every one of them listens and its model runs.
    ///
    /// # Errors
    /// A port is taken or a server does not start. What was started before is stopped again.
    pub async fn start(config: PlantConfig) -> Result<Self, SimulatorError> {
        let mut starting = Starting::new();
        match starting.machines(&config).await {
            Ok(machines) => Ok(starting.finish(config, machines)),
            Err(error) => {
                starting.shutdown.cancel();
                Err(error)
            }
        }
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
        let sum = |protocol| {
            let mut sum = Produced::default();
            for machine in self.inner.machines.iter().filter(|machine| machine.protocol() == protocol) {
                sum.add(&machine.report().produced);
            }
            sum
        };
        Summary {
            plant: self.inner.config.name.clone(),
            seed: self.inner.config.seed,
            paused: self.inner.paused.load(Ordering::SeqCst),
            machines: self.inner.machines.len(),
            modbus_tcp: sum(Protocol::ModbusTcp),
            opcua: sum(Protocol::Opcua),
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
            machines: self.inner.machines.iter().map(|machine| machine_state(machine)).collect(),
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

fn machine_state(machine: &Machine) -> MachineState {
    MachineState {
        id: machine.id().to_owned(),
        kind: machine.kind().slug().to_owned(),
        protocol: machine.protocol().slug().to_owned(),
        address: machine.address(),
        endpoint: machine.endpoint(),
    }
}

/// What a plant needs while it starts.
struct Starting {
    paused: Arc<AtomicBool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Starting {
    fn new() -> Self {
        Self { paused: Arc::default(), tasks: TaskTracker::new(), shutdown: CancellationToken::new() }
    }

    async fn machines(&mut self, config: &PlantConfig) -> Result<Vec<Arc<Machine>>, SimulatorError> {
        let mut machines = Vec::with_capacity(config.machines.len());
        for machine in &config.machines {
            machines.push(self.machine(config, machine).await?);
        }
        Ok(machines)
    }

    async fn machine(
        &self,
        plant: &PlantConfig,
        config: &MachineConfig,
    ) -> Result<Arc<Machine>, SimulatorError> {
        let address = SocketAddr::new(plant.host, config.port);
        let failed =
            |source| SimulatorError::Listen { what: format!("machine {:?}", config.id), address, source };
        let front = Front::bind(address).map_err(failed)?;
        let machine = Arc::new(Machine::new(config, plant.seed, front.address(), Arc::clone(&self.paused)));
        let server = match config.protocol {
            Protocol::ModbusTcp => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                self.tasks.spawn(modbus::serve(Arc::clone(&machine), listener, self.shutdown.clone()));
                address
            }
            Protocol::Opcua => ua_server::start(&machine, &self.tasks, &self.shutdown).await?,
        };
        self.tasks.spawn(front.run(Arc::clone(&machine), server, self.shutdown.clone()));
        info!(machine.id = machine.id(), endpoint = machine.endpoint(), "listening");
        Ok(machine)
    }

    fn finish(self, config: PlantConfig, machines: Vec<Arc<Machine>>) -> Plant {
        let start = Instant::now();
        for (index, machine) in machines.iter().enumerate() {
            // Spread over the second, so that not all machines change at once.
            let offset = TICK.mul_f64(index as f64 / machines.len() as f64);
            self.spawn(drive(Arc::clone(machine), start + TICK + offset));
            let machine = Arc::clone(machine);
            self.spawn(async move { machine.expire_holds().await });
        }
        let Self { paused, tasks, shutdown } = self;
        Plant {
            inner: Arc::new(Inner { config, machines, paused, started_at_us: now_us(), tasks, shutdown }),
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(work).await });
    }
}

/// Advances a model once per second. After a stall it goes on with the next tick instead of catching up: two ticks in
/// a row would merge into one change for an OPC UA subscriber.
async fn drive(machine: Arc<Machine>, first: Instant) {
    let mut ticks = interval_at(first, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        machine.tick().await;
    }
}
