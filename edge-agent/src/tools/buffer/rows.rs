//! What an export writes: the columns, and the rows of a batch.

use std::collections::{BTreeSet, HashMap};

use edge_config::AgentConfig;
use plant_model::{AlarmTransition, MachineId, Sample, TagId, Timestamp, Value};
use protocol::{Batch, BatchBody, Detail, SeriesId};

use super::table_file::{Cell, Column, Kind};
use crate::cli::ExportStream;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// Columns of samples.
const SAMPLES: &[Column] = &[
    column("machine", Kind::Text),
    column("tag", Kind::Text),
    column("unit", Kind::Text),
    column("time", Kind::Time),
    column("value", Kind::Value),
    column("quality", Kind::Text),
    column("quality_code", Kind::Int),
    column("source_time", Kind::Time),
    column("gateway_time", Kind::Time),
    column("series", Kind::Int),
    column("batch", Kind::Int),
    column("thinned", Kind::Bool),
];

/// Columns of the steps of alarms.
const TRANSITIONS: &[Column] = &[
    column("decided_at", Kind::Time),
    column("machine", Kind::Text),
    column("alarm", Kind::Text),
    column("occurrence", Kind::Int),
    column("cause", Kind::Text),
    column("from_state", Kind::Text),
    column("to_state", Kind::Text),
    column("priority", Kind::Text),
    column("tag", Kind::Text),
    column("value", Kind::Value),
    column("limit", Kind::Float),
    column("deadband", Kind::Float),
    column("value_at", Kind::Time),
    column("message", Kind::Text),
    column("first_out", Kind::Bool),
    column("actor", Kind::Text),
    column("comment", Kind::Text),
    column("batch", Kind::Int),
];

pub(super) const fn columns(stream: ExportStream) -> &'static [Column] {
    match stream {
        ExportStream::Telemetry => SAMPLES,
        ExportStream::Alarm => TRANSITIONS,
    }
}

/// What is asked for.
pub(super) struct Filter {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// All, if it is empty.
    pub machines: BTreeSet<String>,
}

impl Filter {
    fn takes_time(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    /// Whether anything of a batch with these times can be asked for.
    pub(super) fn may_take(&self, first: Timestamp, last: Timestamp) -> bool {
        self.from.is_none_or(|from| last >= from) && self.to.is_none_or(|to| first < to)
    }

    fn takes_machine(&self, machine: Option<&str>) -> bool {
        self.machines.is_empty() || machine.is_some_and(|id| self.machines.contains(id))
    }
}

/// What a series is.
#[derive(Debug, Clone)]
pub(super) struct Named {
    machine: MachineId,
    tag: TagId,
    unit: String,
}

impl Named {
    pub(super) fn machine(&self) -> &str {
        self.machine.as_str()
    }

    pub(super) fn is_of(&self, machine: &str) -> bool {
        self.machine.as_str() == machine
    }
}

/// The names of series, with the units that the configuration knows.
pub(super) fn named(
    series: HashMap<SeriesId, (MachineId, TagId)>,
    config: Option<&AgentConfig>,
) -> HashMap<SeriesId, Named> {
    let machines = config.map(|config| config.machines.as_slice()).unwrap_or_default();
    let units: HashMap<(&MachineId, &TagId), &str> = machines
        .iter()
        .flat_map(|m| m.tags.iter().map(move |t| ((&m.id, &t.definition.id), t.definition.unit.as_str())))
        .collect();
    let name = |(machine, tag): (MachineId, TagId)| {
        let unit = units.get(&(&machine, &tag)).copied().unwrap_or_default().to_owned();
        Named { machine, tag, unit }
    };
    series.into_iter().map(|(number, of)| (number, name(of))).collect()
}

/// Hands over the rows of a batch that are asked for.
pub(super) fn rows<E>(
    batch: &Batch,
    names: &HashMap<SeriesId, Named>,
    filter: &Filter,
    mut take: impl FnMut(&[Cell<'_>]) -> Result<(), E>,
) -> Result<(), E> {
    let number = signed(batch.header.sequence.as_u64());
    match &batch.body {
        BatchBody::Samples(blocks) => {
            for block in blocks {
                let name = names.get(&block.series);
                if !filter.takes_machine(name.map(|name| name.machine.as_str())) {
                    continue;
                }
                for sample in block.samples.iter().filter(|s| filter.takes_time(s.timestamp())) {
                    let thinned = batch.header.detail == Detail::Thinned;
                    take(&sample_row(name, block.series, sample, number, thinned))?;
                }
            }
        }
        BatchBody::Transitions(list) => {
            let asked = |t: &&AlarmTransition| {
                filter.takes_machine(Some(t.machine.as_str())) && filter.takes_time(t.decided_at)
            };
            for transition in list.iter().filter(asked) {
                take(&transition_row(transition, number))?;
            }
        }
        BatchBody::Records(_) => {}
    }
    Ok(())
}

fn sample_row<'a>(
    name: Option<&'a Named>,
    series: SeriesId,
    sample: &'a Sample,
    batch: i64,
    thinned: bool,
) -> [Cell<'a>; SAMPLES.len()] {
    [
        name.map_or(Cell::Empty, |name| Cell::Text(name.machine.as_str())),
        name.map_or(Cell::Empty, |name| Cell::Text(name.tag.as_str())),
        name.filter(|name| !name.unit.is_empty()).map_or(Cell::Empty, |name| Cell::Text(&name.unit)),
        Cell::Time(sample.timestamp()),
        value(sample.value.as_ref()),
        Cell::Text(sample.quality.name()),
        Cell::Int(sample.quality.status_code().into()),
        sample.source_timestamp.map_or(Cell::Empty, Cell::Time),
        Cell::Time(sample.gateway_timestamp),
        Cell::Int(series.0.into()),
        Cell::Int(batch),
        Cell::Bool(thinned),
    ]
}

fn transition_row(of: &AlarmTransition, batch: i64) -> [Cell<'_>; TRANSITIONS.len()] {
    let operation = of.operation.as_ref();
    [
        Cell::Time(of.decided_at),
        Cell::Text(of.machine.as_str()),
        Cell::Text(of.alarm.as_str()),
        Cell::Int(signed(of.occurrence)),
        Cell::Text(of.cause.name()),
        Cell::Text(of.from.name()),
        Cell::Text(of.to.name()),
        Cell::Text(of.priority.name()),
        of.tag.as_ref().map_or(Cell::Empty, |tag| Cell::Text(tag.as_str())),
        value(of.value.as_ref()),
        of.limit.map_or(Cell::Empty, Cell::Float),
        Cell::Float(of.deadband),
        Cell::Time(of.value_at),
        Cell::Text(&of.message),
        Cell::Bool(of.first_out),
        operation.map_or(Cell::Empty, |by| Cell::Text(&by.actor)),
        operation.map_or(Cell::Empty, |by| Cell::Text(&by.comment)),
        Cell::Int(batch),
    ]
}

fn value(of: Option<&Value>) -> Cell<'_> {
    match of {
        None => Cell::Empty,
        Some(Value::Bool(b)) => Cell::Bool(*b),
        Some(Value::Int(i)) => Cell::Int(*i),
        Some(Value::Float(x)) => Cell::Float(*x),
        Some(Value::Text(text)) => Cell::Text(text),
    }
}

/// Numbers that count stay far below 2⁶³.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
