//! The data directory.
//!
//! ```text
//! control.db, tenants/   the store's
//! pki/                   the certificate authority
//! serve.lock             held by the running `serve`
//! pki.lock               held while the authority is opened or made
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use pki::CertificateAuthority;
use store_sqlite::SqliteStore;

/// A data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Opens the directory, or makes it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        // Password hashes and the authority's key lie here: they are nobody else's business.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Makes sure that no other `serve` works here as long as the answer lives.
    pub(crate) fn lock_for_serving(&self) -> anyhow::Result<File> {
        let path = self.path.join("serve.lock");
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!(
                "another cloud-backend serves {}; stop it first or give --data another directory",
                self.path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Opens the store.
    pub(crate) async fn store(&self) -> anyhow::Result<Arc<SqliteStore>> {
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
        let store = opened.context("opening the store failed")?;
        store.map(Arc::new).with_context(|| format!("cannot open the store in {}", self.path.display()))
    }

    /// Opens the certificate authority, or makes it. The lock keeps two first starts from making two.
    pub(crate) fn authority(&self) -> anyhow::Result<CertificateAuthority> {
        let path = self.path.join("pki.lock");
        let lock = lock_file(&path)?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        CertificateAuthority::open_or_create(&self.path.join("pki"))
            .context("cannot open the certificate authority")
    }
}

fn lock_file(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}
