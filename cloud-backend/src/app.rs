//! `serve`: builds the parts, runs them, and ends them in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fleet::{AlarmFilter, FleetStore};
use gateway_api::{Certifier, GatewayApi, GatewayServer};
use http_api::{ApiParts, ApiState, Commands, Configurations, History, HttpServer, LiveFeed};
use ingestion::IngestStore;
use sd_notify::NotifyState;
use service_kit::{Clock, stop_signal};
use tenancy::{ConfigurationStore, TenancyStore};
use tiering::Archive;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::authority::{Keeper, ServerNames};
use crate::certifier::Authority;
use crate::cli::ServeArgs;
use crate::command_line::BrokerLine;
use crate::data::DataDir;
use crate::expiry::Expiry;
use crate::health::Health;
use crate::ingest::Ingest;
use crate::machine_check::AgentCheck;
use crate::nudging::{NewConfigurations, Nudging, Wishes};
use crate::operator::Operator;
use crate::place::Place;
use crate::revocation::{InForce, Revocation};
use crate::rollout::{DesiredVersions, Reconciler};
use crate::sealing::Sealing;
use crate::store::Store;
use crate::tiers::Lifecycle;
use crate::worker::Shared;

/// Time for everything to end; what is not stored by then was not acknowledged and comes again.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// Pause between two clearings of sessions that are over. They are refused at once; this only tidies up.
const SESSION_CLEARING: Duration = Duration::from_secs(3_600);
/// Active alarms are read from the store by pages of so many.
const ALARM_PAGE: u32 = 500;

/// The parts, listening and not yet running.
struct Parts {
    store: Arc<dyn Store>,
    archive: Arc<dyn Archive>,
    /// Whether samples move through the tiers.
    has_tiers: bool,
    http: HttpServer,
    place: Place,
    feed: LiveFeed,
    gateways: GatewayServer,
    certifier: Arc<dyn Certifier>,
    keeper: Keeper,
}

/// Runs the backend until it is told to stop.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data)?;
    let _lock = data.lock_for_serving()?;
    args.state_file.as_deref().map(StateFile::clear).transpose()?;
    // Before anybody can know that it listens: a stop that comes at once is a stop in order.
    let stop = stop_signal().context("cannot listen to signals")?;
    let parts = build(&data, &args).await?;
    let state_file = args.state_file.as_deref().map(|path| StateFile::write(path, &parts)).transpose()?;
    info!(http = %parts.http.local_addr(), mqtt = parts.place.address(),
        gateways = %parts.gateways.local_addr(), "the backend listens");
    notify(NotifyState::Ready);
    let outcome = run(parts, stop).await;
    drop(state_file);
    outcome
}

async fn build(data: &DataDir, args: &ServeArgs) -> anyhow::Result<Parts> {
    let servers = ServerNames { names: server_names(args), lifetime: args.server_certificate_lifetime };
    let keeper = Keeper::open(data, servers)?;
    let store = data.store().await?;
    let archive = data.archive()?;
    let feed = LiveFeed::new();
    restore(&feed, &store).await.context("cannot read the latest state from the store")?;
    let place = match &args.broker.broker {
        Some(address) => Place::dial(&keeper.authority, address, &args.broker)?,
        None => Place::listen(args.mqtt, keeper.mqtt.clone()).await?,
    };
    let http = HttpServer::bind(args.http).await?;
    let gateways = GatewayServer::bind(args.gateways, keeper.gateways.clone()).await?;
    let authority = keeper.authority.clone();
    let certifier =
        Arc::new(Authority { authority, lifetime: args.certificate_lifetime, signer: data.signer() });
    Ok(Parts { store, archive, has_tiers: args.tiers, http, place, feed, gateways, certifier, keeper })
}

