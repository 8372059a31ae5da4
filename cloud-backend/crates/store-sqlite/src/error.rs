//! Why the store did not open, and why an operation failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plant_model::{GatewayId, TenantId};
use rusqlite::ErrorCode;
use thiserror::Error;
use tiering::Revision;

/// Why the store did not open.
#[derive(Debug, Error)]
pub enum SqliteError {
    /// The file is no intact file of this program.
    #[error(
        "{} is damaged: {detail}. Nothing was changed. Restore the file from a backup, or move it away \
         to begin without its data; gateways send again what they still hold",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file that must be there is not.
    #[error("{} is missing: {detail}. Restore the file from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why it must be there.
        detail: String,
    },
    /// The file was written by a newer program.
    #[error("{} has schema {found}; this program knows up to {known}. Start the newer program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The operating system refused.
    #[error("{} {}", what, path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// SQLite could not open, create or migrate a sound file.
    #[error("{} cannot be used by SQLite", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SqliteError {
    pub(crate) fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.to_string() }
    }

    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// Tells a damaged file from one that SQLite only cannot use now.
    pub(crate) fn from_sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::damaged(&path, &source),
            _ => Self::Unusable { path: path.clone(), source: Box::new(source) },
        }
    }
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("SQLite: {0}")]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Open(#[from] SqliteError),
    #[error("{0}")]
    Unreadable(String),
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    #[error("{0}")]
    Contradiction(String),
    #[error("the tiers of gateway {gateway} are at revision {}, not {}", .found.0, .expected.0)]
    Conflict { gateway: GatewayId, expected: Revision, found: Revision },
    #[error("{kind} {id} already exists")]
    AlreadyExists { kind: &'static str, id: String },
    #[error("there is no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("the writer of the store has stopped")]
    Stopped,
    #[error("another command of the same transaction failed")]
    Neighbour,
    /// The transaction that the command shared with others failed.
    #[error("the transaction failed: {0}")]
    Transaction(Arc<Fault>),
}

impl Fault {
    pub(crate) fn unreadable(what: &str, detail: &dyn std::fmt::Display) -> Self {
        Self::Unreadable(format!("{what}: {detail}"))
    }

    /// Whether only the command is at fault and its neighbours in the transaction may go on. After any
    /// other fault the state of the connection is not known well enough to commit.
    pub(crate) fn spares_the_transaction(&self) -> bool {
        match self {
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                None | Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
            ),
            Self::Contradiction(_)
            | Self::Conflict { .. }
            | Self::AlreadyExists { .. }
            | Self::NotFound { .. }
            | Self::Unreadable(_)
            | Self::UnknownTenant(_) => true,
            Self::Open(_) | Self::Stopped | Self::Neighbour | Self::Transaction(_) => false,
        }
    }

    /// What it means to whoever asked, whatever the path it took.
    fn meaning(&self) -> Meaning {
        match self {
            Self::Unreadable(detail) => Meaning::Corrupt(detail.clone()),
            Self::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Meaning::Corrupt(error.to_string())
                }
                _ => Meaning::Unavailable,
            },
            Self::Open(error @ (SqliteError::Damaged { .. } | SqliteError::Newer { .. })) => {
                Meaning::Corrupt(error.to_string())
            }
            Self::Open(
                SqliteError::Missing { .. } | SqliteError::File { .. } | SqliteError::Unusable { .. },
            )
            | Self::Neighbour
            | Self::Conflict { .. }
            | Self::Stopped => Meaning::Unavailable,
            Self::UnknownTenant(tenant) => Meaning::UnknownTenant(tenant.clone()),
            Self::Contradiction(detail) => Meaning::Contradiction(detail.clone()),
            Self::AlreadyExists { kind, id } => Meaning::AlreadyExists(kind, id.clone()),
            Self::NotFound { kind, id } => Meaning::NotFound(kind, id.clone()),
            Self::Transaction(shared) => shared.meaning(),
        }
    }
}

/// The faults as the ports tell them apart.
enum Meaning {
    Unavailable,
    Corrupt(String),
    UnknownTenant(TenantId),
    Contradiction(String),
    AlreadyExists(&'static str, String),
    NotFound(&'static str, String),
}

impl From<Fault> for ingestion::StoreError {
    fn from(fault: Fault) -> Self {
        match fault.meaning() {
            Meaning::Corrupt(detail) => Self::Corrupt(detail),
            Meaning::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            Meaning::Contradiction(detail) => Self::Contradiction(detail),
            // Its operations neither add nor look for a thing by its name.
            Meaning::Unavailable | Meaning::AlreadyExists(..) | Meaning::NotFound(..) => {
                Self::Unavailable(Box::new(fault))
            }
        }
    }
}

impl From<Fault> for fleet::StoreError {
    fn from(fault: Fault) -> Self {
        match fault.meaning() {
            Meaning::Corrupt(detail) => Self::Corrupt(detail),
            Meaning::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            // Its operations only read.
            Meaning::Unavailable
            | Meaning::Contradiction(_)
            | Meaning::AlreadyExists(..)
            | Meaning::NotFound(..) => Self::Unavailable(Box::new(fault)),
        }
    }
}

impl From<Fault> for tenancy::StoreError {
    fn from(fault: Fault) -> Self {
        match fault.meaning() {
            Meaning::Corrupt(detail) => Self::Corrupt(detail),
            Meaning::AlreadyExists(kind, id) => Self::AlreadyExists { kind, id },
            Meaning::NotFound(kind, id) => Self::NotFound { kind, id },
            Meaning::UnknownTenant(tenant) => Self::NotFound { kind: "tenant", id: tenant.to_string() },
            // What contradicts itself is only what gateways send.
            Meaning::Unavailable | Meaning::Contradiction(_) => Self::Unavailable(Box::new(fault)),
        }
    }
}

impl From<Fault> for tiering::StoreError {
    fn from(fault: Fault) -> Self {
        if let Fault::Conflict { gateway, expected, found } = fault {
            return Self::Conflict { gateway, expected, found };
        }
        match fault.meaning() {
            Meaning::Corrupt(detail) | Meaning::Contradiction(detail) => Self::Corrupt(detail),
            Meaning::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            // Its operations neither add nor look for a thing by its name.
            Meaning::Unavailable | Meaning::AlreadyExists(..) | Meaning::NotFound(..) => {
                Self::Unavailable(Box::new(fault))
            }
        }
    }
}
