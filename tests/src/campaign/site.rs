//! A plant with everything that can be broken around it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::script::{Strike, WITH_BROKER};
use super::{Kind, Options};
use crate::broker::Broker;
use crate::factory::{Backend, Plant, PlantOptions, Programs};
use crate::injection::targets;
use crate::link::Link;
use crate::oracle::{judge, obligations, stored};

const NAMES: [(&str, &str); 3] = [("acme", "ACME"), ("borg", "Borg"), ("castle", "Castle")];

const MACHINES: [&str; 4] = ["mill-1", "press-1", "lathe-1", "furnace-1"];

/// More than a buffer of 64 MiB takes.
const DISK_MIB: u32 = 96;

/// What a broker with a fault does, and for how long it may: half of all messages at most, so that others pass.
const SWALLOW: &str =
    "up publish topic=up/telemetry chance=0.5 swallow\nup publish topic=up/alarm chance=0.5 swallow";
const DUPLICATE: &str = "up publish chance=0.5 duplicate\ndown publish chance=0.5 duplicate";
const REORDER: &str = "up publish chance=0.3 hold=2\ndown publish topic=/ack chance=0.5 delay=0..1500\n\
                       up publish chance=0.3 delay=0..800";
const CORRUPT: &str = "up publish topic=up/telemetry chance=0.3 corrupt";
const CUT: &str = "any publish chance=0.2 cut=before\ndown puback chance=0.2 cut=after";
const LIMITS: &str = "down connack receive_maximum=2\ndown connack maximum_packet_size=6000";

pub(super) struct Site {
    pub(super) plant: Plant,
    link: Link,
    broker: Option<Broker>,
    filler: PathBuf,
}

impl Site {
    /// Machine - agent - link - (broker) - backend.
    pub(super) async fn start(
        programs: &Programs,
        backend: &Backend,
        options: &Options,
        number: usize,
    ) -> Result<Self> {
        let (tenant, name) = NAMES[number];
        let seed = options.seed.wrapping_add(number as u64);
        let mut plant = PlantOptions::small(tenant, name, seed);
        let folder = options.data.join(tenant).join("edge-agent");
        if options.memory_disks {
            std::fs::create_dir_all(&folder)?;
            mount_memory(&folder)?;
        }
        let credentials = Plant::enrol(backend, &options.data, &plant).await?;
        let broker = match number == WITH_BROKER {
            true => Some(Broker::to(backend.state.mqtt, &credentials, seed).await?),
            false => None,
        };
        let behind = broker.as_ref().map_or(backend.state.mqtt, |broker| broker.address);
        let link = Link::with_seed(behind, seed).await?;
        plant.dial = Some(link.address);
        plant.ca_file = broker.as_ref().map(Broker::ca_file);
        let plant = Plant::start(programs, backend, &options.data, &plant).await?;
        Ok(Self { plant, link, broker, filler: folder.join("filler") })
    }

    /// Pushes a value over the limit of an alarm for half a second, so that alarms are on their way while faults last.
    pub(super) async fn alarm(&self, choice: usize) -> Result<()> {
        let targets = targets(&self.plant)?;
        let target = targets.get(choice % targets.len().max(1)).context("the plant has alarms")?;
        let body = json!({ "tag": target.tag, "value": target.value, "hold_ms": 500 });
        self.plant
            .simulator(Method::POST, &format!("/machines/{}/set", target.machine), Some(body))
            .await
            .map(drop)
    }

    pub(super) async fn make(&mut self, strike: &Strike) -> Result<()> {
        match strike.kind {
            Kind::AgentKill => self.plant.agent.kill().await,
            Kind::AgentRestart => self.plant.stop_agent().await.map(drop),
            Kind::AgentFreeze => self.plant.agent.suspend(),
            Kind::LinkCut => self.link.set_faults(json!({ "arrivals": "refuse" })).await,
            Kind::LinkReset => self.link.set_faults(json!({ "arrivals": "reset" })).await,
            Kind::LinkForget => self.link.forget().await,
            Kind::LinkHole => {
                self.link.set_faults(one_way_or_both(strike.choice, &json!({ "flow": "hole" }))).await
            }
            Kind::LinkThrottle => self.link.set_faults(both(&json!({ "bytes_per_s": 16_000 }))).await,
            Kind::LinkCorrupt => self.link.set_faults(both(&json!({ "flip_every": 3_000 }))).await,
            Kind::LinkDelay => {
                self.link.set_faults(both(&json!({ "delay_ms": 300, "jitter_ms": 400 }))).await
            }
            Kind::BrokerKill => self.broker()?.kill().await,
            Kind::BrokerSwallow => self.broker()?.set_rules(SWALLOW).await,
            Kind::BrokerDuplicate => self.broker()?.set_rules(DUPLICATE).await,
            Kind::BrokerReorder => self.broker()?.set_rules(REORDER).await,
            Kind::BrokerCorrupt => self.broker()?.set_rules(CORRUPT).await,
            Kind::BrokerCut => self.broker()?.set_rules(CUT).await,
            Kind::BrokerLimits => {
                self.broker()?.set_rules(LIMITS).await?;
                // Limits are told when a connection is made.
                self.broker()?.cut().await
            }
            Kind::MachineDead => self.machine(strike, &json!({ "mode": "refuse" })).await,
            Kind::MachineSlow => self.machine(strike, &json!({ "mode": "slow", "delay_ms": 700 })).await,
            Kind::DiskFull => fill(&self.filler),
            Kind::BackendKill | Kind::BackendFreeze => unreachable!("the backend is of no plant"),
        }
    }

