//! Tags with alarms are acquired as often as the latency budget needs, whatever their files say.
//!
//! The files stay as they are; what was raised is told by `check` and in the log. Where no rate is fast
//! enough nothing is raised, and `check` says why the alarm is late.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use acquisition::{AlarmedUnit, ModbusAddress, ModbusConnection, TagIndex, raise_rates};
use alarm_engine::Expression;
use plant_model::{MachineId, TagId};

use crate::{Connection, MachineConfig};

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

/// Raises the rates of tags with alarms to what `budget` needs, in the order of the machines.
pub(crate) fn raise(machines: &mut [MachineConfig], budget: Duration) -> Vec<RaisedRate> {
    let mut buses: HashMap<ModbusAddress, Vec<usize>> = HashMap::new();
    let mut raised: BTreeMap<usize, RaisedRate> = BTreeMap::new();
    for (number, machine) in machines.iter_mut().enumerate() {
        match &machine.connection {
            Connection::Modbus(unit) => buses.entry(unit.address().clone()).or_default().push(number),
            Connection::OpcUa(_) => raised.extend(raise_session(machine, budget).map(|r| (number, r))),
        }
    }
    for numbers in buses.values() {
        raise_bus(machines, numbers, budget, &mut raised);
    }
    raised.into_values().collect()
}

fn raise_session(machine: &mut MachineConfig, budget: Duration) -> Option<RaisedRate> {
    let Connection::OpcUa(session) = &machine.connection else { return None };
    let faster = if machine.alarms.is_empty() { None } else { session.raised_for(budget) }?;
    let rate = RaisedRate {
        machine: machine.id.clone(),
        tags: alarmed(machine).map(|(_, id)| id).collect(),
        configured: session.sampling_interval(),
        interval: faster.sampling_interval(),
    };
    machine.connection = Connection::OpcUa(faster);
    Some(rate)
}

fn raise_bus(
    machines: &mut [MachineConfig],
    numbers: &[usize],
    budget: Duration,
    raised: &mut BTreeMap<usize, RaisedRate>,
) {
    let unit = |number: &usize| {
        let machine = &machines[*number];
        let Connection::Modbus(connection) = &machine.connection else { return None };
        let alarmed = alarmed(machine).map(|(tag, _)| tag).collect();
        Some((*number, AlarmedUnit { connection: connection.clone(), alarmed }))
    };
    let (numbers, mut units): (Vec<usize>, Vec<AlarmedUnit>) = numbers.iter().filter_map(unit).unzip();
    for (position, tags) in raise_rates(&mut units, budget) {
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

/// The tags of a machine that have alarms.
fn alarmed(machine: &MachineConfig) -> impl Iterator<Item = (TagIndex, TagId)> {
    let ids = (0..).map(TagIndex).zip(machine.tags.iter().map(|t| t.definition.id.clone()));
    let deciding: HashSet<TagId> = machine.alarms.iter().flat_map(Expression::tags_of).collect();
    ids.filter(move |(_, id)| deciding.contains(id))
}
