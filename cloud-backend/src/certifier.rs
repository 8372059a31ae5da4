//! The certificate authority behind the API for gateways.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_api::{Certifier, CertifyError, Presented, Signed};
use mqtt_endpoint::Credential;
use pki::CertificateAuthority;
use plant_model::{GatewayId, TenantId, Timestamp};

/// Signs for gateways, each certificate for the same time.
pub(crate) struct Authority {
    pub(crate) authority: CertificateAuthority,
    pub(crate) lifetime: Duration,
}

impl Certifier for Authority {
    fn root_der(&self) -> &[u8] {
        self.authority.root_der()
    }

    fn roots_pem(&self) -> &str {
        self.authority.root_pem()
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
        let signed = self.authority.sign_request(tenant, gateway, request_pem, self.lifetime);
        let signed = signed.map_err(|error| match error.is_request() {
            true => CertifyError::Request(error.to_string()),
            false => CertifyError::Authority(error.to_string()),
        })?;
        let expires_at = timestamp(signed.expires_at);
        Ok(Signed { chain_pem: signed.chain_pem, serial: signed.serial, expires_at })
    }
}

pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
