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
use alarm_engine::{AlarmEngine, Snapshot};
use anyhow::{Context, Result};
use edge_config::{AgentConfig, Connection, MachineConfig, UplinkConfig};
use edge_store::{EdgeStore, Opened, Recorder, Settings, StoredAlarm};
use plant_model::AlarmId;
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Epoch, SeriesId};
use sd_notify::NotifyState;
use service_kit::Clock;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uplink_mqtt::{UplinkCounters, UplinkSettings};

use crate::board::{Board, MachineBoard};
use crate::cli::RunArguments;
use crate::outbox::{BoardSidecar, StoreOutbox};
use crate::sink::Sink;
use crate::status::{self, Observed};

/// How long the drivers may take to finish what they have begun.
const DRIVERS_STOP: Duration = Duration::from_secs(5);

/// How long a stop may take to deliver what is committed.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The scheduler of the drivers is well if it ran a timer this recently.
const SENSE_LAG_MAX: Duration = Duration::from_secs(5);

/// Runs the agent until it is asked to stop.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let clock = Clock::start();
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
    let mut store = open_store(config, clock)?;
    let epoch = store.epoch();
    let numbers = number_series(&mut store, &config.machines)?;
    let snapshots = snapshots(store.alarms()?);
    let recorder = Recorder::start(store, move || clock.wall())?;
    let board = board(&config.machines, &numbers);
    let stop_drivers = CancellationToken::new();
    let drivers = spawn_drivers(sense, config, &board, &recorder, snapshots, clock, &stop_drivers)?;
    let heartbeat = spawn_heartbeat(sense, clock);

    let uplink = Arc::new(UplinkCounters::default());
    let stop_uplink = CancellationToken::new();
    let catalogue = catalogue(epoch, &config.machines, &numbers).encode();
    let sidecar = BoardSidecar { catalogue, board: board.clone(), clock };
    let shipping = config.uplink.as_ref().map(|to| {
        let outbox = StoreOutbox::new(epoch, recorder.client());
        let settings = uplink_settings(config, to);
        let (counters, stop) = (Arc::clone(&uplink), stop_uplink.clone());
        tokio::spawn(uplink_mqtt::run(settings, Box::new(outbox), Box::new(sidecar), clock, counters, stop))
    });
    let observed = Observed {
        tenant: config.tenant.to_string(),
        gateway: config.gateway.to_string(),
        epoch: epoch.to_string(),
        clock,
        board,
        heartbeat: Arc::clone(&heartbeat),
        recorder: recorder.counters(),
        uplink,
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
    stop_drivers.cancel();
    join_drivers(drivers).await;
    if let Err(error) = recorder.client().flush().await {
        tracing::warn!(error = %error, "the last samples could not be flushed before delivery");
    }
    stop_uplink.cancel();
    if let Some(shipping) = shipping
        && tokio::time::timeout(DRAIN_MAX + Duration::from_secs(1), shipping).await.is_err()
    {
        tracing::warn!("the uplink did not end in time; what is committed stays in the buffer");
    }
    recorder.stop();
    if let Some(path) = state_file {
        write_state(path, address, epoch, Some(&observed))?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// What the agent keeps between two runs lies beside its buffer.
fn state_folder(config: &AgentConfig) -> &Path {
    config.buffer.path.parent().unwrap_or(Path::new(""))
}

fn open_store(config: &AgentConfig, clock: Clock) -> Result<EdgeStore> {
    let buffer = &config.buffer;
    let settings = Settings {
        commit_interval: buffer.commit_interval,
        commit_samples: buffer.commit_samples,
        bytes_max: buffer.bytes_max,
        replay_window: buffer.replay_window,
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

fn number_series(store: &mut EdgeStore, machines: &[MachineConfig]) -> Result<Numbers> {
    machines
        .iter()
        .map(|machine| {
            let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
            Ok((machine.id.clone(), store.series(&machine.id, &tags)?))
        })
        .collect()
}

type Snapshots = HashMap<plant_model::MachineId, HashMap<AlarmId, Snapshot>>;

fn snapshots(stored: Vec<StoredAlarm>) -> Snapshots {
    let mut out = Snapshots::new();
    for alarm in stored {
        let snapshot = Snapshot { occurrence: alarm.occurrence, active: alarm.active };
        out.entry(alarm.machine).or_default().insert(alarm.alarm, snapshot);
    }
    out
}

fn board(machines: &[MachineConfig], numbers: &Numbers) -> Board {
    let machine = |m: &MachineConfig| {
        let series = numbers.get(&m.id).cloned().unwrap_or_default();
        Arc::new(MachineBoard::new(m, series))
    };
    Board { machines: Arc::new(machines.iter().map(machine).collect()) }
}

fn spawn_drivers(
    sense: &Runtime,
    config: &AgentConfig,
    board: &Board,
    recorder: &Recorder,
    mut snapshots: Snapshots,
    clock: Clock,
    stop: &CancellationToken,
) -> Result<JoinSet<()>> {
    let mut drivers = JoinSet::new();
    // Machines with the same address share one connection.
    let mut buses: HashMap<ModbusAddress, Vec<driver_modbus::Unit>> = HashMap::new();
    let identity =
        Arc::new(driver_opcua::Identity::new(state_folder(config).join("opcua"), config.gateway.clone()));
    for (machine, place) in config.machines.iter().zip(board.machines.iter()) {
        let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
        let known = snapshots.remove(&machine.id).unwrap_or_default();
        place.restore(&known);
        let engine = AlarmEngine::new(machine.id.clone(), &tags, machine.alarms.clone(), &known)?;
        let sink = Box::new(Sink::new(engine, Arc::clone(place), recorder.inbox(), clock));
        let (id, counters, stop) = (machine.id.clone(), Arc::clone(&place.counters), stop.clone());
        match machine.connection.clone() {
            Connection::Modbus(connection) => {
                let address = connection.address().clone();
                let unit = driver_modbus::Unit { connection, name: id, sink, counters };
                buses.entry(address).or_default().push(unit);
            }
            Connection::OpcUa(connection) => {
                let driver =
                    driver_opcua::run(connection, id, Arc::clone(&identity), sink, clock, counters, stop);
                drivers.spawn_on(driver, sense.handle());
            }
        }
    }
    for units in buses.into_values() {
        drivers.spawn_on(driver_modbus::run(units, clock, stop.clone()), sense.handle());
    }
    Ok(drivers)
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
