//! `edge-agent scan serial`: which devices there are, and at which setting somebody answers on a line.
//!
//! A setting answers if a unit sends a frame with its own id, the function that was asked and a correct
//! checksum, an exception included, and does so again: noise seldom passes once, and not twice.

use std::io::Write;
use std::time::Duration;

use acquisition::{ModbusAddress, Parity, RegisterTable, SerialLine};
use driver_modbus::probe::{Probe, ProbeError};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::serial_devices::{Device, Places};
use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, note, print, runtime, until_ctrl_c};
use crate::cli::ScanSerialArguments;
use crate::cli::modbus::stop_bits;

/// A unit that seems to answer is asked so often in all, and must answer more often than not.
const ASKED: u8 = 3;

#[derive(Debug, Serialize)]
struct Devices {
    devices: Vec<Device>,
}

#[derive(Debug, Serialize)]
struct Sweep {
    device: String,
    /// Settings that were tried.
    tried: usize,
    /// Why not all of them were.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_early: Option<String>,
    answering: Vec<Answering>,
    /// Settings that the adapter does not have.
    skipped: Vec<Skipped>,
}

/// Somebody answers.
#[derive(Debug, Serialize)]
struct Answering {
    unit_id: u8,
    baud_rate: u32,
    parity: &'static str,
    stop_bits: u8,
    /// Answers to three requests.
    answers: u8,
    /// The same as the connection of a machine file.
    config: String,
}

#[derive(Debug, Serialize)]
struct Skipped {
    baud_rate: u32,
    parity: &'static str,
    reason: String,
}

pub(crate) fn run(arguments: &ScanSerialArguments) -> anyhow::Result<Found> {
    let places = Places::of_the_system();
    let output = Output::json(arguments.json);
    let Some(device) = &arguments.device else {
        let devices = Devices { devices: places.list() };
        print(output, &devices, write_devices)?;
        return Ok(if devices.devices.is_empty() { Found::Nothing } else { Found::Something });
    };
    let plan = Plan::new(places.lasting_name(device), arguments);
    note(&format!(
        "{} settings, {} unit ids each: about {} s; nobody else may use the line meanwhile",
        plan.lines.len(),
        plan.units.len(),
        plan.duration().as_secs_f64().ceil()
    ))?;
    let sweep = runtime()?.block_on(async { sweep(&plan, &progress(&plan), &until_ctrl_c()).await })?;
    print(output, &sweep, write_sweep)?;
    Ok(if sweep.answering.is_empty() { Found::Nothing } else { Found::Something })
}

/// What is tried.
struct Plan {
    device: String,
    lines: Vec<SerialLine>,
    units: Vec<u8>,
    limit: Duration,
}

impl Plan {
    fn new(device: String, arguments: &ScanSerialArguments) -> Self {
        let line = |(baud_rate, parity): (u32, Parity)| SerialLine {
            device: device.clone(),
            baud_rate,
            parity,
            data_bits: 8,
            // Without parity a machine with one stop bit is understood as well: a second one is a pause.
            stop_bits: stop_bits(parity),
        };
        let mut settings: Vec<(u32, Parity)> = Vec::new();
        for baud_rate in &arguments.baud_rates {
            for parity in arguments.parities.iter().copied().map(Parity::from) {
                if !settings.contains(&(*baud_rate, parity)) {
                    settings.push((*baud_rate, parity));
                }
            }
        }
        let lines = settings.into_iter().map(line).collect();
        let limit = Duration::from_millis(arguments.timeout_ms);
        Self { device, lines, units: arguments.units.0.clone(), limit }
    }

    /// What it takes if nobody answers.
    fn duration(&self) -> Duration {
        let requests = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        self.lines.iter().map(|line| (self.limit + line.duration_of(15) + line.frame_gap()) * requests).sum()
    }
}

/// Hidden by the library where there is no terminal.
fn progress(plan: &Plan) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} settings  {msg}  {elapsed}, {eta} to go");
    let bar = ProgressBar::new(plan.lines.len() as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn sweep(plan: &Plan, bar: &ProgressBar, stop: &CancellationToken) -> Result<Sweep, ProbeError> {
    let device = plan.device.clone();
    let mut sweep = Sweep { device, tried: 0, ended_early: None, answering: Vec::new(), skipped: Vec::new() };
    let walk = walk(plan, &mut sweep, bar);
    match stop.run_until_cancelled(walk).await {
        None => sweep.ended_early = Some("stopped by Ctrl-C".to_owned()),
        Some(outcome) => outcome?,
    }
    bar.finish_and_clear();
    Ok(sweep)
}

async fn walk(plan: &Plan, sweep: &mut Sweep, bar: &ProgressBar) -> Result<(), ProbeError> {
    for line in &plan.lines {
        bar.set_message(format!("{} {}", line.baud_rate, name(line.parity)));
        match try_out(plan, line, &mut sweep.answering).await {
            Ok(()) => sweep.tried += 1,
            Err(ProbeError::Open { cause, .. }) if is_unsupported(&cause) => {
                let (baud_rate, parity) = (line.baud_rate, name(line.parity));
                sweep.skipped.push(Skipped { baud_rate, parity, reason: cause.to_string() });
            }
            Err(error) if sweep.tried == 0 => return Err(error),
            Err(error) => {
                sweep.ended_early = Some(error.to_string());
                return Ok(());
            }
        }
        bar.inc(1);
    }
    Ok(())
}

/// Tells an adapter that cannot be set so from one that is not there or not ours.
fn is_unsupported(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::Other | ErrorKind::Unsupported)
}

