//! Moves the tiers of all tenants: a reconciler. It looks again when something becomes due, and at least every ten minutes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_api::{Exposition, MetricKind};
use plant_model::{GatewayId, TenantId};
use service_kit::Clock;
use tenancy::TenancyStore;
use tiering::{Archive, Move, MoveError, Moved, Plan};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::health::Health;
use crate::store::Store;
use crate::tiers::run::{Runner, Watch, chain};

/// Longest pause: late data are written again after it.
const PERIOD: Duration = Duration::from_secs(600);

/// Shortest pause, between runs that were cut.
const PAUSE: Duration = Duration::from_secs(5);

/// What became of moves since the start.
#[derive(Debug, Default)]
pub(crate) struct MoveHealth(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Count, rows, bytes by action.
    made: BTreeMap<&'static str, [u64; 3]>,
    failures: u64,
    /// Tenants of which the last run failed, and why.
    late: BTreeMap<TenantId, String>,
    /// Seconds since 1970.
    last_run: u64,
}

impl MoveHealth {
    fn change(&self, work: impl FnOnce(&mut State)) {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells the metrics.
    pub(crate) fn expose(&self, out: &mut Exposition) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = [
            ("cloud_backend_tier_moves_total", "Moves between tiers, by action."),
            ("cloud_backend_tier_moved_rows_total", "Samples written or rows dropped by moves."),
            ("cloud_backend_tier_moved_bytes_total", "Bytes written or dropped by moves."),
        ];
        for (index, (name, help)) in figures.into_iter().enumerate() {
            let mut family = out.family(name, MetricKind::Counter, help);
            for (action, made) in &state.made {
                family.sample(&[("action", *action)], made[index]);
            }
        }
        let (name, help) = ("cloud_backend_tier_failures_total", "Moves that failed; they are made again.");
        out.single(name, MetricKind::Counter, help, state.failures);
        let (name, help) = ("cloud_backend_tiers_late", "Tenants of which the last run of moves failed.");
        out.single(name, MetricKind::Gauge, help, state.late.len() as u64);
        let (name, help) =
            ("cloud_backend_tier_last_run_seconds", "When moves were last looked for, since 1970.");
        out.single(name, MetricKind::Gauge, help, state.last_run);
    }
}

impl Watch for &MoveHealth {
    fn planned(&mut self, _: &GatewayId, _: &Plan) {}

    fn made(&mut self, m: &Move, outcome: &Result<Moved, MoveError>) {
        match outcome {
            Ok(moved) => {
                info!(gateway.id = %m.gateway, action = m.action.name(), rows = moved.rows,
                    size_bytes = moved.bytes, "a tier was moved");
                self.change(|state| {
                    let made = state.made.entry(m.action.name()).or_default();
                    for (total, more) in made.iter_mut().zip([1, moved.rows, moved.bytes]) {
                        *total += more;
                    }
                });
            }
            Err(cause) => {
                error!(gateway.id = %m.gateway, action = m.action.name(), error = chain(cause),
                    "a tier was not moved; nothing was dropped, and the next run tries again");
                self.change(|state| state.failures += 1);
            }
        }
    }
}

/// The reconciler.
pub(crate) struct Lifecycle {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) health: Arc<Health>,
    pub(crate) clock: Clock,
}

impl Lifecycle {
    /// Goes on until `stopping` is cancelled. A move that is under way then is given up; the next start makes it anew.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        loop {
            let wait = tokio::select! {
                wait = self.run_tenants() => wait,
                () = stopping.cancelled() => return,
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Answers how long to wait.
    async fn run_tenants(&self) -> Duration {
        let tenancy: &dyn TenancyStore = &*self.store;
        let tenants = match tenancy.tenants().await {
            Ok(tenants) => tenants,
            Err(cause) => {
                error!(error = chain(&cause), "tenants cannot be read; their tiers are not moved");
                return PERIOD;
            }
        };
        let mut wait = PERIOD;
        for tenant in tenants {
            wait = wait.min(self.run_tenant(&tenant.id).await);
        }
        wait.max(PAUSE)
    }

    async fn run_tenant(&self, tenant: &TenantId) -> Duration {
        let clock = self.clock;
        let now = move || clock.wall();
        let holder = holder();
        let runner = Runner { store: &*self.store, archive: &*self.archive, holder: &holder, now: &now };
        let ran = runner.run(tenant, None, &mut &self.health.moves).await;
        let seconds = u64::try_from(now().micros() / 1_000_000).unwrap_or(0);
        let (failure, wait) = match ran {
            Ok(Ok(outcome)) if outcome.failures.is_empty() => {
                let next = outcome.next_at.map_or(PERIOD, |at| at.since(now()));
                (None, if outcome.is_cut { PAUSE } else { next })
            }
            Ok(Ok(outcome)) => (Some(outcome.text()), PERIOD),
            Ok(Err(_)) => (None, PERIOD),
            Err(cause) => {
                error!(tenant.id = %tenant, error = format!("{cause:#}"), "tiers are not moved");
                (Some(format!("{cause:#}")), PERIOD)
            }
        };
        self.health.moves.change(|state| {
            state.last_run = seconds;
            match failure {
                Some(why) => drop(state.late.insert(tenant.clone(), why)),
                None => drop(state.late.remove(tenant)),
            }
        });
        wait
    }
}

/// Who takes a turn: this host and process.
pub(crate) fn holder() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    format!("{} process {}", host.unwrap_or_else(|_| "unknown host".to_owned()), std::process::id())
}
