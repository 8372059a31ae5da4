//! The tiers in which samples rest: what moves them, and the commands on them.

mod arguments;
mod commands;
mod lifecycle;
mod policy;
mod preview;
mod run;
mod status;

pub use arguments::{
    ActArgs, HoldCommand, PeriodArgs, PolicyCommand, PreviewArgs, RestoreArgs, TiersArgs, TiersCommand,
};
pub(crate) use lifecycle::{Lifecycle, MoveHealth};

/// `tiers`
pub(crate) async fn command(command: TiersCommand) -> anyhow::Result<()> {
    match command {
        TiersCommand::Status(args) => status::status(args).await,
        TiersCommand::Preview(args) => preview::preview(args).await,
        TiersCommand::Run(args) => commands::run(args).await,
        TiersCommand::Verify(args) => commands::verify(args).await,
        TiersCommand::Restore(args) => commands::restore(args).await,
        TiersCommand::Policy(command) => policy::policy(command).await,
        TiersCommand::Hold(command) => policy::hold(command).await,
    }
}
