//! Seals what gateways sent, and makes rollups of the hours that are over: a reconciler.
//!
//! One gateway at a time, so that no more than one wave is in memory (`WAVE_SAMPLES_MAX` of `segments`), and each for a
//! few waves, so that a backlog of weeks does not keep the others waiting. What fails is tried again later; what was
//! not sealed is still a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet::{FUTURE_MAX, FleetStore};
use http_api::{Exposition, MetricKind};
use plant_model::{GatewayId, TenantId, Timestamp};
use service_kit::{Backoff, Clock};
use tenancy::TenancyStore;
use tiering::{Progress, SealError, roll_next, seal_next};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::health::Counter;
use crate::store::Store;

/// Pause between two looks: a minute is sealed some seconds after a batch of the next one.
const PERIOD: Duration = Duration::from_secs(10);

/// Waves of one gateway before it is another one's turn: some seconds.
const WAVES_AT_A_TIME: usize = 20;

/// Waits before a gateway whose data could not be sealed is looked at again.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// A gateway of a tenant.
type Key = (TenantId, GatewayId);

/// What sealing says about itself, and where it is poked.
#[derive(Debug, Default)]
pub(crate) struct SealHealth {
    poke: Notify,
    batches: Counter,
    segments: Counter,
    hours: Counter,
    failures: Counter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the oldest batch was received that may be sealed and is not.
    oldest: BTreeMap<Key, Timestamp>,
    /// Gateways that failed the last time.
    failing: BTreeSet<Key>,
    /// Gateways some of whose batches wait for a catalogue.
    waiting: BTreeSet<Key>,
}

impl SealHealth {
    /// There may be something to seal that could not be sealed before.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers whether the gateway begins to wait for a catalogue.
    fn note(&self, key: &Key, progress: &Progress) -> bool {
        let mut begins = false;
        self.change(|state| {
            match progress.oldest_received_at {
                Some(at) => state.oldest.insert(key.clone(), at),
                None => state.oldest.remove(key),
            };
            state.failing.remove(key);
            if progress.waits_for.is_some() {
                begins = state.waiting.insert(key.clone());
            } else {
                state.waiting.remove(key);
            }
        });
        begins
    }

