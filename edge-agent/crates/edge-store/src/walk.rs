//! Reading rows of a file of which parts may be damaged.

use rusqlite::Connection;

/// Most attempts to read behind damaged places; each takes microseconds.
const PROBES_MAX: u32 = 200_000;

/// A row of `outbox`, its message as it lies in the file.
pub(crate) struct RawRow {
    pub key: i64,
    pub committed_at: i64,
    pub message: Vec<u8>,
}

/// What a walk could not read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Places where reading failed; each hides one row or several.
    pub places: u32,
    /// What SQLite said of the first.
    pub reason: Option<String>,
}

/// Hands over every row of a range of keys that can be read, in their order. Where reading fails the rest is halved
/// until it succeeds.
pub(crate) fn walk<E>(
    connection: &Connection,
    first: i64,
    last: i64,
    take: &mut impl FnMut(RawRow) -> Result<(), E>,
) -> Result<Unreadable, E> {
    let (mut open, mut probes, mut unreadable) = (vec![(first, last)], 0, Unreadable::default());
    while let Some((first, last)) = open.pop() {
        probes += 1;
        let Some(failure) = read_run(connection, first, last, take)? else { continue };
        unreadable.reason.get_or_insert(failure.reason);
        if failure.at >= last || probes >= PROBES_MAX {
            unreadable.places += 1;
            continue;
        }
        let middle = failure.at + (last - failure.at) / 2;
        open.push((middle + 1, last));
        open.push((failure.at, middle));
    }
    Ok(unreadable)
}

struct Failure {
    at: i64,
    reason: String,
}

/// Reads rows until one cannot be read; says at which key.
fn read_run<E>(
    connection: &Connection,
    first: i64,
    last: i64,
    take: &mut impl FnMut(RawRow) -> Result<(), E>,
) -> Result<Option<Failure>, E> {
    let sql = "SELECT key, committed_at, message FROM outbox WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    let failure = |at, error: rusqlite::Error| Ok(Some(Failure { at, reason: error.to_string() }));
    let mut at = first;
    let mut statement = match connection.prepare_cached(sql) {
        Ok(statement) => statement,
        Err(error) => return failure(last, error),
    };
    let mut rows = match statement.query([first, last]) {
        Ok(rows) => rows,
        Err(error) => return failure(first, error),
    };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(error) => return failure(at, error),
        };
        let read = || Ok(RawRow { key: row.get(0)?, committed_at: row.get(1)?, message: row.get(2)? });
        let row = match read() {
            Ok(row) => row,
            Err(error) => return failure(at, error),
        };
        at = row.key + 1;
        take(row)?;
    }
}
