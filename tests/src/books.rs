//! The books of a run: what was produced, by the machines' own count; what arrived, by the store's.

use std::collections::HashSet;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::api::Api;
use crate::factory::Plant;

/// The gateway's own entry among its machines.
pub const GATEWAY: &str = "gateway";

/// Samples, counted independently at each end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SampleBooks {
    /// Scheduled reads of polled tags, and notifications owed by OPC UA servers.
    pub produced: u64,
    /// Values that the agent's drivers received.
    pub acquired: u64,
    /// Values that the API returns for all tags over the whole run.
    pub stored: u64,
    /// Stored values that repeat the tag and time of another one.
    pub duplicate: u64,
    /// Produced and not stored.
    pub lost: u64,
}

impl SampleBooks {
    /// The sum of two books.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            produced: self.produced + other.produced,
            acquired: self.acquired + other.acquired,
            stored: self.stored + other.stored,
            duplicate: self.duplicate + other.duplicate,
            lost: self.lost + other.lost,
        }
    }
}

/// Settles the books of a plant whose machines were paused and whose agent has stopped, leaving
/// `stopped` behind. The run lay between the two instants, in microseconds since 1970.
///
/// # Errors
/// A part does not answer.
pub async fn settle(
    plant: &Plant,
    api: &Api,
    stopped: &Value,
    from_us: i64,
    to_us: i64,
) -> Result<SampleBooks> {
    let machines = stopped["machines"].as_array().context("the agent's books list machines")?;
    let sum = |protocol: &str, field: &str| -> u64 {
        let ours = machines.iter().filter(|m| m["protocol"] == protocol);
        ours.filter_map(|m| m[field].as_u64()).sum()
    };
    let simulator = plant.simulator(Method::GET, "/summary", None).await?;
    let due = simulator["opcua"]["notifications_due"].as_u64().context("notifications_due")?;
    let produced = sum("modbus-tcp", "scheduled_samples") + due;
    let acquired = sum("modbus-tcp", "acquired_samples") + sum("opcua", "acquired_samples");
    let (stored, duplicate) = count_stored(plant, api, from_us, to_us).await?;
    let lost = produced.saturating_sub(stored - duplicate);
    Ok(SampleBooks { produced, acquired, stored, duplicate, lost })
}

/// Reads every value of every tag back through the API, in windows.
async fn count_stored(plant: &Plant, api: &Api, from_us: i64, to_us: i64) -> Result<(u64, u64)> {
    const WINDOW_US: i64 = 300_000_000;
    let (tenant, gateway) = (&plant.tenant, &plant.gateway);
    let (mut stored, mut duplicate) = (0, 0);
    for machine in api.items(&format!("/tenants/{tenant}/machines")).await? {
        let id = machine["id"].as_str().context("a machine has an id")?;
        // What the gateway measures of itself no machine has produced.
        if id == GATEWAY {
            continue;
        }
        let base = format!("/tenants/{tenant}/gateways/{gateway}/machines/{id}");
        let detail = api.get(&base).await?;
        let tags: Vec<&str> =
            detail["tags"].as_array().into_iter().flatten().filter_map(|t| t["id"].as_str()).collect();
        let query: String = tags.iter().map(|t| format!("&tag={t}")).collect();
        let mut start = from_us;
        while start < to_us {
            let end = (start + WINDOW_US).min(to_us);
            let path = format!("{base}/samples?start={}&end={}{query}", rfc3339(start), rfc3339(end));
            let (all, repeated) = count_window(&api.get(&path).await?)?;
            stored += all;
            duplicate += repeated;
            start = end;
        }
    }
    Ok((stored, duplicate))
}

fn count_window(answer: &Value) -> Result<(u64, u64)> {
    anyhow::ensure!(answer["truncated"] != true, "the window is too large to be counted");
    let (mut stored, mut duplicate) = (0, 0);
    for series in answer["series"].as_array().context("series")? {
        let mut seen = HashSet::new();
        let times = series["times"].as_array().context("times")?;
        let values = series["values"].as_array().context("values")?;
        for (time, value) in times.iter().zip(values) {
            // A bad sample says that there is no value; it is not one that a machine produced.
            if value.is_null() {
                continue;
            }
            stored += 1;
            // A machine may change twice within a millisecond; the same value twice is a duplicate.
            if !seen.insert((time.to_string(), value.to_string())) {
                duplicate += 1;
            }
        }
    }
    Ok((stored, duplicate))
}

/// An instant as the API wants it.
#[must_use]
pub fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).unwrap_or_default().to_string()
}
