//! A running API on a real store, two tenants and their users, and one gateway with data.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive_parquet::ParquetArchive;
use fleet::Presence;
use http_api::{
    ApiParts, ApiState, CommandLine, Commands, Configurations, Exposition, History, HttpServer, LiveFeed,
    MetricKind, Operations, PortFuture, Rollouts, SendError, hash_password,
};
use ingestion::{Applied, Arrival, IngestStore, WriteSet};
use plant_model::{
    AlarmCondition, AlarmDefinition, AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTransition,
    DataType, Enumeration, GatewayId, LimitKind, MachineId, Quality, Sample, TagDefinition, TagId, TenantId,
    Timestamp, TransitionCause, Value,
};
use protocol::{
    Batch, BatchBody, Catalogue, CatalogueMachine, CatalogueTag, ConfigurationFiles, Epoch, Hello,
    Instruction, Live, MachineLink, Sequence, SeriesId, SeriesSamples, StreamId, StreamRange, TagRole,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value as Json;
use service_kit::Clock;
use store_sqlite::SqliteStore;
use tenancy::{ConfigurationProblem, MachineCheck, PasswordHash, Role, TenancyStore, Tenant, User, UserName};
use tokio_util::sync::CancellationToken;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000;
pub(crate) const EPOCH: Epoch = Epoch::from_u64(0xABCD);
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) archive: Arc<ParquetArchive>,
    pub(crate) feed: LiveFeed,
    pub(crate) commands: Commands,
    pub(crate) line: Arc<Line>,
    /// How often somebody was told that a rollout changed.
    pub(crate) poked: Arc<AtomicU32>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: Option<tokio::task::JoinHandle<()>>,
    pub(crate) client: reqwest::Client,
    _directory: tempfile::TempDir,
}

/// The way to the gateways: keeps what left, while there is a gateway at its end.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) connected: AtomicBool,
    pub(crate) sent: Mutex<Vec<Instruction>>,
}

impl CommandLine for Line {
    fn send(&self, tenant: &TenantId, gateway: &GatewayId, command: &Instruction) -> Result<(), SendError> {
        assert_eq!((tenant, gateway), (&acme(), &gw_1()));
        if !self.connected.load(Ordering::Relaxed) {
            return Err(SendError::Offline);
        }
        self.sent.lock().expect("whole").push(command.clone());
        Ok(())
    }
}

/// The agent's own parser, as the backend uses it.
struct AgentCheck;

impl MachineCheck for AgentCheck {
    fn problems(&self, files: &ConfigurationFiles) -> Vec<ConfigurationProblem> {
        let checked = edge_config::check_machines(files.iter());
        let problems = checked.map_or_else(|errors| errors.0, |_| Vec::new());
        let told = |p: edge_config::Problem| ConfigurationProblem {
            file: p.file.display().to_string(),
            line: p.line.map(|line| line as u64),
            message: p.to_string(),
        };
        problems.into_iter().map(told).collect()
    }
}

struct Switch(Arc<AtomicBool>);

impl Operations for Switch {
    fn ready(&self) -> PortFuture<'_, Result<(), String>> {
        let ready = self.0.load(Ordering::Relaxed);
        Box::pin(async move { if ready { Ok(()) } else { Err("the disk is full".to_owned()) } })
    }

    fn expose(&self, out: &mut Exposition) {
        out.single("test_total", MetricKind::Counter, "Of the test.", 1);
    }
}

