//! Carries revocations from the store to where gateways connect: a reconciler. `gateway revoke` may run in another
//! process, so the store is looked at all the time; an enrolment pokes it.

use std::sync::Arc;
use std::time::Duration;

use ingestion::GatewayIdentity;
use service_kit::Clock;
use tenancy::TenancyStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::gate::{Gate, Revoked};
use crate::health::Health;

/// Pause between two looks; a revocation takes effect soon after.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct Revocation {
    pub(crate) store: Arc<dyn TenancyStore>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) health: Arc<Health>,
    pub(crate) poke: Arc<Notify>,
    pub(crate) clock: Clock,
}

/// What is known to be in force.
#[derive(Default)]
pub(crate) struct InForce {
    revoked: Option<Revoked>,
    complaint: String,
}

impl Revocation {
    /// What is revoked now, brought into force.
    ///
    /// # Errors
    /// The store fails. That the gate does not do it is told by the health of the program, and tried again.
    pub(crate) async fn reconcile(&self, known: &mut InForce) -> Result<(), tenancy::StoreError> {
        let serials = self.store.revoked_serials(self.clock.wall()).await?.into_iter().collect();
        if self.gate.holds() && known.revoked.as_ref().is_some_and(|known| known.serials == serials) {
            return Ok(());
        }
        let revoked = Revoked { shut_out: self.shut_out().await?, serials };
        match self.gate.enforce(&revoked).await {
            Ok(()) => {
                info!(certificates = revoked.serials.len(), "revoked certificates open nothing");
                self.health.revocations_are_in_force(true);
                *known = InForce { revoked: Some(revoked), complaint: String::new() };
            }
            Err(error) => {
                self.health.revocations_are_in_force(false);
                let error = format!("{error:#}");
                // The same failure every second is one event.
                if error != known.complaint {
                    error!(error, "what is revoked may still be let in; trying again");
                    known.complaint = error;
                }
            }
        }
        Ok(())
    }

    /// Gateways whose certificates are all revoked.
    async fn shut_out(&self) -> Result<std::collections::BTreeSet<GatewayIdentity>, tenancy::StoreError> {
        let (mut shut_out, now) = (std::collections::BTreeSet::new(), self.clock.wall());
        for tenant in self.store.tenants().await? {
            for gateway in self.store.registered_gateways(&tenant.id).await? {
                let certificates = self.store.certificates(&tenant.id, &gateway).await?;
                let mut alive = certificates.iter().filter(|c| c.expires_at > now).peekable();
                if alive.peek().is_some() && alive.all(|certificate| certificate.revoked_at.is_some()) {
                    shut_out.insert(GatewayIdentity { tenant: tenant.id.clone(), gateway });
                }
            }
        }
        Ok(shut_out)
    }

    /// Goes on until `stopping` is cancelled. While the store fails, what was revoked stays revoked.
    pub(crate) async fn run(self, mut known: InForce, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.poke.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
            let outcome = tokio::select! {
                () = stopping.cancelled() => return,
                outcome = self.reconcile(&mut known) => outcome,
            };
            if let Err(error) = outcome {
                error!(%error, "revocations cannot be read");
            }
        }
    }
}
