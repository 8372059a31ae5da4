//! The files of an identity.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use plant_model::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use service_kit::{sync_folder, write_synced};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::IdentityError;

/// Key and certificate.
pub const CERTIFICATE_FILE: &str = "gateway.pem";
/// The roots.
pub const ROOTS_FILE: &str = "ca.crt";

/// Certificates begin so long before they are issued (SPEC section 12).
const BACKDATED_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// Where the identity is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Key and certificate in one file.
    pub certificate: PathBuf,
    /// The roots.
    pub roots: PathBuf,
}

/// From when until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateTimes {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
}

impl CertificateTimes {
    /// From when on it should be renewed: two thirds of its life.
    #[must_use]
    pub const fn renewal_at(&self) -> Timestamp {
        let (from, to) = (self.issued_at.micros(), self.expires_at.micros());
        Timestamp::from_micros(to.saturating_sub(to.saturating_sub(from) / 3))
    }
}

impl IdentityFiles {
    /// The usual names in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { certificate: folder.join(CERTIFICATE_FILE), roots: folder.join(ROOTS_FILE) }
    }

    /// Makes sure that files can be written where they belong.
    ///
    /// # Errors
    /// They cannot.
    pub fn prepare(&self) -> Result<(), IdentityError> {
        for path in [&self.certificate, &self.roots] {
            let probe = beside(path, ".draft");
            make_folder(path)?;
            write_synced(&probe, b"", 0o600).map_err(failed("write", &probe))?;
            std::fs::remove_file(&probe).map_err(failed("remove", &probe))?;
        }
        Ok(())
    }

    /// Writes a first identity, or one after an enrolment. The key goes first: a crash in between leaves
    /// what the roots of before or no roots do not fit, and the next enrolment mends it.
    pub(crate) fn store(&self, key_pem: &str, chain_pem: &str, roots_pem: &str) -> Result<(), IdentityError> {
        self.store_certificate(key_pem, chain_pem)?;
        self.store_roots(roots_pem)
    }

    pub(crate) fn store_certificate(&self, key_pem: &str, chain_pem: &str) -> Result<(), IdentityError> {
        write_whole(&self.certificate, &format!("{}\n{chain_pem}", key_pem.trim_end()), 0o600)
    }

    pub(crate) fn store_roots(&self, roots_pem: &str) -> Result<(), IdentityError> {
        write_whole(&self.roots, roots_pem, 0o644)
    }

    /// Where a certificate lies while it is tried.
    pub(crate) fn staged(&self) -> Self {
        Self { certificate: beside(&self.certificate, ".new"), roots: self.roots.clone() }
    }

    /// Puts the certificate that was tried in the place of the old one.
    pub(crate) fn promote(&self) -> Result<(), IdentityError> {
        let staged = self.staged().certificate;
        std::fs::rename(&staged, &self.certificate).map_err(failed("replace", &self.certificate))?;
        sync(&self.certificate)
    }

    /// When the certificate was issued and when it ends.
    ///
    /// # Errors
    /// The file is not there or holds no certificate.
    pub fn times(&self) -> Result<CertificateTimes, IdentityError> {
        let chain = self.chain()?;
        let unreadable =
            || IdentityError::Unreadable { path: self.certificate.clone(), expected: "certificate" };
        let first = chain.first().ok_or_else(unreadable)?;
        let (_, certificate) = X509Certificate::from_der(first).map_err(|_| unreadable())?;
        let micros = |seconds: i64| seconds.saturating_mul(1_000_000);
        let from = micros(certificate.validity().not_before.timestamp());
        let to = micros(certificate.validity().not_after.timestamp());
        let issued = from.saturating_add(BACKDATED_MICROS);
        let issued = if issued < to { issued } else { from };
        let (issued_at, expires_at) = (Timestamp::from_micros(issued), Timestamp::from_micros(to));
        Ok(CertificateTimes { issued_at, expires_at })
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates(&self.certificate)
    }

    pub(crate) fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates(&self.roots)
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        let path = &self.certificate;
        let pem = std::fs::read(path).map_err(failed("read", path))?;
        PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| IdentityError::Unreadable { path: path.clone(), expected: "private key" })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = std::fs::read(path).map_err(failed("read", path))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let unreadable = || IdentityError::Unreadable { path: path.to_owned(), expected: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(unreadable)
}

/// Written beside its name, synced and renamed: whoever reads sees all of the old or all of the new.
fn write_whole(path: &Path, content: &str, mode: u32) -> Result<(), IdentityError> {
    make_folder(path)?;
    let draft = beside(path, ".draft");
    write_synced(&draft, content.as_bytes(), mode).map_err(failed("write", &draft))?;
    std::fs::rename(&draft, path).map_err(failed("write", path))?;
    sync(path)
}

fn make_folder(path: &Path) -> Result<(), IdentityError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync(path: &Path) -> Result<(), IdentityError> {
    sync_folder(path).map_err(failed("sync the folder of", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { action, path, source }
}
