//! The time by which certificates are judged, on a gateway whose clock may know nothing (SPEC section 11).
//!
//! It is never earlier than what is known to have been. While the time is not known, a certificate that is not valid
//! *yet* says that the clock is behind and not that the certificate is wrong: it is judged by the day on which it
//! became valid. One that had expired by the floor is refused in any case.

use std::sync::Arc;
use std::time::Duration;

use plant_model::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use service_kit::Clock;

/// The clock of a gateway, and the earliest that it can be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsTime {
    pub clock: Clock,
    pub floor: Timestamp,
}

impl TlsTime {
    fn is_known(&self) -> bool {
        !self.clock.wall().is_unplaced()
    }
}

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let wall = if self.is_known() { self.clock.wall() } else { Clock::system() };
        let since_1970 = u64::try_from(wall.max(self.floor).micros()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_micros(since_1970)))
    }
}

/// Judges the certificate of the endpoint.
#[derive(Debug)]
pub(crate) struct Verifier {
    strict: Arc<WebPkiServerVerifier>,
    time: TlsTime,
}

impl Verifier {
    pub(crate) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        time: TlsTime,
    ) -> Result<Self, VerifierBuilderError> {
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { strict, time })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = |at| self.strict.verify_server_cert(certificate, intermediates, name, ocsp, at);
        match judge(now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                if !self.time.is_known() =>
            {
                judge(not_before)
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// 2026-09-21.
    const BUILT_AT: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    struct Pki {
        roots: RootCertStore,
        certificate: CertificateDer<'static>,
    }

    /// An authority, and a certificate of an endpoint that is valid in these years.
    fn valid_in(years: std::ops::Range<i32>) -> Pki {
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.not_before = date_time_ymd(2020, 1, 1);
        let signed = authority.self_signed(&key).expect("an authority");
        let mut roots = RootCertStore::empty();
        roots.add(signed.der().clone()).expect("an authority");
        let issuer = Issuer::new(authority, key);
        let mut leaf = CertificateParams::new(vec!["backend".to_owned()]).expect("parameters");
        leaf.not_before = date_time_ymd(years.start, 1, 1);
        leaf.not_after = date_time_ymd(years.end, 1, 1);
        let leaf = leaf.signed_by(&KeyPair::generate().expect("a key"), &issuer).expect("a certificate");
        Pki { roots, certificate: leaf.der().clone() }
    }

    fn is_accepted(pki: &Pki, time: TlsTime) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(pki.roots.clone(), provider, time).expect("a verifier");
        let name = ServerName::try_from("backend").expect("a name");
        let now = time.current_time().expect("a time");
        verifier.verify_server_cert(&pki.certificate, &[], &name, &[], now).is_ok()
    }

    /// A gateway that knows no time, under a system that shows less than the floor.
    fn ignorant(floor: Timestamp) -> TlsTime {
        TlsTime { clock: Clock::start_kept(), floor }
    }

    #[test]
    fn e5_a_certificate_that_expired_before_the_floor_is_refused_whatever_the_clock_says() {
        let old = valid_in(2021..2024);
        assert!(!is_accepted(&old, ignorant(BUILT_AT)));
        let told = Clock::start_kept();
        told.keep(Some(Timestamp::from_micros(1_600_000_000_000_000)));
        assert!(!is_accepted(&old, TlsTime { clock: told, floor: BUILT_AT }), "2020 is before the floor");
        assert!(is_accepted(&valid_in(2021..2099), ignorant(BUILT_AT)));
    }

    #[test]
    fn e5_a_certificate_from_after_the_floor_says_that_the_clock_is_behind_unless_the_time_is_known() {
        let new = valid_in(2090..2095);
        assert!(is_accepted(&new, ignorant(BUILT_AT)));
        let known = Clock::start_kept();
        known.keep(Some(BUILT_AT));
        assert!(!is_accepted(&new, TlsTime { clock: known, floor: BUILT_AT }));
    }

    #[test]
    fn e5_an_authority_that_is_not_ours_is_refused_also_without_the_time() {
        let (ours, other) = (valid_in(2090..2095), valid_in(2090..2095));
        let mixed = Pki { roots: ours.roots, certificate: other.certificate };
        assert!(!is_accepted(&mixed, ignorant(BUILT_AT)));
    }
}
