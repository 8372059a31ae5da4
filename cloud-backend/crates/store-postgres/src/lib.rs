//! The store in PostgreSQL 15 or later: one database for all tenants.
//!
//! - Nothing is answered before the COMMIT, which is synchronous whatever the server's default; a server that does
//!   not flush its log (`fsync = off`) is refused.
//! - Each transaction takes a role that owns nothing and, with row-level security, sees the one tenant that the
//!   transaction names. The statements name the tenant as well: the policy is the second net.
//! - The writes of what gateways of one tenant send take turns, in as many processes as there are.
//! - A connection goes back to the others only after its transaction ended well. After a fault, and when nobody
//!   waits any more, it is closed.
//!
//! Implements the ports [`ingestion::IngestStore`], [`fleet::FleetStore`], [`tenancy::TenancyStore`],
//! [`tenancy::ConfigurationStore`], [`rollouts::RolloutStore`], [`tiering::TierStore`] and [`tiering::PolicyStore`].
//! The tables are described in `src/migrations`.

mod codec;
mod configuration;
mod connections;
mod control;
mod enrolment;
mod error;
mod fleet_reads;
mod ingest;
mod lifecycle;
mod open;
mod rollout;
mod tiers;
mod tls;

pub use error::PostgresError;

use connections::Connections;

/// The store.
#[derive(Debug)]
pub struct PostgresStore {
    writers: Connections,
    readers: Connections,
}

impl PostgresStore {
    /// Opens the store in a database, `postgres://user:password@host/database` or the same as
    /// `host=… user=… dbname=…`, and brings its tables up to date. The user owns the tables and may make roles,
    /// or is a member of the two that the store works with.
    ///
    /// With `?sslmode=verify-full&sslrootcert=FILE` it speaks TLS, and only with a server that one of the authorities in
    /// the file has certified under the name in the URI. `require` means the same. What the system trusts counts nowhere.
    ///
    /// # Errors
    /// The server cannot be reached, would lose what was committed, or has tables of a newer program.
    pub async fn open(uri: &str) -> Result<Self, PostgresError> {
        let database = open::Database::parse(uri)?;
        database.prepare().await?;
        Ok(Self { writers: database.connections()?, readers: database.connections()? })
    }
}
