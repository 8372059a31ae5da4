//! pymodbus as a machine.

use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::process::until;
use serde_json::{Value, json};

use crate::agent::{Agent, Machine};
use crate::server::Server;

/// Reads unit 1 of the server over a carrier and compares all tags. One of them lies at an address that
/// the server does not have, amid the others.
async fn reads_everything(
    carrier: &str,
    connection: impl Fn(&Server) -> (&'static str, Value),
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "modbus_server.py", &["--carrier", carrier]).await?;
    assert_eq!(server.state.tags.len(), 113, "formats, orders, four tables");
    let machine = Machine::new("press-1", connection(&server), &server.state.tags);
    let agent = Agent::start(folder.path(), &[machine]).await?;
    agent.reads("press-1", &server.state.tags).await
}

#[tokio::test]
async fn b5_over_tcp_every_format_is_read_and_an_illegal_address_costs_only_its_tag() -> Result<()> {
    reads_everything("tcp", |server| ("modbus_tcp", tcp(server, 1))).await
}

#[tokio::test]
async fn b5_over_rtu_in_tcp_every_format_is_read_and_an_illegal_address_costs_only_its_tag() -> Result<()> {
    reads_everything("rtu-over-tcp", |server| ("modbus_rtu_over_tcp", tcp(server, 1))).await
}

#[tokio::test]
async fn b5_over_a_serial_line_every_format_is_read_and_an_illegal_address_costs_only_its_tag() -> Result<()>
{
    // A pseudo terminal has no parity.
    reads_everything("rtu", |server| {
        let line = json!({ "device": server.state.device, "parity": "none", "timeout_ms": TIMEOUT_MS });
        ("modbus_rtu", line)
    })
    .await
}

const TIMEOUT_MS: u64 = 500;

fn tcp(server: &Server, unit_id: u8) -> Value {
    json!({ "host": "127.0.0.1", "port": server.state.port, "unit_id": unit_id, "timeout_ms": TIMEOUT_MS })
}

/// A register of a unit, read every so often.
fn unit<'a>(server: &Server, id: &'a str, unit_id: u8, poll_interval_ms: u64) -> Result<Machine<'a>> {
    let tag = json!({
        "id": "first", "data_type": "int", "holding_register": 0, "format": "u16",
        "poll_interval_ms": poll_interval_ms,
    });
    let tags = vec![tag.as_object().context("an object")?.clone()];
    Ok(Machine { id, connection: ("modbus_tcp", tcp(server, unit_id)), tags })
}

#[tokio::test]
async fn b2_a_slow_a_silent_and_a_busy_unit_behind_one_address_leave_the_others_their_polls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "modbus_server.py", &["--slow-ms", "60"]).await?;
    let machines = [
        unit(&server, "healthy", 1, 200)?,
        unit(&server, "slow", 2, 1_000)?,
        unit(&server, "silent", 3, 1_000)?,
        unit(&server, "busy", 4, 1_000)?,
    ];
    let agent = Agent::start(folder.path(), &machines).await?;
    agent.settles("healthy", |m| first_is(m, &json!(54_321), "Good")).await?;
    agent.settles("slow", |m| first_is(m, &json!(100), "Good")).await?;
    agent.settles("silent", |m| first_is(m, &Value::Null, "BadTimeout")).await?;
    agent.is_down("silent", "no answer within").await?;
    let polls = |counts: &Value| Some((counts["polls_ok"].as_u64()?, counts["missed_ticks"].as_u64()?));
    let before = polls(&agent.counts("healthy").await?).context("counts")?;
    let later = || async {
        let now = polls(&agent.counts("healthy").await.ok()?)?;
        (now.0 >= before.0 + 30).then_some(now)
    };
    let after = until("30 polls of the healthy unit", Duration::from_secs(30), later).await?;
    let (done, missed) = (after.0 - before.0, after.1 - before.1);
    assert!(missed * 10 <= done + missed, "{missed} of {} polls were missed", done + missed);
    assert_eq!(agent.counts("busy").await?["polls_ok"], 0, "a refusal is no value");
    Ok(())
}

fn first_is(machine: &Value, value: &Value, quality: &str) -> Vec<String> {
    let tag = &machine["tags"][0];
    let fits = tag["value"] == *value && tag["quality"] == quality;
    if fits { Vec::new() } else { vec![format!("{tag} is not {value} with quality {quality}")] }
}
