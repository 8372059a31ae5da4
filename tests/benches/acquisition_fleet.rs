//! What a plant of 15 machines costs the agent, and how well it keeps its schedule: a real agent, and
//! machines in another process.
//!
//! `cargo bench -p factory-tests --bench acquisition_fleet`, after `cargo build --release --bins`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::now_us;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, any_port};
use factory_tests::load::agent::{Agent, Machine};
use factory_tests::load::server::{self, Behaviour, Server};
use factory_tests::load::table::Table;
use factory_tests::load::timing::{Kept, judge};
use factory_tests::load::{Role, role, runtime};
use factory_tests::usage::Usage;
use reqwest::Method;
use serde_json::Value;

const MACHINES: usize = 15;
/// Connections, first reads, first commits.
const SETTLE: Duration = Duration::from_secs(10);
/// Of the plant with both protocols.
const PLANT_WINDOW: Duration = Duration::from_secs(60);
/// Of the loads on Modbus alone.
const LOAD_WINDOW: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(async {
            plant().await?;
            loads().await
        }),
        Role::Serve(listeners) => server::serve(&listeners),
        Role::Part(..) | Role::Nothing => Ok(()),
    }
}

/// 8 Modbus and 7 OPC UA machines with 20 tags each, once a second, delivered to a backend.
async fn plant() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &PlantOptions::bench()).await?;
    plant.stop_agent().await?;
    once_a_second(&plant.config().join("machines.d"))?;
    plant.restart_agent().await?;
    tokio::time::sleep(SETTLE).await;
    let (served, used) = (reads(&plant).await?, usage(&plant)?);
    tokio::time::sleep(PLANT_WINDOW).await;
    let (served_after, used_after) = (reads(&plant).await?, usage(&plant)?);
    let status = plant.status().await?;
    report_plant(&served, &served_after, &used, &used_after, &status);
    plant.stop_agent().await?;
    Ok(())
}

/// Rewrites the machine files: everything once a second, and no alarms, which would ask for more.
fn once_a_second(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let mut file: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        file.remove("alarms");
        if let Some(opcua) = file.get_mut("opcua").and_then(toml::Value::as_table_mut) {
            opcua.insert("sampling_interval_ms".to_owned(), 1_000.into());
            opcua.insert("publishing_interval_ms".to_owned(), 1_000.into());
        } else {
            let tags = file.get_mut("tags").and_then(toml::Value::as_array_mut).context("tags")?;
            for tag in tags.iter_mut().filter_map(toml::Value::as_table_mut) {
                tag.insert("poll_interval_ms".to_owned(), 1_000.into());
            }
        }
        std::fs::write(&path, toml::to_string(&file)?)?;
    }
    Ok(())
}

/// What the simulator counted for each Modbus machine: requests, and polls of the tag that counts scans.
async fn reads(plant: &Plant) -> Result<Vec<(u64, u64)>> {
    let machines = plant.simulator(Method::GET, "/machines", None).await?;
    let count = |machine: &Value, name: &str| machine["produced"][name].as_u64().context("a counter");
    let machines = machines.as_array().context("machines")?.iter();
    machines
        .filter(|machine| machine["protocol"] == "modbus-tcp")
        .map(|machine| Ok((count(machine, "reads_served")?, count(machine, "scan_reads")?)))
        .collect()
}

fn usage(plant: &Plant) -> Result<Usage> {
    plant.agent.pid().and_then(Usage::of).context("the agent is gone")
}

fn report_plant(
    before: &[(u64, u64)],
    after: &[(u64, u64)],
    used: &Usage,
    used_after: &Usage,
    status: &Value,
) {
    let total = |of: &[(u64, u64)]| of.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let ((requests, polls), (requests_after, polls_after)) = (total(before), total(after));
    let (requests, polls) = (requests_after - requests, polls_after - polls);
    let missed: u64 = status["machines"]
        .as_array()
        .map_or(0, |all| all.iter().filter_map(|machine| machine["missed_ticks"].as_u64()).sum());
    let mut table = Table::new(&["figure", "measured"]);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let (per_poll, per_second) = (
        requests as f64 / polls.max(1) as f64,
        polls as f64 / before.len().max(1) as f64 / PLANT_WINDOW.as_secs_f64(),
    );
    for (figure, measured) in [
        ("requests a poll and Modbus machine", format!("{per_poll:.3} ({requests} / {polls})")),
        ("polls a second and Modbus machine", format!("{per_second:.3}")),
        ("missed polls since the start, by the agent's own count", missed.to_string()),
        ("samples since the start, acquired / committed", {
            let samples = &status["samples"];
            format!("{} / {}", samples["acquired"], samples["committed"])
        }),
        ("agent's memory (RSS)", format!("{:.1} MiB", used_after.rss_mib)),
        ("agent's share of a core", format!("{:.2} %", used_after.cpu_percent_since(used))),
    ] {
        table.row(&[figure.to_owned(), measured]);
    }
    table.print("15 machines (8 Modbus, 7 OPC UA) x 20 tags at 1 Hz, delivered to a backend, 60 s");
}

/// Modbus alone, judged by the instants at which requests came to the server.
async fn loads() -> Result<()> {
    let mut table = Table::new(&[
        "15 machines x",
        "polls done, %",
        "off schedule p50, ms",
        "p99, ms",
        "max, ms",
        "RSS, MiB",
        "share of a core, %",
    ]);
    for (tags, poll_interval_ms) in [(20, 1_000), (500, 1_000), (20, 100)] {
        let (kept, rss_mib, share) = load(tags, poll_interval_ms).await?;
        table.row(&[
            format!("{tags} tags every {poll_interval_ms} ms"),
            format!("{:.3} ({} of {})", kept.percent(), kept.done, kept.due),
            format!("{:.2}", kept.off_ms(0.5)),
            format!("{:.2}", kept.off_ms(0.99)),
            format!("{:.2}", kept.off_ms(1.0)),
            format!("{rss_mib:.1}"),
            format!("{share:.2}"),
        ]);
    }
    table.print("Modbus alone, no uplink, 30 s, judged by the server's clock");
    Ok(())
}

async fn load(tags: u16, poll_interval_ms: u64) -> Result<(Kept, f64, f64)> {
    let mut server = Server::start(&vec![Behaviour::Healthy; MACHINES])?;
    let machine = |port| Machine { port, unit_id: 1, tags, poll_interval_ms, timeout_ms: 1_000 };
    let machines: Vec<Machine> = server.ports.iter().map(|port| machine(*port)).collect();
    let folder = tempfile::tempdir()?;
    let agent = Agent::start(folder.path(), &machines).await?;
    tokio::time::sleep(SETTLE).await;
    let (from, used) = (now_us(), agent.usage()?);
    tokio::time::sleep(LOAD_WINDOW).await;
    let (to, used_after) = (now_us(), agent.usage()?);
    let requests = usize::from(tags.div_ceil(125));
    let mut kept = Kept::default();
    for arrivals in server.take_arrivals()? {
        let period_us = i64::try_from(poll_interval_ms * 1_000)?;
        kept.add(&judge(&arrivals, requests, period_us, from, to));
    }
    Ok((kept, used_after.rss_mib, used_after.cpu_percent_since(&used)))
}
