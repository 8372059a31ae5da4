//! TLS to a web server of the plant: one authority, no certificate of ours.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::WebhookError;

/// Looks whether a file holds the certificate of an authority, as a webhook with https needs it.
///
/// # Errors
/// It cannot be used.
pub fn check_authority(ca: &Path) -> Result<(), WebhookError> {
    client(ca).map(|_| ())
}

/// A configuration that trusts the authorities of a file and nobody else.
pub(crate) fn client(ca: &Path) -> Result<Arc<ClientConfig>, WebhookError> {
    let unusable = |detail: String| WebhookError::Authority { path: ca.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(ca).map_err(|e| unusable(e.to_string()))? {
        let authority = authority.map_err(|e| unusable(e.to_string()))?;
        roots.add(authority).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
