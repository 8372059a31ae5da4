//! Arguments of the commands about updates of the agent.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::update::installer::Commands;

#[derive(Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// Show which version runs, which one the backend wants, and what became of the last update. Exit code 3 if that
    /// was given up or could not be done.
    Status(UpdateStatusArguments),
    /// Install the version that the agent has asked for, see whether the machines and the uplink do as well as before,
    /// and bring the version before back if they do not. Without a request it does nothing; what was interrupted goes
    /// on. It is meant to be run by root, by a unit that watches for the request.
    ///
    /// Exit codes: 0 the version runs, or nothing is asked for; 1 nothing was begun, or it must be started again;
    /// 3 the version before runs again, or nothing was changed, or it could not be brought back: see
    /// `edge-agent update status`.
    Install(Box<UpdateInstallArguments>),
}

/// Which agent, and how it is printed.
#[derive(Debug, Args)]
pub(crate) struct UpdateStatusArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Address of the status interface, instead of the configured one.
    #[arg(long)]
    pub status: Option<SocketAddr>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateInstallArguments {
    /// The request of the agent (update.request_file of agent.toml).
    #[arg(long, value_name = "FILE", default_value = "/var/lib/edge-agent/update/request.json")]
    pub request: PathBuf,
    /// Where it is said what became of it (update.result_file of agent.toml). Its folder must be writable for root
    /// alone.
    #[arg(long, value_name = "FILE", default_value = edge_config::UPDATE_RESULT_FILE)]
    pub result: PathBuf,
    /// Folder with agent.toml, which names the status interface.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Address of the status interface, instead of the configured one.
    #[arg(long)]
    pub status: Option<SocketAddr>,
    /// The --state-file of the agent, if that chooses the port of its status interface at each start.
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    pub state_file: Option<PathBuf>,
    #[command(flatten)]
    pub commands: Commands,
    /// For how long the agent may not answer, after its start and later, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub answer_s: u64,
    /// How long a version is watched from its first answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub window_s: u64,
}
