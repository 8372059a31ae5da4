//! Layout of the file, one step after the other, and its epoch. See the crate for what the tables mean.

use protocol::{Sequence, StreamId};
use rusqlite::{Connection, OptionalExtension};

pub(crate) const FIRST_LAYOUT: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE stream (
        code INTEGER PRIMARY KEY,
        next INTEGER NOT NULL,
        acked INTEGER NOT NULL
    ) STRICT;
    INSERT INTO stream VALUES (1, 1, 0), (2, 1, 0), (3, 1, 0);
    CREATE TABLE batch (
        stream INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        committed_at INTEGER NOT NULL,
        count INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (stream, sequence)
    ) STRICT;
    CREATE TABLE series (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        machine TEXT NOT NULL,
        tag TEXT NOT NULL,
        UNIQUE (machine, tag)
    ) STRICT;
    CREATE TABLE alarm (
        machine TEXT NOT NULL,
        alarm TEXT NOT NULL,
        occurrence INTEGER NOT NULL,
        active INTEGER NOT NULL,
        PRIMARY KEY (machine, alarm)
    ) STRICT, WITHOUT ROWID;
";

/// Layout this version writes. Steps are appended to [`STEPS`] and never changed.
pub(crate) const LAYOUT: i64 = 5;

pub(crate) const STEPS: [&str; 5] = [
    FIRST_LAYOUT,
    // All that an alarm remembers: an active one had not been acknowledged.
    "
    ALTER TABLE alarm ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE alarm ADD COLUMN shelved_until INTEGER;
    ALTER TABLE alarm ADD COLUMN review_at INTEGER;
    UPDATE alarm SET flags = 3 WHERE active <> 0;
    ALTER TABLE alarm DROP COLUMN active;
",
    // One key instead of a row number and an index: a page less in every commit.
    "
    CREATE TABLE outbox (
        key INTEGER PRIMARY KEY,
        committed_at INTEGER NOT NULL,
        count INTEGER NOT NULL,
        thinned INTEGER NOT NULL,
        message BLOB NOT NULL
    ) STRICT;
    INSERT INTO outbox SELECT (stream << 56) | sequence, committed_at, count, 0, body FROM batch;
    DROP TABLE batch;
    CREATE TABLE aside (
        key INTEGER PRIMARY KEY,
        reason TEXT NOT NULL,
        message BLOB NOT NULL
    ) STRICT;
    CREATE TABLE reserve (number INTEGER PRIMARY KEY, zeroes BLOB NOT NULL) STRICT;
",
    // What runs for an alarm, and the commands that moved one.
    "
    ALTER TABLE alarm ADD COLUMN delay_passed INTEGER;
    ALTER TABLE alarm ADD COLUMN re_alarm_in INTEGER;
    ALTER TABLE alarm ADD COLUMN shelf_left INTEGER;
    CREATE TABLE command (
        machine TEXT NOT NULL,
        number INTEGER NOT NULL,
        id TEXT NOT NULL,
        alarm TEXT NOT NULL,
        cause TEXT NOT NULL,
        PRIMARY KEY (machine, number)
    ) STRICT, WITHOUT ROWID;
",
    // Batches that were committed before the time was known.
    "
    CREATE TABLE boot (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        booted_at INTEGER NOT NULL,
        known INTEGER NOT NULL,
        declared INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE unplaced (key INTEGER PRIMARY KEY, boot INTEGER NOT NULL) STRICT;
    CREATE TRIGGER placed_or_gone AFTER DELETE ON outbox BEGIN
        DELETE FROM unplaced WHERE key = OLD.key;
    END;
",
];

/// Why a file cannot be brought to the newest layout.
pub(crate) enum Refused {
    Newer(i64),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// Brings the file to the newest layout. A file that has it is not written to, so that a full disk does
/// not keep the agent from starting.
pub(crate) fn migrate(connection: &mut Connection, epoch: u64) -> Result<(), Refused> {
    let found = layout(connection)?;
    if found > LAYOUT {
        return Err(Refused::Newer(found));
    }
    if found == LAYOUT {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    let transaction = connection.transaction()?;
    for step in &STEPS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ('epoch', ?1) ON CONFLICT DO NOTHING",
        [epoch.to_be_bytes().as_slice()],
    )?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.commit()?;
    Ok(())
}

pub(crate) fn layout(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// A number in `meta`.
pub(crate) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    let bytes: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|b| b.try_into().ok()).map(u64::from_be_bytes))
}

pub(crate) fn set_meta(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(sql, (name, value.to_be_bytes().as_slice())).map(|_| ())
}

/// Bits of a key below the stream's code. A commit every microsecond would fill them in 2,283 years.
const SEQUENCE_BITS: u32 = 56;

/// The key of a batch in `outbox`.
pub(crate) fn key(stream: StreamId, sequence: Sequence) -> i64 {
    let sequence = sequence.as_u64().min((1 << SEQUENCE_BITS) - 1);
    (i64::from(stream.code()) << SEQUENCE_BITS) | i64::try_from(sequence).unwrap_or(0)
}

/// The smallest and the largest key of a stream.
pub(crate) fn keys(stream: StreamId) -> (i64, i64) {
    (key(stream, Sequence::ZERO), key(stream, Sequence::from_u64(u64::MAX)))
}

/// The sequence in a key.
pub(crate) fn sequence_of(key: i64) -> Sequence {
    Sequence::from_u64(u64::try_from(key & ((1 << SEQUENCE_BITS) - 1)).unwrap_or(0))
}
