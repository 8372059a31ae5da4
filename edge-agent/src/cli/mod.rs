//! The command line, by group of commands.

mod files;
pub(crate) mod modbus;
mod opcua;

use clap::{Parser, Subcommand, ValueEnum};
use service_kit::telemetry::LogFormat;

pub(crate) use files::{
    CheckArguments, DiagArguments, GenerateArguments, ImportArguments, RunArguments, WatchArguments,
};
pub(crate) use modbus::{ReadModbusArguments, ScanModbusArguments};
pub(crate) use opcua::{BrowseOpcUaArguments, DoctorOpcUaArguments, ReadOpcUaArguments};

/// Reads the machines of a factory floor, decides alarms on the spot, buffers every sample in SQLite
/// and delivers it to the cloud backend exactly once.
///
/// Exit codes: 0 done, or stopped as asked; 1 failed; 2 wrong command line; 3 nothing found (scan: no
/// unit answered, read --expect: nothing fits); 78 wrong configuration.
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
    /// Read the configuration and show what the agent would do: requests, cycle time, worst-case alarm
    /// latency, bytes a day, buffer days. Changes nothing; refuses what cannot work (exit code 78).
    Check(CheckArguments),
    /// Read a few values from a machine and show them in every type and byte order.
    #[command(subcommand)]
    Read(ReadCommand),
    /// Find out who answers behind an address.
    #[command(subcommand)]
    Scan(ScanCommand),
    /// List what a server holds.
    #[command(subcommand)]
    Browse(BrowseCommand),
    /// Find out why a server cannot be reached or entered.
    #[command(subcommand)]
    Doctor(DoctorCommand),
    /// Show the newest values of a running agent as a live table: machine, tag, value, quality, age.
    Watch(WatchArguments),
    /// Add the tags of a CSV list to a machine file.
    ///
    /// The first line names the columns, in any order: id, name, unit, data_type (bool, int, float,
    /// text), role (state, headline); for Modbus holding_register, input_register, coil or
    /// discrete_input (zero-based), format, bit, registers, word_order, scale, offset,
    /// poll_interval_ms; for OPC UA node_id. Empty cells are left out. Comma, semicolon or tab
    /// separate columns. All mistakes are told at once, with their lines (exit code 78).
    Import(ImportArguments),
    /// Write one .tar.gz for support: version, configuration without secrets, check, status, log.
    Diag(DiagArguments),
    /// Write shell completions and manual pages.
    Generate(GenerateArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReadCommand {
    /// Read registers over Modbus TCP.
    Modbus(ReadModbusArguments),
    /// Read one node of an OPC UA server without protection, as an anonymous user.
    Opcua(ReadOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BrowseCommand {
    /// List the nodes of an OPC UA server as they are found, without protection and as an anonymous
    /// user. Ctrl-C ends early. Exit code 3 if there is none.
    Opcua(BrowseOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Show the endpoints of an OPC UA server, their protection, and what is wrong with its
    /// certificates, with the fix.
    Opcua(DoctorOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScanCommand {
    /// Ask every unit id of a Modbus TCP address: which answer, which function codes, how fast, and how
    /// many registers at once. Ctrl-C ends early and prints what is known.
    Modbus(ScanModbusArguments),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
