//! Configurations of gateways: saved by the command line, fetched and answered over real TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::{CONFIGURATION_PATH, REPORT_PATH, SignedConfiguration};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value as Json, json};
use service_kit::Clock;
use tls_kit::{Identity, Roots, TlsTime, Trust, Versions, client};
use x509_parser::pem::Pem;

use crate::support::{Backend, Installation};

const GATEWAY: &str = "acme/gw-1";
/// No answer takes so long, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest machine that the agent takes.
fn machine(id: &str, address: u16) -> String {
    format!(
        "version = 1\nid = \"{id}\"\n\n[opcua]\nendpoint = \"opc.tcp://127.0.0.1:4840\"\n\n[[tags]]\nid = \"speed\"\n\
         data_type = \"float\"\nnode_id = \"ns=2;i={address}\"\n"
    )
}

/// A gateway at the API for gateways.
pub(crate) struct Caller {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// Status, ETag and body of an answer.
pub(crate) type Answer = (u16, Option<String>, Vec<u8>);

impl Caller {
    pub(crate) fn new(backend: &Backend, ca: &Path, credentials: Option<&Path>) -> Self {
        let state: Json =
            serde_json::from_slice(&std::fs::read(&backend.state).expect("there")).expect("JSON");
        let address = state["gateways"].as_str().expect("an address").parse().expect("an address");
        let roots = Trust::Roots(Roots::from_file(ca).expect("roots"));
        let identity = credentials.map(|folder| {
            Identity::from_files(&folder.join("gateway.crt"), &folder.join("gateway.key"))
                .expect("an identity")
        });
        let tls =
            client(roots, identity, TlsTime::of(Clock::start()), Versions::Only13).expect("a configuration");
        Self { address, tls }
    }

    /// One request over a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, header: &str, body: &str) -> Answer {
        let (address, tls) = (self.address, Arc::clone(&self.tls));
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let answered = tokio::task::spawn_blocking(move || {
            let tcp = TcpStream::connect(address).expect("it listens");
            tcp.set_read_timeout(Some(PATIENCE)).expect("a time");
            let name = ServerName::try_from("localhost").expect("a name");
            let mut stream = StreamOwned::new(ClientConnection::new(tls, name).expect("TLS"), tcp);
            stream.write_all(request.as_bytes()).expect("it takes the request");
            let mut answer = Vec::new();
            // The server may end the connection without a farewell of TLS; the length of the body tells.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        parse(&answered.await.expect("joined"))
    }

    async fn fetch(&self, known: &str) -> Answer {
        let header = if known.is_empty() { String::new() } else { format!("if-none-match: {known}\r\n") };
        self.ask("GET", CONFIGURATION_PATH, &header, "").await
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        line.map(|value| value.trim().to_owned())
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer[end + 4..].to_vec();
    if let Some(length) = field("content-length") {
        assert_eq!(length, body.len().to_string(), "the whole body");
    }
    (status, field("etag"), body)
}

/// As a gateway does it: the signature by the key of the signer, which the issuer has certified.
fn verify(signed: &SignedConfiguration) -> Result<(), ring::error::Unspecified> {
    let pems: Vec<Pem> =
        Pem::iter_from_buffer(signed.signer.as_bytes()).map(|pem| pem.expect("PEM")).collect();
    let chain: Vec<_> = pems.iter().map(|pem| pem.parse_x509().expect("a certificate")).collect();
    chain[0].verify_signature(Some(chain[1].public_key())).expect("certified by the issuer");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &chain[0].public_key().subject_public_key.data);
    key.verify(signed.configuration.signed_text().as_bytes(), &signed.signature)
}

fn write(folder: &Path, files: &[(&str, String)]) -> String {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("made");
    files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).expect("written"));
    folder.to_str().expect("text").to_owned()
}

fn config(installation: &Installation, arguments: &[&str]) -> Json {
    let all = [&["config"], arguments, &["--gateway", GATEWAY, "--json"]].concat();
    serde_json::from_str(&installation.done(&all)).expect("JSON")
}

