use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::{Field, RowAccessor as _};
use clap::Parser as _;
use edge_store::{BufferKey, EdgeStore, Settings};
use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTransition, MachineId, Quality, Sample, TagId,
    Timestamp, TransitionCause, Value,
};
use protocol::{BatchBody, LossReason, SeriesId, SeriesSamples};

use super::*;
use crate::buffer_view::written;
use crate::cli::{Cli, Command};

/// 2026-09-21T14:13:20Z.
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self, key: Option<BufferKey>) -> EdgeStore {
        let settings = Settings { bytes_max: 16 << 20, key, ..Settings::new(self.path("buffer.db")) };
        EdgeStore::open(settings, NOW).expect("opens").store
    }

    /// Runs a command on the file of this folder; `{}` in it stands for the folder.
    fn run(&self, command: &str) -> Result<Found> {
        let folder = self.0.path().to_str().expect("text");
        let text = format!("edge-agent buffer {command} --file {folder}/buffer.db").replace("{}", folder);
        let Command::Buffer(command) = Cli::try_parse_from(text.split_whitespace())?.command else {
            panic!("{text}")
        };
        run(&command)
    }
}

fn second(n: i64) -> Timestamp {
    NOW.plus(Duration::from_secs(n.unsigned_abs()))
}

fn sample(n: i64, value: Option<Value>) -> Sample {
    let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
    let source_timestamp = (n % 2 == 0).then(|| second(n).minus(Duration::from_millis(250)));
    Sample { value, quality, source_timestamp, gateway_timestamp: second(n) }
}

/// A value of every type, the awkward ones included.
fn value(n: i64) -> Option<Value> {
    match n % 6 {
        0 => Some(Value::Float(0.1 + f64::from(i32::try_from(n).expect("small")))),
        1 => Some(Value::Int(i64::MAX - n)),
        2 => Some(Value::Bool(n % 4 == 0)),
        3 => Some(Value::Text("a \"b\", c;\r\nd".into())),
        4 => Some(Value::Float(-0.0)),
        _ => None,
    }
}

/// Two machines with one tag each, 50 batches of 40 samples; what was committed, by machine and second.
fn fill(store: &mut EdgeStore) -> BTreeMap<(String, i64), Sample> {
    let mut all = BTreeMap::new();
    let numbers = ["lathe", "press"].map(|id| {
        let machine = MachineId::new(id).expect("valid");
        let tags = [TagId::new("speed").expect("valid")];
        (id, store.series(&machine, &tags, NOW).expect("numbers")[0])
    });
    for batch in 0..50 {
        let block = |(id, series): (&str, SeriesId)| {
            let samples: Vec<Sample> = (batch * 20..(batch + 1) * 20).map(|n| sample(n, value(n))).collect();
            for (n, sample) in (batch * 20..).zip(&samples) {
                all.insert((id.to_owned(), n), sample.clone());
            }
            SeriesSamples { series, samples }
        };
        let body = BatchBody::Samples(numbers.map(block).into());
        store.commit(&body, second(batch)).expect("commits");
    }
    store.flush().expect("writes");
    all
}

fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect(text).as_microsecond()
}

fn csv_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("opens");
    let names = reader.headers().expect("a header").clone();
    let row = |row: csv::Result<csv::StringRecord>| {
        names.iter().map(str::to_owned).zip(row.expect("a row").iter().map(str::to_owned)).collect()
    };
    reader.records().map(row).collect()
}

