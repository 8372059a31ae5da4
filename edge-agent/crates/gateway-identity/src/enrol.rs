//! Enrolment: from a code to an identity.

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{ENROL_PATH, Enrolment, EnrolmentCode, EnrolmentRequest};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tls_kit::{KeyPem, Pinned, TlsTime, Trust, Versions};

use crate::client::Backend;
use crate::{IdentityError, IdentityFiles};

/// What an enrolment brought, beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Whom this gateway works for.
    pub tenant: TenantId,
    /// Who it is.
    pub gateway: GatewayId,
    /// Where the MQTT endpoint is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where certificates are renewed.
    pub cloud: String,
    /// The end of the certificate.
    pub expires_at: Timestamp,
    /// The backend's time when it answered.
    pub now: Timestamp,
}

/// With what a gateway is enrolled.
#[derive(Debug)]
pub struct EnrolmentOrder {
    /// The code.
    pub code: EnrolmentCode,
    /// `TENANT/GATEWAY` that the gateway is configured as; the backend refuses a code for another one.
    pub expected: Option<String>,
    /// The version of the agent, for the backend's records.
    pub agent_version: String,
    /// The time by which the backend's certificate is judged.
    pub time: TlsTime,
}

/// Makes a key, has it certified with a one-time code, and writes both.
///
/// # Errors
/// The backend cannot be reached, is another one than the code says, or refuses; a file cannot be written.
/// The code is used up only if the backend answered with a certificate.
pub async fn enrol(
    cloud: &str,
    order: EnrolmentOrder,
    files: &IdentityFiles,
) -> Result<Enrolled, IdentityError> {
    let EnrolmentOrder { code, expected, agent_version, time } = order;
    let pin = code.clone();
    let pinned = Pinned::new(move |root| pin.pins(root));
    let tls = tls_kit::client(Trust::Pinned(pinned.clone()), None, time, Versions::Only13)?;
    let backend = Backend::new(cloud, tls)?;
    let (key_pem, certificate_request) = key_and_request()?;
    let request = EnrolmentRequest { code, certificate_request, agent_version, expected };
    let answer: Result<Enrolment, IdentityError> = backend.post(ENROL_PATH, &request).await;
    if answer.is_err() && pinned.met_a_stranger() {
        return Err(IdentityError::OtherAuthority { url: backend.url() });
    }
    let answer = answer?;
    let enrolled = read(&backend, &answer)?;
    files.store(&key_pem, &answer.identity.certificate, &answer.identity.roots)?;
    Ok(enrolled)
}

fn read(backend: &Backend, answer: &Enrolment) -> Result<Enrolled, IdentityError> {
    let strange =
        |error: plant_model::IdError| IdentityError::Answer { url: backend.url(), detail: error.to_string() };
    Ok(Enrolled {
        tenant: TenantId::new(&answer.tenant).map_err(strange)?,
        gateway: GatewayId::new(&answer.gateway).map_err(strange)?,
        host: answer.mqtt_host.clone().unwrap_or_else(|| backend.host().to_owned()),
        port: answer.mqtt_port,
        cloud: backend.url(),
        expires_at: Timestamp::from_micros(answer.identity.expires_at),
        now: Timestamp::from_micros(answer.identity.now),
    })
}

/// A new key and a request signed with it, both PEM. The backend decides about names.
pub(crate) fn key_and_request() -> Result<(KeyPem, String), IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request = CertificateParams::default().serialize_request(&key)?.pem()?;
    Ok((KeyPem::new(key.serialize_pem()), request))
}
