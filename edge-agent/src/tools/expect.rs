//! Which type, byte order and scale turn registers into the number on a machine's display.
//!
//! A number fits if it is the expected one after rounding to the digits that were given. Scales are
//! powers of ten. A signed type is left out where the unsigned one gives the same number, and so is a
//! byte order that changes nothing.

use acquisition::{RegisterFormat, RegisterTable, WordOrder};
use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::interpret::{NUMBERS, decode, is_float, written};

/// The best so many are shown: beyond them it is chance.
const MATCHES_MAX: usize = 12;

/// The number on the display.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expected {
    number: f64,
    tolerance: f64,
}

impl Expected {
    /// # Errors
    /// It is no number, or zero, which fits everything.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let point = text.replace(',', ".");
        let number: f64 = point
            .parse()
            .with_context(|| format!("--expect {text:?} is no number; write for example 229.01"))?;
        ensure!(number.is_finite(), "--expect {text:?} is no finite number");
        ensure!(number != 0.0, "--expect 0 fits too much; take a moment when the display is not 0");
        let decimals = point.split_once('.').map_or(0, |(_, digits)| digits.len());
        let half = 0.5 * 10_f64.powi(-i32::try_from(decimals).unwrap_or(i32::MAX));
        // A display of many digits may show more than a single holds.
        Ok(Self { number, tolerance: (half * 1.000_001).max(number.abs() * 1e-7) })
    }

    fn fits(self, number: f64) -> bool {
        (number - self.number).abs() <= self.tolerance
    }
}

/// A way to read the expected number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Match {
    pub address: u16,
    pub format: &'static str,
    pub word_order: &'static str,
    pub scale: f64,
    pub value: String,
    /// The same as keys of a tag.
    pub config: String,
    #[serde(skip)]
    rank: (u8, u32, u16),
}

/// The ways to read the expected number from registers that begin at `start`, the likeliest first.
pub(crate) fn find(expected: Expected, table: RegisterTable, start: u16, words: &[u16]) -> Vec<Match> {
    let mut matches = Vec::new();
    for (address, position) in (start..).zip(0..words.len()) {
        for format in NUMBERS {
            let Some(window) = words.get(position..position + usize::from(format.quantity())) else {
                continue;
            };
            for order in orders(window, format) {
                matches.extend(best_scale(expected, table, address, window, format, order));
            }
        }
    }
    matches.sort_by_key(|m| m.rank);
    matches.truncate(MATCHES_MAX);
    matches
}

/// The orders that read these registers in different ways.
fn orders(words: &[u16], format: RegisterFormat) -> Vec<WordOrder> {
    let mut seen = Vec::new();
    WordOrder::ALL
        .into_iter()
        .filter(|order| {
            let value = decode(words, format, *order, 1.0);
            let is_new = value.is_some() && !seen.contains(&value);
            seen.push(value);
            is_new
        })
        .collect()
}

fn best_scale(
    expected: Expected,
    table: RegisterTable,
    address: u16,
    words: &[u16],
    format: RegisterFormat,
    order: WordOrder,
) -> Option<Match> {
    if let Some(unsigned) = unsigned(format)
        && decode(words, format, order, 1.0) == decode(words, unsigned, order, 1.0)
    {
        return None;
    }
    let exponents = [0, -1, -2, -3, 1, 2, 3, -4, -5, -6];
    let allowed = if is_float(format) { &exponents[..7] } else { &exponents[..] };
    allowed.iter().find_map(|exponent| {
        let scale = power_of_ten(*exponent);
        let value = decode(words, format, order, scale)?;
        if !expected.fits(value.as_f64()?) {
            return None;
        }
        Some(Match {
            address,
            format: format.name(),
            word_order: order.name(),
            scale,
            value: written(format, Some(&value)),
            config: config(table, address, format, order, scale),
            rank: rank(format, order, *exponent),
        })
    })
}

fn unsigned(signed: RegisterFormat) -> Option<RegisterFormat> {
    let pairs = [
        (RegisterFormat::I16, RegisterFormat::U16),
        (RegisterFormat::I32, RegisterFormat::U32),
        (RegisterFormat::I64, RegisterFormat::U64),
    ];
    pairs.into_iter().find(|(s, _)| *s == signed).map(|(_, unsigned)| unsigned)
}

