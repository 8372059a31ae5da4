//! What an external MQTT broker needs: the backend's own client certificate, and the list of what is revoked.
//!
//! Such a broker knows the common name only: `TENANT/GATEWAY` of a gateway, [`BACKEND_NAME`] of the backend. No gateway
//! is called so, for want of a slash.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, KeyIdMethod,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::ClientConfig;
use service_kit::Clock;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use tls_kit::{Identity, KeyPem, Roots, TlsTime, Trust, Versions};

use crate::issue::{DAY, cannot_issue, common_name_of, new_key};
use crate::{CertificateAuthority, Error, IssuedIdentity};

/// The common name of the backend's own client certificate.
pub const BACKEND_NAME: &str = "backend";

/// The common name of a certificate that is revoked from the beginning, by which the backend finds out whether a broker
/// heeds the list.
pub const PROBE_NAME: &str = "probe";

/// Issued anew at every start, so this bounds one run of the backend.
const BACKEND_LIFETIME: Duration = DAY.saturating_mul(397);

const WHAT: &str = "the backend's client certificate";

impl CertificateAuthority {
    /// Makes a key by which the backend is known to a broker as `name` ([`BACKEND_NAME`], [`PROBE_NAME`]), and
    /// certifies it.
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn issue_backend(&self, name: &str) -> Result<IssuedIdentity, Error> {
        let key = new_key().map_err(cannot_issue(WHAT))?;
        let uri = format!("urn:mfp:{name}").try_into().map_err(cannot_issue(WHAT))?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = common_name_of(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = self.sign(params, &key, BACKEND_LIFETIME).map_err(cannot_issue(WHAT))?;
        let key_pem = KeyPem::new(key.serialize_pem());
        Ok(IssuedIdentity { certificate, key_pem, root_pem: self.root_pem.clone() })
    }

    /// The TLS configuration of a client with this identity, which takes only a server of this authority for the
    /// broker.
    ///
    /// # Errors
    /// The certificate does not fit its key or the TLS library refuses it.
    pub fn client_tls(&self, identity: &IssuedIdentity) -> Result<Arc<ClientConfig>, Error> {
        let origin = Path::new("what the authority has issued");
        let trust = Trust::Roots(Roots::from_pem(self.root_pem.as_bytes(), origin)?);
        let identity =
            Identity::from_pem(identity.certificate.chain_pem.as_bytes(), &identity.key_pem, origin)?;
        Ok(tls_kit::client(trust, Some(identity), TlsTime::of(Clock::start()), Versions::Only13)?)
    }

    /// The list of revoked certificates (RFC 5280, section 5), PEM: `serials` in hexadecimal, as of `this_update` in
    /// whole seconds. It does not end before the issuer does: a backend that is away locks nobody out. A reader that
    /// has two lists prefers the one with the later `this_update`.
    ///
    /// # Errors
    /// The list could not be made.
    pub fn revocation_list<'a>(
        &self,
        serials: impl IntoIterator<Item = &'a str>,
        this_update: SystemTime,
    ) -> Result<String, Error> {
        let what = || cannot_issue("the list of revoked certificates");
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let instant = |at: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(at);
        let at = seconds(this_update);
        let revoked = |serial: &str| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes_of(serial)),
            revocation_time: instant(at),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: instant(at),
            next_update: instant(seconds(self.issuer_expires_at).max(at + 1)),
            crl_number: SerialNumber::from(at),
            issuing_distribution_point: None,
            revoked_certs: serials.into_iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(what())
    }

    /// The lists in `text` that issuers before the present one have signed. A broker needs them as long as there are
    /// certificates of theirs.
    #[must_use]
    pub fn earlier_lists(&self, text: &str) -> String {
        let lists = text.split_inclusive(LIST_END).filter(|list| list.contains(LIST_END));
        let earlier = lists.filter(|list| self.is_foreign_list(list).unwrap_or(false));
        earlier.map(|list| format!("{}\n", list.trim())).collect()
    }

    fn is_foreign_list(&self, pem: &str) -> Option<bool> {
        let issuer = x509_parser::pem::parse_x509_pem(self.issuer_pem.as_bytes()).ok()?.1;
        let (_, issuer) = X509Certificate::from_der(&issuer.contents).ok()?;
        let list = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?.1;
        let (_, list) = CertificateRevocationList::from_der(&list.contents).ok()?;
        Some(list.verify_signature(issuer.public_key()).is_err())
    }
}

/// Where a list ends in a file of several.
const LIST_END: &str = "-----END X509 CRL-----";

/// The bytes of a serial number as the store has it: lower-case hexadecimal, two digits a byte.
fn bytes_of(serial: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        serial.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(folder: &tempfile::TempDir) -> CertificateAuthority {
        CertificateAuthority::open_or_create(folder.path()).expect("an authority")
    }

    fn der(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM").1.contents
    }

    #[test]
    fn the_list_names_what_is_revoked_and_is_signed_by_who_issued_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority(&folder);
        let issuer = der(&authority.issuer_pem);
        let (_, issuer) = X509Certificate::from_der(&issuer).expect("a certificate");
        let one = authority.issue_backend(BACKEND_NAME).expect("issued").certificate.serial;
        for serials in [vec![], vec![one.as_str(), "7fff"]] {
            let pem = authority.revocation_list(serials.iter().copied(), SystemTime::now()).expect("a list");
            let list = der(&pem);
            let (_, list) = CertificateRevocationList::from_der(&list).expect("a list");
            list.verify_signature(issuer.public_key()).expect("signed by the issuer");
            let named: Vec<String> = list
                .iter_revoked_certificates()
                .map(|revoked| revoked.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect())
                .collect();
            assert_eq!(named, serials);
        }
    }

    #[test]
    fn lists_of_an_issuer_that_was_replaced_are_kept_and_ones_own_are_not() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (now, before) = (authority(&folder), authority(&other));
        let list = |authority: &CertificateAuthority| {
            authority.revocation_list(["7fff"], SystemTime::now()).expect("a list")
        };
        let kept = now.earlier_lists(&format!("{}{}nonsense", list(&now), list(&before)));
        assert_eq!(kept.matches(LIST_END).count(), 1);
        assert_eq!(before.earlier_lists(&kept), "");
    }

    #[test]
    fn the_backends_name_is_no_gateways() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = authority(&folder).issue_backend(BACKEND_NAME).expect("issued");
        let der = der(&identity.certificate.chain_pem);
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        assert_eq!(certificate.subject().to_string(), "CN=backend");
    }
}
