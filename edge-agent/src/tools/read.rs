//! `edge-agent read`: a few registers in every type and order, and which of them give a known value.

use std::io::Write;
use std::time::Duration;

use acquisition::{RegisterFormat, RegisterTable, WordOrder};
use driver_modbus::probe::Probe;
use serde::Serialize;

use super::expect::{self, Expected, Match};
use super::interpret::{decode, written};
use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, print, runtime};
use crate::cli::ReadModbusArguments;

/// What was read, and how it can be understood.
#[derive(Debug, Serialize)]
struct Registers {
    protocol: &'static str,
    address: String,
    unit_id: u8,
    table: &'static str,
    registers: Vec<Register>,
    /// Two registers as one value, in each order.
    pairs: Vec<Wide>,
    /// Four registers as one value, in each order.
    quads: Vec<Wide>,
    /// Only with `--expect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<Vec<Match>>,
}

#[derive(Debug, Serialize)]
struct Register {
    address: u16,
    hex: String,
    unsigned: u16,
    signed: i16,
    bits: String,
}

#[derive(Debug, Serialize)]
struct Wide {
    address: u16,
    word_order: &'static str,
    unsigned: String,
    signed: String,
    float: String,
}

pub(crate) fn modbus(arguments: &ReadModbusArguments) -> anyhow::Result<Found> {
    let expected = arguments.expect.as_deref().map(Expected::parse).transpose()?;
    let registers = runtime()?.block_on(read(arguments, expected))?;
    print(Output::json(arguments.json), &registers, write)?;
    let nothing = registers.matches.as_ref().is_some_and(Vec::is_empty);
    Ok(if nothing { Found::Nothing } else { Found::Something })
}

async fn read(arguments: &ReadModbusArguments, expected: Option<Expected>) -> anyhow::Result<Registers> {
    let mut probe = Probe::new(arguments.target.address(), Duration::from_millis(arguments.timeout_ms));
    let table = RegisterTable::from(arguments.table);
    let start = arguments.register;
    let words = probe.read(arguments.unit, table, start, arguments.count).await?;
    let is_bits = table.is_bits();
    let wide = |formats| if is_bits { Vec::new() } else { wide(start, &words, formats) };
    Ok(Registers {
        protocol: probe.address().protocol(),
        address: probe.address().to_string(),
        unit_id: arguments.unit,
        table: table.name(),
        registers: (start..).zip(&words).map(|(address, word)| register(address, *word)).collect(),
        pairs: wide([RegisterFormat::U32, RegisterFormat::I32, RegisterFormat::F32]),
        quads: wide([RegisterFormat::U64, RegisterFormat::I64, RegisterFormat::F64]),
        matches: expected.map(|expected| expect::find(expected, table, start, &words)),
    })
}

fn register(address: u16, word: u16) -> Register {
    Register {
        address,
        hex: format!("{word:04X}"),
        unsigned: word,
        signed: word.cast_signed(),
        bits: format!("{:04b} {:04b} {:04b} {:04b}", word >> 12, word >> 8 & 15, word >> 4 & 15, word & 15),
    }
}

fn wide(start: u16, words: &[u16], formats: [RegisterFormat; 3]) -> Vec<Wide> {
    let width = usize::from(formats[0].quantity());
    let rows = (start..).zip(words.windows(width));
    rows.flat_map(|(address, window)| {
        WordOrder::ALL.into_iter().map(move |order| {
            let [unsigned, signed, float] =
                formats.map(|format| written(format, decode(window, format, order, 1.0).as_ref()));
            Wide { address, word_order: order.name(), unsigned, signed, float }
        })
    })
    .collect()
}

