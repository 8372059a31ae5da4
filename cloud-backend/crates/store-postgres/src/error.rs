//! Why the store did not open, and why an operation failed.

use std::path::PathBuf;
use std::time::Duration;

use plant_model::{GatewayId, TenantId};
use thiserror::Error;
use tiering::Revision;
use tokio_postgres::error::SqlState;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not open.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// The URI is none. It is not repeated: there may be a password in it.
    #[error("the store's URI is no postgres://user:password@host/database: {0}")]
    Uri(String),
    /// The way there is not protected.
    #[error(
        "{server} is on another host, and the URI asks for no TLS. Add ?sslmode=verify-full&sslrootcert=FILE with the \
         authority of its certificate, or say sslmode=disable where the network itself is protected"
    )]
    Clear {
        /// Where.
        server: String,
    },
    /// The file of authorities that the URI names is of no use.
    #[error("the authority in sslrootcert cannot be used")]
    Authority(#[source] Cause),
    /// Somebody answers there whom nobody vouches for.
    #[error(
        "{server} showed a certificate that is not to be trusted: {} does not vouch for it under this name. Nothing was \
         sent to it. Give in sslrootcert the authority that certified this server, and in the URI the name in its \
         certificate", .authority.display()
    )]
    Untrusted {
        /// Where.
        server: String,
        /// The file with the authorities.
        authority: PathBuf,
        /// What is wrong with the certificate.
        #[source]
        source: Cause,
    },
    /// Nobody answers there, or not to this user.
    #[error("cannot connect to {server}; is it running, and may this user connect?")]
    Unreachable {
        /// Where.
        server: String,
        /// What the client says.
        #[source]
        source: Cause,
    },
    /// What it committed could be lost.
    #[error(
        "{server} runs with {setting} = off: a power cut would lose what gateways were told is stored. Turn it on"
    )]
    NotDurable {
        /// Where.
        server: String,
        /// The setting.
        setting: &'static str,
    },
    /// The roles are not there and cannot be made.
    #[error(
        "{server}: the roles cloud_backend_tenant and cloud_backend_platform are missing and this user may not make \
         them. Have an administrator run: CREATE ROLE cloud_backend_tenant; CREATE ROLE cloud_backend_platform; \
         GRANT cloud_backend_tenant, cloud_backend_platform TO <this user>"
    )]
    Roles {
        /// Where.
        server: String,
        /// What the server says.
        #[source]
        source: Cause,
    },
    /// The tables were made by a newer program, or by one whose migrations are others.
    #[error(
        "{server} has tables of another program: {detail}. Start the newest program that used this database"
    )]
    Newer {
        /// Where.
        server: String,
        /// Which migration.
        detail: String,
    },
    /// The server refused.
    #[error("cannot {what} in {server}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Where.
        server: String,
        /// What the server says.
        #[source]
        source: Cause,
    },
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("PostgreSQL")]
    Sql(#[from] tokio_postgres::Error),
    #[error("no connection to PostgreSQL")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("PostgreSQL has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("{0}")]
    Unreadable(String),
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    #[error("{0}")]
    Contradiction(String),
    #[error("{kind} {id} already exists")]
    AlreadyExists { kind: &'static str, id: String },
    #[error("there is no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error("the tiers of gateway {gateway} are at revision {}, not {}", .found.0, .expected.0)]
    Conflict { gateway: GatewayId, expected: Revision, found: Revision },
}

impl Fault {
    pub(crate) fn unreadable(what: &str, detail: &dyn std::fmt::Display) -> Self {
        Self::Unreadable(format!("{what}: {detail}"))
    }

    /// What PostgreSQL says of its own files.
    fn is_damage(error: &tokio_postgres::Error) -> bool {
        let code = error.code();
        code == Some(&SqlState::DATA_CORRUPTED) || code == Some(&SqlState::INDEX_CORRUPTED)
    }
}

impl From<Fault> for ingestion::StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(detail) => Self::Corrupt(detail),
            Fault::Sql(error) if Fault::is_damage(&error) => Self::Corrupt(error.to_string()),
            Fault::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            Fault::Contradiction(detail) => Self::Contradiction(detail),
            // Its operations neither add nor look for a thing by its name, nor move what rests.
            Fault::Sql(_)
            | Fault::Pool(_)
            | Fault::Silent(_)
            | Fault::Conflict { .. }
            | Fault::AlreadyExists { .. }
            | Fault::NotFound { .. } => Self::Unavailable(Box::new(fault)),
        }
    }
}

impl From<Fault> for fleet::StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(detail) => Self::Corrupt(detail),
            Fault::Sql(error) if Fault::is_damage(&error) => Self::Corrupt(error.to_string()),
            Fault::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            // Its operations only read.
            Fault::Sql(_)
            | Fault::Pool(_)
            | Fault::Silent(_)
            | Fault::Contradiction(_)
            | Fault::Conflict { .. }
            | Fault::AlreadyExists { .. }
            | Fault::NotFound { .. } => Self::Unavailable(Box::new(fault)),
        }
    }
}

impl From<Fault> for tenancy::StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(detail) => Self::Corrupt(detail),
            Fault::Sql(error) if Fault::is_damage(&error) => Self::Corrupt(error.to_string()),
            Fault::AlreadyExists { kind, id } => Self::AlreadyExists { kind, id },
            Fault::NotFound { kind, id } => Self::NotFound { kind, id },
            Fault::UnknownTenant(tenant) => Self::NotFound { kind: "tenant", id: tenant.to_string() },
            // What contradicts itself is only what gateways send, and only what rests has revisions.
            Fault::Sql(_)
            | Fault::Pool(_)
            | Fault::Silent(_)
            | Fault::Contradiction(_)
            | Fault::Conflict { .. } => Self::Unavailable(Box::new(fault)),
        }
    }
}

impl From<Fault> for tiering::StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(detail) => Self::Corrupt(detail),
            Fault::Sql(error) if Fault::is_damage(&error) => Self::Corrupt(error.to_string()),
            Fault::UnknownTenant(tenant) => Self::UnknownTenant(tenant),
            Fault::Conflict { gateway, expected, found } => Self::Conflict { gateway, expected, found },
            Fault::Sql(_)
            | Fault::Pool(_)
            | Fault::Silent(_)
            | Fault::Contradiction(_)
            | Fault::AlreadyExists { .. }
            | Fault::NotFound { .. } => Self::Unavailable(Box::new(fault)),
        }
    }
}
