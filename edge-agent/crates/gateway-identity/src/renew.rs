//! Renewal: a new key and certificate before the old one ends, or after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plant_model::Timestamp;
use protocol::{Certified, IDENTITY_PATH, Identity, RENEW_PATH, RenewalRequest};
use rustls::{ClientConfig, RootCertStore};
use service_kit::{Backoff, Clock};
use tokio_util::sync::CancellationToken;

use crate::client::Backend;
use crate::enrol::key_and_request;
use crate::{CertificateTimes, IdentityError, IdentityFiles};

/// The longest pause between two looks at the clock and the files: a clock may be set, a file replaced.
const LOOK: Duration = Duration::from_secs(3_600);
/// The waits between two attempts.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1_800);

/// Gets a new certificate for a new key, tries it, and puts it in the place of the old one.
///
/// # Errors
/// Any step failed; what was there before stays in place and works as before.
pub async fn renew(
    cloud: &str,
    agent_version: &str,
    files: &IdentityFiles,
) -> Result<CertificateTimes, IdentityError> {
    let (key_pem, certificate_request) = key_and_request()?;
    let request = RenewalRequest { certificate_request, agent_version: agent_version.to_owned() };
    let answer: Certified = connect(cloud, files)?.post(RENEW_PATH, &request).await?;
    let staged = files.staged();
    staged.store_certificate(&key_pem, &answer.certificate)?;
    // A connection of its own: it is the new certificate that must be accepted.
    let _: Identity = connect(cloud, &staged)?.get(IDENTITY_PATH).await?;
    files.promote()?;
    if std::fs::read_to_string(&files.roots).is_ok_and(|known| known != answer.roots) {
        files.store_roots(&answer.roots)?;
    }
    files.times()
}

pub(crate) fn connect(cloud: &str, files: &IdentityFiles) -> Result<Backend, IdentityError> {
    let unreadable =
        |path: &std::path::Path, expected| IdentityError::Unreadable { path: path.into(), expected };
    let mut roots = RootCertStore::empty();
    for root in files.trusted()? {
        roots.add(root).map_err(|_| unreadable(&files.roots, "root certificate"))?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| IdentityError::Answer { url: cloud.to_owned(), detail: error.to_string() })?
        .with_root_certificates(roots)
        .with_client_auth_cert(files.chain()?, files.key()?)
        .map_err(|_| unreadable(&files.certificate, "key and certificate that belong together"))?;
    Backend::new(cloud, tls)
}

/// How the certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenewalState {
    /// Its times; `None` while it cannot be read.
    pub times: Option<CertificateTimes>,
    /// Renewals since the start.
    pub renewals: u64,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
}

/// Keeps the certificate good.
pub struct Renewer {
    /// Where certificates are renewed; `None` if they are not.
    pub cloud: Option<String>,
    /// The version of the agent, for the backend's records.
    pub agent_version: String,
    /// The identity.
    pub files: IdentityFiles,
    /// The time.
    pub clock: Clock,
    /// How it stands, for everybody to see.
    pub state: Arc<Mutex<RenewalState>>,
}

impl Renewer {
    /// Renews whenever it is time, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        loop {
            let pause = match self.step().await {
                Ok(pause) => {
                    backoff.reset();
                    pause.min(LOOK)
                }
                Err(error) => {
                    tracing::error!(error = %error, "the certificate of this gateway could not be renewed");
                    self.note(|state| state.error = Some(error.to_string()));
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Renews if it is time; answers how long it is until then.
    async fn step(&self) -> Result<Duration, IdentityError> {
        let mut times = self.files.times()?;
        self.note(|state| state.times = Some(times));
        if self.left(times.renewal_at()).is_zero() {
            let cloud = self.cloud.as_ref().ok_or(IdentityError::NoRenewal)?;
            times = renew(cloud, &self.agent_version, &self.files).await?;
            tracing::info!(expires_at = %times.expires_at, "the certificate of this gateway is renewed");
            self.note(|state| {
                *state = RenewalState { times: Some(times), renewals: state.renewals + 1, error: None };
            });
        }
        // Not at once again, whatever the clocks say.
        Ok(self.left(times.renewal_at()).max(BACKOFF_FIRST))
    }

    fn left(&self, until: Timestamp) -> Duration {
        let micros = until.micros().saturating_sub(self.clock.wall().micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    fn note(&self, change: impl FnOnce(&mut RenewalState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
