//! What is read from a certificate, and what is wrong with it.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opcua::crypto::X509;
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, GeneralName, Pem, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The largest certificate file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// 2026-01-01T00:00:00Z. A gateway whose clock shows less has not got the time yet, and must not
/// refuse a machine for it.
const CLOCK_FLOOR: Duration = Duration::from_secs(1_767_225_600);

/// The most certificates in a chain or in one file; a plant's authorities are two or three deep.
pub(crate) const CHAIN_MAX: usize = 10;

/// The shortest RSA key that any offered policy allows, in bits.
const KEY_BITS_MIN: usize = 2048;

/// A certificate of an application, or of an authority that issues them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    subject: String,
    uris: Vec<String>,
    /// Names and addresses of its host.
    hosts: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// Of an RSA key.
    key_bits: Option<usize>,
    /// What an application's certificate must allow its key to be used for, and this one does not.
    missing_usages: Vec<&'static str>,
    is_self_signed: bool,
}

/// Why a certificate cannot be used. The texts follow "its certificate" or the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CertificateError {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is not valid before {0}; check the clocks of the gateway and of the machine")]
    Early(String),
    #[error("expired on {0}; have a new one made and pin that, and check the clock of the gateway")]
    Expired(String),
    #[error(
        "names the application {named}, but the application calls itself {called:?}; have a certificate made that names it"
    )]
    ApplicationUri { named: String, called: String },
    #[error(
        "is made for the host {named}, not for {dialled:?}; have a certificate made that names this address, or use the name in it as endpoint"
    )]
    Host { named: String, dialled: String },
    #[error(
        "does not allow its key to be used for {0}; have one made with digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment and serverAuth"
    )]
    Usage(String),
    #[error("has a key of {0} bits; have one made with at least {KEY_BITS_MIN}")]
    ShortKey(usize),
}

