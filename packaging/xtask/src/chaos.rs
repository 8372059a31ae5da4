//! `cargo xtask chaos`: builds the programs, then runs `chaos-campaign`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::step::{cargo, root, say};

/// Arguments of the campaign; they are handed on.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What all choices follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to make faults, in minutes; fractions are allowed.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many plants, 1 to 3; the second has a broker before the backend.
    #[arg(long, default_value_t = 2)]
    plants: u8,
    /// Only these kinds of faults, with commas between; a wrong one lists all.
    #[arg(long)]
    only: Option<String>,
    /// Keep everything here, logs included; must be empty or missing.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Build and run in release mode.
    #[arg(long)]
    release: bool,
}

/// A namespace in which the campaign may mount disks that go with it.
const NAMESPACE: [&str; 4] = ["--map-root-user", "--mount", "--propagation", "private"];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--bins", "-p", "edge-agent", "-p", "cloud-backend", "-p", "simulators"]);
    build.args(["-p", "factory-tests"]).args(arguments.release.then_some("--release"));
    crate::step::run("building agents, backend and simulators", &mut build)?;
    let profile = if arguments.release { "release" } else { "debug" };
    let program = root().join("target").join(profile).join("chaos-campaign");
    let mut campaign = if may_mount() {
        let mut unshare = Command::new("unshare");
        unshare.args(NAMESPACE).arg(program).arg("--memory-disks");
        unshare
    } else {
        say("no disk can be mounted here (unshare): going without full disks");
        Command::new(program)
    };
    campaign.args(["--seed", &arguments.seed.to_string(), "--minutes", &arguments.minutes.to_string()]);
    campaign.args(["--plants", &arguments.plants.to_string()]);
    if let Some(only) = &arguments.only {
        campaign.args(["--only", only]);
    }
    if let Some(data) = &arguments.data {
        campaign.arg("--data").arg(data);
    }
    // In our place, so that Ctrl-C and the exit code are its own.
    Err(campaign.exec()).context("cannot start chaos-campaign")
}

fn may_mount() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(NAMESPACE).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
