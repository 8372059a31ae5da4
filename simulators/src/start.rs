//! The start of a plant: the composition of models, servers and fronts. All tasks of a plant are spawned from here.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use crate::{
    chaos::Proxy,
    error::SimulatorError,
    front::{Behind, Front},
    kind::Protocol,
    line::{Line, Place},
    machine::{Machine, is_mode_of_line},
    modbus::{
        self, Bus, Framing, Unit,
        serial::{self, Serial},
    },
    mode::Mode,
    plant::{Inner, Keys, Plant},
    plant_file::{LineConfig, LineOptions, MachineConfig, PlantConfig, SerialDevice},
    ua_server::UaServer,
    wall_clock::now_us,
};

/// One model tick.
const TICK: Duration = Duration::from_secs(1);
/// Time that what was started gets to end again after a start that failed.
const ABANDON: Duration = Duration::from_secs(5);

/// What a plant needs while it starts.
pub(crate) struct Starting {
    paused: Arc<AtomicBool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    lines: Vec<Arc<Line>>,
}

impl Starting {
    pub(crate) fn new() -> Self {
        Self {
            paused: Arc::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            lines: Vec::new(),
        }
    }

    /// Starts all machines, in the order of the plant file.
    pub(crate) async fn machines(
        &mut self,
        plant: &PlantConfig,
        keys: &Path,
    ) -> Result<Vec<Arc<Machine>>, SimulatorError> {
        let mut machines: Vec<Option<Arc<Machine>>> = vec![None; plant.machines.len()];
        for line in &plant.lines {
            self.line(plant, line, &mut machines).await?;
        }
        for (config, slot) in plant.machines.iter().zip(&mut machines) {
            if slot.is_none() {
                *slot = Some(self.machine(plant, config, keys).await?);
            }
        }
        Ok(machines.into_iter().flatten().collect())
    }

    /// Ends what was started.
    pub(crate) async fn abandon(self) {
        self.shutdown.cancel();
        self.tasks.close();
        // Whatever is left ends with its sockets.
        let _ = timeout(ABANDON, self.tasks.wait()).await;
    }

    /// Starts a line with the machines on it.
    async fn line(
        &mut self,
        plant: &PlantConfig,
        config: &LineConfig,
        machines: &mut [Option<Arc<Machine>>],
    ) -> Result<(), SimulatorError> {
        let what = format!("line {:?}", config.id);
        let front = match &config.device {
            None => Some(bind(&what, SocketAddr::new(plant.host, config.port), plant.seed)?),
            Some(_) => None,
        };
        let place = match (&front, &config.device) {
            (Some(front), _) => Place::Tcp(front.address()),
            (None, device) => Place::Device(device.as_ref().map(|d| d.path().clone()).unwrap_or_default()),
        };
        let line = Arc::new(Line::new(&config.id, config.protocol, place, true, config.mode));
        let mut units = Vec::new();
        for (machine, slot) in plant.machines.iter().zip(machines) {
            if machine.line.as_ref() == Some(&config.id) {
                let paused = Arc::clone(&self.paused);
                let machine = Arc::new(Machine::new(machine, plant.seed, Arc::clone(&line), paused));
                units.push(Unit::new(Arc::clone(&machine)));
                *slot = Some(machine);
            }
        }
        let bus = bus(units, &line, Some(config.options.clone()));
        match (front, &config.device) {
            (Some(proxy), _) => self.modbus(&line, proxy, bus).await?,
            (None, Some(device)) => self.serial(&line, device, &config.options, bus)?,
            (None, None) => {}
        }
        self.lines.push(Arc::clone(&line));
        info!(line = line.id(), endpoint = %line.place(), "listening");
        line.settled(config.mode).await
    }

