//! Opening the authority and issuing with it (X.509 v3, RFC 5280).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plant_model::{GatewayId, TenantId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::pem::parse_x509_pem;

use crate::Error;
use crate::files::{PairFiles, PemPair};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The authority outlives the machines it serves; replacing it means visiting every gateway.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3_653);
/// Server certificates are issued anew at every start, so this bounds one run of the server.
const SERVER_LIFETIME: Duration = DAY.saturating_mul(397);
/// Certificates begin a day in the past: the clock of a factory floor box may be slow.
const BACKDATED: Duration = DAY;

/// The certificate authority of this installation.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
}

/// A gateway's certificate with its private key.
#[derive(Clone)]
pub struct IssuedIdentity {
    /// The gateway's certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 PEM. Secret.
    pub key_pem: String,
    /// The authority's certificate, PEM, by which the gateway knows the server.
    pub ca_pem: String,
}

/// The server's certificate chain with its private key.
#[derive(Clone)]
pub struct IssuedServer {
    /// The server's certificate followed by the authority's, PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8 PEM. Secret.
    pub key_pem: String,
}

impl CertificateAuthority {
    /// Opens the authority kept in `directory`, or makes one if there is none at all.
    ///
    /// # Errors
    /// The pair of files is incomplete, damaged or of two different authorities, or the directory cannot
    /// be read or written. Nothing that exists is ever replaced.
    pub fn open_or_create(directory: &Path) -> Result<Self, Error> {
        let files = PairFiles::in_directory(directory);
        if let Some(pair) = files.load()? {
            return Self::from_pair(&files, pair);
        }
        let pair = new_authority().map_err(cannot_issue("the certificate authority"))?;
        files.store(&pair)?;
        Self::from_pair(&files, pair)
    }

    fn from_pair(files: &PairFiles, pair: PemPair) -> Result<Self, Error> {
        let no_key = || unreadable(&files.key, "a private key in PEM");
        let no_certificate = || unreadable(&files.certificate, "a certificate in PEM");
        let key = KeyPair::from_pem(&pair.key).map_err(|_| no_key())?;
        let certified = certified_key(&pair.certificate).ok_or_else(no_certificate)?;
        if certified != key.subject_public_key_info() {
            return Err(Error::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() });
        }
        let certificate =
            CertificateDer::from_pem_slice(pair.certificate.as_bytes()).map_err(|_| no_certificate())?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| unreadable(&files.certificate, "a certificate of an authority"))?;
        Ok(Self { issuer, certificate_pem: pair.certificate, certificate })
    }

    /// The authority's certificate, PEM. Public.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a certificate for a server reachable under `names`: DNS names and IP addresses.
    ///
    /// # Errors
    /// A name is neither, or the certificate could not be made.
    pub fn issue_server(&self, names: &[&str]) -> Result<IssuedServer, Error> {
        for name in names {
            CertificateParams::new(vec![(*name).to_owned()])
                .map_err(|_| Error::ServerName { name: (*name).to_owned() })?;
        }
        let what = "the server certificate";
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_else(|| "server".to_owned());
        let mut params = CertificateParams::new(names).map_err(cannot_issue(what))?;
        params.distinguished_name = common_name_of(&common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate_pem, key_pem) = self.sign(params, SERVER_LIFETIME).map_err(cannot_issue(what))?;
        Ok(IssuedServer { chain_pem: certificate_pem + &self.certificate_pem, key_pem })
    }

    /// Issues key and certificate of a gateway, valid for `lifetime` from now.
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn issue_gateway(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        lifetime: Duration,
    ) -> Result<IssuedIdentity, Error> {
        let what = || cannot_issue(format!("the certificate of gateway {tenant}/{gateway}"));
        let mut params = CertificateParams::default();
        let uri = format!("urn:mfp:{tenant}:{gateway}").try_into().map_err(what())?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = common_name_of(&format!("{tenant}/{gateway}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate_pem, key_pem) = self.sign(params, lifetime).map_err(what())?;
        Ok(IssuedIdentity { certificate_pem, key_pem, ca_pem: self.certificate_pem.clone() })
    }

    /// The TLS configuration of the MQTT endpoint: TLS 1.3, a client certificate of this authority is
    /// required, and no session is resumed, so that every connection presents its certificate anew.
    ///
    /// # Errors
    /// The server certificate does not fit its key or the TLS library refuses it.
    pub fn server_tls(&self, server: &IssuedServer) -> Result<ServerConfig, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(tls)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(server.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(tls)?;
        let key = PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).map_err(tls)?;
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

    fn sign(
        &self,
        mut params: CertificateParams,
        lifetime: Duration,
    ) -> Result<(String, String), rcgen::Error> {
        set_validity(&mut params, lifetime);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

impl fmt::Debug for IssuedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedIdentity")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IssuedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedServer").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

fn new_authority() -> Result<PemPair, rcgen::Error> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, AUTHORITY_LIFETIME);
    params.distinguished_name = common_name_of("mfp installation authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
}

fn common_name_of(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

/// The public key (DER, `SubjectPublicKeyInfo`) that a PEM certificate certifies.
fn certified_key(certificate_pem: &str) -> Option<Vec<u8>> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.public_key().raw.to_vec())
}

fn unreadable(path: &Path, expected: &'static str) -> Error {
    Error::Unreadable { path: path.to_owned(), expected }
}

fn cannot_issue(what: impl Into<String>) -> impl FnOnce(rcgen::Error) -> Error {
    let what = what.into();
    move |source| Error::Issue { what, source }
}

fn tls(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Tls(Box::new(error))
}
