//! `edge-agent write`: one value into one machine, by a person who was shown what will happen.
//!
//! Order of events: the journal is opened, the old value is read, the plan is shown and confirmed, the
//! journal has it on the disk, the value is written on a fresh connection (the old one may have gone
//! stale while somebody thought), and read back. Whatever fails before the request is sent leaves the
//! machine as it was and ends with an error; afterwards the report says what the machine reads.

use std::io::{BufRead as _, IsTerminal as _, Write};

use acquisition::{ModbusTag, RegisterTable};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use driver_modbus::probe::{Probe, ProbeError};
use edge_config::{Connection, MachineConfig};
use plant_model::{DataType, Value};
use serde::Serialize;

use super::interpret::written;
use super::journal::Journal;
use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, print, runtime};
use crate::cli::{WriteModbusArguments, WriteOptions, WriteTagArguments};

/// A value on its way to a machine.
struct Order {
    target: Target,
    probe: Probe,
    tag: ModbusTag,
    value: Value,
}

/// What is written to.
#[derive(Debug, Clone, Serialize)]
struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    protocol: &'static str,
    address: String,
    unit_id: u8,
    table: &'static str,
    register: u16,
    format: &'static str,
    word_order: &'static str,
}

/// Registers and what they mean; no value if they mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Content {
    value: Option<String>,
    registers: Vec<u16>,
}

/// What will be written, or was.
#[derive(Debug, Serialize)]
struct Report {
    target: Target,
    /// `None` if it cannot be read.
    old: Option<Content>,
    new: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_back: Option<Content>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The request is about to be sent.
    Begun,
    /// The machine reads what was written.
    Written,
    /// The machine took it and reads something else.
    Differs,
    /// The machine refused, or could not be reached: it has the old value.
    Refused,
    /// It was sent, and nobody knows.
    Unknown,
}

pub(crate) fn modbus(arguments: &WriteModbusArguments) -> Result<Found> {
    let tag = arguments.tag()?;
    let limit = std::time::Duration::from_millis(arguments.timeout_ms);
    let probe = Probe::new(arguments.target.address(), limit);
    let target = Target::new(&probe, arguments.unit, &tag);
    let value = value(&arguments.value, tag.parameters().data_type)?;
    run(Order { target, probe, tag, value }, &arguments.options)
}

pub(crate) fn tag(arguments: &WriteTagArguments) -> Result<Found> {
    let config = edge_config::load(&arguments.config)?;
    let order = configured(&config.machines, arguments)?;
    run(order, &arguments.options)
}

fn configured(machines: &[MachineConfig], arguments: &WriteTagArguments) -> Result<Order> {
    let machine = machines.iter().find(|m| m.id.as_str() == arguments.machine).ok_or_else(|| {
        let known: Vec<&str> = machines.iter().map(|m| m.id.as_str()).collect();
        anyhow!("there is no machine {:?}; known are {}", arguments.machine, known.join(", "))
    })?;
    let Connection::Modbus(connection) = &machine.connection else {
        bail!("{} speaks OPC UA; only tags of Modbus machines can be written", machine.id);
    };
    let ids = machine.tags.iter().map(|t| t.definition.id.as_str());
    let index = ids.clone().position(|id| id == arguments.tag).ok_or_else(|| {
        let known: Vec<&str> = ids.collect();
        anyhow!("{} has no tag {:?}; known are {}", machine.id, arguments.tag, known.join(", "))
    })?;
    let tag = connection.tags()[index].clone();
    let probe = Probe::new(connection.address().clone(), connection.timeout());
    let probe = probe.with_pauses_of(connection.quirks());
    let target = Target {
        machine: Some(arguments.machine.clone()),
        tag: Some(arguments.tag.clone()),
        ..Target::new(&probe, connection.unit_id(), &tag)
    };
    let value = value(&arguments.value, machine.tags[index].definition.data_type)?;
    Ok(Order { target, probe, tag, value })
}

impl Target {
    fn new(probe: &Probe, unit_id: u8, tag: &ModbusTag) -> Self {
        let p = tag.parameters();
        Self {
            machine: None,
            tag: None,
            protocol: probe.address().protocol(),
            address: probe.address().to_string(),
            unit_id,
            table: p.table.name(),
            register: p.pdu_address,
            format: p.format.name(),
            word_order: p.word_order.name(),
        }
    }
}

fn value(text: &str, data_type: DataType) -> Result<Value> {
    match data_type {
        DataType::Bool => match text {
            "true" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "off" | "0" => Ok(Value::Bool(false)),
            other => bail!("--value {other:?}: true or false is needed"),
        },
        DataType::Int | DataType::Float => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Ok(Value::Int(whole)),
            (Err(_), Ok(number)) if number.is_finite() => Ok(Value::Float(number)),
            (Err(_), _) => bail!("--value {text:?}: a number is needed, with a point for decimals"),
        },
        DataType::Text => Ok(Value::Text(text.into())),
    }
}

fn run(order: Order, options: &WriteOptions) -> Result<Found> {
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    ensure!(
        options.yes || can_ask,
        "nothing was written: there is no terminal to ask at; say --yes to write"
    );
    let mut journal = Journal::open(&options.journal)?;
    let consent = |plan: &Report| {
        let mut shown = std::io::stderr().lock();
        let paint = Paint::for_terminal(shown.is_terminal());
        write_plan(&mut shown, paint, plan)?;
        if options.yes { Ok(true) } else { ask(&mut shown) }
    };
    let report = runtime()?.block_on(carry_out(order, consent, &mut journal))?;
    log(&report);
    print(Output::json(options.json), &report, write_report)?;
    match report.outcome {
        Outcome::Written => Ok(Found::Something),
        Outcome::Differs | Outcome::Unknown => Ok(Found::Nothing),
        Outcome::Refused | Outcome::Begun => bail!("nothing was written"),
    }
}

