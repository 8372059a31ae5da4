//! What the ingest workers say about themselves: trouble with the store, and counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ingestion::GatewayIdentity;
use plant_model::{TenantId, Timestamp};

use crate::books::Books;
use crate::sealing::SealHealth;
use crate::tiers::MoveHealth;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Health of the ingest path.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: Mutex<BTreeMap<TenantId, String>>,
    /// The end of each gateway's certificate.
    certificate_ends: Mutex<Vec<(GatewayIdentity, Timestamp)>>,
    /// What became of every message.
    pub(crate) books: Books,
    /// What became of sealing.
    pub(crate) sealing: SealHealth,
    /// Messages that went through a transaction.
    pub(crate) messages: Counter,
    /// Transactions.
    pub(crate) groups: Counter,
    /// Attempts of the store that failed and are made again.
    pub(crate) retries: Counter,
    /// Messages refused because too much waited to be stored. They come again.
    pub(crate) overflows: Counter,
    /// Hello, catalogue and live messages that could not be read.
    pub(crate) unreadable: Counter,
    /// Stored batches with times so far ahead that they do not count as the newest: the clock of a gateway is wrong.
    pub(crate) from_the_future: Counter,
    /// Ranges that gateways were asked for again.
    pub(crate) resends: Counter,
    /// Acknowledgements that found their gateway gone. The next hello is answered with the same.
    pub(crate) acks_unsent: Counter,
    /// What became of moves between tiers.
    pub(crate) moves: MoveHealth,
    /// Whether all that is revoked is known to open nothing.
    revocations_in_force: AtomicBool,
    /// Gateways that run another version than the desired one.
    gateways_behind: AtomicU64,
}

impl Health {
    /// When the certificates of gateways end.
    pub(crate) fn set_certificate_ends(&self, ends: Vec<(GatewayIdentity, Timestamp)>) {
        *self.certificate_ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    pub(crate) fn certificate_ends(&self) -> Vec<(GatewayIdentity, Timestamp)> {
        self.certificate_ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many gateways run another version than the desired one.
    pub(crate) fn set_gateways_behind(&self, count: u64) {
        self.gateways_behind.store(count, Ordering::Relaxed);
    }

    pub(crate) fn gateways_behind(&self) -> u64 {
        self.gateways_behind.load(Ordering::Relaxed)
    }

    /// The data of a tenant cannot be written now.
    pub(crate) fn failing(&self, tenant: &TenantId, why: String) {
        self.lock().insert(tenant.clone(), why);
    }

    /// The data of a tenant was written.
    pub(crate) fn recovered(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    /// Whether all that is revoked is known to open nothing now.
    pub(crate) fn revocations_are_in_force(&self, are: bool) {
        self.revocations_in_force.store(are, Ordering::Relaxed);
    }

    /// Whether all that is revoked opens nothing, as far as is known.
    pub(crate) fn has_revocations_in_force(&self) -> bool {
        self.revocations_in_force.load(Ordering::Relaxed)
    }

    /// Why some tenant's data cannot be written, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let failing = self.lock();
        let (tenant, why) = failing.first_key_value()?;
        let more = failing.len() - 1;
        let others = if more == 0 { String::new() } else { format!(" (and {more} more tenants)") };
        Some(format!("what gateways of tenant {tenant} send cannot be stored: {why}{others}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TenantId, String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_names_a_tenant_and_ends_when_all_recovered() {
        let health = Health::default();
        let (a, b) = (TenantId::new("a").expect("valid"), TenantId::new("b").expect("valid"));
        assert_eq!(health.trouble(), None);
        health.failing(&b, "disk full".into());
        health.failing(&a, "disk full".into());
        assert!(health.trouble().is_some_and(|why| why.contains("tenant a") && why.contains("1 more")));
        health.recovered(&a);
        assert!(health.trouble().is_some_and(|why| why.contains("tenant b") && !why.contains("more")));
        health.recovered(&b);
        assert_eq!(health.trouble(), None);
    }
}
