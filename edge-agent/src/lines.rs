//! The connections to machines, each served by a task of its own, and what makes one begin anew.
//!
//! A line is a Modbus address with all units behind it, an OPC UA session, a connection on which only outputs write, or
//! the gateway itself. A reload leaves a line alone whose [`Plan`] stays: alarms, names, units and budgets can change
//! while a machine is read on. Else the task finishes the request under way and ends, and another begins with the new
//! plan: a unit on the same line misses at most what falls due in that moment, one on another line nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use acquisition::{DriverCounters, ModbusAddress, OnChange, WritePath};
use edge_config::{AgentConfig, Connection, MachineConfig};
use plant_model::{MachineId, TagId};
use tokio::runtime::Handle;

use crate::gateway::{self, Gauges};
use crate::outputs::Writer;
use crate::sink::Sink;
use crate::task::Task;

/// The name of a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// Machines that share an address.
    Bus(ModbusAddress),
    /// A session of a machine.
    Session(MachineId),
    /// A connection of a machine for writes alone.
    Beside(MachineId),
    /// The gateway measures itself.
    Gateway,
}

/// What a line is there for. Only one that is written to can be written to at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plan {
    units: Vec<Unit>,
    is_written: bool,
}

/// A machine on a line, with all that the task on the line depends on.
#[derive(Debug, Clone, PartialEq)]
struct Unit {
    machine: MachineId,
    connection: Connection,
    tags: Vec<(TagId, Option<OnChange>)>,
}

impl Unit {
    fn of(machine: &MachineConfig) -> Self {
        let tags = machine.tags.iter().map(|tag| (tag.definition.id.clone(), tag.report));
        let (id, connection) = (machine.id.clone(), machine.connection.clone());
        Self { machine: id, connection, tags: tags.collect() }
    }
}

/// The lines of a configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plans {
    pub lines: HashMap<Line, Plan>,
    /// The line on which each machine is written that is written to.
    written: HashMap<MachineId, Line>,
}

impl Plans {
    pub(crate) fn of(config: &AgentConfig) -> Self {
        let mut plans = Self::default();
        for machine in &config.machines {
            let plan = plans.lines.entry(read_on(machine)).or_default();
            plan.units.push(Unit::of(machine));
        }
        let targets = config.outputs.iter().filter_map(|output| output.target.machine());
        let targets = targets.chain(config.commands.write_tags.iter().map(|tag| &tag.machine));
        let targets: HashSet<&MachineId> = targets.collect();
        for machine in config.machines.iter().filter(|m| targets.contains(&m.id)) {
            let line = match (&machine.connection, config.write_path(machine)) {
                (Connection::Modbus(_), WritePath::Own) => Line::Beside(machine.id.clone()),
                (Connection::Modbus(_), WritePath::Shared) | (Connection::OpcUa(_), _) => read_on(machine),
                (Connection::Gateway, _) => continue,
            };
            let plan = plans.lines.entry(line.clone()).or_default();
            plan.is_written = true;
            if let Line::Beside(_) = line {
                plan.units.push(Unit::of(machine));
            }
            plans.written.insert(machine.id.clone(), line);
        }
        plans
    }

    /// The machines that are read over a line that is not there, or not so, in `before`.
    pub(crate) fn read_anew(&self, before: &Self) -> HashSet<MachineId> {
        let is_new = |line: &Line, plan: &Plan| {
            !matches!(line, Line::Beside(_)) && before.lines.get(line) != Some(plan)
        };
        let new = self.lines.iter().filter(|(line, plan)| is_new(line, plan));
        new.flat_map(|(_, plan)| plan.units.iter().map(|unit| unit.machine.clone())).collect()
    }

    /// The line on which a machine is read, and all machines that are read there.
    pub(crate) fn read_with(&self, machine: &MachineId) -> Option<(Line, Vec<MachineId>)> {
        let is_there = |(line, plan): &(&Line, &Plan)| {
            !matches!(line, Line::Beside(_)) && plan.units.iter().any(|unit| unit.machine == *machine)
        };
        let (line, plan) = self.lines.iter().find(is_there)?;
        Some((line.clone(), plan.units.iter().map(|unit| unit.machine.clone()).collect()))
    }

