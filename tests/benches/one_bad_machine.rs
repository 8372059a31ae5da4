//! What bad machines cost the others (field cases B1 and B2): a real agent, and a server in another
//! process that notes when each request came.
//!
//! `cargo bench -p factory-tests --bench one_bad_machine`, after `cargo build --release --bins`.

use std::time::Duration;

use anyhow::Result;
use factory_tests::api::now_us;
use factory_tests::load::agent::{Agent, Machine};
use factory_tests::load::server::{self, Behaviour, Server};
use factory_tests::load::table::{Table, say};
use factory_tests::load::timing::{Kept, judge};
use factory_tests::load::{Role, role, runtime};

const MACHINES: usize = 15;
const TAGS: u16 = 20;
/// How long the agent may take to find out who is dead.
const SETTLE: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(async {
            addresses().await?;
            units().await
        }),
        Role::Serve(listeners) => server::serve(&listeners),
        Role::Part(..) | Role::Nothing => Ok(()),
    }
}

/// B1: 15 addresses, polled every 100 ms.
async fn addresses() -> Result<()> {
    const PERIOD_MS: u64 = 100;
    let bad = [Behaviour::Refuse, Behaviour::Mute, Behaviour::BlackHole, Behaviour::SlowMs(350)];
    let mut table = Table::new(&HEADINGS);
    for (name, bad) in [("nobody bad", &bad[..0]), ("3 dead, 1 slow (350 ms)", &bad[..])] {
        let healthy = MACHINES - bad.len();
        let mut listeners = vec![Behaviour::Healthy; healthy];
        listeners.extend_from_slice(bad);
        let mut server = Server::start(&listeners)?;
        let machine =
            |port| Machine { port, unit_id: 1, tags: TAGS, poll_interval_ms: PERIOD_MS, timeout_ms: 1_000 };
        let machines: Vec<Machine> = server.ports.iter().map(|port| machine(*port)).collect();
        let [early, settled] = watch(&mut server, &machines, |arrivals, from, to| {
            let mut kept = Kept::default();
            for of_machine in &arrivals[..healthy] {
                kept.add(&judge(of_machine, 1, micros(PERIOD_MS), from, to));
            }
            kept
        })
        .await?;
        table.row(&row(name, &early, &settled));
    }
    table.print("B1: polls of the healthy among 15 machines, 20 tags every 100 ms, time-out 1 s");
    Ok(())
}

/// B2: 15 units behind one address, polled every second.
async fn units() -> Result<()> {
    const PERIOD_MS: u64 = 1_000;
    let mut table = Table::new(&HEADINGS);
    for silent in 0..=5_u8 {
        let dead: Vec<u8> = (1..=silent).collect();
        let mut server = Server::start(&[Behaviour::SilentUnits(dead)])?;
        let port = server.ports[0];
        let machine =
            |unit_id| Machine { port, unit_id, tags: TAGS, poll_interval_ms: PERIOD_MS, timeout_ms: 1_000 };
        let machines: Vec<Machine> = (1..=15).map(machine).collect();
        let healthy = MACHINES - usize::from(silent);
        let [early, settled] = watch(&mut server, &machines, |arrivals, from, to| {
            let live: Vec<_> = arrivals[0].iter().filter(|(unit, ..)| *unit > silent).copied().collect();
            judge(&live, healthy, micros(PERIOD_MS), from, to)
        })
        .await?;
        table.row(&row(&format!("{silent} silent"), &early, &settled));
    }
    table.print(
        "B2: polls of the healthy among 15 units behind one address, 20 tags every second, time-out 1 s",
    );
    Ok(())
}

const HEADINGS: [&str; 6] =
    ["", "polls done, first 10 s, %", "polls done, then, %", "off schedule p50, ms", "p99, ms", "max, ms"];

fn row(name: &str, early: &Kept, settled: &Kept) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{:.2}", early.percent()),
        format!("{:.2} ({} of {})", settled.percent(), settled.done, settled.due),
        format!("{:.2}", settled.off_ms(0.5)),
        format!("{:.2}", settled.off_ms(0.99)),
        format!("{:.2}", settled.off_ms(1.0)),
    ]
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis * 1_000).unwrap_or(i64::MAX)
}

/// Runs an agent for these machines and judges the time in which it settles, and the time after it.
async fn watch(
    server: &mut Server,
    machines: &[Machine],
    judged: impl Fn(&[Vec<server::Arrival>], i64, i64) -> Kept,
) -> Result<[Kept; 2]> {
    let folder = tempfile::tempdir()?;
    let agent = Agent::start(folder.path(), machines).await?;
    let begun = now_us();
    tokio::time::sleep(SETTLE).await;
    let settled = now_us();
    tokio::time::sleep(WINDOW).await;
    let ended = now_us();
    let arrivals = server.take_arrivals()?;
    let usage = agent.usage()?;
    say(&format!("agent: {:.1} MiB, {:.2} s of processor time", usage.rss_mib, usage.cpu_seconds));
    Ok([judged(&arrivals, begun, settled), judged(&arrivals, settled, ended)])
}
