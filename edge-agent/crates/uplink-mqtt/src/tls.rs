//! The one place of the agent that builds a TLS configuration: TLS 1.3, one authority, a client
//! certificate. The files are read for each connection, so a renewed certificate is used from the next
//! connection on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::tls_time::{TlsTime, Verifier};

/// Why no TLS configuration can be built.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{} holds no usable {what}: {detail}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The parts do not fit each other.
    #[error("certificate {} and key {} do not fit: {source}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
}

pub(crate) fn client(
    ca: &Path,
    certificate: &Path,
    key: &Path,
    time: TlsTime,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("certificate of an authority", ca)? {
        roots.add(authority).map_err(|e| file("certificate of an authority", ca, &e))?;
    }
    let chain = certificates("certificate", certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| file("private key", key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mismatch = |source| TlsError::Mismatch { certificate: certificate.into(), key: key.into(), source };
    let verifier = Verifier::new(roots, Arc::clone(&provider), time);
    let verifier = verifier.map_err(|e| file("certificate of an authority", ca, &e))?;
    ClientConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(mismatch)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, private)
        .map(Arc::new)
        .map_err(mismatch)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| file(what, path, &e))?;
    if found.is_empty() {
        return Err(file(what, path, &"there is none in it"));
    }
    Ok(found)
}

fn file(what: &'static str, path: &Path, detail: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), detail: detail.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_what_it_should_hold() {
        let nowhere = Path::new("/nonexistent/ca.crt");
        let time = TlsTime { clock: service_kit::Clock::start(), floor: plant_model::Timestamp::default() };
        let error = client(nowhere, nowhere, nowhere, time).expect_err("missing").to_string();
        assert!(error.contains("/nonexistent/ca.crt") && error.contains("authority"), "{error}");
    }
}