/// # Errors
/// The line cannot be opened or broke: other units cannot be asked, either.
async fn try_out(plan: &Plan, line: &SerialLine, answering: &mut Vec<Answering>) -> Result<(), ProbeError> {
    let mut probe = Probe::new(ModbusAddress::Rtu(line.clone()), plan.limit);
    for unit in &plan.units {
        if !is_answer(probe.knock(*unit).await)? {
            continue;
        }
        let mut answers = 1;
        for _ in 1..ASKED {
            let again = probe.read(*unit, RegisterTable::HoldingRegister, 0, 1).await;
            answers += u8::from(is_answer(again.map(|_| ()))?);
        }
        if answers > ASKED / 2 {
            answering.push(Answering::new(line, *unit, answers));
        }
    }
    Ok(())
}

fn is_answer(outcome: Result<(), ProbeError>) -> Result<bool, ProbeError> {
    match outcome {
        Ok(()) | Err(ProbeError::Exception { .. }) => Ok(true),
        Err(ProbeError::Timeout { .. } | ProbeError::Answer { .. }) => Ok(false),
        // The library tells a frame that makes no sense as a broken transport.
        Err(ProbeError::Transport { cause }) if cause.kind() == std::io::ErrorKind::InvalidData => Ok(false),
        Err(
            error @ (ProbeError::Connect { .. } | ProbeError::Open { .. } | ProbeError::Transport { .. }),
        ) => Err(error),
    }
}

const fn name(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Even => "even",
        Parity::Odd => "odd",
    }
}

impl Answering {
    fn new(line: &SerialLine, unit_id: u8, answers: u8) -> Self {
        let parity = name(line.parity);
        let SerialLine { device, baud_rate, stop_bits, .. } = line;
        let config = format!(
            "[modbus_rtu]\ndevice = {device:?}\nbaud_rate = {baud_rate}\nparity = \"{parity}\"\n\
             stop_bits = {stop_bits}\nunit_id = {unit_id}\n"
        );
        Self { unit_id, baud_rate: *baud_rate, parity, stop_bits: *stop_bits, answers, config }
    }
}

fn write_devices(out: &mut dyn Write, paint: Paint, found: &Devices) -> std::io::Result<()> {
    if found.devices.is_empty() {
        return writeln!(
            out,
            "there is no serial device: plug in the adapter, then look at the end of `dmesg` for its name"
        );
    }
    let mut table = Table::new(&["device", "kernel name", "state"]);
    for device in &found.devices {
        let state = match &device.problem {
            None => Cell::toned(Tone::Good, "ready"),
            Some(problem) => Cell::toned(Tone::Bad, problem),
        };
        table.row([Cell::from(&device.device), (&device.kernel_name).into(), state]);
    }
    table.write(out, paint)?;
    match found.devices.iter().find(|d| d.problem.is_none()) {
        Some(ready) => writeln!(out, "\nnext: edge-agent scan serial --device {}", ready.device),
        None => Ok(()),
    }
}

fn write_sweep(out: &mut dyn Write, paint: Paint, sweep: &Sweep) -> std::io::Result<()> {
    writeln!(out, "{}: {} settings tried", sweep.device, sweep.tried)?;
    if let Some(reason) = &sweep.ended_early {
        writeln!(out, "{} {reason}", paint.text(Tone::Warning, "ended early:"))?;
    }
    for skipped in &sweep.skipped {
        let head = paint.text(Tone::Warning, "skipped:");
        writeln!(out, "{head} {} {}: {}", skipped.baud_rate, skipped.parity, skipped.reason)?;
    }
    let Some(first) = sweep.answering.first() else {
        let nobody = paint.text(Tone::Bad, "nobody answered:");
        return writeln!(
            out,
            "{nobody} check power, ground and that A and B are not swapped; then ask more unit ids \
             (--units 1-247) or allow more time (--timeout-ms)"
        );
    };
    let mut table = Table::new(&[">unit", ">baud rate", "parity", ">stop bits", ">answers of 3"]);
    for a in &sweep.answering {
        let numbers = [a.unit_id.into(), a.baud_rate.into(), Cell::from(a.parity)];
        table.row(numbers.into_iter().chain([a.stop_bits.into(), a.answers.into()]));
    }
    table.write(out, paint)?;
    writeln!(out, "\nfor the machine file:\n{}", first.config)
}

#[cfg(test)]
mod tests {
    use super::super::test_line::{Asked, Setting, TestLine};
    use super::*;
    use crate::cli::modbus::{ParityName, UnitIds};

