//! The command line, by group of commands.

mod buffer;
mod config;
mod files;
pub(crate) mod modbus;
mod opcua;
mod update;
mod write;

use clap::{Parser, Subcommand, ValueEnum};
use service_kit::telemetry::LogFormat;

pub(crate) use buffer::{
    BufferCommand, BufferExportArguments, BufferStatusArguments, BufferTarget, BufferVerifyArguments,
    ExportFormat, ExportStream,
};
pub(crate) use config::{ConfigArguments, ConfigCommand};
pub(crate) use files::{
    AlarmTestArguments, CheckArguments, DiagArguments, EnrolArguments, GenerateArguments, ImportArguments,
    ReloadArguments, RunArguments, WatchArguments,
};
pub(crate) use modbus::{ReadModbusArguments, ScanModbusArguments, ScanSerialArguments};
pub(crate) use opcua::{
    BrowseOpcUaArguments, DoctorOpcUaArguments, ModeName, OpcUaTarget, PolicyName, ReadOpcUaArguments,
};
pub(crate) use update::{UpdateCommand, UpdateInstallArguments, UpdateStatusArguments};
pub(crate) use write::{WriteModbusArguments, WriteOptions, WriteTagArguments};

/// Reads the machines of a factory floor, decides alarms on the spot, buffers every sample in SQLite
/// and delivers it to the cloud backend exactly once.
///
/// Exit codes: 0 done, or stopped as asked; 1 failed; 2 wrong command line; 3 nothing found (scan: nobody
/// answered, read --expect: nothing fits, buffer export: nothing matches), not confirmed (write: the machine
/// reads something else) or not sound (buffer verify);
/// 78 wrong configuration.
#[derive(Debug, Parser)]
#[command(version = crate::version::running(), propagate_version = true)]
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
    /// Have the running agent read its configuration anew, as SIGHUP does: only machines that changed are touched, and a
    /// wrong configuration changes nothing.
    ///
    /// Exit codes: 0 it is in use; 1 the agent cannot be reached, or could not do it; 3 nothing is applied, because it
    /// needs a restart; 78 wrong configuration, and the one before stays in use.
    Reload(ReloadArguments),
    /// Make this machine a gateway: with a one-time code it gets a certificate for a key that it makes
    /// itself, and a first agent.toml if there is none.
    ///
    /// The code also says which backend to trust: no other is spoken to. A gateway that was enrolled before
    /// is enrolled again in the same way; what it was known by before is revoked, its history stays.
    Enrol(EnrolArguments),
    /// Read the configuration and show what the agent would do: requests, cycle time, worst-case alarm
    /// latency, bytes a day, buffer days. Changes nothing; refuses what cannot work (exit code 78).
    Check(CheckArguments),
    /// What of the configuration is the backend's: which version runs, what was edited here, and what becomes of it.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Which version of the agent runs and which one the backend wants; and the installer of versions, which root runs.
    #[command(subcommand)]
    Update(UpdateCommand),
    /// Read a few values from a machine and show them in every type and byte order.
    #[command(subcommand)]
    Read(ReadCommand),
    /// Write one value into a machine, after it was shown and confirmed, and read it back.
    ///
    /// Exit codes: 0 the machine reads what was written; 1 nothing was written; 3 it was sent, and the
    /// machine reads something else or nobody knows.
    #[command(subcommand)]
    Write(WriteCommand),
    /// Find out who answers behind an address.
    #[command(subcommand)]
    Scan(ScanCommand),
    /// List what a server holds.
    #[command(subcommand)]
    Browse(BrowseCommand),
    /// Find out why a server cannot be reached or entered.
    #[command(subcommand)]
    Doctor(DoctorCommand),
    /// Try alarms without a machine.
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// Look into the buffer: what it holds, whether it is sound, what is missing; write it out as CSV or Parquet.
    /// A file is only read, never changed.
    #[command(subcommand)]
    Buffer(BufferCommand),
    /// Show the newest values of a running agent as a live table: machine, tag, value, quality, age.
    Watch(WatchArguments),
    /// Add the tags of a list in CSV, Excel or LibreOffice to a machine file.
    ///
    /// The first line names the columns, in any order: id, name, unit, data_type (bool, int, float,
    /// text), role (state, headline); for Modbus holding_register, input_register, coil or
    /// discrete_input (zero-based), format, bit, byte, registers, word_order, scale, offset,
    /// poll_interval_ms; for OPC UA node_id. Empty cells are left out. In CSV comma, semicolon or tab
    /// separate columns. All mistakes are told at once, with their lines or rows (exit code 78).
    Import(ImportArguments),
    /// Write one .tar.gz for support: version, configuration without secrets, check, status, log.
    Diag(DiagArguments),
    /// Write shell completions and manual pages.
    Generate(GenerateArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// Show what the alarms of a machine file would have done with recorded values.
    ///
    /// The recording is CSV: a column `time` (RFC 3339, or seconds), then one column for each tag, by its
    /// id. An empty cell: not read then; `bad`: read and not good. A column `@link` says `up` or `down`.
    /// Mistakes are told with their line (exit code 78).
    Test(AlarmTestArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReadCommand {
    /// Read registers over Modbus TCP, RTU in a TCP stream, or RTU on a serial line.
    Modbus(ReadModbusArguments),
    /// Read one node of an OPC UA server.
    Opcua(ReadOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WriteCommand {
    /// Write a coil or holding registers. Shows the old value and what will be written, registers
    /// included, and asks.
    ///
    /// Exit codes: 0 the machine reads what was written; 1 nothing was written; 3 it was sent, and the
    /// machine reads something else or nobody knows.
    Modbus(Box<WriteModbusArguments>),
    /// Write a tag of a Modbus machine; connection and format are taken from the configuration. Shows the
    /// old value and what will be written, registers included, and asks.
    ///
    /// Exit codes: 0 the machine reads what was written; 1 nothing was written; 3 it was sent, and the
    /// machine reads something else or nobody knows; 78 wrong configuration.
    Tag(WriteTagArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BrowseCommand {
    /// List the nodes of an OPC UA server as they are found. Ctrl-C ends early. Exit code 3 if there is
    /// none.
    Opcua(BrowseOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Show the endpoints of an OPC UA server, their protection, and what is wrong with its
    /// certificates, with the fix; with a protection, user or machine, also try to open a session. Exit
    /// code 1 if that fails, 3 if the server has no endpoint.
    Opcua(DoctorOpcUaArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScanCommand {
    /// Ask every unit id of a Modbus address or serial line: which answer, which function codes, how
    /// fast, and how many registers at once. Ctrl-C ends early and prints what is known.
    Modbus(ScanModbusArguments),
    /// List the serial devices; with --device, find the bit rate and parity at which somebody answers,
    /// as ready configuration. Ctrl-C ends early and prints what is known.
    ///
    /// Every setting is tried with one short request for each unit id; an exception is an answer, too.
    /// Nobody else may use the line meanwhile: stop the agent, if it does. Exit code 3 if there is no
    /// device, or nobody answers.
    Serial(ScanSerialArguments),
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
