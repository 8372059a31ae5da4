//! Running it: commands, refusals, and an orderly end.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use protocol::StreamId;
use serde_json::Value as Json;

use crate::support::{Gateway, Installation, serve_arguments, telemetry};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn sigterm_ends_it_in_order_and_takes_the_state_file_away() {
    let installation = Installation::new();
    let mut backend = installation.serve().await;
    let (_gateway, _) = Gateway::hello(&installation, &backend).await;
    backend.signal(Signal::SIGTERM);
    assert_eq!(backend.ended().await, Some(0));
    assert!(!backend.state.exists());
}

#[tokio::test]
async fn the_service_manager_is_told_when_it_listens_and_when_it_stops() {
    let installation = Installation::new();
    let path = installation.data().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time");
    let mut backend = installation.serve_with(&[("NOTIFY_SOCKET", &path)]).await;
    let told = || {
        let mut bytes = [0; 64];
        let size = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..size]).into_owned()
    };
    assert_eq!(told(), "READY=1\n");
    backend.signal(Signal::SIGINT);
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(backend.ended().await, Some(0));
}

#[tokio::test]
async fn a_state_file_left_by_a_killed_process_goes_before_the_next_listens() {
    let installation = Installation::new();
    let state = installation.state_file();
    std::fs::write(&state, "{}").expect("written");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let path = state.to_str().expect("text");
    let output = installation.cli(&[&serve_arguments(&address)[..], &["--state-file", path]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(!state.exists(), "nobody listens, and no file says so");
}

#[tokio::test]
async fn a_second_serve_on_the_same_directory_is_refused() {
    let installation = Installation::new();
    let _backend = installation.serve().await;
    let second = installation.cli(&serve_arguments("127.0.0.1:0"));
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another cloud-backend serves"), "{}", stderr(&second));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let installation = Installation::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = installation.cli(&serve_arguments(&address));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[tokio::test]
async fn the_commands_work_beside_a_running_backend() {
    let installation = Installation::new();
    let backend = installation.serve().await;
    installation.done(&["tenant", "add", "globex", "--name", "Globex"]);
    let arguments = ["user", "add", "gus", "--tenant", "globex", "--password-stdin"];
    let added = installation.cli_with_input(&arguments, "a long secret\n");
    assert!(added.status.success(), "{}", stderr(&added));
    let cookie = backend.sign_in("gus", "a long secret").await;
    assert_ne!(cookie, backend.cookie);

    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;
    let printed: Json =
        serde_json::from_str(&installation.done(&["ledger", "--tenant", "acme", "--json"])).expect("JSON");
    assert_eq!(printed, backend.json("/api/v1/tenants/acme/ledger").await);
    assert!(installation.done(&["ledger", "--tenant", "acme"]).contains("telemetry"));
}

#[test]
fn what_cannot_be_done_says_why_and_exits_with_1() {
    let installation = Installation::new();
    let out = installation.data();
    let out = out.to_str().expect("text");
    for (arguments, expected) in [
        (&["tenant", "add", "acme", "--name", "Again"][..], "acme"),
        (&["tenant", "add", "other", "--name", " "], "--name"),
        (&["user", "add", "anna", "--tenant", "acme", "--generate"], "anna"),
        (&["user", "add", "bert", "--tenant", "nobody", "--generate"], "nobody"),
        (&["user", "add", "Bert", "--tenant", "acme", "--generate"], "user name \"Bert\" is not valid"),
        (&["gateway", "add", "--tenant", "nobody", "--gateway", "gw-1", "--out", out], "tenant add nobody"),
        (&["gateway", "add", "--tenant", "acme", "--gateway", "gw-1", "--out", out], "already exists"),
        (&["ledger", "--tenant", "nobody"], "nobody"),
    ] {
        let output = installation.cli(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(installation.cli(&["serve", "--http", "nonsense"]).status.code(), Some(2), "wrong usage");
    let empty = installation.cli(&["user", "add", "bert", "--tenant", "acme", "--password-stdin"]);
    assert!(stderr(&empty).contains("the password has 0 bytes"), "{}", stderr(&empty));
}

#[test]
fn a_gateways_key_is_readable_by_its_owner_only_and_never_overwritten() {
    let installation = Installation::new();
    let key = installation.credentials().join("gateway.key");
    let before = std::fs::read(&key).expect("written");
    assert_eq!(std::fs::metadata(&key).expect("written").permissions().mode() & 0o777, 0o600);
    let data = std::fs::metadata(installation.data()).expect("made");
    assert_eq!(data.permissions().mode() & 0o777, 0o700, "the authority's key is in it");
    let out = installation.credentials();
    let out = out.to_str().expect("text");
    let again = installation.cli(&["gateway", "add", "--tenant", "acme", "--gateway", "gw-2", "--out", out]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(std::fs::read(&key).expect("still there"), before);
    // The refusal has registered nothing: with an empty directory it works.
    let other = installation.data().join("other");
    let other = other.to_str().expect("text");
    installation.done(&["gateway", "add", "--tenant", "acme", "--gateway", "gw-2", "--out", other]);
}

#[test]
fn a_truncated_database_refuses_to_start_and_names_the_file() {
    let installation = Installation::new();
    let control = installation.data().join("control.db");
    let bytes = std::fs::read(&control).expect("it is there");
    std::fs::write(&control, &bytes[..bytes.len() / 2]).expect("cut");
    let output = installation.cli(&serve_arguments("127.0.0.1:0"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("control.db"), "{}", stderr(&output));
    assert_eq!(
        std::fs::metadata(&control).expect("still there").len(),
        bytes.len() as u64 / 2,
        "nothing changed"
    );
}

#[test]
fn the_openapi_document_is_printed() {
    let installation = Installation::new();
    assert_eq!(installation.done(&["openapi"]), http_api::openapi_json());
}