/// Parsed, because 10^-2 computed by powers is not always the double that is written 0.01.
fn power_of_ten(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().expect("a power of ten is a number")
}

/// A float that fits as it is cannot be chance; an integer needs its scale; the usual orders first.
fn rank(format: RegisterFormat, order: WordOrder, exponent: i32) -> (u8, u32, u16) {
    let order = match order {
        WordOrder::Abcd => 0,
        WordOrder::Cdab => 1,
        WordOrder::Badc | WordOrder::Dcba => 2,
    };
    let kind = match (is_float(format), exponent) {
        (true, 0) => 0,
        (false, _) => 1 + order,
        (true, _) => 4,
    };
    (kind, exponent.unsigned_abs(), format.quantity() * 4 + u16::from(order))
}

fn config(
    table: RegisterTable,
    address: u16,
    format: RegisterFormat,
    order: WordOrder,
    scale: f64,
) -> String {
    let mut keys = vec![format!("{} = {address}", table.name()), format!("format = \"{}\"", format.name())];
    if order != WordOrder::Abcd {
        keys.push(format!("word_order = \"{}\"", order.name()));
    }
    if (scale - 1.0).abs() > f64::EPSILON {
        keys.push(format!("scale = {scale}"));
    }
    keys.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(expected: &str, words: &[u16]) -> Vec<Match> {
        let expected = Expected::parse(expected).expect("a number");
        find(expected, RegisterTable::HoldingRegister, 100, words)
    }

    /// The words of 229.01 as a single in each order.
    fn single(order: WordOrder) -> [u16; 2] {
        match order {
            WordOrder::Abcd => [0x4365, 0x028F],
            WordOrder::Cdab => [0x028F, 0x4365],
            WordOrder::Badc => [0x6543, 0x8F02],
            WordOrder::Dcba => [0x8F02, 0x6543],
        }
    }

    #[test]
    fn f7_a_known_value_names_the_byte_order_of_a_float() {
        for order in WordOrder::ALL {
            let [high, low] = single(order);
            let best = found("229.01", &[7, high, low, 9]).remove(0);
            let said = (best.address, best.format, best.word_order, best.value.as_str());
            assert_eq!(said, (101, "f32", order.name(), "229.01"));
        }
    }

    #[test]
    fn f7_a_scaled_integer_is_found_with_its_scale_as_configuration() {
        let best = found("229.01", &[22_901]).remove(0);
        assert_eq!((best.format, best.value.as_str()), ("u16", "229.01"));
        assert_eq!(best.config, "holding_register = 100\nformat = \"u16\"\nscale = 0.01");
        let negative = found("-12.5", &[(-125_i16).cast_unsigned()]).remove(0);
        assert_eq!((negative.format, negative.scale.to_string()), ("i16", "0.1".to_owned()));
    }

    #[test]
    fn a_display_rounds_what_the_register_holds() {
        assert_eq!(found("229.0", &[22_901]).len(), 1);
        assert!(found("229.10", &[22_901]).is_empty());
    }

    #[test]
    fn what_the_agent_would_read_is_the_expected_value() {
        for found in found("1234567", &[0x12, 0xD687, 0x12]) {
            let text = format!(
                "version = 1\nid = \"m\"\n[modbus_tcp]\nhost = \"h\"\n[[tags]]\nid = \"t\"\ndata_type = \"int\"\n{}",
                found.config
            );
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(folder.path().join("machines.d")).expect("created");
            std::fs::write(folder.path().join("machines.d/m.toml"), text).expect("written");
            let agent = "version = 1\ntenant = \"t\"\ngateway = \"g\"\n[buffer]\npath = \"b\"";
            std::fs::write(folder.path().join("agent.toml"), agent).expect("written");
            edge_config::load(folder.path()).expect("the configuration is ready to use");
        }
    }

    #[test]
    fn zero_and_words_are_refused_with_the_way_out() {
        assert!(Expected::parse("0").expect_err("zero").to_string().contains("not 0"));
        assert!(Expected::parse("hot").expect_err("a word").to_string().contains("229.01"));
        assert!(Expected::parse("229,01").is_ok(), "a comma is a point in half of the world");
    }
}
