//! A gateway comes back after an outage: how fast its backlog reaches the store, what agent and backend need for it,
//! and what it does to live alarms. Real programs on loopback; the store is SQLite, with a sync for every commit.
//!
//! `cargo bench -p factory-tests --bench drain`, after `cargo build --release --bins`. `DRAIN_SAMPLES` says how long
//! the backlog is (10,000,000 when not set: nine hours of 15 machines with 20 tags at 1 Hz).

#[path = "../../protocol/benches/support/signals.rs"]
mod signals;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_store::{EdgeStore, Settings};
use factory_tests::api::{Api, now_us};
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user, any_port};
use factory_tests::injection::{Subscriber, Target, inject, targets};
use factory_tests::load::table::{Table, say};
use factory_tests::load::{Role, role, runtime};
use factory_tests::oracle::{judge, obligations, stored};
use factory_tests::usage::Usage;
use futures_util::future::join_all;
use plant_model::{MachineId, TagId, Timestamp};
use protocol::{Sequence, StreamId};
use signals::{COMMIT_SECONDS, MACHINES, TAGS};

const SAMPLES_IN_A_BATCH: u64 = (MACHINES * TAGS * COMMIT_SECONDS) as u64;
/// How often the programs are looked at.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(600);
/// Alarms that are raised one after the other on each machine, before the drain and during it.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(drain()),
        Role::Serve(_) | Role::Part(..) | Role::Nothing => Ok(()),
    }
}

