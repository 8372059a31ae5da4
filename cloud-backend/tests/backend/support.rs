//! The real program, a gateway that speaks real MQTT over real TLS, and waiting that ends.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plant_model::{
    AlarmCondition, AlarmDefinition, AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTransition,
    DataType, Enumeration, LimitKind, MachineId, Quality, Sample, TagDefinition, TagId, Timestamp,
    TransitionCause, Value,
};
use protocol::{
    Batch, BatchBody, Catalogue, CatalogueMachine, CatalogueTag, Command as Order, CumulativeAck, Epoch,
    Hello, Instruction, Live, MachineLink, Sequence, SeriesId, SeriesSamples, StreamId, StreamRange, TagRole,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value as Json;
use tokio::sync::mpsc;

/// Longest wait for something that must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a level.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000;
pub(crate) const EPOCH: Epoch = Epoch::from_u64(0xE0);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A data directory with tenant `acme`, its gateway `gw-1` and its manager `anna`.
pub(crate) struct Installation {
    directory: tempfile::TempDir,
    pub(crate) password: String,
}

impl Installation {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut installation = Self { directory, password: String::new() };
        installation.done(&["tenant", "add", "acme", "--name", "Acme"]);
        let out = installation.credentials();
        let out = out.to_str().expect("text");
        installation.done(&["gateway", "add", "--tenant", "acme", "--gateway", "gw-1", "--out", out]);
        let user = installation.done(&["user", "add", "anna", "--tenant", "acme", "--generate", "--json"]);
        let user: Json = serde_json::from_str(&user).expect("JSON");
        installation.password = user["password"].as_str().expect("a password").to_owned();
        installation
    }

    /// Where everything of it lies.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.directory.path().join("gw-1")
    }

    /// Registers another gateway.
    pub(crate) fn add_gateway(&self, name: &str) {
        let out = self.directory.path().join(name);
        let out = out.to_str().expect("text");
        self.done(&["gateway", "add", "--tenant", "acme", "--gateway", name, "--out", out]);
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.directory.path().join("state.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloud-backend"));
        command.args(arguments).env("CLOUD_BACKEND_DATA", self.data()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command with a line on its standard input.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    pub(crate) async fn serve(&self) -> Backend {
        self.serve_with(&[]).await
    }

    /// Serves with more variables in its environment.
    pub(crate) async fn serve_with(&self, environment: &[(&str, &Path)]) -> Backend {
        self.serve_as(&[], environment).await
    }

    /// Serves with more arguments.
    pub(crate) async fn serve_at(&self, arguments: &[&str]) -> Backend {
        self.serve_as(arguments, &[]).await
    }

    async fn serve_as(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Backend {
        let state = self.state_file();
        let mut command = self.command(&serve_arguments("127.0.0.1:0"));
        command.args(arguments);
        let child = command
            .arg("--state-file")
            .arg(&state)
            .envs(environment.iter().copied())
            .spawn()
            .expect("the program starts");
        let mut backend =
            Backend { child, http: unknown_address(), mqtt: unknown_address(), cookie: String::new(), state };
        let read = within("listening", backend.listening()).await;
        let address = |name: &str| read[name].as_str().expect("an address").parse().expect("an address");
        (backend.http, backend.mqtt) = (address("http"), address("mqtt"));
        backend.cookie = backend.sign_in("anna", &self.password).await;
        backend
    }
}

/// `serve` with its API at this address and everything else where there is room.
pub(crate) fn serve_arguments(http: &str) -> [&str; 7] {
    ["serve", "--http", http, "--mqtt", "127.0.0.1:0", "--gateways", "127.0.0.1:0"]
}

fn unknown_address() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

/// A running backend. Dropping it kills it.
pub(crate) struct Backend {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) cookie: String,
    pub(crate) state: PathBuf,
}

