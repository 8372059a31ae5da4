//! The certificate of this gateway while the agent runs: renewed in time, and seen.

use std::sync::{Arc, Mutex, PoisonError};

use edge_config::UplinkConfig;
use gateway_identity::{IdentityFiles, RenewalState, Renewer};
use plant_model::Timestamp;
use serde::Serialize;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

/// What is known of the certificate.
pub(crate) type Certificate = Arc<Mutex<RenewalState>>;

/// Keeps the certificate of an uplink good until `stop` is cancelled.
pub(crate) fn spawn(uplink: &UplinkConfig, clock: Clock, stop: CancellationToken) -> Certificate {
    let state = Certificate::default();
    let renewer = Renewer {
        cloud: uplink.renewal_url.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        files: IdentityFiles { certificate: uplink.certificate_file.clone(), roots: uplink.ca_file.clone() },
        clock,
        state: Arc::clone(&state),
    };
    tokio::spawn(renewer.run(stop));
    state
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
    let state = certificate.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expires_at = state.times?.expires_at;
    let left = expires_at.micros().saturating_sub(now.micros());
    Some(CertificateStatus {
        expires_at_ms: expires_at.millis(),
        days_left: left.div_euclid(24 * 3_600 * 1_000_000),
        renewals: state.renewals,
        error: state.error,
    })
}
