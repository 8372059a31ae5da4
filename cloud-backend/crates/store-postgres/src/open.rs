//! From the URI to a database that is ready: roles, tables, and what the server must promise.

use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use refinery::error::Kind;
use tokio::time::error::Elapsed;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use crate::PostgresError;
use crate::connections::{CONNECTIONS_MAX, Connections};
use crate::tls::{self, Protection};

mod migrations {
    refinery::embed_migrations!("src/migrations");
}

/// How long to wait for a connection: a server on this planet answers within a second.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// The lock under which programs that start together bring the tables up to date one after the other: "MFPm".
const MIGRATION_LOCK: i64 = 0x4D46_506D;

/// The roles that do the work. Another database of the same server may have made them.
const MAKE_ROLES: &str = "DO $$
    DECLARE wanted text;
    BEGIN
      FOREACH wanted IN ARRAY ARRAY['cloud_backend_tenant', 'cloud_backend_platform'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
          BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
          EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
          END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
          EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
        END IF;
      END LOOP;
    END $$";

/// What a connection does until it ends; whether it ended in order.
type Driver = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Which database.
#[derive(Debug)]
pub(crate) struct Database {
    config: Config,
    protection: Protection,
}

impl Database {
    pub(crate) fn parse(uri: &str) -> Result<Self, PostgresError> {
        let (uri, protection) = tls::read(uri)?;
        let mut config = Config::from_str(&uri).map_err(|e| PostgresError::Uri(e.to_string()))?;
        if config.get_hosts().is_empty() {
            return Err(PostgresError::Uri("it names no host".to_owned()));
        }
        config.application_name("cloud-backend").connect_timeout(CONNECT_WAIT);
        let database = Self { config, protection };
        let (mode, is_clear) =
            (database.config.get_ssl_mode(), matches!(database.protection, Protection::None));
        if is_clear && mode == SslMode::Require {
            let form = "TLS is asked for as postgres://…?sslmode=verify-full&sslrootcert=FILE";
            return Err(PostgresError::Uri(form.to_owned()));
        }
        if is_clear && mode != SslMode::Disable && database.is_elsewhere() {
            return Err(PostgresError::Clear { server: database.name() });
        }
        Ok(database)
    }

    fn is_elsewhere(&self) -> bool {
        self.config.get_hosts().iter().any(|host| match host {
            Host::Tcp(name) => {
                name != "localhost" && !name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
            Host::Unix(_) => false,
        })
    }

    /// The server and the database, for people.
    fn name(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "?".to_owned(),
        };
        format!("the PostgreSQL database {} at {host}", self.config.get_dbname().unwrap_or("(default)"))
    }

    /// Checks the server, and makes the roles and tables that are missing.
    pub(crate) async fn prepare(&self) -> Result<(), PostgresError> {
        let (mut client, driver) = match &self.protection {
            Protection::None => self.connect(NoTls).await?,
            Protection::Tls { connector, .. } => self.connect(connector.clone()).await?,
        };
        // It ends with the client.
        let driver = tokio::spawn(driver);
        let prepared = self.prepare_with(&mut client).await;
        drop(client);
        // Its lock is gone with it; how the connection ended says nothing more.
        let _ = driver.await;
        prepared
    }

    /// Connects, and answers the client and what does its work.
    async fn connect<T>(&self, tls: T) -> Result<(Client, Driver), PostgresError>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let connecting = tokio::time::timeout(CONNECT_WAIT, self.config.connect(tls)).await;
        let silent =
            |source: Elapsed| PostgresError::Unreachable { server: self.name(), source: source.into() };
        let (client, connection) = connecting.map_err(silent)?.map_err(|e| self.not_connected(e))?;
        Ok((client, Box::pin(async move { connection.await.is_ok() })))
    }

    fn not_connected(&self, error: tokio_postgres::Error) -> PostgresError {
        let server = self.name();
        match &self.protection {
            Protection::Tls { authority, .. } if tls::is_distrust(&error) => {
                PostgresError::Untrusted { server, authority: authority.clone(), source: error.into() }
            }
            Protection::Tls { .. } | Protection::None => {
                PostgresError::Unreachable { server, source: error.into() }
            }
        }
    }

    async fn prepare_with(&self, client: &mut Client) -> Result<(), PostgresError> {
        self.check_durability(client).await?;
        let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
        client.batch_execute(&lock).await.map_err(self.refused("wait for the turn to change tables"))?;
        let roles = client.batch_execute(MAKE_ROLES).await;
        roles.map_err(|e| PostgresError::Roles { server: self.name(), source: e.into() })?;
        let runner = migrations::migrations::runner().set_abort_missing(true).set_abort_divergent(true);
        match runner.run_async(client).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.not_migrated(error)),
        }
    }

    async fn check_durability(&self, client: &Client) -> Result<(), PostgresError> {
        for setting in ["fsync", "full_page_writes"] {
            let shown = client.query_one("SELECT current_setting($1)", &[&setting]).await;
            let value: String =
                shown.and_then(|row| row.try_get(0)).map_err(self.refused("read the settings"))?;
            if value != "on" {
                return Err(PostgresError::NotDurable { server: self.name(), setting });
            }
        }
        Ok(())
    }

    fn refused(&self, what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> PostgresError {
        let server = self.name();
        move |e| PostgresError::Refused { what, server, source: e.into() }
    }

    fn not_migrated(&self, error: refinery::Error) -> PostgresError {
        let server = self.name();
        if matches!(error.kind(), Kind::MissingVersion(_) | Kind::DivergentVersion(..)) {
            return PostgresError::Newer { server, detail: error.to_string() };
        }
        PostgresError::Refused { what: "bring the tables up to date", server, source: error.into() }
    }

    /// Connections that are opened when they are needed.
    pub(crate) fn connections(&self) -> Result<Connections, PostgresError> {
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = self.config.clone();
        let manager = match &self.protection {
            Protection::None => Manager::from_config(config, NoTls, how),
            Protection::Tls { connector, .. } => Manager::from_config(config, connector.clone(), how),
        };
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .create_timeout(Some(CONNECT_WAIT))
            .runtime(Runtime::Tokio1)
            .build();
        pool.map(Connections::new).map_err(|e| PostgresError::Uri(e.to_string()))
    }
}
