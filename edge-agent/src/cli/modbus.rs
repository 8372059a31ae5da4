//! Arguments of the Modbus tools.

use acquisition::{ModbusAddress, Parity, RegisterTable, SerialLine};
use clap::{ArgGroup, Args, ValueEnum};

/// Where the machine is: behind a network address or on a serial line.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("target").required(true).args(["host", "device"])))]
pub(crate) struct ModbusTarget {
    /// Name or address of the machine or gateway.
    #[arg(long, help_heading = "Network")]
    pub host: Option<String>,
    /// TCP port.
    #[arg(long, default_value_t = 502, conflicts_with = "device", help_heading = "Network",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// RTU frames in the TCP stream, as simple serial device servers send them, instead of Modbus TCP.
    #[arg(long, conflicts_with = "device", help_heading = "Network")]
    pub rtu_over_tcp: bool,
    /// Device file of the serial line, best one below /dev/serial/by-id; `scan serial` lists them.
    #[arg(long, help_heading = "Serial line (RTU)")]
    pub device: Option<String>,
    #[command(flatten)]
    pub line: LineArguments,
}

/// How characters look on a serial line.
#[derive(Debug, Clone, Args)]
pub(crate) struct LineArguments {
    /// Bits per second.
    #[arg(long, default_value_t = 19_200, conflicts_with = "host", help_heading = "Serial line (RTU)",
        value_parser = clap::value_parser!(u32).range(1_200..=921_600))]
    pub baud_rate: u32,
    /// The parity bit.
    #[arg(long, default_value = "even", conflicts_with = "host", help_heading = "Serial line (RTU)")]
    pub parity: ParityName,
    /// Data bits; RTU has always 8.
    #[arg(long, default_value_t = 8, conflicts_with = "host", help_heading = "Serial line (RTU)",
        value_parser = data_bits)]
    pub data_bits: u8,
    /// Stop bits, 1 or 2; by default 1 with a parity bit and 2 without.
    #[arg(long, conflicts_with = "host", help_heading = "Serial line (RTU)",
        value_parser = clap::value_parser!(u8).range(1..=2))]
    pub stop_bits: Option<u8>,
}

impl ModbusTarget {
    /// The address. The command line has either a host or a device.
    pub(crate) fn address(&self) -> ModbusAddress {
        match (&self.device, self.host.clone().unwrap_or_default()) {
            (Some(device), _) => ModbusAddress::Rtu(SerialLine {
                device: device.clone(),
                baud_rate: self.line.baud_rate,
                parity: self.line.parity.into(),
                data_bits: self.line.data_bits,
                stop_bits: self.line.stop_bits.unwrap_or(stop_bits(self.line.parity.into())),
            }),
            (None, host) if self.rtu_over_tcp => ModbusAddress::RtuOverTcp { host, port: self.port },
            (None, host) => ModbusAddress::Tcp { host, port: self.port },
        }
    }
}

/// A character has eleven bits: without parity a second stop bit takes its place.
pub(crate) const fn stop_bits(parity: Parity) -> u8 {
    match parity {
        Parity::None => 2,
        Parity::Even | Parity::Odd => 1,
    }
}

fn data_bits(text: &str) -> Result<u8, String> {
    match text {
        "8" => Ok(8),
        _ => {
            Err("RTU characters have 8 data bits; a line with 7 carries Modbus ASCII, which is not read"
                .into())
        }
    }
}

/// The parities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ParityName {
    /// An even number of ones, the default of the standard.
    Even,
    /// No parity bit.
    None,
    /// An odd number of ones.
    Odd,
}

