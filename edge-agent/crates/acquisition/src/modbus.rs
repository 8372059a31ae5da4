//! What a Modbus tag is: where its registers are and what they mean.
//!
//! Addresses are zero-based protocol addresses (`pdu_address`), as they travel on the wire. Words are
//! 16 bits, most significant byte first, as the Modbus Application Protocol V1.1b3 sends them.

use std::time::Duration;

use plant_model::{DataType, Quality, Value};

use crate::AcquisitionError;

/// The four tables of a Modbus server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterTable {
    /// Bits that can be written (function code 1).
    Coil,
    /// Bits that can only be read (function code 2).
    DiscreteInput,
    /// Registers that can be written (function code 3).
    HoldingRegister,
    /// Registers that can only be read (function code 4).
    InputRegister,
}

impl RegisterTable {
    /// All tables.
    pub const ALL: [Self; 4] = [Self::Coil, Self::DiscreteInput, Self::HoldingRegister, Self::InputRegister];

    /// The name used in configuration and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::DiscreteInput => "discrete_input",
            Self::HoldingRegister => "holding_register",
            Self::InputRegister => "input_register",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Whether the table holds single bits.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::DiscreteInput)
    }
}

/// How a value lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterFormat {
    /// Unsigned, one register.
    U16,
    /// Two's complement, one register.
    I16,
    /// Unsigned, two registers.
    U32,
    /// Two's complement, two registers.
    I32,
    /// Unsigned, four registers.
    U64,
    /// Two's complement, four registers.
    I64,
    /// IEEE 754 single precision, two registers.
    F32,
    /// IEEE 754 double precision, four registers.
    F64,
    /// Unsigned, one byte of a register.
    U8(Byte),
    /// Two's complement, one byte of a register.
    I8(Byte),
    /// Four decimal digits, one in each half byte of a register.
    Bcd16,
    /// Eight decimal digits, one in each half byte of two registers.
    Bcd32,
    /// A single bit of a bit table, or a whole register that is true unless it is 0.
    Bool,
    /// One bit of a register, 0 is the least significant.
    Bit(u8),
    /// Characters, two in a register; ends at the first zero byte, trailing blanks are cut.
    Text {
        /// How many registers it takes.
        registers: u16,
    },
}

/// One of the two bytes of a register, after its bytes were put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Byte {
    /// The most significant.
    High,
    /// The least significant.
    Low,
}

/// Where a value lies in normal service, in its engineering unit; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    low: f64,
    high: f64,
}

impl ValueRange {
    /// A range from `low` to `high`.
    ///
    /// # Errors
    /// An end is no finite number, or they are in the wrong order.
    pub fn new(low: f64, high: f64) -> Result<Self, AcquisitionError> {
        if low.is_finite() && high.is_finite() && low < high {
            Ok(Self { low, high })
        } else {
            Err(AcquisitionError::Range { low, high })
        }
    }

    /// From its lower to its upper end.
    #[must_use]
    pub fn span(self) -> f64 {
        self.high - self.low
    }

    pub(crate) fn contains(self, number: f64) -> bool {
        (self.low..=self.high).contains(&number)
    }
}

impl RegisterFormat {
    /// The longest text in registers: the most one request can read.
    pub const TEXT_REGISTERS_MAX: u16 = 125;

    /// The name used in configuration and messages, without its parameter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::Bcd16 => "bcd16",
            Self::Bcd32 => "bcd32",
            Self::Bool => "bool",
            Self::Bit(_) => "bit",
            Self::Text { .. } => "text",
        }
    }

    /// How many registers, or bits of a bit table, the value takes.
    #[must_use]
    pub const fn quantity(self) -> u16 {
        match self {
            Self::U16 | Self::I16 | Self::U8(_) | Self::I8(_) | Self::Bcd16 | Self::Bool | Self::Bit(_) => 1,
            Self::U32 | Self::I32 | Self::F32 | Self::Bcd32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
            Self::Text { registers } => registers,
        }
    }

    /// Whether the value is a number, which can be scaled.
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        !matches!(self, Self::Bool | Self::Bit(_) | Self::Text { .. })
    }
}

