//! What is read from PEM: roots, and certificates with their keys.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;
use crate::error::file;

/// The largest file that is read: some hundred certificates.
const FILE_BYTES_MAX: u64 = 256 * 1024;

const AUTHORITY: &str = "certificate of an authority";

/// The authorities that are trusted.
#[derive(Debug, Clone)]
pub struct Roots(pub(crate) RootCertStore);

impl Roots {
    /// The authorities of a PEM file; at least one.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub fn from_file(path: &Path) -> Result<Self, TlsError> {
        Self::from_pem(&read(AUTHORITY, path)?, path)
    }

    /// The authorities in a PEM text that stands, or is to stand, in `origin`; at least one.
    ///
    /// # Errors
    /// It holds none.
    pub fn from_pem(pem: &[u8], origin: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(AUTHORITY, pem, origin)? {
            roots.add(authority).map_err(|e| file(AUTHORITY, origin, &e))?;
        }
        Ok(Self(roots))
    }
}

/// A certificate with those of its issuers, and its key.
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Identity {
    /// From two PEM files, which may be the same one.
    ///
    /// # Errors
    /// A file cannot be read or does not hold its part. Whether they fit is found out when they are used.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates("certificate", &read("certificate", certificate)?, certificate)?;
        let private = read("private key", key)?;
        let private = PrivateKeyDer::from_pem_slice(&private).map_err(|e| file("private key", key, &e))?;
        Ok(Self { chain, key: private, certificate_file: certificate.into(), key_file: key.into() })
    }
}

impl Identity {
    /// From PEM texts that stand in no file; `origin` says in errors where they come from.
    ///
    /// # Errors
    /// A text does not hold its part.
    pub fn from_pem(chain: &[u8], key: &KeyPem, origin: &Path) -> Result<Self, TlsError> {
        let chain = certificates("certificate", chain, origin)?;
        let private = PrivateKeyDer::from_pem_slice(key.secret().as_bytes());
        let private = private.map_err(|e| file("private key", origin, &e))?;
        Ok(Self { chain, key: private, certificate_file: origin.into(), key_file: origin.into() })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate_file", &self.certificate_file).finish_non_exhaustive()
    }
}

/// A private key in PEM. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(String);

impl KeyPem {
    /// Takes the key's text.
    #[must_use]
    pub const fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The text, to be written to a file of mode 0600 or given to the TLS library.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(…)")
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let size = std::fs::metadata(path).map_err(|e| file(what, path, &e))?.len();
    if size > FILE_BYTES_MAX {
        let detail = format!("it has {size} bytes, at most {FILE_BYTES_MAX} are read");
        return Err(file(what, path, &detail));
    }
    std::fs::read(path).map_err(|e| file(what, path, &e))
}

pub(crate) fn certificates(
    what: &'static str,
    pem: &[u8],
    origin: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| file(what, origin, &e))?;
    if found.is_empty() {
        return Err(file(what, origin, &"there is none in it"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_what_it_should_hold() {
        let nowhere = Path::new("/nonexistent/ca.crt");
        let error = Roots::from_file(nowhere).expect_err("missing").to_string();
        assert!(error.contains("/nonexistent/ca.crt") && error.contains("authority"), "{error}");
        let error = Identity::from_files(nowhere, nowhere).expect_err("missing").to_string();
        assert!(error.contains("/nonexistent/ca.crt") && error.contains("certificate"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_or_without_end_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, "nothing here").expect("written");
        let error = Roots::from_file(&path).expect_err("nothing").to_string();
        assert!(error.ends_with("there is none in it"), "{error}");
        std::fs::write(&path, vec![b'x'; 300_000]).expect("written");
        let error = Roots::from_file(&path).expect_err("too large").to_string();
        assert!(error.contains("300000") && error.contains("262144"), "{error}");
    }

    #[test]
    fn f11_a_key_is_not_printed() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("parameters");
        let certificate = certificate.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.pem");
        std::fs::write(&path, key.serialize_pem() + &certificate.pem()).expect("written");
        let identity = Identity::from_files(&path, &path).expect("both are in it");
        let bytes = format!("{:?}", key.serialized_der());
        let printed = format!("{identity:?} {:?}", KeyPem::new(key.serialize_pem()));
        assert!(printed.contains("gateway.pem") && printed.contains("KeyPem(…)"), "{printed}");
        assert!(!printed.contains("PRIVATE") && !printed.contains(&bytes), "{printed}");
    }
}
