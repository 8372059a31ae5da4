//! The program on PostgreSQL: real processes, a real server, and what happens when that fails.

#[expect(dead_code, reason = "what the tests on SQLite need")]
#[path = "backend/support.rs"]
mod support;

#[path = "../crates/store-postgres/tests/postgres/server.rs"]
mod server;

use std::time::{Duration, Instant};

use protocol::StreamId;
use serde_json::Value as Json;
use server::Server;
use std::path::Path;
use support::*;

/// An installation whose tenant, gateway and user are in a database, and its URI.
fn installation_in(server: &Server) -> (Installation, String) {
    let mut installation = Installation::new();
    let uri = server.database("plant");
    let done = |arguments: &[&str]| installation.done(&[arguments, &["--store", &uri]].concat());
    done(&["tenant", "add", "acme", "--name", "Acme"]);
    done(&["gateway", "invite", "--tenant", "acme", "--gateway", "gw-1"]);
    let user = done(&["user", "add", "anna", "--tenant", "acme", "--generate", "--json"]);
    let user: Json = serde_json::from_str(&user).expect("JSON");
    installation.password = user["password"].as_str().expect("a password").to_owned();
    (installation, uri)
}

async fn serve(installation: &Installation, uri: &str) -> Backend {
    installation.serve_with(&[("CLOUD_BACKEND_STORE", Path::new(uri))]).await
}

/// What the database holds of the telemetry, by a look from outside.
fn in_the_store(server: &Server) -> Vec<u64> {
    let listed = server.sql("plant", "SELECT sequence FROM batch WHERE stream = 2 ORDER BY sequence");
    listed.lines().map(|line| line.parse().expect("a number")).collect()
}

/// Six seconds of cutting: the gateway sends meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn in9_postgres_that_cuts_every_connection_over_and_over_loses_nothing_and_recovers_at_once() {
    const BATCHES: u64 = 60;
    let server = Server::start();
    let (installation, uri) = installation_in(&server);
    let backend = serve(&installation, &uri).await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'backend'";
    let mut killed = 0;
    for sequence in 1..=BATCHES {
        gateway.publish("up/telemetry", telemetry(sequence)).await;
        let count = tokio::task::block_in_place(|| server.sql("postgres", cut));
        killed += count.parse::<u64>().expect("a number");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let quiet = Instant::now();
    assert_eq!(gateway.acknowledged(StreamId::Telemetry, BATCHES).await, BATCHES);
    assert!(quiet.elapsed() < Duration::from_secs(10), "{:?}", quiet.elapsed());
    assert!(killed > 0, "nothing was cut");
    assert_eq!(in_the_store(&server), (1..=BATCHES).collect::<Vec<_>>());
    backend.answers("/readyz", |status, _| status == 200).await;
    let ledger = installation.done(&["ledger", "--tenant", "acme", "--store", &uri]);
    assert!(ledger.contains("gw-1"), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in9_postgres_that_is_locked_or_stopped_acknowledges_nothing_until_it_is_back() {
    let mut server = Server::start();
    let (installation, uri) = installation_in(&server);
    let backend = serve(&installation, &uri).await;
    let (mut gateway, _) = Gateway::hello(&installation, &backend).await;
    gateway.publish("up/telemetry", telemetry(1)).await;
    gateway.acknowledged(StreamId::Telemetry, 1).await;

    let held = server.hold("plant", "LOCK TABLE batch IN ACCESS EXCLUSIVE MODE");
    gateway.publish("up/telemetry", telemetry(2)).await;
    let failing = |status: u16, why: &str| status == 503 && why.contains("tenant acme");
    backend.answers("/readyz", failing).await;
    assert!(gateway.highest_so_far() <= 1, "nothing new is acknowledged");
    drop(held);
    gateway.acknowledged(StreamId::Telemetry, 2).await;
    backend.answers("/readyz", |status, _| status == 200).await;

    server.stop();
    gateway.publish("up/telemetry", telemetry(3)).await;
    backend.answers("/readyz", failing).await;
    assert!(gateway.highest_so_far() <= 2, "nothing new is acknowledged");
    server.start_again();
    gateway.acknowledged(StreamId::Telemetry, 3).await;
    assert_eq!(in_the_store(&server), [1, 2, 3]);
    backend.answers("/readyz", |status, _| status == 200).await;
}

#[test]
fn a_store_that_is_none_is_refused_without_repeating_it() {
    let installation = Installation::new();
    let output =
        installation.cli(&["tenant", "add", "x", "--name", "X", "--store", "mysql://anna:hunter2@db/x"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("postgres://") && !said.contains("hunter2"), "{said}");
}
