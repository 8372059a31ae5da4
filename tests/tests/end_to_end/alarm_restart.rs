//! Alarms over a kill of the agent, and over steps of its wall clock. One machine, whose alarms are written
//! for these tests; what the agent says of them is held against what the machine was made to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::{Api, local};
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user};
use factory_tests::fake_clock::FakeClock;
use factory_tests::link::{Link, LinkMode};
use factory_tests::oracle::{judge, obligations, stored, transitions};
use factory_tests::process::until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{any_port, small_plant};

const PATIENCE: Duration = Duration::from_secs(40);

/// What a busy machine may add to a delay.
const SLACK: Duration = Duration::from_secs(4);

const MACHINE: &str = "mill-1";

/// An alarm above 80 of `tag`, which waits for an acknowledgement.
fn above(id: &str, tag: &str, more: Value) -> Value {
    let mut alarm = json!({
        "id": id, "tag": tag, "kind": "high", "limit": 80.0, "deadband": 2.0, "priority": "high",
        "message": "look", "acknowledge": "required",
    });
    if let (Some(alarm), Value::Object(more)) = (alarm.as_object_mut(), more) {
        alarm.extend(more);
    }
    alarm
}

struct Scene {
    backend: Backend,
    plant: Plant,
    api: Api,
    link: Link,
    folder: tempfile::TempDir,
}

impl Scene {
    /// A plant of one machine with these alarms.
    async fn set(alarms: Vec<Value>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = Programs::beside_this_one()?;
        let backend =
            Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
        let link = Link::to(backend.state.mqtt).await?;
        let machine =
            format!("id = \"{MACHINE}\"\nkind = \"cnc-mill\"\nprotocol = \"modbus-tcp\"\nport = 0\n");
        let file = format!("version = 1\nname = \"one\"\nseed = 7\n\n[[machines]]\n{machine}");
        let options = PlantOptions { dial: Some(link.address), plant_file: Some(file), ..small_plant() };
        let mut plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
        plant.stop_agent().await?;
        let file = plant.config().join(format!("machines.d/{MACHINE}.toml"));
        let mut machine: Value = toml::from_str(&std::fs::read_to_string(&file)?)?;
        machine["alarms"] = Value::Array(alarms);
        std::fs::write(&file, toml::to_string(&machine)?)?;
        let account = add_user(&backend, "anna", &["--tenant", "acme"]).await?;
        let api = plant.sign_in(&backend, &account).await?;
        Ok(Self { backend, plant, api, link, folder })
    }

    async fn connected(&self) -> Result<()> {
        let connected =
            || async { self.plant.status().await.ok().filter(|s| s["uplink"]["connected"] == true) };
        until("the uplink", PATIENCE, connected).await.map(drop)
    }

    /// Holds a tag of the machine at a value, until [`Self::release`].
    async fn hold(&self, tag: &str, value: f64) -> Result<()> {
        let body = json!({ "tag": tag, "value": value, "hold_ms": 120_000 });
        self.plant.simulator(Method::POST, &format!("/machines/{MACHINE}/set"), Some(body)).await.map(drop)
    }

    async fn release(&self, tag: &str) -> Result<()> {
        let path = format!("/machines/{MACHINE}/set/{tag}");
        self.plant.simulator(Method::DELETE, &path, None).await.map(drop)
    }

    /// The alarms that are not normal, as the agent says, by id. None before it has read the machine.
    async fn states(&self) -> Option<BTreeMap<String, String>> {
        let path = format!("/machines/{MACHINE}");
        let machine = local(Method::GET, self.plant.state.status, &path, None).await.ok()?;
        let is_read = machine["tags"].as_array()?.iter().all(|tag| !tag["value"].is_null());
        let alarms = machine["alarms"].as_array().filter(|_| is_read)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        alarms.iter().map(|alarm| Some((text(&alarm["id"])?, text(&alarm["state"])?))).collect()
    }

    /// Waits until the alarms stand so; says when it was seen.
    async fn stand(&self, expected: &[(&str, &str)]) -> Result<Instant> {
        let text = |(alarm, state): &(&str, &str)| ((*alarm).to_owned(), (*state).to_owned());
        let expected: BTreeMap<String, String> = expected.iter().map(text).collect();
        let as_expected = || async { (self.states().await? == expected).then(Instant::now) };
        let seen = until("the alarms", PATIENCE, as_expected).await;
        let now = self.states().await;
        seen.with_context(|| format!("expected {expected:?}, the agent says {now:?}"))
    }