async fn drain() -> Result<()> {
    let samples: u64 = std::env::var("DRAIN_SAMPLES").map_or(Ok(10_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir_in(".")?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let options = PlantOptions::small("bench", "Bench", 7);
    let mut plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let subscriber = Subscriber::start(api.clone(), plant.tenant.clone());
    let before = latencies(&plant, &subscriber).await?;

    plant.stop_agent().await?;
    let backlog = make_backlog(&plant.buffer(), samples / SAMPLES_IN_A_BATCH)?;
    let copied = copy(folder.path(), &backlog)?;
    let began = Instant::now();
    plant.restart_agent().await?;
    let (watched, during) =
        tokio::join!(watch(&plant, &backend, &api, began), latencies(&plant, &subscriber));
    let (watched, during) = (watched?, during?);
    report(&backlog, copied, &watched);
    report_alarms(&before, &during);

    plant.stop_agent().await?;
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    judge(&obligations(&plant.buffer())?, &held).context("the oracle")?;
    ensure!(held.len() as u64 >= backlog.batches, "{} batches are stored", held.len());
    say("the oracle: every batch is stored once, byte by byte");
    Ok(())
}

/// Alarms pushed over their limits, one machine beside the other; milliseconds to the subscriber.
async fn latencies(plant: &Plant, subscriber: &Subscriber) -> Result<Vec<f64>> {
    let all = targets(plant)?;
    let mut machines: Vec<&str> = all.iter().map(|t| t.machine.as_str()).collect();
    machines.dedup();
    let one = |machine: &str| {
        let first: Option<Target> = all.iter().find(|t| t.machine == machine).cloned();
        async move {
            let mut seen = Vec::new();
            for target in std::iter::repeat_n(first, ROUNDS).flatten() {
                let latency = inject(plant, subscriber, &target).await?.latency_ms;
                seen.push(latency.with_context(|| format!("{target:?} raised no alarm"))?);
            }
            anyhow::Ok(seen)
        }
    };
    let seen = join_all(machines.into_iter().map(one)).await;
    Ok(seen.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

struct Backlog {
    batches: u64,
    samples: u64,
    message_bytes: u64,
    held_bytes: u64,
    made_in: Duration,
    messages: Vec<u8>,
}

/// Commits the backlog into the agent's own buffer, as the agent would have.
fn make_backlog(buffer: &Path, batches: u64) -> Result<Backlog> {
    let settings = Settings { bytes_max: 64 << 20, ..Settings::new(buffer) };
    let now = Timestamp::from_micros(now_us());
    let mut store = EdgeStore::open(settings, now)?.store;
    while store.grow()? {}
    let tags: Vec<TagId> = (0..TAGS).map(|n| TagId::new(&format!("tag-{n}"))).collect::<Result<_, _>>()?;
    let mut series = Vec::new();
    for machine in 0..MACHINES {
        series.extend(store.series(&MachineId::new(&format!("bench-{machine}"))?, &tags, now)?);
    }
    let (before, began) = (store.usage()?.held_bytes, Instant::now());
    let seconds = i64::try_from(batches)? * i64::from(COMMIT_SECONDS);
    let from = Timestamp::from_micros(now_us() - seconds * 1_000_000);
    let mut plant = signals::Plant::new();
    let mut backlog = Backlog {
        batches,
        samples: batches * SAMPLES_IN_A_BATCH,
        message_bytes: 0,
        held_bytes: 0,
        made_in: Duration::ZERO,
        messages: Vec::new(),
    };
    let mut first = None;
    for n in 0..u32::try_from(batches)? {
        let body = plant.group(&series, from, n * COMMIT_SECONDS);
        first.get_or_insert(store.commit(&body, now)?.sequence);
    }
    backlog.made_in = began.elapsed();
    backlog.held_bytes = store.usage()?.held_bytes - before;
    let mut next = first.unwrap_or(Sequence::ZERO);
    while let Some(batch) = store.read(StreamId::Telemetry, next, now)? {
        next = batch.sequence.next();
        backlog.messages.extend_from_slice(&batch.message);
    }
    backlog.message_bytes = backlog.messages.len() as u64;
    Ok(backlog)
}

/// The same bytes, written once in a row and synced.
fn copy(folder: &Path, backlog: &Backlog) -> Result<Duration> {
    let began = Instant::now();
    let mut file = File::create(folder.join("copy"))?;
    file.write_all(&backlog.messages)?;
    file.sync_all()?;
    Ok(began.elapsed())
}

struct Watched {
    /// From the start of the agent until its backlog was gone.
    took: Duration,
    /// From the first batch that the store took.
    drained_in: Duration,
    agent_rss_mib: f64,
    backend_rss_mib: f64,
    agent_cpu_seconds: f64,
    backend_cpu_seconds: f64,
}

/// Looks at both programs until everything is delivered.
async fn watch(plant: &Plant, backend: &Backend, api: &Api, began: Instant) -> Result<Watched> {
    let pids = (plant.agent.pid().context("the agent")?, backend.service.pid().context("the backend")?);
    let usage = |pid| Usage::of(pid).context("a program is gone");
    let (agent, server) = (usage(pids.0)?, usage(pids.1)?);
    let (mut agent_rss_mib, mut backend_rss_mib) = (0_f64, 0_f64);
    let start = ledgered(plant, api).await?;
    let mut first = None;
    while began.elapsed() < PATIENCE {
        agent_rss_mib = agent_rss_mib.max(usage(pids.0)?.rss_mib);
        backend_rss_mib = backend_rss_mib.max(usage(pids.1)?.rss_mib);
        if first.is_none() && ledgered(plant, api).await? > start {
            first = Some(Instant::now());
        }
        let left = plant.status().await?["buffer"]["backlog_batches"].as_u64().context("a backlog")?;
        if let Some(first) = first.filter(|_| left < 10) {
            return Ok(Watched {
                took: began.elapsed(),
                drained_in: first.elapsed(),
                agent_rss_mib,
                backend_rss_mib,
                agent_cpu_seconds: usage(pids.0)?.cpu_seconds - agent.cpu_seconds,
                backend_cpu_seconds: usage(pids.1)?.cpu_seconds - server.cpu_seconds,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    anyhow::bail!("the backlog is not gone after {PATIENCE:?}")
}

/// Samples in the store, by the ledger.
async fn ledgered(plant: &Plant, api: &Api) -> Result<u64> {
    let rows = api.items(&format!("/tenants/{}/ledger", plant.tenant)).await?;
    Ok(rows.iter().filter_map(|row| row["samples_stored"].as_u64()).sum())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(backlog: &Backlog, copied: Duration, watched: &Watched) {
    let samples = backlog.samples as f64;
    let per_second = |time: Duration| format!("{:.0}", samples / time.as_secs_f64());
    let mut table = Table::new(&["figure", "measured", "target"]);
    let mut row = |name: &str, value: String, target: &str| table.row(&[name.into(), value, target.into()]);
    row("samples a second, from the first stored", per_second(watched.drained_in), "1,000,000");
    row("samples a second, from the start of the agent", per_second(watched.took), "");
    row("a plain copy of the same bytes with a sync, ms", format!("{:.0}", copied.as_secs_f64() * 1e3), "");
    row(
        "the drain takes so many times as long",
        format!("{:.0}", watched.drained_in.as_secs_f64() / copied.as_secs_f64()),
        "",
    );
    row("agent's memory (RSS), MiB", format!("{:.1}", watched.agent_rss_mib), "< 64");
    row("backend's memory (RSS), MiB", format!("{:.1}", watched.backend_rss_mib), "< 256");
    row(
        "agent's processor time, ns a sample",
        format!("{:.0}", watched.agent_cpu_seconds * 1e9 / samples),
        "",
    );
    row(
        "backend's processor time, ns a sample",
        format!("{:.0}", watched.backend_cpu_seconds * 1e9 / samples),
        "",
    );
    row("bytes a sample on the wire", format!("{:.2}", backlog.message_bytes as f64 / samples), "2.5");
    row("bytes a sample in the buffer", format!("{:.2}", backlog.held_bytes as f64 / samples), "3");
    row(
        "committing one batch to the buffer, ms",
        format!("{:.2}", backlog.made_in.as_secs_f64() * 1e3 / backlog.batches as f64),
        "",
    );
    table.print(&format!("A backlog of {} samples in {} batches", backlog.samples, backlog.batches));
}

fn report_alarms(before: &[f64], during: &[f64]) {
    let mut table = Table::new(&["live alarms, ms to the subscriber", "number", "p50", "max"]);
    for (name, latencies) in [("before", before), ("from the start of the drain on", during)] {
        let mut sorted = latencies.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).map_or_else(String::new, |ms| format!("{ms:.0}"));
        let last = sorted.len().saturating_sub(1);
        table.row(&[name.into(), sorted.len().to_string(), at(last / 2), at(last)]);
    }
    table.print("Alarms meanwhile; target: within 20 %");
}