impl Api {
    /// Tenants `acme` (user `anna`, gateway `gw-1` with a press) and `globex` (user `gus`); operator `olga`.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Arc::new(SqliteStore::open(directory.path()).expect("a store"));
        populate(&store).await;
        let (feed, ready) = (LiveFeed::new(), Arc::new(AtomicBool::new(true)));
        let operations = Arc::new(Switch(Arc::clone(&ready)));
        let clock = Clock::start();
        let line = Arc::new(Line::default());
        let commands = Commands::new(line.clone());
        let configurations = Configurations { store: store.clone(), check: Arc::new(AgentCheck) };
        let archive = Arc::new(archive(directory.path()));
        let history = History::new(store.clone(), archive.clone());
        let poked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&poked);
        let rollouts = Rollouts {
            store: store.clone(),
            changed: Arc::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
            watching_since: clock.wall(),
        };
        let state = ApiState::new(ApiParts {
            fleet: store.clone(),
            history,
            tenancy: store.clone(),
            live: feed.clone(),
            commands: commands.clone(),
            configurations,
            rollouts,
            operations,
            clock,
        });
        let state = state.expect("random bytes");
        let server = HttpServer::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = server.local_addr();
        let shutdown = CancellationToken::new();
        let served = Some(tokio::spawn(server.run(state, shutdown.clone())));
        let client = reqwest::Client::new();
        Self {
            address,
            store,
            archive,
            feed,
            commands,
            line,
            poked,
            ready,
            shutdown,
            served,
            client,
            _directory: directory,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address)).timeout(Duration::from_secs(20))
    }

    pub(crate) async fn try_sign_in(&self, name: &str, password: &str) -> Response {
        let body = serde_json::json!({ "username": name, "password": password });
        self.request(Method::POST, "/api/v1/session").json(&body).send().await.expect("an answer")
    }

    /// The `Cookie` header of a new session.
    pub(crate) async fn sign_in(&self, name: &str) -> String {
        let response = self.try_sign_in(name, PASSWORD).await;
        assert_eq!(response.status(), 200, "{name}");
        let set = response.headers()["set-cookie"].to_str().expect("text").to_owned();
        set.split(';').next().expect("a pair").to_owned()
    }

    pub(crate) async fn get(&self, cookie: &str, path: &str) -> Response {
        self.request(Method::GET, path).header("cookie", cookie).send().await.expect("an answer")
    }

    pub(crate) async fn json(&self, cookie: &str, path: &str) -> Json {
        let response = self.get(cookie, path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// Stores a batch as the gateway `gw-1` of `acme` sent it, and shows what it holds.
    pub(crate) async fn store(&self, sequence: u64, body: BatchBody) -> Applied {
        let at = Timestamp::from_micros(START);
        let stream = body.stream();
        let bytes = Batch::encode(EPOCH, Sequence::from_u64(sequence), at, &body).expect("a batch");
        let applied = self.apply(stream, bytes).await;
        if let BatchBody::Transitions(list) = &body {
            self.feed.stored_transitions(&acme(), &gw_1(), list, applied.stored_at);
        }
        applied
    }

    pub(crate) async fn apply(&self, stream: StreamId, payload: Vec<u8>) -> Applied {
        let received_at = Timestamp::from_micros(START);
        let arrival =
            Arrival { tenant: acme(), gateway: gw_1(), stream, payload: payload.into(), received_at };
        let set = Arc::new(WriteSet { entries: vec![ingestion::decide(arrival)] });
        self.store.apply(&acme(), set).await.expect("stored")
    }

    /// The gateway comes online, says hello and what it reads.
    pub(crate) async fn connect_gateway(&self) {
        let at = Timestamp::from_micros(START);
        let range =
            |stream| StreamRange { stream, oldest: Sequence::from_u64(1), next: Sequence::from_u64(1) };
        let streams = StreamId::ALL.map(range).to_vec();
        let hello = Hello { epoch: EPOCH, schema_max: 1, agent_version: "1.2.3".into(), streams };
        self.store.record_hello(&acme(), &gw_1(), &hello, at).await.expect("noted");
        let catalogue = Arc::new(catalogue());
        let bytes = catalogue.encode().into();
        self.store.save_catalogue(&acme(), &gw_1(), Arc::clone(&catalogue), bytes, at).await.expect("saved");
        self.feed.presence(&acme(), &gw_1(), Presence::Online, at);
        self.feed.catalogue(&acme(), &gw_1(), catalogue);
    }

    /// The gateway sends its latest values.
    pub(crate) fn live(&self, millis: i64, temperature: f64, quality: Quality) {
        let sample = |value, quality| sample(millis, value, quality);
        let latest = vec![
            SeriesSamples { series: SeriesId(1), samples: vec![sample(Value::Float(temperature), quality)] },
            SeriesSamples { series: SeriesId(2), samples: vec![sample(Value::Int(0), Quality::GOOD)] },
        ];
        let links = vec![MachineLink { machine: press(), up: true, reason: String::new() }];
        let at = Timestamp::from_micros(START + millis * 1_000);
        self.feed.live(&acme(), &gw_1(), &Live { at, latest, links, transitions: Vec::new() });
    }
}

/// An archive without objects.
fn archive(directory: &std::path::Path) -> ParquetArchive {
    let place = directory.join("archive");
    std::fs::create_dir(&place).expect("a directory");
    ParquetArchive::open(&format!("file://{}", place.display()), []).expect("an archive")
}

async fn populate(store: &SqliteStore) {
    let phc = tokio::task::spawn_blocking(|| hash_password(PASSWORD)).await.expect("joined").expect("hashed");
    for (id, name) in [("acme", "Acme"), ("globex", "Globex")] {
        let tenant = Tenant { id: TenantId::new(id).expect("valid"), name: name.into() };
        store.add_tenant(tenant).await.expect("added");
    }
    let manager = |id: &str| Role::Manager { tenant: TenantId::new(id).expect("valid") };
    for (name, role) in
        [("anna", manager("acme")), ("gus", manager("globex")), ("olga", Role::PlatformOperator)]
    {
        let user = User {
            name: UserName::new(name).expect("valid"),
            display_name: name.to_uppercase(),
            role,
            password_hash: PasswordHash::from_phc(phc.clone()),
        };
        store.add_user(user).await.expect("added");
    }
    store.add_gateway(acme(), gw_1()).await.expect("added");
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").expect("valid")
}

pub(crate) fn gw_1() -> GatewayId {
    GatewayId::new("gw-1").expect("valid")
}

pub(crate) fn press() -> MachineId {
    MachineId::new("press-1").expect("valid")
}

pub(crate) fn sample(millis: i64, value: Value, quality: Quality) -> Sample {
    let gateway_timestamp = Timestamp::from_micros(START + millis * 1_000);
    Sample { value: Some(value), quality, source_timestamp: None, gateway_timestamp }
}

/// `count` temperatures, one a second.
pub(crate) fn temperatures(count: u32) -> BatchBody {
    let one = |n| sample(i64::from(n) * 1_000, Value::Float(f64::from(n)), Quality::GOOD);
    BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples: (0..count).map(one).collect() }])
}

