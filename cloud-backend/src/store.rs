//! The store that `--store` names, whichever it is.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use fleet::FleetStore;
use ingestion::IngestStore;
use rollouts::RolloutStore;
use store_postgres::PostgresStore;
use store_sqlite::SqliteStore;
use tenancy::{ConfigurationStore, TenancyStore};
use tiering::{PolicyStore, TierStore};

/// Everything that the program asks of its store.
pub(crate) trait Store:
    IngestStore + FleetStore + TenancyStore + ConfigurationStore + RolloutStore + TierStore + PolicyStore
{
}

impl<S: IngestStore + FleetStore + TenancyStore + ConfigurationStore + RolloutStore + TierStore + PolicyStore>
    Store for S
{
}

/// Opens the store of a URI; without one, SQLite files in the data directory. The URI appears in no message: there may
/// be a password in it.
pub(crate) async fn open(uri: Option<&str>, data: &Path) -> anyhow::Result<Arc<dyn Store>> {
    match uri {
        None => sqlite(data).await,
        Some(uri) if uri.starts_with("postgres://") || uri.starts_with("postgresql://") => {
            Ok(Arc::new(PostgresStore::open(uri).await.context("cannot open the store")?))
        }
        Some(uri) => match uri.strip_prefix("sqlite:") {
            Some(directory) if !directory.is_empty() => sqlite(Path::new(directory)).await,
            _ => bail!("--store names no store; give sqlite:DIR or postgres://USER@HOST/DATABASE"),
        },
    }
}

async fn sqlite(directory: &Path) -> anyhow::Result<Arc<dyn Store>> {
    let path = directory.to_owned();
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
    let store = opened.context("opening the store failed")?;
    Ok(Arc::new(store.with_context(|| format!("cannot open the store in {}", directory.display()))?))
}
