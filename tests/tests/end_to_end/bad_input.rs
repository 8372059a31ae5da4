//! What the programs say when they are given something wrong.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use factory_tests::api::local;
use factory_tests::factory::{AgentState, Backend, Plant, Programs};
use factory_tests::oracle::{Batches, obligations, stored};
use factory_tests::process::{Service, until};
use protocol::{Batch, BatchBody, DiagnosticRecord, Gap};
use reqwest::Method;

use crate::{any_port, small_plant};

const GOOD: &str = r#"version = 1
tenant = "acme"
gateway = "gw-1"
[buffer]
path = "buffer.db"
"#;

const MACHINE: &str = r#"version = 1
id = "press-1"
[modbus_tcp]
host = "127.0.0.1"
port = 99999
timeuot_ms = 500
[[tags]]
id = "pressure"
data_type = "flaot"
holding_register = 70000
format = "i16"
[[alarms]]
id = "high"
tag = "presure"
kind = "high"
limit = 80
message = "Too high"
"#;

async fn check(folder: &Path) -> Result<(Option<i32>, String)> {
    let programs = Programs::beside_this_one()?;
    let out = tokio::process::Command::new(&programs.edge_agent)
        .args(["check", "--config", folder.to_str().context("text")?])
        .output()
        .await?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.code(), String::from_utf8(text)?))
}

#[tokio::test]
async fn a_configuration_with_five_mistakes_names_all_five_with_file_line_key_value_and_what_is_allowed()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("agent.toml"), GOOD)?;
    std::fs::create_dir(folder.path().join("machines.d"))?;
    std::fs::write(folder.path().join("machines.d/press.toml"), MACHINE)?;
    let (code, text) = check(folder.path()).await?;
    assert_eq!(code, Some(78), "{text}");
    for part in [
        "press.toml:5: modbus_tcp.port = 99999: is out of range; 1 to 65535 are allowed",
        "press.toml:6: modbus_tcp.timeuot_ms = 500: this key is not known; did you mean \"timeout_ms\"?",
        "press.toml:9: tags[0].data_type = \"flaot\": is not known; allowed are bool, int, float, text; did you mean \"float\"?",
        "press.toml:10: tags[0].holding_register = 70000: is out of range; 0 to 65535 are allowed",
        "press.toml:14: alarms[0].tag = \"presure\": this machine has no such tag",
        "5 problems found",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_good_configuration_is_confirmed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("agent.toml"), GOOD)?;
    std::fs::create_dir(folder.path().join("machines.d"))?;
    let machine = MACHINE
        .replace("99999", "502")
        .replace("timeuot_ms", "timeout_ms")
        .replace("flaot", "float")
        .replace("70000", "7")
        .replace("presure", "pressure");
    std::fs::write(folder.path().join("machines.d/press.toml"), machine)?;
    let (code, text) = check(folder.path()).await?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("press-1") && text.contains("modbus-tcp"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_buffer_is_set_aside_with_a_clear_message_and_nothing_of_it_is_lost_in_silence()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let mut backend =
        Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let mut plant = Plant::start(&programs, &backend, folder.path(), &small_plant()).await?;
    until("some commits", Duration::from_secs(30), || batches_committed(&plant, 6)).await?;
    backend.service.kill().await?;
    until("commits that nobody takes", Duration::from_secs(30), || batches_committed(&plant, 30)).await?;
    plant.stop_agent().await?;
    let (data, epoch) = (backend.data(), plant.state.epoch.clone());
    let before = obligations(&plant.buffer())?;
    let delivered = stored(&data, &plant.tenant, &plant.gateway, &epoch)?;
    assert!(before.batches.len() >= delivered.len() + 10, "{} were delivered", delivered.len());

    let size = std::fs::metadata(plant.buffer())?.len();
    std::fs::OpenOptions::new().write(true).open(plant.buffer())?.set_len(size / 2)?;
    backend.restart().await?;
    plant.restart_agent().await?;
    let kept = std::fs::read_dir(plant.config())?
        .filter_map(Result::ok)
        .any(|e| e.file_name().to_string_lossy().starts_with("buffer.db.damaged-"));
    assert!(kept, "the damaged file is kept");
    let log = plant.agent.log_end();
    assert!(log.contains("the buffer was damaged") && log.contains("buffer.db.damaged-"), "{log}");
    assert_eq!(plant.state.epoch, epoch, "what can be read goes on under its epoch: {log}");
    let again = || async {
        let status = plant.status().await.ok()?;
        status["samples"]["committed"].as_u64().filter(|n| *n > 20)
    };
    until("commits into the new buffer", Duration::from_secs(30), again).await?;
    plant.stop_agent().await?;
    let delivered = stored(&data, &plant.tenant, &plant.gateway, &epoch)?;
    delivered_or_declared(&before.batches, &obligations(&plant.buffer())?.batches, &delivered)
}

