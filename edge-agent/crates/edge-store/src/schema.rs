//! Opening the file: pragmas, layout, damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::StoreError;

/// Layout this version writes. Migrations append to [`LAYOUTS`].
const LAYOUT: i64 = 2;

pub(crate) const LAYOUTS: [&str; 2] = [
    "
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
",
    // All that an alarm remembers: an active one had not been acknowledged.
    "
    ALTER TABLE alarm ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE alarm ADD COLUMN shelved_until INTEGER;
    ALTER TABLE alarm ADD COLUMN review_at INTEGER;
    UPDATE alarm SET flags = 3 WHERE active <> 0;
    ALTER TABLE alarm DROP COLUMN active;
",
];

/// Opens the file and brings it to the newest layout. `Ok(None)` says that the file is damaged.
pub(crate) fn open(path: &Path, epoch: u64) -> Result<Option<Connection>, StoreError> {
    match try_open(path, epoch) {
        Ok(connection) => Ok(Some(connection)),
        Err(Failure::Damaged) => Ok(None),
        Err(Failure::Newer(found)) => Err(StoreError::Newer { path: path.to_owned(), found, known: LAYOUT }),
        Err(Failure::Other(source)) => Err(StoreError::Open { path: path.to_owned(), source }),
    }
}

enum Failure {
    Damaged,
    Newer(i64),
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged,
            _ => Self::Other(error),
        }
    }
}

fn try_open(path: &Path, epoch: u64) -> Result<Connection, Failure> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "NONE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 250)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Failure::Damaged);
    }
    migrate(&mut connection, epoch)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, epoch: u64) -> Result<(), Failure> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > LAYOUT {
        return Err(Failure::Newer(found));
    }
    let steps = usize::try_from(found).unwrap_or(0);
    let transaction = connection.transaction()?;
    for layout in &LAYOUTS[steps..] {
        transaction.execute_batch(layout)?;
    }
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ('epoch', ?1) ON CONFLICT DO NOTHING",
        [epoch.to_be_bytes().as_slice()],
    )?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.commit()?;
    Ok(())
}

/// Reads the epoch that was made with the file.
pub(crate) fn epoch(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let bytes: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|b| b.try_into().ok()).map(u64::from_be_bytes))
}

/// Renames a damaged file and its companions; the name carries the instant, so nothing is overwritten.
pub(crate) fn set_aside(path: &Path, now_micros: i64) -> Result<PathBuf, StoreError> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = named(&format!(".damaged-{now_micros}"));
    for companion in ["", "-wal", "-shm"] {
        let from = named(companion);
        if !from.exists() {
            continue;
        }
        let mut to = aside.as_os_str().to_owned();
        to.push(companion);
        std::fs::rename(&from, &to).map_err(|source| StoreError::SetAside {
            path: from.clone(),
            aside: PathBuf::from(to),
            source,
        })?;
    }
    Ok(aside)
}
