//! `edge-agent alarm test`: what the alarms of a machine file would have done with recorded values.
//!
//! The engine is the one that runs on the gateway, on the recording's own clock: no connection, no waiting.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use alarm_engine::{AlarmEngine, Link};
use anyhow::{Context as _, Result};
use edge_config::MachineConfig;
use plant_model::{AlarmTransition, Monotonic, Timestamp, TransitionCause};
use serde::Serialize;

use super::recording::{Instant, Recording};
use super::table::{Cell, Paint, Table, Tone};
use super::tag_list::read_text;
use super::{Found, Output, print};
use crate::cli::AlarmTestArguments;

/// Transitions that a report holds; beyond it they are only counted.
const TRANSITIONS_MAX: usize = 100_000;

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    rows: u64,
    samples: u64,
    /// How often each alarm was raised, all alarms of the machine.
    raised: BTreeMap<String, u64>,
    /// How each alarm stands at the end.
    states: BTreeMap<String, &'static str>,
    transitions: Vec<Line>,
    transitions_left_out: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    at: String,
    alarm: String,
    occurrence: u64,
    from: &'static str,
    to: &'static str,
    cause: &'static str,
    value: Option<String>,
    limit: Option<f64>,
    priority: &'static str,
}

pub(crate) fn run(arguments: &AlarmTestArguments) -> Result<Found> {
    let machine = edge_config::read_machine(&arguments.rules, &read_text(&arguments.rules)?)?;
    let file = File::open(&arguments.csv)
        .with_context(|| format!("cannot read the recording {}", arguments.csv.display()))?;
    let report = replay(&machine, &arguments.csv, file)?;
    print(Output::json(arguments.json), &report, table)?;
    Ok(Found::Something)
}

fn replay(machine: &MachineConfig, place: &Path, from: impl Read) -> Result<Report> {
    let mut recording = Recording::open(place, from, machine)?;
    let tags: Vec<_> = machine.tags.iter().map(|tag| tag.definition.id.clone()).collect();
    let engine = AlarmEngine::new(machine.id.clone(), &tags, machine.alarms.clone())?;
    let mut replay = Replay { engine, start: None, out: Vec::new(), report: Report::of(machine) };
    while let Some(instant) = recording.next()? {
        replay.take(&instant);
    }
    Ok(replay.finish())
}

struct Replay {
    engine: AlarmEngine,
    /// The first instant, where the monotonic clock stands at zero.
    start: Option<Timestamp>,
    out: Vec<AlarmTransition>,
    report: Report,
}

impl Replay {
    fn take(&mut self, instant: &Instant) {
        let is_first = self.start.is_none();
        let start = *self.start.get_or_insert(instant.at);
        let now = Monotonic::default().plus(instant.at.since(start));
        // Each timer ends at its own instant, so that its transition bears that time.
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due < now) {
            self.engine.handle_timeout(due, start.plus(due.since(Monotonic::default())), &mut self.out);
        }
        let link = instant.link.or(is_first.then_some(Link::Up));
        if let Some(link) = link {
            self.engine.handle_link(link, now, instant.at, &mut self.out);
        }
        for (tag, sample) in &instant.samples {
            self.engine.handle_sample(*tag, sample, now, instant.at, &mut self.out);
        }
        self.report.rows += 1;
        self.report.samples += instant.samples.len() as u64;
        self.report.note(&mut self.out);
    }

    fn finish(mut self) -> Report {
        for (alarm, state) in self.engine.states() {
            self.report.states.insert(alarm.to_string(), state.name());
        }
        self.report
    }
}

impl Report {
    fn of(machine: &MachineConfig) -> Self {
        Self {
            machine: machine.id.to_string(),
            rows: 0,
            samples: 0,
            raised: machine.alarms.iter().map(|alarm| (alarm.id.to_string(), 0)).collect(),
            states: BTreeMap::new(),
            transitions: Vec::new(),
            transitions_left_out: 0,
        }
    }

    fn note(&mut self, moved: &mut Vec<AlarmTransition>) {
        for transition in moved.drain(..) {
            if transition.cause == TransitionCause::Raised {
                *self.raised.entry(transition.alarm.to_string()).or_default() += 1;
            }
            if self.transitions.len() < TRANSITIONS_MAX {
                self.transitions.push(Line::of(&transition));
            } else {
                self.transitions_left_out += 1;
            }
        }
    }
}

impl Line {
    fn of(transition: &AlarmTransition) -> Self {
        let micros = transition.decided_at.micros();
        let at = jiff::Timestamp::from_microsecond(micros)
            .map_or_else(|_| micros.to_string(), |at| at.to_string());
        Self {
            at,
            alarm: transition.alarm.to_string(),
            occurrence: transition.occurrence,
            from: transition.from.mnemonic(),
            to: transition.to.mnemonic(),
            cause: transition.cause.name(),
            value: transition.value.as_ref().map(ToString::to_string),
            limit: transition.limit,
            priority: transition.priority.name(),
        }
    }
}

