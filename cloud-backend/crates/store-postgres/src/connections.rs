//! The connections, and how a transaction begins and ends.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, Transaction};
use plant_model::TenantId;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::ToSql;

use crate::error::Fault;

/// Connections of each kind. Writers of one tenant take turns and reads are bound by the server's disk and
/// processors: more would only queue there. Reads have their own, so that none of them keeps a batch waiting.
pub(crate) const CONNECTIONS_MAX: usize = 8;

/// The longest transaction, from asking for a connection to the end of the COMMIT. A group of batches takes some ten
/// milliseconds, the longest read a few seconds; a server that is silent for so long may have gone for good.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a statement waits for a lock of somebody else; then it fails and may be tried again.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Whose rows a transaction sees.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// What gateways of the tenant send. Such writes of one tenant take turns.
    Telemetry(TenantId),
    /// The tenant's gateways, invitations and certificates. Such writes of one tenant take turns.
    Control(TenantId),
    /// The tiers of the tenant's gateways, and all that is read of what they sent. Writes of one gateway take turns at
    /// its row.
    Tiers(TenantId),
    /// Tenants, users, sessions, and whatever is looked for in all tenants.
    Platform,
}

impl Scope {
    const fn role(&self) -> &'static str {
        match self {
            Self::Telemetry(_) | Self::Control(_) | Self::Tiers(_) => "cloud_backend_tenant",
            Self::Platform => "cloud_backend_platform",
        }
    }

    fn tenant(&self) -> &str {
        match self {
            Self::Telemetry(tenant) | Self::Control(tenant) | Self::Tiers(tenant) => tenant.as_str(),
            Self::Platform => "",
        }
    }

    /// The name of the lock under which writes take turns.
    fn turn(&self) -> Option<String> {
        match self {
            Self::Telemetry(tenant) => Some(format!("telemetry of {tenant}")),
            Self::Control(tenant) => Some(format!("control of {tenant}")),
            Self::Tiers(_) | Self::Platform => None,
        }
    }

    /// How the server plans statements that it knows. A plan for whatever parameters would lock all parts of a table.
    const fn plans(&self) -> &'static str {
        match self {
            Self::Tiers(_) => "force_custom_plan",
            Self::Telemetry(_) | Self::Control(_) | Self::Platform => "auto",
        }
    }
}

/// What is done in a transaction.
pub(crate) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 't>>;

/// The connections of one kind.
#[derive(Debug)]
pub(crate) struct Connections(Pool);

impl Connections {
    pub(crate) const fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Does the work in a transaction and answers after its COMMIT.
    pub(crate) async fn write<T: Send>(
        &self,
        scope: Scope,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send,
    ) -> Result<T, Fault> {
        self.transact(scope, Purpose::Write, work).await
    }

    /// Runs a read on a snapshot.
    pub(crate) async fn read<T: Send>(
        &self,
        scope: Scope,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send,
    ) -> Result<T, Fault> {
        self.transact(scope, Purpose::Read, work).await
    }

    async fn transact<T: Send>(
        &self,
        scope: Scope,
        purpose: Purpose,
        work: impl for<'t> FnOnce(&'t Transaction<'t>) -> Work<'t, T> + Send,
    ) -> Result<T, Fault> {
        in_time(async {
            let mut lent = Lent::new(self.0.get().await?);
            let transaction = lent.transaction(&scope, purpose).await?;
            if let (Purpose::Write, Some(turn)) = (purpose, scope.turn()) {
                let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
                let lock = transaction.prepare_cached(sql).await?;
                transaction.query(&lock, &[&turn]).await?;
            }
            if let Scope::Telemetry(tenant) | Scope::Tiers(tenant) = &scope {
                require_tenant(&transaction, tenant).await?;
            }
            let answer = work(&transaction).await?;
            transaction.commit().await?;
            lent.give_back();
            Ok(answer)
        })
        .await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(Fault::Silent(DEADLINE)))
}

async fn require_tenant(t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
    let known = t.prepare_cached("SELECT 1 FROM tenant WHERE id = $1").await?;
    match t.query_opt(&known, &[&tenant.as_str()]).await? {
        Some(_) => Ok(()),
        None => Err(Fault::UnknownTenant(tenant.clone())),
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Write,
    /// On a snapshot.
    Read,
}

/// A connection on loan. It is closed when it is dropped without being given back: nobody knows then what the server
/// is still doing on it.
struct Lent(Option<Object>);

impl Lent {
    const fn new(connection: Object) -> Self {
        Self(Some(connection))
    }

    async fn transaction(&mut self, scope: &Scope, purpose: Purpose) -> Result<Transaction<'_>, Fault> {
        let connection = self.0.as_mut().expect("it is given back at the end");
        let builder = connection.build_transaction();
        let builder = match purpose {
            Purpose::Write => builder.isolation_level(IsolationLevel::ReadCommitted),
            Purpose::Read => builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true),
        };
        let transaction = builder.start().await?;
        // All of it ends with the transaction, so that nothing is left for the next one.
        let sql = "SELECT set_config('role', $1, true), set_config('app.tenant', $2, true),
                     set_config('lock_timeout', $3, true), set_config('statement_timeout', $4, true),
                     set_config('synchronous_commit', 'on', true), set_config('plan_cache_mode', $5, true)";
        let settings = transaction.prepare_cached(sql).await?;
        let (lock, statement) = (LOCK_WAIT.as_millis().to_string(), DEADLINE.as_millis().to_string());
        let values: [&(dyn ToSql + Sync); 5] =
            [&scope.role(), &scope.tenant(), &lock, &statement, &scope.plans()];
        transaction.query_one(&settings, &values).await?;
        Ok(transaction)
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}
