//! The certificate authority behind the API for gateways.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_api::{Certifier, CertifyError, Presented, Signed};
use mqtt_endpoint::Credential;
use pki::ConfigurationSigner;
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{Configuration, EnrolmentCode, SignedConfiguration};

use crate::authority::Shared;

/// Signs for gateways, each certificate for the same time.
pub(crate) struct Authority {
    pub(crate) authority: Shared,
    pub(crate) lifetime: Duration,
    pub(crate) signer: ConfigurationSigner,
}

impl Certifier for Authority {
    fn is_pinned_by(&self, code: &EnrolmentCode) -> bool {
        self.authority.current().roots_der().any(|root| code.pins(root))
    }

    fn read(&self, certificate_der: &[u8]) -> Result<Presented, String> {
        let credential = Credential::from_certificate_der(certificate_der).map_err(|e| e.to_string())?;
        Ok(Presented {
            tenant: credential.identity.tenant,
            gateway: credential.identity.gateway,
            serial: credential.serial,
            expires_at: timestamp(credential.expires_at),
        })
    }

    fn sign(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        request_pem: &str,
    ) -> Result<Signed, CertifyError> {
        let authority = self.authority.current();
        let signed = authority.sign_request(tenant, gateway, request_pem, self.lifetime);
        let signed = signed.map_err(|error| match error.is_request() {
            true => CertifyError::Request(error.to_string()),
            false => CertifyError::Authority(error.to_string()),
        })?;
        Ok(Signed {
            chain_pem: signed.chain_pem,
            serial: signed.serial,
            expires_at: timestamp(signed.expires_at),
            roots_pem: authority.root_pem().to_owned(),
        })
    }

    fn sign_configuration(&self, configuration: Configuration) -> Result<SignedConfiguration, CertifyError> {
        let text = configuration.signed_text();
        let signed = self.signer.sign(&self.authority.current(), text.as_bytes());
        let signed = signed.map_err(|error| CertifyError::Authority(error.to_string()))?;
        Ok(SignedConfiguration { configuration, signer: signed.chain_pem, signature: signed.signature })
    }
}

pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
