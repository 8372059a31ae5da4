//! TLS to a web server of the plant: one authority, no certificate of ours.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tls_kit::{Roots, TlsTime, Trust, Versions};

use crate::error::WebhookError;

/// Looks whether a file holds the certificate of an authority, as a webhook with https needs it.
///
/// # Errors
/// It cannot be used.
pub fn check_authority(ca: &Path) -> Result<(), WebhookError> {
    Ok(Roots::from_file(ca).map(|_| ())?)
}

/// A configuration that trusts the authorities of a file and nobody else.
pub(crate) fn client(ca: &Path, time: TlsTime) -> Result<Arc<ClientConfig>, WebhookError> {
    let trust = Trust::Roots(Roots::from_file(ca)?);
    Ok(tls_kit::client(trust, None, time, Versions::With12)?)
}
