//! The command line of `config`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use plant_model::{GatewayId, TenantId};
use protocol::ConfigurationVersion;

use crate::cli::DataArgs;

/// Commands on the configurations of gateways.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Save the machine files of a folder as the next version. They are checked by the code that the agent reads them
    /// with; with any mistake nothing changes.
    Push(PushArgs),
    /// Print what a gateway should run and what it says it runs.
    Show(ConfigArgs),
    /// Print what changed between two versions.
    Diff(DiffArgs),
    /// Print the versions: who saved what, when and why.
    History(HistoryArgs),
    /// Save the files of an earlier version as the next one.
    Rollback(RollbackArgs),
    /// Write the machine files of a version into an empty folder.
    Export(ExportArgs),
}

/// TENANT/GATEWAY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its id.
    pub gateway: GatewayId,
}

impl FromStr for GatewayName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').ok_or("write TENANT/GATEWAY, for example acme/hall-3")?;
        let tenant = TenantId::new(parts.0).map_err(|error| error.to_string())?;
        let gateway = GatewayId::new(parts.1).map_err(|error| error.to_string())?;
        Ok(Self { tenant, gateway })
    }
}

impl std::fmt::Display for GatewayName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.gateway)
    }
}

/// Which gateway.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The gateway.
    #[arg(long, value_name = "TENANT/GATEWAY")]
    pub gateway: GatewayName,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What stays with a version.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Why, for the history; at most 1,024 bytes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub comment: String,
    /// Who, for the history.
    #[arg(long, value_name = "NAME", default_value = "console", env = "CLOUD_BACKEND_AUTHOR")]
    pub author: String,
    /// Check and compare, and save nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `config push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The folder with the machine files, or the one that has them in `machines.d`. Files that are not there go.
    pub folder: PathBuf,
    /// Which gateway.
    #[command(flatten)]
    pub which: ConfigArgs,
    /// What stays with the version.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Replace files that were edited at the gateway, as they were when it last reported.
    #[arg(long)]
    pub accept_drift: bool,
}

/// Arguments of `config diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Which gateway.
    #[command(flatten)]
    pub which: ConfigArgs,
    /// The earlier version; the one before the later if not given.
    #[arg(long, value_name = "VERSION")]
    pub from: Option<ConfigurationVersion>,
    /// The later version; the desired one if not given.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<ConfigurationVersion>,
}

/// Arguments of `config history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Which gateway.
    #[command(flatten)]
    pub which: ConfigArgs,
    /// Most versions to print, the newest.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub limit: u32,
}

/// Arguments of `config rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The version whose files come back.
    pub version: ConfigurationVersion,
    /// Which gateway.
    #[command(flatten)]
    pub which: ConfigArgs,
    /// What stays with the version.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Arguments of `config export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder to write; made when it does not exist.
    pub folder: PathBuf,
    /// Which gateway.
    #[command(flatten)]
    pub which: ConfigArgs,
    /// The version; the desired one if not given.
    #[arg(long)]
    pub version: Option<ConfigurationVersion>,
}
