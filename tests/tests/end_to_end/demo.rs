//! The demo keeps its word: books from independent counts, every injected alarm heard in time.

use anyhow::{Context, Result};
use factory_tests::factory::{Backend, Plant, PlantOptions, Programs};
use factory_tests::process::output;
use serde_json::{Value, json};

use crate::{any_port, small_plant};

#[tokio::test(flavor = "multi_thread")]
async fn a_short_demo_of_one_plant_loses_nothing_and_hears_every_alarm() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let demo = programs.cloud_backend.with_file_name("factory-demo");
    let (data, summary) = (folder.path().join("data"), folder.path().join("summary.json"));
    let arguments = [
        "--plants",
        "1",
        "--duration",
        "15s",
        "--data",
        data.to_str().context("text")?,
        "--summary",
        summary.to_str().context("text")?,
    ];
    output(&demo, &arguments).await?;
    let books: Value = serde_json::from_slice(&std::fs::read(&summary)?)?;
    assert_eq!((books["plants"].as_u64(), books["machines"].as_u64()), (Some(1), Some(15)), "{books:#}");
    let samples = &books["samples"];
    assert!(samples["produced"].as_u64().context("produced")? > 2_000, "{books:#}");
    assert_eq!((samples["lost"].as_u64(), samples["duplicate"].as_u64()), (Some(0), Some(0)), "{books:#}");
    let alarms = &books["alarms"];
    assert!(alarms["injected"].as_u64().context("injected")? >= 10, "{books:#}");
    assert_eq!(alarms["missed"].as_u64(), Some(0), "{books:#}");
    for figure in ["/agent/rss_mib", "/backend/rss_mib", "/wire_bytes_per_sample", "/alarms/latency_ms/p99"] {
        assert!(
            books.pointer(figure).and_then(Value::as_f64).is_some_and(|n| n > 0.0),
            "{figure} of {books:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_of_the_demo_passes_check_without_a_warning() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = Programs::beside_this_one()?;
    let backend = Backend::start(&programs, &folder.path().join("backend"), any_port(), any_port()).await?;
    // The simulator's own example, as each plant of the demo has it.
    let options = PlantOptions { plant_file: None, ..small_plant() };
    let plant = Plant::start(&programs, &backend, folder.path(), &options).await?;
    let config = plant.config();
    let check = ["check", "--json", "--config", config.to_str().context("text")?];
    let physics: Value = serde_json::from_slice(&output(&programs.edge_agent, &check).await?)?;
    assert_eq!(
        physics["machines"].as_array().map(Vec::len),
        Some(15 + 1),
        "and the gateway itself: {physics:#}"
    );
    assert!(physics["alarms"].as_array().is_some_and(|alarms| alarms.len() >= 15), "{physics:#}");
    assert_eq!(physics["findings"], json!([]));
    Ok(())
}
