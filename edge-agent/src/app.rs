//! The composition root: configuration to parts, parts to tasks, and the way down again.
//!
//! Three schedulers: `sense` (drivers and alarms) waits for nothing but machines; `store` is the
//! writer thread of the buffer; `ship` (this thread) talks to the backend and serves the status page.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_config::{AgentConfig, UplinkConfig};
use edge_store::{OnAlarms, Recorder, StoreClient};
use plant_model::Timestamp;
use protocol::Epoch;
use sd_notify::NotifyState;
use service_kit::Clock;
use thiserror::Error;
use tls_kit::TlsTime;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uplink_mqtt::{Cargo, UplinkCounters, UplinkSettings};

use crate::begin::Begin;
use crate::board::Board;
use crate::certificate::{self, Certificate};
use crate::cli::RunArguments;
use crate::commands::{CommandDesk, Duties, GatewayDesk, PastCommands, Steward, WriteDesk};
use crate::configuration::ConfigurationDesk;
use crate::floor::{Floor, FloorParts, state_folder};
use crate::good_copy::keep_good;
use crate::lane::UrgentTraffic;
use crate::latency::AlarmLatency;
use crate::outbox::{BoardSidecar, StoreOutbox};
use crate::reload::{self, Reloader};
use crate::remote::{self, RunningPlant};
use crate::start::open_store_in_time;
use crate::status::{self, Observed};
use crate::time::{TimeDesk, keep_time};
use crate::update::{self, UpdateDesk};

/// How long a stop may take to deliver what is committed.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The scheduler of the drivers is well if it ran a timer this recently.
const SENSE_LAG_MAX: Duration = Duration::from_secs(5);

/// Runs the agent until it is asked to stop.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let clock = Clock::start_kept();
    remote::recover(&arguments.config);
    let begin = Begin::read(arguments)?;
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
    let outcome = ship.block_on(serve(&sense, begin, clock, arguments));
    sense.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(sense: &Runtime, begin: Begin, clock: Clock, arguments: &RunArguments) -> Result<()> {
    // Before anybody can know that it runs: a stop that comes at once is a stop in order, and a reload is no death.
    let stop = service_kit::stop_signal().context("cannot listen for signals")?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let config = &begin.config;
    let (store, keeper) = open_store_in_time(config, clock)?;
    let (time_floor, epoch, latency) = (keeper.floor(), store.epoch(), Arc::<AlarmLatency>::default());
    let recorder = Recorder::start(store, move || clock.wall(), on_alarms(&latency, clock))?;
    let (stops, at) = (Stops::default(), TlsTime { clock, floor: time_floor });
    let certificate = certificate::spawn(config.uplink.as_ref(), at, &stops.uplink);
    let parts = floor_parts(sense, &recorder, (epoch, clock), (&latency, certificate));
    let time = Arc::new(TimeDesk::new(keeper, clock, recorder.inbox(), recorder.client()));
    let heartbeat = spawn_heartbeat(sense, clock);
    sense.spawn(keep_time(Arc::clone(&time), stops.drivers.clone()));
    let desk = begin.desk(clock);
    let FloorParts { board, lane, punctuality, certificate, desk: orders, .. } = parts.clone();
    let mut floor = Floor::new(parts, config);
    floor.apply(config.clone()).await?;
    recorder.note_timers(floor.running_timers());
    let reloader = Arc::new(Reloader::new(arguments.config.clone(), floor, Arc::clone(&desk), clock));

    let (gateway, gateway_orders) = GatewayDesk::new(clock);
    let traffic = UrgentTraffic {
        lane: Arc::clone(&lane),
        desk: Arc::clone(&orders),
        gateway,
        latency: Arc::clone(&latency),
        time: Arc::clone(&time),
        clock,
    };
    let cargo = cargo(epoch, recorder.client(), &board, traffic);
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
        desk: orders,
        configuration: Arc::clone(&desk),
        reloader: Some(Arc::clone(&reloader)),
        remote: Arc::default(),
        update: Arc::new(UpdateDesk::new(config.update.is_enabled)),
        alarm_commands: config.status.alarm_commands,
    };
    let address = serve_status(config, observed.clone()).await?;
    write_state(arguments.state_file.as_deref(), address, epoch, None)?;
    tracing::info!(tenant.id = %config.tenant, gateway.id = %config.gateway, epoch = %epoch,
        machines = config.machines.len(), status = ?address, "the agent runs");
    let beside = spawn_beside(&begin, &observed, (desk, &reloader, hangups), arguments, &stops);
    let duties = duties(&observed, &reloader, recorder.client(), (config, arguments), &stops.restart);
    let steward = Steward::new(duties, PastCommands::open(state_folder(config)), clock);
    tokio::spawn(steward.run(gateway_orders, stops.drivers.clone()));
    follow_backend((config, time_floor), &observed, &reloader, arguments, &stops);
    let feeding = tokio::spawn(feed_watchdog(heartbeat, clock));
    attend(stop, &stops.restart).await;
    feeding.abort();
    beside.abort();
    Running { reloader, shipping, recorder }.stop(&stops).await;
    write_state(arguments.state_file.as_deref(), address, epoch, Some(&observed))?;
    tracing::info!("stopped");
    if stops.restart.is_cancelled() { Err(RestartAsked.into()) } else { Ok(()) }
}

