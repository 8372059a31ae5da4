//! The ledger of a campaign: for each kind of fault, what was committed while it lasted and what became of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use plant_model::Value;
use protocol::{Batch, BatchBody, StreamId};

use super::Kind;
use super::site::Site;
use crate::factory::Backend;
use crate::oracle::{Batches, counter_run, judge, obligations, samples, series_of_tag, stored};

/// A fault that was made.
#[derive(Debug, Clone)]
pub(super) struct Incident {
    pub(super) kind: Kind,
    /// `None`: all plants.
    pub(super) plant: Option<usize>,
    /// From its beginning until everything was delivered again, in microseconds since 1970.
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// `None`: not in time.
    pub(super) recovery: Option<Duration>,
}

/// Samples, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    /// Committed by agents.
    pub committed: u64,
    /// Of these, in the store as they were committed.
    pub stored: u64,
    /// Of these, not there.
    pub lost: u64,
    /// In the store more than once.
    pub doubled: u64,
}

impl Books {
    fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.stored += other.stored;
        self.lost += other.lost;
        self.doubled += other.doubled;
    }
}

#[derive(Debug, Default)]
struct Row {
    books: Books,
    recoveries: Vec<Duration>,
    unrecovered: u64,
}

/// What a campaign found.
#[derive(Debug)]
pub struct Ledger {
    seed: u64,
    incidents: Vec<Incident>,
    rows: BTreeMap<Kind, Row>,
    /// Everything, each sample once.
    pub total: Books,
    /// Alarm transitions and diagnostic records committed, and those of them that are not stored.
    pub others: (u64, u64),
    /// Moments at which `received = stored + duplicate + rejected` did not hold.
    pub breaches: Vec<String>,
    /// What else is wrong.
    pub findings: Vec<String>,
    /// Values of the machines' own counters that are stored.
    counted: u64,
}

impl Ledger {
    pub(super) fn new(seed: u64, incidents: &[Incident]) -> Self {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        for incident in incidents {
            let row = rows.entry(incident.kind).or_default();
            row.recoveries.extend(incident.recovery);
            row.unrecovered += u64::from(incident.recovery.is_none());
        }
        for row in rows.values_mut() {
            row.recoveries.sort_unstable();
        }
        Self {
            seed,
            incidents: incidents.to_vec(),
            rows,
            total: Books::default(),
            others: (0, 0),
            breaches: Vec::new(),
            findings: Vec::new(),
            counted: 0,
        }
    }

    /// Holds what the backend stored of a plant against the plant's buffer and its machines' counters.
    pub(super) fn judge(&mut self, number: usize, site: &Site, backend: &Backend) -> Result<()> {
        let plant = &site.plant;
        let owed = obligations(&plant.buffer())?;
        let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
        if let Err(error) = judge(&owed, &held) {
            self.findings.push(format!("{}: {error}", plant.tenant));
        }
        let doubled = repeated_samples(&held)?;
        for (key, message) in &owed.batches {
            let batch = Batch::decode(message)?;
            let entries = u64::from(batch.header.count);
            let is_stored = held.get(key) == Some(message);
            if key.0 != StreamId::Telemetry.code() {
                self.others.0 += entries;
                self.others.1 += if is_stored { 0 } else { entries };
                continue;
            }
            let books = Books {
                committed: entries,
                stored: if is_stored { entries } else { 0 },
                lost: if is_stored { 0 } else { entries },
                doubled: doubled.get(&key.1).copied().unwrap_or(0),
            };
            self.total.add(books);
            self.book(number, batch.committed_at.micros(), books);
        }
        self.check_counters(number, site, &held)
    }

    /// Adds to each kind of fault that lasted at this moment, once.
    fn book(&mut self, plant: usize, at_us: i64, books: Books) {
        let lasted = |i: &&Incident| {
            i.plant.is_none_or(|struck| struck == plant) && (i.from_us..=i.to_us).contains(&at_us)
        };
        let kinds: HashSet<Kind> = self.incidents.iter().filter(lasted).map(|i| i.kind).collect();
        for kind in kinds {
            self.rows.entry(kind).or_default().books.add(books);
        }
    }

