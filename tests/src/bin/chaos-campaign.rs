//! `chaos-campaign`: random faults against running plants, and a ledger at the end. `cargo xtask chaos` builds all it
//! needs and runs it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use factory_tests::campaign::{Kind, Options, run};

/// Breaks agents, backend, links, broker, machines and disks at random, and counts what is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// What all choices follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to make faults, in minutes; fractions are allowed.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many plants; the second has a broker before the backend.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    plants: u8,
    /// Only these kinds of faults, with commas between.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Buffers lie on disks in memory, which are filled now and then. Needs the right to mount.
    #[arg(long)]
    memory_disks: bool,
    /// Keep everything here instead of in a temporary folder.
    #[arg(long)]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let options = Options {
        seed: arguments.seed,
        duration: Duration::from_secs_f64(arguments.minutes.clamp(0.0, 100_000.0) * 60.0),
        plants: arguments.plants.into(),
        only: arguments.only,
        memory_disks: arguments.memory_disks,
        data: arguments.data.unwrap_or_else(|| folder.path().to_owned()),
    };
    say(&format!("seed {}, {} min; Ctrl-C ends the faults early", arguments.seed, arguments.minutes));
    let ended = async {
        // Without the signal only the time ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ledger = run(&options, say, ended).await?;
    say(&format!("\n{ledger}"));
    Ok(if ledger.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(text: &str) {
    // Nobody to tell is no reason to end.
    let _ = writeln!(std::io::stdout(), "{text}");
}
