//! The certificate of this gateway while the agent runs: renewed in time, and seen.

use std::sync::{Arc, Mutex, PoisonError};

use edge_config::UplinkConfig;
use gateway_identity::{IdentityFiles, RenewalState, Renewer};
use plant_model::Timestamp;
use serde::Serialize;
use tls_kit::TlsTime;
use tokio_util::sync::CancellationToken;

const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// What is known of the certificate.
pub(crate) type Certificate = Arc<Mutex<RenewalState>>;

/// Keeps the certificate of an uplink, if there is one, good until `stop` is cancelled.
pub(crate) fn spawn(uplink: Option<&UplinkConfig>, time: TlsTime, stop: &CancellationToken) -> Certificate {
    let state = Certificate::default();
    let Some(uplink) = uplink else { return state };
    let renewer = Renewer {
        cloud: uplink.renewal_url.clone(),
        agent_version: crate::version::running().to_owned(),
        files: IdentityFiles { certificate: uplink.certificate_file.clone(), roots: uplink.ca_file.clone() },
        time,
        state: Arc::clone(&state),
    };
    tokio::spawn(renewer.run(stop.clone()));
    state
}

fn state_of(certificate: &Certificate) -> RenewalState {
    certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What is left of the life of a certificate; negative after its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Left {
    pub days: f64,
    pub percent: f64,
}

/// `None` while the certificate or the time is not known.
#[expect(clippy::cast_precision_loss, reason = "days to be looked at")]
pub(crate) fn left(certificate: &Certificate, now: Timestamp) -> Option<Left> {
    let times = state_of(certificate).times.filter(|_| !now.is_unplaced())?;
    let micros = |from: Timestamp| times.expires_at.micros().saturating_sub(from.micros()) as f64;
    let (left, life) = (micros(now), micros(times.issued_at));
    Some(Left { days: left / DAY_MICROS as f64, percent: left / life.max(1.0) * 100.0 })
}

/// The certificate by which the backend knows this gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CertificateStatus {
    /// Its end, milliseconds since 1970 UTC.
    pub expires_at_ms: i64,
    /// Whole days that are left; negative once it has ended.
    pub days_left: i64,
    /// Renewals since the start of this process.
    pub renewals: u64,
    /// Why the last renewal failed.
    pub error: Option<String>,
}

/// `None` while it is not known.
pub(crate) fn status(certificate: &Certificate, now: Timestamp) -> Option<CertificateStatus> {
    let state = state_of(certificate);
    let expires_at = state.times?.expires_at;
    let left = expires_at.micros().saturating_sub(now.micros());
    Some(CertificateStatus {
        expires_at_ms: expires_at.millis(),
        days_left: left.div_euclid(DAY_MICROS),
        renewals: state.renewals,
        error: state.error,
    })
}

#[cfg(test)]
mod tests {
    use gateway_identity::CertificateTimes;

    use super::*;

    const fn day(n: i64) -> Timestamp {
        Timestamp::from_micros((20_000 + n) * DAY_MICROS)
    }

    #[test]
    fn what_is_left_is_told_in_days_and_as_a_share_and_not_without_the_time() {
        let certificate = Certificate::default();
        assert_eq!(left(&certificate, day(0)), None);
        let times = CertificateTimes { issued_at: day(0), expires_at: day(30) };
        certificate.lock().expect("nobody panicked").times = Some(times);
        let told = |now| left(&certificate, now).map(|left| (left.days, left.percent.round()));
        assert_eq!(told(times.renewal_at()), Some((10.0, 33.0)));
        assert_eq!(told(day(33)), Some((-3.0, -10.0)));
        assert_eq!(left(&certificate, Timestamp::from_micros(5)), None);
    }
}
