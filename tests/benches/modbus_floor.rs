//! What reading Modbus costs: our driver, from the socket to a sink that counts, against a loop around
//! libmodbus. One connection each, 125 registers a request, as fast as it goes, the same server.
//!
//! `cargo xtask bench-setup` installs libmodbus; then `cargo bench -p factory-tests --bench modbus_floor`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use acquisition::{DriverCounters, LinkState, MachineSink, Reading};
use anyhow::{Context, Result, bail, ensure};
use factory_tests::load::agent::Machine;
use factory_tests::load::table::{Table, say};
use factory_tests::load::{Role, role};
use factory_tests::usage::Usage;
use serde::{Deserialize, Serialize};
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

/// Our client as a process of its own.
const OURS: &str = "ours";

const QUANTITY: u16 = 125;
/// Full requests of one unit.
const BLOCKS: u16 = 80;
/// So many units ask for more requests than any client makes, at the shortest poll interval: there is
/// always one due.
const UNITS: u8 = 8;
const POLL_INTERVAL_MS: u64 = 10;

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;

/// What a client did.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    requests: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Done {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Processor microseconds for 1,000 tags.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / (self.requests as f64 * f64::from(QUANTITY) / 1e3)
    }
}

fn main() -> Result<()> {
    match role() {
        Role::Measure => measure(),
        Role::Part(part, port) if part == OURS => {
            let done = drive(port.parse().context("a port")?)?;
            say(&serde_json::to_string(&done)?);
            Ok(())
        }
        Role::Part(part, _) => bail!("{part} is no part of this bench"),
        Role::Serve(_) | Role::Nothing => Ok(()),
    }
}

/// Where the server and the clients run. Left to the system they share a core in one round and not in the
/// next, and a round trip then costs three times as much.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

/// A program that stays on a core.
fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let floor = compile(folder.path())?;
    let (server, this) = (FloorServer::start(&floor)?, std::env::current_exe()?);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let port = server.port.to_string();
        theirs.push(run(pinned(CLIENT_CORE, &floor).args(["client", &port, &SECONDS.to_string()]))?);
        ours.push(run(pinned(CLIENT_CORE, &this).args([OURS, &port]))?);
    }
    let mut table =
        Table::new(&["client", "requests/s, best", "median", "CPU us a 1,000 tags, best", "median"]);
    table.row(&row("libmodbus, C", &theirs));
    table.row(&row("driver-modbus", &ours));
    let ratio = |best: fn(&[Done]) -> f64| best(&ours) / best(&theirs);
    table.row(&[
        "ratio".to_owned(),
        format!("{:.2}", ratio(fastest)),
        String::new(),
        format!("{:.2}", ratio(cheapest)),
    ]);
    table.print(&format!("One connection, {QUANTITY} registers a request, {ROUNDS} rounds of {SECONDS} s"));
    Ok(())
}

fn row(name: &str, rounds: &[Done]) -> Vec<String> {
    let median = |of: fn(&Done) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    vec![
        name.to_owned(),
        format!("{:.0}", fastest(rounds)),
        format!("{:.0}", median(Done::per_second)),
        format!("{:.1}", cheapest(rounds)),
        format!("{:.1}", median(Done::cpu_us)),
    ]
}

fn fastest(rounds: &[Done]) -> f64 {
    rounds.iter().map(Done::per_second).fold(0.0, f64::max)
}

fn cheapest(rounds: &[Done]) -> f64 {
    rounds.iter().map(Done::cpu_us).fold(f64::INFINITY, f64::min)
}

fn compile(folder: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/modbus_floor.c");
    let program = folder.join("modbus_floor");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror"])
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .arg("-lmodbus")
        .status()
        .context("cannot start cc; `cargo xtask bench-setup` installs it")?;
    ensure!(status.success(), "the C client does not compile; `cargo xtask bench-setup` installs libmodbus");
    Ok(program)
}

/// The server that both clients read; it ends when dropped.
struct FloorServer {
    child: Child,
    port: u16,
}

impl FloorServer {
    fn start(program: &Path) -> Result<Self> {
        let mut child = pinned(SERVER_CORE, program).arg("server").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the output is piped")?).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("the server says {line:?}"))?;
        Ok(Self { child, port })
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(client: &mut Command) -> Result<Done> {
    let out = client.stderr(Stdio::inherit()).output()?;
    ensure!(out.status.success(), "{client:?} ended with {}", out.status);
    serde_json::from_slice(&out.stdout).context("what the client says")
}

/// Counts and looks at each value, as the C client adds them up.
struct Counting {
    tags: Arc<AtomicU64>,
    sum: u64,
}

impl MachineSink for Counting {
    fn accept(&mut self, readings: &[Reading]) {
        for reading in readings {
            if let Some(plant_model::Value::Int(value)) = reading.sample.value {
                self.sum = self.sum.wrapping_add(value.cast_unsigned());
            }
        }
        self.tags.fetch_add(readings.len() as u64, Ordering::Relaxed);
        std::hint::black_box(self.sum);
    }

    fn link(&mut self, _: LinkState) {}
}

/// Reads as the agent does: on a scheduler of two threads.
fn drive(port: u16) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (tags, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let driver = runtime.spawn(driver_modbus::run(units(port, &tags)?, Clock::start(), stop.clone()));
    std::thread::sleep(Duration::from_secs(1));
    let pid = std::process::id();
    let used = Usage::of(pid).context("/proc")?;
    let (begun, before) = (Instant::now(), tags.load(Ordering::Relaxed));
    std::thread::sleep(Duration::from_secs(SECONDS.into()));
    let requests = (tags.load(Ordering::Relaxed) - before) / u64::from(QUANTITY);
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = Usage::of(pid).context("/proc")?.cpu_seconds - used.cpu_seconds;
    stop.cancel();
    runtime.block_on(driver)?;
    Ok(Done { requests, seconds, cpu_seconds })
}

/// All units are alike, down to the unit id, which the server does not look at: reading the configuration
/// of so many tags takes longer than a round.
fn units(port: u16, tags: &Arc<AtomicU64>) -> Result<Vec<driver_modbus::Unit>> {
    let machine = Machine {
        port,
        unit_id: 1,
        tags: QUANTITY * BLOCKS,
        poll_interval_ms: POLL_INTERVAL_MS,
        timeout_ms: 1_000,
    };
    let config = edge_config::read_machine(Path::new("bench.toml"), &machine.file("unit"))?;
    let edge_config::Connection::Modbus(connection) = config.connection else {
        bail!("it is a Modbus machine")
    };
    let unit = |_| driver_modbus::Unit {
        connection: connection.clone(),
        name: config.id.clone(),
        sink: Box::new(Counting { tags: Arc::clone(tags), sum: 0 }),
        counters: Arc::new(DriverCounters::default()),
    };
    Ok((0..UNITS).map(unit).collect())
}
