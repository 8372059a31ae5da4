//! The tasks on the drivers' scheduler: a driver for each connection, a keeper for the alarms of each machine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use acquisition::ModbusAddress;
use alarm_engine::{AlarmEngine, Snapshot};
use alarm_output::AlarmKey;
use alarm_output_driver::OutputFeed;
use anyhow::Result;
use edge_config::{AgentConfig, Connection, MachineConfig};
use edge_store::Recorder;
use service_kit::Clock;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alarms::{MachineAlarms, Outlets, keep};
use crate::board::{Board, MachineBoard};
use crate::certificate::Certificate;
use crate::commands::CommandDesk;
use crate::gateway::{self, Gauges};
use crate::lane::FastLane;
use crate::latency::AlarmLatency;
use crate::outputs::{self, Outputs, OwnConnection, WriteQueues};
use crate::promise::{Promise, Punctuality};
use crate::sink::Sink;
use crate::start::Snapshots;

/// How long the drivers may take to finish what they have begun.
const DRIVERS_STOP: Duration = Duration::from_secs(5);

/// The ends of what runs.
#[derive(Default)]
pub(crate) struct Stops {
    pub outputs: CancellationToken,
    pub drivers: CancellationToken,
    pub uplink: CancellationToken,
}

/// What the drivers and the alarms of the machines are made of.
pub(crate) struct Floor<'a> {
    pub sense: &'a Runtime,
    pub config: &'a AgentConfig,
    pub board: &'a Board,
    pub recorder: &'a Recorder,
    pub lane: &'a Arc<FastLane>,
    pub latency: &'a Arc<AlarmLatency>,
    pub punctuality: &'a Arc<Punctuality>,
    pub certificate: &'a Certificate,
    pub clock: Clock,
}

/// What [`Floor::spawn`] has made.
pub(crate) struct Spawned {
    pub drivers: JoinSet<()>,
    pub outputs: JoinSet<()>,
    pub desk: Arc<CommandDesk>,
}

impl Floor<'_> {
    /// Spawns a driver for each connection, a keeper for the alarms of each machine, and the outputs.
    pub(crate) fn spawn(&self, mut snapshots: Snapshots, outputs: Outputs, stops: &Stops) -> Result<Spawned> {
        let stop = &stops.drivers;
        let (mut tasks, mut desk) = (JoinSet::new(), CommandDesk::new(self.clock));
        let mut all_alarms = Vec::with_capacity(self.config.machines.len());
        // Machines with the same address share one connection.
        let mut buses: HashMap<ModbusAddress, Vec<driver_modbus::Unit>> = HashMap::new();
        let (writers, mut queues) = outputs::writers(self.config);
        let folder = state_folder(self.config).join("opcua");
        let identity = Arc::new(driver_opcua::Identity::new(folder, self.config.gateway.clone()));
        for (machine, place) in self.config.machines.iter().zip(self.board.machines.iter()) {
            let known = snapshots.remove(&machine.id).unwrap_or_default();
            let alarms = Arc::new(self.alarms(machine, place, &known, &outputs.feed)?);
            all_alarms.push(Arc::clone(&alarms));
            let keeper = keep(Arc::clone(&alarms), desk.open(machine.id.clone()), stop.clone());
            tasks.spawn_on(keeper, self.sense.handle());
            let (inbox, filter) = (self.recorder.inbox(), machine.change_filter());
            let sink = Box::new(Sink::new(alarms, Arc::clone(place), inbox, filter, self.clock));
            tracing::debug!(machine.id = %machine.id, bus = place.bus.as_deref(), "a machine to be read");
            let (id, counters) = (machine.id.clone(), Arc::clone(&place.counters));
            match machine.connection.clone() {
                Connection::Modbus(connection) => {
                    let address = connection.address().clone();
                    let unit = driver_modbus::Unit { connection, name: id, sink, counters };
                    buses.entry(address).or_default().push(unit);
                }
                Connection::OpcUa(connection) => {
                    let (identity, stop) = (Arc::clone(&identity), stop.clone());
                    let queue = queues.sessions.remove(&id).unwrap_or_default();
                    let driver = driver_opcua::run_with_writes(
                        connection, id, identity, sink, queue, self.clock, counters, stop,
                    );
                    tasks.spawn_on(driver, self.sense.handle());
                }
                Connection::Gateway => {
                    let driver = gateway::run(self.gauges(), sink, counters, stop.clone());
                    tasks.spawn_on(driver, self.sense.handle());
                }
            }
        }
        let running = move || all_alarms.iter().flat_map(|alarms| alarms.running()).collect();
        self.recorder.note_timers(Box::new(running));
        self.spawn_buses(buses, queues, &mut tasks, stop);
        let scene = (self.sense.handle(), self.clock, &stops.outputs);
        let outputs = outputs.spawn(&writers, scene)?;
        Ok(Spawned { drivers: tasks, outputs, desk: Arc::new(desk) })
    }

    fn gauges(&self) -> Gauges {
        let punctuality = Arc::clone(self.punctuality);
        let (recorder, certificate) = (self.recorder.counters(), Arc::clone(self.certificate));
        Gauges { recorder, punctuality, certificate, clock: self.clock }
    }

    /// Only a connection that an output writes to can be written to at all.
    fn spawn_buses(
        &self,
        buses: HashMap<ModbusAddress, Vec<driver_modbus::Unit>>,
        mut queues: WriteQueues,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let (clock, sense) = (self.clock, self.sense.handle());
        for (address, units) in buses {
            let queue = queues.shared.remove(&address).unwrap_or_default();
            tasks.spawn_on(driver_modbus::run_with_writes(units, queue, clock, stop.clone()), sense);
        }
        for OwnConnection { connection, machine, queue } in queues.own {
            tasks.spawn_on(driver_modbus::run_writes(connection, machine, queue, clock, stop.clone()), sense);
        }
    }

    fn alarms(
        &self,
        machine: &MachineConfig,
        place: &Arc<MachineBoard>,
        known: &Snapshot,
        outputs: &Arc<OutputFeed>,
    ) -> Result<MachineAlarms> {
        let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
        let engine = AlarmEngine::new(machine.id.clone(), &tags, machine.alarms.clone())?;
        place.restore(known);
        for (alarm, standing) in place.standing_alarms() {
            let key = AlarmKey { machine: machine.id.clone(), alarm: alarm.id.clone() };
            outputs.stands(&key, standing.state, alarm.priority);
        }
        let outlets = Outlets {
            board: Arc::clone(place),
            outputs: Arc::clone(outputs),
            lane: Arc::clone(self.lane),
            recorder: self.recorder.inbox(),
            latency: Arc::clone(self.latency),
            clock: self.clock,
        };
        let usual = self.config.alarm_latency_budget;
        let promise = Promise::of(machine, usual, Arc::clone(self.punctuality));
        let alarms = MachineAlarms::new(engine, promise, outlets);
        alarms.restore(known);
        Ok(alarms)
    }
}

/// What the agent keeps between two runs lies beside its buffer.
fn state_folder(config: &AgentConfig) -> &Path {
    config.buffer.path.parent().unwrap_or(Path::new(""))
}

/// Waits until the drivers have ended, or their time is over.
pub(crate) async fn join_drivers(mut drivers: JoinSet<()>) {
    let all = async {
        while let Some(ended) = drivers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "a driver panicked");
            }
        }
    };
    if tokio::time::timeout(DRIVERS_STOP, all).await.is_err() {
        tracing::warn!("some drivers did not end in time and are left behind");
    }
}
