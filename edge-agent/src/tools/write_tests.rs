use std::sync::{Arc, Mutex};

use super::super::test_server::{TestServer, answer};
use super::*;
use crate::cli::{Cli, Command, WriteCommand};

/// The arguments of `write modbus`.
fn arguments(port: u16, rest: &str) -> Box<WriteModbusArguments> {
    use clap::Parser as _;
    let line = format!("edge-agent write modbus --host 127.0.0.1 --port {port} {rest}");
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("a command line");
    let Command::Write(WriteCommand::Modbus(arguments)) = cli.command else { panic!("another command") };
    arguments
}

fn order(port: u16, rest: &str) -> Order {
    let arguments = arguments(port, rest);
    let tag = arguments.tag().expect("a tag");
    let probe = Probe::new(arguments.target.address(), std::time::Duration::from_millis(200));
    let value = value(&arguments.value, tag.parameters().data_type).expect("a value");
    Order { target: Target::new(&probe, arguments.unit, &tag), probe, tag, value }
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.folder.path().join("writes.jsonl")).expect("opened")
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("writes.jsonl")).expect("there");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn outcomes(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["outcome"].as_str().expect("a text").to_owned()).collect()
    }
}

async fn written_to(port: u16, rest: &str, files: &Files) -> Result<Report> {
    carry_out(order(port, rest), |_| Ok(true), &mut files.journal()).await
}

#[tokio::test]
async fn every_format_is_written_in_its_order_and_read_back() {
    let files = Files::new();
    for (options, words) in [
        ("--register 10 --value 7", vec![7]),
        ("--register 10 --format i16 --value -2", vec![0xFFFE]),
        ("--register 10 --format i16 --scale 0.1 --value 23.14", vec![231]),
        ("--register 10 --format f32 --value 229.01", vec![0x4365, 0x028F]),
        ("--register 10 --format f32 --word-order cdab --value 229.01", vec![0x028F, 0x4365]),
        ("--register 10 --format u32 --word-order dcba --value 1", vec![0x0100, 0]),
        ("--register 10 --format bcd16 --value 1234", vec![0x1234]),
        ("--register 10 --format f64 --value -0.5", vec![0xBFE0, 0, 0, 0]),
        ("--register 10 --format text --registers 2 --value abc", vec![0x6162, 0x6300]),
        ("--register 10 --format bool --value on", vec![1]),
        ("--register 10 --table coil --value true", vec![1]),
    ] {
        let (server, memory) = TestServer::memory([(10, 9), (11, 9), (12, 9), (13, 9)]).await;
        let report = written_to(server.port, options, &files).await.expect(options);
        assert_eq!((report.outcome, &report.new.registers), (Outcome::Written, &words), "{options}");
        let memory = memory.lock().expect("unpoisoned");
        let held: Vec<u16> = (10..).zip(&words).map(|(address, _)| memory[&address]).collect();
        assert_eq!(held, words, "{options}");
    }
    assert_eq!(files.outcomes().len(), 22);
}

#[tokio::test]
async fn the_plan_shows_the_old_value_and_the_nearest_step_before_anything_is_written() {
    let (server, memory) = TestServer::memory([(10, 225)]).await;
    let files = Files::new();
    let order = order(server.port, "--register 10 --scale 0.1 --value 23.14");
    let mut shown = Vec::new();
    let consent = |plan: &Report| {
        write_plan(&mut shown, Paint::Plain, plan)?;
        Ok(false)
    };
    let error = carry_out(order, consent, &mut files.journal()).await.expect_err("refused").to_string();
    assert!(error.contains("nothing was written"), "{error}");
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.contains("unit 1, holding_register 10 (u16 abcd)"), "{shown}");
    assert!(shown.contains("old   22.5  00E1\nnew   23.1  00E7\n"), "{shown}");
    assert_eq!(memory.lock().expect("unpoisoned")[&10], 225);
    assert!(files.lines().is_empty(), "what was not confirmed is no write");
}

#[tokio::test]
async fn the_journal_has_who_what_old_new_and_read_back() {
    let (server, _) = TestServer::memory([(10, 5)]).await;
    let files = Files::new();
    written_to(server.port, "--register 10 --value 7", &files).await.expect("written");
    let [begun, done] = files.lines().try_into().expect("two lines");
    assert_eq!((&begun["outcome"], &done["outcome"]), (&"begun".into(), &"written".into()));
    for line in [begun, done] {
        assert!(line["uid"].is_number() && line["user"].is_string(), "{line}");
        assert!(line["time"].as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()), "{line}");
        assert_eq!((&line["old"]["value"], &line["new"]["value"]), (&"5".into(), &"7".into()), "{line}");
        assert_eq!(line["target"]["register"], 10, "{line}");
    }
    assert_eq!(files.lines()[1]["read_back"]["registers"], serde_json::json!([7]));
}

