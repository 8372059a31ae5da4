//! The command line.

use std::path::PathBuf;

use acquisition::RegisterTable;
use clap::{Args, Parser, Subcommand, ValueEnum};
use service_kit::telemetry::LogFormat;

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

#[derive(Debug, Args)]
pub(crate) struct ReadOpcUaArguments {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
    /// The node, for example `ns=2;s=Temperature` or `nsu=urn:vendor:machine;i=7`.
    #[arg(long)]
    pub node: String,
    /// What its values are.
    #[arg(long, default_value = "float")]
    pub data_type: TypeName,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BrowseOpcUaArguments {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
    /// The node to begin with; the folder Objects if there is none.
    #[arg(long)]
    pub under: Option<String>,
    /// Print variables as ready [[tags]] of a machine file.
    #[arg(long)]
    pub config: bool,
    /// Print one JSON object for each node.
    #[arg(long, conflicts_with = "config")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOpcUaArguments {
    /// Address of the server, `opc.tcp://host:port`.
    #[arg(long)]
    pub endpoint: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The types of tags.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TypeName {
    /// Yes or no.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Characters.
    Text,
}

impl From<TypeName> for plant_model::DataType {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::Bool => Self::Bool,
            TypeName::Int => Self::Int,
            TypeName::Float => Self::Float,
            TypeName::Text => Self::Text,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScanCommand {
    /// Ask every unit id of a Modbus TCP address: which answer, which function codes, how fast, and how
    /// many registers at once. Ctrl-C ends early and prints what is known.
    Modbus(ScanModbusArguments),
}

/// A Modbus TCP address.
#[derive(Debug, Args)]
pub(crate) struct ModbusTarget {
    /// Name or address of the machine or gateway.
    #[arg(long)]
    pub host: String,
    /// TCP port.
    #[arg(long, default_value_t = 502)]
    pub port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct ReadModbusArguments {
    #[command(flatten)]
    pub target: ModbusTarget,
    /// Unit id.
    #[arg(long, default_value_t = 1)]
    pub unit: u8,
    /// First register, zero-based: 40001 of a manual is holding register 0.
    #[arg(long)]
    pub register: u16,
    /// How many registers or bits.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=125))]
    pub count: u16,
    /// Which table.
    #[arg(long, default_value = "holding")]
    pub table: TableName,
    /// The value on the machine's display: prints the type, byte order and scale that give it, as
    /// ready configuration. Exit code 3 if nothing does.
    #[arg(long, allow_negative_numbers = true)]
    pub expect: Option<String>,
    /// What an answer may take, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=30_000))]
    pub timeout_ms: u64,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScanModbusArguments {
    #[command(flatten)]
    pub target: ModbusTarget,
    /// Unit ids to ask, for example `1-247` or `1,5,10-20`.
    #[arg(long, default_value = "1-247", value_parser = unit_ids)]
    pub units: UnitIds,
    /// What an answer may take, in milliseconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(20..=30_000))]
    pub timeout_ms: u64,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

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
    /// The list: CSV in UTF-8.
    pub csv: PathBuf,
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
pub(crate) struct GenerateArguments {
    /// The folder to write to.
    #[arg(long)]
    pub out: PathBuf,
}

/// The four tables, as technicians call them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TableName {
    /// Holding registers (function code 3).
    Holding,
    /// Input registers (function code 4).
    Input,
    /// Coils (function code 1).
    Coil,
    /// Discrete inputs (function code 2).
    Discrete,
}

impl From<TableName> for RegisterTable {
    fn from(name: TableName) -> Self {
        match name {
            TableName::Holding => Self::HoldingRegister,
            TableName::Input => Self::InputRegister,
            TableName::Coil => Self::Coil,
            TableName::Discrete => Self::DiscreteInput,
        }
    }
}

/// Unit ids in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitIds(pub Vec<u8>);

fn unit_ids(text: &str) -> Result<UnitIds, String> {
    let mut ids = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| {
            n.trim().parse::<u8>().map_err(|_| format!("{n:?} is no unit id; 0 to 255 are allowed"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part} runs backwards; write {last}-{first}"));
        }
        ids.extend(first..=last);
    }
    Ok(UnitIds(ids.into_iter().collect()))
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

    #[test]
    fn unit_ids_are_lists_and_ranges() {
        assert_eq!(unit_ids("7,1-3,2"), Ok(UnitIds(vec![1, 2, 3, 7])));
        assert!(unit_ids("3-1").expect_err("backwards").contains("write 1-3"));
        assert!(unit_ids("256").expect_err("too large").contains("0 to 255"));
    }
}
