//! The files of an identity.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use plant_model::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use service_kit::{sync_folder, write_synced};
use tls_kit::KeyPem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::IdentityError;

/// Key and certificate.
pub const CERTIFICATE_FILE: &str = "gateway.pem";
/// The roots.
pub const ROOTS_FILE: &str = "ca.crt";

/// Ends the name of what is being tried.
const NEW: &str = ".new";

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
    pub(crate) fn store(
        &self,
        key_pem: &KeyPem,
        chain_pem: &str,
        roots_pem: &str,
    ) -> Result<(), IdentityError> {
        self.store_certificate(key_pem, chain_pem)?;
        self.store_roots(roots_pem)
    }

    pub(crate) fn store_certificate(&self, key_pem: &KeyPem, chain_pem: &str) -> Result<(), IdentityError> {
        write_whole(&self.certificate, &format!("{}\n{chain_pem}", key_pem.secret().trim_end()), 0o600)
    }

    pub(crate) fn store_roots(&self, roots_pem: &str) -> Result<(), IdentityError> {
        write_whole(&self.roots, roots_pem, 0o644)
    }

    /// Writes what is to be tried, beside what works; answers where it lies.
    pub(crate) fn stage(
        &self,
        key_pem: &KeyPem,
        chain_pem: &str,
        roots_pem: &str,
    ) -> Result<Self, IdentityError> {
        let mut staged = Self { certificate: beside(&self.certificate, NEW), roots: self.roots.clone() };
        staged.store_certificate(key_pem, chain_pem)?;
        if std::fs::read_to_string(&self.roots).map_err(failed("read", &self.roots))? != roots_pem {
            staged.roots = beside(&self.roots, NEW);
            staged.store_roots(roots_pem)?;
        }
        Ok(staged)
    }

    /// Puts what was tried in the place of the old. The roots go first: whoever is seen with the new certificate
    /// trusts the new roots.
    pub(crate) fn promote(&self, staged: &Self) -> Result<(), IdentityError> {
        for (new, old) in [(&staged.roots, &self.roots), (&staged.certificate, &self.certificate)] {
            if new != old {
                std::fs::rename(new, old).map_err(failed("replace", old))?;
                sync(old)?;
            }
        }
        Ok(())
    }

    /// When the certificate was issued and when it ends.
    ///
    /// # Errors
    /// The file is not there or holds no certificate.
    pub fn times(&self) -> Result<CertificateTimes, IdentityError> {
        let chain = certificates(&self.certificate)?;
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
