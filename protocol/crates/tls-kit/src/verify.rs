//! Judging the certificate of a server.
//!
//! While the time is not known, a certificate that is not valid *yet* says that the clock is behind and not that
//! the certificate is wrong: it is judged by the instant at which it became valid. One that had expired by the
//! floor is refused in any case.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::{Pinned, TlsTime, Trust};

/// Where a chain must begin.
#[derive(Debug)]
enum Anchor {
    Roots(Arc<WebPkiServerVerifier>),
    Pinned(Pinned),
}

/// Judges the certificate of a server.
#[derive(Debug)]
pub(crate) struct Verifier {
    anchor: Anchor,
    provider: Arc<CryptoProvider>,
    time: TlsTime,
}

impl Verifier {
    pub(crate) fn new(trust: Trust, provider: Arc<CryptoProvider>, time: TlsTime) -> Result<Self, Error> {
        let anchor = match trust {
            Trust::Roots(roots) => Anchor::Roots(strict(roots.0, &provider)?),
            Trust::Pinned(pinned) => Anchor::Pinned(pinned),
        };
        Ok(Self { anchor, provider, time })
    }

    fn strict(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
        match &self.anchor {
            Anchor::Roots(strict) => Ok(Arc::clone(strict)),
            Anchor::Pinned(pinned) => strict(pinned.roots(shown)?, &self.provider),
        }
    }
}

fn strict(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
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
        let strict = self.strict(intermediates)?;
        let judge = |at| strict.verify_server_cert(certificate, intermediates, name, ocsp, at);
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
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use plant_model::Timestamp;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::time_provider::TimeProvider as _;
    use service_kit::Clock;

    use super::*;
    use crate::Roots;

    /// 2026-09-21.
    const BUILT_AT: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    struct Pki {
        root: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
    }

    /// An authority, and a certificate of an endpoint that is valid in these years.
    fn valid_in(years: std::ops::Range<i32>) -> Pki {
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.not_before = date_time_ymd(2020, 1, 1);
        let root = authority.self_signed(&key).expect("an authority").der().clone();
        let issuer = Issuer::new(authority, key);
        let mut leaf = CertificateParams::new(vec!["backend".to_owned()]).expect("parameters");
        leaf.not_before = date_time_ymd(years.start, 1, 1);
        leaf.not_after = date_time_ymd(years.end, 1, 1);
        let leaf = leaf.signed_by(&KeyPair::generate().expect("a key"), &issuer).expect("a certificate");
        Pki { root, certificate: leaf.der().clone() }
    }

    fn roots(pki: &Pki) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(pki.root.clone()).expect("an authority");
        Trust::Roots(Roots(roots))
    }

    fn is_accepted_by(trust: Trust, pki: &Pki, time: TlsTime) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(trust, provider, time).expect("a verifier");
        let name = ServerName::try_from("backend").expect("a name");
        let now = time.current_time().expect("a time");
        let shown = [pki.root.clone()];
        verifier.verify_server_cert(&pki.certificate, &shown, &name, &[], now).is_ok()
    }

    /// By its roots, and by a pin of its root: they are to say the same.
    fn is_accepted(pki: &Pki, time: TlsTime) -> bool {
        let root = pki.root.clone();
        let pinned = Trust::Pinned(Pinned::new(move |der| der == root.as_ref()));
        let verdict = is_accepted_by(roots(pki), pki, time);
        assert_eq!(verdict, is_accepted_by(pinned, pki, time));
        verdict
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
        assert!(!is_accepted_by(roots(&ours), &other, ignorant(BUILT_AT)));
        let pinned = Pinned::new(move |der| der == ours.root.as_ref());
        assert!(!is_accepted_by(Trust::Pinned(pinned.clone()), &other, ignorant(BUILT_AT)));
        assert!(pinned.met_a_stranger());
    }
}
