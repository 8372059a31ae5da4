//! Alarms of a machine that answers late.

use std::time::Duration;

use anyhow::{Result, ensure};
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs};
use factory_tests::oracle::{stored, transitions};
use factory_tests::process::until;
use plant_model::{TransitionCause, Value};
use reqwest::Method;
use serde_json::json;

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

const PLANT: &str = "version = 1\nname = \"late\"\nseed = 7\n\n[[machines]]\nid = \"mill-1\"\nkind = \"cnc-mill\"\n\
    protocol = \"modbus-tcp\"\n";

/// Two tags, a request each, whose values are so far apart that each is beyond the limit of the other.
const TAGS: &str = "one_request_per_tag = true\ntimeout_ms = 250\n\
    [[tags]]\nid = \"hundreds\"\ndata_type = \"int\"\nholding_register = 0\nformat = \"u16\"\npoll_interval_ms = 100\n\
    [[tags]]\nid = \"ones\"\ndata_type = \"int\"\nholding_register = 10\nformat = \"u16\"\npoll_interval_ms = 100\n\
    [[alarms]]\nid = \"too_few\"\ntag = \"hundreds\"\nkind = \"low\"\nlimit = 100\nmessage = \"look\"\n\
    [[alarms]]\nid = \"too_many\"\ntag = \"ones\"\nkind = \"high\"\nlimit = 50\nmessage = \"look\"\n";

/// Twelve time-outs of 250 ms, and an answer that comes 50 ms after each, into the middle of what is asked next.
#[tokio::test(flavor = "multi_thread")]
async fn b4_a_late_answer_raises_no_alarm_with_the_value_of_another_tag() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    let options = PlantOptions { plant_file: Some(PLANT.to_owned()), ..small_plant() };
    let mut plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    plant.stop_agent().await?;
    rewrite(&plant)?;
    plant.restart_agent().await?;
    let polls = |field: &'static str, least: u64| {
        let plant = &plant;
        move || async move {
            let status = plant.status().await.ok()?;
            let machine = status["machines"].as_array()?.iter().find(|m| m["id"] == "mill-1")?;
            machine[field].as_u64().filter(|count| *count >= least)
        }
    };
    until("good polls", PATIENCE, polls("polls_ok", 6)).await?;
    let mode = |mode| plant.simulator(Method::POST, "/machines/mill-1/mode", Some(mode));
    mode(json!({ "mode": "late", "delay_ms": 300, "every": 3 })).await?;
    until("late answers", PATIENCE, polls("polls_failed", 12)).await?;
    mode(json!({ "mode": "healthy" })).await?;

    let body = json!({ "tag": "spindle_temperature", "value": 5.0 });
    plant.simulator(Method::POST, "/machines/mill-1/set", Some(body)).await?;
    let raised = || async {
        let status = plant.status().await.ok()?;
        status["buffer"]["transitions_committed"].as_u64().filter(|count| *count > 0)
    };
    until("an alarm that is one", PATIENCE, raised).await?;
    plant.stop_agent().await?;
    let held = stored(&backend.data(), &plant.tenant, &plant.gateway, &plant.state.epoch)?;
    // The connection and the gateway may have alarms of their own.
    let of_machine = transitions(&held)?.into_iter().filter(|t| t.machine.as_str() == "mill-1");
    let of_values: Vec<_> = of_machine.filter(|t| t.limit.is_some()).collect();
    let [t] = of_values.as_slice() else { anyhow::bail!("one alarm is true: {of_values:?}") };
    ensure!((t.alarm.as_str(), t.cause) == ("too_few", TransitionCause::Raised), "{t:?}");
    ensure!(t.value == Some(Value::Int(50)), "{t:?}");
    Ok(())
}

/// The machine's file with other tags and alarms.
fn rewrite(plant: &Plant) -> Result<()> {
    let path = plant.config().join("machines.d/mill-1.toml");
    let file: toml::Table = std::fs::read_to_string(&path)?.parse()?;
    let head = "version = 1\nid = \"mill-1\"\n[modbus_tcp]\n";
    let (host, port) = (&file["modbus_tcp"]["host"], &file["modbus_tcp"]["port"]);
    Ok(std::fs::write(&path, format!("{head}host = {host}\nport = {port}\n{TAGS}"))?)
}
