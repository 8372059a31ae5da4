//! What a configuration will do to the machines, the buffer and the line, before it goes live.
//!
//! How long requests take and how late an alarm can be is computed where the agent does it, too
//! ([`acquisition::raise_rates`] and its neighbours). Assumed here, and stated in the report:
//! * a sample takes [`BYTES_PER_SAMPLE`] in a compressed batch, on disk and on the wire alike;
//! * every value that is read is recorded, and an OPC UA value changes in every sampling interval:
//!   the figures of OPC UA machines and of tags with `report` are upper bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use acquisition::{
    DECISION, ModbusConnection, ModbusTag, OpcUaConnection, REQUEST_ASSUMED, RegisterFormat, SharedBus,
    TagIndex,
};
use alarm_engine::Expression;
use edge_config::{AgentConfig, Connection, GatewayTag, MachineConfig, Problem, RaisedRate};
use plant_model::{AlarmDefinition, TagId};
use serde::Serialize;

use super::output_plan::{self, OutputPlan};

/// What a sample costs in a batch, header and indexes included.
const BYTES_PER_SAMPLE: f64 = 2.5;

const DAY_S: f64 = 86_400.0;

/// Everything `check` can say.
#[derive(Debug, Serialize)]
pub(crate) struct Physics {
    pub tenant: String,
    pub gateway: String,
    pub assumptions: Assumptions,
    pub connections: Vec<ConnectionPlan>,
    pub machines: Vec<MachinePlan>,
    pub alarms: Vec<AlarmPlan>,
    pub raised: Vec<RaisedPlan>,
    pub outputs: Vec<OutputPlan>,
    pub volume: Volume,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Assumptions {
    request_ms: f64,
    bytes_per_sample: f64,
    decision_ms: f64,
    /// How many other units of a bus fall silent at once.
    silent_units: usize,
}

/// One way to one or more machines.
#[derive(Debug, Serialize)]
pub(crate) struct ConnectionPlan {
    pub address: String,
    pub protocol: &'static str,
    pub machines: Vec<String>,
    pub requests: Vec<RequestPlan>,
    pub subscription: Option<SubscriptionPlan>,
    /// Every request once.
    pub cycle_ms: f64,
    /// The share of time in which a request is under way.
    pub utilisation: f64,
    /// Answers that take longer make values uncertain: the shortest soft deadline of its units.
    pub soft_deadline_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RequestPlan {
    pub machine: String,
    pub unit_id: u8,
    pub table: &'static str,
    pub start: u16,
    pub quantity: u16,
    pub poll_interval_ms: u64,
    pub time_ms: f64,
    pub tags: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SubscriptionPlan {
    pub items: usize,
    pub sampling_interval_ms: u64,
    pub publishing_interval_ms: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct MachinePlan {
    pub id: String,
    pub protocol: &'static str,
    pub tags: usize,
    pub alarms: usize,
    /// 0 for subscriptions.
    pub requests_per_second: f64,
    /// For subscriptions the most that can come.
    pub samples_per_second: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct AlarmPlan {
    pub machine: String,
    pub alarm: String,
    pub tag: String,
    /// From the change in the machine to the decision, at worst. `null` where no value of the machine decides.
    pub latency_ms_max: Option<u64>,
    pub on_delay_ms: u64,
    pub budget_ms: u64,
    pub is_within_budget: bool,
}

/// Tags that are read more often than configured, because alarms watch them.
#[derive(Debug, Serialize)]
pub(crate) struct RaisedPlan {
    pub machine: String,
    pub tags: Vec<String>,
    pub configured_ms: u64,
    pub interval_ms: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Volume {
    /// What is read; an upper bound of what is recorded.
    pub samples_per_second: f64,
    pub samples_per_day: f64,
    pub disk_bytes_per_day: f64,
    pub wire_bytes_per_day: f64,
    pub buffer_bytes_max: u64,
    /// How long the uplink may be away before the oldest samples have to go.
    pub buffer_days: f64,
    /// Tags of machines that are recorded on change and at their heartbeat only: with them the figures are upper
    /// bounds. (The few of the gateway itself are, too.)
    pub tags_recorded_on_change: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It cannot work.
    Error,
    /// It works, and hardly as it was meant.
    Warning,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub severity: Severity,
    pub file: String,
    pub line: Option<usize>,
    pub message: String,
}

impl Physics {
    /// The findings of one severity, as problems of the configuration.
    pub(crate) fn problems(&self, severity: Severity) -> Vec<Problem> {
        let of = |finding: &&Finding| finding.severity == severity;
        let problem = |finding: &Finding| Problem {
            file: finding.file.clone().into(),
            line: finding.line,
            key: String::new(),
            value: String::new(),
            message: finding.message.clone(),
        };
        self.findings.iter().filter(of).map(problem).collect()
    }
}

/// Computes what the configuration will do.
pub(crate) fn compute(config: &AgentConfig) -> Physics {
    let connections = connections(&config.machines);
    let machines: Vec<MachinePlan> = config.machines.iter().map(machine).collect();
    let alarms: Vec<AlarmPlan> = config.machines.iter().flat_map(|m| alarms(m, config)).collect();
    let mut findings: Vec<Finding> = config.machines.iter().flat_map(overlaps).collect();
    findings.extend(overloads(&connections, &config.machines));
    findings.extend(late_alarms(&alarms, &config.machines));
    findings.extend(output_plan::findings(config));
    Physics {
        tenant: config.tenant.to_string(),
        gateway: config.gateway.to_string(),
        assumptions: Assumptions {
            request_ms: millis(REQUEST_ASSUMED),
            bytes_per_sample: BYTES_PER_SAMPLE,
            decision_ms: millis(DECISION),
            silent_units: config.silent_units,
        },
        volume: volume(machines.iter().map(|m| m.samples_per_second).sum(), config),
        raised: config.raised.iter().map(raised).collect(),
        outputs: output_plan::plans(config),
        connections,
        machines,
        alarms,
        findings,
    }
}

fn raised(rate: &RaisedRate) -> RaisedPlan {
    RaisedPlan {
        machine: rate.machine.to_string(),
        tags: rate.tags.iter().map(ToString::to_string).collect(),
        configured_ms: whole_millis(rate.configured),
        interval_ms: whole_millis(rate.interval),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand tags, and bytes to be read as gigabytes")]
const fn number(count: u64) -> f64 {
    count as f64
}

fn rate(interval: Duration) -> f64 {
    1.0 / interval.as_secs_f64().max(0.01)
}

/// Machines behind one address share a line, and its time. The gateway itself needs none.
fn connections(machines: &[MachineConfig]) -> Vec<ConnectionPlan> {
    let mut plans: BTreeMap<String, ConnectionPlan> = BTreeMap::new();
    for machine in machines {
        let Some(address) = address(machine) else { continue };
        let plan = plans.entry(address.clone()).or_insert_with(|| ConnectionPlan {
            address,
            protocol: machine.connection.protocol(),
            machines: Vec::new(),
            requests: Vec::new(),
            subscription: None,
            cycle_ms: 0.0,
            utilisation: 0.0,
            soft_deadline_ms: None,
        });
        plan.machines.push(machine.id.to_string());
        match &machine.connection {
            Connection::Modbus(connection) => plan.add_requests(machine, connection),
            Connection::OpcUa(connection) => plan.subscription = Some(subscription(connection)),
            Connection::Gateway => {}
        }
    }
    plans.into_values().collect()
}

fn address(machine: &MachineConfig) -> Option<String> {
    match &machine.connection {
        Connection::Modbus(connection) => Some(connection.address().to_string()),
        // Every machine has a session of its own.
        Connection::OpcUa(connection) => Some(format!("{} ({})", connection.endpoint(), machine.id)),
        Connection::Gateway => None,
    }
}

impl ConnectionPlan {
    fn add_requests(&mut self, machine: &MachineConfig, connection: &ModbusConnection) {
        self.cycle_ms += millis(connection.cycle());
        self.utilisation += connection.utilisation();
        let soft = connection.quirks().soft_deadline.map(whole_millis);
        self.soft_deadline_ms = self.soft_deadline_ms.into_iter().chain(soft).min();
        for block in connection.blocks() {
            let time = connection.request_time(block);
            let tag = |tag: &acquisition::TagIndex| {
                machine.tags.get(tag.as_usize()).map(|t| t.definition.id.to_string())
            };
            self.requests.push(RequestPlan {
                machine: machine.id.to_string(),
                unit_id: connection.unit_id(),
                table: block.table.name(),
                start: block.start,
                quantity: block.quantity,
                poll_interval_ms: whole_millis(block.poll_interval),
                time_ms: millis(time),
                tags: block.tags.iter().filter_map(tag).collect(),
            });
        }
    }
}

fn subscription(connection: &OpcUaConnection) -> SubscriptionPlan {
    SubscriptionPlan {
        items: connection.items().len(),
        sampling_interval_ms: whole_millis(connection.sampling_interval()),
        publishing_interval_ms: whole_millis(connection.publishing_interval()),
    }
}

fn machine(machine: &MachineConfig) -> MachinePlan {
    let (requests, samples) = match &machine.connection {
        Connection::Modbus(connection) => {
            let blocks = connection.blocks();
            (
                blocks.iter().map(|b| rate(b.poll_interval)).sum(),
                blocks.iter().map(|b| rate(b.poll_interval) * number(b.tags.len() as u64)).sum(),
            )
        }
        Connection::OpcUa(connection) => {
            (0.0, rate(connection.sampling_interval()) * number(connection.items().len() as u64))
        }
        Connection::Gateway => (0.0, rate(GatewayTag::INTERVAL) * number(machine.tags.len() as u64)),
    };
    MachinePlan {
        id: machine.id.to_string(),
        protocol: machine.connection.protocol(),
        tags: machine.tags.len(),
        alarms: machine.alarms.len(),
        requests_per_second: requests,
        samples_per_second: samples,
    }
}

fn alarms(machine: &MachineConfig, config: &AgentConfig) -> Vec<AlarmPlan> {
    let bus = bus(machine, config);
    let plan = |alarm: &AlarmDefinition| {
        let budget = machine.budget(&alarm.id, config.alarm_latency_budget);
        let latency = latency(machine, alarm, &bus);
        AlarmPlan {
            machine: machine.id.to_string(),
            alarm: alarm.id.to_string(),
            tag: Expression::tags_of(alarm).iter().map(TagId::as_str).collect::<Vec<_>>().join(", "),
            latency_ms_max: latency.map(whole_millis),
            on_delay_ms: whole_millis(alarm.on_delay),
            budget_ms: whole_millis(budget),
            is_within_budget: latency.is_none_or(|latency| latency <= budget),
        }
    };
    machine.alarms.iter().map(plan).collect()
}

/// What the machine shares with all that are reached over the same connection.
fn bus(machine: &MachineConfig, config: &AgentConfig) -> SharedBus {
    let address = |machine: &MachineConfig| match &machine.connection {
        Connection::Modbus(connection) => Some(connection.address().clone()),
        Connection::OpcUa(_) | Connection::Gateway => None,
    };
    let own = address(machine);
    let shared = config.machines.iter().filter(|m| own.is_some() && address(m) == own);
    let units = shared.filter_map(|m| match &m.connection {
        Connection::Modbus(connection) => Some(connection),
        Connection::OpcUa(_) | Connection::Gateway => None,
    });
    SharedBus::of(units, config.silent_units)
}

fn latency(machine: &MachineConfig, alarm: &AlarmDefinition, bus: &SharedBus) -> Option<Duration> {
    let deciding = Expression::tags_of(alarm);
    match &machine.connection {
        // That there is no connection takes no value, and the gateway measures itself at leisure.
        _ if deciding.is_empty() => None,
        Connection::Gateway => None,
        Connection::Modbus(connection) => {
            // The slowest of the tags that decide it.
            let tags = (0..).map(TagIndex).zip(&machine.tags);
            let tags = tags.filter(|(_, t)| deciding.contains(&t.definition.id));
            tags.map(|(tag, _)| connection.alarm_latency(tag, bus)).max()
        }
        Connection::OpcUa(connection) => Some(connection.alarm_latency()),
    }
}

fn volume(samples_per_second: f64, config: &AgentConfig) -> Volume {
    let buffer_bytes_max = config.buffer.bytes_max;
    let machines = config.machines.iter().filter(|m| m.connection != Connection::Gateway);
    let tags = machines.flat_map(|m| &m.tags);
    let samples_per_day = samples_per_second * DAY_S;
    let bytes_per_day = samples_per_day * BYTES_PER_SAMPLE;
    Volume {
        samples_per_second,
        samples_per_day,
        disk_bytes_per_day: bytes_per_day,
        wire_bytes_per_day: bytes_per_day,
        buffer_bytes_max,
        buffer_days: number(buffer_bytes_max) / bytes_per_day.max(1.0),
        tags_recorded_on_change: tags.filter(|t| t.report.is_some()).count(),
    }
}

/// A line that is asked for more than a second of requests in a second.
fn overloads(connections: &[ConnectionPlan], machines: &[MachineConfig]) -> Vec<Finding> {
    let overload = |plan: &ConnectionPlan| {
        let severity = match plan.utilisation {
            u if u > 1.0 => Severity::Error,
            u if u > 0.8 => Severity::Warning,
            _ => return None,
        };
        let first = machines.iter().find(|m| plan.machines.contains(&m.id.to_string()))?;
        let message = format!(
            "{}: {} requests need {:.0} % of the time ({:.1} ms each), at most 100 % is possible: \
             use a longer poll_interval_ms, or place registers side by side so that fewer requests are needed",
            plan.address,
            plan.requests.len(),
            plan.utilisation * 100.0,
            plan.cycle_ms / number(plan.requests.len() as u64).max(1.0),
        );
        Some(Finding { severity, file: first.origin.file.display().to_string(), line: Some(1), message })
    };
    connections.iter().filter_map(overload).collect()
}

fn late_alarms(alarms: &[AlarmPlan], machines: &[MachineConfig]) -> Vec<Finding> {
    let finding = |plan: &AlarmPlan| {
        let machine = machines.iter().find(|m| m.id.as_str() == plan.machine)?;
        let position = machine.alarms.iter().position(|a| a.id.as_str() == plan.alarm)?;
        let message = format!(
            "alarm {} can take {} ms, and its budget is {} ms: {}, or allow it a longer budget_ms",
            plan.alarm,
            plan.latency_ms_max?,
            plan.budget_ms,
            remedy(machine, machines)
        );
        Some(Finding {
            severity: Severity::Error,
            file: machine.origin.file.display().to_string(),
            line: machine.origin.alarm_lines.get(position).copied(),
            message,
        })
    };
    alarms.iter().filter(|a| !a.is_within_budget).filter_map(finding).collect()
}

/// What makes alarms of a machine faster.
fn remedy(machine: &MachineConfig, machines: &[MachineConfig]) -> String {
    let Connection::Modbus(connection) = &machine.connection else {
        return "shorten sampling_interval_ms or publishing_interval_ms".to_owned();
    };
    let own = address(machine);
    let on_bus = machines.iter().filter(|m| address(m) == own && m.id != machine.id);
    let timeouts = on_bus.filter_map(|m| match &m.connection {
        Connection::Modbus(other) => Some(whole_millis(other.timeout())),
        Connection::OpcUa(_) | Connection::Gateway => None,
    });
    let interval = connection.blocks().iter().map(|b| b.poll_interval).min().map_or(0, whole_millis);
    match timeouts.max() {
        None => format!("shorten poll_interval_ms (now {interval}), or ask for fewer tags of the machine"),
        Some(longest) => format!(
            "shorten timeout_ms of the other machines on {} (now up to {longest}) or poll_interval_ms, give the \
             machine a connection of its own",
            connection.address()
        ),
    }
}

/// Two values that share some of their registers and not all: one of them is at the wrong address, or
/// of the wrong width. Bits of a register, and a register read twice in the same way, are meant.
fn overlaps(machine: &MachineConfig) -> Vec<Finding> {
    let Connection::Modbus(connection) = &machine.connection else { return Vec::new() };
    let mut order: Vec<usize> = (0..connection.tags().len()).collect();
    let place = |index: &usize| place(&connection.tags()[*index]);
    order.retain(|index| !matches!(connection.tags()[*index].parameters().format, RegisterFormat::Bit(_)));
    order.sort_by_key(place);
    let mut findings = Vec::new();
    let mut widest: Option<usize> = None;
    for index in order {
        let (table, start, end) = place(&index);
        if let Some(other) = widest
            && let (other_table, other_start, other_end) = place(&other)
            && other_table == table
            && start < other_end
        {
            if (start, end) != (other_start, other_end) {
                findings.push(overlap(machine, connection, index, other));
            }
            if end <= other_end {
                continue;
            }
        }
        widest = Some(index);
    }
    findings
}

/// Table, first register and the one behind the last.
fn place(tag: &ModbusTag) -> (acquisition::RegisterTable, u32, u32) {
    let p = tag.parameters();
    (p.table, u32::from(p.pdu_address), u32::from(p.pdu_address) + u32::from(tag.quantity()))
}

fn overlap(machine: &MachineConfig, connection: &ModbusConnection, index: usize, other: usize) -> Finding {
    let describe = |index: usize| {
        let tag = &connection.tags()[index];
        let (table, start, end) = place(tag);
        let name = &machine.tags[index].definition.id;
        format!("{name} ({}, {} {start} to {})", tag.parameters().format.name(), table.name(), end - 1)
    };
    Finding {
        severity: Severity::Warning,
        file: machine.origin.file.display().to_string(),
        line: machine.origin.tag_lines.get(index).copied(),
        message: format!(
            "tag {} shares registers with tag {}: check the address and the format of both",
            describe(index),
            describe(other)
        ),
    }
}

#[cfg(test)]
#[path = "physics_tests.rs"]
mod tests;
