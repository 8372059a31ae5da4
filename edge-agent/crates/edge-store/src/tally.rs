//! What is held of a stream, counted a few thousand rows at a time, so that a commit never waits long behind it.

use plant_model::Timestamp;
use protocol::{Sequence, StreamId};
use rusqlite::{Connection, Row, params};

use crate::schema::{key, keys, sequence_of};

/// Rows that are counted at once: some milliseconds, because messages are measured and not read.
const ROWS_MAX: i64 = 2_000;

/// Some batches of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// How many.
    pub batches: u64,
    /// Samples or records in them.
    pub entries: u64,
    /// Their messages as they lie in the file.
    pub bytes: u64,
    /// How many of them were thinned.
    pub thinned: u64,
    /// Bytes of those that were committed at or after the instant that was asked for.
    pub recent_bytes: u64,
    /// Numbers of the first and the last.
    pub numbers: Option<(Sequence, Sequence)>,
    /// When the first and the last were committed, by the gateway's clock of that time.
    pub committed: Option<(Timestamp, Timestamp)>,
}

impl Holding {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            batches: self.batches + other.batches,
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
            thinned: self.thinned + other.thinned,
            recent_bytes: self.recent_bytes + other.recent_bytes,
            numbers: hull(self.numbers, other.numbers),
            committed: hull(self.committed, other.committed),
        }
    }
}

fn hull<T: Ord>(a: Option<(T, T)>, b: Option<(T, T)>) -> Option<(T, T)> {
    match (a, b) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        (a, b) => a.or(b),
    }
}

/// A part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// What the backend has acknowledged.
    pub acknowledged: Holding,
    /// What it has not.
    pub waiting: Holding,
    /// Where to go on counting; `None` at the end of the stream.
    pub next: Option<Sequence>,
}

/// Counts a part of a stream from a number on.
pub(crate) fn tally(
    connection: &Connection,
    stream: StreamId,
    from: Sequence,
    acked: Sequence,
    recent: Timestamp,
) -> rusqlite::Result<Tally> {
    let sql = "SELECT key <= ?4, count(*), sum(count), sum(bytes), sum(thinned),
                      sum(iif(committed_at >= ?5, bytes, 0)), min(key), max(key), min(committed_at), max(committed_at)
               FROM (SELECT key, committed_at, count, thinned, length(message) AS bytes FROM outbox
                     WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3)
               GROUP BY 1";
    let mut statement = connection.prepare_cached(sql)?;
    let range = (key(stream, from), keys(stream).1);
    let mut rows =
        statement.query(params![range.0, range.1, ROWS_MAX, key(stream, acked), recent.micros()])?;
    let mut found = Tally::default();
    while let Some(row) = rows.next()? {
        let part = if row.get(0)? { &mut found.acknowledged } else { &mut found.waiting };
        *part = holding(row)?;
    }
    let counted = found.acknowledged.plus(found.waiting);
    let is_cut = counted.batches == ROWS_MAX.unsigned_abs();
    found.next = counted.numbers.filter(|_| is_cut).map(|(_, last)| last.next());
    Ok(found)
}

fn holding(row: &Row<'_>) -> rusqlite::Result<Holding> {
    let number = |column| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
    let time = |column| row.get(column).map(Timestamp::from_micros);
    Ok(Holding {
        batches: number(1)?,
        entries: number(2)?,
        bytes: number(3)?,
        thinned: number(4)?,
        recent_bytes: number(5)?,
        numbers: Some((sequence_of(row.get(6)?), sequence_of(row.get(7)?))),
        committed: Some((time(8)?, time(9)?)),
    })
}

/// What else can be said of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The layout of its file.
    pub layout: i64,
    /// Whether what is committed is encrypted.
    pub is_sealed: bool,
    /// Series that have a number.
    pub series: u64,
    /// Batches that were set aside.
    pub set_aside: u64,
}

pub(crate) fn facts(connection: &Connection) -> rusqlite::Result<Facts> {
    let count = |table| {
        connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            .map(|count| u64::try_from(count).unwrap_or(0))
    };
    Ok(Facts {
        layout: crate::schema::layout(connection)?,
        is_sealed: crate::seal::is_marked(connection)?,
        series: count("series")?,
        set_aside: count("aside")?,
    })
}