    /// Tells the metrics.
    pub(crate) fn expose(&self, out: &mut Exposition) {
        let counters = [
            ("cloud_backend_sealed_batches_total", "Batches that became segments.", &self.batches),
            ("cloud_backend_sealed_segments_total", "Segments that were written by sealing.", &self.segments),
            ("cloud_backend_rolled_hours_total", "Rollups of hours that were made.", &self.hours),
            ("cloud_backend_sealing_failures_total", "Attempts to seal that failed.", &self.failures),
        ];
        for (name, help, counter) in counters {
            out.single(name, MetricKind::Counter, help, counter.get());
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.oldest.values().min();
        let age = oldest.map_or(Duration::ZERO, |at| Clock::system().since(*at));
        let gauges = [
            (
                "cloud_backend_sealing_backlog_seconds",
                "Age of the oldest batch that may be sealed and is not.",
                age.as_secs(),
            ),
            (
                "cloud_backend_sealing_failing",
                "Gateways whose data could not be sealed the last time.",
                state.failing.len() as u64,
            ),
            (
                "cloud_backend_sealing_waiting_for_catalogue",
                "Gateways with batches of series that no catalogue names.",
                state.waiting.len() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            out.single(name, MetricKind::Gauge, help, value);
        }
    }
}

/// The reconciler.
pub(crate) struct Sealing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Arc<crate::health::Health>,
    pub(crate) clock: Clock,
}

/// Gateways that failed, and from when on they are tried again.
type Later = BTreeMap<Key, (Backoff, Instant)>;

impl Sealing {
    /// Goes on until `stopping` is cancelled. A step that is under way then is finished or never happened.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut later = Later::new();
        loop {
            let more = tokio::select! {
                more = self.visit_all(&mut later) => more,
                () = stopping.cancelled() => return,
            };
            let pause = if more { Duration::ZERO } else { PERIOD };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.health.sealing.poke.notified() => {}
            }
        }
    }

    /// Answers whether there is more to do at once.
    async fn visit_all(&self, later: &mut Later) -> bool {
        let keys = match self.gateways().await {
            Ok(keys) => keys,
            Err(cause) => {
                error!(error = format!("{cause:#}"), "gateways cannot be read; nothing is sealed");
                return false;
            }
        };
        let mut more = false;
        for key in keys {
            if later.get(&key).is_some_and(|(_, from)| Instant::now() < *from) {
                continue;
            }
            match self.visit(&key).await {
                Ok(is_cut) => {
                    later.remove(&key);
                    more |= is_cut;
                }
                Err(cause) => self.put_off(key, &cause, later),
            }
        }
        more
    }

    async fn gateways(&self) -> anyhow::Result<Vec<Key>> {
        let (tenancy, fleet): (&dyn TenancyStore, &dyn FleetStore) = (&*self.store, &*self.store);
        let mut keys = Vec::new();
        for tenant in tenancy.tenants().await? {
            let gateways = fleet.gateways(&tenant.id).await?;
            keys.extend(gateways.into_iter().map(|info| (tenant.id.clone(), info.id)));
        }
        Ok(keys)
    }

    fn put_off(&self, key: Key, cause: &SealError, later: &mut Later) {
        let fresh = || (Backoff::new(RETRY.0, RETRY.1), Instant::now());
        let (backoff, from) = later.entry(key.clone()).or_insert_with(fresh);
        let wait = backoff.next_wait();
        *from = Instant::now() + wait;
        error!(tenant.id = %key.0, gateway.id = %key.1, error = crate::worker::chain(cause), wait_ms = wait.as_millis(),
            "batches are not sealed; they stay batches");
        self.health.sealing.failures.add(1);
        self.health.sealing.change(|state| {
            state.failing.insert(key);
        });
    }

    /// Seals some waves of a gateway and makes its hours. Answers whether there is more.
    async fn visit(&self, key: &Key) -> Result<bool, SealError> {
        for _ in 0..WAVES_AT_A_TIME {
            let progress = match self.seal(key).await {
                Err(cause) if cause.is_conflict() => continue,
                other => other?,
            };
            let health = &self.health.sealing;
            if health.note(key, &progress)
                && let Some((epoch, series)) = progress.waits_for
            {
                warn!(tenant.id = %key.0, gateway.id = %key.1, %epoch, series = series.0,
                    "batches wait for the catalogue that names their series before they are sealed");
            }
            let Some(wave) = progress.sealed else {
                self.roll(key).await?;
                return Ok(false);
            };
            health.batches.add(wave.batches as u64);
            health.segments.add(wave.segments as u64);
        }
        Ok(true)
    }

    /// One step, off the asynchronous threads: it decodes and encodes for a while.
    async fn seal(&self, key: &Key) -> Result<Progress, SealError> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        let now = self.clock.wall();
        blocking(async move { seal_next(&*store, &key.0, &key.1, now, now.plus(FUTURE_MAX)).await }).await
    }

    async fn roll(&self, key: &Key) -> Result<(), SealError> {
        loop {
            let (store, key) = (Arc::clone(&self.store), key.clone());
            let now = self.clock.wall();
            let made = blocking(async move { roll_next(&*store, &key.0, &key.1, now).await }).await?;
            if made == 0 {
                return Ok(());
            }
            self.health.sealing.hours.add(made as u64);
        }
    }
}

/// Runs work that computes more than it waits on a thread where it disturbs nobody.
async fn blocking<T: Send + 'static>(
    work: impl Future<Output = Result<T, SealError>> + Send + 'static,
) -> Result<T, SealError> {
    let handle = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || handle.block_on(work)).await;
    done.unwrap_or_else(|cause| Err(SealError::Store(tiering::StoreError::Unavailable(Box::new(cause)))))
}
