//! The local status interface on a loopback address, read-only.
//!
//! | path | what |
//! |---|---|
//! | `/` | a page for people, which renews itself |
//! | `/status` | state and counts since start, JSON |
//! | `/machines`, `/machines/{id}` | machines with the newest value of each tag and active alarms, JSON |
//! | `/livez` | the process answers |
//! | `/readyz` | drivers run and the buffer commits; else 503 and the reason |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use edge_store::{BufferHealth, RecorderCounters};
use plant_model::Monotonic;
use serde::Serialize;
use service_kit::Clock;
use uplink_mqtt::UplinkCounters;

use crate::board::Board;
use crate::page;
use crate::view::MachineView;

/// The drivers' scheduler beats every half second; later than this it hangs.
const BEAT_LAG_MAX: Duration = Duration::from_secs(5);

/// The page loads nothing and runs nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// What the status interface can see.
#[derive(Clone)]
pub(crate) struct Observed {
    pub tenant: String,
    pub gateway: String,
    pub epoch: String,
    pub clock: Clock,
    pub board: Board,
    /// When the drivers' scheduler ran last, in microseconds of the monotonic clock.
    pub heartbeat: Arc<AtomicU64>,
    pub recorder: Arc<RecorderCounters>,
    pub uplink: Arc<UplinkCounters>,
}

pub(crate) fn router(observed: Observed) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/status", get(status))
        .route("/machines", get(machines))
        .route("/machines/{id}", get(one_machine))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(observed))
}

/// The state of the agent and its counts since start.
#[derive(Serialize)]
pub(crate) struct Status {
    pub version: &'static str,
    pub tenant: String,
    pub gateway: String,
    pub epoch: String,
    pub uptime_s: u64,
    pub samples: Samples,
    pub buffer: Buffer,
    pub uplink: Uplink,
    pub machines: Vec<Machine>,
}

/// Samples since the start of this process.
#[derive(Serialize)]
pub(crate) struct Samples {
    /// What the drivers were scheduled to read (polling) or were sent (subscriptions).
    pub scheduled: u64,
    pub acquired: u64,
    pub committed: u64,
    pub dropped: u64,
}

#[derive(Serialize)]
pub(crate) struct Buffer {
    pub stalled: bool,
    /// `writable`, `full`, `read_only`, `failing`, `gone` or `damaged`.
    pub health: &'static str,
    pub held_bytes: u64,
    pub disk_bytes: u64,
    pub bytes_max: u64,
    /// Samples in memory that are not committed yet.
    pub samples_waiting: u64,
    /// Samples and records given up because the buffer was full.
    pub entries_evicted: u64,
    pub batches_divided: u64,
    pub batches_set_aside: u64,
    pub transitions_dropped: u64,
    pub batches_committed: u64,
    pub transitions_committed: u64,
    pub commit_failures: u64,
    pub backlog_batches: u64,
}

#[derive(Serialize)]
pub(crate) struct Uplink {
    pub connected: bool,
    pub connects: u64,
    pub batches_sent: u64,
    pub bytes_sent: u64,
    pub resends: u64,
    pub last_error: String,
}

#[derive(Serialize)]
pub(crate) struct Machine {
    pub id: String,
    pub protocol: &'static str,
    pub link_up: bool,
    pub link_reason: String,
    pub active_alarms: usize,
    pub scheduled_samples: u64,
    pub acquired_samples: u64,
    pub polls_ok: u64,
    pub polls_failed: u64,
    pub missed_ticks: u64,
    pub connects: u64,
    pub disconnects: u64,
    pub overflows: u64,
    pub last_error: String,
}

async fn status(State(observed): State<Arc<Observed>>) -> Json<Status> {
    Json(status_of(&observed))
}

async fn index(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    let page = page::render(&status_of(&observed), &views(&observed));
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page))
}

async fn machines(State(observed): State<Arc<Observed>>) -> Json<Vec<MachineView>> {
    Json(views(&observed))
}

async fn one_machine(
    State(observed): State<Arc<Observed>>,
    Path(id): Path<String>,
) -> Result<Json<MachineView>, (StatusCode, String)> {
    let found = observed.board.machines.iter().find(|m| m.id.as_str() == id);
    let missing = || (StatusCode::NOT_FOUND, format!("there is no machine {id}; /machines lists all\n"));
    found.map(|m| Json(MachineView::of(m, observed.clock.wall()))).ok_or_else(missing)
}

fn views(observed: &Observed) -> Vec<MachineView> {
    let now = observed.clock.wall();
    observed.board.machines.iter().map(|m| MachineView::of(m, now)).collect()
}

async fn readyz(State(observed): State<Arc<Observed>>) -> (StatusCode, String) {
    match unready(&observed) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn unready(observed: &Observed) -> Option<&'static str> {
    let beat = Monotonic::from_micros(observed.heartbeat.load(Ordering::Relaxed));
    if observed.clock.now().since(beat) > BEAT_LAG_MAX {
        return Some("the scheduler of the drivers hangs: the watchdog restarts the agent; see its log");
    }
    if observed.recorder.stalled.load(Ordering::Relaxed) == 1 {
        return Some("the buffer cannot commit: check the disk for space and errors; see the agent's log");
    }
    if observed.recorder.health() == BufferHealth::Damaged {
        return Some("a part of the buffer cannot be read: restart the agent, which salvages the rest");
    }
    None
}