    fn plan(line: &TestLine, units: std::ops::RangeInclusive<u8>) -> Plan {
        let arguments = ScanSerialArguments {
            device: None,
            units: UnitIds(units.collect()),
            baud_rates: vec![9_600, 19_200, 115_200],
            parities: vec![ParityName::Even, ParityName::None, ParityName::Odd],
            timeout_ms: 60,
            json: false,
        };
        Plan::new(line.device(), &arguments)
    }

    async fn swept(line: &TestLine) -> Sweep {
        let stop = CancellationToken::new();
        sweep(&plan(line, 1..=3), &ProgressBar::hidden(), &stop).await.expect("the line is there")
    }

    fn settings(sweep: &Sweep) -> Vec<(u8, u32, &str)> {
        sweep.answering.iter().map(|a| (a.unit_id, a.baud_rate, a.parity)).collect()
    }

    #[tokio::test]
    async fn the_one_setting_at_which_a_unit_answers_is_found_as_ready_configuration() {
        for (baud_rate, parity) in [(9_600, "odd"), (19_200, "none"), (115_200, "even")] {
            let own = Setting::of(baud_rate, parity);
            let line = TestLine::start(move |asked, setting| {
                (setting == own && asked.unit == 2).then(|| asked.registers(|address| address))
            });
            let sweep = swept(&line).await;
            assert_eq!((sweep.tried, settings(&sweep)), (9, vec![(2, baud_rate, parity)]));
            let text = format!(
                "version = 1\nid = \"m\"\n{}[[tags]]\nid = \"t\"\ndata_type = \"int\"\nholding_register = 0\n\
                 format = \"u16\"\n",
                sweep.answering[0].config
            );
            let machine = edge_config::read_machine("m.toml".as_ref(), &text).expect("ready to use");
            let edge_config::Connection::Modbus(connection) = machine.connection else { panic!("Modbus") };
            assert_eq!(connection.unit_id(), 2);
            assert!(matches!(connection.address(), ModbusAddress::Rtu(line) if line.baud_rate == baud_rate));
        }
    }

    #[tokio::test]
    async fn an_exception_is_an_answer_and_noise_is_none() {
        let line = TestLine::start(|asked: Asked, setting| match (asked.unit, setting) {
            (1, setting) if setting == Setting::of(19_200, "even") => Some(asked.exception(2)),
            // Whole frames: of another unit, of another function, with a wrong checksum, cut off.
            (2, _) => Some(Asked { unit: 9, ..asked }.registers(|_| 7)),
            (3, setting) if setting.baud_rate == 9_600 => {
                Some(Asked { function: 6, ..asked }.registers(|_| 7))
            }
            (3, setting) if setting.baud_rate == 19_200 => {
                let mut frame = asked.registers(|_| 7);
                frame[3] ^= 1;
                Some(frame)
            }
            (3, _) => Some(asked.registers(|_| 7)[..5].to_vec()),
            _ => None,
        });
        assert_eq!(settings(&swept(&line).await), [(1, 19_200, "even")]);
    }

    #[tokio::test]
    async fn a_frame_that_comes_once_and_never_again_is_chance() {
        let mut once = true;
        let line = TestLine::start(move |asked, _| {
            std::mem::take(&mut once).then(|| asked.registers(|address| address))
        });
        assert_eq!(settings(&swept(&line).await), []);
    }

    #[tokio::test]
    async fn a_sweep_that_is_stopped_keeps_what_it_has() {
        let stop = CancellationToken::new();
        let inside = stop.clone();
        let line = TestLine::start(move |asked, setting| {
            if setting.baud_rate == 19_200 {
                inside.cancel();
                return None;
            }
            (setting == Setting::of(9_600, "none") && asked.unit == 3).then(|| asked.registers(|_| 1))
        });
        let sweep = sweep(&plan(&line, 1..=3), &ProgressBar::hidden(), &stop).await.expect("there");
        assert_eq!(settings(&sweep), [(3, 9_600, "none")]);
        assert_eq!(sweep.ended_early.as_deref(), Some("stopped by Ctrl-C"));
    }

    #[tokio::test]
    async fn a_device_that_is_not_there_is_an_error_with_what_to_do() {
        let line = TestLine::start(|_, _| None);
        let plan = Plan { device: String::new(), ..plan(&line, 1..=1) };
        let lines = plan.lines.iter().map(|l| SerialLine { device: "/dev/ttyNONE9".to_owned(), ..l.clone() });
        let plan = Plan { lines: lines.collect(), ..plan };
        let stop = CancellationToken::new();
        let error = sweep(&plan, &ProgressBar::hidden(), &stop).await.expect_err("not there").to_string();
        assert!(error.contains("/dev/ttyNONE9") && error.contains("scan serial"), "{error}");
    }

    #[test]
    fn the_time_it_takes_is_known_before() {
        let plan = Plan {
            device: String::new(),
            lines: vec![SerialLine {
                device: String::new(),
                baud_rate: 1_200,
                parity: Parity::Even,
                data_bits: 8,
                stop_bits: 1,
            }],
            units: vec![1, 2],
            limit: Duration::from_millis(100),
        };
        // 15 characters and a pause of 3.5 take 170 ms at 1,200 bits per second.
        let millis = plan.duration().as_millis();
        assert!((538..=540).contains(&millis), "{millis}");
    }
}
