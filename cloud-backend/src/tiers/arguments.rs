//! The command line of `tiers`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};

use crate::cli::DataArgs;

/// Commands on the tiers in which samples rest.
#[derive(Debug, Subcommand)]
pub enum TiersCommand {
    /// Print what lies in which tier, since when, and what the last run did.
    Status(TiersArgs),
    /// Print what the next run would do: rows, bytes, dates, and what it saves.
    Preview(PreviewArgs),
    /// Make the moves that are due, as `serve` does by itself. It takes turns with it.
    Run(TiersArgs),
    /// Read objects of the archive back, and compare them with the manifest, and with the store where that has the samples.
    Verify(PeriodArgs),
    /// Bring samples of a period back from the archive into the store, and compare. A hold keeps them there until it is
    /// released.
    Restore(RestoreArgs),
    /// Look at what is kept for how long, and change it.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Keep a period from being dropped, whatever the policy says.
    #[command(subcommand)]
    Hold(HoldCommand),
}

/// Whose tiers.
#[derive(Debug, Args)]
pub struct TiersArgs {
    /// The tenant.
    #[arg(long)]
    pub tenant: TenantId,
    /// Only this gateway.
    #[arg(long)]
    pub gateway: Option<GatewayId>,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tiers preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Whose.
    #[command(flatten)]
    pub tiers: TiersArgs,
    /// What a run at this time would do, with what is there now: a day, or an instant in RFC 3339. Now when not given.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub at: Option<Timestamp>,
    /// What the tiers would do under this policy (TOML) instead of the one in force.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A price book in CSV instead of the one that comes with the program.
    #[arg(long, value_name = "FILE")]
    pub price_book: Option<PathBuf>,
}

/// A period of the tiers.
#[derive(Debug, Args)]
pub struct PeriodArgs {
    /// Whose.
    #[command(flatten)]
    pub tiers: TiersArgs,
    /// From this day on, UTC; from the first when not given.
    #[arg(long, value_name = "DAY", value_parser = instant)]
    pub from: Option<Timestamp>,
    /// Up to and without this day; to the last when not given.
    #[arg(long, value_name = "DAY", value_parser = instant)]
    pub to: Option<Timestamp>,
}

/// Arguments of `tiers restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Whose.
    #[command(flatten)]
    pub tiers: TiersArgs,
    /// From this day on, UTC.
    #[arg(long, value_name = "DAY", value_parser = instant)]
    pub from: Timestamp,
    /// Up to and without this day.
    #[arg(long, value_name = "DAY", value_parser = instant)]
    pub to: Timestamp,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
}

/// Who does something, and why: it stays on record.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// Who does it.
    #[arg(long, value_name = "NAME", env = "CLOUD_BACKEND_USER")]
    pub by: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Commands on the policy of a tenant.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print the policy in force, or its versions.
    Show {
        /// Whose.
        #[command(flatten)]
        tiers: TiersArgs,
        /// All versions, the newest first: who saved them, when and why.
        #[arg(long)]
        history: bool,
    },
    /// Save a policy (TOML, or JSON by the name of the file). With any mistake nothing changes; look at it with
    /// `tiers preview --policy FILE` first.
    Set {
        /// The file.
        file: PathBuf,
        /// Whose.
        #[command(flatten)]
        tiers: TiersArgs,
        /// Who does it, and why.
        #[command(flatten)]
        act: ActArgs,
    },
}

/// Commands on holds.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Print the holds, released ones too.
    List(TiersArgs),
    /// Place a hold. Without --gateway it covers all of the tenant.
    Place {
        /// Whose.
        #[command(flatten)]
        tiers: TiersArgs,
        /// The machine for which it is; what is stored with it stays too.
        #[arg(long, requires = "gateway")]
        machine: Option<MachineId>,
        /// From this day on, UTC.
        #[arg(long, value_name = "DAY", value_parser = instant)]
        from: Timestamp,
        /// Up to and without this day.
        #[arg(long, value_name = "DAY", value_parser = instant)]
        to: Timestamp,
        /// Who does it, and why.
        #[command(flatten)]
        act: ActArgs,
    },
    /// End a hold.
    Release {
        /// Its number.
        hold: u64,
        /// Whose.
        #[command(flatten)]
        tiers: TiersArgs,
        /// Who does it, and why.
        #[command(flatten)]
        act: ActArgs,
    },
}

/// A day, UTC, or an instant.
fn instant(text: &str) -> Result<Timestamp, String> {
    let midnight = format!("{text}T00:00:00Z");
    let parsed: Option<jiff::Timestamp> = text.parse().or_else(|_| midnight.parse()).ok();
    parsed
        .map(|at| Timestamp::from_micros(at.as_microsecond()))
        .ok_or_else(|| format!("{text:?} is no day and no instant; write 2026-11-23 or 2026-11-23T06:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_an_instant() {
        let noon = Timestamp::from_micros(1_795_435_200_000_000);
        assert_eq!(instant("2026-11-23T12:00:00Z"), Ok(noon));
        assert_eq!(instant("2026-11-23"), Ok(Timestamp::from_micros(1_795_392_000_000_000)));
        for wrong in ["", "yesterday", "2026-13-01", "23.11.2026", "2026-11-23T12:00"] {
            assert!(instant(wrong).is_err_and(|told| told.contains("2026-11-23")), "{wrong}");
        }
    }
}