fn write(out: &mut dyn Write, paint: Paint, read: &Registers) -> std::io::Result<()> {
    writeln!(out, "{} unit {}, {}\n", read.address, read.unit_id, read.table)?;
    let mut table = Table::new(&[">address", "hex", ">u16", ">i16", "bits 15 to 0"]);
    for r in &read.registers {
        let cells = [r.address.into(), (&r.hex).into(), r.unsigned.into(), r.signed.into()];
        table.row(cells.into_iter().chain([Cell::from(&r.bits)]));
    }
    table.write(out, paint)?;
    write_wide(out, paint, &read.pairs, &[">address", "order", ">u32", ">i32", ">f32"])?;
    write_wide(out, paint, &read.quads, &[">address", "order", ">u64", ">i64", ">f64"])?;
    match &read.matches {
        None => Ok(()),
        Some(matches) => write_matches(out, paint, matches),
    }
}

fn write_wide(
    out: &mut dyn Write,
    paint: Paint,
    rows: &[Wide],
    headers: &[&'static str],
) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(headers);
    for w in rows {
        let cells = [&w.unsigned, &w.signed, &w.float].map(Cell::from);
        table.row([w.address.into(), w.word_order.into()].into_iter().chain(cells));
    }
    writeln!(out)?;
    table.write(out, paint)
}

fn write_matches(out: &mut dyn Write, paint: Paint, matches: &[Match]) -> std::io::Result<()> {
    let Some(best) = matches.first() else {
        let nothing = paint.text(Tone::Bad, "nothing fits the expected value");
        return writeln!(
            out,
            "\n{nothing}: read more registers (--count), another table (--table input), or check the address \
             (manuals count from 1)"
        );
    };
    writeln!(out, "\n{}", paint.text(Tone::Good, "these fit the expected value, the likeliest first:"))?;
    let mut table = Table::new(&[">address", "format", "order", ">scale", ">value"]);
    for m in matches {
        let cells = [m.address.into(), m.format.into(), m.word_order.into(), m.scale.into()];
        table.row(cells.into_iter().chain([Cell::from(&m.value)]));
    }
    table.write(out, paint)?;
    writeln!(out, "\nfor the tag's configuration:\n{}", best.config)
}

#[cfg(test)]
mod tests {
    use super::super::test_server::TestServer;
    use super::*;
    use crate::cli::modbus::{ModbusTarget, TableName};

    fn arguments(server: &TestServer) -> ReadModbusArguments {
        ReadModbusArguments {
            target: ModbusTarget::local(server.port),
            unit: 1,
            register: 10,
            count: 4,
            table: TableName::Holding,
            expect: None,
            timeout_ms: 2_000,
            json: false,
        }
    }

    fn text(read: &Registers) -> String {
        let mut out = Vec::new();
        write(&mut out, Paint::Plain, read).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[tokio::test]
    async fn f7_registers_are_shown_in_all_types_and_the_expected_value_is_named() {
        let server = TestServer::registers([(10, 0x8F02), (11, 0x6543), (12, 0xFFFE), (13, 1)]).await;
        let expected = Expected::parse("229.01").expect("a number");
        let read = read(&arguments(&server), Some(expected)).await.expect("read");
        assert_eq!((read.registers.len(), read.pairs.len(), read.quads.len()), (4, 12, 4));
        assert_eq!((read.registers[2].signed, read.registers[2].unsigned), (-2, 65_534));
        let best = &read.matches.as_ref().expect("asked for")[0];
        assert_eq!((best.address, best.format, best.word_order), (10, "f32", "dcba"));
        let text = text(&read);
        assert!(text.ends_with("holding_register = 10\nformat = \"f32\"\nword_order = \"dcba\"\n"), "{text}");
        assert!(text.contains("1111 1111 1111 1110"), "{text}");
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_try_next() {
        let server = TestServer::start(|asked| Some(vec![asked.function | 0x80, 2])).await;
        let error = read(&arguments(&server), None).await.expect_err("refused").to_string();
        assert!(error.contains("exception 02") && error.contains("try another address"), "{error}");
    }

    #[tokio::test]
    async fn nothing_that_fits_is_said_with_what_to_try() {
        let server = TestServer::registers([(10, 1), (11, 2), (12, 3), (13, 4)]).await;
        let expected = Expected::parse("229.01").expect("a number");
        let read = read(&arguments(&server), Some(expected)).await.expect("read");
        assert!(text(&read).contains("nothing fits the expected value: read more registers"));
    }
}