/// In which order the bytes of a value arrive, named after the bytes A (most significant) to D of a
/// 32-bit value. For the bytes A to H of 64 bits the orders are ABCDEFGH, GHEFCDAB (`cdab`: all four
/// words reversed), BADCFEHG and HGFEDCBA (`dcba`: all eight bytes reversed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WordOrder {
    /// Most significant word and byte first: as the standard sends a register.
    #[default]
    Abcd,
    /// Least significant word first.
    Cdab,
    /// Bytes swapped in each word.
    Badc,
    /// Least significant byte first.
    Dcba,
}

impl WordOrder {
    /// All orders.
    pub const ALL: [Self; 4] = [Self::Abcd, Self::Cdab, Self::Badc, Self::Dcba];

    /// The name used in configuration and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abcd => "abcd",
            Self::Cdab => "cdab",
            Self::Badc => "badc",
            Self::Dcba => "dcba",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    pub(crate) const fn reverses_words(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    pub(crate) const fn swaps_bytes(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }
}

/// The parameters of a tag as configured, not yet checked against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusTagParameters {
    /// The table it lies in.
    pub table: RegisterTable,
    /// Its first register or bit, zero-based.
    pub pdu_address: u16,
    /// How the value lies there.
    pub format: RegisterFormat,
    /// The order of its bytes.
    pub word_order: WordOrder,
    /// What a raw number is multiplied with; 1 where there is nothing to scale.
    pub scale: f64,
    /// What is added after scaling; 0 where there is nothing to add.
    pub offset: f64,
    /// How often it is read.
    pub poll_interval: Duration,
    /// What its values are.
    pub data_type: DataType,
    /// Where its values lie in normal service, if that is known.
    pub range: Option<ValueRange>,
}

/// A tag that can be read: the parameters fit each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusTag {
    parameters: ModbusTagParameters,
    scaling: Scaling,
}

/// From the raw number to the engineering unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scaling {
    /// The raw number is the value.
    Identity,
    /// `(raw + shift) / divisor`: exact to the last bit for decimal scales, so that 231 steps of 0.1
    /// are 23.1 and not 23.1000…01.
    Divide { shift: f64, divisor: f64 },
    /// `raw * scale + offset`.
    Linear { scale: f64, offset: f64 },
}

impl Scaling {
    /// 2^53: whole numbers up to here are exact in an f64.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

    #[expect(clippy::float_cmp, reason = "only the very double nearest to 1/n may be replaced by a division")]
    fn new(scale: f64, offset: f64) -> Self {
        if scale == 1.0 && offset == 0.0 {
            return Self::Identity;
        }
        let divisor = (1.0 / scale).round();
        if divisor.abs() <= Self::EXACT_MAX && divisor != 0.0 && 1.0 / divisor == scale {
            return Self::Divide { shift: offset * divisor, divisor };
        }
        Self::Linear { scale, offset }
    }

    pub(crate) fn apply(self, raw: f64) -> f64 {
        match self {
            Self::Identity => raw,
            Self::Divide { shift, divisor } => (raw + shift) / divisor,
            Self::Linear { scale, offset } => raw * scale + offset,
        }
    }
}

impl ModbusTag {
    /// The shortest poll interval: below it the round trip, not the plan, sets the pace.
    pub const POLL_INTERVAL_MIN: Duration = Duration::from_millis(10);
    /// The longest poll interval.
    pub const POLL_INTERVAL_MAX: Duration = Duration::from_secs(3600);

    /// Checks the parameters of a tag against each other.
    ///
    /// # Errors
    /// The first combination that cannot work.
    pub fn new(parameters: ModbusTagParameters) -> Result<Self, AcquisitionError> {
        check_place(&parameters)?;
        check_format(&parameters)?;
        check_type(&parameters)?;
        check_scaling(&parameters)?;
        crate::connection::check_time(
            "poll_interval",
            parameters.poll_interval,
            Self::POLL_INTERVAL_MIN,
            Self::POLL_INTERVAL_MAX,
        )?;
        let scaling = Scaling::new(parameters.scale, parameters.offset);
        Ok(Self { parameters, scaling })
    }

    /// The tag, read at an interval that was checked before.
    pub(crate) fn with_poll_interval(&self, poll_interval: Duration) -> Self {
        let parameters = ModbusTagParameters { poll_interval, ..self.parameters.clone() };
        Self { parameters, ..self.clone() }
    }