#[tokio::test]
async fn a_machine_that_keeps_another_value_is_said() {
    // It clamps to 100.
    let held = Mutex::new(std::collections::HashMap::from([(10, 5)]));
    let server = TestServer::start(move |mut asked| {
        let clamps = asked.function == 6 && asked.quantity > 100;
        let confirmation = asked.confirmation();
        if clamps {
            asked.quantity = 100;
        }
        let usual = answer(&asked, &mut held.lock().expect("unpoisoned"));
        Some(if clamps { confirmation } else { usual })
    })
    .await;
    let files = Files::new();
    let report = written_to(server.port, "--register 10 --value 700", &files).await.expect("sent");
    assert_eq!(report.outcome, Outcome::Differs);
    assert_eq!(report.read_back.as_ref().and_then(|c| c.value.as_deref()), Some("100"));
    let mut out = Vec::new();
    write_report(&mut out, Paint::Plain, &report).expect("memory");
    assert!(String::from_utf8(out).expect("text").contains("the machine reads something else"));
}

#[tokio::test]
async fn a_refusal_leaves_the_machine_alone_and_silence_is_not_taken_for_success() {
    let files = Files::new();
    let refusing = TestServer::start(|asked| {
        Some(if asked.function == 3 { asked.registers(|_| 5) } else { asked.exception(1) })
    });
    let report = written_to(refusing.await.port, "--register 10 --value 7", &files).await.expect("asked");
    assert_eq!((report.outcome, report.read_back), (Outcome::Refused, None));
    assert!(report.reason.expect("why").contains("exception 01"));
    let silent = TestServer::start(|asked| (asked.function == 3).then(|| asked.registers(|_| 5)));
    let report = written_to(silent.await.port, "--register 10 --value 7", &files).await.expect("asked");
    assert_eq!(report.outcome, Outcome::Unknown);
    assert_eq!(files.outcomes(), ["begun", "refused", "begun", "unknown"]);
}

#[tokio::test]
async fn a_machine_that_only_writes_blocks_is_written_with_a_block_of_one() {
    let held = Arc::new(Mutex::new(std::collections::HashMap::from([(10, 5)])));
    let server = TestServer::start(move |asked| {
        if asked.function == 6 {
            return Some(asked.exception(1));
        }
        Some(answer(&asked, &mut held.lock().expect("unpoisoned")))
    });
    let report =
        written_to(server.await.port, "--register 10 --value 7", &Files::new()).await.expect("asked");
    assert_eq!(report.outcome, Outcome::Written);
}

#[tokio::test]
async fn a_write_whose_confirmation_is_lost_counts_by_what_the_machine_reads() {
    let held = Arc::new(Mutex::new(std::collections::HashMap::from([(10, 5)])));
    let server = TestServer::start(move |asked| {
        let usual = answer(&asked, &mut held.lock().expect("unpoisoned"));
        (asked.function == 3).then_some(usual)
    });
    let report =
        written_to(server.await.port, "--register 10 --value 7", &Files::new()).await.expect("asked");
    assert_eq!(report.outcome, Outcome::Written);
}

#[tokio::test]
async fn without_its_journal_nothing_is_written() {
    let (server, memory) = TestServer::memory([(10, 5)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("missing/writes.jsonl");
    let error = Journal::open(&journal).expect_err("there is no such folder");
    assert!(format!("{error:#}").contains("--journal FILE"), "{error:#}");
    // A disk that is full.
    let mut full = Journal::open("/dev/full".as_ref()).expect("opened");
    let order = order(server.port, "--register 10 --value 7");
    let error = carry_out(order, |_| Ok(true), &mut full).await.expect_err("full");
    assert!(format!("{error:#}").contains("nothing was written"), "{error:#}");
    assert_eq!(memory.lock().expect("unpoisoned")[&10], 5);
}

#[test]
fn values_are_what_the_format_takes() {
    assert_eq!(value("off", DataType::Bool).expect("valid"), Value::Bool(false));
    assert_eq!(value("-3", DataType::Float).expect("valid"), Value::Int(-3));
    assert_eq!(value("true", DataType::Text).expect("valid"), Value::Text("true".into()));
    for (text, data_type) in
        [("2", DataType::Bool), ("nan", DataType::Float), ("inf", DataType::Float), ("2,5", DataType::Float)]
    {
        value(text, data_type).expect_err(text);
    }
}

const MACHINE: &str = "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"10.0.0.7\"\nunit_id = 3\n\
    pause_between_requests_ms = 20\n[[tags]]\nid = \"speed\"\ndata_type = \"int\"\nholding_register = 4\n\
    format = \"u16\"\n[[tags]]\nid = \"setpoint\"\ndata_type = \"float\"\nholding_register = 8\n\
    format = \"i16\"\nscale = 0.1\n";

#[test]
fn a_tag_brings_its_connection_and_format_from_the_configuration() {
    let machines = [edge_config::read_machine("press.toml".as_ref(), MACHINE).expect("valid")];
    let arguments = |machine: &str, tag: &str| WriteTagArguments {
        config: "/etc/edge-agent".into(),
        machine: machine.to_owned(),
        tag: tag.to_owned(),
        value: "22.5".to_owned(),
        options: WriteOptions { yes: true, journal: "j".into(), json: false },
    };
    let order = configured(&machines, &arguments("press", "setpoint")).expect("known");
    assert_eq!(
        name(&order.target),
        "press setpoint: 10.0.0.7 port 502 unit 3, holding_register 8 (i16 abcd)"
    );
    assert_eq!(order.tag.encode(&order.value), Ok(vec![225]));
    for (machine, tag, expected) in
        [("lathe", "speed", "known are press"), ("press", "oil", "speed, setpoint")]
    {
        let error = configured(&machines, &arguments(machine, tag)).err().expect("unknown").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
