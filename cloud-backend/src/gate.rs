//! How a revocation comes to where gateways connect.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use ingestion::{GatewayIdentity, PortFuture};
use mqtt_broker_client::{Address, Answer, Credentials, Dial, knock};
use mqtt_endpoint::Endpoint;
use pki::{BACKEND_NAME, CertificateAuthority, IssuedIdentity, PROBE_NAME};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info};

use crate::authority::Shared;
use crate::mosquitto::Folder;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Revoked {
    /// The serial numbers, lower-case hexadecimal, of revoked certificates that have not ended.
    pub(crate) serials: BTreeSet<String>,
    /// Gateways that have no other.
    pub(crate) shut_out: BTreeSet<GatewayIdentity>,
}

/// Where gateways connect.
pub(crate) trait Gate: Send + Sync {
    /// Sees to it that what is revoked opens nothing and has no connection. It may be asked again for the same.
    ///
    /// # Errors
    /// It is not so, or nobody knows.
    fn enforce<'a>(&'a self, revoked: &'a Revoked) -> PortFuture<'a, anyhow::Result<()>>;

    /// Whether what was enforced still is; it is not when the authority has changed meanwhile.
    fn holds(&self) -> bool {
        true
    }
}

/// Our own endpoint: it does it at once.
pub(crate) struct EndpointGate(pub(crate) Endpoint);

impl Gate for EndpointGate {
    fn enforce<'a>(&'a self, revoked: &'a Revoked) -> PortFuture<'a, anyhow::Result<()>> {
        self.0.revoke(revoked.serials.iter().cloned().collect());
        Box::pin(async { Ok(()) })
    }
}

/// As whom the backend is known to its broker; renewed with the authority, which every renewal of our own servers is.
pub(crate) struct OurCredentials {
    authority: Shared,
    pub(crate) credentials: Credentials,
    /// Who has issued them.
    issued_by: std::sync::Mutex<Arc<CertificateAuthority>>,
}

impl OurCredentials {
    pub(crate) fn issue(authority: Shared) -> anyhow::Result<Self> {
        let issuer = authority.current();
        let credentials = Credentials::new(issuer.client_tls(&issuer.issue_backend(BACKEND_NAME)?)?);
        Ok(Self { authority, credentials, issued_by: std::sync::Mutex::new(issuer) })
    }

    fn are_current(&self) -> bool {
        let issued_by = self.issued_by.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&issued_by, &self.authority.current())
    }

    /// Renews them if the authority is another one.
    fn renew(&self) -> anyhow::Result<()> {
        if self.are_current() {
            return Ok(());
        }
        let issuer = self.authority.current();
        self.credentials.replace(issuer.client_tls(&issuer.issue_backend(BACKEND_NAME)?)?);
        *self.issued_by.lock().unwrap_or_else(PoisonError::into_inner) = issuer;
        info!("the next connection to the broker is made with a new certificate");
        Ok(())
    }
}

/// A broker that the backend has no hand on.
pub(crate) struct ForeignGate(pub(crate) OurCredentials);

impl Gate for ForeignGate {
    fn holds(&self) -> bool {
        self.0.are_current()
    }

    fn enforce<'a>(&'a self, revoked: &'a Revoked) -> PortFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            self.0.renew()?;
            if !revoked.serials.is_empty() {
                bail!(
                    "{} certificates are revoked, and the broker is not told: give --broker-dir, or remove their \
                     rights there by hand",
                    revoked.serials.len()
                );
            }
            Ok(())
        })
    }
}

/// How long the broker may take to read the list after it was told to.
const RELOAD: Duration = Duration::from_secs(5);

/// Pause between two knocks while it reads.
const KNOCK_AGAIN: Duration = Duration::from_millis(50);

/// A list is dated back so far: the clock of the broker may be behind, and each list needs a later date than the one
/// before, also when many come in a second.
const BACKDATED: Duration = Duration::from_secs(600);

/// Lifetime of the certificate by which the backend takes over the connection of a gateway that is shut out.
const TAKE_OVER_LIFETIME: Duration = Duration::from_secs(300);

/// A Mosquitto whose folder is here (`broker configure mosquitto`): with the authority its certificates change, and it
/// is told. The list of revoked certificates refuses new
/// connections. Mosquitto does not look at open ones again: the backend takes over the connection of who is shut out,
/// once a certificate that is revoked for this purpose is refused.
pub(crate) struct MosquittoGate {
    ours: OurCredentials,
    folder: Folder,
    address: Address,
    state: Mutex<State>,
    /// Who signed the list. A broker with a list lets in nobody whose issuer has none.
    listed_by: std::sync::Mutex<Option<Arc<CertificateAuthority>>>,
}

