//! What the API needs of the certificate authority.

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::EnrolmentCode;
use protocol::{Configuration, SignedConfiguration};
use thiserror::Error;

/// The certificate that a gateway presented. Its signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Whose gateway.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// The end of the certificate; may be over.
    pub expires_at: Timestamp,
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The certificate followed by its issuer's, PEM.
    pub chain_pem: String,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// The root certificates that the gateway is to trust, PEM.
    pub roots_pem: String,
}

/// Why no certificate was made.
#[derive(Debug, Error)]
pub enum CertifyError {
    /// The request cannot be used; the text says why and may be told.
    #[error("{0}")]
    Request(String),
    /// The authority failed; the text is for the log.
    #[error("the authority failed: {0}")]
    Authority(String),
}

/// The certificate authority of the installation.
pub trait Certifier: Send + Sync {
    /// Whether a code was made for this installation: whether it pins a root that is trusted.
    fn is_pinned_by(&self, code: &EnrolmentCode) -> bool;

    /// Reads a verified client certificate (DER); the error says what it lacks.
    ///
    /// # Errors
    /// It names no gateway.
    fn read(&self, certificate_der: &[u8]) -> Result<Presented, String>;

    /// Signs a certificate request (PKCS #10, PEM) for a gateway. Only its key is used.
    ///
    /// # Errors
    /// The request cannot be used, or the authority fails.
    fn sign(&self, tenant: &TenantId, gateway: &GatewayId, request_pem: &str)
    -> Result<Signed, CertifyError>;

    /// Signs a configuration. Blocks for a moment: it may write files.
    ///
    /// # Errors
    /// The authority fails.
    fn sign_configuration(&self, configuration: Configuration) -> Result<SignedConfiguration, CertifyError>;
}
