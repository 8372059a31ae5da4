//! The client's side.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::verify::Verifier;
use crate::{Identity, Pinned, Roots, TlsError, TlsTime};

/// Whom a client takes for the server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whoever these authorities have certified.
    Roots(Roots),
    /// Whoever shows a root that is recognised.
    Pinned(Pinned),
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3: with servers of ours.
    Only13,
    /// TLS 1.2 as well: with servers that a plant has.
    With12,
}

impl Versions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Only13 => BOTH.split_at(1).0,
            Self::With12 => &BOTH,
        }
    }
}

/// The configuration of a client; without an identity it shows no certificate.
///
/// # Errors
/// Certificate and key do not fit, or the TLS library refuses.
pub fn client(
    trust: Trust,
    identity: Option<Identity>,
    time: TlsTime,
    versions: Versions,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(trust, Arc::clone(&provider), time)?;
    let builder = ClientConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(versions.list())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(Identity { chain, key, certificate_file, key_file }) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let mismatch = |source| TlsError::Mismatch { certificate: certificate_file, key: key_file, source };
    builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(mismatch)
}
