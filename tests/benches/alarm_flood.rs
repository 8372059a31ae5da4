//! A flood of alarms (field case D9): ten machines with a hundred alarms each move all of them there and back every
//! two seconds, a thousand transitions a second for half a minute, through real agent and backend.
//!
//! `cargo bench -p factory-tests --bench alarm_flood`, after `cargo build --release --bins`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use factory_tests::api::Api;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user, any_port};
use factory_tests::flood::{self, PERIOD, Source};
use factory_tests::injection::targets;
use factory_tests::load::table::Table;
use factory_tests::load::{Role, role, runtime};
use factory_tests::oracle::{
    CounterRun, counter_run, judge, obligations, samples, series_of_tag, stored, transitions,
};
use factory_tests::process::until;
use factory_tests::steps::{self, Lane, Times};
use factory_tests::usage::Usage;
use serde_json::Value;

const MACHINES: usize = 10;
const ALARMS: usize = 100;
const ROUNDS: u32 = 15;
const SETTLE: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(measure()),
        Role::Serve(_) | Role::Part(..) | Role::Nothing => Ok(()),
    }
}

async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &PlantOptions::bench()).await?;
    plant.stop_agent().await?;
    let mut firsts = targets(&plant)?;
    firsts.dedup_by(|a, b| a.machine == b.machine);
    let prepare = |target| Source::prepare(&plant, target, ALARMS);
    let mut sources: Vec<Source> = firsts.into_iter().take(MACHINES).map(prepare).collect::<Result<_>>()?;
    plant.restart_agent().await?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    tokio::time::sleep(SETTLE).await;

    let before = usages(&plant, &backend)?;
    let begun = Instant::now();
    let (flooding, watching) = tokio::join!(
        flood::run(&plant, &mut sources, ROUNDS),
        watch(&api, &plant, &backend, PERIOD * ROUNDS)
    );
    flooding?;
    let (half, lists) = watching?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = usages(&plant, &backend)?;
    let moved: u64 = sources.iter().map(Source::transitions).sum();
    let committed = || async {
        let status = plant.status().await.ok()?;
        let buffer = &status["buffer"];
        let is_done =
            buffer["transitions_committed"].as_u64()? >= moved && buffer["backlog_batches"].as_u64()? < 4;
        is_done.then_some(status)
    };
    let status = until("every transition at the backend", PATIENCE, committed).await?;
    plant.stop_agent().await?;
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    judge(&obligations(&plant.buffer())?, &held)?;
    let lanes: Vec<Lane> = sources.iter().flat_map(Source::lanes).collect();
    steps::judge(&transitions(&held)?, &lanes)?;
    let rows = samples(&held)?;
    let runs = series_of_tag(&plant.buffer(), "scan_count")?.into_iter();
    let runs: Vec<CounterRun> =
        runs.map(|(_, series)| counter_run(rows.get(&series).map_or(&[], Vec::as_slice))).collect();
    report(&Outcome { moved, seconds, status, lists, runs, memory: [before, half, after] })
}

/// Resident memory of agent and backend, in MiB.
type Memory = [f64; 2];

fn usages(plant: &Plant, backend: &Backend) -> Result<Memory> {
    let of =
        |pid: Option<u32>| pid.and_then(Usage::of).map(|usage| usage.rss_mib).context("a program is gone");
    Ok([of(plant.agent.pid())?, of(backend.service.pid())?])
}

/// What a person does meanwhile: looks at the alarms and at the journal every second. The memory is looked at half way.
async fn watch(api: &Api, plant: &Plant, backend: &Backend, duration: Duration) -> Result<(Memory, Times)> {
    let (begun, mut half, mut lists) = (Instant::now(), None, Vec::new());
    while begun.elapsed() < duration {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        let alarms = api.items(&format!("/tenants/{}/alarms?limit=100", plant.tenant)).await?;
        let journal = api.items(&format!("/tenants/{}/alarms/transitions?limit=100", plant.tenant)).await?;
        lists.push(i64::try_from(asked.elapsed().as_micros())?);
        ensure!(alarms.len() <= 100 && journal.len() <= 100, "a page is too long");
        if half.is_none() && begun.elapsed() > duration / 2 {
            half = Some(usages(plant, backend)?);
        }
    }
    Ok((half.context("half of the time has passed")?, lists.into_iter().collect()))
}

struct Outcome {
    moved: u64,
    seconds: f64,
    status: Value,
    /// Of both lists together.
    lists: Times,
    runs: Vec<CounterRun>,
    /// Before, half way, after.
    memory: [Memory; 3],
}

fn report(outcome: &Outcome) -> Result<()> {
    let Outcome { moved, seconds, status, lists, runs, memory } = outcome;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let rate = *moved as f64 / seconds;
    let sum = |of: fn(&CounterRun) -> u64| runs.iter().map(of).sum::<u64>();
    let (values, missing) = (sum(|run| run.values as u64), sum(|run| run.missing));
    let repeated = sum(|run| run.repeated as u64);
    let mib = |program: usize| memory.map(|m| format!("{:.1}", m[program])).join(" / ");
    let mut table = Table::new(&["figure", "measured"]);
    for (figure, measured) in [
        ("transitions, stored once and in order", format!("{moved} in {seconds:.0} s, {rate:.0} a second")),
        ("copies on the fast lane that found no room", status["alarms"]["fast_lane_dropped"].to_string()),
        ("transitions that the buffer gave up", status["buffer"]["transitions_dropped"].to_string()),
        (
            "values of the machines' own counters, stored / missing / repeated",
            format!("{values} / {missing} / {repeated}"),
        ),
        ("agent's memory before / half way / after, MiB", mib(0)),
        ("backend's memory, MiB", mib(1)),
        (
            "first page of alarms and of the journal together, p50 / max",
            format!("{:.0} / {:.0} ms", lists.ms(50), lists.ms(100)),
        ),
    ] {
        table.row(&[figure.to_owned(), measured]);
    }
    table.print("D9: a flood of alarms");
    let rows = status["alarms"]["latency"].as_array().context("the agent measures itself")?;
    let mut table = Table::new(&["the agent's own", "priority", "count", "p50, ms", "p99, ms", "max, ms"]);
    for row in rows {
        let text = |field: &str| row[field].to_string().trim_matches('"').to_owned();
        table.row(&["stage", "priority", "count", "p50_ms", "p99_ms", "max_ms"].map(text));
    }
    table.print("D9");
    Ok(())
}
