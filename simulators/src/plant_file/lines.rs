//! Lines that machines share, and how a machine speaks Modbus.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{Check, MachineConfig};
use crate::{
    kind::Protocol,
    modbus::READ_REGISTERS_MAX,
    mode::{Mode, ModeRequest, Subject},
};

/// Rate of a serial line if none is given.
const BAUD_RATE_DEFAULT: i64 = 19_200;
/// Rates that serial devices know, roughly; a pseudo-terminal takes any.
const BAUD_RATES: std::ops::RangeInclusive<i64> = 300..=4_000_000;
/// Longest time-out of a gateway and longest turnaround, in milliseconds.
const WAIT_MS_MAX: i64 = 60_000;
/// Time a gateway waits for a unit if nothing is given.
const UNIT_TIMEOUT_MS_DEFAULT: i64 = 500;
/// Unit ids of single machines (Modbus over Serial Line 1.02, 2.2).
const UNIT_IDS: std::ops::RangeInclusive<i64> = 1..=247;
const PTY: &str = "pty:";

/// A line that machines share: a serial line, or an address of a gateway to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineConfig {
    /// Identifier, unique among lines and machines.
    pub id: String,
    /// What is spoken on it, one of the Modbus protocols.
    pub protocol: Protocol,
    /// TCP port, 0 = any free one; without meaning for a serial line.
    pub port: u16,
    /// Device of a serial line.
    pub device: Option<SerialDevice>,
    /// How it behaves at the start.
    pub mode: Mode,
    /// How requests fare on it.
    pub options: LineOptions,
}

/// A serial device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialDevice {
    /// A pseudo-terminal that the simulator makes, found by clients under this path.
    Pty(PathBuf),
    /// A device of this host; 8 data bits, no parity, 1 stop bit.
    Path(PathBuf),
}

impl SerialDevice {
    /// What clients open.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Pty(path) | Self::Path(path) => path,
        }
    }
}

/// How requests fare on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOptions {
    /// Characters take the time of this rate; none on lines without one.
    pub baud_rate: Option<u32>,
    /// Time between a request and its answer.
    pub turnaround: Duration,
    /// Time a gateway waits for a unit that does not answer; nobody else is asked meanwhile.
    pub unit_timeout: Duration,
    /// What the client of a gateway gets then.
    pub silence: Silence,
}

/// What comes of a request to a unit that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Exception 11, gateway target device failed to respond.
    Exception,
    /// Nothing.
    Nothing,
}

/// How a machine speaks Modbus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusOptions {
    /// Its unit id, 1 to 247.
    pub unit_id: u8,
    /// Most registers it takes in one request, 1 to 125; more are answered with exception 3.
    pub max_registers: u16,
    /// Holding and input registers answered with exception 2 although they are in its map.
    pub illegal_registers: BTreeSet<u16>,
}