/// The agent ended because a command asked it to begin again.
#[derive(Debug, Error)]
#[error("a command asked for a restart: whoever starts the agent starts it again")]
pub(crate) struct RestartAsked;

/// What commands to the gateway work with.
fn duties(
    observed: &Observed,
    reloader: &Arc<Reloader>,
    store: StoreClient,
    (config, arguments): (&AgentConfig, &RunArguments),
    restart: &CancellationToken,
) -> Duties {
    let seen = observed.clone();
    let status = move || serde_json::to_string_pretty(&status::status_of(&seen));
    Duties {
        config: arguments.config.clone(),
        status: Box::new(move || status().unwrap_or_else(|error| error.to_string())),
        writes: WriteDesk::new(Arc::clone(reloader), state_folder(config)),
        reloader: Arc::clone(reloader),
        store,
        lane: Arc::clone(&observed.lane),
        configuration: config.remote.configuration.then(|| observed.remote.nudges()),
        update: Arc::clone(&observed.update),
        restart: restart.clone(),
    }
}

fn floor_parts(
    sense: &Runtime,
    recorder: &Recorder,
    (epoch, clock): (Epoch, Clock),
    (latency, certificate): (&Arc<AlarmLatency>, Certificate),
) -> FloorParts {
    FloorParts {
        sense: sense.handle().clone(),
        board: Board::default(),
        inbox: recorder.inbox(),
        store: recorder.client(),
        counters: recorder.counters(),
        lane: Arc::default(),
        latency: Arc::clone(latency),
        punctuality: Arc::default(),
        certificate,
        desk: Arc::new(CommandDesk::new(clock)),
        epoch,
        clock,
    }
}

/// What keeps an eye on the configuration while the agent runs; it ends when it is aborted.
fn spawn_beside(
    begin: &Begin,
    observed: &Observed,
    (desk, reloader, hangups): (Arc<ConfigurationDesk>, &Arc<Reloader>, Signal),
    arguments: &RunArguments,
    stops: &Stops,
) -> JoinHandle<()> {
    let proven = (Duration::from_secs(arguments.proven_after_s), observed.clock);
    if let Some(copy) = begin.copy.clone() {
        let observed = observed.clone();
        let is_well = move || status::unready(&observed).is_none() && !observed.remote.is_on_trial();
        tokio::spawn(keep_good(copy, desk, is_well, proven, stops.uplink.clone()));
    }
    tokio::spawn(reload::follow_hangups(Arc::clone(reloader), hangups))
}

/// Takes machine files and the wish for a version from the backend, if that is configured.
fn follow_backend(
    (config, floor): (&AgentConfig, Timestamp),
    observed: &Observed,
    reloader: &Arc<Reloader>,
    arguments: &RunArguments,
    stops: &Stops,
) {
    let plant = RunningPlant {
        reloader: Arc::clone(reloader),
        board: observed.board.clone(),
        uplink: Arc::clone(&observed.uplink),
    };
    let (folder, clock, desk) = (arguments.config.clone(), observed.clock, Arc::clone(&observed.remote));
    remote::spawn(config, remote::Parts { folder, plant, clock, floor, desk }, &stops.uplink);
    update::spawn(config, (clock, floor), &observed.update, &stops.uplink);
}

/// The ends of what runs.
#[derive(Default)]
struct Stops {
    drivers: CancellationToken,
    uplink: CancellationToken,
    /// Cancelled when the agent is to end and begin again.
    restart: CancellationToken,
}

/// Says that the agent runs, and later that it is asked to stop.
async fn attend(stop: impl Future<Output = &'static str>, restart: &CancellationToken) {
    notify(&[NotifyState::Ready]);
    let signal = tokio::select! {
        signal = stop => signal,
        () = restart.cancelled() => "restart",
    };
    tracing::info!(signal, "stopping");
    notify(&[NotifyState::Stopping]);
}

/// What runs until the agent stops.
struct Running {
    reloader: Arc<Reloader>,
    shipping: Option<JoinHandle<()>>,
    recorder: Recorder,
}

impl Running {
    /// The way down: each step needs what is stopped after it.
    async fn stop(self, stops: &Stops) {
        if let Some(mut floor) = self.reloader.close().await {
            floor.stop_outputs().await;
            stops.drivers.cancel();
            floor.stop_drivers().await;
        }
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

fn on_alarms(latency: &Arc<AlarmLatency>, clock: Clock) -> OnAlarms {
    let latency = Arc::clone(latency);
    Box::new(move |sequence, decided| latency.committed(sequence, decided, clock.now()))
}

fn cargo(epoch: Epoch, client: StoreClient, board: &Board, traffic: UrgentTraffic) -> Cargo {
    let (latency, clock) = (Arc::clone(&traffic.latency), traffic.clock);
    Cargo {
        outbox: Box::new(StoreOutbox::new(epoch, client, latency, clock)),
        sidecar: Box::new(BoardSidecar::new(board.clone(), clock)),
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
        agent_version: crate::version::running().to_owned(),
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
