//! What a broker may do to messages: forget what it acknowledged, lose sessions, reorder, double, limit, throw out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use factory_tests::api::local;
use factory_tests::broker::Broker;
use factory_tests::factory::{AgentState, Programs};
use factory_tests::injection::{Subscriber, inject, targets};
use factory_tests::oracle::samples;
use factory_tests::process::{Service, until};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::scene::{PATIENCE, Scene, holds_hoard, number, with_broker, with_link};
use crate::small_plant;

/// Waits until the broker has used its rule so often.
async fn fired(broker: &Broker, times: u64) -> Result<()> {
    let look = || async { broker.fired(0).await.ok().filter(|n| *n >= times) };
    until("the broker has done what it should", PATIENCE, look).await.map(drop)
}

async fn delivered(scene: &Scene) -> Result<()> {
    delivered_within(scene, PATIENCE).await
}

async fn delivered_within(scene: &Scene, patience: Duration) -> Result<()> {
    let look = || async {
        let status = scene.plant.status().await.ok()?;
        (status["uplink"]["connected"] == true && number(&status, "/buffer/backlog_batches") < 5)
            .then_some(())
    };
    until("the backlog is delivered", patience, look).await
}

/// 5,000 samples are acknowledged by the broker and lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a3_a_broker_killed_with_thousands_of_acknowledged_samples_loses_nothing() -> Result<()> {
    let (mut scene, mut broker) = with_broker(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    let hoard = scene.hoard(50, 100)?;
    broker.set_rules("up publish topic=up/telemetry swallow\nup publish topic=up/alarm swallow").await?;
    scene.plant.restart_agent().await?;
    // A window of four batches of a thousand, and again when no acknowledgement came.
    fired(&broker, 5).await?;
    broker.kill().await?;
    broker.restart().await?;
    delivered(&scene).await?;
    scene.the_ledger_adds_up().await?;
    scene.settle().await?;
    holds_hoard(&scene.held()?, &hoard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_a_session_lost_with_a_full_window_is_no_reason_to_stop_for_five_seconds() -> Result<()> {
    let (mut scene, broker) = with_broker(small_plant()).await?;
    scene.progress().await?;
    // The second lies: a client that asked for a clean start has no session.
    for present in [0, 1] {
        broker
            .set_rules("up publish topic=up/telemetry drop\ndown puback drop\ndown publish topic=/ack drop")
            .await?;
        fired(&broker, 4).await?;
        let mark = number(&scene.plant.status().await?, "/uplink/connects");
        broker.set_rules(&format!("down connack session_present={present}")).await?;
        broker.cut().await?;
        let began = Instant::now();
        scene.until("/uplink/connects", |n| n > mark).await?;
        scene.progress().await?;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?} with session_present={present}",
            began.elapsed()
        );
    }
    scene.settle().await
}

