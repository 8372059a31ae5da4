//! What both places where gateways publish promise: our own endpoint, and Mosquitto as the program configures it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::StreamId;
use serde_json::json;

use crate::attacks::{self, what_attackers_get_is_what_the_document_says};
use crate::mosquitto::Mosquitto;
use crate::support::{Backend, Gateway, Installation, client_tls, telemetry};

/// Where gateways publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Endpoint,
    Mosquitto,
}

/// An installation with its place.
pub(crate) struct Scene {
    pub(crate) installation: Installation,
    pub(crate) backend: Backend,
    pub(crate) mosquitto: Option<Mosquitto>,
}

impl Scene {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::of(Installation::new(), kind).await
    }

    pub(crate) async fn of(installation: Installation, kind: Kind) -> Self {
        let mosquitto = match kind {
            Kind::Endpoint => None,
            Kind::Mosquitto => Some(mosquitto(&installation).await),
        };
        let backend = serve(&installation, mosquitto.as_ref()).await;
        Self { installation, backend, mosquitto }
    }

    /// Kills what gateways are connected to, as a power cut, and starts it again.
    async fn kill_place(mut self) -> Self {
        match &mut self.mosquitto {
            Some(mosquitto) => {
                mosquitto.kill();
                self.backend.answers("/readyz", |status, _| status == 503).await;
                mosquitto.restart().await;
                self.backend.answers("/readyz", |status, _| status == 200).await;
                self
            }
            None => {
                self.backend.kill();
                let backend = serve(&self.installation, None).await;
                Self { backend, ..self }
            }
        }
    }
}

async fn mosquitto(installation: &Installation) -> Mosquitto {
    let configure = |folder: &Path, listen: SocketAddr| {
        let (out, listen) = (folder.to_str().expect("text"), listen.to_string());
        let arguments =
            ["broker", "configure", "mosquitto", "--out", out, "--listen", &listen, "--user", "root"];
        installation.done(&arguments);
    };
    Mosquitto::start(installation.folder().join("broker"), configure).await
}

async fn serve(installation: &Installation, mosquitto: Option<&Mosquitto>) -> Backend {
    let Some(mosquitto) = mosquitto else { return installation.serve().await };
    let (url, folder) = (mosquitto.url(), mosquitto.folder().to_owned());
    let arguments = ["--broker", &url, "--broker-dir", folder.to_str().expect("text")];
    let backend = installation.serve_at(&arguments).await;
    backend.answers("/readyz", |status, _| status == 200).await;
    // What the backend tries out at the broker would be found in its log otherwise.
    backend.answers("/metrics", |_, text| text.contains("cloud_backend_revocations_in_force 1")).await;
    backend
}

async fn a_batch_is_acknowledged_when_it_is_stored(kind: Kind) {
    let scene = Scene::start(kind).await;
    let (mut gateway, through) = Gateway::hello(&scene.installation, &scene.backend).await;
    assert_eq!(through, [0, 0, 0]);
    for stored in [1, 2] {
        gateway.publish("up/telemetry", telemetry(stored)).await;
        gateway.acknowledged(StreamId::Telemetry, stored).await;
        let ledger = scene.backend.ledger("telemetry").await;
        assert_eq!(ledger["stored"], json!(stored), "stored before the acknowledgement");
    }
    gateway.publish("up/telemetry", telemetry(2)).await;
    gateway.acknowledged(StreamId::Telemetry, 2).await;
    let ledger = scene.backend.ledger("telemetry").await;
    assert_eq!((&ledger["received"], &ledger["duplicate"]), (&json!(3), &json!(1)));
}

async fn a3_a_kill_with_unacknowledged_batches_loses_nothing(kind: Kind) {
    const BATCHES: u64 = 60;
    let mut scene = Scene::start(kind).await;
    let mut next = 1;
    for _ in 0..3 {
        let (gateway, through) = Gateway::hello(&scene.installation, &scene.backend).await;
        let telemetry_through =
            through[StreamId::ALL.iter().position(|s| *s == StreamId::Telemetry).expect("it is one")];
        assert!(telemetry_through < next, "nothing is acknowledged that was not sent");
        next = telemetry_through + 1;
        for sequence in next..(next + 20).min(BATCHES + 1) {
            gateway.publish("up/telemetry", telemetry(sequence)).await;
        }
        next = (next + 20).min(BATCHES + 1);
        scene = scene.kill_place().await;
    }
    let (mut gateway, through) = Gateway::hello(&scene.installation, &scene.backend).await;
    let from = through[StreamId::ALL.iter().position(|s| *s == StreamId::Telemetry).expect("it is one")] + 1;
    for sequence in from..=BATCHES {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
        gateway.acknowledged(StreamId::Telemetry, sequence).await;
    }
    let ledger = scene.backend.ledger("telemetry").await;
    assert_eq!(
        (&ledger["stored"], &ledger["samples_stored"], &ledger["committed_through"]),
        (&json!(BATCHES), &json!(BATCHES * 10), &json!(BATCHES))
    );
}