async fn batches_committed(plant: &Plant, least: u64) -> Option<u64> {
    let status = plant.status().await.ok()?;
    status["buffer"]["batches_committed"].as_u64().filter(|n| *n >= least)
}

/// What the buffer holds `after` the damage is in the store; of what it held `before`, each batch is in the
/// store or declared there by a gap record.
fn delivered_or_declared(before: &Batches, after: &Batches, delivered: &Batches) -> Result<()> {
    for (key, message) in after {
        ensure!(delivered.get(key) == Some(message), "batch {key:?} was salvaged and is not delivered");
    }
    let gaps = declared(delivered)?;
    for (key, message) in before {
        let is_declared = || {
            let numbers = |g: &Gap| g.first.as_u64()..=g.last.as_u64();
            gaps.iter().any(|g| g.stream.code() == key.0 && numbers(g).contains(&key.1))
        };
        match delivered.get(key) {
            Some(found) => ensure!(found == message, "batch {key:?} is not what it was"),
            None => ensure!(is_declared(), "batch {key:?} was lost in silence"),
        }
    }
    Ok(())
}

/// The gap records in stored batches.
fn declared(stored: &Batches) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for message in stored.values() {
        if let BatchBody::Records(records) = Batch::decode(message)?.body {
            gaps.extend(records.into_iter().filter_map(|record| match record {
                DiagnosticRecord::Gap(gap) => Some(gap),
                DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => None,
            }));
        }
    }
    Ok(gaps)
}

/// Nothing listens where the machines should be, and there is no backend either.
#[tokio::test(flavor = "multi_thread")]
async fn f5_unreachable_machines_at_start_are_bad_with_their_reason_and_the_agent_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path();
    let (buffer, state_file) = (config.join("buffer.db"), config.join("agent.json"));
    let path = format!("path = {:?}\n[status]\nlisten = \"127.0.0.1:0\"\n", buffer.display().to_string());
    std::fs::write(config.join("agent.toml"), GOOD.replace("path = \"buffer.db\"\n", &path))?;
    std::fs::create_dir(config.join("machines.d"))?;
    // Reserved, then given back: a port on which nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let modbus = "version = 1\nid = \"press-1\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = PORT\n[[tags]]\nid = \"pressure\"\n\
                  data_type = \"int\"\nholding_register = 7\nformat = \"i16\"\n";
    let opcua = "version = 1\nid = \"lathe-1\"\n[opcua]\nendpoint = \"opc.tcp://127.0.0.1:PORT\"\n[[tags]]\nid = \"speed\"\n\
                 data_type = \"float\"\nnode_id = \"ns=2;s=speed\"\n";
    for (name, text) in [("press.toml", modbus), ("lathe.toml", opcua)] {
        std::fs::write(config.join("machines.d").join(name), text.replace("PORT", &closed.to_string()))?;
    }
    let programs = Programs::beside_this_one()?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("text");
    let (config_text, state_text) = (text(config)?, text(&state_file)?);
    let arguments = ["run", "--config", &config_text, "--state-file", &state_text];
    let mut agent =
        Service::spawn("edge-agent", &programs.edge_agent, &arguments, &config.join("agent.log"))?;
    let state: AgentState = agent.wait_for_state(&state_file, Duration::from_secs(20)).await?;
    let both_down = || async {
        let status = local(Method::GET, state.status, "/status", None).await.ok()?;
        let (gateway, machines): (Vec<_>, Vec<_>) =
            status["machines"].as_array()?.iter().partition(|m| m["id"] == "gateway");
        let down = |m: &serde_json::Value| {
            m["link_up"] == false && m["link_reason"].as_str().is_some_and(|r| r.contains("refused"))
        };
        let reads_itself = gateway.iter().all(|m| m["link_up"] == true);
        (machines.len() == 2 && machines.into_iter().all(down) && reads_itself).then_some(())
    };
    until("both machines down, with the reason", Duration::from_secs(20), both_down).await?;
    assert!(agent.terminate(Duration::from_secs(15)).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_two_and_shows_the_usage() -> Result<()> {
    let programs = Programs::beside_this_one()?;
    for program in [&programs.edge_agent, &programs.cloud_backend, &programs.machine_simulator] {
        let out = tokio::process::Command::new(program).arg("--nonsense").output().await?;
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("Usage"), "{}", program.display());
        let help = tokio::process::Command::new(program).arg("--help").output().await?;
        assert!(help.status.success() && help.stdout.len() > 300, "{}", program.display());
    }
    Ok(())
}
