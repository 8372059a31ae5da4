//! The oracle: every batch that an agent committed is an obligation. After the faults, each must be in
//! the backend's store exactly once, byte by byte, and nothing else may be.
//!
//! It reads both SQLite files itself, without the programs under test.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use plant_model::{AlarmTransition, Sample, Value};
use protocol::{Batch, BatchBody, SeriesId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// Stream code and sequence.
pub type Key = (u8, u64);

/// All batches of one epoch.
pub type Batches = BTreeMap<Key, Vec<u8>>;

/// What an agent committed.
#[derive(Debug)]
pub struct Obligations {
    /// The batches it still holds, acknowledged ones included (they are kept for the replay window).
    pub batches: Batches,
    /// For each stream code, how many batches were ever committed.
    pub committed: BTreeMap<u8, u64>,
}

fn open(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)
        .with_context(|| format!("cannot open {}", file.display()))?;
    // An agent that finds its log removed believes that commits are lost.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Reads an agent's buffer.
///
/// # Errors
/// The file cannot be read.
pub fn obligations(buffer: &Path) -> Result<Obligations> {
    let connection = open(buffer)?;
    let mut batches = Batches::new();
    let sql = "SELECT key >> 56, key & ((1 << 56) - 1), message FROM outbox";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        batches.insert((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()), row.get(2)?);
    }
    // The numbers are noted now and then; the newest batch may be ahead of them.
    let sql = "SELECT code, max(next - 1, coalesce(
                 (SELECT max(key & ((1 << 56) - 1)) FROM outbox WHERE key >> 56 = code), 0)) FROM stream";
    let mut statement = connection.prepare(sql)?;
    let committed = statement
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?
        .collect::<Result<_, _>>()?;
    Ok(Obligations { batches, committed })
}

/// Reads what the backend stored of a gateway's epoch (16 hex digits).
///
/// # Errors
/// The file cannot be read, or holds a batch twice.
pub fn stored(data: &Path, tenant: &str, gateway: &str, epoch: &str) -> Result<Batches> {
    let connection = open(&data.join("tenants").join(format!("{tenant}.db")))?;
    let epoch = u64::from_str_radix(epoch, 16)?.cast_signed();
    let mut statement =
        connection.prepare("SELECT stream, sequence, body FROM batch WHERE gateway = ?1 AND epoch = ?2")?;
    let mut rows = statement.query((gateway, epoch))?;
    let mut batches = Batches::new();
    while let Some(row) = rows.next()? {
        let key: Key = (row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned());
        ensure!(batches.insert(key, row.get(2)?).is_none(), "batch {key:?} is stored twice");
    }
    Ok(batches)
}

/// Holds the store against the obligations.
///
/// # Errors
/// An obligation is not met, is met with other bytes, or the store holds what nobody committed.
pub fn judge(obligations: &Obligations, stored: &Batches) -> Result<()> {
    for (stream, count) in &obligations.committed {
        let sequences: Vec<u64> = stored.keys().filter(|(s, _)| s == stream).map(|(_, n)| *n).collect();
        let wanted: Vec<u64> = (1..=*count).collect();
        ensure!(sequences == wanted, "stream {stream}: stored {sequences:?} of 1..={count}");
    }
    for (key, body) in &obligations.batches {
        ensure!(stored.get(key) == Some(body), "batch {key:?} differs from what was committed");
    }
    Ok(())
}

/// The samples of every series in stored batches, in the order of their sequences.
///
/// # Errors
/// A stored batch cannot be read.
pub fn samples(stored: &Batches) -> Result<BTreeMap<SeriesId, Vec<Sample>>> {
    let mut out: BTreeMap<SeriesId, Vec<Sample>> = BTreeMap::new();
    for body in stored.values() {
        if let BatchBody::Samples(block) = Batch::decode(body)?.body {
            for series in block {
                out.entry(series.series).or_default().extend(series.samples);
            }
        }
    }
    Ok(out)
}

/// The alarm transitions in stored batches, in the order of their sequences.
///
/// # Errors
/// A stored batch cannot be read.
pub fn transitions(stored: &Batches) -> Result<Vec<AlarmTransition>> {
    let mut out = Vec::new();
    for body in stored.values() {
        if let BatchBody::Transitions(some) = Batch::decode(body)?.body {
            out.extend(some);
        }
    }
    Ok(out)
}

/// Which series carry the tag `name`, from the agent's buffer: machine and series number.
///
/// # Errors
/// The file cannot be read.
pub fn series_of_tag(buffer: &Path, name: &str) -> Result<Vec<(String, SeriesId)>> {
    let connection = open(buffer)?;
    let mut statement =
        connection.prepare("SELECT machine, number FROM series WHERE tag = ?1 ORDER BY machine")?;
    let found = statement.query_map([name], |row| Ok((row.get(0)?, SeriesId(row.get(1)?))))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// How a row of counter values runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CounterRun {
    /// Values seen.
    pub values: usize,
    /// Steps of more than one: values that are missing between two others, summed.
    pub missing: u64,
    /// How many such steps there were.
    pub breaks: usize,
    /// Steps of less than one: a value that came again, or went back.
    pub repeated: usize,
}

/// Looks at a counter that the machine increments by one for each value it gives out.
#[must_use]
pub fn counter_run(samples: &[Sample]) -> CounterRun {
    let values: Vec<i64> = samples
        .iter()
        .filter_map(|s| match s.value {
            Some(Value::Int(n)) => Some(n),
            Some(Value::Bool(_) | Value::Float(_) | Value::Text(_)) | None => None,
        })
        .collect();
    let mut run = CounterRun { values: values.len(), ..CounterRun::default() };
    for pair in values.windows(2) {
        let step = pair[1] - pair[0];
        if step > 1 {
            run.missing += u64::try_from(step - 1).unwrap_or(0);
            run.breaks += 1;
        } else if step < 1 {
            run.repeated += 1;
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obligations_of(count: u64) -> Obligations {
        Obligations {
            batches: (1..=count).map(|n| ((2, n), vec![u8::try_from(n).unwrap_or(0)])).collect(),
            committed: BTreeMap::from([(1, 0), (2, count), (3, 0)]),
        }
    }

    #[test]
    fn the_judge_sees_a_missing_a_foreign_and_a_changed_batch() {
        let owed = obligations_of(3);
        let good = owed.batches.clone();
        judge(&owed, &good).expect("all met");
        let mut missing = good.clone();
        missing.remove(&(2, 2));
        assert!(judge(&owed, &missing).is_err());
        let mut foreign = good.clone();
        foreign.insert((2, 4), vec![4]);
        assert!(judge(&owed, &foreign).is_err());
        let mut changed = good;
        changed.insert((2, 2), vec![9]);
        assert!(judge(&owed, &changed).is_err());
    }

    #[test]
    fn a_counter_run_tells_losses_from_repeats() {
        let sample = |n| Sample {
            value: Some(Value::Int(n)),
            quality: plant_model::Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: plant_model::Timestamp::from_micros(0),
        };
        let row: Vec<Sample> = [1, 2, 3, 6, 6, 7].map(sample).to_vec();
        assert_eq!(counter_run(&row), CounterRun { values: 6, missing: 2, breaks: 1, repeated: 1 });
    }
}