/// The names in the certificate that gateways see.
fn server_names(args: &ServeArgs) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = [args.mqtt, args.gateways].map(|listen| listen.ip());
    let own = own.into_iter().filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    for name in own.chain(args.mqtt_name.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Fills the live view with what the store knows.
async fn restore(feed: &LiveFeed, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    let (tenancy, fleet): (&dyn TenancyStore, &dyn FleetStore) = (&**store, &**store);
    for tenant in tenancy.tenants().await? {
        let latest = fleet.latest_samples(&tenant.id).await?;
        let mut active = Vec::new();
        let mut cursor = None;
        loop {
            let page = fleet.alarms(&tenant.id, AlarmFilter::Active, ALARM_PAGE, cursor).await?;
            cursor = page.last().map(|(_, cursor)| *cursor);
            active.extend(page.into_iter().map(|(alarm, _)| alarm));
            if cursor.is_none() {
                break;
            }
        }
        feed.restore(&tenant.id, &latest, &active);
    }
    Ok(())
}

async fn run(parts: Parts, stop: impl Future<Output = &'static str>) -> anyhow::Result<()> {
    let Parts { store, archive, has_tiers, http, place, feed, gateways, certifier, keeper } = parts;
    let clock = Clock::start();
    let (stopping, health) = (CancellationToken::new(), Arc::new(Health::default()));
    let ingest_store: Arc<dyn IngestStore> = Arc::<dyn Store>::clone(&store);
    let tenancy: Arc<dyn TenancyStore> = Arc::<dyn Store>::clone(&store);
    let poke = Arc::new(Notify::new());
    let revocation = Revocation {
        store: Arc::clone(&tenancy),
        gate: place.gate(),
        health: Arc::clone(&health),
        poke: Arc::clone(&poke),
        clock,
    };
    // Before anybody connects: a revoked gateway gets in at no moment.
    let mut revoked = InForce::default();
    revocation.reconcile(&mut revoked).await.context("cannot read what is revoked from the store")?;
    let configurations: Arc<dyn ConfigurationStore> = Arc::<dyn Store>::clone(&store);
    let updates = Reconciler::new(&store, feed.clone(), Arc::clone(&health), clock);
    let rollouts = updates.rollouts.clone();
    let gateway_api = GatewayApi {
        store: Arc::clone(&tenancy),
        configurations: Arc::clone(&configurations),
        updates: Arc::clone(&rollouts.store),
        certifier,
        mqtt: place.reach(),
        revoked: Arc::new(move || poke.notify_one()),
        updated: Arc::clone(&rollouts.changed),
        clock,
    };
    let operator =
        Operator { store: Arc::clone(&ingest_store), source: place.source(), health: Arc::clone(&health) };
    let expiry = Expiry { store: Arc::clone(&tenancy), health: Arc::clone(&health) };
    let broker = place.broker();
    let commands = Commands::new(Arc::new(BrokerLine(Arc::clone(&broker))));
    let wishes: Vec<Box<dyn Wishes>> = vec![
        Box::new(NewConfigurations(Arc::clone(&configurations))),
        Box::new(DesiredVersions(Arc::clone(&rollouts.store))),
    ];
    let nudging = Nudging { tenants: Arc::clone(&tenancy), wishes, commands: commands.clone(), clock };
    let mut tasks = JoinSet::new();
    if has_tiers {
        spawn_tiers(&mut tasks, (&store, &archive), &health, (clock, &stopping));
    }
    let api = ApiState::new(ApiParts {
        fleet: Arc::<dyn Store>::clone(&store),
        history: History::new(store, archive),
        tenancy: Arc::clone(&tenancy),
        live: feed.clone(),
        commands: commands.clone(),
        configurations: Configurations { store: configurations, check: Arc::new(AgentCheck) },
        rollouts,
        operations: Arc::new(operator),
        clock,
    })?;
    let shared = Shared { store: ingest_store, broker, feed, commands, health, stopping: stopping.clone() };

    place.spawn(&mut tasks, Ingest::new(shared, clock), &stopping);
    let until = || stopping.clone();
    tasks.spawn(named("http", http.run(api, until())));
    tasks.spawn(named("http for gateways", gateways.run(gateway_api, until())));
    tasks.spawn(named("certificate authority", keeper.run(until())));
    tasks.spawn(named("certificate ends", expiry.run(until())));
    tasks.spawn(named("revocation", revocation.run(revoked, until())));
    tasks.spawn(named("nudging", nudging.run(until())));
    tasks.spawn(named("rollouts", updates.run(until())));
    tasks.spawn(named("session clearing", clear_sessions(tenancy, clock, until())));
    until_stopped(tasks, stop, &stopping).await
}

/// Sealing, and the moves between tiers.
fn spawn_tiers(
    tasks: &mut JoinSet<&'static str>,
    (store, archive): (&Arc<dyn Store>, &Arc<dyn Archive>),
    health: &Arc<Health>,
    (clock, stopping): (Clock, &CancellationToken),
) {
    let sealing = Sealing { store: Arc::clone(store), health: Arc::clone(health), clock };
    let (store, archive) = (Arc::clone(store), Arc::clone(archive));
    let lifecycle = Lifecycle { store, archive, health: Arc::clone(health), clock };
    tasks.spawn(named("sealing", sealing.run(stopping.clone())));
    tasks.spawn(named("tiers", lifecycle.run(stopping.clone())));
}

/// Goes on until a signal comes or a task ends, and then ends them all.
async fn until_stopped(
    mut tasks: JoinSet<&'static str>,
    stop: impl Future<Output = &'static str>,
    stopping: &CancellationToken,
) -> anyhow::Result<()> {
    let outcome = tokio::select! {
        signal = stop => {
            info!(signal, "stopping");
            Ok(())
        }
        ended = tasks.join_next() => Err(unexpected_end(ended)),
    };
    notify(NotifyState::Stopping);
    stopping.cancel();
    let drained =
        tokio::time::timeout(STOP_DEADLINE, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(tasks = tasks.len(), "not everything ended in time; what was not stored was not acknowledged");
    }
    outcome
}

pub(crate) async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

fn unexpected_end(ended: Option<Result<&'static str, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(name)) => anyhow::anyhow!("the {name} task ended on its own"),
        Some(Err(cause)) => anyhow::Error::new(cause).context("a task failed"),
        None => anyhow::anyhow!("there is no task"),
    }
}

async fn clear_sessions(tenancy: Arc<dyn TenancyStore>, clock: Clock, stopping: CancellationToken) {
    loop {
        match tenancy.expire_sessions(clock.wall()).await {
            Ok(0) => {}
            Ok(count) => info!(count, "sessions that were over are cleared"),
            Err(error) => error!(%error, "sessions that are over could not be cleared"),
        }
        tokio::select! {
            () = tokio::time::sleep(SESSION_CLEARING) => {}
            () = stopping.cancelled() => return,
        }
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell the service manager");
    }
}

/// Says where the backend listens; goes with the process that wrote it.
struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Removes what a killed process left: the file says that somebody listens.
    fn clear(path: &Path) -> anyhow::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the old state file {}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn write(path: &Path, parts: &Parts) -> anyhow::Result<Self> {
        let address = |address: SocketAddr| address.to_string();
        let state = serde_json::json!({
            "http": address(parts.http.local_addr()),
            "mqtt": parts.place.address(),
            "gateways": address(parts.gateways.local_addr()),
            "pid": std::process::id(),
        });
        // Renamed into place: whoever waits for the file never reads half of it.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, format!("{state}\n"))
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("cannot write the state file {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Somebody else may have removed it; that is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}
