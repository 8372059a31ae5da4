//! `cargo xtask`: the commands of this repository. It builds what is missing and runs it, and says what
//! it is doing; the work itself is done by cargo, npm and the programs.

mod chaos;
mod dashboard;
mod debian;
mod demo;
mod interop;
mod step;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, runs and tests the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run three simulated plants, their agents, the backend and the dashboard.
    Demo(demo::Arguments),
    /// Run all tests: Rust, dashboard, browser. Installs missing Debian packages, and Python packages into
    /// target/, first.
    Test(test::Arguments),
    /// Break running plants at random and count what is lost; see tests/README.md.
    Chaos(chaos::Arguments),
    /// Build the dashboard, if its sources changed.
    Dashboard,
    /// Install what the Rust tests need beside Rust, for whoever runs `cargo nextest` alone.
    TestSetup,
    /// Install what the benches of `tests/benches` need beside Rust.
    BenchSetup,
    /// Measure line coverage of the Rust code with cargo-llvm-cov, which must be installed.
    Coverage,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Dashboard => dashboard::build(dashboard::Missing::Fail),
        Command::TestSetup => test::setup(),
        Command::BenchSetup => debian::install_missing(debian::FOR_BENCHES),
        Command::Coverage => test::coverage(),
    }
}
