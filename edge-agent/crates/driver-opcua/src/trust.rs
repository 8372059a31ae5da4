//! Which certificate of a server is trusted: one that is pinned, or one that a trusted authority
//! issued.
//!
//! The library compares a certificate with a file and knows no authorities. The path from a server's
//! certificate to a trusted one is therefore found here (RFC 5280, 6.1, without revocation lists and
//! policies), and the library is told to trust what was found.

use std::path::Path;
use std::time::SystemTime;

use acquisition::ServerTrust;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

use crate::certificate::{CHAIN_MAX, Certificate};
use crate::error::OpcUaError;

/// The most files read from a folder of trusted certificates.
const FILES_MAX: usize = 1000;

/// Why a certificate is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grounds {
    /// It is the very one that was pinned.
    Pinned,
    /// An authority vouches for it; that says who made it, not for which machine.
    Issued,
}

/// Whether and why the first certificate of a chain is trusted.
pub(crate) fn grounds(
    chain: &[Certificate],
    trust: &ServerTrust,
    now: SystemTime,
) -> Result<Option<Grounds>, OpcUaError> {
    let Some(shown) = chain.first() else { return Ok(None) };
    let trusted = load(trust)?;
    if trusted.iter().any(|known| known.der() == shown.der()) {
        return Ok(Some(Grounds::Pinned));
    }
    let is_issued = matches!(trust, ServerTrust::Folder(_)) && has_path(chain, &trusted, now);
    Ok(is_issued.then_some(Grounds::Issued))
}

fn load(trust: &ServerTrust) -> Result<Vec<Certificate>, OpcUaError> {
    let failed = |file: &Path, problem: String| OpcUaError::TrustFile { file: file.to_owned(), problem };
    match trust {
        // Before the first commissioning there is no file yet, and that is the way to get it.
        ServerTrust::Certificate(file) if !file.exists() => Ok(Vec::new()),
        ServerTrust::Certificate(file) => {
            Ok(vec![Certificate::read(file).map_err(|error| failed(file, error.to_string()))?])
        }
        ServerTrust::Folder(folder) => {
            let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
            let files = entries.filter_map(|entry| Some(entry.ok()?.path())).take(FILES_MAX);
            Ok(files.filter_map(|file| Certificate::read_all(&file).ok()).flatten().collect())
        }
    }
}

/// Whether a path leads from the first certificate of `chain`, over others of it, to a trusted
/// authority.
fn has_path(chain: &[Certificate], trusted: &[Certificate], now: SystemTime) -> bool {
    let mut current = &chain[0];
    for below in 0..CHAIN_MAX {
        let issues = |issuer: &&Certificate| {
            issuer.check_time(now).is_ok()
                && issuer.der() != current.der()
                && is_issued(current, issuer, below)
        };
        if trusted.iter().any(|known| issues(&known)) {
            return true;
        }
        let Some(next) = chain[1..].iter().find(issues) else { return false };
        current = next;
    }
    false
}

/// Whether `issuer` is an authority and signed `certificate`, with `below` authorities between it and
/// the server.
fn is_issued(certificate: &Certificate, issuer: &Certificate, below: usize) -> bool {
    let parsed = (X509Certificate::from_der(certificate.der()), X509Certificate::from_der(issuer.der()));
    let (Ok((_, certificate)), Ok((_, issuer))) = parsed else { return false };
    let algorithm = &certificate.signature_algorithm.algorithm;
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && is_authority(&issuer, below)
        && is_understood(&certificate)
        && is_understood(&issuer)
        // SHA-1 can be forged.
        && *algorithm != OID_PKCS1_SHA1WITHRSA
        && *algorithm != OID_SHA1_WITH_RSA
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

fn is_authority(certificate: &X509Certificate<'_>, below: usize) -> bool {
    let is_allowed = match certificate.basic_constraints() {
        Ok(Some(constraints)) => {
            let longest = constraints.value.path_len_constraint.map(usize::try_from);
            constraints.value.ca && longest.is_none_or(|longest| longest.is_ok_and(|l| below <= l))
        }
        Ok(None) | Err(_) => false,
    };
    let may_sign = match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    is_allowed && may_sign
}

/// A critical extension that is not examined here forbids to rely on the certificate.
fn is_understood(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().filter(|extension| extension.critical).all(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
    };

    use super::*;

    /// An authority, or a server, and its key.
    struct Party {
        certificate: Certificate,
        issuer: Issuer<'static, KeyPair>,
    }

    fn parameters(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = is_ca;
        (parameters.not_before, parameters.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
        parameters
    }

    fn party(parameters: CertificateParams, by: Option<&Party>) -> Party {
        let key = KeyPair::generate().expect("a key");
        let signed = match by {
            Some(by) => parameters.signed_by(&key, &by.issuer),
            None => parameters.self_signed(&key),
        };
        let certificate = Certificate::from_der(signed.expect("signed").der()).expect("readable");
        Party { certificate, issuer: Issuer::new(parameters, key) }
    }

    fn authority(name: &str, by: Option<&Party>) -> Party {
        party(parameters(name, IsCa::Ca(BasicConstraints::Unconstrained)), by)
    }

    fn server(by: &Party) -> Party {
        party(parameters("server", IsCa::ExplicitNoCa), Some(by))
    }

    fn path(chain: &[&Party], trusted: &[&Party]) -> bool {
        let of = |parties: &[&Party]| parties.iter().map(|p| p.certificate.clone()).collect::<Vec<_>>();
        has_path(&of(chain), &of(trusted), SystemTime::now())
    }

    #[test]
    fn c9_a_path_leads_over_intermediates_to_a_trusted_authority() {
        let root = authority("root", None);
        let plant = authority("plant", Some(&root));
        let line = authority("line", Some(&plant));
        let server = server(&line);
        assert!(path(&[&server, &line, &plant], &[&root]));
        assert!(path(&[&server, &plant, &line, &root], &[&root]), "in any order, with the root");
        assert!(path(&[&server, &line, &plant], &[&plant]), "an intermediate can be trusted by itself");
        assert!(path(&[&server], &[&line]));
        assert!(!path(&[&server, &plant], &[&root]), "a link is missing");
        assert!(!path(&[&server, &line, &plant], &[]), "what a server sends is not trusted for it");
        assert!(!path(&[&server, &line, &plant], &[&authority("root", None)]), "same name, other key");
    }

    #[test]
    fn c9_only_an_authority_within_its_bounds_can_vouch() {
        let root = authority("root", None);
        let machine = server(&root);
        assert!(!path(&[&server(&machine), &machine], &[&root]), "a machine is no authority");
        let short = party(parameters("short", IsCa::Ca(BasicConstraints::Constrained(0))), None);
        let below = authority("below", Some(&short));
        assert!(path(&[&server(&short)], &[&short]));
        assert!(!path(&[&server(&below), &below], &[&short]), "no authority is allowed below it");
        let mut old = parameters("old", IsCa::Ca(BasicConstraints::Unconstrained));
        old.not_after = date_time_ymd(2021, 1, 1);
        let old = party(old, None);
        assert!(!path(&[&server(&old)], &[&old]), "it has expired");
    }

    #[test]
    fn c9_a_critical_extension_nobody_understands_is_no_ground_for_trust() {
        let root = authority("root", None);
        let mut strange = parameters("server", IsCa::ExplicitNoCa);
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        strange.custom_extensions.push(extension);
        assert!(!path(&[&party(strange, Some(&root))], &[&root]));
    }
}