    /// Gives a command until it is answered.
    async fn command(&self, key: &str, alarm: &str, body: Value) -> Result<Value> {
        let gateway = &self.plant.gateway;
        let path = format!("/tenants/acme/gateways/{gateway}/machines/{MACHINE}/alarms/{alarm}/commands");
        let answered = || async {
            let (status, answer) = self.api.command(&path, key, &body).await.ok()?;
            (status == 200).then_some(answer)
        };
        until("an answer", PATIENCE, answered).await
    }

    /// Waits until so many transitions that this process of the agent decided are committed.
    async fn committed(&self, count: u64) -> Result<()> {
        let durable = || async {
            let rows = self.plant.status().await.ok()?["alarms"]["latency"].as_array().cloned()?;
            let durable = rows.iter().filter(|row| row["stage"] == "durable");
            (durable.filter_map(|row| row["count"].as_u64()).sum::<u64>() >= count).then_some(())
        };
        until("the commits of the transitions", PATIENCE, durable).await
    }

    /// Stops the agent and gives the transitions that the backend holds, in the order of the journal, once
    /// it is clear that they are those that the agent committed.
    async fn journal(&mut self) -> Result<Vec<(String, &'static str)>> {
        self.connected().await?;
        self.plant.stop_agent().await?;
        let owed = obligations(&self.plant.buffer())?;
        let held = stored(&self.backend.data(), "acme", &self.plant.gateway, &self.plant.state.epoch)?;
        judge(&owed, &held)?;
        let of_machines = transitions(&held)?.into_iter().filter(|t| t.machine.as_str() != "gateway");
        Ok(of_machines.map(|t| (t.alarm.to_string(), t.cause.name())).collect())
    }
}

