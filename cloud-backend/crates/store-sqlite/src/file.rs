//! The files: where they are, how they are made, checked, migrated and opened.
//!
//! A file is made under another name, complete with its tables, and then linked to its own: a crash
//! leaves either no file or a whole one. So a file that is there and not whole was damaged later.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::SqliteError;
use crate::error::Fault;
use crate::writer::Target;

/// Marks the files of this program (SQLite's `application_id`): "MFPc" and "MFPt".
const CONTROL_ID: i32 = 0x4D46_5063;
const TENANT_ID: i32 = 0x4D46_5074;

const CONTROL_MIGRATIONS: &[&str] = &[
    include_str!("migrations/control-0001.sql"),
    include_str!("migrations/control-0002.sql"),
    include_str!("migrations/control-0003.sql"),
    include_str!("migrations/control-0004.sql"),
];
const TENANT_MIGRATIONS: &[&str] = &[
    include_str!("migrations/tenant-0001.sql"),
    include_str!("migrations/tenant-0002.sql"),
    include_str!("migrations/tenant-0003.sql"),
    include_str!("migrations/tenant-0004.sql"),
    include_str!("migrations/tenant-0005.sql"),
];

/// Up to this size a file is read from end to end when the store opens, about a quarter of a second;
/// of a larger one only the structure is checked, so that starting does not take minutes.
const FULL_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Up to this size a file of before is rewritten so that it can give space back: some ten seconds, and as much space
/// again while it lasts.
const REWRITTEN_BYTES_MAX: u64 = 1 << 30;

/// SQLite's `auto_vacuum`: pages that are free may be given back, in steps.
const INCREMENTAL: i64 = 2;

/// How long a connection waits for another process that writes. While the writer waits for one tenant's file it
/// does nothing for the others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Which file it is, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: Arc<Path>,
}

impl Files {
    /// Makes the directory and the control file when there is nothing yet.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, SqliteError> {
        let files = Self { directory: Arc::from(directory) };
        let tenants = directory.join("tenants");
        fs::create_dir_all(&tenants).map_err(SqliteError::file("cannot make the directory", &tenants))?;
        let control = files.path(&Target::Control);
        if !exists(&control)? {
            if has_databases(&tenants)? {
                let detail = format!("{} holds data of tenants that only it can name", tenants.display());
                return Err(SqliteError::Missing { path: control, detail });
            }
            files.create(&Target::Control)?;
        }
        Ok(files)
    }

    pub(crate) fn path(&self, target: &Target) -> PathBuf {
        match target {
            Target::Control => self.directory.join("control.db"),
            Target::Tenant(id) => self.directory.join("tenants").join(format!("{id}.db")),
        }
    }

    /// Which file is under a name now.
    pub(crate) fn id(&self, target: &Target) -> Result<FileId, SqliteError> {
        let path = self.path(target);
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.moved(target)),
            other => {
                let file = other.map_err(SqliteError::file("cannot look for", &path))?;
                Ok(FileId(file.dev(), file.ino()))
            }
        }
    }

    pub(crate) fn moved(&self, target: &Target) -> SqliteError {
        let detail = "it was moved, removed or replaced while it was in use".to_owned();
        SqliteError::Missing { path: self.path(target), detail }
    }

    /// A tenant without a file is none.
    pub(crate) fn require(&self, target: &Target) -> Result<(), Fault> {
        match target {
            Target::Tenant(tenant) if !exists(&self.path(target))? => {
                Err(Fault::UnknownTenant(tenant.clone()))
            }
            Target::Tenant(_) | Target::Control => Ok(()),
        }
    }

    /// Makes a file unless it is there.
    pub(crate) fn create(&self, target: &Target) -> Result<(), SqliteError> {
        let path = self.path(target);
        if exists(&path)? {
            return Ok(());
        }
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        remove_draft(&draft)?;
        make(&draft).map_err(SqliteError::file("cannot make", &draft))?;
        build(&draft, target, migrations(target)).map_err(SqliteError::from_sqlite(&draft))?;
        let linked = fs::hard_link(&draft, &path);
        remove_draft(&draft)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(SqliteError::file("cannot make", &path)),
        }?;
        sync_directory(&path)
    }

    /// Opens a file that must be there, after checking and migrating it.
    pub(crate) fn open_checked(&self, target: &Target) -> Result<Connection, SqliteError> {
        let path = self.path(target);
        let size = check_header(&path, target)?;
        let mut connection = open_writable(&path).map_err(SqliteError::from_sqlite(&path))?;
        if size <= FULL_CHECK_BYTES_MAX {
            let verdict: String = connection
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
                .map_err(SqliteError::from_sqlite(&path))?;
            if verdict != "ok" {
                return Err(SqliteError::damaged(&path, &verdict));
            }
        }
        migrate(&mut connection, target, &path)?;
        if matches!(target, Target::Tenant(_)) {
            let_space_go(&connection, &path, size).map_err(SqliteError::from_sqlite(&path))?;
        }
        Ok(connection)
    }

    /// Opens a file for the writer. It was checked when the store opened, or made since.
    pub(crate) fn open_for_writing(&self, target: &Target) -> Result<Connection, SqliteError> {
        let path = self.path(target);
        check_header(&path, target)?;
        open_writable(&path).map_err(SqliteError::from_sqlite(&path))
    }

    /// Opens a file for reading.
    pub(crate) fn open_for_reading(&self, target: &Target) -> Result<Connection, SqliteError> {
        let path = self.path(target);
        let open = || {
            let connection = open(&path, OpenFlags::empty())?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        };
        open().map_err(SqliteError::from_sqlite(&path))
    }
}

