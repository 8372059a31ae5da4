//! The local status interface: JSON on a loopback address, read-only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use edge_store::RecorderCounters;
use serde::Serialize;
use service_kit::Clock;
use uplink_mqtt::UplinkCounters;

use crate::board::Board;

/// What the status interface can see.
#[derive(Clone)]
pub(crate) struct Observed {
    pub tenant: String,
    pub gateway: String,
    pub epoch: String,
    pub clock: Clock,
    pub board: Board,
    pub recorder: Arc<RecorderCounters>,
    pub uplink: Arc<UplinkCounters>,
}

pub(crate) fn router(observed: Observed) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/livez", get(|| async { "ok" }))
        .with_state(Arc::new(observed))
}

/// The state of the agent and its counts since start.
#[derive(Serialize)]
pub(crate) struct Status {
    version: &'static str,
    tenant: String,
    gateway: String,
    epoch: String,
    uptime_s: u64,
    samples: Samples,
    buffer: Buffer,
    uplink: Uplink,
    machines: Vec<Machine>,
}

/// Samples since the start of this process.
#[derive(Serialize)]
struct Samples {
    /// What the drivers were scheduled to read (polling) or were sent (subscriptions).
    scheduled: u64,
    acquired: u64,
    committed: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct Buffer {
    stalled: bool,
    batches_committed: u64,
    transitions_committed: u64,
    commit_failures: u64,
    backlog_batches: u64,
}

#[derive(Serialize)]
struct Uplink {
    connected: bool,
    connects: u64,
    batches_sent: u64,
    bytes_sent: u64,
    resends: u64,
    last_error: String,
}

#[derive(Serialize)]
struct Machine {
    id: String,
    protocol: &'static str,
    link_up: bool,
    link_reason: String,
    active_alarms: usize,
    scheduled_samples: u64,
    acquired_samples: u64,
    polls_ok: u64,
    polls_failed: u64,
    missed_ticks: u64,
    connects: u64,
    disconnects: u64,
    overflows: u64,
    last_error: String,
}

async fn status(State(observed): State<Arc<Observed>>) -> Json<Status> {
    Json(status_of(&observed))
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
        active_alarms: board.active_alarms(),
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
