//! How long an alarm takes from the change of a value in a machine to whoever listens at the backend (field case
//! D1): real simulator, agent and backend as processes, once in trouble and once without, with the same machines.
//!
//! Trouble: of 15 machines three are dead and one is slow, a million and a half samples wait in the buffer and are
//! delivered meanwhile, and every sync of the buffer's file to disk may take two seconds.
//!
//! `cargo bench -p factory-tests --bench alarm_latency`, after `cargo build --release --bins`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use factory_tests::api::now_us;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user, any_port};
use factory_tests::injection::{Target, targets};
use factory_tests::load::table::{Table, say};
use factory_tests::load::{Role, role, runtime};
use factory_tests::oracle::{judge, obligations, stored, transitions};
use factory_tests::process::until;
use factory_tests::steps::{self, Course, Lane, Listener, Step, Times};
use factory_tests::sync_stall::SyncStall;
use factory_tests::usage::Usage;
use reqwest::Method;
use serde_json::{Value, json};

#[path = "../tests/end_to_end/backlog.rs"]
mod backlog;

const SAMPLING_MS: i64 = 100;
/// Two alarms of 11 healthy machines: a thousand steps.
const STEPS: u64 = 46;
/// A batch takes the gateway and the backend much the same time whatever is in it: so many, that they last.
const BACKLOG_BATCHES: usize = 30_000;
const BACKLOG_SAMPLES: usize = 50;
const STALL: Duration = Duration::from_secs(2);
const STALL_EVERY: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the agent may take to find out who is dead.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(measure()),
        Role::Serve(_) | Role::Part(..) | Role::Nothing => Ok(()),
    }
}

/// What becomes of some machines in the trouble: protocol, and mode of the simulator.
fn bad() -> [(&'static str, Value); 4] {
    [
        ("modbus-tcp", json!({ "mode": "hole" })),
        ("modbus-tcp", json!({ "mode": "silent" })),
        ("opcua", json!({ "mode": "hole" })),
        ("modbus-tcp", json!({ "mode": "slow", "delay_ms": 200 })),
    ]
}

async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &PlantOptions::bench()).await?;
    plant.stop_agent().await?;
    sample_often(&plant.config().join("machines.d"))?;
    let begun = Instant::now();
    let owed = backlog::fill(&plant, BACKLOG_BATCHES, BACKLOG_SAMPLES)?;
    say(&format!(
        "{owed} samples in {BACKLOG_BATCHES} batches are in the buffer after {:.0?}",
        begun.elapsed()
    ));
    let stall = SyncStall::build(folder.path())?;
    let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
    let api = plant.sign_in(&backend, &account).await?;
    let listener = Listener::start(api, plant.tenant.clone());

    let (mut lanes, bad) = cast(&plant)?;
    for (machine, mode) in &bad {
        set_mode(&plant, machine, mode.clone()).await?;
    }
    plant.restart_agent_with(&stall.environment("buffer.db", STALL, STALL_EVERY)).await?;
    stall.turn_on()?;
    let trouble = phase(&plant, &listener, &mut lanes).await?;
    stall.turn_off()?;
    say(&format!("{} syncs took {STALL:?} longer", stall.count()));
    until("the backlog", PATIENCE * 10, || no_backlog(&plant)).await?;
    plant.stop_agent().await?;
    for (machine, _) in &bad {
        set_mode(&plant, machine, json!({ "mode": "healthy" })).await?;
    }
    plant.restart_agent().await?;
    let quiet = phase(&plant, &listener, &mut lanes).await?;
    until("the backlog", PATIENCE, || no_backlog(&plant)).await?;
    plant.stop_agent().await?;
    report(&trouble, &quiet, &plant)?;
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    judge(&obligations(&plant.buffer())?, &held)?;
    steps::judge(&transitions(&held)?, &lanes)?;
    say("every batch is stored once, every transition is stored once and in order");
    Ok(())
}

/// Rewrites the machine files: alarm tags every 100 ms. OPC UA machines are sampled and published so already.
fn sample_often(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let mut file: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        let tags = file.get_mut("tags").and_then(toml::Value::as_array_mut).context("tags")?;
        for tag in tags.iter_mut().filter_map(toml::Value::as_table_mut) {
            if let Some(interval) = tag.get_mut("poll_interval_ms")
                && interval.as_integer().is_some_and(|ms| ms < 1_000)
            {
                *interval = SAMPLING_MS.into();
            }
        }
        std::fs::write(&path, toml::to_string(&file)?)?;
    }
    Ok(())
}

/// Machines to be made bad, with their mode.
type Bad = Vec<(String, Value)>;

/// Who is made bad, and the alarms of all others.
fn cast(plant: &Plant) -> Result<(Vec<Lane>, Bad)> {
    let mut targets = targets(plant)?;
    let mut chosen = Bad::new();
    for (protocol, mode) in bad() {
        let is_one = |t: &&Target| protocol_of(plant, &t.machine).is_ok_and(|p| p == protocol);
        let machine = targets.iter().find(is_one).context("a machine of this protocol")?.machine.clone();
        targets.retain(|target| target.machine != machine);
        chosen.push((machine, mode));
    }
    Ok((targets.into_iter().map(Lane::new).collect(), chosen))
}

