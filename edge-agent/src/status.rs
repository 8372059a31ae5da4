//! The local status interface on a loopback address; read-only unless alarm commands are allowed.
//!
//! | path | what |
//! |---|---|
//! | `/` | a page for people, which renews itself |
//! | `/status` | state and counts since start, JSON |
//! | `/machines`, `/machines/{id}` | machines with the newest value of each tag and alarms, JSON |
//! | `/machines/{id}/alarms/{alarm}` | a form for commands to the alarm (`status.alarm_commands`) |
//! | `/reload` | `POST`: reads the configuration anew, JSON |
//! | `/buffer`, `/buffer/gaps` | what the buffer holds, and what it records as lost, JSON |
//! | `/livez` | the process answers |
//! | `/readyz` | drivers run and the buffer commits; else 503 and the reason |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use edge_store::{BufferHealth, RecorderCounters, StoreClient, StoreError, Usage};
use plant_model::{Monotonic, TimeChange, TimeSource};
use serde::Serialize;
use service_kit::Clock;
use uplink_mqtt::UplinkCounters;

use crate::board::{Board, MachineBoard};
use crate::buffer_view::{self, BufferView, LossesView};
use crate::bus_load::{BusLoad, BusMeter};
use crate::certificate::{self, Certificate, CertificateStatus};
use crate::commands::CommandDesk;
use crate::configuration::{ConfigurationDesk, ConfigurationStatus};
use crate::lane::FastLane;
use crate::latency::{AlarmLatency, LatencyRow};
use crate::outputs::AlarmOutput;
use crate::promise::{LateAlarm, Punctuality};
use crate::reload::{Reloader, web};
use crate::remote::{RemoteDesk, RemoteStatus};
use crate::time::TimeDesk;
use crate::update::{UpdateDesk, UpdateStatus};
use crate::view::MachineView;
use crate::{operate, page};

/// The drivers' scheduler beats every half second; later than this it hangs.
const BEAT_LAG_MAX: Duration = Duration::from_secs(5);

/// Largest form: a name, a comment, an id.
const FORM_BYTES_MAX: usize = 8 * 1024;

/// What the status interface can see.
#[derive(Clone)]
pub(crate) struct Observed {
    pub tenant: String,
    pub gateway: String,
    pub epoch: String,
    pub clock: Clock,
    pub time: Arc<TimeDesk>,
    pub board: Board,
    /// When the drivers' scheduler ran last, in microseconds of the monotonic clock.
    pub heartbeat: Arc<AtomicU64>,
    pub recorder: Arc<RecorderCounters>,
    /// One look at the buffer at a time: it takes the writer a moment for every few thousand batches.
    pub buffer: Arc<tokio::sync::Mutex<StoreClient>>,
    pub uplink: Arc<UplinkCounters>,
    pub certificate: Certificate,
    pub lane: Arc<FastLane>,
    pub latency: Arc<AlarmLatency>,
    pub punctuality: Arc<Punctuality>,
    pub desk: Arc<CommandDesk>,
    pub configuration: Arc<ConfigurationDesk>,
    pub reloader: Option<Arc<Reloader>>,
    pub remote: Arc<RemoteDesk>,
    pub update: Arc<UpdateDesk>,
    /// Whether the page takes alarm commands.
    pub alarm_commands: bool,
}

/// What the handlers share.
struct Served {
    observed: Observed,
    meter: BusMeter,
}

pub(crate) fn router(observed: Observed) -> Router {
    let operation = get(operate::form).post(operate::submit).layer(DefaultBodyLimit::max(FORM_BYTES_MAX));
    let operation = operation.with_state(Arc::new(observed.clone()));
    let router = Router::new();
    let router = match observed.alarm_commands {
        true => router.route("/machines/{id}/alarms/{alarm}", operation),
        false => router,
    };
    let router = match observed.reloader.clone() {
        Some(reloader) => router.route("/reload", post(web::reload).with_state(reloader)),
        None => router,
    };
    router
        .route("/", get(index))
        .route("/status", get(status))
        .route("/machines", get(machines))
        .route("/machines/{id}", get(one_machine))
        .route("/buffer", get(buffer))
        .route("/buffer/gaps", get(buffer_gaps))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Served { observed, meter: BusMeter::default() }))
}

/// The state of the agent and its counts since start.
#[derive(Serialize)]
pub(crate) struct Status {
    pub version: &'static str,
    pub tenant: String,
    pub gateway: String,
    pub epoch: String,
    pub uptime_s: u64,
    /// What the configuration asks for and cannot work, as `check` says it.
    pub impossible: Arc<[String]>,
    pub configuration: ConfigurationStatus,
    /// `null` where nothing comes from the backend.
    pub remote: Option<RemoteStatus>,
    /// `null` where the backend is not told of updates of the agent.
    pub update: Option<UpdateStatus>,
    pub clock: Time,
    pub samples: Samples,
    pub buffer: Buffer,
    pub uplink: Uplink,
    /// `null` without an uplink, or while the file cannot be read.
    pub certificate: Option<CertificateStatus>,
    pub alarms: Alarms,
    pub buses: Vec<Bus>,
    pub machines: Vec<Machine>,
}

