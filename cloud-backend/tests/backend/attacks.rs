//! What gateways and strangers try that is not theirs, and what each place does about it: the table in
//! `docs/brokers.md`, held against what is seen here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pki::CertificateAuthority;
use plant_model::{GatewayId, TenantId};
use protocol::{Hello, Sequence, StreamId, StreamRange};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::brokers::{Kind, Scene};
use crate::support::{EPOCH, Installation, client_tls, telemetry, within};

/// One connection that does as it is told. It breaks off without a goodbye when dropped.
pub(crate) struct Caller {
    client: AsyncClient,
    incoming: mpsc::Receiver<Result<Packet, String>>,
    task: JoinHandle<()>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caller {
    /// A gateway of `acme`.
    pub(crate) async fn gateway(scene: &Scene, name: &str) -> Self {
        Self::try_gateway(scene, name).await.expect("it is let in")
    }

    /// The same, if it is let in; else why not.
    pub(crate) async fn try_gateway(scene: &Scene, name: &str) -> Result<Self, String> {
        Self::who(scene, &format!("acme/{name}"), &scene.installation.folder().join(name)).await
    }

    /// Who has these credentials, under a client id.
    pub(crate) async fn who(scene: &Scene, client_id: &str, credentials: &Path) -> Result<Self, String> {
        Self::dial(options(scene, client_id, client_tls(credentials))).await
    }

    async fn dial(options: MqttOptions) -> Result<Self, String> {
        let (client, mut event_loop) = AsyncClient::new(options, 10);
        let (sender, incoming) = mpsc::channel(1_000);
        let task = tokio::spawn(async move {
            loop {
                let packet = match event_loop.poll().await {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(format!("{error:?}")),
                };
                let ended = packet.is_err();
                if sender.send(packet).await.is_err() || ended {
                    return;
                }
            }
        });
        let mut caller = Self { client, incoming, task };
        let answer = caller.packet().await?;
        assert!(matches!(answer, Packet::ConnAck(_)), "not a CONNACK: {answer:?}");
        Ok(caller)
    }

    async fn packet(&mut self) -> Result<Packet, String> {
        within("a packet", self.incoming.recv())
            .await
            .unwrap_or_else(|| Err("the connection has ended".to_owned()))
    }

    /// Publishes with QoS 1; the reason code of the answer, or how the connection ended.
    pub(crate) async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> String {
        self.publish_as(topic, payload, false).await
    }

    async fn publish_as(&mut self, topic: &str, payload: Vec<u8>, retain: bool) -> String {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.expect("the client runs");
        loop {
            match self.packet().await {
                Ok(Packet::PubAck(answer)) => return format!("{:?}", answer.reason),
                Ok(Packet::Disconnect(told)) => return format!("disconnected, {:?}", told.reason_code),
                Ok(_) => {}
                Err(end) => return format!("disconnected, {}", reason_of(&end)),
            }
        }
    }

    /// Subscribes; the reason code of the answer, or how the connection ended.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> String {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.expect("the client runs");
        loop {
            match self.packet().await {
                Ok(Packet::SubAck(answer)) => match &answer.return_codes[..] {
                    [SubscribeReasonCode::Success(_)] => return "granted".to_owned(),
                    codes => return format!("{:?}", codes[0]),
                },
                Ok(_) => {}
                Err(end) => return format!("disconnected, {}", reason_of(&end)),
            }
        }
    }

    /// How the connection ends.
    pub(crate) async fn end(&mut self) -> String {
        loop {
            match self.packet().await {
                Ok(Packet::Disconnect(told)) => return format!("{:?}", told.reason_code),
                Ok(_) => {}
                Err(end) => return reason_of(&end),
            }
        }
    }

    /// Says hello and waits for the answer, which comes from the store.
    pub(crate) async fn hello(&mut self, who: &str) {
        assert_eq!(self.subscribe(&format!("mfp/v1/{who}/ack")).await, "granted");
        let range =
            |stream| StreamRange { stream, oldest: Sequence::from_u64(1), next: Sequence::from_u64(1) };
        let streams = StreamId::ALL.map(range).to_vec();
        let hello = Hello { epoch: EPOCH, schema_max: 1, agent_version: "0.0.1-test".into(), streams };
        let topic = format!("mfp/v1/{who}/up/hello");
        self.client.publish(topic, QoS::AtLeastOnce, false, hello.encode()).await.expect("the client runs");
        while !matches!(self.packet().await.expect("connected"), Packet::Publish(_)) {}
    }

