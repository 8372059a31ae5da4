//! What `check` says of the outputs of alarms: what switches them, how often, what becomes of them when the
//! agent stops, and what could not work.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use acquisition::{ModbusConnection, WritePath};
use alarm_output::{AlarmFilter, CommandLine, OutputRule};
use edge_config::{AgentConfig, Connection, MachineConfig, OutputConfig, OutputTarget};
use nix::unistd::{AccessFlags, access};
use plant_model::{AlarmCondition, AlarmDefinition};
use serde::Serialize;

use super::physics::{Finding, Severity};
use super::table::{Cell, Paint, Table};
use crate::outputs::described;

/// The file of the outputs.
const FILE: &str = "agent.toml";

/// A write that waits longer beside other units is worth a word: it is what an alarm may take as a rule.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// An output as it will be driven.
#[derive(Debug, Serialize)]
pub(crate) struct OutputPlan {
    pub id: String,
    pub when: &'static str,
    /// How many alarms switch it, of how many machines.
    pub alarms: usize,
    pub machines: usize,
    pub target: String,
    /// Over which connection it is written, where there is a choice.
    pub connection: Option<&'static str>,
    /// What a write waits for at most on that connection, its own time-out not included.
    pub wait_ms_max: Option<u64>,
    pub min_interval_ms: u64,
    pub max_per_minute: usize,
    pub safe: &'static str,
    pub heartbeat_s: Option<u64>,
    #[serde(skip)]
    is_at_a_machine: bool,
}

/// What becomes of each output.
pub(crate) fn plans(config: &AgentConfig) -> Vec<OutputPlan> {
    config.outputs.iter().map(|output| plan(config, output)).collect()
}

fn plan(config: &AgentConfig, output: &OutputConfig) -> OutputPlan {
    let OutputConfig { rule, target, .. } = output;
    let watched = watched(config, &rule.filter);
    let mut machines: Vec<&str> = watched.iter().map(|(m, _)| m.id.as_str()).collect();
    machines.dedup();
    let modbus = modbus(config, target);
    OutputPlan {
        id: rule.id.to_string(),
        when: rule.when.name(),
        alarms: watched.len(),
        machines: machines.len(),
        target: described(&config.machines, target),
        connection: modbus.map(|(machine, _)| config.write_path(machine).name()),
        wait_ms_max: modbus.map(|(machine, connection)| millis(wait(config, machine, connection))),
        min_interval_ms: millis(rule.pacing.min_interval()),
        max_per_minute: rule.pacing.per_minute(),
        safe: rule.safe.name(),
        heartbeat_s: rule.heartbeat.map(|every| every.as_secs()),
        is_at_a_machine: target.machine().is_some(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The alarms that switch it, in the order of their machines.
fn watched<'c>(
    config: &'c AgentConfig,
    filter: &AlarmFilter,
) -> Vec<(&'c MachineConfig, &'c AlarmDefinition)> {
    let of = |machine: &'c MachineConfig| machine.alarms.iter().map(move |alarm| (machine, alarm));
    let watches = |(machine, alarm): &(&MachineConfig, &AlarmDefinition)| {
        let key = alarm_output::AlarmKey { machine: machine.id.clone(), alarm: alarm.id.clone() };
        filter.watches(&key, alarm.priority)
    };
    config.machines.iter().flat_map(of).filter(watches).collect()
}

fn written<'c>(config: &'c AgentConfig, target: &OutputTarget) -> Option<&'c MachineConfig> {
    let id = target.machine()?;
    config.machines.iter().find(|m| m.id == *id)
}

fn modbus<'c>(
    config: &'c AgentConfig,
    target: &OutputTarget,
) -> Option<(&'c MachineConfig, &'c ModbusConnection)> {
    let machine = written(config, target)?;
    let Connection::Modbus(connection) = &machine.connection else { return None };
    Some((machine, connection))
}

/// On a shared connection the request under way is waited for: at worst the time-out of another unit.
fn wait(config: &AgentConfig, machine: &MachineConfig, connection: &ModbusConnection) -> Duration {
    let timeout = |other: &MachineConfig| match &other.connection {
        Connection::Modbus(c) if c.address() == connection.address() && other.id != machine.id => {
            Some(c.timeout())
        }
        Connection::Modbus(_) | Connection::OpcUa(_) | Connection::Gateway => None,
    };
    match config.write_path(machine) {
        WritePath::Own => Duration::ZERO,
        WritePath::Shared => config.machines.iter().filter_map(timeout).max().unwrap_or_default(),
    }
}

/// What could not work, or hardly.
pub(crate) fn findings(config: &AgentConfig) -> Vec<Finding> {
    let of = |output: &OutputConfig| {
        let problems = problems(config, output);
        let finding = |message: String| Finding {
            severity: Severity::Warning,
            file: FILE.to_owned(),
            line: Some(output.line),
            message: format!("output {}: {message}", output.rule.id),
        };
        problems.into_iter().map(finding).collect::<Vec<_>>()
    };
    config.outputs.iter().flat_map(of).collect()
}