/// What the agent knows of the time.
#[derive(Serialize)]
pub(crate) struct Time {
    /// Whether it is known. Until it is samples are kept, and not sent.
    pub known: bool,
    /// Whose clock it goes by: `system`, `backend`, or `none`.
    pub source: &'static str,
    /// Milliseconds since 1970; while the time is not known since the boot.
    pub now_ms: i64,
    /// How often the clock was set since the start.
    pub steps: u64,
    /// By how much it was moved the last time, in milliseconds.
    pub last_step_ms: Option<i64>,
    /// By how many milliseconds the backend's clock was ahead when it told the time.
    pub backend_ahead_ms: Option<i64>,
    /// Batches that wait for the time.
    pub batches_waiting: u64,
}

/// How alarms fare on their way, since the start of this process.
#[derive(Serialize)]
pub(crate) struct Alarms {
    /// Copies and results that found no room on the fast lane; the buffer has what they were copies of.
    pub fast_lane_dropped: u64,
    /// Messages that were no commands.
    pub commands_unreadable: u64,
    pub latency: Vec<LatencyRow>,
    /// Alarms that were raised later than their budgets, by priority.
    pub late: BTreeMap<&'static str, u64>,
    pub last_late: Option<LateAlarm>,
    pub outputs: Vec<AlarmOutput>,
}

/// A connection that machines share, or have for themselves, in which one request travels at a time.
#[derive(Serialize)]
pub(crate) struct Bus {
    pub bus: String,
    pub machines: Vec<String>,
    #[serde(flatten)]
    pub load: BusLoad,
}

/// Samples since the start of this process.
#[derive(Serialize)]
pub(crate) struct Samples {
    /// What the drivers were scheduled to read (polling) or were sent (subscriptions).
    pub scheduled: u64,
    pub acquired: u64,
    /// Not recorded, because they say nothing new (`report` of a tag).
    pub withheld: u64,
    /// Recorded once more at their heartbeat.
    pub restated: u64,
    pub committed: u64,
    pub dropped: u64,
}

#[derive(Serialize)]
pub(crate) struct Buffer {
    pub stalled: bool,
    /// `writable`, `full`, `read_only`, `failing`, `gone` or `damaged`.
    pub health: &'static str,
    pub held_bytes: u64,
    /// What of it the backend does not have yet, as far as it can be told from the count of batches.
    pub undelivered_bytes: u64,
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
    /// Values whose source time is far from the gateway's: the machine's clock is wrong.
    pub doubtful_source_times: u64,
    pub withheld_samples: u64,
    pub restated_samples: u64,
    pub last_error: String,
}

async fn status(State(served): State<Arc<Served>>) -> Json<Status> {
    Json(served.status())
}

async fn index(State(served): State<Arc<Served>>) -> operate::Page {
    let operable = served.observed.alarm_commands;
    page::guarded(page::render(&served.status(), &served.views(), operable))
}