/// Mosquitto 2.0.11 does not say why, although MQTT has a word for it.
async fn a_new_connection_takes_over_and_the_old_one_ends(kind: Kind) {
    let scene = Scene::start(kind).await;
    let mut old = attacks::Caller::gateway(&scene, "gw-1").await;
    let (mut new, _) = Gateway::hello(&scene.installation, &scene.backend).await;
    let end = old.end().await;
    let told = match kind {
        Kind::Endpoint => "SessionTakenOver",
        Kind::Mosquitto => "closed",
    };
    assert_eq!(end, told);
    new.publish("up/telemetry", telemetry(1)).await;
    new.acknowledged(StreamId::Telemetry, 1).await;
}

/// Ten times what is promised: the machine is busy.
async fn a_revoked_gateway_loses_its_connection_and_gets_no_other(kind: Kind) {
    let scene = Scene::start(kind).await;
    scene.installation.add_gateway("gw-2");
    let mut revoked = attacks::Caller::gateway(&scene, "gw-1").await;
    let mut kept = attacks::Caller::gateway(&scene, "gw-2").await;
    scene.installation.done(&["gateway", "revoke", "--tenant", "acme", "--gateway", "gw-1"]);
    let since = Instant::now();
    let end = revoked.end().await;
    assert!(since.elapsed() < Duration::from_secs(50), "{end} after {:?}", since.elapsed());
    assert!(attacks::Caller::try_gateway(&scene, "gw-1").await.is_err(), "{kind:?} lets it in again");
    assert_eq!(kept.subscribe("mfp/v1/acme/gw-2/ack").await, "granted", "others stay connected");
    scene.backend.answers("/metrics", |_, text| text.contains("cloud_backend_revocations_in_force 1")).await;
}

/// 127 characters in the common name, by which a broker knows the gateway; X.509 says 64.
async fn the_longest_names_make_a_gateway_like_others(kind: Kind) {
    let (tenant, gateway) = ("t".repeat(63), "g".repeat(63));
    let installation = Installation::new();
    installation.done(&["tenant", "add", &tenant, "--name", "Long"]);
    let out = installation.folder().join("long");
    let path = out.to_str().expect("text");
    installation.done(&["gateway", "add", "--tenant", &tenant, "--gateway", &gateway, "--out", path]);
    let scene = Scene::of(installation, kind).await;
    let mut long =
        attacks::Caller::who(&scene, &format!("{tenant}/{gateway}"), &out).await.expect("it is let in");
    long.hello(&format!("{tenant}/{gateway}")).await;
}

/// MQTT by hand: a client library does not send what the CONNACK forbids.
async fn a_packet_beyond_the_limit_ends_the_connection(kind: Kind) {
    let scene = Scene::start(kind).await;
    let (port, tls) = (scene.backend.mqtt.port(), client_tls(&scene.installation.credentials()));
    let answer = tokio::task::spawn_blocking(move || {
        let name = "localhost".try_into().expect("a name");
        let tls = rustls::ClientConnection::new(tls, name).expect("a configuration");
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("listening");
        tcp.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        let mut stream = rustls::StreamOwned::new(tls, tcp);
        stream.write_all(b"\x10\x16\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x09acme/gw-1").expect("open");
        let mut connack = [0; 2];
        stream.read_exact(&mut connack).expect("a CONNACK");
        let mut rest = vec![0; usize::from(connack[1])];
        stream.read_exact(&mut rest).expect("a CONNACK");
        assert_eq!((connack[0], rest[1]), (0x20, 0), "let in");
        // A PUBLISH of 2 MiB, of which the beginning is enough.
        stream
            .write_all(b"\x32\x80\x80\x80\x01\x00\x1dmfp/v1/acme/gw-1/up/telemetry\x00\x01\x00")
            .expect("open");
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).expect("a DISCONNECT");
        answer
    });
    let answer = answer.await.expect("no panic");
    assert_eq!((answer[0], answer[2]), (0xE0, 0x95), "packet too large");
    let (mut gateway, _) = Gateway::hello(&scene.installation, &scene.backend).await;
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
}

/// Runs each on both.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod endpoint {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Kind::Endpoint).await;
            })*
        }
        mod mosquitto {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Kind::Mosquitto).await;
            })*
        }
    };
}

on_both! {
    a_batch_is_acknowledged_when_it_is_stored
    a3_a_kill_with_unacknowledged_batches_loses_nothing
    a_new_connection_takes_over_and_the_old_one_ends
    a_revoked_gateway_loses_its_connection_and_gets_no_other
    a_packet_beyond_the_limit_ends_the_connection
    the_longest_names_make_a_gateway_like_others
    what_attackers_get_is_what_the_document_says
}
