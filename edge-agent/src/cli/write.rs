//! Arguments of the tools that write.

use std::path::PathBuf;

use acquisition::{
    AcquisitionError, ModbusTag, ModbusTagParameters, RegisterFormat, RegisterTable, WordOrder,
};
use clap::{Args, ValueEnum};
use plant_model::DataType;

use super::modbus::ModbusTarget;

/// What every write needs.
#[derive(Debug, Args)]
pub(crate) struct WriteOptions {
    /// Write without asking; needed where there is no terminal.
    #[arg(long)]
    pub yes: bool,
    /// Where a JSON line is kept for each write before it is made, and one for what became of it: who,
    /// when, what, old, new, read back. If it cannot be kept, nothing is written to the machine.
    #[arg(long, env = "EDGE_AGENT_JOURNAL", default_value = "/var/lib/edge-agent/writes.jsonl")]
    pub journal: PathBuf,
    /// Print JSON instead of a table; what is about to be written still goes to standard error.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WriteModbusArguments {
    #[command(flatten)]
    pub target: ModbusTarget,
    /// Unit id.
    #[arg(long, default_value_t = 1)]
    pub unit: u8,
    /// First register or the coil, zero-based: 40001 of a manual is holding register 0.
    #[arg(long)]
    pub register: u16,
    /// Which table.
    #[arg(long, default_value = "holding")]
    pub table: WritableTable,
    /// How the value lies in the registers; `u16` for registers and `bool` for coils if left out.
    #[arg(long)]
    pub format: Option<FormatName>,
    /// The order of its bytes.
    #[arg(long, default_value = "abcd")]
    pub word_order: OrderName,
    /// What the raw number is multiplied with to give the value.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub scale: f64,
    /// What is added after that.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub offset: f64,
    /// How many registers a text takes.
    #[arg(long, required_if_eq("format", "text"), value_parser = clap::value_parser!(u16).range(1..=123))]
    pub registers: Option<u16>,
    /// The value as it is to read afterwards: a number, true or false, or a text.
    #[arg(long, allow_hyphen_values = true)]
    pub value: String,
    /// What an answer may take, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=30_000))]
    pub timeout_ms: u64,
    #[command(flatten)]
    pub options: WriteOptions,
}

#[derive(Debug, Args)]
pub(crate) struct WriteTagArguments {
    /// Folder with agent.toml and machines.d/.
    #[arg(long, env = "EDGE_AGENT_CONFIG", default_value = "/etc/edge-agent")]
    pub config: PathBuf,
    /// Id of the machine.
    #[arg(long)]
    pub machine: String,
    /// Id of the tag.
    #[arg(long)]
    pub tag: String,
    /// The value in the tag's unit, as it is to read afterwards.
    #[arg(long, allow_hyphen_values = true)]
    pub value: String,
    #[command(flatten)]
    pub options: WriteOptions,
}

impl WriteModbusArguments {
    /// The registers as a tag.
    ///
    /// # Errors
    /// Table, address, format and scale do not go together.
    pub(crate) fn tag(&self) -> Result<ModbusTag, AcquisitionError> {
        let table = RegisterTable::from(self.table);
        let usual = if table.is_bits() { FormatName::Bool } else { FormatName::U16 };
        let format = self.format.unwrap_or(usual).format(self.registers.unwrap_or(1));
        let data_type = match format {
            RegisterFormat::Bool | RegisterFormat::Bit(_) => DataType::Bool,
            RegisterFormat::Text { .. } => DataType::Text,
            RegisterFormat::F32 | RegisterFormat::F64 => DataType::Float,
            RegisterFormat::U8(_)
            | RegisterFormat::I8(_)
            | RegisterFormat::U16
            | RegisterFormat::I16
            | RegisterFormat::U32
            | RegisterFormat::I32
            | RegisterFormat::U64
            | RegisterFormat::I64
            | RegisterFormat::Bcd16
            | RegisterFormat::Bcd32 => self.number_type(),
        };
        ModbusTag::new(ModbusTagParameters {
            table,
            pdu_address: self.register,
            format,
            word_order: self.word_order.into(),
            scale: self.scale,
            offset: self.offset,
            poll_interval: ModbusTag::POLL_INTERVAL_MAX,
            data_type,
            range: None,
        })
    }

    fn number_type(&self) -> DataType {
        if self.scale.fract() == 0.0 && self.offset.fract() == 0.0 { DataType::Int } else { DataType::Float }
    }
}

/// The tables that can be written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WritableTable {
    /// Holding registers (function codes 6 and 16).
    Holding,
    /// Coils (function code 5).
    Coil,
}

impl From<WritableTable> for RegisterTable {
    fn from(name: WritableTable) -> Self {
        match name {
            WritableTable::Holding => Self::HoldingRegister,
            WritableTable::Coil => Self::Coil,
        }
    }
}

/// The formats that fill whole registers, as the configuration calls them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatName {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    Bcd16,
    Bcd32,
    Bool,
    Text,
}

impl FormatName {
    const fn format(self, registers: u16) -> RegisterFormat {
        match self {
            Self::U16 => RegisterFormat::U16,
            Self::I16 => RegisterFormat::I16,
            Self::U32 => RegisterFormat::U32,
            Self::I32 => RegisterFormat::I32,
            Self::U64 => RegisterFormat::U64,
            Self::I64 => RegisterFormat::I64,
            Self::F32 => RegisterFormat::F32,
            Self::F64 => RegisterFormat::F64,
            Self::Bcd16 => RegisterFormat::Bcd16,
            Self::Bcd32 => RegisterFormat::Bcd32,
            Self::Bool => RegisterFormat::Bool,
            Self::Text => RegisterFormat::Text { registers },
        }
    }
}

/// The byte orders, as the configuration calls them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OrderName {
    /// As the standard sends a register.
    Abcd,
    /// Least significant word first.
    Cdab,
    /// Bytes swapped in each word.
    Badc,
    /// Least significant byte first.
    Dcba,
}

impl From<OrderName> for WordOrder {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Abcd => Self::Abcd,
            OrderName::Cdab => Self::Cdab,
            OrderName::Badc => Self::Badc,
            OrderName::Dcba => Self::Dcba,
        }
    }
}
