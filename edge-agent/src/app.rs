//! The composition root: configuration to parts, parts to tasks, and the way down again.
//!
//! Three schedulers: `sense` (drivers and alarms) waits for nothing but machines; `store` is the
//! writer thread of the buffer; `ship` (this thread) talks to the backend and serves the status page.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_config::{AgentConfig, MachineConfig, UplinkConfig};
use edge_store::{OnAlarms, Recorder, StoreClient};
use plant_model::Timestamp;
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Epoch};
use sd_notify::NotifyState;
use service_kit::Clock;
use tls_kit::TlsTime;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uplink_mqtt::{Cargo, UplinkCounters, UplinkSettings};

use crate::board::{Board, MachineBoard};
use crate::certificate;
use crate::cli::RunArguments;
use crate::floor::{Floor, Spawned, Stops, join_drivers};
use crate::lane::{FastLane, UrgentTraffic};
use crate::latency::AlarmLatency;
use crate::outbox::{BoardSidecar, StoreOutbox};
use crate::outputs::{self, Outputs};
use crate::promise::Punctuality;
use crate::start::{Numbers, number_series, open_store_in_time, snapshots};
use crate::status::{self, Observed};
use crate::time::{TimeDesk, keep_time};
use crate::tools::physics::{self, Severity};

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
    // Before anybody can know that it runs: a stop that comes at once is a stop in order.
    let stop = service_kit::stop_signal().context("cannot listen for signals")?;
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
    let (stops, at) = (Stops::default(), TlsTime { clock, floor: time_floor });
    let certificate = certificate::spawn(config.uplink.as_ref(), at, &stops.uplink);
    let floor = Floor {
        sense,
        config,
        board: &board,
        recorder: &recorder,
        lane: &lane,
        latency: &latency,
        punctuality: &punctuality,
        certificate: &certificate,
        clock,
    };
    let time = Arc::new(TimeDesk::new(keeper, clock, recorder.inbox(), recorder.client()));
    let Spawned { drivers, outputs, desk } = floor.spawn(snapshots, outputs, &stops)?;
    let heartbeat = spawn_heartbeat(sense, clock);
    sense.spawn(keep_time(Arc::clone(&time), stops.drivers.clone()));

    let (to_lane, to_desk, timed) = (Arc::clone(&lane), Arc::clone(&desk), Arc::clone(&latency));
    let traffic =
        UrgentTraffic { lane: to_lane, desk: to_desk, latency: timed, time: Arc::clone(&time), clock };
    let catalogue = catalogue(epoch, &config.machines, &numbers);
    let cargo = cargo(&catalogue, recorder.client(), &board, traffic);
    let (uplink, shipping) = spawn_uplink(config, time_floor, (cargo, clock), &stops.uplink);
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
        certificate,
        lane,
        latency,
        punctuality,
        impossible: told_of_plan(config),
        desk,
        outputs: shown_outputs,
        alarm_commands: config.status.alarm_commands,
    };
    let address = serve_status(config, observed.clone()).await?;
    write_state(state_file, address, epoch, None)?;
    tracing::info!(tenant.id = %config.tenant, gateway.id = %config.gateway, epoch = %epoch,
        machines = config.machines.len(), status = ?address, "the agent runs");
    let feeding = tokio::spawn(feed_watchdog(heartbeat, clock));
    attend(stop).await;
    feeding.abort();
    Running { outputs, drivers, shipping, recorder }.stop(&stops).await;
    write_state(state_file, address, epoch, Some(&observed))?;
    tracing::info!("stopped");
    Ok(())
}

/// Says that the agent runs, and later that it is asked to stop.
async fn attend(stop: impl Future<Output = &'static str>) {
    notify(&[NotifyState::Ready]);
    let signal = stop.await;
    tracing::info!(signal, "stopping");
    notify(&[NotifyState::Stopping]);
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

fn cargo(catalogue: &Catalogue, client: StoreClient, board: &Board, traffic: UrgentTraffic) -> Cargo {
    let (latency, clock) = (Arc::clone(&traffic.latency), traffic.clock);
    let (epoch, board) = (catalogue.epoch, board.clone());
    Cargo {
        outbox: Box::new(StoreOutbox::new(epoch, client, latency, clock)),
        sidecar: Box::new(BoardSidecar { catalogue: catalogue.encode(), board, clock }),
        urgent: Arc::new(traffic),
    }
}

fn spawn_uplink(
    config: &AgentConfig,
    time_floor: Timestamp,
    (cargo, clock): (Cargo, Clock),
    stop: &CancellationToken,
) -> (Arc<UplinkCounters>, Option<JoinHandle<()>>) {
    let counters = Arc::new(UplinkCounters::default());
    let shipping = config.uplink.as_ref().map(|to| {
        let settings = UplinkSettings { time_floor, ..uplink_settings(config, to) };
        tokio::spawn(uplink_mqtt::run(settings, cargo, clock, Arc::clone(&counters), stop.clone()))
    });
    (counters, shipping)
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
    path: Option<&Path>,
    status: Option<std::net::SocketAddr>,
    epoch: Epoch,
    stopped: Option<&Observed>,
) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
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
