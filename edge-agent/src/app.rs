//! The composition root: configuration to parts, parts to tasks, and the way down again.
//!
//! Three schedulers: `sense` (drivers and alarms) waits for nothing but machines; `store` is the
//! writer thread of the buffer; `ship` (this thread) talks to the backend and serves the status page.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acquisition::ModbusAddress;
use alarm_engine::{AlarmEngine, AlarmSnapshot, PastCommand, Snapshot};
use alarm_output::AlarmKey;
use alarm_output_driver::OutputFeed;
use anyhow::{Context, Result};
use edge_config::{AgentConfig, Connection, MachineConfig, UplinkConfig};
use edge_store::{EdgeStore, OnAlarms, Opened, Recorder, Settings, StoreClient, StoredAlarm, StoredCommand};
use plant_model::{MachineId, TimeKeeper, Timestamp};
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Epoch, SeriesId};
use sd_notify::NotifyState;
use service_kit::Clock;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uplink_mqtt::{Cargo, UplinkCounters, UplinkSettings};

use crate::alarms::{MachineAlarms, Outlets, keep};
use crate::board::{Board, MachineBoard};
use crate::buffer_key;
use crate::certificate;
use crate::cli::RunArguments;
use crate::commands::CommandDesk;
use crate::gateway::{self, Gauges};
use crate::lane::{FastLane, UrgentTraffic};
use crate::latency::AlarmLatency;
use crate::outbox::{BoardSidecar, StoreOutbox};
use crate::outputs::{self, Outputs, OwnConnection, WriteQueues};
use crate::promise::{Promise, Punctuality};
use crate::sink::Sink;
use crate::status::{self, Observed};
use crate::time::{TimeDesk, first_look, keep_time, this_boot};
use crate::tools::physics::{self, Severity};

/// How long the drivers may take to finish what they have begun.
const DRIVERS_STOP: Duration = Duration::from_secs(5);

/// How long a stop may take to deliver what is committed.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The scheduler of the drivers is well if it ran a timer this recently.
const SENSE_LAG_MAX: Duration = Duration::from_secs(5);

