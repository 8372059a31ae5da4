//! Who a gateway is: the URI `urn:mfp:TENANT:GATEWAY` in the subject alternative name (RFC 5280,
//! 4.2.1.6) of its client certificate.

use std::time::{Duration, SystemTime};

use ingestion::GatewayIdentity;
use plant_model::{GatewayId, IdError, TenantId};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const URI_PREFIX: &str = "urn:mfp:";

/// What a gateway's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Who it is.
    pub identity: GatewayIdentity,
    /// The serial number, lower-case hexadecimal without leading zero bytes.
    pub serial: String,
    /// The last second at which the certificate is good.
    pub expires_at: SystemTime,
}

/// Why a certificate identifies no gateway.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The bytes are no certificate.
    #[error("the client certificate is not an X.509 certificate")]
    NotACertificate,
    /// There is not exactly one identity.
    #[error(
        "the client certificate has {found} names of the form urn:mfp:TENANT:GATEWAY; exactly one is allowed"
    )]
    NotOne {
        /// How many there are.
        found: usize,
    },
    /// The identity is cut short.
    #[error("the client certificate's name {0:?} is not of the form urn:mfp:TENANT:GATEWAY")]
    Form(String),
    /// Tenant or gateway break their rule.
    #[error("the client certificate names no valid gateway")]
    Id(#[from] IdError),
}

impl Credential {
    /// Reads a certificate. The caller has verified it.
    ///
    /// # Errors
    /// The bytes are no certificate, or it does not carry exactly one well-formed identity.
    pub fn from_certificate_der(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NotACertificate)?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self {
            identity: identity_of(&certificate)?,
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        })
    }
}

fn identity_of(certificate: &X509Certificate<'_>) -> Result<GatewayIdentity, IdentityError> {
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::NotACertificate)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let identities: Vec<&str> = names.iter().filter_map(identity_part).collect();
    match identities[..] {
        [identity] => from_uri_part(identity),
        _ => Err(IdentityError::NotOne { found: identities.len() }),
    }
}

fn from_uri_part(text: &str) -> Result<GatewayIdentity, IdentityError> {
    let (tenant, gateway) =
        text.split_once(':').ok_or_else(|| IdentityError::Form(text.chars().take(160).collect()))?;
    Ok(GatewayIdentity { tenant: TenantId::new(tenant)?, gateway: GatewayId::new(gateway)? })
}

fn identity_part<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name { uri.strip_prefix(URI_PREFIX) } else { None }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))).collect();
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_uri_of_the_certificate_names_the_gateway() {
        let der = certificate(&["https://example.com/x", "urn:mfp:acme:hall-2"]);
        let identity = Credential::from_certificate_der(&der).expect("one identity");
        assert_eq!(identity.identity.to_string(), "acme/hall-2");
    }

    #[test]
    fn none_or_two_identities_are_refused() {
        for (uris, found) in [(&[][..], 0), (&["urn:mfp:a:b", "urn:mfp:a:c"][..], 2)] {
            let error = Credential::from_certificate_der(&certificate(uris)).expect_err("not one");
            assert_eq!(error, IdentityError::NotOne { found });
        }
    }

    #[test]
    fn an_identity_that_would_break_a_topic_is_refused() {
        for bad in ["urn:mfp:acme", "urn:mfp:acme:", "urn:mfp:ac/me:gw", "urn:mfp:acme:gw:x", "urn:mfp:+:gw"]
        {
            assert!(Credential::from_certificate_der(&certificate(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_damaged_certificate_is_refused() {
        let der = certificate(&["urn:mfp:acme:hall-2"]);
        for end in [0, 1, der.len() / 2, der.len() - 1] {
            let error = Credential::from_certificate_der(&der[..end]).expect_err("cut");
            assert_eq!(error, IdentityError::NotACertificate);
        }
    }
}