fn protocol_of(plant: &Plant, machine: &str) -> Result<&'static str> {
    let path = plant.config().join("machines.d").join(format!("{machine}.toml"));
    let file: toml::Table = std::fs::read_to_string(path)?.parse()?;
    Ok(if file.contains_key("opcua") { "opcua" } else { "modbus-tcp" })
}

async fn set_mode(plant: &Plant, machine: &str, mode: Value) -> Result<()> {
    plant.simulator(Method::POST, &format!("/machines/{machine}/mode"), Some(mode)).await.map(drop)
}

async fn no_backlog(plant: &Plant) -> Option<()> {
    (backlog(plant).await.ok()? < 4).then_some(())
}

/// What was measured with one agent.
struct Phase {
    steps: Vec<Step>,
    /// Steps made while a backlog was delivered.
    beside: usize,
    seconds: f64,
    backlog: [u64; 2],
    status: Value,
    rss_mib: f64,
}

async fn phase(plant: &Plant, listener: &Listener, lanes: &mut [Lane]) -> Result<Phase> {
    let connected = || async { plant.status().await.ok().filter(|s| s["uplink"]["connected"] == true) };
    until("the uplink", PATIENCE, connected).await?;
    tokio::time::sleep(SETTLE).await;
    let before = backlog(plant).await?;
    let course = Course {
        steps: STEPS,
        hold: Duration::from_millis(500),
        pause_max: Duration::from_millis(200),
        patience: PATIENCE,
    };
    let begun = Instant::now();
    let mut drained_at_us = None;
    let steps = tokio::select! {
        steps = steps::run(plant, listener, lanes, course) => steps?,
        never = note_drained(plant, &mut drained_at_us) => return never,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let beside = steps.iter().filter(|s| drained_at_us.is_none_or(|at| s.changed_at_us < at)).count();
    let usage = plant.agent.pid().and_then(Usage::of).context("the agent is gone")?;
    let backlog = [before, backlog(plant).await?];
    Ok(Phase { steps, beside, seconds, backlog, status: plant.status().await?, rss_mib: usage.rss_mib })
}

async fn backlog(plant: &Plant) -> Result<u64> {
    let status = plant.status().await?;
    status["buffer"]["backlog_batches"].as_u64().context("the agent knows its backlog")
}

/// Notes when nothing old is left to deliver; does not end.
async fn note_drained(plant: &Plant, at_us: &mut Option<i64>) -> Result<Phase> {
    loop {
        if at_us.is_none() && backlog(plant).await? < 10 {
            *at_us = Some(now_us());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn report(trouble: &Phase, quiet: &Phase, plant: &Plant) -> Result<()> {
    let mut table = Table::new(&[
        "from the machine to a listener at the backend",
        "steps",
        "p50, ms",
        "p99, ms",
        "max, ms",
    ]);
    for (name, phase) in [("in trouble", trouble), ("without", quiet)] {
        for protocol in ["modbus-tcp", "opcua"] {
            let is_one = |s: &&Step| protocol_of(plant, &s.machine).is_ok_and(|p| p == protocol);
            let times = phase.steps.iter().filter(is_one).map(|s| s.latency_us).collect();
            table.row(&row(&format!("{name}, {protocol}"), &times));
        }
        table.row(&row(&format!("{name}, all"), &phase.steps.iter().map(|s| s.latency_us).collect()));
    }
    let floor = |percent| SAMPLING_MS * percent / 100;
    let floor = [50, 99, 100].map(floor).map(|ms| ms.to_string());
    table.row(&[&["floor: a sampling interval".to_owned(), String::new()], floor.as_slice()].concat());
    table.print(&format!("11 healthy machines of 15, alarm tags every {SAMPLING_MS} ms"));
    for (name, phase) in [("in trouble", trouble), ("without", quiet)] {
        let [before, after] = &phase.backlog;
        say(&format!(
            "{name}: {:.0} s, batches in the backlog from {before} to {after}, {} steps beside it, agent {:.1} MiB, \
             copies without room on the fast lane {}",
            phase.seconds, phase.beside, phase.rss_mib, phase.status["alarms"]["fast_lane_dropped"]
        ));
        stages(name, &phase.status)?;
    }
    Ok(())
}

fn row(name: &str, times: &Times) -> Vec<String> {
    let ms = |percent| format!("{:.1}", times.ms(percent));
    vec![name.to_owned(), times.count().to_string(), ms(50), ms(99), ms(100)]
}

/// The agent's own histograms.
fn stages(name: &str, status: &Value) -> Result<()> {
    let rows = status["alarms"]["latency"].as_array().context("the agent measures itself")?;
    ensure!(!rows.is_empty(), "the agent measured nothing");
    let mut table = Table::new(&["the agent's own", "priority", "count", "p50, ms", "p99, ms", "max, ms"]);
    for row in rows {
        let text = |field: &str| row[field].to_string().trim_matches('"').to_owned();
        table.row(&["stage", "priority", "count", "p50_ms", "p99_ms", "max_ms"].map(text));
    }
    table.print(name);
    Ok(())
}
