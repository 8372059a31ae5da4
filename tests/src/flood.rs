//! A flood of alarms: many alarms at one tag of a machine, so that one change of a value moves them all.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::factory::Plant;
use crate::injection::Target;
use crate::steps::Lane;

/// A value stays beyond the limits this long, and as long within them: far longer than a poll may be late.
const HOLD: Duration = Duration::from_secs(1);

/// One change and back of a machine.
pub const PERIOD: Duration = Duration::from_secs(2);

/// A machine all of whose alarms move together.
#[derive(Debug)]
pub struct Source {
    target: Target,
    alarms: usize,
    steps: u64,
}

impl Source {
    /// Gives a machine `alarms` alarms like that of the target, by its file. The agent must not run.
    ///
    /// # Errors
    /// The file is not as it should be.
    pub fn prepare(plant: &Plant, target: Target, alarms: usize) -> Result<Self> {
        let path = plant.config().join("machines.d").join(format!("{}.toml", target.machine));
        let mut file: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        let all = file.get_mut("alarms").and_then(toml::Value::as_array_mut).context("alarms")?;
        let model = all.iter().find(|a| a["id"].as_str() == Some(&target.alarm)).cloned();
        let model = model.context("the alarm of the target")?;
        for number in 1..alarms {
            let mut copy = model.clone();
            copy["id"] = name(&target, number).into();
            all.push(copy);
        }
        std::fs::write(&path, toml::to_string(&file)?)?;
        Ok(Self { target, alarms, steps: 0 })
    }

    /// What must be there of it.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        let lane = |number| {
            let alarm = name(&self.target, number);
            Lane { target: Target { alarm, ..self.target.clone() }, steps: self.steps }
        };
        (0..self.alarms).map(lane).collect()
    }

    /// Transitions that it has caused.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.steps * 2 * self.alarms as u64
    }
}

/// The alarm itself, then its copies.
fn name(target: &Target, number: usize) -> String {
    if number == 0 { target.alarm.clone() } else { format!("{}_{number}", target.alarm) }
}

/// Moves all sources `rounds` times, each at its own phase of the period. When this returns the last change is back.
///
/// # Errors
/// The simulator refuses.
pub async fn run(plant: &Plant, sources: &mut [Source], rounds: u32) -> Result<()> {
    let (begun, count) = (Instant::now(), u32::try_from(sources.len())?);
    let each = (0..).zip(sources).map(|(number, source)| async move {
        for round in 0..rounds {
            tokio::time::sleep_until(begun + PERIOD * round + PERIOD * number / count).await;
            source.steps += 1;
            let Target { machine, tag, value, .. } = &source.target;
            let body = json!({ "tag": tag, "value": value, "hold_ms": u64::try_from(HOLD.as_millis())? });
            plant.simulator(Method::POST, &format!("/machines/{machine}/set"), Some(body)).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(each).await?;
    tokio::time::sleep(HOLD).await;
    Ok(())
}
