//! A configuration and its signature.

use super::{
    ConfigurationError, ConfigurationFiles, ConfigurationVersion, Deserialize, FilesDigest, GatewayId,
    SIGNER_CHAIN_BYTES_MAX, Serialize, TenantId, bytes_of, hex_of, limit,
};

/// What a signature is made for; another use of the same key signs another text.
const CONTEXT: &str = "mfp configuration 1";
/// Bytes of an ECDSA P-256 signature in ASN.1: two numbers of up to 33 bytes with their heads.
const SIGNATURE_BYTES_MAX: usize = 72;

/// One version of the configuration of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The customer.
    pub tenant: TenantId,
    /// The gateway that it is for.
    pub gateway: GatewayId,
    /// Its number.
    pub version: ConfigurationVersion,
    /// The machine files.
    pub files: ConfigurationFiles,
    /// The set of local files that this version may replace although somebody edited them at the gateway.
    pub accept_drift: Option<FilesDigest>,
}

impl Configuration {
    /// What is signed: six lines of ASCII, each with a line feed at its end.
    ///
    /// ```text
    /// mfp configuration 1
    /// tenant TENANT
    /// gateway GATEWAY
    /// version VERSION
    /// files DIGEST
    /// accept_drift DIGEST        (or - if there is none)
    /// ```
    #[must_use]
    pub fn signed_text(&self) -> String {
        let Self { tenant, gateway, version, files, accept_drift } = self;
        let accepted = accept_drift.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        format!(
            "{CONTEXT}\ntenant {tenant}\ngateway {gateway}\nversion {version}\nfiles {}\naccept_drift {accepted}\n",
            files.digest()
        )
    }
}

/// A configuration with the signature and the certificate of who signed it. That it can be read says nothing
/// about whether the signature is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct SignedConfiguration {
    /// What is signed.
    pub configuration: Configuration,
    /// The signer's certificate followed by its issuer's, PEM.
    pub signer: String,
    /// ECDSA P-256 with SHA-256 over [`Configuration::signed_text`], in ASN.1 (DER).
    pub signature: Vec<u8>,
}

/// As it is written in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    tenant: String,
    gateway: String,
    version: ConfigurationVersion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept_drift: Option<FilesDigest>,
    files: ConfigurationFiles,
    signer: String,
    signature: String,
}

impl From<SignedConfiguration> for Wire {
    fn from(signed: SignedConfiguration) -> Self {
        let SignedConfiguration { configuration, signer, signature } = signed;
        let Configuration { tenant, gateway, version, files, accept_drift } = configuration;
        let (tenant, gateway) = (tenant.to_string(), gateway.to_string());
        Self { tenant, gateway, version, accept_drift, files, signer, signature: hex_of(&signature) }
    }
}

impl TryFrom<Wire> for SignedConfiguration {
    type Error = ConfigurationError;

    fn try_from(wire: Wire) -> Result<Self, ConfigurationError> {
        limit("bytes of the signer's certificates", wire.signer.len(), SIGNER_CHAIN_BYTES_MAX)?;
        limit("digits of the signature", wire.signature.len(), 2 * SIGNATURE_BYTES_MAX)?;
        let signature = bytes_of(&wire.signature)
            .ok_or(ConfigurationError::Hex { what: "the signature", expected: "an even number of" })?;
        let configuration = Configuration {
            tenant: TenantId::new(&wire.tenant)?,
            gateway: GatewayId::new(&wire.gateway)?,
            version: wire.version,
            files: wire.files,
            accept_drift: wire.accept_drift,
        };
        Ok(Self { configuration, signer: wire.signer, signature })
    }
}
