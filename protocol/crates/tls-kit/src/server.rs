//! The server's side.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::file;
use crate::pem::certificates;
use crate::{KeyPem, Roots, TlsError};

/// Of whom a server asks a certificate of its authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Of everybody, and it must be good now.
    Required,
    /// Of whoever has one, and it may have ended: whoever answers must look at its end.
    EvenNoneOrExpired,
}

/// The configuration of a server: its certificate with those of its issuers (PEM), and who may connect.
///
/// # Errors
/// Certificate and key do not fit, or the TLS library refuses.
pub fn server(
    chain_pem: &str,
    key: &KeyPem,
    roots: Roots,
    clients: Clients,
) -> Result<ServerConfig, TlsError> {
    let here = Path::new("the server's");
    let chain = certificates("certificate", chain_pem.as_bytes(), here)?;
    let key = PrivateKeyDer::from_pem_slice(key.secret().as_bytes());
    let key = key.map_err(|e| file("private key", here, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier(roots, clients)?)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verifier(roots: Roots, clients: Clients) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.0), provider);
    let refused = |error: rustls::server::VerifierBuilderError| Error::General(error.to_string());
    Ok(match clients {
        Clients::Required => builder.build().map_err(refused)?,
        Clients::EvenNoneOrExpired => {
            Arc::new(EvenExpired(builder.allow_unauthenticated().build().map_err(refused)?))
        }
    })
}

/// The configuration of a server that listens. Copies share it; a new one is used from the next connection on.
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

impl ServerTls {
    /// Begins with this configuration.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// What the next connection is to use.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it; connections that are open stay.
    pub fn replace(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// Verifies a certificate that has expired as of its last good second.
#[derive(Debug)]
struct EvenExpired(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for EvenExpired {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let end = X509Certificate::from_der(end_entity)
            .ok()
            .and_then(|(_, c)| u64::try_from(c.validity().not_after.timestamp()).ok());
        let last_good = end.map_or(now, |end| now.min(UnixTime::since_unix_epoch(Duration::from_secs(end))));
        self.0.verify_client_cert(end_entity, intermediates, last_good)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