#[derive(Default)]
struct State {
    listed_at: Option<SystemTime>,
    /// Whose connection was taken over since they were shut out.
    expelled: BTreeSet<GatewayIdentity>,
}

impl MosquittoGate {
    pub(crate) fn new(ours: OurCredentials, folder: Folder, address: Address) -> Self {
        Self { ours, folder, address, state: Mutex::default(), listed_by: std::sync::Mutex::default() }
    }

    async fn enforce_now(&self, revoked: &Revoked) -> anyhow::Result<()> {
        let authority = self.ours.authority.current();
        let mut state = self.state.lock().await;
        // What is revoked is to be refused whatever becomes of this.
        if !self.holds()
            && let Err(error) = self.folder.certify(&authority)
        {
            error!(error = format!("{error:#}"), "the broker has no new certificate");
        }
        let probe = authority.issue_backend(PROBE_NAME)?;
        let earliest = SystemTime::now() - BACKDATED;
        let at = state.listed_at.map_or(earliest, |last| earliest.max(last + Duration::from_secs(1)));
        let serials = revoked.serials.iter().map(String::as_str).chain([probe.certificate.serial.as_str()]);
        self.folder.write_list(&authority, &authority.revocation_list(serials, at)?)?;
        state.listed_at = Some(at);
        self.folder.tell_broker()?;
        *self.listed_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&authority));
        self.wait_until_heeded(&authority, &probe).await?;
        info!(certificates = revoked.serials.len(), "the broker refuses what is revoked");
        self.ours.renew()?;
        state.expelled.retain(|gateway| revoked.shut_out.contains(gateway));
        for gateway in revoked.shut_out.difference(&state.expelled.clone()) {
            self.expel(&authority, gateway).await?;
            state.expelled.insert(gateway.clone());
        }
        Ok(())
    }

    async fn wait_until_heeded(
        &self,
        authority: &CertificateAuthority,
        probe: &IssuedIdentity,
    ) -> anyhow::Result<()> {
        let dial = self.dial(authority, probe, PROBE_NAME)?;
        let until = Instant::now() + RELOAD;
        loop {
            let answer = knock(&dial).await;
            match answer {
                Answer::CertificateRevoked => return Ok(()),
                Answer::LetIn | Answer::Unclear(_) if Instant::now() < until => {}
                Answer::LetIn => bail!(
                    "the broker at {} lets in a certificate that {} lists as revoked; let it read the list again \
                     (SIGHUP, `systemctl reload mosquitto`)",
                    self.address,
                    self.folder.list().display()
                ),
                Answer::Unclear(why) => {
                    bail!(
                        "whether the broker at {} refuses what is revoked is not known: {why}",
                        self.address
                    )
                }
            }
            tokio::time::sleep(KNOCK_AGAIN).await;
        }
    }

    /// Ends the connection of a gateway, by taking over its client id.
    async fn expel(&self, authority: &CertificateAuthority, gateway: &GatewayIdentity) -> anyhow::Result<()> {
        let as_gateway = authority.issue_gateway(&gateway.tenant, &gateway.gateway, TAKE_OVER_LIFETIME)?;
        match knock(&self.dial(authority, &as_gateway, &gateway.to_string())?).await {
            Answer::LetIn => {
                info!(tenant.id = %gateway.tenant, gateway.id = %gateway.gateway, "a revoked gateway has no connection");
                Ok(())
            }
            Answer::CertificateRevoked => bail!("the broker refuses a certificate that is not revoked"),
            Answer::Unclear(why) => bail!("the connection of {gateway} cannot be ended: {why}"),
        }
    }

    fn dial(
        &self,
        authority: &CertificateAuthority,
        identity: &IssuedIdentity,
        client_id: &str,
    ) -> anyhow::Result<Dial> {
        let tls = authority.client_tls(identity).context("cannot prepare TLS with the broker")?;
        let credentials = Credentials::new(tls);
        Ok(Dial { address: self.address.clone(), credentials, client_id: client_id.to_owned() })
    }
}

impl Gate for MosquittoGate {
    fn enforce<'a>(&'a self, revoked: &'a Revoked) -> PortFuture<'a, anyhow::Result<()>> {
        Box::pin(self.enforce_now(revoked))
    }

    fn holds(&self) -> bool {
        let listed_by = self.listed_by.lock().unwrap_or_else(PoisonError::into_inner);
        listed_by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &self.ours.authority.current()))
    }
}