/// Runs the agent until it is asked to stop.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let clock = Clock::start_kept();
    let config = edge_config::load(&arguments.config)?;
    let sense = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("sense")
        .enable_all()
        .build()
        .context("cannot start the scheduler of the drivers")?;
    let ship = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the scheduler of the uplink")?;
    let outcome = ship.block_on(serve(&sense, &config, clock, arguments.state_file.as_deref()));
    sense.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(sense: &Runtime, config: &AgentConfig, clock: Clock, state_file: Option<&Path>) -> Result<()> {
    let (mut store, keeper) = open_store_in_time(config, clock)?;
    let time_floor = keeper.floor();
    let epoch = store.epoch();
    let numbers = number_series(&mut store, &config.machines, clock)?;
    let snapshots = snapshots(store.alarms()?, store.commands()?);
    let latency = Arc::new(AlarmLatency::default());
    let recorder = Recorder::start(store, move || clock.wall(), on_alarms(&latency, clock))?;
    let board = board(&config.machines, &numbers);
    let lane = Arc::new(FastLane::default());
    let outputs = Outputs::new(config, clock);
    let shown_outputs = outputs.shown.clone();
    let punctuality = Arc::new(Punctuality::default());
    let floor = Floor {
        sense,
        config,
        board: &board,
        recorder: &recorder,
        lane: &lane,
        latency: &latency,
        punctuality: &punctuality,
        clock,
    };
    let time = Arc::new(TimeDesk::new(keeper, clock, recorder.inbox(), recorder.client()));
    let stops = Stops::default();
    let Spawned { drivers, outputs, desk } = floor.spawn(snapshots, outputs, &stops)?;
    let heartbeat = spawn_heartbeat(sense, clock);
    sense.spawn(keep_time(Arc::clone(&time), stops.drivers.clone()));

    let uplink = Arc::new(UplinkCounters::default());
    let shipping = config.uplink.as_ref().map(|to| {
        let (lane, desk, latency) = (Arc::clone(&lane), Arc::clone(&desk), Arc::clone(&latency));
        let traffic = UrgentTraffic { lane, desk, latency, time: Arc::clone(&time), clock };
        let catalogue = catalogue(epoch, &config.machines, &numbers).encode();
        let cargo = cargo(epoch, catalogue, recorder.client(), &board, traffic);
        let settings = UplinkSettings { time_floor, ..uplink_settings(config, to) };
        tokio::spawn(uplink_mqtt::run(settings, cargo, clock, Arc::clone(&uplink), stops.uplink.clone()))
    });
    let stop_renewal = stops.uplink.clone();
    let certificate = config.uplink.as_ref().map(|to| certificate::spawn(to, clock, stop_renewal));
    let observed = Observed {
        tenant: config.tenant.to_string(),
        gateway: config.gateway.to_string(),
        epoch: epoch.to_string(),
        clock,
        time,
        board,
        heartbeat: Arc::clone(&heartbeat),
        recorder: recorder.counters(),
        buffer: Arc::new(tokio::sync::Mutex::new(recorder.client())),
        uplink,
        certificate: certificate.unwrap_or_default(),
        lane,
        latency,
        punctuality,
        impossible: told_of_plan(config),
        desk,
        outputs: shown_outputs,
        alarm_commands: config.status.alarm_commands,
    };
    let address = serve_status(config, observed.clone()).await?;
    if let Some(path) = state_file {
        write_state(path, address, epoch, None)?;
    }
    tracing::info!(tenant.id = %config.tenant, gateway.id = %config.gateway, epoch = %epoch,
        machines = config.machines.len(), status = ?address, "the agent runs");
    notify(&[NotifyState::Ready]);
    let feeding = tokio::spawn(feed_watchdog(heartbeat, clock));

    let signal = service_kit::stop_signal().await.context("cannot listen for signals")?;
    tracing::info!(signal, "stopping");
    notify(&[NotifyState::Stopping]);
    feeding.abort();
    Running { outputs, drivers, shipping, recorder }.stop(&stops).await;
    if let Some(path) = state_file {
        write_state(path, address, epoch, Some(&observed))?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The ends of what runs.
#[derive(Default)]
struct Stops {
    outputs: CancellationToken,
    drivers: CancellationToken,
    uplink: CancellationToken,
}

/// What runs until the agent stops.
struct Running {
    outputs: JoinSet<()>,
    drivers: JoinSet<()>,
    shipping: Option<JoinHandle<()>>,
    recorder: Recorder,
}

impl Running {
    /// The way down: each step needs what is stopped after it.
    async fn stop(self, stops: &Stops) {
        stops.outputs.cancel();
        outputs::join(self.outputs).await;
        stops.drivers.cancel();
        join_drivers(self.drivers).await;
        if let Err(error) = self.recorder.client().flush().await {
            tracing::warn!(error = %error, "the last samples could not be flushed before delivery");
        }
        stops.uplink.cancel();
        if let Some(shipping) = self.shipping
            && tokio::time::timeout(DRAIN_MAX + Duration::from_secs(1), shipping).await.is_err()
        {
            tracing::warn!("the uplink did not end in time; what is committed stays in the buffer");
        }
        self.recorder.stop();
    }
}

/// What the agent keeps between two runs lies beside its buffer.
fn state_folder(config: &AgentConfig) -> &Path {
    config.buffer.path.parent().unwrap_or(Path::new(""))
}

fn report_rates(config: &AgentConfig) {
    for rate in &config.raised {
        let tags: Vec<&str> = rate.tags.iter().map(plant_model::TagId::as_str).collect();
        tracing::info!(machine.id = %rate.machine, ?tags, configured_ms = rate.configured.as_millis(),
            interval_ms = rate.interval.as_millis(), "acquired more often than configured: the alarms need it");
    }
}

/// The buffer, and what can be said of the time with what it knows.
fn open_store_in_time(config: &AgentConfig, clock: Clock) -> Result<(EdgeStore, TimeKeeper)> {
    first_look(clock, Timestamp::default());
    let mut store = open_store(config, clock)?;
    let keeper = first_look(clock, store.time_floor());
    match keeper.booted_at() {
        Some(booted_at) => store.know_time(booted_at)?,
        None => tracing::warn!(clock = %Clock::system(), not_before = %keeper.floor(),
            "the clock cannot be right: until it is set or the backend tells the time, samples are kept and not sent"),
    }
    Ok((store, keeper))
}

fn open_store(config: &AgentConfig, clock: Clock) -> Result<EdgeStore> {
    let buffer = &config.buffer;
    let settings = Settings {
        commit_interval: buffer.commit_interval,
        commit_samples: buffer.commit_samples,
        bytes_max: buffer.bytes_max,
        replay_window: buffer.replay_window,
        message_bytes_max: buffer.message_bytes_max,
        key: buffer_key::load(buffer.key_file.as_deref())?,
        boot: Some(this_boot()),
        ..Settings::new(&buffer.path)
    };
    let opened = EdgeStore::open(settings, clock.wall())?;
    report_damage(&opened, &buffer.path);
    Ok(opened.store)
}

fn report_damage(opened: &Opened, path: &Path) {
    let epoch = opened.store.epoch();
    if opened.log_was_cut {
        tracing::error!(path = %path.display(), epoch = %epoch,
            "the log of the buffer was missing or cut: commits may be lost; numbers are skipped and a gap is recorded");
    }
    let Some(aside) = &opened.set_aside else { return };
    match opened.salvaged {
        Some(salvaged) => {
            tracing::error!(path = %path.display(), set_aside = %aside.display(), epoch = %epoch,
            batches = salvaged.batches, gaps = salvaged.gaps,
            "the buffer was damaged: it is kept under its new name, and what could be read goes on in a new file")
        }
        None => tracing::error!(path = %path.display(), set_aside = %aside.display(), epoch = %epoch,
            "the buffer was damaged beyond reading: it is kept under its new name, and an empty buffer with a new \
             epoch is in use; batches that were not delivered are only in the file set aside"),
    }
}

type Numbers = HashMap<plant_model::MachineId, Vec<SeriesId>>;

fn number_series(store: &mut EdgeStore, machines: &[MachineConfig], clock: Clock) -> Result<Numbers> {
    machines
        .iter()
        .map(|machine| {
            let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
            Ok((machine.id.clone(), store.series(&machine.id, &tags, clock.wall())?))
        })
        .collect()
}

type Snapshots = HashMap<MachineId, Snapshot>;

fn snapshots(stored: Vec<StoredAlarm>, commands: Vec<StoredCommand>) -> Snapshots {
    let mut out = Snapshots::new();
    for alarm in stored {
        let StoredAlarm { occurrence, flags, timers, .. } = alarm;
        let kept = AlarmSnapshot { occurrence, flags, timers };
        out.entry(alarm.machine).or_default().alarms.insert(alarm.alarm, kept);
    }
    for StoredCommand { machine, alarm, id, cause } in commands {
        // Only what was carried out is kept: what was refused has moved nothing and is answered anew.
        let Some(verb) = cause.verb() else { continue };
        out.entry(machine).or_default().commands.push(PastCommand { id, alarm, verb, refusal: None });
    }
    out
}

/// Says what the plan of the requests comes to, and answers what `check` refuses. A plant does not stand still for a
/// late alarm, but nobody is to overlook it.
fn told_of_plan(config: &AgentConfig) -> Arc<[String]> {
    for rate in &config.raised {
        let tags: Vec<&str> = rate.tags.iter().map(plant_model::TagId::as_str).collect();
        tracing::info!(machine.id = %rate.machine, ?tags, configured_ms = rate.configured.as_millis(),
            interval_ms = rate.interval.as_millis(), "acquired more often than configured: the alarms need it");
    }
    let problems = physics::compute(config).problems(Severity::Error);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for problem in &problems {
        tracing::error!(problem, "the configuration asks for what cannot work; the agent runs all the same");
    }
    problems.into()
}

fn on_alarms(latency: &Arc<AlarmLatency>, clock: Clock) -> OnAlarms {
    let latency = Arc::clone(latency);
    Box::new(move |sequence, decided| latency.committed(sequence, decided, clock.now()))
}

fn board(machines: &[MachineConfig], numbers: &Numbers) -> Board {
    let machine = |m: &MachineConfig| {
        let series = numbers.get(&m.id).cloned().unwrap_or_default();
        Arc::new(MachineBoard::new(m, series))
    };
    Board { machines: Arc::new(machines.iter().map(machine).collect()) }
}

/// What the drivers and the alarms of the machines are made of.
struct Floor<'a> {
    sense: &'a Runtime,
    config: &'a AgentConfig,
    board: &'a Board,
    recorder: &'a Recorder,
    lane: &'a Arc<FastLane>,
    latency: &'a Arc<AlarmLatency>,
    punctuality: &'a Arc<Punctuality>,
    clock: Clock,
}

/// What [`Floor::spawn`] has made.
struct Spawned {
    drivers: JoinSet<()>,
    outputs: JoinSet<()>,
    desk: Arc<CommandDesk>,
}

impl Floor<'_> {
    /// Spawns a driver for each connection, a keeper for the alarms of each machine, and the outputs.
    fn spawn(&self, mut snapshots: Snapshots, outputs: Outputs, stops: &Stops) -> Result<Spawned> {
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
        Gauges { recorder: self.recorder.counters(), punctuality, clock: self.clock }
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

async fn join_drivers(mut drivers: JoinSet<()>) {
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

fn catalogue(epoch: Epoch, machines: &[MachineConfig], numbers: &Numbers) -> Catalogue {
    let machine = |m: &MachineConfig| CatalogueMachine {
        id: m.id.clone(),
        name: m.name.clone(),
        kind: m.kind.clone(),
        protocol: m.connection.protocol().to_owned(),
        tags: m
            .tags
            .iter()
            .zip(numbers.get(&m.id).into_iter().flatten())
            .map(|(tag, series)| CatalogueTag {
                series: *series,
                definition: tag.definition.clone(),
                role: tag.role,
            })
            .collect(),
        alarms: m.alarms.clone(),
    };
    Catalogue { epoch, machines: machines.iter().map(machine).collect() }
}

fn cargo(
    epoch: Epoch,
    catalogue: Vec<u8>,
    client: StoreClient,
    board: &Board,
    traffic: UrgentTraffic,
) -> Cargo {
    let (latency, clock) = (Arc::clone(&traffic.latency), traffic.clock);
    Cargo {
        outbox: Box::new(StoreOutbox::new(epoch, client, latency, clock)),
        sidecar: Box::new(BoardSidecar { catalogue, board: board.clone(), clock }),
        urgent: Arc::new(traffic),
    }
}

fn uplink_settings(config: &AgentConfig, to: &UplinkConfig) -> UplinkSettings {
    UplinkSettings {
        tenant: config.tenant.clone(),
        gateway: config.gateway.clone(),
        host: to.host.clone(),
        port: to.port,
        ca_file: to.ca_file.clone(),
        certificate_file: to.certificate_file.clone(),
        key_file: to.key_file.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        telemetry_bytes_per_second: to.telemetry_bytes_per_second,
        time_floor: Timestamp::default(),
        drain_max: DRAIN_MAX,
    }
}

async fn serve_status(config: &AgentConfig, observed: Observed) -> Result<Option<std::net::SocketAddr>> {
    let Some(listen) = config.status.listen else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} for the status interface; change status.listen")
    })?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, status::router(observed)).await {
            tracing::error!(error = %error, "the status interface ended");
        }
    });
    Ok(Some(address))
}