#[test]
fn csv_holds_every_sample_with_the_value_that_was_committed() {
    let folder = Folder::new();
    let committed = fill(&mut folder.store(None));
    assert_eq!(folder.run("export --out {}/all.csv").expect("writes"), Found::Something);
    let raw = std::fs::read_to_string(folder.path("all.csv")).expect("text");
    assert!(raw.starts_with("machine,tag,unit,time,value,type,quality,quality_code,"), "{}", &raw[..80]);
    assert!(raw.contains("\"a \"\"b\"\", c;\r\nd\",text,"), "RFC 4180");
    let rows = csv_rows(&folder.path("all.csv"));
    assert_eq!(rows.len(), committed.len());
    for row in rows {
        let n = (micros(&row["gateway_time"]) - NOW.micros()) / 1_000_000;
        let sample = &committed[&(row["machine"].clone(), n)];
        assert_eq!(micros(&row["time"]), sample.timestamp().micros());
        assert_eq!(row["source_time"].is_empty(), sample.source_timestamp.is_none());
        assert_eq!(row["quality_code"], sample.quality.status_code().to_string());
        let told = match row["type"].as_str() {
            "float" => Some(Value::Float(row["value"].parse().expect("a number"))),
            "int" => Some(Value::Int(row["value"].parse().expect("a number"))),
            "bool" => Some(Value::Bool(row["value"].parse().expect("a truth value"))),
            "text" => Some(Value::Text(row["value"].as_str().into())),
            _ => None,
        };
        let is_same = match (&told, &sample.value) {
            (Some(a), Some(b)) => a.is_identical(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(is_same, "{told:?} of {sample:?}");
    }
}

#[test]
fn parquet_holds_every_sample_in_typed_columns() {
    let folder = Folder::new();
    let committed = fill(&mut folder.store(None));
    assert_eq!(folder.run("export --out {}/all.parquet").expect("writes"), Found::Something);
    let file = std::fs::File::open(folder.path("all.parquet")).expect("opens");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), committed.len());
    for row in &rows {
        let field = |name: &str| {
            let found = row.get_column_iter().find(|(column, _)| *column == name);
            found.map_or_else(|| panic!("no column {name}"), |(_, field)| field.clone())
        };
        let Field::TimestampMicros(at) = field("gateway_time") else { panic!("{row}") };
        let Field::Str(machine) = field("machine") else { panic!("{row}") };
        let sample = &committed[&(machine, (at - NOW.micros()) / 1_000_000)];
        let told = ["value_bool", "value_int", "value_float", "value_text"].map(field);
        let told: Vec<_> = told.into_iter().filter(|field| *field != Field::Null).collect();
        let is_same = match (told.as_slice(), &sample.value) {
            ([], None) => true,
            ([Field::Bool(a)], Some(Value::Bool(b))) => a == b,
            ([Field::Long(a)], Some(Value::Int(b))) => a == b,
            ([Field::Double(a)], Some(Value::Float(b))) => a.to_bits() == b.to_bits(),
            ([Field::Str(a)], Some(Value::Text(b))) => a.as_str() == &**b,
            _ => false,
        };
        assert!(is_same, "{told:?} of {sample:?}");
    }
    assert!(rows[0].get_string(0).is_ok(), "the first column is the machine");
}

#[test]
fn an_export_takes_what_is_asked_for_and_never_overwrites() {
    let folder = Folder::new();
    fill(&mut folder.store(None));
    let (from, to) = (written(second(100)), written(second(200)));
    let command = format!("export --out {{}}/some.csv --machine press --from {from} --to {to}");
    folder.run(&command).expect("writes");
    let rows = csv_rows(&folder.path("some.csv"));
    // A sample is placed by its source's time, a quarter of a second before.
    assert!((99..=101).contains(&rows.len()), "{}", rows.len());
    assert!(rows.iter().all(|row| row["machine"] == "press"));
    let inside =
        |row: &BTreeMap<String, String>| (micros(&from)..micros(&to)).contains(&micros(&row["time"]));
    assert!(rows.iter().all(inside));
    let again = folder.run(&command).expect_err("it is there").to_string();
    assert!(again.contains("must not exist"), "{again}");
    let unknown = folder.run("export --out {}/x.csv --machine presss").expect_err("unknown").to_string();
    assert!(unknown.contains("lathe, press") && !folder.path("x.csv").exists(), "{unknown}");
    let format = folder.run("export --out {}/x.txt").expect_err("which format").to_string();
    assert!(format.contains("--format"), "{format}");
    let late = format!("export --out {{}}/none.csv --from {}", written(second(1_000_000)));
    assert_eq!(folder.run(&late).expect("writes"), Found::Nothing);
}

#[test]
fn only_what_the_backend_lacks_is_written_if_asked() {
    let folder = Folder::new();
    let mut store = folder.store(None);
    fill(&mut store);
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(40));
    store.flush().expect("writes");
    drop(store);
    folder.run("export --out {}/rest.csv --undelivered").expect("writes");
    assert_eq!(csv_rows(&folder.path("rest.csv")).len(), 10 * 40);
}

#[test]
fn every_step_of_an_alarm_can_be_written() {
    let folder = Folder::new();
    let step = |occurrence, to| AlarmTransition {
        machine: MachineId::new("lathe").expect("valid"),
        alarm: AlarmId::new("hot").expect("valid"),
        tag: Some(TagId::new("oil").expect("valid")),
        occurrence,
        from: AlarmState::Normal,
        to,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::Low,
        value: Some(Value::Float(91.5)),
        limit: Some(90.0),
        deadband: 1.0,
        value_at: NOW,
        decided_at: NOW,
        message: "Öl, zu heiß".to_owned(),
        first_out: true,
        flags: AlarmFlags::of_state(to),
        operation: None,
    };
    let steps = vec![step(1, AlarmState::Unacknowledged), step(2, AlarmState::Unacknowledged)];
    folder.store(None).commit(&BatchBody::Transitions(steps), NOW).expect("commits");
    folder.run("export --stream alarm --out {}/alarms.csv").expect("writes");
    let rows = csv_rows(&folder.path("alarms.csv"));
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1]["occurrence"].as_str(), rows[1]["message"].as_str()), ("2", "Öl, zu heiß"));
    assert_eq!((rows[0]["value"].as_str(), rows[0]["limit"].as_str()), ("91.5", "90"));
    folder.run("export --stream alarm --out {}/alarms.parquet").expect("writes");
    let file = std::fs::File::open(folder.path("alarms.parquet")).expect("opens");
    assert_eq!(SerializedFileReader::new(file).expect("Parquet").metadata().file_metadata().num_rows(), 2);
}

