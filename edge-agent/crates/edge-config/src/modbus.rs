//! The Modbus part of a machine file: `[modbus_tcp]`, `[modbus_rtu]`, `[modbus_rtu_over_tcp]` and the
//! registers of its tags.

use std::time::Duration;

use acquisition::{
    AfterRead, Bridging, Byte, Grouping, ModbusAddress, ModbusConnection, ModbusConnectionParameters,
    ModbusTag, ModbusTagParameters, Parity, PlanLimits, Quirks, RegisterFormat, RegisterTable, SerialLine,
    ValueRange, WordOrder, WritePath,
};
use plant_model::DataType;

use crate::section::Section;

/// What carries the frames.
#[derive(Clone, Copy)]
pub(crate) enum Carrier {
    Tcp,
    Rtu,
    RtuOverTcp,
}

impl Carrier {
    /// The table of a machine file.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tcp => "modbus_tcp",
            Self::Rtu => "modbus_rtu",
            Self::RtuOverTcp => "modbus_rtu_over_tcp",
        }
    }
}

pub(crate) fn connection(
    section: &mut Section<'_>,
    carrier: Carrier,
    tags: Vec<ModbusTag>,
) -> Option<ModbusConnection> {
    let address = match carrier {
        Carrier::Tcp => host_and_port(section).map(|(host, port)| ModbusAddress::Tcp { host, port }),
        Carrier::RtuOverTcp => {
            host_and_port(section).map(|(host, port)| ModbusAddress::RtuOverTcp { host, port })
        }
        Carrier::Rtu => serial_line(section).map(ModbusAddress::Rtu),
    };
    let unit_id = section.integer("unit_id", 0..=255).unwrap_or(1);
    let timeout = section.millis("timeout_ms", 20..=30_000, 1_000);
    let quirks = quirks(section);
    let write_path = write_path(section, carrier);
    let quirks = Quirks { soft_deadline: soft_deadline(section, timeout)?, write_path, ..quirks };
    if tags.is_empty() {
        return None;
    }
    let unit_id = u8::try_from(unit_id).ok()?;
    let parameters = ModbusConnectionParameters { address: address?, unit_id, timeout, quirks };
    let key = if matches!(carrier, Carrier::Rtu) { "device" } else { "host" };
    ModbusConnection::new(parameters, tags).map_err(|error| section.problem(key, error.to_string())).ok()
}

const WRITE_PATHS: [(&str, WritePath); 2] =
    [(WritePath::Shared.name(), WritePath::Shared), (WritePath::Own.name(), WritePath::Own)];

/// Over which connection outputs write.
fn write_path(section: &mut Section<'_>, carrier: Carrier) -> Option<WritePath> {
    let path = section.choice("output_connection", &WRITE_PATHS)?;
    if path == WritePath::Own && !matches!(carrier, Carrier::Tcp) {
        section.problem(
            "output_connection",
            "two connections to one serial line would talk at once; leave it out, or reach the machine over [modbus_tcp]",
        );
    }
    Some(path)
}

/// `None` inside: there is none.
fn soft_deadline(section: &mut Section<'_>, timeout: Duration) -> Option<Option<Duration>> {
    let Some(millis) = section.integer("soft_deadline_ms", 10..=29_999) else { return Some(None) };
    let soft = Duration::from_millis(u64::try_from(millis).ok()?);
    if soft >= timeout {
        let hard = timeout.as_millis();
        section.problem("soft_deadline_ms", format!("must be shorter than timeout_ms, which is {hard}"));
        return None;
    }
    Some(Some(soft))
}

fn host_and_port(section: &mut Section<'_>) -> Option<(String, u16)> {
    let host = section.required_text("host", "the name or address of the machine");
    let port = section.integer("port", 1..=65_535).unwrap_or(502);
    Some((host?.to_owned(), u16::try_from(port).ok()?))
}

const PARITIES: [(&str, Parity); 3] = [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];

fn serial_line(section: &mut Section<'_>) -> Option<SerialLine> {
    let device = section.required_text("device", "a device file such as /dev/serial/by-id/usb-…");
    let baud_rate = section.integer("baud_rate", 1_200..=921_600).unwrap_or(19_200);
    let parity = section.choice("parity", &PARITIES).unwrap_or_default();
    let data_bits = section.integer("data_bits", 8..=8).unwrap_or(8);
    // A character has eleven bits: without parity a second stop bit takes its place.
    let stop_default = if parity == Parity::None { 2 } else { 1 };
    let stop_bits = section.integer("stop_bits", 1..=2).unwrap_or(stop_default);
    Some(SerialLine {
        device: device?.to_owned(),
        baud_rate: u32::try_from(baud_rate).ok()?,
        parity,
        data_bits: u8::try_from(data_bits).ok()?,
        stop_bits: u8::try_from(stop_bits).ok()?,
    })
}