/// Why the buffer cannot be looked at.
fn unreadable(error: StoreError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

async fn buffer(State(served): State<Arc<Served>>) -> Result<Json<BufferView>, (StatusCode, String)> {
    let observed = &served.observed;
    let client = observed.buffer.lock().await;
    let (counters, load) = (&observed.recorder, |n: &AtomicU64| n.load(Ordering::Relaxed));
    let usage = Usage {
        held_bytes: load(&counters.held_bytes),
        disk_bytes: load(&counters.disk_bytes),
        bytes_max: load(&counters.bytes_max),
        room_bytes: load(&counters.room_bytes),
    };
    let (health, now) = (counters.health().name(), observed.clock.wall());
    buffer_view::survey(&client, &observed.epoch, health, usage, now).await.map(Json).map_err(unreadable)
}

async fn buffer_gaps(State(served): State<Arc<Served>>) -> Result<Json<LossesView>, (StatusCode, String)> {
    let client = served.observed.buffer.lock().await;
    buffer_view::losses(&client).await.map(Json).map_err(unreadable)
}

async fn machines(State(served): State<Arc<Served>>) -> Json<Vec<MachineView>> {
    Json(served.views())
}

async fn one_machine(
    State(served): State<Arc<Served>>,
    Path(id): Path<String>,
) -> Result<Json<MachineView>, (StatusCode, String)> {
    let found = served.observed.board.machine(&id);
    let missing = || (StatusCode::NOT_FOUND, format!("there is no machine {id}; /machines lists all\n"));
    found.map(|m| Json(served.view(&m))).ok_or_else(missing)
}

impl Served {
    fn status(&self) -> Status {
        Status { buses: buses(&self.observed, &self.meter), ..status_of(&self.observed) }
    }

    fn views(&self) -> Vec<MachineView> {
        self.observed.board.shown().machines.iter().map(|m| self.view(m)).collect()
    }

    fn view(&self, machine: &MachineBoard) -> MachineView {
        let clock = self.observed.clock;
        let look = |bus: &String| self.meter.look(bus, machine.counters.busy_us.get(), clock.now());
        MachineView {
            bus_load: machine.bus.as_ref().map(look),
            ..MachineView::of(machine, clock.wall(), clock.booted_at())
        }
    }
}

/// Each bus once, in the order of its first machine; all machines on it count the same time.
fn buses(observed: &Observed, meter: &BusMeter) -> Vec<Bus> {
    let mut buses: Vec<Bus> = Vec::new();
    for machine in &observed.board.shown().machines {
        let Some(name) = &machine.bus else { continue };
        match buses.iter_mut().find(|b| b.bus == *name) {
            Some(known) => known.machines.push(machine.id.to_string()),
            None => buses.push(Bus {
                bus: name.clone(),
                machines: vec![machine.id.to_string()],
                load: meter.look(name, machine.counters.busy_us.get(), observed.clock.now()),
            }),
        }
    }
    buses
}

async fn readyz(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    match unready(&served.observed) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

pub(crate) fn unready(observed: &Observed) -> Option<&'static str> {
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

/// The state, with the load of the buses since the start.
pub(crate) fn status_of(observed: &Observed) -> Status {
    let shown = observed.board.shown();
    let machines: Vec<Machine> = shown.machines.iter().map(|m| machine(m)).collect();
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (recorder, uplink) = (&observed.recorder, &observed.uplink);
    Status {
        version: crate::version::running(),
        tenant: observed.tenant.clone(),
        gateway: observed.gateway.clone(),
        epoch: observed.epoch.clone(),
        uptime_s: observed.clock.now().micros() / 1_000_000,
        impossible: Arc::clone(&shown.impossible),
        configuration: observed.configuration.status(),
        remote: observed.remote.status(),
        update: observed.update.status(),
        clock: time(observed),
        samples: Samples {
            scheduled: machines.iter().map(|m| m.scheduled_samples).sum(),
            acquired: machines.iter().map(|m| m.acquired_samples).sum(),
            withheld: machines.iter().map(|m| m.withheld_samples).sum(),
            restated: machines.iter().map(|m| m.restated_samples).sum(),
            committed: load(&recorder.samples_committed),
            dropped: load(&recorder.samples_dropped),
        },
        buffer: Buffer {
            stalled: load(&recorder.stalled) == 1,
            health: recorder.health().name(),
            held_bytes: load(&recorder.held_bytes),
            undelivered_bytes: load(&recorder.undelivered_bytes),
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
        certificate: certificate::status(&observed.certificate, observed.clock.wall()),
        alarms: Alarms {
            fast_lane_dropped: observed.lane.dropped(),
            commands_unreadable: observed.desk.unreadable(),
            latency: observed.latency.rows(),
            late: observed.punctuality.late().into_iter().collect(),
            last_late: observed.punctuality.last(),
            outputs: shown.outputs.iter().map(|o| o.report(observed.clock.now())).collect(),
        },
        buses: buses(observed, &BusMeter::default()),
        machines,
    }
}

fn time(observed: &Observed) -> Time {
    let view = observed.time.view();
    let step = |change: TimeChange| change.to.millis() - change.from.millis();
    Time {
        known: view.source != TimeSource::None,
        source: view.source.name(),
        now_ms: view.now.millis(),
        steps: view.steps.count,
        last_step_ms: view.steps.last.filter(|change| !change.from.is_unplaced()).map(step),
        backend_ahead_ms: view.backend_ahead_us.map(|us| us / 1000),
        batches_waiting: observed.recorder.batches_unplaced.load(Ordering::Relaxed),
    }
}

fn machine(board: &MachineBoard) -> Machine {
    let (link_up, link_reason) = board.link();
    let counters = &board.counters;
    Machine {
        id: board.id.to_string(),
        protocol: board.protocol,
        link_up,
        link_reason,
        active_alarms: board.annunciated_alarms(),
        scheduled_samples: counters.scheduled_samples.get(),
        acquired_samples: counters.acquired_samples.get(),
        polls_ok: counters.polls_ok.get(),
        polls_failed: counters.polls_failed.total(),
        missed_ticks: counters.missed_ticks.get(),
        connects: counters.connects.get(),
        disconnects: counters.disconnects.get(),
        overflows: counters.overflows.get(),
        doubtful_source_times: counters.doubtful_source_times.get(),
        withheld_samples: counters.withheld_samples.get(),
        restated_samples: counters.restated_samples.get(),
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

    /// A buffer whose agent has stopped.
    fn stopped_buffer() -> StoreClient {
        let folder = tempfile::tempdir().expect("a folder");
        let settings =
            edge_store::Settings { bytes_max: 0, ..edge_store::Settings::new(folder.path().join("b")) };
        let now = plant_model::Timestamp::from_micros(1);
        let store = edge_store::EdgeStore::open(settings, now).expect("opens").store;
        let recorder = edge_store::Recorder::start(store, move || now, Box::new(|_, _| {}));
        recorder.expect("starts").client()
    }

    pub(crate) fn observed() -> Observed {
        let clock = Clock::start();
        Observed {
            tenant: "acme".to_owned(),
            gateway: "gw-1".to_owned(),
            epoch: "1".to_owned(),
            clock,
            time: Arc::new(TimeDesk::of_the_system(clock)),
            board: board(),
            heartbeat: Arc::new(AtomicU64::new(clock.now().micros())),
            recorder: Arc::default(),
            buffer: Arc::new(tokio::sync::Mutex::new(stopped_buffer())),
            uplink: Arc::default(),
            certificate: Certificate::default(),
            lane: Arc::default(),
            latency: Arc::default(),
            punctuality: Arc::default(),
            desk: Arc::new(CommandDesk::new(clock)),
            configuration: Arc::default(),
            reloader: None,
            remote: Arc::default(),
            update: Arc::default(),
            alarm_commands: false,
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
        observed.board.shown().machines[0].update([(TagIndex(1), &sample(77))].into_iter());
        let page = local::get(served(observed).await, "/").await.expect("served");
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("Lathe &lt;1&gt;") && !page.contains("Lathe <1>"), "names are escaped: {page}");
        assert!(page.contains("<td>parts</td>") && page.contains(">77<"), "{page}");
        assert!(page.contains("not connected yet") && page.contains("http-equiv=\"refresh\""), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    /// Two machines on one line, taken for half of the time, and one with a session of its own.
    pub(crate) fn observed_bus() -> Observed {
        let press = |id: &str, unit: u8| {
            let text = format!(
                "version = 1\nid = \"{id}\"\n[modbus_rtu]\ndevice = \"/dev/ttyUSB0\"\nunit_id = {unit}\n[[tags]]\n\
                 id = \"state\"\ndata_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n\
                 enumeration = {{ 0 = \"stopped\", 1 = \"running\" }}\n"
            );
            let config = edge_config::read_machine("press.toml".as_ref(), &text).expect("valid");
            let board = MachineBoard::new(&config, vec![protocol::SeriesId(u32::from(unit))], Arc::default());
            board.update([(TagIndex(0), &sample(1))].into_iter());
            board
        };
        let observed = observed();
        let busy_us = observed.clock.now().micros() / 2;
        let mut machines = observed.board.shown().machines.clone();
        for machine in [press("press-1", 1), press("press-2", 2)] {
            machine.counters.busy_us.add(busy_us);
            machines.push(Arc::new(machine));
        }
        machines[0].counters.doubtful_source_times.add(7);
        machines[0].counters.withheld_samples.add(5);
        Observed { board: Board::of(machines), ..observed }
    }

    #[tokio::test]
    async fn the_load_of_a_bus_is_told_once_and_machines_on_it_agree() {
        let address = served(observed_bus()).await;
        let json = |body: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
        let status = json(local::get(address, "/status").await.expect("served"));
        let buses = status["buses"].as_array().expect("a list");
        assert_eq!(buses.len(), 1, "{status:#}");
        assert_eq!(buses[0]["bus"], "/dev/ttyUSB0");
        assert_eq!(buses[0]["machines"], serde_json::json!(["press-1", "press-2"]));
        assert!(buses[0]["percent"].as_f64().is_some_and(|p| (0.0..=50.0).contains(&p)), "{status:#}");
        assert_eq!(
            (&status["samples"]["withheld"], &status["machines"][0]["withheld_samples"]),
            (&5.into(), &5.into())
        );
        assert_eq!(status["machines"][0]["doubtful_source_times"], 7);
        let machines = json(local::get(address, "/machines").await.expect("served"));
        assert_eq!(machines[0]["bus_load"], serde_json::Value::Null, "a session of its own has none");
        assert!(machines[2]["bus_load"]["percent"].is_number(), "{machines:#}");
        let page = local::get(address, "/").await.expect("served");
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("<td>/dev/ttyUSB0</td>") && page.contains("press-1, press-2"), "{page}");
        assert!(page.contains("5 withheld") && page.contains("7 with a doubtful source time"), "{page}");
        assert!(page.contains("running (1)"), "numbers have names: {page}");
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