/// Delays of 0 to 2 s instead of 5, and a tenth of the acknowledgements lost. What is lost or held behind the last message
/// of a window stops the gateway for 10 s; that may happen eight times.
#[tokio::test(flavor = "multi_thread")]
async fn a12_late_doubled_and_overtaken_messages_in_a_drain_store_no_row_twice() -> Result<()> {
    let (mut scene, broker) = with_broker(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    let hoard = scene.hoard(30, 50)?;
    broker
        .set_rules(
            "down publish topic=/ack skip=6 chance=0.1 times=3 drop\ndown publish topic=/ack chance=0.7 delay=0..2000\n\
             up publish topic=up/telemetry chance=0.2 duplicate\nup publish topic=up/telemetry chance=0.3 times=5 hold=2",
        )
        .await?;
    scene.plant.restart_agent().await?;
    delivered_within(&scene, 3 * PATIENCE).await?;
    broker.set_rules("").await?;
    scene.progress().await?;
    scene.the_ledger_adds_up().await?;
    scene.settle().await?;
    holds_hoard(&scene.held()?, &hoard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_a_broker_with_a_small_packet_size_and_window_gets_parts_and_no_batch_blocks() -> Result<()> {
    let (mut scene, broker) = with_broker(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    // Batches of about 8 KB.
    let hoard = scene.hoard(6, 100)?;
    broker.set_rules("down connack receive_maximum=3\ndown connack maximum_packet_size=6000").await?;
    scene.plant.restart_agent().await?;
    delivered(&scene).await?;
    scene.progress().await?;
    let status = scene.plant.status().await?;
    assert!(number(&status, "/buffer/batches_divided") >= 6, "{}", status["buffer"]);
    scene.plant.stop_agent().await?;
    let held = scene.held()?;
    assert!(held.values().all(|message| message.len() < 6_000));
    let mut found = samples(&held)?;
    for (series, wanted) in &hoard {
        // Parts may come behind what was committed meanwhile, but each sample comes once.
        let mut found: Vec<String> =
            found.remove(series).context("the series")?.iter().map(|s| format!("{:?}", s.value)).collect();
        let mut wanted: Vec<String> =
            wanted.iter().map(|n| format!("{:?}", Some(plant_model::Value::Float(*n)))).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    }
    Ok(())
}

/// Ten samples of the same instant, and hundreds of such instants in one array: all are there in the end, by the
/// agent, the wire and the store (A16; the agent's side of IN-5).
#[tokio::test(flavor = "multi_thread")]
async fn a16_samples_of_the_same_instant_arrive_all_and_in_order() -> Result<()> {
    let (mut scene, _link) = with_link(small_plant()).await?;
    scene.plant.stop_agent().await?;
    let hoard = scene.hoard(4, 500)?;
    scene.plant.restart_agent().await?;
    delivered(&scene).await?;
    scene.settle().await?;
    holds_hoard(&scene.held()?, &hoard)
}

/// A copy of the gateway's disk in another place.
fn copied(scene: &Scene) -> Result<PathBuf> {
    let (config, copy) = (scene.plant.config(), scene.folder.path().join("clone"));
    let done = std::process::Command::new("cp").arg("-a").arg(&config).arg(&copy).status()?;
    anyhow::ensure!(done.success(), "cp ended with {done}");
    let agent = std::fs::read_to_string(copy.join("agent.toml"))?;
    std::fs::write(copy.join("agent.toml"), agent.replace(text(&config)?, text(&copy)?))?;
    Ok(copy)
}

/// A second gateway that is a copy of the first.
async fn clone_of(copy: &Path) -> Result<(Service, AgentState)> {
    let state_file = copy.join("clone.json");
    let arguments = ["run", "--config", text(copy)?, "--state-file", text(&state_file)?];
    let program = Programs::beside_this_one()?.edge_agent;
    let mut service = Service::spawn("edge-agent", &program, &arguments, &copy.join("clone.log"))?;
    let state = service.wait_for_state(&state_file, PATIENCE).await?;
    Ok((service, state))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is text")
}

/// Why the last connection of an agent ended, if it says this.
async fn complaint(address: SocketAddr, part: &str) -> Option<String> {
    let status = local(Method::GET, address, "/status", None).await.ok()?;
    status["uplink"]["last_error"].as_str().filter(|error| error.contains(part)).map(str::to_owned)
}

/// Eight seconds are enough to see that nobody comes back within them.
#[tokio::test(flavor = "multi_thread")]
async fn a15_two_gateways_with_one_identity_do_not_fight_say_so_and_mix_nothing() -> Result<()> {
    let (mut scene, link) = with_link(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    let copy = copied(&scene)?;
    // The original goes on and delivers more than the copy holds.
    scene.plant.restart_agent().await?;
    scene.progress().await?;
    let (mut clone, state) = clone_of(&copy).await?;
    assert_eq!(state.epoch, scene.plant.state.epoch, "a copied disk");
    let original = scene.plant.state.status;
    until("the original says so", PATIENCE, || complaint(original, "took over (0x8E)")).await?;
    until("the clone says so", PATIENCE, || complaint(state.status, "copy of an older one")).await?;
    let connections = || async { anyhow::Ok(link.overview().await?["stats"]["connections_total"].clone()) };
    let before = connections().await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(connections().await?, before, "one of them came back and threw the other out");
    assert!(clone.terminate(PATIENCE).await?.success());
    scene.plant.stop_agent().await?;
    scene.plant.restart_agent().await?;
    scene.progress().await?;
    scene.settle().await
}

/// Two copies of one buffer gather different batches under the same numbers; what one delivers is not taken for the
/// other's.
#[tokio::test(flavor = "multi_thread")]
async fn a15_what_a_gateway_holds_does_not_count_as_delivered_because_a_copy_of_it_delivered() -> Result<()> {
    const HELD: u32 = 40;
    let (mut scene, _link) = with_link(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    let copy = copied(&scene)?;
    scene.hoard(HELD, 100)?;
    let (mut clone, state) = clone_of(&copy).await?;
    let delivered = || async {
        let status = local(Method::GET, state.status, "/status", None).await.ok()?;
        let (sent, left) =
            (number(&status, "/uplink/batches_sent"), number(&status, "/buffer/backlog_batches"));
        (sent > 5 && left == 0).then_some(())
    };
    until("the clone delivers", PATIENCE, delivered).await?;
    assert!(clone.terminate(PATIENCE).await?.success());

    let stored = scene.held()?.len();
    scene.plant.restart_agent().await?;
    let original = scene.plant.state.status;
    let told =
        until("the original says so", PATIENCE, || complaint(original, "is another one at the backend"))
            .await?;
    assert!(told.contains("buffer export"), "{told}");
    let status = scene.plant.status().await?;
    assert!(
        number(&status, "/buffer/backlog_batches") >= i64::from(HELD),
        "nothing is freed: {}",
        status["buffer"]
    );
    assert_eq!(scene.held()?.len(), stored, "and nothing is mixed in");
    Ok(())
}

/// A link of 256 kbit/s. Half a million samples stand for 72 h: the drain lasts longer than the test looks at it.
#[tokio::test(flavor = "multi_thread")]
async fn a11_alarms_are_seen_within_two_seconds_while_a_backlog_drains_over_a_slow_link() -> Result<()> {
    let (mut scene, link) = with_link(small_plant()).await?;
    scene.progress().await?;
    scene.plant.stop_agent().await?;
    let hoard = scene.hoard(500, 100)?;
    let slow = json!({ "bytes_per_s": 32_000 });
    link.set_faults(json!({ "up": slow, "down": slow })).await?;
    scene.plant.restart_agent().await?;
    scene.progress_of_the_drain().await?;
    let rss_before = scene.agent_rss()?;
    let subscriber = Subscriber::start(scene.api.clone(), scene.plant.tenant.clone());
    let mut latencies = Vec::new();
    for target in targets(&scene.plant)?.iter().take(6) {
        let injected = inject(&scene.plant, &subscriber, target).await?;
        latencies.push(injected.latency_ms.with_context(|| format!("{target:?} was not heard"))?);
    }
    let status = scene.plant.status().await?;
    assert!(number(&status, "/buffer/backlog_batches") > 20, "the drain goes on: {}", status["buffer"]);
    assert!(latencies.iter().all(|ms| *ms < 2_000.0), "{latencies:?} ms");
    let grown = scene.agent_rss()? - rss_before;
    assert!(grown < 16.0, "{grown} MiB more");
    link.set_faults(json!({})).await?;
    delivered(&scene).await?;
    scene.settle().await?;
    holds_hoard(&scene.held()?, &hoard)
}

impl Scene {
    /// Waits until the drain has begun.
    async fn progress_of_the_drain(&self) -> Result<()> {
        self.until("/uplink/batches_sent", |n| n > 5).await
    }

    fn agent_rss(&self) -> Result<f64> {
        let pid = self.plant.agent.pid().context("it runs")?;
        Ok(factory_tests::usage::Usage::of(pid).context("it runs")?.rss_mib)
    }
}