    /// The parameters it was made from.
    #[must_use]
    pub const fn parameters(&self) -> &ModbusTagParameters {
        &self.parameters
    }

    /// How many registers, or bits of a bit table, it takes.
    #[must_use]
    pub const fn quantity(&self) -> u16 {
        self.parameters.format.quantity()
    }

    /// The quality of a decoded value: good within the range of the tag, uncertain outside.
    #[must_use]
    pub fn quality_of(&self, value: &Value) -> Quality {
        match (self.parameters.range, value.as_f64()) {
            (Some(range), Some(number)) if !range.contains(number) => {
                Quality::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
            }
            (Some(_) | None, _) => Quality::GOOD,
        }
    }

    pub(crate) const fn scaling(&self) -> Scaling {
        self.scaling
    }
}

fn check_place(p: &ModbusTagParameters) -> Result<(), AcquisitionError> {
    if p.table.is_bits() && p.format != RegisterFormat::Bool {
        return Err(AcquisitionError::BitTable { format: p.format.name().into(), table: p.table.name() });
    }
    if u32::from(p.pdu_address) + u32::from(p.format.quantity()) > 65_536 {
        return Err(AcquisitionError::BeyondTable { address: p.pdu_address, quantity: p.format.quantity() });
    }
    Ok(())
}

fn check_format(p: &ModbusTagParameters) -> Result<(), AcquisitionError> {
    match p.format {
        RegisterFormat::Bit(bit) if bit > 15 => Err(AcquisitionError::BitNumber { bit }),
        RegisterFormat::Text { registers }
            if !(1..=RegisterFormat::TEXT_REGISTERS_MAX).contains(&registers) =>
        {
            Err(AcquisitionError::TextLength { registers, max: RegisterFormat::TEXT_REGISTERS_MAX })
        }
        RegisterFormat::Text { .. } if p.word_order.reverses_words() => {
            Err(AcquisitionError::TextOrder { order: p.word_order.name() })
        }
        RegisterFormat::U16
        | RegisterFormat::I16
        | RegisterFormat::U32
        | RegisterFormat::I32
        | RegisterFormat::U64
        | RegisterFormat::I64
        | RegisterFormat::F32
        | RegisterFormat::F64
        | RegisterFormat::U8(_)
        | RegisterFormat::I8(_)
        | RegisterFormat::Bcd16
        | RegisterFormat::Bcd32
        | RegisterFormat::Bool
        | RegisterFormat::Bit(_)
        | RegisterFormat::Text { .. } => Ok(()),
    }
}

fn check_type(p: &ModbusTagParameters) -> Result<(), AcquisitionError> {
    let (fits, allowed) = match p.format {
        RegisterFormat::Bool | RegisterFormat::Bit(_) => (p.data_type == DataType::Bool, "bool"),
        RegisterFormat::Text { .. } => (p.data_type == DataType::Text, "text"),
        RegisterFormat::U16
        | RegisterFormat::I16
        | RegisterFormat::U32
        | RegisterFormat::I32
        | RegisterFormat::U64
        | RegisterFormat::I64
        | RegisterFormat::F32
        | RegisterFormat::F64
        | RegisterFormat::U8(_)
        | RegisterFormat::I8(_)
        | RegisterFormat::Bcd16
        | RegisterFormat::Bcd32 => (matches!(p.data_type, DataType::Int | DataType::Float), "int or float"),
    };
    if fits {
        return Ok(());
    }
    Err(AcquisitionError::TypeMismatch {
        format: p.format.name().into(),
        data_type: p.data_type.name(),
        allowed,
    })
}