    /// Whether something comes that was published before now: answers keep the order of a connection.
    async fn gets_anything(&mut self) -> bool {
        let topic = "mfp/v1/acme/gw-1/up/diagnostic";
        self.client.publish(topic, QoS::AtLeastOnce, false, "nothing").await.expect("the client runs");
        loop {
            let packet = self.packet().await.expect("connected");
            if matches!(packet, Packet::Publish(_) | Packet::PubAck(_)) {
                return matches!(packet, Packet::Publish(_));
            }
        }
    }
}

/// The reason in the words of the protocol: a TLS alert, a reason code.
fn reason_of(error: &str) -> String {
    let inside = |opening: &str| {
        let (_, rest) = error.split_once(opening)?;
        Some(rest.split([')', ',', ' ']).next()?.to_owned())
    };
    if error.contains("UnexpectedEof") || error.contains("ConnectionAborted") {
        return "closed".to_owned();
    }
    inside("AlertReceived(")
        .map(|alert| format!("TLS alert {alert}"))
        .or_else(|| inside("ConnectionRefused("))
        .or_else(|| inside("reason_code: "))
        .unwrap_or_else(|| error.to_owned())
}

fn options(scene: &Scene, client_id: &str, tls: Arc<rustls::ClientConfig>) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, "localhost", scene.backend.mqtt.port());
    options.set_transport(rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(tls)));
    // A certificate that the other side refuses is shown by its alert; what is sent meanwhile is not waited for.
    options.set_clean_start(true).set_max_packet_size(Some(4 << 20));
    options
}

/// What one attack got, and where it is seen.
struct Outcome {
    attack: &'static str,
    got: String,
    seen: String,
}

const VICTIM: &str = "globex/press-hall";

struct Attacks {
    kind: Kind,
    scene: Scene,
    outcomes: Vec<Outcome>,
}

pub(crate) async fn what_attackers_get_is_what_the_document_says(kind: Kind) {
    let installation = Installation::new();
    installation.add_gateway("gw-2");
    installation.done(&["tenant", "add", "globex", "--name", "Globex"]);
    let out = installation.folder().join("press-hall");
    let out = out.to_str().expect("text");
    installation.done(&["gateway", "add", "--tenant", "globex", "--gateway", "press-hall", "--out", out]);
    let mut attacks = Attacks { kind, scene: Scene::of(installation, kind).await, outcomes: Vec::new() };
    attacks.publishing().await;
    attacks.listening().await;
    attacks.connecting().await;
    attacks.showing_certificates().await;
    for tenant in ["acme", "globex"] {
        let ledger = attacks.scene.installation.done(&["ledger", "--tenant", tenant, "--json"]);
        assert!(!ledger.contains("\"stored\":1"), "something of an attack is stored: {ledger}");
    }
    attacks.compare();
}

impl Attacks {
    async fn publishing(&mut self) {
        let topics = [
            ("publish as a gateway of another tenant", format!("mfp/v1/{VICTIM}/up/telemetry")),
            ("publish as another gateway of the tenant", "mfp/v1/acme/gw-2/up/telemetry".to_owned()),
            ("publish a command to itself", "mfp/v1/acme/gw-1/cmd".to_owned()),
            ("publish a command to another gateway", "mfp/v1/acme/gw-2/cmd".to_owned()),
            ("publish on a topic of no meaning below its own", "mfp/v1/acme/gw-1/up/else".to_owned()),
            ("publish on `$SYS`", "$SYS/broker/load".to_owned()),
        ];
        for (attack, topic) in topics {
            let before = self.evidence().await;
            let mut caller = Caller::gateway(&self.scene, "gw-1").await;
            let got = caller.publish(&topic, telemetry(1)).await;
            self.note(attack, got, before, caller).await;
        }
        let before = self.evidence().await;
        let mut caller = Caller::gateway(&self.scene, "gw-1").await;
        let got = caller.publish_as("mfp/v1/acme/gw-1/up/telemetry", telemetry(1), true).await;
        self.note("publish retained on its own topic", got, before, caller).await;
    }