    /// A machine counts each value it gives out. None is stored twice, and a value is missing only where the agent or
    /// the machine was struck.
    fn check_counters(&mut self, number: usize, site: &Site, held: &Batches) -> Result<()> {
        let is_ours = |i: &&Incident| i.plant == Some(number) && i.kind.may_cost_uncommitted();
        let struck = self.incidents.iter().filter(is_ours).count();
        let rows = samples(held)?;
        for (machine, series) in series_of_tag(&site.plant.buffer(), "fast_count")? {
            let run = counter_run(rows.get(&series).map_or(&[], Vec::as_slice));
            self.counted += run.values as u64;
            if run.repeated > 0 || run.breaks > struck * BREAKS_PER_FAULT {
                let tenant = &site.plant.tenant;
                self.findings
                    .push(format!("{tenant}: fast_count of {machine}: {run:?} after {struck} faults"));
            }
        }
        Ok(())
    }

    /// Whether nothing was lost or doubled, the identity held, and all plants delivered again each time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let recovered = self.rows.values().all(|row| row.unrecovered == 0);
        let kept = (self.total.lost, self.total.doubled, self.others.1) == (0, 0, 0);
        kept && recovered && self.breaches.is_empty() && self.findings.is_empty() && self.total.committed > 0
    }

    /// How many faults were made.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.incidents.len()
    }
}

/// While a machine is slow or comes and goes, each of its answers may be late.
const BREAKS_PER_FAULT: usize = 40;

/// Whether a row of the backend's ledger adds up.
pub(super) fn balances(row: &serde_json::Value) -> bool {
    let number = |field: &str| row[field].as_u64().unwrap_or(u64::MAX);
    let rejected: u64 =
        row["rejected"].as_array().into_iter().flatten().filter_map(|r| r["count"].as_u64()).sum();
    number("received") == number("stored").saturating_add(number("duplicate")).saturating_add(rejected)
}

/// For each batch, how many of its samples are in an earlier one as well.
fn repeated_samples(held: &Batches) -> Result<BTreeMap<u64, u64>> {
    let (mut seen, mut repeated) = (HashSet::new(), BTreeMap::new());
    for (key, message) in held {
        let BatchBody::Samples(block) = Batch::decode(message)?.body else { continue };
        for series in block {
            for sample in &series.samples {
                let value = sample.value.as_ref().map(bits);
                let times = (sample.gateway_timestamp, sample.source_timestamp);
                if !seen.insert((series.series, times, value, sample.quality)) {
                    *repeated.entry(key.1).or_default() += 1;
                }
            }
        }
    }
    Ok(repeated)
}

fn bits(value: &Value) -> String {
    match value {
        Value::Float(number) => format!("{:x}", number.to_bits()),
        Value::Bool(_) | Value::Int(_) | Value::Text(_) => format!("{value:?}"),
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}\n", self.seed)?;
        writeln!(f, "| fault | times | samples committed | stored | lost | doubled | recovery p50 | max |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
        for (kind, row) in &self.rows {
            let times = row.recoveries.len() as u64 + row.unrecovered;
            let Books { committed, stored, lost, doubled } = row.books;
            let p50 = row.recoveries.get(row.recoveries.len() / 2).copied().unwrap_or_default().as_secs_f64();
            let max = row.recoveries.last().copied().unwrap_or_default().as_secs_f64();
            write!(
                f,
                "| {kind} | {times} | {committed} | {stored} | {lost} | {doubled} | {p50:.1} s | {max:.1} s"
            )?;
            match row.unrecovered {
                0 => writeln!(f, " |")?,
                n => writeln!(f, ", {n} never |")?,
            }
        }
        let Books { committed, stored, lost, doubled } = self.total;
        let faults = self.faults();
        writeln!(
            f,
            "| all, each sample once | {faults} | {committed} | {stored} | {lost} | {doubled} | | |\n"
        )?;
        let (others, others_lost) = self.others;
        writeln!(f, "Alarm transitions and records: {others} committed, {others_lost} lost.")?;
        writeln!(f, "Values of machines' own counters stored: {}.", self.counted)?;
        writeln!(
            f,
            "Times that received = stored + duplicate + rejected did not hold: {}.",
            self.breaches.len()
        )?;
        for finding in self.breaches.iter().chain(&self.findings) {
            writeln!(f, "WRONG: {finding}")?;
        }
        let verdict = if self.is_clean() { "clean" } else { "NOT CLEAN" };
        writeln!(f, "{verdict}")
    }
}
