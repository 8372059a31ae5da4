//! Signing configurations of gateways (SPEC section 13).
//!
//! The certificate and its key are files beside the authority's, so that a restart changes nothing; they are made
//! anew when little of their time is left, when there is another issuer, and when they are damaged or gone.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SanType, SigningKey as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tls_kit::KeyPem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::files::{Found, PairFiles, PemPair};
use crate::issue::{DAY, cannot_issue, common_name_of, new_key};
use crate::{CertificateAuthority, Error};

/// The URI by which gateways know the certificate.
const SIGNER_URI: &str = "urn:mfp:configuration";
/// A gateway that gets a signed configuration has as long as this to look at it, at least a third.
const LIFETIME: Duration = DAY.saturating_mul(90);
/// With less than this left a new certificate is made.
const RENEWAL: Duration = DAY.saturating_mul(30);
const WHAT: &str = "the certificate that signs configurations";

/// Signs what gateways believe about their configuration.
pub struct ConfigurationSigner {
    files: PairFiles,
    /// Held while a text is signed, some 0.1 ms, and while a new certificate is written.
    current: Mutex<Option<Current>>,
}

/// A signature with the certificates that say whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The signer's certificate followed by the issuer's, PEM.
    pub chain_pem: String,
    /// ECDSA P-256 with SHA-256, ASN.1 (DER).
    pub signature: Vec<u8>,
}

struct Current {
    key: KeyPair,
    chain_pem: String,
    expires_at: SystemTime,
}

impl ConfigurationSigner {
    /// A signer that keeps its files in `directory`, beside the authority's. Nothing is read or made before the
    /// first signature.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { files: PairFiles::signer(directory), current: Mutex::new(None) }
    }

    /// Signs a text under the issuer of `authority`.
    ///
    /// # Errors
    /// A new certificate is due and cannot be made or written.
    pub fn sign(&self, authority: &CertificateAuthority, text: &[u8]) -> Result<Signature, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let found = current.take().or_else(|| self.read()).filter(|found| found.is_good(authority));
        let current = current.insert(found.map_or_else(|| self.make(authority), Ok)?);
        let signature = current.key.sign(text).map_err(cannot_issue("a signature"))?;
        Ok(Signature { chain_pem: current.chain_pem.clone(), signature })
    }

    /// What the files hold; nothing if they do not belong together or cannot be read: what is lost is made anew.
    fn read(&self) -> Option<Current> {
        match self.files.find() {
            Ok(Found::Pair(pair)) => Current::from_pair(&pair),
            Ok(Found::CertificateOnly(_) | Found::Nothing) | Err(_) => None,
        }
    }

    fn make(&self, authority: &CertificateAuthority) -> Result<Current, Error> {
        let key = new_key().map_err(cannot_issue(WHAT))?;
        let mut params = CertificateParams::default();
        let uri = SIGNER_URI.try_into().map_err(cannot_issue(WHAT))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = common_name_of("configuration signer");
        let issued = authority.sign(params, &key, LIFETIME).map_err(cannot_issue(WHAT))?;
        let pair = PemPair { certificate: issued.chain_pem.clone(), key: KeyPem::new(key.serialize_pem()) };
        self.files.store(&pair)?;
        Ok(Current { key, chain_pem: issued.chain_pem, expires_at: issued.expires_at })
    }
}

impl Current {
    fn from_pair(pair: &PemPair) -> Option<Self> {
        let key = KeyPair::from_pem(pair.key.secret()).ok()?;
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return None;
        }
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Some(Self { key, chain_pem: pair.certificate.clone(), expires_at })
    }

    fn is_good(&self, authority: &CertificateAuthority) -> bool {
        // The issuer's own end may be nearer than a new certificate would reach.
        let renewal = SystemTime::now() + RENEWAL;
        let has_time = self.expires_at > renewal.min(authority.issuer_expires_at() - Duration::from_secs(1));
        has_time && self.chain_pem.ends_with(&authority.issuer_pem)
    }
}

impl fmt::Debug for ConfigurationSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigurationSigner").finish_non_exhaustive()
    }
}
