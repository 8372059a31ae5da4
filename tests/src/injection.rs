//! Alarms made on purpose: a value is pushed over its limit in a simulated machine, and a subscriber of
//! the alarm stream notes when the transition arrives. Both instants come from one clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::factory::Plant;
use crate::process::until;

/// How long an injected value stays.
const HOLD: Duration = Duration::from_millis(1_500);

/// How long a transition may take before the alarm counts as missed.
const PATIENCE: Duration = Duration::from_secs(10);

type Key = (String, String, String);

/// When the first word of each occurrence arrived.
type Heard = HashMap<Key, BTreeMap<u64, i64>>;

/// Hears the alarm transitions of a tenant.
#[derive(Debug)]
pub struct Subscriber {
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Follows the live stream of a tenant, over and over.
    #[must_use]
    pub fn start(api: Api, tenant: String) -> Self {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let ours = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            loop {
                let followed = api.follow(&tenant, |event| {
                    if event.name == "alarm" {
                        let text = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
                        let key = (text("machine"), text("alarm"), text("cause"));
                        let mut heard = ours.lock().unwrap_or_else(PoisonError::into_inner);
                        let occurrence = event.data["occurrence"].as_u64().unwrap_or_default();
                        // The stored copy may come long after, when the next occurrence is waited for.
                        heard.entry(key).or_default().entry(occurrence).or_insert(event.arrived_at_us);
                    }
                });
                if followed.await.is_err() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        Self { heard, task }
    }

    /// When the first matching transition after `after_us` arrived.
    fn arrival(&self, machine: &str, alarm: &str, cause: &str, after_us: i64) -> Option<i64> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (machine.to_owned(), alarm.to_owned(), cause.to_owned());
        heard.get(&key)?.values().copied().find(|at| *at >= after_us)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An alarm that can be injected.
#[derive(Debug, Clone)]
pub struct Target {
    /// The machine.
    pub machine: String,
    /// The alarm of that machine.
    pub alarm: String,
    /// The tag it watches.
    pub tag: String,
    /// A value beyond the limit.
    pub value: f64,
}

/// The alarms of a plant, from the agent's own machine files.
///
/// # Errors
/// A file cannot be read.
pub fn targets(plant: &Plant) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    let folder = plant.config().join("machines.d");
    let mut files: Vec<_> = std::fs::read_dir(folder)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    for file in files {
        let machine: Value = toml::from_str(&std::fs::read_to_string(file)?)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for alarm in machine["alarms"].as_array().into_iter().flatten() {
            let limit = alarm["limit"].as_f64().context("an alarm has a limit")?;
            let step = alarm["deadband"].as_f64().unwrap_or(0.0).max(1.0) * 2.0;
            let upper = text(&alarm["kind"]).starts_with("high");
            found.push(Target {
                machine: text(&machine["id"]),
                alarm: text(&alarm["id"]),
                tag: text(&alarm["tag"]),
                value: if upper { limit + step } else { limit - step },
            });
        }
    }
    Ok(found)
}

/// What became of an injected alarm.
#[derive(Debug, Clone, Copy)]
pub struct Injected {
    /// From the change in the machine to the transition at the subscriber; `None` if it never came.
    pub latency_ms: Option<f64>,
}

/// Pushes one value over its limit, waits for the transition and for the return to normal.
///
/// # Errors
/// The simulator refuses.
pub async fn inject(plant: &Plant, subscriber: &Subscriber, target: &Target) -> Result<Injected> {
    let Target { machine, alarm, tag, value } = target;
    let hold = u64::try_from(HOLD.as_millis())?;
    let body = json!({ "tag": tag, "value": value, "hold_ms": hold });
    let answer = plant.simulator(Method::POST, &format!("/machines/{machine}/set"), Some(body)).await?;
    let at_us = answer["at_us"].as_i64().context("the simulator names the instant")?;
    let raised =
        until("the alarm", PATIENCE, || async { subscriber.arrival(machine, alarm, "raised", at_us) });
    let Ok(arrived) = raised.await else { return Ok(Injected { latency_ms: None }) };
    let back = || async { subscriber.arrival(machine, alarm, "returned_to_normal", arrived) };
    let patience = HOLD + PATIENCE;
    // A return that does not come shows as a missed alarm at the next injection.
    let _ = until("the return to normal", patience, back).await;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds in microseconds")]
    let latency_ms = (arrived - at_us) as f64 / 1_000.0;
    Ok(Injected { latency_ms: Some(latency_ms) })
}