    async fn listening(&mut self) {
        let filters = [
            ("subscribe to another tenant's acknowledgements", format!("mfp/v1/{VICTIM}/ack")),
            ("subscribe to `#`", "#".to_owned()),
            ("subscribe to `mfp/v1/+/+/up/#`", "mfp/v1/+/+/up/#".to_owned()),
            ("subscribe to `$SYS/#`", "$SYS/#".to_owned()),
            ("subscribe to `$share/x/mfp/v1/+/+/ack`", "$share/x/mfp/v1/+/+/ack".to_owned()),
        ];
        for (attack, filter) in filters {
            let before = self.evidence().await;
            let mut caller = Caller::gateway(&self.scene, "gw-1").await;
            let answer = caller.subscribe(&filter).await;
            let mut victim = self.victim().await.expect("it is let in");
            victim.hello(VICTIM).await;
            let got = match answer.as_str() {
                "granted" if caller.gets_anything().await => "GRANTED AND DELIVERED".to_owned(),
                "granted" => "granted, nothing is delivered".to_owned(),
                _ => answer,
            };
            drop(victim);
            self.note(attack, got, before, caller).await;
        }
    }

    async fn connecting(&mut self) {
        let (before, tls) = (self.evidence().await, client_tls(&self.scene.installation.credentials()));
        let mut with_will = options(&self.scene, "acme/gw-1", Arc::clone(&tls));
        let topic = format!("mfp/v1/{VICTIM}/up/telemetry");
        with_will.set_last_will(LastWill::new(topic, telemetry(1), QoS::AtLeastOnce, false, None));
        let got = match Caller::dial(with_will).await {
            Err(refused) => reason_of(&refused),
            // It breaks off; that nothing came of it, the ledger shows after all attacks.
            Ok(caller) => {
                drop(caller);
                "let in, the will is not delivered".to_owned()
            }
        };
        self.note_gone("leave a will on another tenant's topic", got, before, "acme/gw-1").await;

        let before = self.evidence().await;
        let mut victim = self.victim().await.expect("it is let in");
        let got = match Caller::dial(options(&self.scene, VICTIM, tls)).await {
            Err(refused) => reason_of(&refused),
            Ok(mut caller) => {
                let may = caller.publish(&format!("mfp/v1/{VICTIM}/up/telemetry"), telemetry(1)).await;
                format!("let in under its own name: {may}")
            }
        };
        victim.hello(VICTIM).await;
        drop(victim);
        self.note_gone("connect with another gateway's client id", got, before, "acme/gw-1").await;
    }

    async fn showing_certificates(&mut self) {
        let data = self.scene.installation.data().join("pki");
        let authority = CertificateAuthority::open_or_create(&data).expect("the authority");
        let foreign = tempfile::tempdir().expect("a folder");
        let foreign = CertificateAuthority::open_or_create(foreign.path()).expect("an authority");
        let (tenant, gateway) =
            (TenantId::new("acme").expect("valid"), GatewayId::new("gw-1").expect("valid"));
        let issue = |authority: &CertificateAuthority, lifetime| {
            authority.issue_gateway(&tenant, &gateway, lifetime).expect("issued")
        };
        let of_another =
            authority.client_tls(&issue(&foreign, Duration::from_secs(3_600))).expect("they fit");
        self.knock("show no certificate", without_certificate(&self.scene.installation)).await;
        self.knock("show a certificate of another authority", of_another).await;

        let expired = issue(&authority, Duration::ZERO);
        let over = expired.certificate.expires_at + Duration::from_millis(1_100);
        tokio::time::sleep(over.duration_since(std::time::SystemTime::now()).unwrap_or_default()).await;
        self.knock("show an expired certificate", authority.client_tls(&expired).expect("they fit")).await;

        self.scene.installation.done(&["gateway", "revoke", "--tenant", "acme", "--gateway", "gw-1"]);
        within("the revocation", async { while Caller::try_gateway(&self.scene, "gw-1").await.is_ok() {} })
            .await;
        let revoked = client_tls(&self.scene.installation.credentials());
        self.knock("show a revoked certificate", revoked).await;
    }

    async fn knock(&mut self, attack: &'static str, tls: Arc<rustls::ClientConfig>) {
        let before = self.evidence().await;
        let got = match Caller::dial(options(&self.scene, "acme/gw-1", tls)).await {
            Ok(_) => "LET IN".to_owned(),
            Err(refused) => reason_of(&refused),
        };
        self.note_gone(attack, got, before, "<unknown>").await;
    }

