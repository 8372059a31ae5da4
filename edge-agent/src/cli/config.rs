//! Arguments of the commands about the configuration that comes from the backend.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show which version of the backend's configuration runs, waits, was refused or taken back, and which machine
    /// files were edited here. Exit code 3 if anything is not as the backend wants it.
    Status(ConfigArguments),
    /// Show how the machine files differ from those that the backend wants: the version that waits, or else the one
    /// that was applied last. Exit code 3 if there is nothing of the backend to compare with.
    Diff(ConfigArguments),
    /// Keep the machine files as they were edited here. The version that waits is not applied; the next one is, over
    /// them. The running agent does it.
    Adopt(ConfigArguments),
    /// Give up what was edited here and take the backend's files: the version that waits, or else the one that was
    /// applied last. The running agent does it, and watches the machines as with any new version.
    Restore(ConfigArguments),
    /// Have the running agent look for a new version now.
    Pull(ConfigArguments),
}

/// Which agent, and how it is printed.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}