#[expect(clippy::float_cmp, reason = "1 and 0 mean: not configured")]
fn check_scaling(p: &ModbusTagParameters) -> Result<(), AcquisitionError> {
    if !p.scale.is_normal() {
        return Err(AcquisitionError::Scale { scale: p.scale });
    }
    if !p.offset.is_finite() {
        return Err(AcquisitionError::Offset { offset: p.offset });
    }
    if !p.format.is_numeric() && (p.scale != 1.0 || p.offset != 0.0 || p.range.is_some()) {
        return Err(AcquisitionError::ScaledText { format: p.format.name().into() });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A holding register read once a second as an int.
    pub(crate) fn parameters(format: RegisterFormat) -> ModbusTagParameters {
        let data_type = match format {
            RegisterFormat::Bool | RegisterFormat::Bit(_) => DataType::Bool,
            RegisterFormat::Text { .. } => DataType::Text,
            RegisterFormat::F32 | RegisterFormat::F64 => DataType::Float,
            RegisterFormat::U16
            | RegisterFormat::I16
            | RegisterFormat::U32
            | RegisterFormat::I32
            | RegisterFormat::U64
            | RegisterFormat::I64
            | RegisterFormat::U8(_)
            | RegisterFormat::I8(_)
            | RegisterFormat::Bcd16
            | RegisterFormat::Bcd32 => DataType::Int,
        };
        ModbusTagParameters {
            table: RegisterTable::HoldingRegister,
            pdu_address: 0,
            format,
            word_order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            poll_interval: Duration::from_secs(1),
            data_type,
            range: None,
        }
    }

    fn refused(change: impl FnOnce(&mut ModbusTagParameters)) -> String {
        let mut p = parameters(RegisterFormat::U16);
        change(&mut p);
        ModbusTag::new(p).expect_err("this combination cannot work").to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_is_allowed() {
        for (message, expected) in [
            (refused(|p| p.table = RegisterTable::Coil), "use format bool"),
            (refused(|p| (p.pdu_address, p.format) = (65_535, RegisterFormat::U32)), "last address 65535"),
            (refused(|p| p.format = RegisterFormat::Bit(16)), "to 15"),
            (refused(|p| p.format = RegisterFormat::Text { registers: 126 }), "use 1 to 125"),
            (refused(|p| p.format = RegisterFormat::Text { registers: 0 }), "use 1 to 125"),
            (refused(|p| p.scale = 0.0), "other than 0"),
            (refused(|p| p.scale = f64::NAN), "finite"),
            (refused(|p| p.offset = f64::INFINITY), "finite"),
            (refused(|p| p.data_type = DataType::Bool), "use int or float"),
            (refused(|p| p.format = RegisterFormat::Bit(3)), "use bool"),
            (refused(|p| p.poll_interval = Duration::from_millis(9)), "use 10ms to 3600s"),
        ] {
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_text_has_neither_scale_nor_word_order() {
        let text = parameters(RegisterFormat::Text { registers: 4 });
        assert!(ModbusTag::new(text.clone()).is_ok());
        assert!(ModbusTag::new(ModbusTagParameters { word_order: WordOrder::Badc, ..text.clone() }).is_ok());
        assert!(ModbusTag::new(ModbusTagParameters { word_order: WordOrder::Cdab, ..text.clone() }).is_err());
        assert!(ModbusTag::new(ModbusTagParameters { scale: 0.1, ..text }).is_err());
    }

    #[test]
    fn the_last_address_can_be_read() {
        let p = ModbusTagParameters { pdu_address: 65_535, ..parameters(RegisterFormat::U16) };
        assert!(ModbusTag::new(p).is_ok());
    }

    #[test]
    fn a_range_has_two_ends_in_order_and_belongs_to_a_number() {
        assert!(ValueRange::new(0.0, 0.0).is_err() && ValueRange::new(1.0, f64::INFINITY).is_err());
        let range = Some(ValueRange::new(0.0, 150.0).expect("valid"));
        let bit = ModbusTagParameters { range, ..parameters(RegisterFormat::Bit(1)) };
        assert!(ModbusTag::new(bit).is_err());
        let tag =
            ModbusTag::new(ModbusTagParameters { range, ..parameters(RegisterFormat::I16) }).expect("valid");
        for (value, quality) in [(0, Quality::GOOD), (150, Quality::GOOD), (151, OUTSIDE), (-1, OUTSIDE)] {
            assert_eq!(tag.quality_of(&Value::Int(value)), quality, "{value}");
        }
    }

    const OUTSIDE: Quality = Quality::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED;

    #[test]
    fn every_name_finds_its_way_back() {
        for table in RegisterTable::ALL {
            assert_eq!(RegisterTable::from_name(table.name()), Some(table));
        }
        for order in WordOrder::ALL {
            assert_eq!(WordOrder::from_name(order.name()), Some(order));
        }
    }
}
