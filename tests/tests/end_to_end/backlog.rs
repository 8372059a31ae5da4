//! A backlog without waiting for it: batches committed to an agent's buffer by the store's own code, while the agent
//! does not run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_store::{EdgeStore, Settings};
use factory_tests::api::now_us;
use factory_tests::factory::Plant;
use plant_model::{MachineId, Quality, Sample, TagId, Timestamp, Value};
use protocol::{BatchBody, SeriesId, SeriesSamples};

/// What a batch of the backlog says of time: a sample of each tag every so often.
const SAMPLING: Duration = Duration::from_secs(1);

/// Commits `batches` of `samples` each, of the machines and tags that the agent is configured to read, from as long
/// ago as it takes to now. Answers how many samples that are.
pub(crate) fn fill(plant: &Plant, batches: usize, samples: usize) -> Result<u64> {
    let now = Timestamp::from_micros(now_us());
    let settings = Settings { bytes_max: 64 << 20, ..Settings::new(plant.buffer()) };
    let mut store = EdgeStore::open(settings, now)?.store;
    while store.grow()? {}
    let series = series(&mut store, &plant.config().join("machines.d"), now)?;
    let rows = samples.div_ceil(series.len());
    let step = i64::try_from(SAMPLING.as_micros())?;
    let mut at_us = now.micros() - step * i64::try_from(batches * rows)?;
    let mut committed = 0;
    for _ in 0..batches {
        let mut left = samples;
        let blocks = series.iter().map(|series| {
            let count = rows.min(left);
            left -= count;
            SeriesSamples { series: *series, samples: row(*series, at_us, step, count) }
        });
        let body = BatchBody::Samples(blocks.filter(|block| !block.samples.is_empty()).collect());
        committed += u64::try_from(body.count())?;
        store.commit(&body, now)?;
        at_us += step * i64::try_from(rows)?;
    }
    store.flush()?;
    Ok(committed)
}

/// Values that move a little, each series in its own way.
fn row(series: SeriesId, from_us: i64, step_us: i64, count: usize) -> Vec<Sample> {
    let sample = |at_us: i64| {
        let phase = (at_us / step_us + i64::from(series.0) * 37).rem_euclid(600);
        let value = f64::from(i32::try_from(phase).unwrap_or(0) / 7) / 10.0;
        Sample {
            value: Some(Value::Float(value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(at_us).to_whole_millis(),
        }
    };
    (0..).map(|n| from_us + n * step_us).take(count).map(sample).collect()
}

fn series(store: &mut EdgeStore, machines: &Path, now: Timestamp) -> Result<Vec<SeriesId>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(machines)? {
        let file: toml::Table = std::fs::read_to_string(entry?.path())?.parse()?;
        let id = |value: Option<&toml::Value>| value.and_then(toml::Value::as_str).map(str::to_owned);
        let machine = MachineId::new(&id(file.get("id")).context("the machine has an id")?)?;
        let tags = file.get("tags").and_then(toml::Value::as_array).context("the machine has tags")?;
        let tags: Vec<TagId> = tags
            .iter()
            .map(|tag| Ok(TagId::new(&id(tag.get("id")).context("the tag has an id")?)?))
            .collect::<Result<_>>()?;
        all.extend(store.series(&machine, &tags, now)?);
    }
    Ok(all)
}
