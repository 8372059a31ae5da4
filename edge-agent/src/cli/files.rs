//! Arguments of the commands that work on the agent's own files and interfaces.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// Folder of the running agent's configuration; names its status interface.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Address of the status interface, instead of the configured one.
    #[arg(long)]
    pub status: Option<std::net::SocketAddr>,
    /// Only this machine.
    #[arg(long)]
    pub machine: Option<String>,
    /// Show once and end.
    #[arg(long)]
    pub once: bool,
    /// Print JSON: one line for each look.
    #[arg(long)]
    pub json: bool,
    /// How often to look, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub interval_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// The list: .xlsx, .xlsm or .ods by its name, else CSV in UTF-8.
    pub list: PathBuf,
    /// The sheet of the workbook; the first if it is not named.
    #[arg(long)]
    pub sheet: Option<String>,
    /// The machine file, with its connection; it is written only if all of it is good.
    #[arg(long)]
    pub machine: PathBuf,
    /// Print the tags as TOML and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiagArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// The file to write; it must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// Address of the status interface, instead of the configured one.
    #[arg(long)]
    pub status: Option<std::net::SocketAddr>,
    /// A log file whose end is taken along.
    #[arg(long)]
    pub log_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AlarmTestArguments {
    /// The machine file with the alarms: [[tags]] and [[alarms]] as in machines.d/.
    #[arg(long)]
    pub rules: PathBuf,
    /// The recording, CSV in UTF-8, its rows in the order of time.
    #[arg(long)]
    pub csv: PathBuf,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// The folder to write to.
    #[arg(long)]
    pub out: PathBuf,
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
    /// Folder for the last configuration that ran well, which is used if the files are not there or wrong at a start;
    /// the folder of the buffer if it is not given, and then agent.toml must be readable for it.
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY")]
    pub state_folder: Option<PathBuf>,
    /// After how many seconds of running well a configuration is kept.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "EDGE_AGENT_PROVEN_AFTER_S",
        default_value_t = 30,
        hide = true
    )]
    pub proven_after_s: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArguments {
    /// Folder of the running agent's configuration; names its status interface.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Address of the status interface, instead of the configured one.
    #[arg(long)]
    pub status: Option<std::net::SocketAddr>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EnrolArguments {
    /// Address of the backend, https://HOST or https://HOST:PORT (8884 if it is not given).
    #[arg(long, value_name = "URL")]
    pub cloud: String,
    /// The one-time code, as `cloud-backend gateway invite` printed it.
    #[arg(long, env = "EDGE_AGENT_CODE", hide_env_values = true)]
    pub code: protocol::EnrolmentCode,
    /// Folder with agent.toml, which is made if it is not there, and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Folder for the identity and the buffer, for a new agent.toml.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/edge-agent")]
    pub state: PathBuf,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
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
