//! The certificate authority of a running `serve`: a reconciler. `pki rotate-…` runs in another process, so the files
//! are looked at all the time; the certificate of the servers is replaced in time or with the authority. Connections
//! that are open stay.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use pki::{CertificateAuthority, IssuedServer};
use tls_kit::ServerTls;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::data::DataDir;

/// Pause between two looks; a rotation takes effect within it.
const PERIOD: Duration = Duration::from_secs(1);

/// The authority as it is now. Copies share it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<RwLock<Arc<CertificateAuthority>>>);

impl Shared {
    pub(crate) fn new(authority: CertificateAuthority) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(authority))))
    }

    pub(crate) fn current(&self) -> Arc<CertificateAuthority> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, authority: CertificateAuthority) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(authority);
    }
}

/// How the servers that gateways see are certified.
#[derive(Debug, Clone)]
pub(crate) struct ServerNames {
    pub(crate) names: Vec<String>,
    pub(crate) lifetime: Duration,
}

/// Keeps authority and servers what the files and the clock say.
#[derive(Clone)]
pub(crate) struct Keeper {
    data: DataDir,
    servers: ServerNames,
    pub(crate) authority: Shared,
    /// Of the MQTT endpoint.
    pub(crate) mqtt: ServerTls,
    /// Of the API for gateways.
    pub(crate) gateways: ServerTls,
    renewal_at: SystemTime,
}

impl Keeper {
    pub(crate) fn open(data: &DataDir, servers: ServerNames) -> anyhow::Result<Self> {
        let authority = data.authority()?;
        let server = servers.issue(&authority)?;
        Ok(Self {
            data: data.clone(),
            renewal_at: servers.renewal_at(&server),
            servers,
            mqtt: ServerTls::new(authority.server_tls(&server)?),
            gateways: ServerTls::new(authority.enrolment_tls(&server)?),
            authority: Shared::new(authority),
        })
    }

    /// Takes up what changed, if anything did.
    ///
    /// # Errors
    /// The files cannot be read, or nothing can be certified; what was stays.
    pub(crate) fn reconcile(&mut self) -> anyhow::Result<()> {
        let is_current = self.authority.current().is_current(&self.data.pki())?;
        if is_current && SystemTime::now() < self.renewal_at {
            return Ok(());
        }
        let authority = self.data.authority()?;
        let server = self.servers.issue(&authority)?;
        let (mqtt, gateways) = (authority.server_tls(&server)?, authority.enrolment_tls(&server)?);
        self.renewal_at = self.servers.renewal_at(&server);
        // Trust in a new root comes before the first certificate from it.
        self.mqtt.replace(mqtt);
        self.gateways.replace(gateways);
        self.authority.replace(authority);
        info!(rotated = !is_current, "the servers that gateways see have a new certificate");
        Ok(())
    }

    /// Goes on until `stopping` is cancelled.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        let mut complaint = String::new();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            let mut keeper = self.clone();
            let looked = tokio::task::spawn_blocking(move || keeper.reconcile().map(|()| keeper)).await;
            match looked.context("the look at the authority failed").flatten() {
                Ok(keeper) => (self, complaint) = (keeper, String::new()),
                Err(error) => {
                    // The same failure again and again is one event, not one a second.
                    let text = format!("{error:#}");
                    if text != complaint {
                        error!(
                            error = text,
                            "the certificate authority cannot be taken up; what was stays in use"
                        );
                        complaint = text;
                    }
                }
            }
        }
    }
}

impl ServerNames {
    fn issue(&self, authority: &CertificateAuthority) -> anyhow::Result<IssuedServer> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        Ok(authority.issue_server_for(&names, self.lifetime)?)
    }

    /// Two thirds of the life of a certificate, which the issuer's end may shorten.
    fn renewal_at(&self, server: &IssuedServer) -> SystemTime {
        let left = server.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        server.expires_at - left / 3
    }
}
