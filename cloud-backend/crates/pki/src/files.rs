//! A certificate and its key: two PEM files, `NAME.crt` and `NAME.key` (mode 0600).
//!
//! Each file is written beside its name, synced, and renamed, the key first. A crash therefore leaves
//! nothing, a key without certificate, or both; the middle case is an error that a person resolves.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use service_kit::{sync_folder, write_synced};
use tls_kit::KeyPem;

use crate::Error;

/// The file with the root certificate.
pub const ROOT_CERTIFICATE_FILE: &str = "ca.crt";
/// The file with the root's private key; the installation works without it.
pub const ROOT_KEY_FILE: &str = "ca.key";
/// The file with the certificate that signs.
pub const ISSUER_CERTIFICATE_FILE: &str = "issuer.crt";
/// The file with the private key that signs.
pub const ISSUER_KEY_FILE: &str = "issuer.key";

/// The file with the certificate that signs configurations, and the issuer's behind it.
pub(crate) const SIGNER_CERTIFICATE_FILE: &str = "signer.crt";
/// The file with the private key that signs configurations.
pub(crate) const SIGNER_KEY_FILE: &str = "signer.key";

/// The content of both files.
pub(crate) struct PemPair {
    pub(crate) certificate: String,
    pub(crate) key: KeyPem,
}

/// What there is of a pair.
pub(crate) enum Found {
    Nothing,
    /// The key was taken away.
    CertificateOnly(String),
    Pair(PemPair),
}

/// Where both files are.
pub(crate) struct PairFiles {
    directory: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl PairFiles {
    pub(crate) fn root(directory: &Path) -> Self {
        Self::named(directory, ROOT_CERTIFICATE_FILE, ROOT_KEY_FILE)
    }

    pub(crate) fn issuer(directory: &Path) -> Self {
        Self::named(directory, ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE)
    }

    pub(crate) fn signer(directory: &Path) -> Self {
        Self::named(directory, SIGNER_CERTIFICATE_FILE, SIGNER_KEY_FILE)
    }

    fn named(directory: &Path, certificate: &str, key: &str) -> Self {
        Self {
            directory: directory.into(),
            certificate: directory.join(certificate),
            key: directory.join(key),
        }
    }

    /// What there is; a key without its certificate is an error.
    pub(crate) fn find(&self) -> Result<Found, Error> {
        match (read_if_present(&self.certificate)?, read_if_present(&self.key)?) {
            (Some(certificate), Some(key)) => Ok(Found::Pair(PemPair { certificate, key: KeyPem::new(key) })),
            (Some(certificate), None) => Ok(Found::CertificateOnly(certificate)),
            (None, Some(_)) => Err(self.incomplete(&self.key, &self.certificate)),
            (None, None) => Ok(Found::Nothing),
        }
    }

    pub(crate) fn key_is_missing(&self) -> Error {
        self.incomplete(&self.certificate, &self.key)
    }

    fn incomplete(&self, present: &Path, missing: &Path) -> Error {
        Error::Incomplete { present: present.to_owned(), missing: missing.to_owned() }
    }

    pub(crate) fn store(&self, pair: &PemPair) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(failed("create directory", &self.directory))?;
        self.write_whole(&self.key, pair.key.secret(), 0o600)?;
        self.write_whole(&self.certificate, &pair.certificate, 0o644)
    }

    fn write_whole(&self, path: &Path, content: &str, mode: u32) -> Result<(), Error> {
        let partial = path.with_extension("partial");
        write_synced(&partial, content.as_bytes(), mode).map_err(failed("write", &partial))?;
        fs::rename(&partial, path).map_err(failed("write", path))?;
        sync_folder(path).map_err(failed("sync directory", &self.directory))
    }
}

fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}
