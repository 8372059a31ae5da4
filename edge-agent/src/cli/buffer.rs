//! Arguments of the commands that look into the buffer.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use plant_model::Timestamp;

#[derive(Debug, Subcommand)]
pub(crate) enum BufferCommand {
    /// Show what is held of each stream, what is not delivered, the room left and how many days it lasts.
    ///
    /// Works beside a running agent, which is asked over its status interface, and on a file that no agent uses.
    Status(BufferStatusArguments),
    /// Check every batch of a file: SQLite's own check, header and checksum, content, and that each number is
    /// held or its loss recorded. Exit code 3 if something is wrong; each finding is told.
    ///
    /// An agent locks its buffer: stop it first (it goes on where it was), or check a copy.
    Verify(BufferVerifyArguments),
    /// Write what a file holds as CSV or Parquet, for a gateway that never comes back online.
    ///
    /// Samples: machine, tag, unit, time (when it was measured), the value, its quality as name and OPC UA
    /// status code, source_time (the machine's clock), gateway_time, the series number, the batch's number, and
    /// thinned (whether a full buffer kept this sample out of a minute). CSV is RFC 4180 with a header; times are
    /// RFC 3339 in UTC with microseconds; `value` is text and `type` says bool, int, float or text. Parquet has a
    /// column for each type (value_bool, value_int, value_float, value_text) and times in microseconds, UTC.
    /// Rows come as they were committed. An agent locks its buffer: stop it first, or take a copy.
    /// Exit code 3 if nothing matches.
    Export(BufferExportArguments),
    /// List what is recorded as lost: reason, range of numbers, count, times, and whether the backend knows.
    ///
    /// Works beside a running agent, which is asked over its status interface, and on a file that no agent uses.
    Gaps(BufferStatusArguments),
}

/// Which buffer.
#[derive(Debug, Args)]
pub(crate) struct BufferTarget {
    /// Folder of the agent's configuration, which names the buffer and its key and knows the units of tags;
    /// /etc/edge-agent if there is no --file.
    #[arg(long, env = "EDGE_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// A buffer file instead of the configured one: a copy, or one that was set aside (buffer.db.damaged-…). Its
    /// log, the same name with -wal, belongs beside it. It is only read.
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// The key of an encrypted buffer, 64 hexadecimal digits; else buffer.key_file of the configuration, else the
    /// systemd credential buffer-key.
    #[arg(long)]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BufferStatusArguments {
    #[command(flatten)]
    pub target: BufferTarget,
    /// Address of the status interface of the running agent, instead of the configured one.
    #[arg(long)]
    pub status: Option<SocketAddr>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BufferVerifyArguments {
    #[command(flatten)]
    pub target: BufferTarget,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BufferExportArguments {
    #[command(flatten)]
    pub target: BufferTarget,
    /// The file to write; it must not exist. Its name says the format: .csv or .parquet.
    #[arg(long)]
    pub out: PathBuf,
    /// The format, if the name does not say it.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = ExportStream::Telemetry)]
    pub stream: ExportStream,
    /// Only what was measured (alarms: decided) at or after this time, RFC 3339, for example 2026-11-22T06:00:00Z.
    #[arg(long, value_parser = time)]
    pub from: Option<Timestamp>,
    /// Only what was measured before this time.
    #[arg(long, value_parser = time)]
    pub to: Option<Timestamp>,
    /// Only this machine; may be given several times.
    #[arg(long)]
    pub machine: Vec<String>,
    /// Only what the backend has not acknowledged.
    #[arg(long)]
    pub undelivered: bool,
    /// Print JSON instead of a sentence about what was written.
    #[arg(long)]
    pub json: bool,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Csv,
    Parquet,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportStream {
    /// Samples.
    Telemetry,
    /// Every step of every alarm.
    Alarm,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed
        .map(|at| Timestamp::from_micros(at.as_microsecond()))
        .map_err(|_| "a time such as 2026-11-22T06:00:00Z is needed".to_owned())
}