fn steps(journal: &[(String, &'static str)], alarm: &str) -> Vec<&'static str> {
    journal.iter().filter(|(id, _)| id == alarm).map(|(_, cause)| *cause).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_every_state_survives_a_kill_and_reaches_the_backend_in_order() -> Result<()> {
    let (hot, warm) = ("spindle_temperature", "coolant_temperature");
    let mut scene = Scene::set(vec![
        above("unack", hot, json!({})),
        above("acked", hot, json!({})),
        above("shelved", hot, json!({})),
        above("serviced", hot, json!({})),
        above("gated", hot, json!({ "suppress_while": "state >= 0" })),
        above("returned", warm, json!({})),
        above("latched", warm, json!({ "latching": true })),
        above("released", warm, json!({ "latching": true })),
    ])
    .await?;
    scene.plant.restart_agent().await?;
    scene.connected().await?;
    scene.stand(&[("gated", "DSUPR")]).await?;
    scene.hold(hot, 95.0).await?;
    scene.hold(warm, 95.0).await?;
    let raised = ["unack", "acked", "shelved", "serviced", "returned", "latched", "released"];
    let mut all: Vec<_> = raised.iter().map(|id| (*id, "UNACK")).collect();
    all.push(("gated", "DSUPR"));
    scene.stand(&all).await?;
    for alarm in ["acked", "released"] {
        let body = json!({ "action": "acknowledge", "occurrence": 1, "comment": "on my way" });
        assert_eq!(scene.command(&format!("ack-{alarm}"), alarm, body).await?["state"], "done");
    }
    let body = json!({ "action": "shelve", "duration_s": 3_600, "comment": "known" });
    assert_eq!(scene.command("shelve-1", "shelved", body).await?["state"], "done");
    let body = json!({ "action": "take_out_of_service", "comment": "sensor is replaced" });
    assert_eq!(scene.command("out-1", "serviced", body).await?["state"], "done");

    // Nobody hears of the rest before the agent is killed.
    scene.link.set(LinkMode::Cut);
    scene.release(warm).await?;
    let states = [
        ("unack", "UNACK"),
        ("acked", "ACKED"),
        ("shelved", "SHLVD"),
        ("serviced", "OOSRV"),
        ("gated", "DSUPR"),
        ("returned", "RTNUN"),
        ("latched", "LTUNK"),
        ("released", "LTACK"),
    ];
    scene.stand(&states).await?;
    // Eight raises, the gate, four commands, three returns.
    scene.committed(16).await?;
    scene.plant.agent.kill().await?;
    scene.plant.restart_agent().await?;
    scene.stand(&states).await.context("after the kill")?;
    scene.link.set(LinkMode::Open);

    scene.backend.service.kill().await?;
    scene.backend.restart().await?;
    let body = json!({ "action": "acknowledge", "occurrence": 1, "comment": "on my way" });
    let again = scene.command("ack-acked", "acked", body).await?;
    assert_eq!((&again["state"], &again["repeated"]), (&json!("done"), &json!(true)), "{again}");

    scene.stand(&states).await.context("in the end")?;
    let journal = scene.journal().await?;
    assert_eq!(steps(&journal, "unack"), ["raised"]);
    assert_eq!(steps(&journal, "acked"), ["raised", "acknowledged"]);
    assert_eq!(steps(&journal, "shelved"), ["raised", "shelved"]);
    assert_eq!(steps(&journal, "serviced"), ["raised", "taken_out_of_service"]);
    assert_eq!(steps(&journal, "gated"), ["suppressed", "raised"]);
    assert_eq!(steps(&journal, "returned"), ["raised", "returned_to_normal"]);
    assert_eq!(steps(&journal, "latched"), ["raised", "returned_to_normal"]);
    assert_eq!(steps(&journal, "released"), ["raised", "acknowledged", "returned_to_normal"]);
    Ok(())
}

/// 12 s: the delay must be long beside a start of the agent on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn d2_a_delay_goes_on_where_it_was_when_the_agent_was_killed() -> Result<()> {
    let (delay, before) = (Duration::from_secs(6), Duration::from_millis(4_500));
    let alarm = above("slow", "coolant_temperature", json!({ "on_delay_ms": 6_000, "off_delay_ms": 6_000 }));
    let mut scene = Scene::set(vec![alarm]).await?;
    scene.plant.restart_agent().await?;
    scene.stand(&[]).await?;
    let began = Instant::now();
    scene.hold("coolant_temperature", 95.0).await?;
    tokio::time::sleep(before).await;
    scene.plant.agent.kill().await?;
    let ran = began.elapsed();
    // What passes without an agent does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = Instant::now();
    scene.plant.restart_agent().await?;
    let raised = scene.stand(&[("slow", "UNACK")]).await?;
    let total = ran + raised.duration_since(again);
    assert!(total >= delay, "raised after {total:?} of {delay:?}");
    assert!(total < delay + SLACK, "raised after {total:?}: the delay of {delay:?} began anew");
    assert_eq!(steps(&scene.journal().await?, "slow"), ["raised"]);
    Ok(())
}

/// 15 s: three timers of several seconds, each over a step.
#[tokio::test(flavor = "multi_thread")]
async fn d5_e2_a_step_of_the_wall_clock_moves_no_alarm_and_no_timer() -> Result<()> {
    let (tag, delay, shelf) = ("coolant_temperature", Duration::from_secs(3), Duration::from_secs(4));
    let slow = json!({ "on_delay_ms": 3_000, "off_delay_ms": 3_000 });
    let alarms =
        vec![above("slow", tag, slow), above("quick", tag, json!({})), above("shelved", tag, json!({}))];
    let mut scene = Scene::set(alarms).await?;
    let clock = FakeClock::over(&Programs::beside_this_one()?.edge_agent, scene.folder.path())?;
    scene.plant.restart_agent_with(&clock.environment()).await?;
    scene.connected().await?;
    scene.stand(&[]).await?;
    let in_time = |what: &str, took: Duration, length: Duration| {
        assert!(took >= length && took < length + SLACK, "{what} took {took:?} instead of {length:?}");
    };

    let body = json!({ "action": "shelve", "duration_s": shelf.as_secs(), "comment": "known" });
    let shelved_at = Instant::now();
    scene.command("shelve-1", "shelved", body).await?;
    let began = Instant::now();
    scene.hold(tag, 95.0).await?;
    scene.stand(&[("quick", "UNACK"), ("shelved", "SHLVD")]).await?;
    clock.set("+3600")?;
    let both = scene.stand(&[("slow", "UNACK"), ("quick", "UNACK"), ("shelved", "SHLVD")]).await?;
    in_time("the raise", both.duration_since(began), delay);
    let all = [("slow", "UNACK"), ("quick", "UNACK"), ("shelved", "UNACK")];
    in_time("the shelf", scene.stand(&all).await?.duration_since(shelved_at), shelf);

    let began = Instant::now();
    scene.release(tag).await?;
    scene.stand(&[("slow", "UNACK"), ("quick", "RTNUN"), ("shelved", "RTNUN")]).await?;
    clock.set("-3600")?;
    let all = [("slow", "RTNUN"), ("quick", "RTNUN"), ("shelved", "RTNUN")];
    in_time("the return", scene.stand(&all).await?.duration_since(began), delay);

    let journal = scene.journal().await?;
    for alarm in ["slow", "quick"] {
        assert_eq!(steps(&journal, alarm), ["raised", "returned_to_normal"]);
    }
    assert_eq!(
        steps(&journal, "shelved"),
        ["shelved", "raised", "shelve_expired", "returned_to_normal"],
        "{journal:?}"
    );
    Ok(())
}