#[test]
fn a_sound_buffer_is_sound_and_a_recorded_gap_does_not_change_that() {
    let folder = Folder::new();
    let mut store = folder.store(None);
    fill(&mut store);
    store.set_aside(StreamId::Telemetry, Sequence::from_u64(7), LossReason::Refused, NOW).expect("moves");
    drop(store);
    assert_eq!(folder.run("verify").expect("checks"), Found::Something);
    assert_eq!(folder.run("verify --json").expect("checks"), Found::Something);
    assert_eq!(folder.run("status").expect("looks"), Found::Something);
    assert_eq!(folder.run("gaps").expect("looks"), Found::Something);
    // What was refused can still be written.
    folder.run("export --out {}/all.csv").expect("writes");
    assert_eq!(csv_rows(&folder.path("all.csv")).len(), 50 * 40);
}

/// Changes rows behind the back of the store.
fn tamper(folder: &Folder, sql: &str) {
    let connection = rusqlite::Connection::open(folder.path("buffer.db")).expect("opens");
    assert!(connection.execute(sql, []).expect("changes") > 0);
}

#[test]
fn a10_what_is_wrong_with_a_buffer_is_found_and_named() {
    for (sql, named) in [
        ("DELETE FROM outbox WHERE key & 0xFFFFFF = 7", "7 to 7 are not held, and no record says why"),
        (
            "UPDATE outbox SET message = CAST(substr(message, 1, 60) || zeroblob(8) || substr(message, 69) AS BLOB) \
             WHERE key & 0xFFFFFF = 9",
            "batch 9: ",
        ),
        (
            "UPDATE outbox SET message = (SELECT message FROM outbox WHERE key & 0xFFFFFF = 3) \
             WHERE key & 0xFFFFFF = 4",
            "batch 4: says that it is",
        ),
    ] {
        let folder = Folder::new();
        fill(&mut folder.store(None));
        tamper(&folder, sql);
        let bar = ProgressBar::hidden();
        let reader = BufferReader::open(&folder.path("buffer.db")).expect("opens");
        let report = verify::look(&reader, String::new(), &bar).expect("checks");
        let problems = report.problems().join("\n");
        assert!(problems.contains(named) && report.problems().len() == 1, "{sql}: {problems}");
        drop(reader);
        assert_eq!(folder.run("verify").expect("checks"), Found::Nothing);
    }
}

#[test]
fn a10_pages_of_noise_are_told_and_the_rest_can_be_written() {
    let folder = Folder::new();
    let committed = fill(&mut folder.store(None)).len();
    tamper(&folder, "UPDATE meta SET value = value");
    let size = std::fs::metadata(folder.path("buffer.db")).expect("exists").len();
    let connection = rusqlite::Connection::open(folder.path("buffer.db")).expect("opens");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("empties the log");
    let sql = "SELECT pageno FROM dbstat WHERE name = 'outbox' AND pagetype = 'leaf' LIMIT 2 OFFSET 4";
    let mut statement = connection.prepare(sql).expect("prepares");
    let pages: Vec<i64> =
        statement.query_map([], |row| row.get(0)).expect("asks").collect::<Result<_, _>>().expect("pages");
    drop(statement);
    drop(connection);
    assert!(pages.len() == 2 && size > 0);
    let file = std::fs::OpenOptions::new().write(true).open(folder.path("buffer.db")).expect("opens");
    for page in pages {
        file.write_all_at(&[0xA5; 1_024], (page.unsigned_abs() - 1) * 1_024).expect("damages");
    }
    assert_eq!(folder.run("verify").expect("checks"), Found::Nothing);
    assert_eq!(folder.run("status").expect("looks"), Found::Something);
    folder.run("export --out {}/rest.csv").expect("writes");
    let rest = csv_rows(&folder.path("rest.csv")).len();
    assert!(rest > committed / 2 && rest < committed, "{rest} of {committed}");
}

#[test]
fn an_encrypted_buffer_is_counted_without_its_key_and_opened_with_it() {
    let folder = Folder::new();
    let committed = fill(&mut folder.store(BufferKey::parse(&[b'a'; 64]))).len();
    assert_eq!(folder.run("status").expect("looks"), Found::Something);
    let missing = folder.run("export --out {}/all.csv").expect_err("no key").to_string();
    assert!(missing.contains("--key-file"), "{missing}");
    let key = |name: &str, digit: &str| {
        std::fs::write(folder.path(name), digit.repeat(64)).expect("written");
        std::fs::set_permissions(folder.path(name), std::fs::Permissions::from_mode(0o600)).expect("set");
    };
    key("right", "a");
    key("wrong", "b");
    assert!(folder.run("verify --key-file {}/wrong").is_err());
    assert_eq!(folder.run("verify --key-file {}/right").expect("checks"), Found::Something);
    folder.run("export --out {}/all.csv --key-file {}/right").expect("writes");
    assert_eq!(csv_rows(&folder.path("all.csv")).len(), committed);
}
