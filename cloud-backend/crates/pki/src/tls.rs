//! The backend's side of TLS with gateways.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{CertificateAuthority, Error, IssuedServer};

impl CertificateAuthority {
    /// The TLS configuration of the MQTT endpoint: TLS 1.3, a client certificate of this authority is
    /// required, and no session is resumed, so that every connection presents its certificate anew.
    ///
    /// # Errors
    /// The server certificate does not fit its key or the TLS library refuses it.
    pub fn server_tls(&self, server: &IssuedServer) -> Result<ServerConfig, Error> {
        let verifier = self.verifier()?.build().map_err(tls)?;
        config(server, verifier)
    }

    /// The TLS configuration of the gateways' API: as for the endpoint, but a gateway that enrols has no
    /// certificate yet, and one whose certificate has expired is let in to ask for a new one. Whoever
    /// answers must look at the certificate's end.
    ///
    /// # Errors
    /// As [`Self::server_tls`].
    pub fn enrolment_tls(&self, server: &IssuedServer) -> Result<ServerConfig, Error> {
        let verifier = self.verifier()?.allow_unauthenticated().build().map_err(tls)?;
        config(server, Arc::new(EvenExpired(verifier)))
    }

    fn verifier(&self) -> Result<rustls::server::ClientCertVerifierBuilder, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).map_err(tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider))
    }
}

fn config(server: &IssuedServer, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, Error> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(server.chain_pem.as_bytes()).collect::<Result<_, _>>().map_err(tls)?;
    let key = PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).map_err(tls)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(tls)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
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
    ) -> Result<ClientCertVerified, rustls::Error> {
        let end = X509Certificate::from_der(end_entity)
            .ok()
            .and_then(|(_, c)| u64::try_from(c.validity().not_after.timestamp()).ok());
        let last_good =
            end.map_or(now, |end| now.min(UnixTime::since_unix_epoch(std::time::Duration::from_secs(end))));
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
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn tls(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Tls(Box::new(error))
}
