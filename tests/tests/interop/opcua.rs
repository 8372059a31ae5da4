//! asyncua as a machine.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::agent::{Agent, Machine, reading};
use crate::server::{Server, text};

/// All types and qualities that the server has, and one node that it has not.
const TAGS: usize = 31;

fn plain(server: &Server) -> (&'static str, Value) {
    ("opcua", json!({ "endpoint": server.state.endpoint }))
}

#[tokio::test]
async fn c7_c8_c14_every_type_quality_and_source_time_of_asyncua_arrives_unchanged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "opcua_server.py", &[]).await?;
    assert_eq!(server.state.tags.len(), TAGS);
    let machine = Machine::new("lathe-1", plain(&server), &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.reads("lathe-1", &server.state.tags).await
}

#[tokio::test]
async fn c7_c14_polling_instead_of_a_subscription_reads_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "opcua_server.py", &[]).await?;
    let connection = ("opcua", json!({ "endpoint": server.state.endpoint, "mode": "poll" }));
    let machine = Machine::new("lathe-1", connection, &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.reads("lathe-1", &server.state.tags).await
}

/// A connection to the protected server with this password, and the server.
async fn protected(folder: &Path, password: &str) -> Result<(Server, (&'static str, Value))> {
    let certificate = folder.join("server.der");
    let server = Server::start(folder, "opcua_server.py", &["--protected", text(&certificate)?]).await?;
    let password_file = folder.join("password");
    std::fs::write(&password_file, format!("{password}\n"))?;
    let connection = json!({
        "endpoint": server.state.endpoint,
        "security_policy": "basic256sha256",
        "security_mode": "sign_and_encrypt",
        "server_certificate_file": certificate,
        "user": "operator",
        "password_file": password_file,
    });
    Ok((server, ("opcua", connection)))
}

#[tokio::test]
async fn c9_asyncua_is_read_signed_and_encrypted_by_a_user_with_a_password() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (server, connection) = protected(folder.path(), "s3cret").await?;
    let machine = Machine::new("lathe-1", connection, &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.reads("lathe-1", &server.state.tags).await
}

#[tokio::test]
async fn c9_a_wrong_password_is_named_as_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (server, connection) = protected(folder.path(), "guessed").await?;
    let machine = Machine::new("lathe-1", connection, &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.is_down("lathe-1", "password").await
}

#[tokio::test]
async fn c10_a_protected_server_is_not_entered_without_the_protection_it_asks_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (server, _) = protected(folder.path(), "s3cret").await?;
    let machine = Machine::new("lathe-1", plain(&server), &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.is_down("lathe-1", "Basic256Sha256").await
}

#[tokio::test]
async fn c1_data_resume_after_asyncua_was_killed_and_started_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(folder.path(), "opcua_server.py", &[]).await?;
    let tag = json!({ "id": "counter", "data_type": "int", "node_id": "nsu=urn:interop:machine;s=counter" });
    let tags = tag.as_object().cloned().into_iter().collect();
    let machine = Machine { id: "lathe-1", connection: plain(&server), tags };
    let agent = Agent::start(folder.path(), &[machine]).await?;
    for life in 1..=3 {
        agent.settles("lathe-1", |machine| counts_from(machine, (life - 1) * 1_000_000)).await?;
        server.service.kill().await?;
        agent.settles("lathe-1", is_lost).await?;
        let (port, base) = (server.state.port.to_string(), (life * 1_000_000).to_string());
        let arguments = ["--port", port.as_str(), "--base", base.as_str()];
        server = Server::start(folder.path(), "opcua_server.py", &arguments).await?;
    }
    agent.settles("lathe-1", |machine| counts_from(machine, 3_000_000)).await
}

/// The counter has moved on by itself since this life of the server began.
fn counts_from(machine: &Value, base: i64) -> Vec<String> {
    let Some(counter) = reading(machine, "counter") else { return vec!["no counter".to_owned()] };
    let moved = counter["value"].as_i64().is_some_and(|n| n > base + 2) && machine["link_up"] == true;
    if moved { Vec::new() } else { vec![format!("{counter} does not count from {base}")] }
}

/// What was read last is not shown as good when the server is gone.
fn is_lost(machine: &Value) -> Vec<String> {
    let lost = machine["link_up"] == false
        && reading(machine, "counter").is_some_and(|c| c["class"] == "bad" && c["value"].is_null());
    if lost { Vec::new() } else { vec![format!("still there: {machine}")] }
}
