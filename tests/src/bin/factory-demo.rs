//! `factory-demo`: starts simulated plants, agents and the backend, shows where to look, and keeps books.
//!
//! `cargo xtask demo` builds everything and runs it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use factory_tests::api::{Api, now_us};
use factory_tests::books::{GATEWAY, SampleBooks, settle};
use factory_tests::factory::{Account, Backend, Plant, PlantOptions, Programs, add_user};
use factory_tests::injection::{Injected, Subscriber, inject, targets};
use factory_tests::process::until;
use factory_tests::usage::Usage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Runs simulated plants with their agents against one backend.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many plants, each with its own tenant, 15 machines and one agent.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    plants: u16,
    /// Stop by itself after this time, for example 60s or 5m.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Write the figures of the run here, as JSON.
    #[arg(long)]
    summary: Option<PathBuf>,
    /// Port of the dashboard; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where everything is kept. A folder that exists is carried on with.
    #[arg(long)]
    data: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is no time; write for example 60s or 5m"))?;
    match unit {
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3_600)),
        other => Err(format!("{other:?} is no unit of time; s, m and h are")),
    }
}

const NAMES: [(&str, &str); 3] =
    [("acme", "ACME Precision"), ("borg", "Borg Castings"), ("castle", "Castle Packaging")];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let starting = start(&arguments);
    let mut running = tokio::select! {
        running = starting => running?,
        () = &mut stop => bail!("stopped while starting"),
    };
    running.greet();
    let results: Results = Arc::default();
    let subscribers = running.subscribe();
    let injecting = inject_all(&running.plants, &subscribers, arguments.duration, &results);
    tokio::select! {
        done = injecting => done?,
        () = &mut stop => {}
    }
    drop(subscribers);
    let results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    say("stopping: pausing the machines, delivering what is committed, settling the books");
    let summary = running.finish(&results).await?;
    if let Some(file) = &arguments.summary {
        std::fs::write(file, format!("{summary:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("the summary is in {}", file.display()));
    }
    say(&format!("{summary:#}"));
    Ok(())
}

/// Resolves at SIGTERM or Ctrl-C.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

struct Running {
    backend: Backend,
    plants: Arc<Vec<Plant>>,
    operator: Account,
    accounts: Vec<Account>,
    api: Api,
    started_us: i64,
    usage: Vec<(Part, u32, Usage)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Agent,
    Backend,
}

async fn start(arguments: &Arguments) -> Result<Running> {
    let programs = Programs::beside_this_one()?;
    std::fs::create_dir_all(&arguments.data)?;
    let root = arguments.data.canonicalize()?;
    let steps = u64::from(arguments.plants) + 2;
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    bar.set_message("starting the backend");
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let started_us = now_us();
    let backend = Backend::start(&programs, &root.join("backend"), at(arguments.port), at(0)).await?;
    bar.inc(1);
    let mut plants = Vec::new();
    for number in 0..arguments.plants {
        let options = plant_options(number);
        bar.set_message(format!("starting {} (15 machines, 1 agent)", options.name));
        plants.push(Plant::start(&programs, &backend, &root, &options).await?);
        bar.inc(1);
    }
    bar.set_message("waiting for the first samples");
    let (operator, accounts) = accounts(&root, &backend, &plants).await?;
    let api = Api::sign_in(backend.state.http, &operator.user, &operator.password).await?;
    for plant in &plants {
        wait_for_machines(&api, plant).await?;
    }
    bar.finish_and_clear();
    let usage = usage(&plants, &backend);
    Ok(Running { backend, plants: Arc::new(plants), operator, accounts, api, started_us, usage })
}

fn plant_options(number: u16) -> PlantOptions {
    let index = usize::from(number);
    let (tenant, name) = match NAMES.get(index) {
        Some((tenant, name)) => ((*tenant).to_owned(), (*name).to_owned()),
        None => (format!("plant-{}", index + 1), format!("Plant {}", index + 1)),
    };
    PlantOptions {
        tenant,
        name,
        seed: 1_000 + u64::from(number),
        plant_file: None,
        commit_interval_ms: 5_000,
        dial: None,
        ca_file: None,
    }
}

/// The operator of the installation and a manager for each tenant. A folder that is carried on with
/// already has them.
async fn accounts(
    root: &std::path::Path,
    backend: &Backend,
    plants: &[Plant],
) -> Result<(Account, Vec<Account>)> {
    let file = root.join("accounts.json");
    if let Ok(known) = std::fs::read(&file) {
        let known: Vec<(String, String)> = serde_json::from_slice(&known)?;
        let mut all: Vec<Account> =
            known.into_iter().map(|(user, password)| Account { user, password }).collect();
        anyhow::ensure!(!all.is_empty(), "{} holds no accounts", file.display());
        return Ok((all.remove(0), all));
    }
    let operator = add_user(backend, "operator", &["--platform-operator"]).await?;
    let mut managers = Vec::new();
    for plant in plants {
        managers.push(add_user(backend, &plant.tenant, &["--tenant", &plant.tenant]).await?);
    }
    let all: Vec<(&str, &str)> =
        std::iter::once(&operator).chain(&managers).map(|a| (a.user.as_str(), a.password.as_str())).collect();
    std::fs::write(&file, serde_json::to_vec(&all)?)?;
    Ok((operator, managers))
}

async fn wait_for_machines(api: &Api, plant: &Plant) -> Result<()> {
    let path = format!("/tenants/{}/machines", plant.tenant);
    let all_up = || async {
        let machines = api.items(&path).await.ok()?;
        (!machines.is_empty() && machines.iter().all(|m| m["link"] == "up")).then_some(())
    };
    until(&format!("all machines of {} connected", plant.tenant), Duration::from_secs(60), all_up).await
}

fn usage(plants: &[Plant], backend: &Backend) -> Vec<(Part, u32, Usage)> {
    let agents = plants.iter().filter_map(|p| p.agent.pid()).map(|pid| (Part::Agent, pid));
    let backend = backend.service.pid().map(|pid| (Part::Backend, pid));
    agents.chain(backend).filter_map(|(part, pid)| Some((part, pid, Usage::of(pid)?))).collect()
}

/// Between two injections in a plant, in a run with an end.
const COUNTED: Duration = Duration::from_secs(1);

/// Between two injections in a plant, in a run that somebody watches.
const WATCHED: Duration = Duration::from_secs(20);

type Results = Arc<Mutex<Vec<Injected>>>;

/// Injections in every plant, machine after machine: one a second for a run with an end, so that there is much to
/// count; one now and then for a run that somebody watches. What is under way when it is dropped is dropped with it.
async fn inject_all(
    plants: &Arc<Vec<Plant>>,
    subscribers: &[Arc<Subscriber>],
    duration: Option<Duration>,
    results: &Results,
) -> Result<()> {
    let until = duration.map(|d| Instant::now() + d);
    let mut running = JoinSet::new();
    let mut tick = tokio::time::interval(if until.is_some() { COUNTED } else { WATCHED });
    let rows: Vec<_> = plants.iter().map(targets).collect::<Result<_>>()?;
    for round in 0_usize.. {
        tick.tick().await;
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        for (index, row) in rows.iter().enumerate() {
            let Some(target) = row.get(round % row.len().max(1)).cloned() else { continue };
            let (plants, subscriber) = (Arc::clone(plants), Arc::clone(&subscribers[index]));
            let results = Arc::clone(results);
            running.spawn(async move {
                let injected = inject(&plants[index], &subscriber, &target).await?;
                results.lock().unwrap_or_else(PoisonError::into_inner).push(injected);
                anyhow::Ok(())
            });
        }
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

impl Running {
    fn greet(&self) {
        say(&format!("dashboard: http://{}/", self.backend.state.http));
        for account in std::iter::once(&self.operator).chain(&self.accounts) {
            say(&format!("sign in as {:<10} password {}", account.user, account.password));
        }
        say("Ctrl-C stops everything");
    }

    fn subscribe(&self) -> Vec<Arc<Subscriber>> {
        self.plants.iter().map(|p| Arc::new(Subscriber::start(self.api.clone(), p.tenant.clone()))).collect()
    }

    /// Stops in order, so that the books can be settled: machines stand still, agents deliver, then both
    /// ends are counted.
    async fn finish(&mut self, injected: &[Injected]) -> Result<Value> {
        let after = usage(&self.plants, &self.backend);
        for plant in self.plants.iter() {
            plant.simulator(reqwest::Method::POST, "/pause", None).await?;
        }
        // What changed last is on its way through a publishing interval of 100 ms.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        self.exclusive_plants().await?;
        let plants = Arc::get_mut(&mut self.plants).context("the injections have ended")?;
        let mut books = SampleBooks::default();
        let mut machines = 0;
        let mut wire = (0, 0);
        for plant in plants.iter_mut() {
            let stopped = plant.stop_agent().await?;
            let all = stopped["machines"].as_array().into_iter().flatten();
            machines += all.filter(|machine| machine["id"] != GATEWAY).count();
            let to = now_us();
            books = books.plus(settle(plant, &self.api, &stopped, self.started_us, to).await?);
            let (bytes, samples) = telemetry(&self.api, &plant.tenant).await?;
            wire = (wire.0 + bytes, wire.1 + samples);
        }
        for plant in plants.iter_mut() {
            plant.simulator.terminate(Duration::from_secs(10)).await?;
        }
        self.backend.service.terminate(Duration::from_secs(15)).await?;
        Ok(json!({
            "plants": self.plants.len(),
            "machines": machines,
            "samples": books,
            "alarms": alarms(injected),
            "agent": self.used(&after, Part::Agent),
            "backend": self.used(&after, Part::Backend),
            "wire_bytes_per_sample": round(ratio(wire.0, wire.1)),
        }))
    }

    /// Waits until the injections that were under way have let go of the plants.
    async fn exclusive_plants(&self) -> Result<()> {
        let alone = || async { (Arc::strong_count(&self.plants) == 1).then_some(()) };
        until("the injections to end", Duration::from_secs(10), alone).await
    }

    /// Memory now and processor time since the start, of the largest process of its kind.
    fn used(&self, after: &[(Part, u32, Usage)], part: Part) -> Value {
        let (mut rss, mut cpu) = (0.0_f64, 0.0_f64);
        for (_, pid, now) in after.iter().filter(|(p, _, _)| *p == part) {
            rss = rss.max(now.rss_mib);
            if let Some((_, _, before)) = self.usage.iter().find(|(_, p, _)| p == pid) {
                cpu = cpu.max(now.cpu_percent_since(before));
            }
        }
        json!({ "rss_mib": round(rss), "cpu_percent": round(cpu) })
    }
}

/// Bytes and samples of the telemetry stream, from the ledger.
async fn telemetry(api: &Api, tenant: &str) -> Result<(u64, u64)> {
    let rows = api.items(&format!("/tenants/{tenant}/ledger")).await?;
    let ours = || rows.iter().filter(|r| r["stream"] == "telemetry");
    let sum = |field: &str| ours().filter_map(|r| r[field].as_u64()).sum();
    Ok((sum("bytes_received"), sum("samples_stored")))
}

fn alarms(injected: &[Injected]) -> Value {
    let mut latencies: Vec<f64> = injected.iter().filter_map(|i| i.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| -> Value {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rank of a percentile in a few hundred values"
        )]
        let rank = ((latencies.len() as f64 * share).ceil() as usize).saturating_sub(1);
        latencies.get(rank).map_or(Value::Null, |v| round(*v))
    };
    json!({
        "injected": injected.len(),
        "raised": latencies.len(),
        "missed": injected.len() - latencies.len(),
        "latency_ms": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
    })
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn round(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}

#[expect(clippy::print_stdout, reason = "a command line program")]
fn say(text: &str) {
    println!("{text}");
}
