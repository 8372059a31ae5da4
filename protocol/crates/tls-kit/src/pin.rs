//! Trust by a pin: the server is the one whose chain begins at the root that somebody recognises.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, RootCertStore};

/// Whether a certificate (DER) is the root.
type Recognises = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Recognises the root among the certificates that a server shows.
#[derive(Clone)]
pub struct Pinned {
    recognises: Arc<Recognises>,
    is_foreign: Arc<AtomicBool>,
}

impl Pinned {
    /// Trusts the chain with a certificate (DER) that `recognises` says to be the root.
    pub fn new(recognises: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self { recognises: Arc::new(recognises), is_foreign: Arc::default() }
    }

    /// Whether somebody answered who showed no such root.
    #[must_use]
    pub fn met_a_stranger(&self) -> bool {
        self.is_foreign.load(Ordering::Acquire)
    }

    pub(crate) fn roots(&self, shown: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        let Some(root) = shown.iter().find(|certificate| (self.recognises)(certificate)) else {
            self.is_foreign.store(true, Ordering::Release);
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        Ok(roots)
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