    pub(super) async fn end(&mut self, strike: &Strike) -> Result<()> {
        match strike.kind {
            Kind::AgentKill | Kind::AgentRestart => self.plant.restart_agent().await,
            Kind::AgentFreeze => self.plant.agent.resume(),
            Kind::LinkForget => Ok(()),
            Kind::LinkCut
            | Kind::LinkReset
            | Kind::LinkHole
            | Kind::LinkThrottle
            | Kind::LinkCorrupt
            | Kind::LinkDelay => self.link.set_faults(json!({})).await,
            Kind::BrokerKill => self.broker()?.restart().await,
            Kind::BrokerLimits => {
                self.broker()?.set_rules("").await?;
                self.broker()?.cut().await
            }
            Kind::BrokerSwallow
            | Kind::BrokerDuplicate
            | Kind::BrokerReorder
            | Kind::BrokerCorrupt
            | Kind::BrokerCut => self.broker()?.set_rules("").await,
            Kind::MachineDead | Kind::MachineSlow => {
                self.machine(strike, &json!({ "mode": "healthy" })).await
            }
            Kind::DiskFull => std::fs::remove_file(&self.filler).context("the disk stays full"),
            Kind::BackendKill | Kind::BackendFreeze => unreachable!("the backend is of no plant"),
        }
    }

    fn broker(&mut self) -> Result<&mut Broker> {
        self.broker.as_mut().context("this plant has no broker")
    }

    async fn machine(&self, strike: &Strike, mode: &serde_json::Value) -> Result<()> {
        let machine = MACHINES[strike.choice % MACHINES.len()];
        let path = format!("/machines/{machine}/mode");
        self.plant.simulator(Method::POST, &path, Some(mode.clone())).await.map(drop)
    }

    /// Batches committed since the agent started.
    pub(super) async fn committed(&self) -> Result<i64> {
        let status = self.plant.status().await?;
        status["buffer"]["batches_committed"].as_i64().context("batches_committed")
    }

    /// Whether something is acknowledged that was committed after so many.
    pub(super) async fn has_delivered_beyond(&self, mark: i64) -> bool {
        let Ok(status) = self.plant.status().await else { return false };
        let number = |name: &str| status["buffer"][name].as_i64().unwrap_or(0);
        let is_connected = status["uplink"]["connected"] == true;
        is_connected && number("batches_committed") - number("backlog_batches") > mark
    }

    /// Stops the agent when all that it committed is stored; what it commits while it stops may need another start.
    pub(super) async fn deliver_all(&mut self, backend: &Backend, patience: Duration) -> Result<()> {
        let began = Instant::now();
        self.plant.simulator(Method::POST, "/pause", None).await?;
        loop {
            self.plant.stop_agent().await?;
            let owed = obligations(&self.plant.buffer())?;
            let Plant { tenant, gateway, state, .. } = &self.plant;
            let held = stored(&backend.data(), tenant, gateway, &state.epoch)?;
            if judge(&owed, &held).is_ok() || began.elapsed() > patience {
                return Ok(());
            }
            self.plant.restart_agent().await?;
            let mark = self.committed().await?;
            while !self.has_delivered_beyond(mark).await && began.elapsed() < patience {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn both(way: &serde_json::Value) -> serde_json::Value {
    json!({ "up": way, "down": way })
}

fn one_way_or_both(choice: usize, way: &serde_json::Value) -> serde_json::Value {
    match choice % 3 {
        0 => both(way),
        1 => json!({ "up": way }),
        _ => json!({ "down": way }),
    }
}

/// Mounts memory as a disk. The campaign runs in a namespace of its own, with which it goes.
fn mount_memory(on: &Path) -> Result<()> {
    let size = format!("size={DISK_MIB}m");
    let said = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(on).output()?;
    ensure!(
        said.status.success(),
        "no disk can be mounted here, go without --memory-disks: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

/// Takes every byte that is left on the disk.
fn fill(filler: &Path) -> Result<()> {
    let mut file = File::create(filler)?;
    let mut chunk = vec![b'x'; 1 << 20];
    while !chunk.is_empty() {
        if file.write_all(&chunk).is_err() {
            chunk.truncate(chunk.len() / 2);
        }
    }
    Ok(())
}