    /// Starts a machine with its own address.
    async fn machine(
        &self,
        plant: &PlantConfig,
        config: &MachineConfig,
        keys: &Path,
    ) -> Result<Arc<Machine>, SimulatorError> {
        let address = SocketAddr::new(plant.host, config.port);
        let proxy = bind(&format!("machine {:?}", config.id), address, plant.seed)?;
        let place = Place::Tcp(proxy.address());
        let mode = if is_mode_of_line(config.protocol, config.mode) { config.mode } else { Mode::Healthy };
        let line = Arc::new(Line::new(&config.id, config.protocol, place, false, mode));
        let machine = Arc::new(Machine::new(config, plant.seed, Arc::clone(&line), Arc::clone(&self.paused)));
        if config.protocol.is_modbus() {
            let bus = bus(vec![Unit::new(Arc::clone(&machine))], &line, None);
            self.modbus(&line, proxy, bus).await?;
        } else {
            let mut server = UaServer::new(&machine, keys, &self.tasks, &self.shutdown);
            server.start().await?;
            proxy.retarget(server.address());
            self.front(&line, proxy, Behind::Ua(server));
        }
        info!(machine.id = machine.id(), endpoint = machine.endpoint(), "listening");
        line.settled(mode).await?;
        Ok(machine)
    }

    async fn modbus(&self, line: &Arc<Line>, proxy: Proxy, bus: Arc<Bus>) -> Result<(), SimulatorError> {
        let private = SocketAddr::from(([127, 0, 0, 1], 0));
        let failed =
            |source| SimulatorError::Listen { what: format!("{:?}", line.id()), address: private, source };
        let listener = TcpListener::bind(private).await.map_err(failed)?;
        proxy.retarget(listener.local_addr().map_err(failed)?);
        self.tasks.spawn(modbus::serve(bus, listener, self.shutdown.clone()));
        self.front(line, proxy, Behind::Stateless);
        Ok(())
    }

    fn front(&self, line: &Arc<Line>, proxy: Proxy, behind: Behind) {
        let front = Front { line: Arc::clone(line), proxy, behind };
        self.tasks.spawn(front.run(self.shutdown.clone()));
    }

    fn serial(
        &self,
        line: &Arc<Line>,
        device: &SerialDevice,
        options: &LineOptions,
        bus: Arc<Bus>,
    ) -> Result<(), SimulatorError> {
        let baud_rate = options.baud_rate.unwrap_or_default();
        let port = serial::open(device, baud_rate).map_err(|source| SimulatorError::OpenDevice {
            line: line.id().to_owned(),
            device: device.path().display().to_string(),
            source,
        })?;
        let serial = Serial { bus, line: Arc::clone(line), device: device.clone(), baud_rate };
        self.tasks.spawn(serial.run(port, self.shutdown.clone()));
        Ok(())
    }

    /// Lets the models run.
    pub(crate) fn finish(self, config: PlantConfig, machines: Vec<Arc<Machine>>, keys: Keys) -> Plant {
        let start = Instant::now();
        for (index, machine) in machines.iter().enumerate() {
            // Spread over the second, so that not all machines change at once.
            let offset = TICK.mul_f64(index as f64 / machines.len() as f64);
            self.spawn(drive(Arc::clone(machine), start + TICK + offset));
            let machine = Arc::clone(machine);
            self.spawn(async move { machine.expire_holds().await });
        }
        let Self { paused, tasks, shutdown, lines } = self;
        let started_at_us = now_us();
        Plant::of(Inner { config, lines, machines, keys, paused, started_at_us, tasks, shutdown })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(work).await });
    }
}

fn bind(what: &str, address: SocketAddr, seed: u64) -> Result<Proxy, SimulatorError> {
    Front::bind(address, seed).map_err(|source| SimulatorError::Listen {
        what: what.to_owned(),
        address,
        source,
    })
}

fn bus(units: Vec<Unit>, line: &Line, options: Option<LineOptions>) -> Arc<Bus> {
    let framing = if line.protocol() == Protocol::ModbusTcp { Framing::Mbap } else { Framing::Rtu };
    Arc::new(Bus::new(units, framing, options, line.traffic()))
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