    /// The writers for the machines that are written to.
    pub(crate) fn writers(&self, running: &HashMap<Line, RunningLine>) -> HashMap<MachineId, Writer> {
        let writer = |line| running.get(line).and_then(|line: &RunningLine| line.writer.clone());
        self.written.iter().filter_map(|(id, line)| Some((id.clone(), writer(line)?))).collect()
    }
}

/// The line on which a machine is read.
fn read_on(machine: &MachineConfig) -> Line {
    match &machine.connection {
        Connection::Modbus(connection) => Line::Bus(connection.address().clone()),
        Connection::OpcUa(_) => Line::Session(machine.id.clone()),
        Connection::Gateway => Line::Gateway,
    }
}

/// A line that is served.
pub(crate) struct RunningLine {
    pub task: Task,
    writer: Option<Writer>,
}

/// Where the readings of a machine go, and what counts them.
pub(crate) type Destination = (Sink, Arc<DriverCounters>);

/// What a task on a line is made of.
pub(crate) struct LineParts<'a> {
    pub sense: &'a Handle,
    pub clock: service_kit::Clock,
    pub identity: &'a Arc<driver_opcua::Identity>,
    pub gauges: &'a dyn Fn() -> Gauges,
    /// Where the readings of a machine go.
    pub sink: &'a dyn Fn(&MachineId) -> Option<Destination>,
}

impl LineParts<'_> {
    /// Serves a line; `None` for one on which there is nobody.
    pub(crate) fn start(&self, line: &Line, plan: &Plan) -> Option<RunningLine> {
        match line {
            Line::Bus(_) => Some(self.start_bus(plan)),
            Line::Session(_) => self.start_session(plan.units.first()?, plan.is_written),
            Line::Beside(_) => self.start_beside(plan.units.first()?),
            Line::Gateway => {
                let (sink, counters) = (self.sink)(&plan.units.first()?.machine)?;
                let run = |stop| gateway::run((self.gauges)(), Box::new(sink), counters, stop);
                Some(RunningLine { task: Task::spawn(self.sense, run), writer: None })
            }
        }
    }

    fn start_bus(&self, plan: &Plan) -> RunningLine {
        let unit = |unit: &Unit| {
            let Connection::Modbus(connection) = unit.connection.clone() else { return None };
            let (sink, counters) = (self.sink)(&unit.machine)?;
            let name = unit.machine.clone();
            Some(driver_modbus::Unit { connection, name, sink: Box::new(sink), counters })
        };
        let units = plan.units.iter().filter_map(unit).collect();
        let (writer, queue) = driver_modbus::write_queue();
        let (writer, queue) = match plan.is_written {
            true => (Some(Writer::Modbus(writer)), queue),
            false => (None, driver_modbus::WriteQueue::default()),
        };
        let run = |stop| driver_modbus::run_with_writes(units, queue, self.clock, stop);
        RunningLine { task: Task::spawn(self.sense, run), writer }
    }

    fn start_beside(&self, unit: &Unit) -> Option<RunningLine> {
        let Connection::Modbus(connection) = unit.connection.clone() else { return None };
        let (writer, queue) = driver_modbus::write_queue();
        let run = |stop| driver_modbus::run_writes(connection, unit.machine.clone(), queue, self.clock, stop);
        Some(RunningLine { task: Task::spawn(self.sense, run), writer: Some(Writer::Modbus(writer)) })
    }

    fn start_session(&self, unit: &Unit, is_written: bool) -> Option<RunningLine> {
        let Connection::OpcUa(connection) = unit.connection.clone() else { return None };
        let (sink, counters) = (self.sink)(&unit.machine)?;
        let (writer, queue) = driver_opcua::write_queue();
        let (writer, queue) = match is_written {
            true => (Some(Writer::OpcUa(writer)), queue),
            false => (None, driver_opcua::WriteQueue::default()),
        };
        let (id, identity) = (unit.machine.clone(), Arc::clone(self.identity));
        let run = |stop| {
            let sink = Box::new(sink);
            driver_opcua::run_with_writes(connection, id, identity, sink, queue, self.clock, counters, stop)
        };
        Some(RunningLine { task: Task::spawn(self.sense, run), writer })
    }
}