#[tokio::test]
async fn a_gateway_fetches_what_was_pushed_signed_and_its_report_is_shown() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    let credentials = installation.credentials();
    let gateway = Caller::new(&backend, &credentials.join("ca.crt"), Some(&credentials));
    assert_eq!(gateway.fetch("").await.0, 204, "the cloud configures nothing yet");

    let files = [("lathe.toml", machine("lathe", 1)), ("press.toml", machine("press", 2))];
    let folder = write(&installation.folder().join("etc/machines.d"), &files);
    let pushed = config(&installation, &["push", &folder, "--comment", "two machines", "--author", "anna"]);
    assert_eq!((&pushed["saved"], &pushed["desired"]), (&json!(true), &json!(1)), "{pushed}");
    let (status, tag, body) = gateway.fetch("").await;
    assert_eq!((status, tag.as_deref()), (200, Some("\"1\"")));
    let signed: SignedConfiguration = serde_json::from_slice(&body).expect("a signed configuration");
    verify(&signed).expect("a good signature");
    let read: Vec<_> =
        signed.configuration.files.iter().map(|(name, text)| (name, text.to_owned())).collect();
    assert_eq!(read, files);
    let (status, tag, body) = gateway.fetch("\"1\"").await;
    assert_eq!((status, tag.as_deref(), body.len()), (304, Some("\"1\""), 0));

    let report = json!({
        "state": "rolled_back", "version": 1, "detail": "press did not come back",
        "files_digest": "ab".repeat(32), "agent_version": "0.1.0",
    });
    assert_eq!(gateway.ask("PUT", REPORT_PATH, "", &report.to_string()).await.0, 204);
    let shown = config(&installation, &["show"]);
    assert_eq!(
        (&shown["rollout"], &shown["desired"]["comment"]),
        (&json!("rolled_back"), &json!("two machines"))
    );
    assert_eq!(shown["report"]["detail"], "press did not come back");
    let listed = backend.json("/api/v1/tenants/acme/gateways").await;
    assert_eq!(listed["items"][0]["configuration"]["rollout"], "rolled_back");
    let long = json!({ "detail": "x".repeat(5_000), "state": "local", "files_digest": "ab".repeat(32), "agent_version": "" });
    assert_eq!(gateway.ask("PUT", REPORT_PATH, "", &long.to_string()).await.0, 400);
}

#[tokio::test]
async fn nobody_gets_a_configuration_without_a_certificate_that_is_good() {
    let installation = Installation::new();
    installation.add_gateway("gw-2");
    let backend = installation.serve().await;
    let (first, second) = (installation.credentials(), installation.folder().join("gw-2"));
    let ca = first.join("ca.crt");
    let folder = write(&installation.folder().join("machines"), &[("press.toml", machine("press", 2))]);
    config(&installation, &["push", &folder]);
    let stranger = Caller::new(&backend, &ca, None);
    assert_eq!(stranger.fetch("").await.0, 401);
    assert_eq!(stranger.ask("PUT", REPORT_PATH, "", "{}").await.0, 401);
    let other = Caller::new(&backend, &ca, Some(&second));
    assert_eq!(other.fetch("").await.0, 204, "what is another gateway's is not told");
    let gateway = Caller::new(&backend, &ca, Some(&first));
    assert_eq!(gateway.fetch("").await.0, 200);
    installation.done(&["gateway", "revoke", "--tenant", "acme", "--gateway", "gw-1"]);
    assert_eq!(gateway.fetch("").await.0, 403);
}

/// F2, at the command line.
#[tokio::test]
async fn f2_a_folder_with_mistakes_is_refused_with_all_of_them_and_history_goes_on() {
    let installation = Installation::new();
    let folder = installation.folder().join("machines");
    let first = write(&folder, &[("press.toml", machine("press", 1))]);
    config(&installation, &["push", &first]);
    let wrong = [
        ("lathe.toml", machine("lathe", 1).replace("float", "flota")),
        ("press.toml", machine("press", 1).replace("node_id", "nodeid")),
    ];
    let refused = installation.cli(&["config", "push", &write(&folder, &wrong), "--gateway", GATEWAY]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("\nlathe.toml:9: ") && told.contains("\npress.toml:10: "), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");

    let second = write(&folder, &[("press.toml", machine("press", 7))]);
    let tried = config(&installation, &["push", &second, "--dry-run"]);
    assert_eq!((&tried["saved"], &tried["desired"]), (&json!(false), &json!(1)));
    assert_eq!(config(&installation, &["push", &second])["desired"], 2);
    assert_eq!(config(&installation, &["push", &second])["saved"], false, "nothing changes");
    let changed = config(&installation, &["diff"]);
    let unified = changed["differences"][0]["unified"].as_str().expect("text");
    assert!(unified.contains("-node_id = \"ns=2;i=1\"\n+node_id = \"ns=2;i=7\""), "{unified}");
    assert_eq!(config(&installation, &["rollback", "1"])["desired"], 3);
    let history = config(&installation, &["history"]);
    let restored: Vec<_> =
        history.as_array().expect("rows").iter().map(|row| row["restores"].clone()).collect();
    assert_eq!(restored, [json!(1), Json::Null, Json::Null]);
    let out = installation.folder().join("out");
    let exported = out.to_str().expect("text");
    config(&installation, &["export", exported]);
    let text = std::fs::read_to_string(out.join("press.toml")).expect("written");
    assert_eq!(text, machine("press", 1));
    let again = installation.cli(&["config", "export", exported, "--gateway", GATEWAY]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"), "{again:?}");
}
