//! Whether a configuration is from the authority that this gateway trusts, and for this gateway (SPEC section 13).

use std::time::Duration;

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{CONFIGURATION_SIGNER_URI, Configuration, SignedConfiguration};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use service_kit::Clock;
use thiserror::Error;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert, ring};

use crate::{IdentityError, IdentityFiles};

/// Why a configuration is not to be applied.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// It is for somebody else.
    #[error("the configuration is for {found}, this gateway is {expected}")]
    Addressee {
        /// `TENANT/GATEWAY` of the configuration.
        found: String,
        /// `TENANT/GATEWAY` of this gateway.
        expected: String,
    },
    /// No certificate is with it.
    #[error("the configuration holds no certificate of its signer")]
    NoSigner,
    /// The chain does not lead to a root of this gateway, or is not good now.
    #[error("the certificate of the configuration's signer is not to be trusted: {0}")]
    Chain(webpki::Error),
    /// A certificate for something else, such as that of a gateway.
    #[error(
        "the certificate of the configuration's signer is not for configurations; {CONFIGURATION_SIGNER_URI} is needed"
    )]
    Purpose,
    /// What was signed is something else.
    #[error("the signature does not fit the configuration: it was changed on its way")]
    Signature(webpki::Error),
    /// The roots of this gateway cannot be read.
    #[error(transparent)]
    Roots(#[from] IdentityError),
}

/// Judges configurations.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// The customer of this gateway.
    pub tenant: TenantId,
    /// Its name.
    pub gateway: GatewayId,
    /// With the roots that it trusts.
    pub files: IdentityFiles,
    /// The time.
    pub clock: Clock,
    /// The earliest that it can be, whatever the clock says (SPEC section 11).
    pub floor: Timestamp,
}

impl Verifier {
    /// The configuration, if it is to be trusted.
    ///
    /// # Errors
    /// It is for another gateway, its signer is not trusted, or what is signed is something else.
    pub fn verify(&self, signed: SignedConfiguration) -> Result<Configuration, SignatureError> {
        let SignedConfiguration { configuration, signer, signature } = signed;
        self.check_addressee(&configuration)?;
        let chain = CertificateDer::pem_slice_iter(signer.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| SignatureError::NoSigner)?;
        let (signer, intermediates) = chain.split_first().ok_or(SignatureError::NoSigner)?;
        let signer = EndEntityCert::try_from(signer).map_err(SignatureError::Chain)?;
        self.check_chain(&signer, intermediates)?;
        if !signer.valid_uri_names().eq([CONFIGURATION_SIGNER_URI]) {
            return Err(SignatureError::Purpose);
        }
        let text = configuration.signed_text();
        let verified = signer.verify_signature(ring::ECDSA_P256_SHA256, text.as_bytes(), &signature);
        verified.map_err(SignatureError::Signature)?;
        Ok(configuration)
    }

    fn check_addressee(&self, configuration: &Configuration) -> Result<(), SignatureError> {
        let Configuration { tenant, gateway, .. } = configuration;
        if (tenant, gateway) == (&self.tenant, &self.gateway) {
            return Ok(());
        }
        let (found, expected) = (format!("{tenant}/{gateway}"), format!("{}/{}", self.tenant, self.gateway));
        Err(SignatureError::Addressee { found, expected })
    }

    /// The chain must be good now. While the time is not known, a certificate that is not good *yet* says that the
    /// clock is behind: it is judged by the instant at which it becomes good.
    fn check_chain(
        &self,
        signer: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), SignatureError> {
        let roots = self.roots()?;
        let anchors: Result<Vec<_>, _> = roots.iter().map(anchor_from_trusted_cert).collect();
        let anchors = anchors.map_err(SignatureError::Chain)?;
        let judge = |at: UnixTime| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            signer.verify_for_usage(algorithms, &anchors, intermediates, at, AnyUsage, None, None).map(|_| ())
        };
        let is_known = !self.clock.wall().is_unplaced();
        match judge(self.now(is_known)) {
            Err(webpki::Error::CertNotValidYet { not_before, .. }) if !is_known => judge(not_before),
            verdict => verdict,
        }
        .map_err(SignatureError::Chain)
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let path = &self.files.roots;
        let failed = |source| IdentityError::File { action: "read", path: path.clone(), source };
        let pem = std::fs::read(path).map_err(failed)?;
        let unreadable = |_| IdentityError::Unreadable { path: path.clone(), expected: "certificate" };
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(unreadable)
    }

    fn now(&self, is_known: bool) -> UnixTime {
        let wall = if is_known { self.clock.wall() } else { Clock::system() };
        let since_1970 = u64::try_from(wall.max(self.floor).micros()).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_micros(since_1970))
    }
}

/// What a signer is for is said by the URI in its certificate, not by a usage of TLS.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