    async fn victim(&self) -> Result<Caller, String> {
        Caller::who(&self.scene, VICTIM, &self.scene.installation.folder().join("press-hall")).await
    }

    async fn note(&mut self, attack: &'static str, got: String, before: Evidence, caller: Caller) {
        drop(caller);
        self.note_gone(attack, got, before, "acme/gw-1").await;
    }

    /// Waits until the place has said something about the attack; the attacker is gone.
    async fn note_gone(&mut self, attack: &'static str, got: String, before: Evidence, who: &str) {
        let seen = within(attack, async {
            loop {
                if let Some(seen) = self.evidence().await.since(&before, who) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.outcomes.push(Outcome { attack, got, seen });
    }

    async fn evidence(&self) -> Evidence {
        match &self.scene.mosquitto {
            Some(mosquitto) => Evidence::Log(mosquitto.log()),
            None => {
                let text = self.scene.backend.get("/metrics").await.text().await.expect("text");
                Evidence::Counters(refusals(&text))
            }
        }
    }

    /// The table of the document has a row for each attack, with these cells.
    fn compare(&self) {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/brokers.md");
        let document = std::fs::read_to_string(document).unwrap_or_default();
        let first = match self.kind {
            Kind::Endpoint => 2,
            Kind::Mosquitto => 4,
        };
        let mut wrong = Vec::new();
        for Outcome { attack, got, seen } in &self.outcomes {
            let row = document.lines().find(|line| line.starts_with(&format!("| {attack} |")));
            let cells: Vec<&str> = row.unwrap_or_default().split('|').map(str::trim).collect();
            if cells.get(first) != Some(&got.as_str()) || cells.get(first + 1) != Some(&seen.as_str()) {
                wrong.push(format!("| {attack} | {got} | {seen} |"));
            }
        }
        assert!(wrong.is_empty(), "docs/brokers.md says otherwise of {:?}:\n{}", self.kind, wrong.join("\n"));
    }
}

/// What a place has said so far about what it refused.
enum Evidence {
    Counters(BTreeMap<String, u64>),
    Log(String),
}

impl Evidence {
    /// What it has said since; nothing while it may still say something of `who`.
    fn since(&self, before: &Self, who: &str) -> Option<String> {
        match (self, before) {
            (Self::Counters(now), Self::Counters(before)) => {
                let grown = |(name, count): (&String, &u64)| {
                    (before.get(name) != Some(count)).then(|| format!("`{name}`"))
                };
                let grown: Vec<String> = now.iter().filter_map(grown).collect();
                (!grown.is_empty()).then(|| grown.join(", "))
            }
            (Self::Log(now), Self::Log(before)) => {
                // What Mosquitto says of a connection ends with its end.
                let new = &now[before.len()..];
                let ends = ["disconnected", "closed its connection", "Bad socket read/write"];
                // One that fails at the first look is not called anything.
                let failed = |line: &str| who == "<unknown>" && line.contains("failed: error");
                let is_end = |line: &str| {
                    failed(line) || line.contains(who) && ends.iter().any(|end| line.contains(end))
                };
                new.lines().any(is_end).then(|| said(new))
            }
            (Self::Counters(_) | Self::Log(_), _) => None,
        }
    }
}

/// What Mosquitto says of refusals, at its most talkative.
fn said(log: &str) -> String {
    let words = [
        "Denied PUBLISH",
        "peer did not return a certificate",
        "certificate verify failed",
        "retain not supported",
    ];
    let found = words.iter().filter(|part| log.contains(**part));
    let found: Vec<String> = found.map(|part| format!("`{part}`")).collect();
    if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
}

/// The counters of what the endpoint refused, by reason.
fn refusals(metrics: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for line in metrics.lines() {
        for family in ["handshake_failures", "refusals", "protocol_errors"] {
            let Some(rest) = line.strip_prefix(&format!("cloud_backend_mqtt_{family}_total")) else {
                continue;
            };
            let Some((labels, count)) = rest.rsplit_once(' ') else { continue };
            let reason = labels.trim_start_matches("{reason=\"").trim_end_matches("\"}");
            let name = [family, reason].join(" ").trim().to_owned();
            counters.insert(name, count.parse().expect("a number"));
        }
    }
    counters
}

fn without_certificate(installation: &Installation) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let file = installation.credentials().join("ca.crt");
    for root in CertificateDer::pem_file_iter(file).expect("the file is there") {
        roots.add(root.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
