//! Rule files as nobody would write them: whatever stands in a file, reading it ends with a machine or with
//! mistakes, and what is accepted runs in the alarm engine.
//!
//! Files and expressions of a small corpus are mutated at random, from a fixed seed, for `FUZZ_SECONDS` (2 if it is
//! not set).

use std::path::Path;
use std::time::{Duration, Instant};

use alarm_engine::{AlarmEngine, Expression, Link};
use edge_config::{MachineConfig, read_machine};
use plant_model::{Monotonic, Quality, Sample, Timestamp, Value};

const MACHINE: &str = "version = 1\nid = \"press-1\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = 502\n\
    [[tags]]\nid = \"t\"\ndata_type = \"float\"\nholding_register = 0\nformat = \"i16\"\nscale = 0.1\n\
    [[tags]]\nid = \"flow\"\ndata_type = \"float\"\nholding_register = 1\nformat = \"u16\"\nscale = 0.5\n\
    [[tags]]\nid = \"state\"\ndata_type = \"int\"\nholding_register = 2\nformat = \"u16\"\n\
    [[tags]]\nid = \"pump_on\"\ndata_type = \"bool\"\nholding_register = 3\nformat = \"bit\"\nbit = 2\n";

const ALARMS: [&str; 9] = [
    "kind = \"high\"\ntag = \"t\"\nlimit = 80.0\ndeadband = 2\non_delay_ms = 100\noff_delay_ms = 50\n",
    "kind = \"low_low\"\ntag = \"flow\"\nlimit = -1e3\nlatching = true\nacknowledge = \"required\"\n",
    "kind = \"deviation\"\ntag = \"t\"\nsetpoint_tag = \"flow\"\nlimit = 5\ndeadband = 1\n",
    "kind = \"rate_of_change\"\ntag = \"t\"\nlimit = 0.5\nover_ms = 1000\n",
    "kind = \"off_normal\"\ntag = \"state\"\nnormal = [0, 1]\ngroup = \"trip\"\n",
    "kind = \"stale\"\ntag = \"state\"\nafter_ms = 200\nre_alarm_minutes = 1\n",
    "kind = \"bad_quality\"\ntag = \"pump_on\"\nshelve_max_minutes = 60\n",
    "kind = \"communication\"\nsuppress_while = \"state == 3\"\n",
    "kind = \"expression\"\nexpression = \"pump_on and flow < 5\"\nsuppress_while = \"not pump_on\"\n",
];

const EXPRESSIONS: [&str; 6] = [
    "pump_on and flow < 5",
    "not (t >= 80.5 or state == 3) && !pump_on",
    "t > flow || t != -1e3 and (true or false)",
    "((((state <= 2))))",
    "t<1e308 or 1e309>t",
    "pump_on == false AND NOT state",
];

/// Pieces that are put anywhere.
const PIECES: [&str; 32] = [
    "(",
    ")",
    "and",
    "or",
    "not",
    "!",
    "&&",
    "||",
    "<",
    "<=",
    "==",
    "!=",
    "t",
    "flow",
    "state",
    "1e999",
    "-0",
    "NaN",
    "\u{0}",
    "\u{1F525}",
    "\"",
    "'''",
    "\\",
    "\n",
    " = ",
    "[[alarms]]",
    "[",
    "{",
    "-9223372036854775808",
    "1e-400",
    "limit",
    "é",
];

/// Values in the place of others.
const VALUES: [&str; 12] = [
    "0",
    "-0.0",
    "1",
    "1e308",
    "-1e-308",
    "nan",
    "inf",
    "86_400_000",
    "-7",
    "true",
    "\"t\"",
    "[1, true, \"x\"]",
];

