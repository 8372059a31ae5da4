//! Recorded values of a machine, as CSV, row by row: a recording of any length is never held in memory.
//!
//! ```text
//! time,temperature,running,@link
//! 2026-03-01T06:00:00Z,71.5,true,up
//! 2026-03-01T06:00:01Z,bad,,
//! ```
//!
//! `time` is RFC 3339, or seconds since the start as a number; it never goes back. Every other column is a tag of the
//! machine by its id. An empty cell says that the tag was not read at that time, `bad` that it was read and is
//! not good. `@link` is `up` or `down` from there on.

use std::io::Read;
use std::path::{Path, PathBuf};

use alarm_engine::Link;
use csv::StringRecord;
use edge_config::{ConfigErrors, MachineConfig, Problem};
use plant_model::{DataType, Quality, Sample, Timestamp, Value};

/// One instant of a recording.
#[derive(Debug)]
pub(super) struct Instant {
    pub at: Timestamp,
    /// The link from here on, if it changes.
    pub link: Option<Link>,
    /// What was read, by the position of the tag.
    pub samples: Vec<(usize, Sample)>,
}

enum Column {
    Tag(usize, DataType),
    Link,
}

/// A recording that is being read.
pub(super) struct Recording<R> {
    place: PathBuf,
    rows: csv::StringRecordsIntoIter<R>,
    columns: Vec<Column>,
    names: StringRecord,
    /// The latest instant so far.
    latest: Option<Timestamp>,
}

impl<R: Read> Recording<R> {
    /// Reads the header.
    pub(super) fn open(place: &Path, from: R, machine: &MachineConfig) -> Result<Self, ConfigErrors> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(from);
        let names = reader
            .headers()
            .map_err(|e| one(place, Some(1), "", "", format!("this is not CSV in UTF-8: {e}")))?
            .clone();
        if names.get(0) != Some("time") {
            let found = names.get(0).unwrap_or_default();
            return Err(one(place, Some(1), "", found, "the first column must be \"time\"".into()));
        }
        let found: Vec<Result<Column, Problem>> =
            names.iter().enumerate().skip(1).map(|(at, _)| column(place, machine, &names, at)).collect();
        let problems: Vec<Problem> =
            found.iter().filter_map(|column| column.as_ref().err().cloned()).collect();
        if !problems.is_empty() {
            return Err(ConfigErrors(problems));
        }
        let columns = found.into_iter().flatten().collect();
        let rows = reader.into_records();
        Ok(Self { place: place.to_owned(), rows, columns, names, latest: None })
    }

    /// The next instant; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Instant>, ConfigErrors> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let row = row.map_err(|error| {
            let line = error.position().map(|at| usize::try_from(at.line()).unwrap_or(usize::MAX));
            one(&self.place, line, "", "", format!("this row cannot be read: {error}"))
        })?;
        let line = row.position().map(|at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        let wrong =
            |key: &str, value: &str, message: &str| one(&self.place, line, key, value, message.to_owned());
        let cell = row.get(0).unwrap_or_default();
        let at = instant(cell).ok_or_else(|| {
            wrong("time", cell, "is neither a time such as 2026-03-01T06:00:00Z nor seconds")
        })?;
        if self.latest.is_some_and(|latest| at < latest) {
            return Err(wrong("time", cell, "lies before the row above; sort the recording by time"));
        }
        self.latest = Some(at);
        let mut out = Instant { at, link: None, samples: Vec::new() };
        for ((column, name), cell) in
            self.columns.iter().zip(self.names.iter().skip(1)).zip(row.iter().skip(1))
        {
            match column {
                _ if cell.is_empty() => {}
                Column::Link => {
                    let link = link(cell).ok_or_else(|| wrong(name, cell, "is neither up nor down"))?;
                    out.link = Some(link);
                }
                Column::Tag(tag, data_type) => {
                    let sample = sample(cell, *data_type, at).ok_or_else(|| {
                        wrong(name, cell, &format!("is no {} and not bad", type_name(*data_type)))
                    })?;
                    out.samples.push((*tag, sample));
                }
            }
        }
        Ok(Some(out))
    }
}

fn column(place: &Path, machine: &MachineConfig, names: &StringRecord, at: usize) -> Result<Column, Problem> {
    let name = &names[at];
    let wrong = |message: String| problem(place, Some(1), name, "", message);
    if names.iter().take(at).any(|before| before == name) {
        return Err(wrong("this column is there twice; keep one".into()));
    }
    if name == "@link" {
        return Ok(Column::Link);
    }
    let tag = machine.tags.iter().position(|tag| tag.definition.id.as_str() == name);
    tag.map(|tag| Column::Tag(tag, machine.tags[tag].definition.data_type)).ok_or_else(|| {
        let known: Vec<&str> = machine.tags.iter().map(|tag| tag.definition.id.as_str()).take(20).collect();
        wrong(format!("machine {} has no such tag; it has {}", machine.id, known.join(", ")))
    })
}

fn instant(cell: &str) -> Option<Timestamp> {
    if let Ok(at) = cell.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_micros(at.as_microsecond()));
    }
    let seconds: f64 = cell.parse().ok().filter(|s: &f64| (0.0..1e10).contains(s))?;
    let passed = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    Some(Timestamp::from_micros(0).plus(passed))
}

fn link(cell: &str) -> Option<Link> {
    match cell {
        "up" => Some(Link::Up),
        "down" => Some(Link::Down),
        _ => None,
    }
}

fn sample(cell: &str, data_type: DataType, at: Timestamp) -> Option<Sample> {
    let (value, quality) = if cell == "bad" {
        (None, Quality::BAD_SENSOR_FAILURE)
    } else {
        (Some(value(cell, data_type)?), Quality::GOOD)
    };
    Some(Sample { value, quality, source_timestamp: None, gateway_timestamp: at })
}

fn value(cell: &str, data_type: DataType) -> Option<Value> {
    match data_type {
        DataType::Bool => match cell {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        DataType::Int => cell.parse().ok().map(Value::Int),
        DataType::Float => cell.parse().ok().map(Value::Float),
        DataType::Text => Some(Value::Text(cell.into())),
    }
}

const fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "bool (true, false, 1, 0)",
        DataType::Int => "whole number",
        DataType::Float => "number",
        DataType::Text => "text",
    }
}

fn problem(place: &Path, line: Option<usize>, key: &str, value: &str, message: String) -> Problem {
    Problem { file: place.to_owned(), line, key: key.to_owned(), value: value.to_owned(), message }
}

fn one(place: &Path, line: Option<usize>, key: &str, value: &str, message: String) -> ConfigErrors {
    ConfigErrors(vec![problem(place, line, key, value, message)])
}
