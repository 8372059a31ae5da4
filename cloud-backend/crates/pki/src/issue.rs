//! Signing: certificates of servers and of gateways.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plant_model::{GatewayId, TenantId};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use tls_kit::KeyPem;

use crate::{CertificateAuthority, Error};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What public authorities allow.
const SERVER_LIFETIME: Duration = DAY.saturating_mul(397);
/// Certificates begin a day in the past: the clock of a factory floor box may be slow.
pub(crate) const BACKDATED: Duration = DAY;
/// Bytes of a serial number (RFC 5280 allows 20); random, so that none is used twice.
const SERIAL_BYTES: usize = 16;

/// The largest certificate request, PEM bytes; one of a P-256 key has about 500.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A gateway's certificate with its private key.
#[derive(Debug, Clone)]
pub struct IssuedIdentity {
    /// What was issued for the key.
    pub certificate: IssuedCertificate,
    /// The private key, PKCS #8.
    pub key_pem: KeyPem,
    /// The roots' certificates, PEM, by which the gateway knows the backend.
    pub root_pem: String,
}

/// A gateway's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate followed by the issuer's, PEM.
    pub chain_pem: String,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// The last second at which it is good.
    pub expires_at: SystemTime,
}

/// The server's certificate chain with its private key.
#[derive(Debug, Clone)]
pub struct IssuedServer {
    /// The server's certificate followed by the issuer's and the roots', PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: KeyPem,
    /// The last second at which the certificate is good.
    pub expires_at: SystemTime,
}

impl CertificateAuthority {
    /// Issues a certificate for a server that does not renew it by itself, as [`Self::issue_server_for`].
    ///
    /// # Errors
    /// A name is neither, or the certificate could not be made.
    pub fn issue_server(&self, names: &[&str]) -> Result<IssuedServer, Error> {
        self.issue_server_for(names, SERVER_LIFETIME)
    }

    /// Issues a certificate for a server reachable under `names`, DNS names and IP addresses, for `lifetime` from now.
    ///
    /// The roots are part of the chain, so that whoever knows no more than the fingerprint of one can recognise it.
    ///
    /// # Errors
    /// A name is neither, or the certificate could not be made.
    pub fn issue_server_for(&self, names: &[&str], lifetime: Duration) -> Result<IssuedServer, Error> {
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
        let key = new_key().map_err(cannot_issue(what))?;
        let issued = self.sign(params, &key, lifetime).map_err(cannot_issue(what))?;
        Ok(IssuedServer {
            chain_pem: issued.chain_pem + &self.root_pem,
            key_pem: KeyPem::new(key.serialize_pem()),
            expires_at: issued.expires_at,
        })
    }

    /// Makes a key for a gateway and certifies it for `lifetime` from now.
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn issue_gateway(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        lifetime: Duration,
    ) -> Result<IssuedIdentity, Error> {
        let key = new_key().map_err(cannot_issue(format!("the key of gateway {tenant}/{gateway}")))?;
        let certificate = self.certify_gateway(tenant, gateway, &key, lifetime)?;
        Ok(IssuedIdentity {
            certificate,
            key_pem: KeyPem::new(key.serialize_pem()),
            root_pem: self.root_pem.clone(),
        })
    }

    /// Certifies the key of a certificate request (PKCS #10, PEM) for `lifetime` from now. Whoever sent it has
    /// proved to hold the key; every name and wish in it is ignored.
    ///
    /// # Errors
    /// [`Error::Request`] if it is no request, too large, or not signed with its own key.
    pub fn sign_request(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        request_pem: &str,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, Error> {
        let refused = |reason: String| Error::Request { reason };
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(refused(format!(
                "it has {} bytes, at most {REQUEST_BYTES_MAX} are taken",
                request_pem.len()
            )));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(request_pem.as_bytes())
            .map_err(|_| refused("it is not a certificate request in PEM".to_owned()))?;
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|e| refused(e.to_string()))?;
        self.certify_gateway(tenant, gateway, &request.public_key, lifetime)
    }

    fn certify_gateway(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        key: &impl PublicKeyData,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, Error> {
        let what = || cannot_issue(format!("the certificate of gateway {tenant}/{gateway}"));
        let mut params = CertificateParams::default();
        let uri = format!("urn:mfp:{tenant}:{gateway}").try_into().map_err(what())?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = common_name_of(&format!("{tenant}/{gateway}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key, lifetime).map_err(what())
    }

    pub(crate) fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        lifetime: Duration,
    ) -> Result<IssuedCertificate, rcgen::Error> {
        let left = self.issuer_expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        let lifetime = lifetime.min(left);
        let expires_at = set_validity(&mut params, lifetime);
        let serial = set_serial(&mut params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(IssuedCertificate { chain_pem: certificate.pem() + &self.issuer_pem, serial, expires_at })
    }
}

pub(crate) fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// Sets begin and end; answers the end, in whole seconds as the certificate has it.
pub(crate) fn set_validity(params: &mut CertificateParams, lifetime: Duration) -> SystemTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    let lifetime = Duration::from_secs(lifetime.as_secs());
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs()) + lifetime
}

/// Sets a random serial number; answers it in hexadecimal.
pub(crate) fn set_serial(params: &mut CertificateParams) -> String {
    let mut serial: [u8; SERIAL_BYTES] = rand::random();
    // Positive, and of the same length whatever the numbers.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    serial.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn common_name_of(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

pub(crate) fn cannot_issue(what: impl Into<String>) -> impl FnOnce(rcgen::Error) -> Error {
    let what = what.into();
    move |source| Error::Issue { what, source }
}