fn table(out: &mut dyn Write, paint: Paint, report: &Report) -> std::io::Result<()> {
    let mut lines =
        Table::new(&["time", "alarm", ">no.", "from", "to", "cause", ">value", ">limit", "priority"]);
    for line in &report.transitions {
        let tone = if line.to == "UNACK" { Tone::Bad } else { Tone::Plain };
        let limit = line.limit.map(|limit| limit.to_string()).unwrap_or_default();
        lines.row([
            Cell::from(&line.at),
            Cell::from(&line.alarm),
            Cell::from(line.occurrence),
            Cell::from(line.from),
            Cell::toned(tone, line.to),
            Cell::from(line.cause),
            Cell::from(line.value.as_deref().unwrap_or_default()),
            Cell::from(limit),
            Cell::from(line.priority),
        ]);
    }
    lines.write(out, paint)?;
    if report.transitions_left_out > 0 {
        writeln!(out, "… and {} more transitions", report.transitions_left_out)?;
    }
    writeln!(out, "\n{} rows, {} samples", report.rows, report.samples)?;
    let mut sums = Table::new(&["alarm", ">raised", "at the end"]);
    for (alarm, raised) in &report.raised {
        let state = report.states.get(alarm).copied().unwrap_or_default();
        sums.row([Cell::from(alarm), Cell::from(raised), Cell::from(state)]);
    }
    sums.write(out, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESS: &str = "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"h\"\n\
        [[tags]]\nid = \"heat\"\ndata_type = \"float\"\nholding_register = 1\nformat = \"f32\"\n\
        [[tags]]\nid = \"on\"\ndata_type = \"bool\"\ncoil = 1\nformat = \"bool\"\n\
        [[alarms]]\nid = \"hot\"\ntag = \"heat\"\nkind = \"high\"\nlimit = 80\ndeadband = 5\n\
        on_delay_ms = 2000\nmessage = \"Too hot\"\n";

    fn replayed(csv: &str) -> Result<Report> {
        let machine = edge_config::read_machine(Path::new("press.toml"), PRESS)?;
        replay(&machine, Path::new("shift.csv"), csv.as_bytes())
    }

    fn steps(report: &Report) -> Vec<(&str, &str, &str)> {
        report.transitions.iter().map(|l| (l.at.as_str(), l.from, l.to)).collect()
    }

    #[test]
    fn d8_a_recording_gives_the_transitions_at_the_instants_at_which_they_would_have_come() {
        let report = replayed(
            "time,heat,on\n2026-03-01T06:00:00Z,70,true\n2026-03-01T06:00:01Z,90,\n2026-03-01T06:00:10Z,78,\n\
             2026-03-01T06:00:11Z,74.5,false\n",
        );
        let report = report.expect("a good recording");
        assert_eq!(
            steps(&report),
            [("2026-03-01T06:00:03Z", "NORM", "UNACK"), ("2026-03-01T06:00:11Z", "UNACK", "RTNUN")],
            "the delay ends between two rows, and 78 is inside the deadband"
        );
        assert_eq!((report.rows, report.samples, report.raised["hot"]), (4, 6, 1));
        assert_eq!(report.states["hot"], "returned to normal, unacknowledged");
    }

    #[test]
    fn d8_bad_values_and_a_lost_link_neither_raise_nor_clear() {
        let report = replayed("time,heat,@link\n0,90,\n1,bad,\n2,90,\n3.5,,\n4,,down\n60,70,\n");
        let report = report.expect("a good recording");
        assert_eq!(
            steps(&report)[0],
            ("1970-01-01T00:00:03Z", "NORM", "UNACK"),
            "a second of the delay rested"
        );
        let text = |csv: &str| replayed(csv).expect_err("refused").to_string();
        assert!(text("time,heat,@link\n0,90,sideways\n").contains("neither up nor down"));
    }

    #[test]
    fn what_is_wrong_in_a_recording_is_told_with_its_line_and_column() {
        let text = |csv: &str| replayed(csv).expect_err("refused").to_string();
        let missing = text("time,heat,speed\n0,1,2\n");
        assert!(
            missing.contains("shift.csv:1")
                && missing.contains("speed")
                && missing.contains("it has heat, on")
        );
        let word = text("time,heat\n0,1\n1,warm\n");
        assert!(word.contains("shift.csv:3") && word.contains("heat") && word.contains("warm"), "{word}");
        assert!(text("time,heat\n5,1\n4,1\n").contains("lies before the row above"));
        assert!(text("heat\n1\n").contains("the first column must be \"time\""));
        assert!(text("time,heat\n0,1,2,3\n").contains("shift.csv:2"));
        assert!(text("time,heat,heat\n0,1,2\n").contains("there twice"));
    }
}
