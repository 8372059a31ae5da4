//! `machine-simulator`: runs a plant of simulated machines.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use simulators::{Plant, PlantConfig, SimulatorError, StateFile, write_machine_files};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// What is logged unless RUST_LOG says otherwise. The OPC UA server complains about the certificate it does not need.
const LOG_DEFAULT: &str = "info,opcua_server=error,opcua_core=error,opcua_crypto=off,opcua_nodes=error";

/// Simulated machines speaking real Modbus TCP and real OPC UA.
///
/// Exit codes: 0 stopped by SIGTERM or Ctrl-C, or done; 1 a port, file or server failed; 2 wrong usage or a plant
/// file with mistakes.
#[derive(Parser)]
#[command(name = "machine-simulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all machines of a plant until SIGTERM or Ctrl-C.
    Run(Run),
    /// Print an example plant file: 8 Modbus TCP and 7 OPC UA machines of all kinds.
    Example,
    /// Write the agent's machine files for a running plant: OUT/machines.d/<id>.toml.
    AgentConfig(AgentConfig),
}

#[derive(Args)]
struct Run {
    /// Plant file; `machine-simulator example` prints one.
    #[arg(long, value_name = "FILE")]
    plant: PathBuf,
    /// Seed of the process models, instead of the one in the plant file.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Address of the control interface; port 0 takes any free port. Keep it on loopback: it has no password.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// JSON file written, whole, once everything listens: all addresses. Removed at a clean stop.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Folder in which keys and certificates of protected OPC UA servers are kept for the next start; without it they
    /// are made anew, which takes seconds, and removed at a clean stop.
    #[arg(long, value_name = "DIR")]
    key_dir: Option<PathBuf>,
}

#[derive(Args)]
struct AgentConfig {
    /// Plant file.
    #[arg(long, value_name = "FILE")]
    plant: PathBuf,
    /// State file of the running simulator.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Directory of the agent's configuration; `machines.d` is made in it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    let done = match Cli::parse().command {
        Command::Run(arguments) => run(arguments).await,
        Command::Example => print_example(),
        Command::AgentConfig(arguments) => agent_config(&arguments),
    };
    done.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

fn report(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to tell if even stderr is closed.
    let _ = writeln!(io::stderr(), "machine-simulator: {error:#}");
    match error.downcast_ref() {
        Some(SimulatorError::PlantFile { .. }) => ExitCode::from(2),
        Some(_) | None => ExitCode::FAILURE,
    }
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let mut config = PlantConfig::read(&arguments.plant)?;
    config.seed = arguments.seed.unwrap_or(config.seed);
    // From here on a file that exists belongs to this process.
    arguments.state_file.as_deref().map_or(Ok(()), remove_stale)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let plant = match &arguments.key_dir {
        Some(folder) => Plant::start_in(config, folder).await?,
        None => Plant::start(config).await?,
    };
    let control = plant.serve_control(arguments.control).await?;
    if let Some(path) = &arguments.state_file {
        plant.state(control).write(path)?;
    }
    info!(machines = plant.machines().len(), %control, "the plant runs");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping");
    plant.stop().await;
    arguments.state_file.as_deref().map_or(Ok(()), remove_stale)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SimulatorError::WriteFile { path: path.to_owned(), source }.into()),
    }
}

fn print_example() -> anyhow::Result<()> {
    Ok(io::stdout().write_all(PlantConfig::example_toml().as_bytes())?)
}

fn agent_config(arguments: &AgentConfig) -> anyhow::Result<()> {
    let plant = PlantConfig::read(&arguments.plant)?;
    let state = StateFile::read(&arguments.state)?;
    Ok(write_machine_files(&plant, &state, &arguments.out)?)
}
