//! What is read from a certificate, and what is wrong with it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opcua::crypto::X509;
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The largest certificate file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// 2026-01-01T00:00:00Z. A gateway whose clock shows less has not got the time yet, and must not
/// refuse a machine for it.
const CLOCK_FLOOR: Duration = Duration::from_secs(1_767_225_600);

/// An application certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    subject: String,
    uris: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate cannot be used. The texts follow "its certificate" or the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CertificateError {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "is a chain of certificates, of which only the first can be pinned; have the server send its own certificate alone"
    )]
    Chain,
    #[error("is not valid before {0}; check the clocks of the gateway and of the machine")]
    Early(String),
    #[error("expired on {0}; have a new one made and pin that, and check the clock of the gateway")]
    Expired(String),
    #[error(
        "names the application {named}, but the application calls itself {called:?}; have a certificate made that names it"
    )]
    ApplicationUri { named: String, called: String },
}

impl Certificate {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::Chain);
        }
        let names = parsed.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| {
            if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
        };
        Ok(Self {
            der: der.to_vec(),
            subject: parsed.subject().to_string(),
            uris: names.iter().filter_map(uri).collect(),
            not_before: instant(parsed.validity().not_before.timestamp()),
            not_after: instant(parsed.validity().not_after.timestamp()),
        })
    }

    /// Reads a file in DER or PEM.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!(
                "it has {size} bytes, no certificate has more than {FILE_BYTES_MAX}"
            )));
        }
        let content = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        if content.starts_with(b"-----") {
            let (_, pem) =
                x509_parser::pem::parse_x509_pem(&content).map_err(|error| unreadable(error.to_string()))?;
            return Self::from_der(&pem.contents);
        }
        Self::from_der(&content)
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
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
        let named = if self.uris.is_empty() { "nowhere".to_owned() } else { self.uris.join(", ") };
        Err(CertificateError::ApplicationUri { named, called: called.to_owned() })
    }

    /// The time, or the earliest at which this program can run.
    pub(crate) fn believable(now: SystemTime) -> SystemTime {
        now.max(UNIX_EPOCH + CLOCK_FLOOR)
    }
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
            not_before: at(from),
            not_after: at(to),
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
}