fn exists(path: &Path) -> Result<bool, SqliteError> {
    path.try_exists().map_err(SqliteError::file("cannot look for", path))
}

fn has_databases(directory: &Path) -> Result<bool, SqliteError> {
    let entries = fs::read_dir(directory).map_err(SqliteError::file("cannot list", directory))?;
    Ok(entries.flatten().any(|e| e.path().extension().is_some_and(|x| x == "db")))
}

fn remove_draft(draft: &Path) -> Result<(), SqliteError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = draft.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SqliteError::file("cannot remove", Path::new(&name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A name is durable when its directory is.
fn sync_directory(path: &Path) -> Result<(), SqliteError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    File::open(directory).and_then(|d| d.sync_all()).map_err(SqliteError::file("cannot sync", directory))
}

/// Checks what the first 100 bytes say (SQLite file format, section 1.3) and answers the size. SQLite
/// itself takes an empty file for a new database.
fn check_header(path: &Path, target: &Target) -> Result<u64, SqliteError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let detail = "its tenant is registered, so its data must be somewhere".to_owned();
            return Err(SqliteError::Missing { path: path.to_owned(), detail });
        }
        other => other.map_err(SqliteError::file("cannot open", path))?,
    };
    let size = file.metadata().map_err(SqliteError::file("cannot measure", path))?.len();
    let mut header = [0_u8; 100];
    if size < 100 {
        return Err(SqliteError::damaged(path, &format!("it has {size} bytes, less than its header")));
    }
    file.read_exact(&mut header).map_err(SqliteError::file("cannot read", path))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(SqliteError::damaged(path, &"it is no SQLite file"));
    }
    let id = i32::from_be_bytes([header[68], header[69], header[70], header[71]]);
    if id != application_id(target) {
        return Err(SqliteError::damaged(
            path,
            &format!("application id {id:#010x} is not the one of this file"),
        ));
    }
    Ok(size)
}

const fn application_id(target: &Target) -> i32 {
    match target {
        Target::Control => CONTROL_ID,
        Target::Tenant(_) => TENANT_ID,
    }
}

const fn migrations(target: &Target) -> &'static [&'static str] {
    match target {
        Target::Control => CONTROL_MIGRATIONS,
        Target::Tenant(_) => TENANT_MIGRATIONS,
    }
}

fn open(path: &Path, extra: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn open_writable(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::empty())?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A burst may grow the log; 64 MiB of it are kept for the next one.
    connection.pragma_update(None, "journal_size_limit", 64_i64 << 20)?;
    Ok(connection)
}

/// Makes an empty file that its owner alone reads; what SQLite makes beside it takes after it.
fn make(draft: &Path) -> std::io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(draft).map(drop)
}

fn build(draft: &Path, target: &Target, steps: &[&str]) -> rusqlite::Result<()> {
    let mut connection = open(draft, OpenFlags::empty())?;
    if matches!(target, Target::Tenant(_)) {
        // Before anything else is written.
        connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    }
    connection.pragma_update(None, "application_id", application_id(target))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT")?;
    apply_migrations(&transaction, 0, steps)?;
    transaction.commit()?;
    // Closing the last connection moves the log into the file, so that the file alone is whole.
    connection.close().map_err(|(_, error)| error)
}

fn migrate(connection: &mut Connection, target: &Target, path: &Path) -> Result<(), SqliteError> {
    let steps = migrations(target);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let run = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 =
            transaction
                .query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))?;
        if found < known {
            apply_migrations(&transaction, found, steps)?;
            transaction.commit()?;
        }
        Ok(found)
    };
    let found = run(connection).map_err(SqliteError::from_sqlite(path))?;
    if found > known {
        return Err(SqliteError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// Files of before keep their size for ever: they are rewritten once, unless they are large.
fn let_space_go(connection: &Connection, path: &Path, size: u64) -> rusqlite::Result<()> {
    let mode: i64 = connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
    if mode == INCREMENTAL {
        return Ok(());
    }
    if size > REWRITTEN_BYTES_MAX {
        tracing::warn!(file = %path.display(), size_bytes = size, limit_bytes = REWRITTEN_BYTES_MAX,
            "free space in the file is used again but not given back; to change that, stop the backend and run \
             \"PRAGMA auto_vacuum = 2; VACUUM\" on it");
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    match connection.execute_batch("VACUUM") {
        // Somebody else has it open: the next start does it.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
        other => other,
    }
}

fn apply_migrations(connection: &Connection, from: i64, steps: &[&str]) -> rusqlite::Result<()> {
    for (version, step) in (1_i64..).zip(steps) {
        if version > from {
            connection.execute_batch(step)?;
            connection.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