impl From<ParityName> for Parity {
    fn from(name: ParityName) -> Self {
        match name {
            ParityName::Even => Self::Even,
            ParityName::None => Self::None,
            ParityName::Odd => Self::Odd,
        }
    }
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
pub(crate) struct ScanSerialArguments {
    /// Device file of the line to try out; without one the devices are only listed.
    #[arg(long)]
    pub device: Option<String>,
    /// Unit ids to ask at each setting, for example `1-5` or `17`.
    #[arg(long, default_value = "1-5", value_parser = unit_ids)]
    pub units: UnitIds,
    /// Bit rates to try, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = BAUD_RATES,
        value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub baud_rates: Vec<u32>,
    /// Parities to try, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["even", "none", "odd"])]
    pub parities: Vec<ParityName>,
    /// What an answer may take beyond the time it travels, in milliseconds.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(20..=30_000))]
    pub timeout_ms: u64,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// What machines are set to, the usual ones first.
pub(crate) const BAUD_RATES: [u32; 8] = [9_600, 19_200, 38_400, 57_600, 115_200, 4_800, 2_400, 1_200];

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

#[cfg(test)]
impl ModbusTarget {
    /// Modbus TCP on this machine.
    pub(crate) fn local(port: u16) -> Self {
        let line =
            LineArguments { baud_rate: 19_200, parity: ParityName::Even, data_bits: 8, stop_bits: None };
        let host = Some("127.0.0.1".to_owned());
        Self { host, port, rtu_over_tcp: false, device: None, line }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, ReadCommand};

    fn parsed(arguments: &str) -> Result<ModbusAddress, String> {
        let line = format!("edge-agent read modbus --register 0 {arguments}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Read(ReadCommand::Modbus(arguments)) = cli.command else { panic!("another command") };
        Ok(arguments.target.address())
    }

    #[test]
    fn a_target_is_a_host_or_a_device_with_what_belongs_to_it() {
        let tcp = |host: &str, port| ModbusAddress::Tcp { host: host.to_owned(), port };
        assert_eq!(parsed("--host plc"), Ok(tcp("plc", 502)));
        let over = ModbusAddress::RtuOverTcp { host: "moxa".to_owned(), port: 4001 };
        assert_eq!(parsed("--host moxa --port 4001 --rtu-over-tcp"), Ok(over));
        let line = |baud_rate, parity, stop_bits| {
            ModbusAddress::Rtu(SerialLine {
                device: "/dev/ttyUSB0".to_owned(),
                baud_rate,
                parity,
                data_bits: 8,
                stop_bits,
            })
        };
        assert_eq!(parsed("--device /dev/ttyUSB0"), Ok(line(19_200, Parity::Even, 1)));
        let options = "--device /dev/ttyUSB0 --baud-rate 9600 --parity none";
        assert_eq!(parsed(options), Ok(line(9_600, Parity::None, 2)));
        assert_eq!(parsed(&format!("{options} --stop-bits 1")), Ok(line(9_600, Parity::None, 1)));
    }

    #[test]
    fn a_target_that_is_none_or_two_at_once_is_refused_with_what_is_missing() {
        for (arguments, expected) in [
            ("", "<--host <HOST>|--device <DEVICE>>"),
            ("--host plc --device /dev/ttyUSB0", "cannot be used with"),
            ("--device /dev/ttyUSB0 --port 503", "cannot be used with"),
            ("--device /dev/ttyUSB0 --rtu-over-tcp", "cannot be used with"),
            ("--host plc --baud-rate 9600", "cannot be used with"),
            ("--host plc --parity odd", "cannot be used with"),
            ("--baud-rate 9600", "<--host <HOST>|--device <DEVICE>>"),
            ("--device /dev/ttyUSB0 --data-bits 7", "RTU characters have 8 data bits"),
            ("--device /dev/ttyUSB0 --baud-rate 110", "1200"),
        ] {
            let message = parsed(arguments).expect_err(arguments);
            assert!(message.contains(expected), "{arguments}: {message}");
        }
    }

    #[test]
    fn unit_ids_are_lists_and_ranges() {
        assert_eq!(unit_ids("7,1-3,2"), Ok(UnitIds(vec![1, 2, 3, 7])));
        assert!(unit_ids("3-1").expect_err("backwards").contains("write 1-3"));
        assert!(unit_ids("256").expect_err("too large").contains("0 to 255"));
    }
}