impl Certificate {
    /// A single certificate.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (certificate, rest) = Self::first(der)?;
        if rest.is_empty() {
            Ok(certificate)
        } else {
            Err(CertificateError::Unreadable(format!("{} bytes follow it", rest.len())))
        }
    }

    /// A certificate and those of its issuers, one behind the other, as a server may send them
    /// (OPC UA Part 6, 6.2.6).
    pub(crate) fn chain(mut blob: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let mut chain = Vec::new();
        while !blob.is_empty() || chain.is_empty() {
            if chain.len() == CHAIN_MAX {
                return Err(CertificateError::Unreadable(format!(
                    "more than {CHAIN_MAX} certificates follow one another"
                )));
            }
            let (certificate, rest) = Self::first(blob)?;
            chain.push(certificate);
            blob = rest;
        }
        Ok(chain)
    }

    fn first(blob: &[u8]) -> Result<(Self, &[u8]), CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let (rest, parsed) =
            X509Certificate::from_der(blob).map_err(|error| unreadable(error.to_string()))?;
        let names = parsed.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| {
            if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
        };
        let validity = parsed.validity();
        let certificate = Self {
            der: blob[..blob.len() - rest.len()].to_vec(),
            subject: parsed.subject().to_string(),
            uris: names.iter().filter_map(uri).collect(),
            hosts: names.iter().filter_map(host).collect(),
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            key_bits: key_bits(&parsed),
            missing_usages: missing_usages(&parsed),
            is_self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        };
        Ok((certificate, rest))
    }

    /// Reads a file in DER or PEM; of several certificates, the first.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        let all = Self::read_all(path)?;
        all.into_iter().next().ok_or_else(|| CertificateError::Unreadable("there is none".to_owned()))
    }

    /// Reads all certificates of a file in DER or PEM.
    pub(crate) fn read_all(path: &Path) -> Result<Vec<Self>, CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!(
                "it has {size} bytes, no certificate has more than {FILE_BYTES_MAX}"
            )));
        }
        let content = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        if !content.starts_with(b"-----") {
            return Self::chain(&content);
        }
        let blocks = Pem::iter_from_buffer(&content).take(CHAIN_MAX);
        let read = |block: Result<Pem, _>| {
            Self::from_der(&block.map_err(|error| unreadable(format!("{error}")))?.contents)
        };
        blocks.map(read).collect()
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The application URI it was made for.
    pub(crate) fn application_uri(&self) -> Option<&str> {
        self.uris.first().map(String::as_str)
    }

    /// Whether nobody but its holder vouches for it.
    pub(crate) const fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    /// The holder and the SHA-1 thumbprint, as machines show it.
    pub(crate) fn describe(&self) -> String {
        let thumbprint = X509::from_der(&self.der).map(|x509| x509.thumbprint().as_hex_string());
        format!("{} (thumbprint {})", self.subject, thumbprint.unwrap_or_default())
    }

    pub(crate) fn check_time(&self, now: SystemTime) -> Result<(), CertificateError> {
        let now = Self::believable(now);
        if now < self.not_before {
            Err(CertificateError::Early(date(self.not_before)))
        } else if now > self.not_after {
            Err(CertificateError::Expired(date(self.not_after)))
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_application_uri(&self, called: &str) -> Result<(), CertificateError> {
        if self.uris.iter().any(|uri| uri == called) {
            return Ok(());
        }
        Err(CertificateError::ApplicationUri { named: list(&self.uris), called: called.to_owned() })
    }

    /// Whether it was made for the host that is dialled; names are compared without regard to case.
    pub(crate) fn check_host(&self, dialled: &str) -> Result<(), CertificateError> {
        if self.hosts.iter().any(|host| host.eq_ignore_ascii_case(dialled)) {
            return Ok(());
        }
        Err(CertificateError::Host { named: list(&self.hosts), dialled: dialled.to_owned() })
    }

    /// Whether its key may be used as OPC UA uses it (Part 6, 6.2.2).
    pub(crate) fn check_usage(&self) -> Result<(), CertificateError> {
        if self.missing_usages.is_empty() {
            Ok(())
        } else {
            Err(CertificateError::Usage(self.missing_usages.join(", ")))
        }
    }

    pub(crate) const fn check_key(&self) -> Result<(), CertificateError> {
        match self.key_bits {
            Some(bits @ 0..KEY_BITS_MIN) => Err(CertificateError::ShortKey(bits)),
            Some(_) | None => Ok(()),
        }
    }

    /// The time, or the earliest at which this program can run.
    pub(crate) fn believable(now: SystemTime) -> SystemTime {
        now.max(UNIX_EPOCH + CLOCK_FLOOR)
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") }
}

fn key_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() { Some(key.key_size()) } else { None }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; every other kind is no host")]
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// A certificate that says nothing of a use allows it.
fn missing_usages(certificate: &X509Certificate<'_>) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if let Ok(Some(usage)) = certificate.key_usage() {
        let usage = usage.value;
        let needed = [
            ("digitalSignature", usage.digital_signature()),
            ("nonRepudiation", usage.non_repudiation()),
            ("keyEncipherment", usage.key_encipherment()),
            ("dataEncipherment", usage.data_encipherment()),
        ];
        missing.extend(needed.into_iter().filter(|(_, allowed)| !allowed).map(|(name, _)| name));
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        missing.push("serverAuth");
    }
    missing
}

fn instant(seconds: i64) -> SystemTime {
    // What lies before 1970 has expired in any case.
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The day in the Gregorian calendar (civil-from-days, with years that begin in March).
fn date(time: SystemTime) -> String {
    let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_in_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_767_225_600, "2026-01-01"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), day);
        }
    }

    fn certificate(from: u64, to: u64) -> Certificate {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Certificate {
            der: Vec::new(),
            subject: String::new(),
            uris: vec!["urn:a".to_owned()],
            hosts: vec!["Lathe-1".to_owned(), "10.0.0.1".to_owned()],
            not_before: at(from),
            not_after: at(to),
            key_bits: Some(2048),
            missing_usages: Vec::new(),
            is_self_signed: true,
        }
    }

    #[test]
    fn a_gateway_that_has_no_time_yet_does_not_refuse_a_machine() {
        let good = certificate(1_760_000_000, 1_800_000_000);
        assert_eq!(good.check_time(UNIX_EPOCH), Ok(()));
        let late = good.check_time(UNIX_EPOCH + Duration::from_secs(1_800_000_001));
        assert_eq!(late, Err(CertificateError::Expired("2027-01-15".to_owned())));
        let early = certificate(1_790_000_000, 1_800_000_000).check_time(UNIX_EPOCH);
        assert!(matches!(early, Err(CertificateError::Early(_))));
    }

    #[test]
    fn a_certificate_must_name_its_application() {
        let good = certificate(0, 1);
        assert_eq!(good.check_application_uri("urn:a"), Ok(()));
        assert!(good.check_application_uri("urn:b").expect_err("another").to_string().contains("urn:a"));
    }

    #[test]
    fn a_host_is_compared_by_name_or_address_and_both_are_told() {
        let good = certificate(0, 1);
        assert_eq!(good.check_host("lathe-1"), Ok(()));
        assert_eq!(good.check_host("10.0.0.1"), Ok(()));
        let error = good.check_host("10.0.0.2").expect_err("another").to_string();
        assert!(error.contains("Lathe-1, 10.0.0.1") && error.contains("10.0.0.2"), "{error}");
    }

    #[test]
    fn a_blob_that_is_no_certificate_or_has_too_many_is_refused() {
        for blob in [b"".as_slice(), b"no certificate", &[0x30, 0x82, 0xFF, 0xFF]] {
            let error = Certificate::chain(blob).expect_err("no certificate");
            assert!(matches!(error, CertificateError::Unreadable(_)), "{error:?}");
        }
    }
}
