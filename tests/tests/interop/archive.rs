//! Objects of the archive, read by DuckDB and pyarrow: the values of each sample.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use archive_parquet::ParquetArchive;
use bytes::Bytes;
use factory_tests::process::output;
use plant_model::{DataType, MachineId, Quality, Sample, TagId, TenantId, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence, TagRole};
use segments::{Content, Minute, Source, Sourced, TagKind, TagNumber};
use tiering::{
    Archive, ArchiveFuture, NewKey, ObjectKey, ObjectKeys, Revision, SegmentKey, SegmentRow,
    SegmentsOfMachine, TagRecord,
};

use crate::server::{interpreter, script, text};

const START: i64 = 1_790_208_000_000_000;
const DAY: i64 = 86_400_000_000;
const PATH: &str = "press-hall/2026/object.parquet";

fn machine() -> MachineId {
    MachineId::new("press-1").expect("an id")
}

fn tag(number: u32) -> TagRecord {
    TagRecord {
        machine: machine(),
        number: TagNumber(number),
        tag: TagId::new(&format!("tag-{number}")).expect("an id"),
        kind: TagKind::Analog,
        data_type: DataType::Float,
        role: TagRole::Plain,
        unit: "bar".to_owned(),
    }
}

/// One value of each form and the awkward ones; each tag has one form, and strays of others.
fn values(tag: u32) -> Vec<Option<Value>> {
    let floats = |all: &[f64]| all.iter().map(|float| Some(Value::Float(*float))).collect();
    let mut values: Vec<Option<Value>> = match tag {
        1 => floats(&[20.1, 0.3, -273.15, 1e9, 0.0, -0.1, 229.01]),
        2 => floats(&[0.1_f32, 3.402_823_5e38, -1e-40].map(f64::from)),
        3 => floats(&[std::f64::consts::PI, f64::MIN_POSITIVE, -0.0, f64::INFINITY, f64::NAN, 5e-324]),
        4 => [i64::MIN, -1, 0, i64::MAX].map(|int| Some(Value::Int(int))).into(),
        5 => [true, false].map(|bool| Some(Value::Bool(bool))).into(),
        _ => ["läuft", "", "jammed"].map(|text| Some(Value::Text(text.into()))).into(),
    };
    values.push(None);
    values
}

/// Minutes of a machine in the course of a day.
fn contents() -> Vec<Content> {
    let minute = |index: i64| {
        let start = START + index * 607 * Minute::MICROS;
        let mut content = Content::new(Minute::of(Timestamp::from_micros(start)));
        for number in 1..=6 {
            for (second, value) in (0..).zip(values(number)) {
                let gateway_timestamp = Timestamp::from_micros(start + second * 1_000_003);
                let source = |shift| Some(Timestamp::from_micros(gateway_timestamp.micros() + shift));
                let source_timestamp =
                    [None, source(0), source(5), source(-DAY * 9_000)][second as usize % 4];
                let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
                let sample = Sample { value, quality, source_timestamp, gateway_timestamp };
                let sequence = Sequence::from_u64(1 + index.unsigned_abs() * 9 + second.unsigned_abs());
                let source = Source { epoch: Epoch::from_u64(u64::MAX - 1), sequence };
                let detail = if second == 2 { Detail::Thinned } else { Detail::Full };
                content.add((TagNumber(number), TagKind::Analog), (source, detail), &[sample]).expect("fits");
            }
        }
        content
    };
    (0..3).map(minute).collect()
}

/// A sample as `read_archive.py` prints it.
fn line(number: u32, one: &Sourced) -> String {
    let sample = &one.sample;
    let time = sample.timestamp();
    let source = sample.source_timestamp;
    let is_source = source.is_some_and(|at| at == time);
    let optional = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.micros().to_string());
    let gateway = Some(sample.gateway_timestamp).filter(|at| *at != time);
    let value = match &sample.value {
        None => "none".to_owned(),
        Some(Value::Bool(bool)) => format!("bool {bool}"),
        Some(Value::Int(int)) => format!("int {int}"),
        Some(Value::Float(float)) if float.is_nan() => "float nan".to_owned(),
        Some(Value::Float(float)) => format!("float {:016x}", float.to_bits()),
        Some(Value::Text(text)) => format!("text {text}"),
    };
    let (epoch, sequence) = (one.source.epoch.as_u64(), one.source.sequence.as_u64());
    format!(
        "press-1|tag-{number}|{number}|{}|{is_source}|{}|{}|{}|{value}|{epoch}|{sequence}|{}",
        time.micros(),
        optional(gateway),
        optional(source.filter(|_| !is_source)),
        sample.quality.status_code(),
        one.detail == Detail::Thinned
    )
}