pub(crate) fn transition(occurrence: u64, cause: TransitionCause, millis: i64) -> AlarmTransition {
    let (from, to) = if cause == TransitionCause::Raised {
        (AlarmState::Normal, AlarmState::Unacknowledged)
    } else {
        (AlarmState::Unacknowledged, AlarmState::Normal)
    };
    let at = Timestamp::from_micros(START + millis * 1_000);
    AlarmTransition {
        machine: press(),
        alarm: AlarmId::new("hot").expect("valid"),
        tag: Some(TagId::new("temperature").expect("valid")),
        occurrence,
        from,
        to,
        cause,
        priority: AlarmPriority::High,
        value: Some(Value::Float(91.5)),
        limit: Some(90.0),
        deadband: 2.0,
        value_at: at,
        decided_at: at,
        message: "Oil too hot".into(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: None,
    }
}

fn catalogue() -> Catalogue {
    let tag = |series, id: &str, unit: &str, data_type, role| CatalogueTag {
        series: SeriesId(series),
        definition: TagDefinition {
            id: TagId::new(id).expect("valid"),
            name: id.to_uppercase(),
            unit: unit.into(),
            data_type,
            enumeration: Enumeration::default(),
        },
        role,
    };
    let mut state = tag(2, "state", "", DataType::Int, TagRole::State);
    let names = [(1, "waiting".to_owned()), (0, "cutting".to_owned())];
    state.definition.enumeration = Enumeration::new(names).expect("valid");
    let condition = AlarmCondition::Limit {
        tag: TagId::new("temperature").expect("valid"),
        kind: LimitKind::High,
        limit: 90.0,
        deadband: 2.0,
    };
    let id = AlarmId::new("hot").expect("valid");
    let alarm = AlarmDefinition::new(id, condition, AlarmPriority::High, "Oil too hot");
    let machine = CatalogueMachine {
        id: press(),
        name: "Press 1".into(),
        kind: "hydraulic-press".into(),
        protocol: "modbus-tcp".into(),
        tags: vec![tag(1, "temperature", "°C", DataType::Float, TagRole::Headline), state],
        alarms: vec![alarm],
    };
    Catalogue { epoch: EPOCH, machines: vec![machine] }
}