/// Written under another name and renamed, so that a reader sees all of it or nothing.
fn write_state(
    path: &Path,
    status: Option<std::net::SocketAddr>,
    epoch: Epoch,
    stopped: Option<&Observed>,
) -> Result<()> {
    let state = serde_json::json!({
        "pid": std::process::id(),
        "status": status.map(|a| a.to_string()),
        "epoch": epoch.to_string(),
        "stopped": stopped.map(status::status_of),
    });
    let draft = path.with_extension("draft");
    std::fs::write(&draft, state.to_string())
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write the state file {}", path.display()))
}

/// A timer on the drivers' scheduler: as long as it runs, drivers can run.
fn spawn_heartbeat(sense: &Runtime, clock: Clock) -> Arc<AtomicU64> {
    let beat = Arc::new(AtomicU64::new(clock.now().micros()));
    let ours = Arc::clone(&beat);
    sense.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ours.store(clock.now().micros(), Ordering::Relaxed);
        }
    });
    beat
}

/// Feeds systemd's watchdog while the drivers' scheduler makes progress.
async fn feed_watchdog(heartbeat: Arc<AtomicU64>, clock: Clock) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::time::sleep(period / 3).await;
        let beat = plant_model::Monotonic::from_micros(heartbeat.load(Ordering::Relaxed));
        if clock.now().since(beat) < SENSE_LAG_MAX {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the scheduler of the drivers hangs; the watchdog is not fed");
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}