/// xorshift64*: fast, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap_or(0) % end.max(1)
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// One change: a piece or a character more, some characters less, moved, doubled or from another text.
    fn mutate(&mut self, text: &mut Vec<char>, others: &[&str]) {
        let (at, len) = (self.below(text.len() + 1), 1 + self.below(12));
        let end = (at + len).min(text.len());
        let new: Vec<char> = match self.below(6) {
            0 => self.of(&PIECES).chars().collect(),
            1 => char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap_or(0)).into_iter().collect(),
            2 => {
                text.drain(at..end);
                Vec::new()
            }
            3 => text[at..end].repeat(1 + self.below(40)),
            4 => {
                let other: Vec<char> = self.of(others).chars().collect();
                let from = self.below(other.len());
                other[from..(from + len).min(other.len())].to_vec()
            }
            _ => text.drain(at..end).rev().collect(),
        };
        let at = self.below(text.len() + 1);
        text.splice(at..at, new);
    }

    fn mutated(&mut self, from: &str, others: &[&str]) -> String {
        let mut text: Vec<char> = from.chars().collect();
        for _ in 0..1 + self.below(3) {
            self.mutate(&mut text, others);
        }
        text.into_iter().collect()
    }

    fn file(&mut self) -> String {
        let mut alarms = String::new();
        for number in 0..1 + self.below(4) {
            let (rule, id) = (self.of(&ALARMS), format!("id = \"alarm-{number}\"\n"));
            alarms += &format!("[[alarms]]\n{id}message = \"look\"\n{rule}");
        }
        match self.below(4) {
            // Values, the rules, the whole file, or an expression in a file that is good.
            0 => format!("{MACHINE}{}", self.revalued(&alarms)),
            1 => format!("{MACHINE}{}", self.mutated(&alarms, &ALARMS)),
            2 => self.mutated(&format!("{MACHINE}{alarms}"), &ALARMS),
            _ => {
                let text = self.mutated_expression().replace('\\', "\\\\").replace('"', "\\\"");
                let rule = format!("kind = \"expression\"\nexpression = \"{text}\"\n");
                format!("{MACHINE}[[alarms]]\nid = \"e\"\nmessage = \"look\"\n{rule}")
            }
        }
    }

    /// The same keys, now and then with another value.
    fn revalued(&mut self, rules: &str) -> String {
        let line = |line: &str| match line.split_once(" = ") {
            Some((key, _)) if self.below(6) == 0 => format!("{key} = {}\n", self.of(&VALUES)),
            Some(_) | None => format!("{line}\n"),
        };
        rules.lines().map(line).collect()
    }

    fn mutated_expression(&mut self) -> String {
        let from = self.of(&EXPRESSIONS);
        self.mutated(from, &EXPRESSIONS)
    }

    fn sample(&mut self) -> Sample {
        const NUMBERS: [f64; 8] = [0.0, -0.0, 81.0, -1e9, f64::MAX, f64::NAN, f64::INFINITY, 5.0];
        let value = match self.below(5) {
            0 => Some(Value::Bool(self.below(2) == 0)),
            1 => Some(Value::Int(i64::try_from(self.below(5)).unwrap_or(0) - 2)),
            2 => None,
            3 => Some(Value::Int(i64::MIN)),
            _ => Some(Value::Float(NUMBERS[self.below(NUMBERS.len())])),
        };
        let quality = if self.below(6) == 0 { Quality::BAD_TIMEOUT } else { Quality::GOOD };
        Sample { value, quality, source_timestamp: None, gateway_timestamp: Timestamp::from_micros(5) }
    }
}

/// Runs what was accepted: values of every kind, lost connections, and timers.
fn exercise(machine: MachineConfig, random: &mut Random) {
    let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
    let (count, wall) = (tags.len(), Timestamp::from_micros(5));
    let mut engine = AlarmEngine::new(machine.id, &tags, machine.alarms).expect("what is accepted runs");
    let mut out = Vec::new();
    engine.handle_link(Link::Up, Monotonic::default(), wall, &mut out);
    for step in 1..=12 {
        let now = Monotonic::from_micros(step * 70_000);
        match random.below(8) {
            0 => engine.handle_timeout(now, wall, &mut out),
            1 => engine.handle_link(Link::Down, now, wall, &mut out),
            _ if count > 0 => {
                let sample = random.sample();
                engine.handle_sample(random.below(count), &sample, now, wall, &mut out);
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_stands_in_a_rule_file_it_is_read_or_refused_and_what_is_accepted_runs() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    let (end, mut random) = (Instant::now() + Duration::from_secs(seconds), Random(0x9E37_79B9_7F4A_7C15));
    let (mut files, mut accepted, mut expressions, mut parsed) = (0_u64, 0_u64, 0_u64, 0_u64);
    while Instant::now() < end {
        let file = random.file();
        files += 1;
        match read_machine(Path::new("m.toml"), &file) {
            Ok(machine) => {
                accepted += 1;
                exercise(machine, &mut random);
            }
            Err(mistakes) => assert!(!mistakes.to_string().is_empty(), "a refusal says why:\n{file}"),
        }
        for _ in 0..50 {
            let text = random.mutated_expression();
            expressions += 1;
            match Expression::parse(&text) {
                Ok(expression) => {
                    parsed += 1;
                    assert!(expression.tags().len() <= Expression::TAGS_MAX, "{text}");
                }
                Err(error) => assert!(!error.to_string().is_empty(), "a refusal says why: {text}"),
            }
        }
    }
    println!("{files} files ({accepted} accepted), {expressions} expressions ({parsed} accepted)");
    assert!(accepted > 0 && accepted < files, "{accepted} of {files} files: the corpus is of no use");
    assert!(parsed > 0 && parsed < expressions, "{parsed} of {expressions} expressions");
}
