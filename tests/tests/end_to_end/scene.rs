//! A small factory with something breakable between agent and backend, and a backlog made beforehand.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_store::{EdgeStore, Settings};
use factory_tests::api::{Api, now_us};
use factory_tests::broker::Broker;
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs, add_user};
use factory_tests::link::Link;
use factory_tests::oracle::{Batches, judge, obligations, samples, stored};
use factory_tests::process::until;
use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{BatchBody, SeriesId, SeriesSamples};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::any_port;

/// Longer than silence is borne (25 s) and a back-off takes (10 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A plant, its backend and the books of both.
pub(crate) struct Scene {
    pub(crate) backend: Backend,
    pub(crate) plant: Plant,
    pub(crate) api: Api,
    pub(crate) folder: TempDir,
}

/// A link between the two.
pub(crate) async fn with_link(mut options: PlantOptions) -> Result<(Scene, Link)> {
    let (folder, programs, backend) = backend().await?;
    let link = Link::to(backend.state.mqtt).await?;
    options.dial = Some(link.address);
    let plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    Ok((Scene::new(folder, backend, plant).await?, link))
}

/// A broker between the two.
pub(crate) async fn with_broker(mut options: PlantOptions) -> Result<(Scene, Broker)> {
    let (folder, programs, backend) = backend().await?;
    let credentials = Plant::enrol(&backend, folder.path(), &options).await?;
    let broker = Broker::to(backend.state.mqtt, &credentials, 1).await?;
    (options.dial, options.ca_file) = (Some(broker.address), Some(broker.ca_file()));
    let plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    Ok((Scene::new(folder, backend, plant).await?, broker))
}

async fn backend() -> Result<(TempDir, Programs, Backend)> {
    let (folder, programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    Ok((folder, programs, backend))
}

impl Scene {
    async fn new(folder: TempDir, backend: Backend, plant: Plant) -> Result<Self> {
        let account = add_user(&backend, "operator", &["--platform-operator"]).await?;
        let api = plant.sign_in(&backend, &account).await?;
        Ok(Self { backend, plant, api, folder })
    }

    /// What the backend stored of the gateway's epoch.
    pub(crate) fn held(&self) -> Result<Batches> {
        let Plant { tenant, gateway, state, .. } = &self.plant;
        stored(&self.backend.data(), tenant, gateway, &state.epoch)
    }

    /// Waits until something is acknowledged that is committed after now.
    pub(crate) async fn progress(&self) -> Result<()> {
        let status = self.plant.status().await?;
        let mark = number(&status, "/buffer/batches_committed");
        let beyond = || async {
            let status = self.plant.status().await.ok()?;
            let waiting = number(&status, "/buffer/backlog_batches");
            let is_new = number(&status, "/buffer/batches_committed") - waiting > mark;
            (status["uplink"]["connected"] == true && is_new).then_some(())
        };
        until("something new is acknowledged", PATIENCE, beyond).await
    }

    /// Waits until the agent says so of a number of its status.
    pub(crate) async fn until(&self, pointer: &str, holds: impl Fn(i64) -> bool) -> Result<()> {
        let look = || async { Some(number(&self.plant.status().await.ok()?, pointer)).filter(|n| holds(*n)) };
        until(pointer, PATIENCE, look).await.map(drop)
    }

    /// `received = stored + duplicate + rejected`, for every stream.
    pub(crate) async fn the_ledger_adds_up(&self) -> Result<()> {
        for row in self.api.items(&format!("/tenants/{}/ledger", self.plant.tenant)).await? {
            let number = |field: &str| row[field].as_u64().unwrap_or(u64::MAX);
            let rejected: u64 =
                row["rejected"].as_array().into_iter().flatten().filter_map(|r| r["count"].as_u64()).sum();
            assert_eq!(number("received"), number("stored") + number("duplicate") + rejected, "{row}");
        }
        Ok(())
    }

    /// Stops the agent as asked and holds the store against what it committed: each batch once, and nothing else.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        self.plant.stop_agent().await?;
        judge(&obligations(&self.plant.buffer())?, &self.held()?)
    }

    /// Puts a backlog into the buffer of the stopped agent, as it would have recorded it: `batches` of ten series with
    /// `per_series` samples each, which do not compress well.
    pub(crate) fn hoard(&self, batches: u32, per_series: u32) -> Result<Hoard> {
        hoard(&self.plant.buffer(), batches, per_series)
    }
}

/// A number of a status.
pub(crate) fn number(status: &Json, pointer: &str) -> i64 {
    status.pointer(pointer).and_then(Json::as_i64).unwrap_or(-1)
}

/// Samples that a test has put into a buffer: of each series their values, in order.
pub(crate) type Hoard = BTreeMap<SeriesId, Vec<f64>>;

/// Far above the numbers that the agent has given to the tags of its few machines.
const FIRST_SERIES: u32 = 10_000;

fn hoard(buffer: &Path, batches: u32, per_series: u32) -> Result<Hoard> {
    let mut store = EdgeStore::open(Settings { bytes_max: 64 << 20, ..Settings::new(buffer) }, now())?.store;
    let (mut hoard, start) = (Hoard::new(), now_us() - 3_600_000_000);
    for batch in 0..batches {
        let series = |place: u32| {
            let numbers = batch * per_series..(batch + 1) * per_series;
            // Ten samples share each instant: none of them may be taken for another.
            let sample = |n: u32| Sample {
                value: Some(Value::Float(value(place, n))),
                quality: Quality::GOOD,
                source_timestamp: None,
                gateway_timestamp: Timestamp::from_micros(start + i64::from(n / 10) * 10_000),
            };
            SeriesSamples { series: SeriesId(FIRST_SERIES + place), samples: numbers.map(sample).collect() }
        };
        store.commit(&BatchBody::Samples((0..10).map(series).collect()), now())?;
    }
    for place in 0..10 {
        hoard.insert(
            SeriesId(FIRST_SERIES + place),
            (0..batches * per_series).map(|n| value(place, n)).collect(),
        );
    }
    Ok(hoard)
}

fn value(place: u32, n: u32) -> f64 {
    (f64::from(n) * f64::from(place + 1)).sin()
}

fn now() -> Timestamp {
    Timestamp::from_micros(now_us())
}

/// Each sample of the hoard is in these batches exactly once, in its order.
pub(crate) fn holds_hoard(held: &Batches, hoard: &Hoard) -> Result<()> {
    let rows = samples(held)?;
    for (series, wanted) in hoard {
        let found: Vec<f64> =
            rows.get(series).context("the series is there")?.iter().filter_map(float).collect();
        anyhow::ensure!(found == *wanted, "series {series:?}: {} of {} samples", found.len(), wanted.len());
    }
    Ok(())
}

fn float(sample: &Sample) -> Option<f64> {
    match sample.value {
        Some(Value::Float(number)) => Some(number),
        Some(Value::Bool(_) | Value::Int(_) | Value::Text(_)) | None => None,
    }
}
