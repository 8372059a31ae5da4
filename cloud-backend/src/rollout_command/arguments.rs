//! The command line of `rollout`.

use std::time::Duration;

use clap::{Args, Subcommand};
use plant_model::TenantId;
use protocol::{AgentVersion, UpdateChannel};
use rollouts::{GatewayName, RolloutId, Waves};

use crate::cli::{DataArgs, duration};

/// Commands on rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Bring a version of the agent to gateways, in waves. The next wave begins when the last one does well; else the
    /// rollout pauses and says why.
    Start(Box<RolloutStartArgs>),
    /// Print the rollouts, the newest first.
    List(RolloutListArgs),
    /// Print how far a rollout is and what each gateway says.
    Show(RolloutArgs),
    /// Tell nobody else until it is resumed. Who was told goes on.
    Pause(RolloutArgs),
    /// Go on, and pass over gateways that failed or were not reached.
    Resume(RolloutArgs),
    /// End it. Who does not run the version yet is to keep what it runs.
    Abort(RolloutArgs),
    /// Take those who were told back to what they ran before, in the same waves.
    Rollback(RolloutArgs),
}

/// Arguments of `rollout start`.
#[derive(Debug, Args)]
pub struct RolloutStartArgs {
    /// The version of the agent.
    #[arg(value_name = "VERSION")]
    pub agent_version: AgentVersion,
    /// Where it comes from; a gateway takes its own channel only.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub channel: UpdateChannel,
    /// A gateway; repeat for more. They are told in this order, those that are connected first.
    #[arg(long = "gateway", value_name = "TENANT/GATEWAY")]
    pub gateways: Vec<GatewayName>,
    /// All gateways of a tenant; repeat for more.
    #[arg(long = "tenant", value_name = "TENANT")]
    pub tenants: Vec<TenantId>,
    /// All gateways of all tenants.
    #[arg(long, conflicts_with_all = ["gateways", "tenants"])]
    pub all: bool,
    /// How many have been told at the end of each wave.
    #[arg(long, value_name = "WAVES", default_value_t)]
    pub waves: Waves,
    /// How long a gateway must be connected and well with the version before it counts.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub soak: Duration,
    /// Failures that pause nothing.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub max_failures: u32,
    /// How long a gateway that is not connected is waited for; it gets the version when it returns.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub offline_wait: Duration,
    /// How long a gateway that is connected may take; longer than the way to its maintenance window.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub patience: Duration,
    /// Why; at most 1,024 bytes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub comment: String,
    /// Who.
    #[arg(long, value_name = "NAME", default_value = "console", env = "CLOUD_BACKEND_AUTHOR")]
    pub author: String,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rollout list`.
#[derive(Debug, Args)]
pub struct RolloutListArgs {
    /// Most rollouts to print.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub limit: u32,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which rollout.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Its number.
    #[arg(value_name = "ROLLOUT")]
    pub id: RolloutId,
    /// Who.
    #[arg(long, value_name = "NAME", default_value = "console", env = "CLOUD_BACKEND_AUTHOR")]
    pub author: String,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}