pub(crate) fn status_of(observed: &Observed) -> Status {
    let machines: Vec<Machine> = observed.board.machines.iter().map(|m| machine(m)).collect();
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (recorder, uplink) = (&observed.recorder, &observed.uplink);
    Status {
        version: env!("CARGO_PKG_VERSION"),
        tenant: observed.tenant.clone(),
        gateway: observed.gateway.clone(),
        epoch: observed.epoch.clone(),
        uptime_s: observed.clock.now().micros() / 1_000_000,
        samples: Samples {
            scheduled: machines.iter().map(|m| m.scheduled_samples).sum(),
            acquired: machines.iter().map(|m| m.acquired_samples).sum(),
            committed: load(&recorder.samples_committed),
            dropped: load(&recorder.samples_dropped),
        },
        buffer: Buffer {
            stalled: load(&recorder.stalled) == 1,
            health: recorder.health().name(),
            held_bytes: load(&recorder.held_bytes),
            disk_bytes: load(&recorder.disk_bytes),
            bytes_max: load(&recorder.bytes_max),
            samples_waiting: load(&recorder.samples_waiting),
            entries_evicted: load(&recorder.entries_evicted),
            batches_divided: load(&recorder.batches_divided),
            batches_set_aside: load(&recorder.batches_set_aside),
            transitions_dropped: load(&recorder.transitions_dropped),
            batches_committed: load(&recorder.batches_committed),
            transitions_committed: load(&recorder.transitions_committed),
            commit_failures: load(&recorder.commit_failures),
            backlog_batches: uplink.backlog(),
        },
        uplink: Uplink {
            connected: uplink.is_connected(),
            connects: uplink.connects(),
            batches_sent: uplink.batches_sent(),
            bytes_sent: uplink.bytes_sent(),
            resends: uplink.resends(),
            last_error: uplink.last_error(),
        },
        machines,
    }
}

fn machine(board: &crate::board::MachineBoard) -> Machine {
    let (link_up, link_reason) = board.link();
    let counters = &board.counters;
    Machine {
        id: board.id.to_string(),
        protocol: board.protocol,
        link_up,
        link_reason,
        active_alarms: board.active_alarms().len(),
        scheduled_samples: counters.scheduled_samples.get(),
        acquired_samples: counters.acquired_samples.get(),
        polls_ok: counters.polls_ok.get(),
        polls_failed: counters.polls_failed.total(),
        missed_ticks: counters.missed_ticks.get(),
        connects: counters.connects.get(),
        disconnects: counters.disconnects.get(),
        overflows: counters.overflows.get(),
        last_error: counters.last_error(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use acquisition::TagIndex;
    use tokio::net::TcpListener;

    use super::*;
    use crate::board::tests::{board, sample};
    use crate::tools::local;

    pub(crate) fn observed() -> Observed {
        let clock = Clock::start();
        Observed {
            tenant: "acme".to_owned(),
            gateway: "gw-1".to_owned(),
            epoch: "1".to_owned(),
            clock,
            board: board(),
            heartbeat: Arc::new(AtomicU64::new(clock.now().micros())),
            recorder: Arc::default(),
            uplink: Arc::default(),
        }
    }

    /// Serves on a free port; ends with the test's runtime.
    pub(crate) async fn served(observed: Observed) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router(observed)).await });
        address
    }

    #[tokio::test]
    async fn the_page_shows_tags_alarms_and_links_without_scripts() {
        let observed = observed();
        observed.board.machines[0].update([(TagIndex(1), &sample(77))].into_iter());
        let page = local::get(served(observed).await, "/").await.expect("served");
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("Lathe &lt;1&gt;") && !page.contains("Lathe <1>"), "names are escaped: {page}");
        assert!(page.contains("<td>parts</td>") && page.contains(">77<"), "{page}");
        assert!(page.contains("not connected yet") && page.contains("http-equiv=\"refresh\""), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[tokio::test]
    async fn a_machine_is_served_by_its_id_and_an_unknown_one_is_refused() {
        let address = served(observed()).await;
        let body = local::get(address, "/machines/lathe-1").await.expect("served");
        let view: MachineView = serde_json::from_slice(&body).expect("a machine");
        assert_eq!(view.tags.len(), 2);
        let error = local::get(address, "/machines/lathe-2").await.expect_err("unknown").to_string();
        assert!(error.contains("404") && error.contains("/machines lists all"), "{error}");
    }

    #[tokio::test]
    async fn readiness_follows_the_buffer_and_the_drivers_scheduler() {
        let observed = observed();
        let address = served(observed.clone()).await;
        assert_eq!(local::get(address, "/readyz").await.expect("ready"), b"ready\n");
        observed.recorder.stalled.store(1, Ordering::Relaxed);
        let error = local::get(address, "/readyz").await.expect_err("stalled").to_string();
        assert!(error.contains("503") && error.contains("check the disk"), "{error}");
    }
}
