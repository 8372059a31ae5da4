//! `cargo xtask demo`: builds what is missing, then runs `factory-demo`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::dashboard::{self, Missing};
use crate::step::{cargo, root, say};

/// Arguments of the demo; they are handed on.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many plants, each with its own tenant, 15 machines and one agent.
    #[arg(long, default_value_t = 3)]
    plants: u16,
    /// Stop by itself after this time, for example 60s or 5m; alarms are injected meanwhile.
    #[arg(long)]
    duration: Option<String>,
    /// Write the figures of the run here, as JSON.
    #[arg(long)]
    summary: Option<PathBuf>,
    /// Port of the dashboard; a free one is taken when not given.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep everything here and carry on with it next time; without it each run begins anew.
    #[arg(long)]
    data: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    dashboard::build(Missing::Tolerate)?;
    let what = "building agents, backend and simulators in release mode (the first time takes some minutes)";
    crate::step::run(
        what,
        cargo()
            .args([
                "build",
                "--release",
                "--bins",
                "-p",
                "edge-agent",
                "-p",
                "cloud-backend",
                "-p",
                "simulators",
            ])
            .args(["-p", "factory-tests"]),
    )?;
    let data = match &arguments.data {
        Some(folder) => folder.clone(),
        None => fresh_folder()?,
    };
    say(&format!("everything of this run, logs included, is in {}", data.display()));
    let mut demo = Command::new(root().join("target/release/factory-demo"));
    demo.args(["--plants", &arguments.plants.to_string(), "--port", &arguments.port.to_string()]);
    demo.arg("--data").arg(data);
    if let Some(duration) = &arguments.duration {
        demo.args(["--duration", duration]);
    }
    if let Some(summary) = &arguments.summary {
        demo.arg("--summary").arg(summary);
    }
    // In our place, so that Ctrl-C and the exit code are its own.
    Err(demo.exec()).context("cannot start factory-demo")
}

fn fresh_folder() -> Result<PathBuf> {
    let folder = root().join("demo-data");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot clear {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(folder),
    }
}