fn problems(config: &AgentConfig, output: &OutputConfig) -> Vec<String> {
    let OutputConfig { rule, target, .. } = output;
    let mut problems: Vec<String> = without_alarms(config, rule).into_iter().collect();
    problems.extend(lost_with_its_machine(config, output));
    problems.extend(slow(config, target));
    match target {
        OutputTarget::Tag(_) | OutputTarget::Method(_) => {}
        OutputTarget::Webhook(webhook) => {
            let unusable = |ca: &Path| alarm_output_driver::check_authority(ca).err();
            problems.extend(webhook.ca_file().and_then(unusable).map(|error| error.to_string()));
        }
        OutputTarget::Command { on, off, .. } => {
            problems.extend(not_runnable(on));
            problems.extend(not_runnable(off).filter(|_| on.program() != off.program()));
        }
    }
    problems
}

fn without_alarms(config: &AgentConfig, rule: &OutputRule) -> Option<String> {
    watched(config, &rule.filter).is_empty().then(|| {
        format!(
            "no alarm ever switches it: none of the alarms it may listen to has priority {} or above",
            rule.filter.priority.name()
        )
    })
}

/// An alarm that says that a machine is lost cannot switch something at that machine.
fn lost_with_its_machine(config: &AgentConfig, output: &OutputConfig) -> Option<String> {
    let machine = written(config, &output.target)?;
    let watched = watched(config, &output.rule.filter);
    let is_lost = |(of, alarm): &(&MachineConfig, &AlarmDefinition)| {
        of.id == machine.id && alarm.condition == AlarmCondition::Communication
    };
    (!watched.is_empty() && watched.iter().all(is_lost)).then(|| {
        format!(
            "its only alarm says that {} is lost, and then nothing can be switched at {}: use the output of another \
             machine, a webhook or a command",
            machine.id, machine.id
        )
    })
}

fn slow(config: &AgentConfig, target: &OutputTarget) -> Option<String> {
    let (machine, connection) = modbus(config, target)?;
    let wait = wait(config, machine, connection);
    let remedy = match connection.address() {
        acquisition::ModbusAddress::Tcp { .. } => {
            "set output_connection = \"own\" if the device serves two connections, or lower timeout_ms of the others"
        }
        acquisition::ModbusAddress::RtuOverTcp { .. } | acquisition::ModbusAddress::Rtu(_) => {
            "lower timeout_ms of the others"
        }
    };
    (wait > WAIT_MAX).then(|| {
        format!(
            "a write to {} waits up to {} ms while another unit on its connection is silent: {remedy}",
            machine.id,
            millis(wait)
        )
    })
}

fn not_runnable(line: &CommandLine) -> Option<String> {
    let program = line.program();
    let refused = access(program, AccessFlags::X_OK).err();
    let is_file = program.metadata().is_ok_and(|m| m.is_file());
    match (refused, is_file) {
        (Some(error), _) => Some(format!("{} cannot be run here: {}", program.display(), error.desc())),
        (None, false) => Some(format!("{} cannot be run: it is no file", program.display())),
        (None, true) => None,
    }
}

/// Writes the outputs as a table.
pub(crate) fn write(out: &mut dyn Write, paint: Paint, plans: &[OutputPlan]) -> std::io::Result<()> {
    if plans.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table(plans).write(out, paint)?;
    let is_unwatched = |plan: &OutputPlan| plan.is_at_a_machine && plan.heartbeat_s.is_none();
    if plans.iter().any(is_unwatched) {
        writeln!(out, "an output without heartbeat stays as it is when the gateway fails")?;
    }
    Ok(())
}

fn table(plans: &[OutputPlan]) -> Table {
    let mut table = Table::new(&[
        "output",
        "on while",
        ">alarms",
        "switches",
        "connection",
        ">pace",
        "at a stop",
        "heartbeat",
    ]);
    for plan in plans {
        let connection = match (plan.connection, plan.wait_ms_max) {
            (Some(name), Some(ms @ 1..)) => format!("{name}, waits <= {ms} ms"),
            (Some(name), _) => name.to_owned(),
            (None, _) => "-".to_owned(),
        };
        let beat = plan.heartbeat_s.map_or_else(|| "-".to_owned(), |s| format!("every {s} s"));
        table.row([
            Cell::from(&plan.id),
            plan.when.into(),
            format!("{} of {} machines", plan.alarms, plan.machines).into(),
            (&plan.target).into(),
            connection.into(),
            format!("{} ms, {}/min", plan.min_interval_ms, plan.max_per_minute).into(),
            plan.safe.into(),
            beat.into(),
        ]);
    }
    table
}

#[cfg(test)]
#[path = "output_plan_tests.rs"]
mod tests;
