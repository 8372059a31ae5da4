//! Arguments of the Modbus tools.

use acquisition::RegisterTable;
use clap::{Args, ValueEnum};

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
mod tests {
    use super::*;

    #[test]
    fn unit_ids_are_lists_and_ranges() {
        assert_eq!(unit_ids("7,1-3,2"), Ok(UnitIds(vec![1, 2, 3, 7])));
        assert!(unit_ids("3-1").expect_err("backwards").contains("write 1-3"));
        assert!(unit_ids("256").expect_err("too large").contains("0 to 255"));
    }
}
