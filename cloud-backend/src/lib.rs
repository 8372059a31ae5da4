//! The backend's composition root: the only place that names the concrete store, endpoint and API, and that
//! spawns tasks.
//!
//! ```text
//! gateway -> place* -> ingest (one worker a tenant) -> store, one transaction a group
//!    ^                          |                               |
//!    +---- CumulativeAck <------+<--------- after the commit ---+--> live feed -> http-api -> browser
//!    +---- Command <------------------------------------------------------------ http-api <- browser
//!    +---- certificates <-- gateway-api <-- invitations, revocations in the store
//! ```
//!
//! \* mqtt-endpoint, or an external broker and mqtt-broker-client
//!
//! Invariants
//! - Nothing is acknowledged before it is committed. A message without an answer comes again.
//! - Each tenant has its own worker and inbox: one whose data cannot be written fills nobody else's.
//! - One `serve` works on a data directory at a time; the other commands work beside it.

mod admin;
mod app;
mod authority;
mod books;
mod certifier;
mod cli;
mod command_line;
mod config;
mod data;
mod expiry;
mod gate;
mod gateway_command;
mod gateways;
mod health;
mod inbox;
mod ingest;
mod journal;
mod ledger;
mod machine_check;
mod mosquitto;
mod nudging;
mod operator;
mod place;
mod query;
mod revocation;
mod rollout;
mod rollout_command;
mod rotation;
mod sealing;
mod store;
mod tiers;
mod worker;

use std::io::Write as _;

use anyhow::Context as _;
use service_kit::telemetry::{self, LogFormat};

pub use cli::{
    AlarmCommand, BrokerArgs, BrokerCommand, Cli, Command, ConfigureCommand, DataArgs, GatewayAddArgs,
    GatewayArgs, GatewayCommand, GatewayCommandArgs, GatewayInviteArgs, GatewayListArgs, JournalArgs,
    LedgerArgs, MosquittoArgs, PkiArgs, PkiCommand, ServeArgs, TenantCommand, UserAddArgs, UserCommand,
};
pub use config::{
    ChangeArgs, ConfigArgs, ConfigCommand, DiffArgs, ExportArgs, GatewayName, HistoryArgs, PushArgs,
    RollbackArgs,
};
pub use query::QueryArgs;
pub use rollout_command::{RolloutArgs, RolloutCommand, RolloutListArgs, RolloutStartArgs};
pub use tiers::{
    ActArgs, HoldCommand, PeriodArgs, PolicyCommand, PreviewArgs, RestoreArgs, TiersArgs, TiersCommand,
};

/// Does what the command line says.
///
/// # Errors
/// It could not be done; the error says what failed, on what, and what to do.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    tls_kit::set_for_process();
    let format = if cli.log_json { LogFormat::Json } else { LogFormat::Text };
    telemetry::init(format, &cli.log);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => app::serve(args).await,
            Command::Tenant(TenantCommand::Add { id, name, data, json }) => {
                admin::add_tenant(id, name, &data, json).await
            }
            Command::User(UserCommand::Add(args)) => admin::add_user(args).await,
            Command::Pki(command) => rotation::run(command).await,
            Command::Gateway(GatewayCommand::Invite(args)) => gateways::invite(args).await,
            Command::Gateway(GatewayCommand::Add(args)) => gateways::add(args).await,
            Command::Gateway(GatewayCommand::List(args)) => gateways::list(args).await,
            Command::Gateway(GatewayCommand::Revoke(args)) => gateways::revoke(args).await,
            Command::Config(command) => config::run(command).await,
            Command::Rollout(command) => rollout_command::run(command).await,
            Command::Gateway(GatewayCommand::Command(args)) => gateway_command::run(*args).await,
            Command::Query(args) => query::query(*args).await,
            Command::Tiers(command) => tiers::command(command).await,
            Command::Ledger(args) => ledger::print_ledger(args).await,
            Command::Alarm(AlarmCommand::Journal(args)) => journal::print_journal(args).await,
            Command::Broker(BrokerCommand::Configure(ConfigureCommand::Mosquitto(args))) => {
                mosquitto::configure(args).await
            }
            Command::Openapi => admin::print(&http_api::openapi_json()),
        }
    });
    // A blocking call that hangs (a dead disk) must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

/// Tells a person why the program failed: the error and its causes, on standard error.
pub fn report(error: &anyhow::Error) {
    // Nothing sensible is left to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "cloud-backend: {error:#}");
}