impl Backend {
    async fn listening(&mut self) -> Json {
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.state) {
                let state: Json =
                    serde_json::from_str(&text).expect("renamed into place, never half written");
                // After a kill the file of the process before may still be there for a moment.
                if state["pid"] == self.child.id() {
                    return state;
                }
            }
            assert!(self.child.try_wait().expect("our child").is_none(), "the backend ended");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> String {
        let body = serde_json::json!({ "username": name, "password": password });
        let request = http().post(self.url("/api/v1/session")).json(&body);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let cookie = response.headers()["set-cookie"].to_str().expect("text");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        let request = http().get(self.url(path)).header("cookie", &self.cookie);
        request.send().await.expect("an answer")
    }

    pub(crate) async fn json(&self, path: &str) -> Json {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// Gives a command to the alarm of the press, under a key; status and body of the answer.
    pub(crate) async fn give(&self, key: &str, body: &Json) -> (u16, Json) {
        let alarm = "/api/v1/tenants/acme/gateways/gw-1/machines/press-1/alarms/hot/commands";
        let request = http().post(self.url(alarm)).header("cookie", &self.cookie).json(body);
        let request = request.header("x-requested-with", "fetch").header("idempotency-key", key);
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// Asks again and again until the answer is as wanted.
    pub(crate) async fn eventually(&self, what: &str, path: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        within(what, async {
            loop {
                let json = self.json(path).await;
                if wanted(&json) {
                    return json;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
    }

    /// Asks again and again until status and body are as wanted.
    pub(crate) async fn answers(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        within(path, async {
            loop {
                let response = self.get(path).await;
                let status = response.status().as_u16();
                if wanted(status, &response.text().await.expect("text")) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await;
    }

    /// The ledger's row of a stream in the epoch.
    pub(crate) async fn ledger(&self, stream: &str) -> Json {
        let ledger = self.json("/api/v1/tenants/acme/ledger").await;
        let rows = ledger["items"].as_array().expect("a list");
        let epoch = EPOCH.to_string();
        let row = rows.iter().find(|row| row["stream"] == stream && row["epoch"] == epoch.as_str());
        row.unwrap_or_else(|| panic!("no row of {stream} in {ledger}")).clone()
    }

    /// Resident memory of the process in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("Linux tells it");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1_024
    }

    /// SIGKILL, as a power cut.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("our child");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        within("the end", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("our child") {
                    return status.code();
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a gateway receives.
#[derive(Debug)]
pub(crate) enum Received {
    PubAck(PubAckReason),
    Ack(CumulativeAck),
    Command(Instruction),
}

/// A gateway of `acme`, `gw-1` if not said otherwise: one connection.
pub(crate) struct Gateway {
    name: String,
    client: AsyncClient,
    received: mpsc::Receiver<Received>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// Connects and subscribes to its acknowledgements.
    pub(crate) async fn connect(installation: &Installation, backend: &Backend) -> Self {
        Self::connect_as("gw-1", installation, backend).await
    }

    /// The same for another gateway, see [`Installation::add_gateway`].
    pub(crate) async fn connect_as(name: &str, installation: &Installation, backend: &Backend) -> Self {
        let mut options = MqttOptions::new(format!("acme/{name}"), "localhost", backend.mqtt.port());
        let tls = rumqttc::TlsConfiguration::Rustls(client_tls(&installation.directory.path().join(name)));
        options.set_transport(rumqttc::Transport::tls_with_config(tls));
        options.set_clean_start(true).set_max_packet_size(Some(2 << 20));
        let (client, mut event_loop) = AsyncClient::new(options, 100);
        // In one request, so that one answer says that both stand.
        let filter = |channel: &str| Filter::new(format!("mfp/v1/acme/{name}/{channel}"), QoS::AtLeastOnce);
        client.subscribe_many([filter("ack"), filter("cmd")]).await.expect("the client runs");
        let (sender, mut received) = mpsc::channel(1_000);
        let (ready, subscribed) = tokio::sync::oneshot::channel();
        let mut ready = Some(ready);
        let task = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                let received = match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        ready.take().map(|ready| ready.send(()));
                        continue;
                    }
                    Event::Incoming(Packet::PubAck(puback)) => Received::PubAck(puback.reason),
                    Event::Incoming(Packet::Publish(publish)) if publish.topic.ends_with(b"/cmd") => {
                        Received::Command(Instruction::decode(&publish.payload).expect("a command"))
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        Received::Ack(CumulativeAck::decode(&publish.payload).expect("an acknowledgement"))
                    }
                    Event::Incoming(_) | Event::Outgoing(_) => continue,
                };
                if sender.send(received).await.is_err() {
                    return;
                }
            }
        });
        within("subscribing", subscribed).await.expect("connected");
        assert!(received.try_recv().is_err(), "nothing comes before the hello");
        Self { name: name.to_owned(), client, received, task }
    }

    /// Connects and says hello; the acknowledgements that answer it, by stream.
    pub(crate) async fn hello(installation: &Installation, backend: &Backend) -> (Self, [u64; 3]) {
        let mut gateway = Self::connect(installation, backend).await;
        let range =
            |stream| StreamRange { stream, oldest: Sequence::from_u64(1), next: Sequence::from_u64(1) };
        let streams = StreamId::ALL.map(range).to_vec();
        let hello = Hello { epoch: EPOCH, schema_max: 1, agent_version: "0.0.1-test".into(), streams };
        gateway.publish("up/hello", hello.encode()).await;
        let mut through = [None; 3];
        while through.contains(&None) {
            match gateway.next().await {
                Received::Ack(ack) => {
                    let position =
                        StreamId::ALL.iter().position(|stream| *stream == ack.stream).expect("a stream");
                    assert_eq!(ack.epoch, EPOCH);
                    through[position] = Some(ack.committed_through.as_u64());
                }
                Received::PubAck(reason) => assert_eq!(reason, PubAckReason::Success),
                Received::Command(command) => panic!("nobody gave {command:?}"),
            }
        }
        (gateway, through.map(|through| through.expect("all three came")))
    }

    pub(crate) async fn publish(&self, path: &str, payload: Vec<u8>) {
        let topic = format!("mfp/v1/acme/{}/{path}", self.name);
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("the client runs");
    }

    pub(crate) async fn send_live(&self, live: &Live) {
        let topic = "mfp/v1/acme/gw-1/up/live";
        self.client.publish(topic, QoS::AtMostOnce, false, live.encode()).await.expect("the client runs");
    }

    pub(crate) async fn next(&mut self) -> Received {
        within("a message", self.received.recv()).await.expect("the connection lives")
    }

    pub(crate) async fn puback(&mut self) -> PubAckReason {
        loop {
            if let Received::PubAck(reason) = self.next().await {
                return reason;
            }
        }
    }

    /// Waits for a command to an alarm.
    pub(crate) async fn command(&mut self) -> Order {
        match self.instruction().await {
            Instruction::Alarm(command) => command,
            other @ Instruction::Gateway(_) => panic!("no command to an alarm: {other:?}"),
        }
    }

    /// Waits for a command of either kind.
    pub(crate) async fn instruction(&mut self) -> Instruction {
        loop {
            if let Received::Command(command) = self.next().await {
                return command;
            }
        }
    }

    /// Waits until a stream is acknowledged through `sequence` or beyond.
    pub(crate) async fn acknowledged(&mut self, stream: StreamId, sequence: u64) -> u64 {
        loop {
            if let Received::Ack(ack) = self.next().await
                && ack.stream == stream
                && ack.committed_through.as_u64() >= sequence
            {
                return ack.committed_through.as_u64();
            }
        }
    }

    /// The acknowledgements that are already there, the highest of telemetry, without waiting.
    pub(crate) fn highest_so_far(&mut self) -> u64 {
        let mut highest = 0;
        while let Ok(received) = self.received.try_recv() {
            if let Received::Ack(ack) = received
                && ack.stream == StreamId::Telemetry
            {
                highest = highest.max(ack.committed_through.as_u64());
            }
        }
        highest
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn client_tls(directory: &Path) -> Arc<rustls::ClientConfig> {
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        let read = CertificateDer::pem_file_iter(directory.join(name)).expect("the file is there");
        read.collect::<Result<_, _>>().expect("PEM")
    };
    let mut roots = rustls::RootCertStore::empty();
    certificates("ca.crt").into_iter().for_each(|root| roots.add(root).expect("a certificate"));
    let key = PrivateKeyDer::from_pem_file(directory.join("gateway.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates("gateway.crt"), key)
        .expect("they fit");
    Arc::new(config)
}

pub(crate) fn encode(sequence: u64, body: &BatchBody) -> Vec<u8> {
    let at = Timestamp::from_micros(START);
    Batch::encode(EPOCH, Sequence::from_u64(sequence), at, body).expect("a batch")
}

pub(crate) fn sample(millis: i64, value: Value) -> Sample {
    let gateway_timestamp = Timestamp::from_micros(START + millis * 1_000);
    Sample { value: Some(value), quality: Quality::GOOD, source_timestamp: None, gateway_timestamp }
}

/// Ten temperatures of the press in the second of the sequence.
pub(crate) fn telemetry(sequence: u64) -> Vec<u8> {
    let base = i64::try_from(sequence).expect("small") * 1_000;
    let samples = (0..10).map(|n| sample(base + n * 100, Value::Float(70.0))).collect();
    encode(sequence, &BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]))
}

/// The press gets too hot.
pub(crate) fn alarm(sequence: u64, occurrence: u64) -> Vec<u8> {
    let at = Timestamp::from_micros(START);
    let raised = AlarmTransition {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("hot").expect("valid"),
        tag: Some(TagId::new("temperature").expect("valid")),
        occurrence,
        from: AlarmState::Normal,
        to: AlarmState::Unacknowledged,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::Critical,
        value: Some(Value::Float(99.0)),
        limit: Some(90.0),
        deadband: 0.0,
        value_at: at,
        decided_at: at,
        message: "Oil too hot".into(),
        first_out: false,
        flags: AlarmFlags::of_state(AlarmState::Unacknowledged),
        operation: None,
    };
    encode(sequence, &BatchBody::Transitions(vec![raised]))
}

/// One press with a temperature.
pub(crate) fn catalogue() -> Vec<u8> {
    let definition = TagDefinition {
        id: TagId::new("temperature").expect("valid"),
        name: "Oil temperature".into(),
        unit: "°C".into(),
        data_type: DataType::Float,
        enumeration: Enumeration::default(),
    };
    let machine = CatalogueMachine {
        id: MachineId::new("press-1").expect("valid"),
        name: "Press 1".into(),
        kind: "hydraulic-press".into(),
        protocol: "modbus-tcp".into(),
        tags: vec![CatalogueTag { series: SeriesId(1), definition, role: TagRole::Headline }],
        alarms: vec![AlarmDefinition::new(
            AlarmId::new("hot").expect("valid"),
            AlarmCondition::Limit {
                tag: TagId::new("temperature").expect("valid"),
                kind: LimitKind::High,
                limit: 90.0,
                deadband: 0.0,
            },
            AlarmPriority::Critical,
            "Oil too hot",
        )],
    };
    Catalogue { epoch: EPOCH, machines: vec![machine] }.encode()
}

/// The latest temperature.
pub(crate) fn live(millis: i64, temperature: f64) -> Live {
    let latest =
        SeriesSamples { series: SeriesId(1), samples: vec![sample(millis, Value::Float(temperature))] };
    let machine = MachineId::new("press-1").expect("valid");
    let links = vec![MachineLink { machine, up: true, reason: String::new() }];
    Live {
        at: Timestamp::from_micros(START + millis * 1_000),
        latest: vec![latest],
        links,
        transitions: Vec::new(),
    }
}

/// A client of plain HTTP.
pub(crate) fn http() -> reqwest::Client {
    tls_kit::set_for_process();
    reqwest::Client::new()
}