fn log(report: &Report) {
    let target = &report.target;
    tracing::info!(
        machine.id = target.machine.as_deref(),
        tag.id = target.tag.as_deref(),
        address = target.address,
        unit.id = target.unit_id,
        register = target.register,
        new = report.new.value.as_deref(),
        outcome = ?report.outcome,
        "a write to a machine by hand"
    );
}

/// Anything but a clear yes is a no.
fn ask(shown: &mut impl Write) -> Result<bool> {
    write!(shown, "\nwrite it? [y/N] ")?;
    shown.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn carry_out(
    mut order: Order,
    consent: impl FnOnce(&Report) -> Result<bool>,
    journal: &mut Journal,
) -> Result<Report> {
    let words = order.tag.encode(&order.value)?;
    let old = match order.read().await {
        Ok(old) => Some(old),
        // It can be written all the same, if whoever sees that it cannot be read wants it.
        Err(ProbeError::Exception { .. }) => None,
        Err(error) => return Err(error).context("nothing was written"),
    };
    let new = order.content(words.clone());
    let mut report = Report {
        target: order.target.clone(),
        old,
        new,
        read_back: None,
        outcome: Outcome::Begun,
        reason: None,
    };
    ensure!(consent(&report)?, "nothing was written: it was not confirmed");
    journal.add(&report).context("nothing was written")?;
    order.probe.disconnect();
    let sent = order.write(words).await;
    let read = match &sent {
        Err(error) if left_alone(error) => None,
        Ok(()) | Err(_) => order.read().await.ok(),
    };
    (report.outcome, report.reason) = judge(sent, &report.new, read.as_ref());
    report.read_back = read;
    journal.add(&report).context("the value was sent to the machine")?;
    Ok(report)
}

/// Whether the machine has certainly not taken the value.
const fn left_alone(error: &ProbeError) -> bool {
    error.is_unreachable() || matches!(error, ProbeError::Exception { .. })
}

fn judge(sent: Result<(), ProbeError>, new: &Content, read: Option<&Content>) -> (Outcome, Option<String>) {
    match (sent, read) {
        (Err(error), _) if left_alone(&error) => (Outcome::Refused, Some(error.to_string())),
        // What it reads counts, even if its confirmation was lost.
        (_, Some(read)) if read.registers == new.registers => (Outcome::Written, None),
        (Ok(()), Some(_)) => {
            (Outcome::Differs, Some("the machine took it and reads something else".to_owned()))
        }
        (Ok(()), None) => (Outcome::Unknown, Some("the machine took it and cannot be read".to_owned())),
        (Err(error), _) => (Outcome::Unknown, Some(error.to_string())),
    }
}

impl Order {
    async fn read(&mut self) -> Result<Content, ProbeError> {
        let p = self.tag.parameters();
        let quantity = self.tag.quantity();
        let words = self.probe.read(self.target.unit_id, p.table, p.pdu_address, quantity).await?;
        Ok(self.content(words))
    }

    async fn write(&mut self, words: Vec<u16>) -> Result<(), ProbeError> {
        let p = self.tag.parameters();
        self.probe.write(self.target.unit_id, p.table, p.pdu_address, words).await
    }

    fn content(&self, registers: Vec<u16>) -> Content {
        let value = self.tag.decode(&registers).ok();
        let value = value.map(|value| written(self.tag.parameters().format, Some(&value)));
        Content { value, registers }
    }
}

fn name(target: &Target) -> String {
    let place = format!(
        "{} unit {}, {} {} ({} {})",
        target.address, target.unit_id, target.table, target.register, target.format, target.word_order
    );
    match (&target.machine, &target.tag) {
        (Some(machine), Some(tag)) => format!("{machine} {tag}: {place}"),
        _ => place,
    }
}

fn write_plan(out: &mut dyn Write, paint: Paint, plan: &Report) -> std::io::Result<()> {
    writeln!(out, "{}\n", name(&plan.target))?;
    contents(plan).write(out, paint)
}

fn contents(report: &Report) -> Table {
    let bits = report.target.table == RegisterTable::Coil.name();
    let mut table = Table::new(&["", ">value", if bits { "coil" } else { "registers" }]);
    let mut row = |name: &str, content: Option<&Content>| {
        let value = content.and_then(|c| c.value.clone()).unwrap_or("-".to_owned());
        let hex = |word: &u16| if bits { word.to_string() } else { format!("{word:04X}") };
        let raw = content.map_or("cannot be read".to_owned(), |c| {
            c.registers.iter().map(hex).collect::<Vec<_>>().join(" ")
        });
        table.row([Cell::from(name), value.into(), raw.into()]);
    };
    row("old", report.old.as_ref());
    row("new", Some(&report.new));
    if !matches!(report.outcome, Outcome::Begun | Outcome::Refused) {
        row("read back", report.read_back.as_ref());
    }
    table
}

fn write_report(out: &mut dyn Write, paint: Paint, report: &Report) -> std::io::Result<()> {
    let (tone, words) = match report.outcome {
        Outcome::Written => (Tone::Good, "written, and the machine reads it"),
        Outcome::Differs => (Tone::Bad, "written, but the machine reads something else"),
        Outcome::Refused | Outcome::Begun => (Tone::Bad, "nothing was written"),
        Outcome::Unknown => (Tone::Bad, "nobody knows whether it was written; read it before writing again"),
    };
    contents(report).write(out, paint)?;
    write!(out, "{}", paint.text(tone, words))?;
    match &report.reason {
        Some(reason) => writeln!(out, ": {reason}"),
        None => writeln!(out),
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
