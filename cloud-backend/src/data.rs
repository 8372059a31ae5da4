//! The data directory.
//!
//! ```text
//! control.db, tenants/   the store's, unless it is elsewhere
//! pki/                   the certificate authority
//! archive/               objects of samples, unless they are elsewhere
//! serve.lock             held by the running `serve`
//! pki.lock               held while the authority is opened or made
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use archive_parquet::ParquetArchive;
use pki::{CertificateAuthority, ConfigurationSigner};
use tiering::Archive;

use crate::cli::DataArgs;
use crate::store::{self, Store};

/// A data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Where the store is, if not here.
    store: Option<String>,
    /// Where the archive is, if not here.
    archive: Option<String>,
}

impl DataDir {
    /// Opens the directory, or makes it.
    pub(crate) fn open(args: &DataArgs) -> anyhow::Result<Self> {
        let path = &args.dir;
        // Password hashes and the authority's key lie here: they are nobody else's business.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        Ok(Self { path: path.clone(), store: args.store.clone(), archive: args.archive.clone() })
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
    pub(crate) async fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        store::open(self.store.as_deref(), &self.path).await
    }

    /// Opens the archive.
    pub(crate) fn archive(&self) -> anyhow::Result<Arc<dyn Archive>> {
        let uri = match &self.archive {
            Some(uri) => uri.clone(),
            None => format!("file://{}", self.own_archive()?.display()),
        };
        let archive = ParquetArchive::open(&uri, std::env::vars());
        Ok(Arc::new(archive.with_context(|| format!("cannot open the archive {uri}"))?))
    }

    /// The folder of the archive that lies here, made when it does not exist.
    fn own_archive(&self) -> anyhow::Result<PathBuf> {
        let path = self.path.join("archive");
        std::path::absolute(&path)
            .and_then(|path| DirBuilder::new().recursive(true).mode(0o700).create(&path).map(|()| path))
            .with_context(|| format!("cannot make the folder {}", path.display()))
    }

    /// What signs configurations; only the running `serve` does.
    pub(crate) fn signer(&self) -> ConfigurationSigner {
        ConfigurationSigner::new(&self.path.join("pki"))
    }

    /// Where the certificate authority is kept.
    pub(crate) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    /// Opens the certificate authority, or makes it. The lock keeps two first starts from making two.
    pub(crate) fn authority(&self) -> anyhow::Result<CertificateAuthority> {
        self.with_pki(CertificateAuthority::open_or_create).context("cannot open the certificate authority")
    }

    /// Works on the authority's files while nobody else does.
    pub(crate) fn with_pki<T>(&self, work: impl FnOnce(&Path) -> Result<T, pki::Error>) -> anyhow::Result<T> {
        let path = self.path.join("pki.lock");
        let lock = lock_file(&path)?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(work(&self.pki())?)
    }
}

fn lock_file(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}
