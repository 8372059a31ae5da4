//! `edge-agent scan`: who answers behind an address, what they can do and how fast.
//!
//! A unit answers if anything comes back that is valid, an exception included. The exceptions 0A and
//! 0B come from a gateway in front and mean the opposite: nobody is there.

use std::io::Write;
use std::time::{Duration, Instant};

use acquisition::RegisterTable;
use driver_modbus::probe::{Probe, ProbeError};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, print, runtime, until_ctrl_c};
use crate::cli::ScanModbusArguments;

/// Requests whose time is taken, for each unit.
const TIMED: usize = 25;

/// Where machines usually have registers; asked in this order until one is there.
const USUAL_ADDRESSES: [u16; 8] = [0, 1, 10, 100, 256, 1_000, 4_096, 40_000];

/// So many connections in a row that cannot be made mean that nobody is there any more.
const CONNECT_FAILURES_MAX: usize = 3;

#[derive(Debug, Serialize)]
struct Scan {
    protocol: &'static str,
    address: String,
    /// How many unit ids were asked.
    asked: usize,
    /// Why not all of them were.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_early: Option<String>,
    units: Vec<Unit>,
    /// Units for which a gateway answered that they are not there.
    behind_gateway_silent: Vec<u8>,
    hints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Unit {
    unit_id: u8,
    /// Function codes of reading that it knows.
    function_codes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readable: Option<Readable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_ms: Option<Histogram>,
}

/// Where registers were found.
#[derive(Debug, Serialize)]
struct Readable {
    table: &'static str,
    start: u16,
    /// The most registers one request can ask for there.
    quantity_max: u16,
}

#[derive(Debug, Serialize, PartialEq)]
struct Histogram {
    requests: usize,
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

pub(crate) fn modbus(arguments: &ScanModbusArguments) -> anyhow::Result<Found> {
    let scan = runtime()?
        .block_on(async { scan(arguments, &progress(arguments.units.0.len()), &until_ctrl_c()).await })?;
    print(Output::json(arguments.json), &scan, write)?;
    Ok(if scan.units.is_empty() { Found::Nothing } else { Found::Something })
}

/// Hidden by the library where there is no terminal.
fn progress(units: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} unit ids  {msg}  {elapsed}, {eta} to go");
    let bar = ProgressBar::new(units as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn scan(
    arguments: &ScanModbusArguments,
    bar: &ProgressBar,
    stop: &CancellationToken,
) -> Result<Scan, ProbeError> {
    let mut probe = Probe::new(arguments.target.address(), Duration::from_millis(arguments.timeout_ms));
    let mut scan = Scan {
        protocol: probe.address().protocol(),
        address: probe.address().to_string(),
        asked: 0,
        ended_early: None,
        units: Vec::new(),
        behind_gateway_silent: Vec::new(),
        hints: Vec::new(),
    };
    let walk = walk(&mut scan, &mut probe, &arguments.units.0, bar);
    match stop.run_until_cancelled(walk).await {
        None => scan.ended_early = Some("stopped by Ctrl-C".to_owned()),
        Some(outcome) => outcome?,
    }
    bar.finish_and_clear();
    scan.hints = hints(&scan);
    Ok(scan)
}

async fn walk(scan: &mut Scan, probe: &mut Probe, units: &[u8], bar: &ProgressBar) -> Result<(), ProbeError> {
    let mut failures = 0;
    for unit in units {
        let outcome = probe.knock(*unit).await;
        scan.asked += 1;
        bar.inc(1);
        failures = if outcome.as_ref().is_err_and(ProbeError::is_unreachable) { failures + 1 } else { 0 };
        match outcome {
            Err(error) if error.is_unreachable() && scan.asked == 1 => return Err(error),
            Err(error) if failures == CONNECT_FAILURES_MAX => {
                scan.ended_early = Some(error.to_string());
                return Ok(());
            }
            Err(ProbeError::Exception { code: 0x0A | 0x0B, .. }) => scan.behind_gateway_silent.push(*unit),
            Ok(_) | Err(ProbeError::Exception { .. }) => {
                // Known before it is examined: an examination that is stopped must not lose it.
                scan.units.push(Unit::answering(*unit));
                bar.set_message(format!("{} answer", scan.units.len()));
                if let Some(known) = scan.units.last_mut() {
                    examine(known, probe).await;
                }
            }
            Err(
                ProbeError::Connect { .. }
                | ProbeError::Open { .. }
                | ProbeError::Timeout { .. }
                | ProbeError::Transport { .. }
                | ProbeError::Answer { .. },
            ) => {}
        }
    }
    Ok(())
}

impl Unit {
    const fn answering(unit_id: u8) -> Self {
        Self { unit_id, function_codes: Vec::new(), readable: None, response_ms: None }
    }
}

async fn examine(unit: &mut Unit, probe: &mut Probe) {
    for (code, table) in (1..).zip(RegisterTable::ALL) {
        match probe.read(unit.unit_id, table, 0, 1).await {
            Ok(_) => unit.function_codes.push(code),
            // It knows the function and refuses something else.
            Err(ProbeError::Exception { code: refusal, .. }) if refusal != 1 => {
                unit.function_codes.push(code)
            }
            Err(_) => {}
        }
    }
    let Some((table, start)) = readable(unit.unit_id, probe).await else { return };
    let quantity_max = largest(unit.unit_id, probe, table, start).await;
    unit.readable = Some(Readable { table: table.name(), start, quantity_max });
    unit.response_ms = timed(unit.unit_id, probe, table, start).await;
}

async fn readable(unit: u8, probe: &mut Probe) -> Option<(RegisterTable, u16)> {
    for table in [RegisterTable::HoldingRegister, RegisterTable::InputRegister] {
        for start in USUAL_ADDRESSES {
            if probe.read(unit, table, start, 1).await.is_ok() {
                return Some((table, start));
            }
        }
    }
    None
}

/// Halves the range in which the limit lies: one register is known to be readable.
async fn largest(unit: u8, probe: &mut Probe, table: RegisterTable, start: u16) -> u16 {
    const MOST: u16 = 125;
    if probe.read(unit, table, start, MOST).await.is_ok() {
        return MOST;
    }
    let (mut possible, mut refused) = (1, MOST);
    while refused - possible > 1 {
        let middle = possible.midpoint(refused);
        match probe.read(unit, table, start, middle).await {
            Ok(_) => possible = middle,
            Err(_) => refused = middle,
        }
    }
    possible
}

async fn timed(unit: u8, probe: &mut Probe, table: RegisterTable, start: u16) -> Option<Histogram> {
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let begun = Instant::now();
        if probe.read(unit, table, start, 1).await.is_ok() {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    Histogram::of(times)
}

impl Histogram {
    fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let (min, max) = (*times.first()?, *times.last()?);
        // Nearest rank.
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { requests: times.len(), min, p50: rank(50), p99: rank(99), max })
    }
}

fn hints(scan: &Scan) -> Vec<String> {
    let mut hints = Vec::new();
    if scan.units.is_empty() {
        hints.push(format!("no unit answered: try a longer --timeout-ms, {}", silence(scan.protocol)));
    }
    if scan.units.len() > 1 && scan.units.len() == scan.asked {
        hints.push("every unit id answered: this machine ignores the unit id; configure 1 or 255".to_owned());
    }
    if !scan.behind_gateway_silent.is_empty() {
        hints.push(format!(
            "a gateway answered for {} unit ids that nobody is there: check wiring and baud rate behind it if one \
             of them should",
            scan.behind_gateway_silent.len()
        ));
    }
    hints
}

fn silence(protocol: &str) -> &'static str {
    match protocol {
        "modbus-rtu" => {
            "check that A and B are not swapped, and find bit rate and parity with `edge-agent scan serial`"
        }
        "modbus-rtu-over-tcp" => {
            "check bit rate and parity in the device server, and whether it speaks Modbus TCP instead"
        }
        _ => "unit ids 0 and 255, and check that this port speaks Modbus TCP (else --rtu-over-tcp)",
    }
}

fn write(out: &mut dyn Write, paint: Paint, scan: &Scan) -> std::io::Result<()> {
    let found = format!("{} of {} unit ids answered", scan.units.len(), scan.asked);
    writeln!(out, "{}: {found}", scan.address)?;
    if let Some(reason) = &scan.ended_early {
        writeln!(out, "{} {reason}", paint.text(Tone::Warning, "ended early:"))?;
    }
    if !scan.units.is_empty() {
        units(&scan.units).write(out, paint)?;
    }
    for hint in &scan.hints {
        writeln!(out, "{} {hint}", paint.text(Tone::Warning, "hint:"))?;
    }
    Ok(())
}

fn units(units: &[Unit]) -> Table {
    let mut table = Table::new(&[
        ">unit",
        "function codes",
        "registers found at",
        ">largest block",
        ">min ms",
        ">p50 ms",
        ">p99 ms",
        ">max ms",
    ]);
    for unit in units {
        let codes: Vec<String> = unit.function_codes.iter().map(ToString::to_string).collect();
        let place = unit.readable.as_ref().map_or("-".to_owned(), |r| format!("{} {}", r.table, r.start));
        let block = unit.readable.as_ref().map_or("-".to_owned(), |r| r.quantity_max.to_string());
        let time = |get: fn(&Histogram) -> f64| {
            Cell::from(unit.response_ms.as_ref().map_or("-".to_owned(), |h| format!("{:.2}", get(h))))
        };
        let times = [time(|h| h.min), time(|h| h.p50), time(|h| h.p99), time(|h| h.max)];
        let front = [unit.unit_id.into(), codes.join(", ").into(), place.into(), Cell::from(block)];
        table.row(front.into_iter().chain(times));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::test_server::TestServer;
    use super::*;
    use crate::cli::modbus::{ModbusTarget, UnitIds};

    fn arguments(port: u16, units: impl IntoIterator<Item = u8>) -> ScanModbusArguments {
        ScanModbusArguments {
            target: ModbusTarget::local(port),
            units: UnitIds(units.into_iter().collect()),
            timeout_ms: 100,
            json: false,
        }
    }

    async fn scanned(port: u16, units: impl IntoIterator<Item = u8>) -> Scan {
        let bar = ProgressBar::hidden();
        scan(&arguments(port, units), &bar, &CancellationToken::new()).await.expect("it can be reached")
    }

    #[tokio::test]
    async fn f7_a_scan_finds_units_function_codes_largest_block_and_response_times() {
        let server = TestServer::start(|asked| match (asked.unit, asked.function) {
            // 20 registers from address 10 on; no coils.
            (3, 3) if asked.address < 10 => Some(asked.exception(2)),
            (3, 3) if asked.address == 10 && asked.quantity <= 20 => Some(asked.registers(|a| a)),
            (3, 3) => Some(asked.exception(3)),
            (3, _) => Some(asked.exception(1)),
            // Refuses everything: it is there all the same.
            (5, _) => Some(asked.exception(4)),
            (6, _) => Some(asked.exception(0x0B)),
            _ => None,
        })
        .await;
        let scan = scanned(server.port, 1..=7).await;
        assert_eq!(scan.units.iter().map(|u| u.unit_id).collect::<Vec<_>>(), [3, 5]);
        assert_eq!((scan.asked, scan.behind_gateway_silent.as_slice()), (7, &[6][..]));
        let unit = &scan.units[0];
        assert_eq!(unit.function_codes, [3]);
        let readable = unit.readable.as_ref().expect("found");
        assert_eq!((readable.table, readable.start, readable.quantity_max), ("holding_register", 10, 20));
        let times = unit.response_ms.as_ref().expect("timed");
        assert_eq!(times.requests, TIMED);
        assert!(times.min <= times.p50 && times.p50 <= times.p99 && times.p99 <= times.max, "{times:?}");
        assert!(scan.units[1].readable.is_none());
    }

    #[tokio::test]
    async fn a_scan_that_is_stopped_keeps_what_it_has() {
        let stop = CancellationToken::new();
        let inside = stop.clone();
        let server = TestServer::start(move |asked| {
            if asked.unit == 2 {
                inside.cancel();
                return None;
            }
            Some(asked.registers(|a| a))
        })
        .await;
        let scan =
            scan(&arguments(server.port, 1..=247), &ProgressBar::hidden(), &stop).await.expect("reached");
        assert_eq!(scan.units.iter().map(|u| u.unit_id).collect::<Vec<_>>(), [1]);
        assert_eq!(scan.ended_early.as_deref(), Some("stopped by Ctrl-C"));
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_an_error_with_what_to_check() {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listener.local_addr().expect("bound").port()
        };
        let bar = ProgressBar::hidden();
        let error = scan(&arguments(port, [1]), &bar, &CancellationToken::new()).await.expect_err("refused");
        assert!(error.to_string().contains("check power, cable, address"), "{error}");
    }

    #[tokio::test]
    async fn a_machine_that_ignores_the_unit_id_is_recognised() {
        let server = TestServer::start(|asked| Some(asked.registers(|a| a))).await;
        let scan = scanned(server.port, 1..=3).await;
        assert_eq!(scan.units[2].readable.as_ref().expect("found").quantity_max, 125);
        assert!(scan.hints[0].contains("ignores the unit id"), "{:?}", scan.hints);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let histogram = Histogram::of((1..=100).rev().map(f64::from).collect()).expect("some");
        assert_eq!(histogram, Histogram { requests: 100, min: 1.0, p50: 50.0, p99: 99.0, max: 100.0 });
        assert_eq!(Histogram::of(Vec::new()), None);
    }
}
