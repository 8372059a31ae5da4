//! The technician's tools at foreign servers.

use std::path::Path;

use anyhow::{Context, Result};
use factory_tests::factory::Programs;
use factory_tests::process::output;
use serde_json::{Value, json};

use crate::agent::{Agent, Machine, configure};
use crate::server::{Server, text};

async fn tool(arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8(output(&Programs::beside_this_one()?.edge_agent, arguments).await?)?)
}

async fn json_of(arguments: &[&str]) -> Result<Value> {
    let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    Ok(serde_json::from_str(&tool(&all).await?)?)
}

#[tokio::test]
async fn f7_scan_finds_the_units_of_pymodbus_with_functions_block_and_response_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "modbus_server.py", &["--slow-ms", "40"]).await?;
    let port = server.state.port.to_string();
    let scan = ["scan", "modbus", "--host", "127.0.0.1", "--port", &port, "--units", "1-4"];
    let found = json_of(&scan).await?;
    let units = found["units"].as_array().context("units")?;
    let ids: Vec<&Value> = units.iter().map(|unit| &unit["unit_id"]).collect();
    assert_eq!(ids, [1, 2, 4], "unit 3 is silent, unit 4 refuses everything and is there: {found:#}");
    assert_eq!(units[0]["function_codes"], json!([1, 2, 3, 4]));
    let hole = &server.tag("hole")?.config["holding_register"];
    assert_eq!(units[0]["readable"]["quantity_max"], *hole, "the largest block ends at the hole");
    assert_eq!(units[1]["readable"]["quantity_max"], 10);
    let p50 = units[1]["response_ms"]["p50"].as_f64().context("p50")?;
    assert!((40.0..120.0).contains(&p50), "unit 2 takes 40 ms: {p50}");
    Ok(())
}

#[tokio::test]
async fn f7_read_finds_the_byte_order_of_a_known_value_in_each_of_the_four() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "modbus_server.py", &[]).await?;
    let port = server.state.port.to_string();
    for order in ["abcd", "cdab", "badc", "dcba"] {
        let tag = &server.tag(&format!("holding_register_f32_{order}"))?.config;
        let register = tag["holding_register"].to_string();
        let place = ["--host", "127.0.0.1", "--port", &port, "--register", &register, "--count", "2"];
        let arguments = [&["read", "modbus", "--expect", "229.01"], place.as_slice()].concat();
        let found = json_of(&arguments).await?;
        let best = &found["matches"][0];
        assert_eq!((&best["format"], &best["word_order"]), (&json!("f32"), &json!(order)), "{found:#}");
    }
    Ok(())
}

#[tokio::test]
async fn f7_browse_of_asyncua_writes_tags_that_the_agent_then_reads() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "opcua_server.py", &[]).await?;
    let endpoint = server.state.endpoint.as_str();
    let machine = "nsu=urn:interop:machine;s=Machine";
    let browse = ["browse", "opcua", "--endpoint", endpoint, "--under", machine, "--tags"];
    let tags = tool(&browse).await?;
    let empty =
        Machine { id: "lathe-1", connection: ("opcua", json!({ "endpoint": endpoint })), tags: vec![] };
    let config = configure(folder.path(), &[empty])?;
    let file = config.join("machines.d/lathe-1.toml");
    let begun = std::fs::read_to_string(&file)?.replace("tags = []\n", "");
    std::fs::write(&file, format!("{begun}\n{tags}"))?;
    let agent = Agent::run(folder.path(), &config).await?;
    let known: Vec<&str> = ["boolean", "uint32", "int64", "double", "string", "enumeration"].into();
    let expected = server.state.tags.into_iter().filter(|t| known.iter().any(|k| t.config["id"] == *k));
    let expected: Vec<_> = expected.collect();
    assert_eq!(expected.len(), known.len());
    agent.reads("lathe-1", &expected).await
}

#[tokio::test]
async fn f7_read_shows_a_node_of_asyncua_to_the_last_digit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), "opcua_server.py", &[]).await?;
    let place = ["--endpoint", server.state.endpoint.as_str(), "--node", "nsu=urn:interop:machine;s=Int64"];
    let read = json_of(&[&["read", "opcua", "--data-type", "int"], place.as_slice()].concat()).await?;
    assert_eq!((&read["value"], &read["quality"]), (&json!("9007199254740993"), &json!("Good")), "{read:#}");
    Ok(())
}

#[tokio::test]
async fn f7_doctor_tells_the_protection_and_the_certificate_of_asyncua() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificate = folder.path().join("server.der");
    let server = protected(folder.path(), &certificate).await?;
    let found = json_of(&["doctor", "opcua", "--endpoint", &server.state.endpoint]).await?;
    let endpoints = found["endpoints"].as_array().context("endpoints")?;
    let [endpoint] = endpoints.as_slice() else { panic!("one endpoint: {found:#}") };
    assert_eq!(endpoint["protection"], "Basic256Sha256/SignAndEncrypt for UserName");
    assert!(endpoint["certificate"].as_str().is_some_and(|c| c.contains("CN=interop")), "{found:#}");
    assert_eq!(endpoint["problems"], json!([]), "nothing is wrong with it");
    Ok(())
}

async fn protected(folder: &Path, certificate: &Path) -> Result<Server> {
    Server::start(folder, "opcua_server.py", &["--protected", text(certificate)?]).await
}