impl Default for ModbusOptions {
    fn default() -> Self {
        Self { unit_id: 1, max_registers: READ_REGISTERS_MAX, illegal_registers: BTreeSet::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLine {
    id: Spanned<String>,
    protocol: Spanned<String>,
    port: Option<Spanned<i64>>,
    device: Option<Spanned<String>>,
    baud_rate: Option<Spanned<i64>>,
    turnaround_ms: Option<Spanned<i64>>,
    unit_timeout_ms: Option<Spanned<i64>>,
    silent_unit: Option<Spanned<String>>,
    fault: Option<Spanned<ModeRequest>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModbus {
    unit_id: Option<Spanned<i64>>,
    max_registers: Option<Spanned<i64>>,
    #[serde(default)]
    illegal_registers: BTreeSet<u16>,
}

impl Check<'_> {
    pub(super) fn lines(&mut self, raw: &[RawLine], ports: &mut HashSet<u16>) -> Vec<LineConfig> {
        let (mut ids, mut devices) = (HashSet::new(), HashSet::new());
        let mut lines = Vec::new();
        for line in raw {
            self.id("lines.id", &line.id, &mut ids);
            let checked = self.line(line, ports);
            if let (Some(device), Some(spanned)) =
                (checked.as_ref().and_then(|l| l.device.as_ref()), &line.device)
                && !devices.insert(device.path().clone())
            {
                let value = format!("{:?}", spanned.get_ref());
                self.refuse("lines.device", spanned, value, "a device that no other line has");
            }
            lines.extend(checked);
        }
        lines
    }

    fn line(&mut self, raw: &RawLine, ports: &mut HashSet<u16>) -> Option<LineConfig> {
        let protocol = Protocol::from_slug(raw.protocol.get_ref()).filter(|protocol| protocol.is_modbus());
        let Some(protocol) = protocol else {
            let value = format!("{:?}", raw.protocol.get_ref());
            let allowed = "modbus-tcp (a gateway), modbus-rtu-over-tcp, modbus-rtu";
            self.refuse("lines.protocol", &raw.protocol, value, allowed);
            return None;
        };
        let serial = protocol == Protocol::ModbusRtu;
        self.only_if(serial, "lines.device", raw.device.as_ref(), "only with protocol = \"modbus-rtu\"");
        let tcp = "only with a protocol over TCP: a serial line has no gateway";
        self.only_if(!serial, "lines.port", raw.port.as_ref(), tcp);
        self.only_if(!serial, "lines.unit_timeout_ms", raw.unit_timeout_ms.as_ref(), tcp);
        self.only_if(!serial, "lines.silent_unit", raw.silent_unit.as_ref(), tcp);
        let device = raw.device.as_ref().filter(|_| serial).map(|text| self.device(text));
        if serial && device.is_none() {
            self.refuse("lines.device", &raw.id, "nothing", "a path, or \"pty:\" and a path");
        }
        let subject = if serial { Subject::SerialLine } else { Subject::TcpLine };
        Some(LineConfig {
            id: raw.id.get_ref().clone(),
            protocol,
            port: self.port("lines.port", raw.port.as_ref(), ports)?,
            device,
            mode: self.fault("lines.fault", raw.fault.as_ref(), subject),
            options: self.line_options(raw, serial)?,
        })
    }

    fn line_options(&mut self, raw: &RawLine, serial: bool) -> Option<LineOptions> {
        let rate = serial.then_some(BAUD_RATE_DEFAULT);
        let baud_rate = self.number("lines.baud_rate", raw.baud_rate.as_ref(), BAUD_RATES)?.or(rate);
        let millis = |number: Option<i64>| Duration::from_millis(number.unwrap_or(0).unsigned_abs());
        let turnaround = self.number("lines.turnaround_ms", raw.turnaround_ms.as_ref(), 0..=WAIT_MS_MAX)?;
        let unit_timeout =
            self.number("lines.unit_timeout_ms", raw.unit_timeout_ms.as_ref(), 0..=WAIT_MS_MAX)?;
        let waits = (!serial).then(|| unit_timeout.unwrap_or(UNIT_TIMEOUT_MS_DEFAULT));
        Some(LineOptions {
            baud_rate: baud_rate.and_then(|rate| u32::try_from(rate).ok()),
            turnaround: millis(turnaround),
            unit_timeout: millis(waits),
            silence: if serial { Silence::Nothing } else { self.silence(raw.silent_unit.as_ref())? },
        })
    }

    fn silence(&mut self, silence: Option<&Spanned<String>>) -> Option<Silence> {
        let Some(spanned) = silence else { return Some(Silence::Exception) };
        match spanned.get_ref().as_str() {
            "exception" => Some(Silence::Exception),
            "nothing" => Some(Silence::Nothing),
            other => {
                self.refuse("lines.silent_unit", spanned, format!("{other:?}"), "exception, nothing");
                None
            }
        }
    }

    fn device(&mut self, text: &Spanned<String>) -> SerialDevice {
        let (path, pty) = match text.get_ref().strip_prefix(PTY) {
            Some(path) => (path, true),
            None => (text.get_ref().as_str(), false),
        };
        if path.is_empty() {
            let value = format!("{:?}", text.get_ref());
            self.refuse("lines.device", text, value, "a path, or \"pty:\" and a path");
        }
        if pty { SerialDevice::Pty(path.into()) } else { SerialDevice::Path(path.into()) }
    }

    pub(super) fn modbus(
        &mut self,
        raw: Option<&Spanned<RawModbus>>,
        protocol: Option<Protocol>,
    ) -> ModbusOptions {
        let default = ModbusOptions::default();
        let Some(spanned) = raw else { return default };
        if protocol == Some(Protocol::Opcua) {
            self.refuse("machines.modbus", spanned, "this table", "only for a machine that speaks Modbus");
        }
        let raw = spanned.get_ref();
        let unit_id = self.number("machines.modbus.unit_id", raw.unit_id.as_ref(), UNIT_IDS).flatten();
        let registers = 1..=i64::from(READ_REGISTERS_MAX);
        let max =
            self.number("machines.modbus.max_registers", raw.max_registers.as_ref(), registers).flatten();
        ModbusOptions {
            unit_id: unit_id.and_then(|id| u8::try_from(id).ok()).unwrap_or(default.unit_id),
            max_registers: max.and_then(|max| u16::try_from(max).ok()).unwrap_or(default.max_registers),
            illegal_registers: raw.illegal_registers.clone(),
        }
    }

    /// Every line has machines, and no two of them one unit id.
    pub(super) fn units(&mut self, lines: &[LineConfig], machines: &[MachineConfig]) {
        for line in lines {
            let mut taken = HashSet::new();
            let on_line = machines.iter().filter(|machine| machine.line.as_ref() == Some(&line.id));
            let mut count = 0;
            for machine in on_line {
                count += 1;
                if !taken.insert(machine.modbus.unit_id) {
                    self.errors.push(format!(
                        "machine {:?}: machines.modbus.unit_id = {}: allowed is one that no other machine on line {:?} has",
                        machine.id, machine.modbus.unit_id, line.id
                    ));
                }
            }
            if count == 0 && self.errors.is_empty() {
                self.errors.push(format!(
                    "line {:?}: no machine has line = {:?}; leave the line out",
                    line.id, line.id
                ));
            }
        }
    }

    fn only_if<T>(&mut self, allowed: bool, key: &str, value: Option<&Spanned<T>>, rule: &str) {
        if let Some(spanned) = value.filter(|_| !allowed) {
            self.refuse(key, spanned, "something", rule);
        }
    }

    /// A number in its range, if there is one; none at all if it is out of range.
    fn number(
        &mut self,
        key: &str,
        number: Option<&Spanned<i64>>,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<Option<i64>> {
        let Some(spanned) = number else { return Some(None) };
        let value = *spanned.get_ref();
        if range.contains(&value) {
            return Some(Some(value));
        }
        self.refuse(key, spanned, value, &format!("{} to {}", range.start(), range.end()));
        None
    }
}