/// Writes the object; answers where it is, and its rows.
async fn written(
    folder: &std::path::Path,
    keys: Option<Arc<dyn ObjectKeys>>,
) -> Result<(PathBuf, Vec<String>)> {
    let contents = contents();
    let row = |content: &Content| -> Result<SegmentRow> {
        let sealed = content.seal()?;
        Ok(SegmentRow {
            key: SegmentKey { machine: machine(), minute: content.minute() },
            revision: Revision(1),
            head: sealed.head.into(),
            body: Some(Bytes::from(sealed.body)),
            late: None,
            is_archived: false,
        })
    };
    let rows = contents.iter().map(row).collect::<Result<Vec<_>>>()?;
    let source = SegmentsOfMachine::new(machine(), (1..=6).map(tag).collect(), rows)?;
    let mut archive = ParquetArchive::open(&format!("file://{}", folder.display()), [])?;
    if let Some(keys) = keys {
        archive = archive.with_keys(keys);
    }
    let tenant = TenantId::new("acme")?;
    let days = Timestamp::from_micros(START)..Timestamp::from_micros(START + DAY);
    let mut writer = archive.create(&tenant, PATH, days).await?;
    writer.add(Box::new(source)).await?;
    writer.finish().await?;
    let lines = (1..=6).flat_map(|number| {
        let samples = contents.iter().flat_map(move |content| content.sourced(TagNumber(number)));
        samples.map(move |one| line(number, &one)).collect::<Vec<_>>()
    });
    Ok((folder.join("acme").join(PATH), lines.collect()))
}

async fn read(engine: &str, file: &std::path::Path, key: Option<&str>) -> Result<Vec<String>> {
    let (python, script) = (interpreter()?, script("read_archive.py"));
    let arguments: Vec<&str> = ["-B", text(&script)?, engine, text(file)?].into_iter().chain(key).collect();
    let printed = String::from_utf8(output(&python, &arguments).await?)?;
    Ok(printed.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn st4_duckdb_reads_each_sample_of_an_object_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, expected) = written(folder.path(), None).await?;
    assert_eq!(read("duckdb", &file, None).await?, expected);
    Ok(())
}

#[tokio::test]
async fn st4_pyarrow_reads_each_sample_of_an_object_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, expected) = written(folder.path(), None).await?;
    assert_eq!(read("pyarrow", &file, None).await?, expected);
    Ok(())
}

struct Key;

impl ObjectKeys for Key {
    fn create<'a>(&'a self, _: &'a TenantId, _: &'a str) -> ArchiveFuture<'a, NewKey> {
        let new = NewKey { key: ObjectKey::new([0x5A; 32]), metadata: Bytes::from_static(b"key 1") };
        Box::pin(async move { Ok(new) })
    }

    fn find<'a>(&'a self, _: &'a TenantId, _: &'a str, _: Bytes) -> ArchiveFuture<'a, ObjectKey> {
        Box::pin(async move { Ok(ObjectKey::new([0x5A; 32])) })
    }
}

#[tokio::test]
async fn a_reader_with_the_key_opens_an_encrypted_object_with_pyarrow() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, expected) = written(folder.path(), Some(Arc::new(Key))).await?;
    let key = "5a".repeat(32);
    assert_eq!(read("pyarrow", &file, Some(&key)).await?, expected);
    assert!(read("pyarrow", &file, None).await.is_err(), "it is closed without a key");
    assert!(read("pyarrow", &file, Some(&"5b".repeat(32))).await.is_err(), "and to another key");
    Ok(())
}