fn quirks(section: &mut Section<'_>) -> Quirks {
    let most = PlanLimits::default();
    let mut limit = |key, range, default: u16| {
        section.integer(key, range).and_then(|n| u16::try_from(n).ok()).unwrap_or(default)
    };
    let max_registers = limit("max_registers", 1..=125, most.max_registers);
    let max_coils = limit("max_coils", 1..=2_000, most.max_coils);
    let max_gap = limit("max_gap", 0..=2_000, most.max_gap);
    let bridging = if section.has("max_gap") { Bridging::Fixed } else { Bridging::Measured };
    let alone = section.flag("one_request_per_tag").unwrap_or(false);
    let closes = section.flag("close_after_read").unwrap_or(false);
    let grouping = if alone { Grouping::OneTagEach } else { Grouping::Shared };
    Quirks {
        pause_after_connect: section.millis("pause_after_connect_ms", 0..=10_000, 0),
        pause_between_requests: section.millis("pause_between_requests_ms", 0..=10_000, 0),
        limits: PlanLimits { max_registers, max_coils, max_gap, bridging, grouping },
        after_read: if closes { AfterRead::Close } else { AfterRead::Keep },
        soft_deadline: None,
        write_path: None,
    }
}

const ORDERS: [(&str, WordOrder); 4] = [
    ("abcd", WordOrder::Abcd),
    ("cdab", WordOrder::Cdab),
    ("badc", WordOrder::Badc),
    ("dcba", WordOrder::Dcba),
];

pub(crate) fn register(section: &mut Section<'_>, data_type: Option<DataType>) -> Option<ModbusTag> {
    let place = address(section);
    let format = format(section);
    let word_order = section.choice("word_order", &ORDERS).unwrap_or_default();
    let scale = section.number("scale").unwrap_or(1.0);
    let offset = section.number("offset").unwrap_or(0.0);
    let poll_interval = section.millis("poll_interval_ms", 10..=3_600_000, 1_000);
    let range = range(section);
    let (table, pdu_address) = place?;
    let (format, data_type) = (format?, data_type?);
    let parameters = ModbusTagParameters {
        table,
        pdu_address,
        format,
        word_order,
        scale,
        offset,
        poll_interval,
        data_type,
        range,
    };
    ModbusTag::new(parameters).map_err(|error| section.problem("format", error.to_string())).ok()
}

fn address(section: &mut Section<'_>) -> Option<(RegisterTable, u16)> {
    let given: Vec<RegisterTable> =
        RegisterTable::ALL.into_iter().filter(|table| section.has(table.name())).collect();
    match given.as_slice() {
        [table] => {
            let address = section.integer(table.name(), 0..=65_535)?;
            Some((*table, u16::try_from(address).ok()?))
        }
        [] => {
            section.problem(
                "holding_register",
                "is missing; the zero-based address is needed under one of holding_register, input_register, coil, discrete_input",
            );
            None
        }
        [_, second, ..] => {
            section.problem(second.name(), "a tag lies in one table; keep one address");
            None
        }
    }
}

fn range(section: &mut Section<'_>) -> Option<ValueRange> {
    let (low, high) = section.pair("range")?;
    ValueRange::new(low, high).map_err(|error| section.problem("range", error.to_string())).ok()
}

/// Words of `format`. Some take their parameter from a key of their own.
#[derive(Clone, Copy)]
enum Format {
    Plain(RegisterFormat),
    Byte(fn(Byte) -> RegisterFormat),
    Bit,
    Text,
}

fn format(section: &mut Section<'_>) -> Option<RegisterFormat> {
    let words = [
        ("u16", Format::Plain(RegisterFormat::U16)),
        ("i16", Format::Plain(RegisterFormat::I16)),
        ("u32", Format::Plain(RegisterFormat::U32)),
        ("i32", Format::Plain(RegisterFormat::I32)),
        ("u64", Format::Plain(RegisterFormat::U64)),
        ("i64", Format::Plain(RegisterFormat::I64)),
        ("f32", Format::Plain(RegisterFormat::F32)),
        ("f64", Format::Plain(RegisterFormat::F64)),
        ("u8", Format::Byte(RegisterFormat::U8)),
        ("i8", Format::Byte(RegisterFormat::I8)),
        ("bcd16", Format::Plain(RegisterFormat::Bcd16)),
        ("bcd32", Format::Plain(RegisterFormat::Bcd32)),
        ("bool", Format::Plain(RegisterFormat::Bool)),
        ("bit", Format::Bit),
        ("text", Format::Text),
    ];
    match section.required_choice("format", &words)? {
        Format::Plain(format) => Some(format),
        Format::Byte(format) => {
            section.required_choice("byte", &[("high", Byte::High), ("low", Byte::Low)]).map(format)
        }
        Format::Bit => {
            let bit = section.required_integer("bit", 0..=15)?;
            Some(RegisterFormat::Bit(u8::try_from(bit).ok()?))
        }
        Format::Text => {
            let registers = section.required_integer("registers", 1..=125)?;
            Some(RegisterFormat::Text { registers: u16::try_from(registers).ok()? })
        }
    }
}
