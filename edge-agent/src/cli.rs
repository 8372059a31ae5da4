//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use service_kit::telemetry::LogFormat;

/// Reads the machines of a factory floor, decides alarms on the spot, buffers every sample in SQLite
/// and delivers it to the cloud backend exactly once.
///
/// Exit codes: 0 stopped as asked; 1 failed; 2 wrong command line; 78 wrong configuration.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    /// What is logged, for example `info` or `info,uplink_mqtt=debug`.
    #[arg(long, global = true, env = "EDGE_AGENT_LOG", default_value = "info")]
    pub log: String,
    /// How log lines look; they go to standard error.
    #[arg(long, global = true, env = "EDGE_AGENT_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent until SIGTERM or Ctrl-C.
    Run(RunArguments),
    /// Read the configuration and show what the agent would do; changes nothing.
    Check(CheckArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Write a JSON file once running: process id, status address, epoch; and once stopped, the final
    /// counts under `stopped`.
    #[arg(long)]
    pub state_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}
