//! Tags with alarms are acquired as often as their latency budgets need, whatever their files say.
//!
//! The files stay as they are; what was raised is told by `check` and in the log. Where no rate is fast
//! enough nothing is raised, and `check` says why the alarm is late.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use acquisition::{AlarmedTag, AlarmedUnit, ModbusAddress, ModbusConnection, TagIndex, raise_rates};
use alarm_engine::Expression;
use plant_model::{MachineId, TagId};

use crate::{AgentConfig, Connection, MachineConfig};

/// Tags of a machine that are acquired more often than configured, because alarms watch them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaisedRate {
    /// The machine.
    pub machine: MachineId,
    /// The tags with alarms. On an OPC UA session the others are sampled as often as they are.
    pub tags: Vec<TagId>,
    /// The longest interval that is configured for one of them.
    pub configured: Duration,
    /// The interval in use.
    pub interval: Duration,
}

/// Raises the rates of tags with alarms to what their budgets need, in the order of the machines.
pub(crate) fn raise(agent: &mut AgentConfig) -> Vec<RaisedRate> {
    let (usual, silent_units) = (agent.alarm_latency_budget, agent.silent_units);
    let machines = &mut agent.machines;
    let mut buses: HashMap<ModbusAddress, Vec<usize>> = HashMap::new();
    let mut raised: BTreeMap<usize, RaisedRate> = BTreeMap::new();
    for (number, machine) in machines.iter_mut().enumerate() {
        match &machine.connection {
            Connection::Modbus(unit) => buses.entry(unit.address().clone()).or_default().push(number),
            Connection::OpcUa(_) => raised.extend(raise_session(machine, usual).map(|r| (number, r))),
            Connection::Gateway => {}
        }
    }
    for numbers in buses.values() {
        raise_bus(machines, numbers, (usual, silent_units), &mut raised);
    }
    raised.into_values().collect()
}

/// A session has one sampling interval: the shortest budget that it can keep decides.
fn raise_session(machine: &mut MachineConfig, usual: Duration) -> Option<RaisedRate> {
    let Connection::OpcUa(session) = &machine.connection else { return None };
    let alarmed = alarmed(machine, usual);
    let budgets: BTreeSet<Duration> = alarmed.iter().map(|a| a.budget).collect();
    let faster = budgets.into_iter().find_map(|budget| session.raised_for(budget))?;
    let rate = RaisedRate {
        machine: machine.id.clone(),
        tags: alarmed.iter().map(|a| machine.tags[a.tag.as_usize()].definition.id.clone()).collect(),
        configured: session.sampling_interval(),
        interval: faster.sampling_interval(),
    };
    machine.connection = Connection::OpcUa(faster);
    Some(rate)
}

fn raise_bus(
    machines: &mut [MachineConfig],
    numbers: &[usize],
    (usual, silent_units): (Duration, usize),
    raised: &mut BTreeMap<usize, RaisedRate>,
) {
    let unit = |number: &usize| {
        let machine = &machines[*number];
        let Connection::Modbus(connection) = &machine.connection else { return None };
        Some((*number, AlarmedUnit { connection: connection.clone(), alarmed: alarmed(machine, usual) }))
    };
    let (numbers, mut units): (Vec<usize>, Vec<AlarmedUnit>) = numbers.iter().filter_map(unit).unzip();
    for (position, tags) in raise_rates(&mut units, silent_units) {
        let (number, faster) = (numbers[position], &units[position].connection);
        let machine = &mut machines[number];
        let Connection::Modbus(before) = &machine.connection else { continue };
        let longest = |c: &ModbusConnection| tags.iter().map(|t| interval(c, *t)).max().unwrap_or_default();
        let rate = RaisedRate {
            machine: machine.id.clone(),
            tags: tags.iter().map(|t| machine.tags[t.as_usize()].definition.id.clone()).collect(),
            configured: longest(before),
            interval: longest(faster),
        };
        machine.connection = Connection::Modbus(faster.clone());
        raised.insert(number, rate);
    }
}

fn interval(connection: &ModbusConnection, tag: TagIndex) -> Duration {
    connection.tags()[tag.as_usize()].parameters().poll_interval
}

/// The tags of a machine that have alarms, each with the shortest budget of its alarms.
fn alarmed(machine: &MachineConfig, usual: Duration) -> Vec<AlarmedTag> {
    let mut budgets: HashMap<TagId, Duration> = HashMap::new();
    for alarm in &machine.alarms {
        let budget = machine.budget(&alarm.id, usual);
        for tag in Expression::tags_of(alarm) {
            budgets.entry(tag).and_modify(|least| *least = budget.min(*least)).or_insert(budget);
        }
    }
    let tags = (0..).map(TagIndex).zip(&machine.tags);
    tags.filter_map(|(tag, t)| Some(AlarmedTag { tag, budget: *budgets.get(&t.definition.id)? })).collect()
}
