//! What a day of a plant costs in the archive: bytes a sample, time to write it from segments and to read it back, and a
//! tag of a day, of an hour and of a year. Local folder.
//!
//! `cargo bench -p archive-parquet [-- <machines> <days>]`: 15 machines and a year of objects if nothing is said. The
//! objects of the year are links to that of the day, because their bytes are of the same size.

#[path = "../../../../tests/src/plant_data.rs"]
#[expect(unreachable_pub, reason = "it is a module of the tests, too")]
mod plant_data;

use std::time::Instant;

use archive_parquet::ParquetArchive;
use bytes::Bytes;
use plant_data::PlantMachine;
use plant_model::{GatewayId, TenantId, Timestamp};
use segments::{SealedSegment, TagNumber};
use tiering::{
    Archive, ObjectFacts, ObjectId, ObjectQuery, ObjectRow, ObjectState, ReadBudget, Revision, SegmentKey,
    SegmentRow, SegmentsOfMachine,
};

const DAY: i64 = 86_400_000_000;
const START: i64 = 20_720 * DAY;
const PATH: &str = "plant/2026/2026-09-24+1-0000000000000001.parquet";
const BUDGET: ReadBudget = ReadBudget { requests: 4, bytes: 64 << 20, samples: 1_000_000 };

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(START + micros)
}

/// A day of a machine as its store has it.
fn segments(number: u32, minutes: u32) -> (SegmentsOfMachine, usize) {
    let mut machine = PlantMachine::new(number, at(0));
    let (id, tags) = (machine.id(), machine.tags());
    let mut bytes = 0;
    let rows: Vec<SegmentRow> = (0..minutes)
        .map(|_| {
            let content = machine.next_minute();
            let SealedSegment { head, body } = content.seal().expect("seals");
            bytes += head.len() + body.len();
            SegmentRow {
                key: SegmentKey { machine: id.clone(), minute: content.minute() },
                revision: Revision(1),
                head: head.into(),
                body: Some(Bytes::from(body)),
                late: None,
                is_archived: false,
            }
        })
        .collect();
    (SegmentsOfMachine::new(id, tags, rows).expect("own segments"), bytes)
}

fn row(object: &ObjectFacts, path: &str) -> ObjectRow {
    ObjectRow {
        id: ObjectId(1),
        gateway: GatewayId::new("plant").expect("an id"),
        start: at(0),
        end: at(DAY),
        path: path.to_owned(),
        state: ObjectState::Verified,
        samples: object.contents.samples(),
        bytes: object.bytes,
        sha256: object.sha256,
        directory: object.directory.clone(),
        changed_at: at(0),
    }
}

/// The most memory that this process ever had, in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1_000
}

fn query(tag: u32, from: i64, to: i64) -> ObjectQuery {
    ObjectQuery {
        machine: PlantMachine::new(3, at(0)).id(),
        tags: vec![TagNumber(tag)],
        range: at(from)..at(to),
        budget: BUDGET,
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a bench reports")]
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let machines = arguments.next().unwrap_or(plant_data::MACHINES).max(4);
    let days = arguments.next().unwrap_or(365);
    let folder = tempfile::tempdir().expect("a folder");
    let archive = ParquetArchive::open(&format!("file://{}", folder.path().display()), []).expect("opens");
    let tenant = TenantId::new("acme").expect("an id");

    let mut writer = archive.create(&tenant, PATH, at(0)..at(DAY)).await.expect("begins");
    let (mut seconds, mut hot) = (0.0, 0);
    for number in 0..machines {
        let (source, bytes) = segments(number, 1_440);
        hot += bytes;
        let begin = Instant::now();
        writer.add(Box::new(source)).await.expect("adds");
        seconds += begin.elapsed().as_secs_f64();
    }
    let begin = Instant::now();
    let written = writer.finish().await.expect("ends");
    seconds += begin.elapsed().as_secs_f64();
    let object = written.object;
    let samples = object.contents.samples() as f64;
    println!(
        "{samples} samples: {:.3} bytes each in the archive ({} in {} requests), {:.3} in segments; directory {} bytes; written \
         at {:.2} M samples/s; {} MB of memory with the segments of a machine",
        object.bytes as f64 / samples,
        object.bytes,
        written.cost.requests,
        hot as f64 / samples,
        object.directory.len(),
        samples / seconds / 1e6,
        memory()
    );
    let begin = Instant::now();
    let verified = archive.verify(&tenant, &row(&object, PATH)).await.expect("verifies");
    assert_eq!(verified.object, object, "read back");
    println!(
        "read back and compared at {:.2} M samples/s, {} requests; {} MB of memory",
        samples / begin.elapsed().as_secs_f64() / 1e6,
        verified.cost.requests,
        memory()
    );
    for (what, tag, from, to) in [
        ("a tag of a day, in tenths", 1, 0, DAY),
        ("a tag of a day, 64 bits", 11, 0, DAY),
        ("a tag of an hour", 1, DAY / 2, DAY / 2 + DAY / 24),
    ] {
        let (mut times, mut cost, mut count) = (Vec::new(), Default::default(), 0);
        for _ in 0..21 {
            let begin = Instant::now();
            let read = archive.read(&tenant, &row(&object, PATH), query(tag, from, to)).await.expect("reads");
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            (cost, count) = (read.cost, read.tags[0].1.len());
        }
        println!("{what}: {count} samples in {:.1} ms (median of 21), {cost:?}", median(times));
    }
    let paths: Vec<String> = (0..days).map(|day| format!("plant/2026/{day}.parquet")).collect();
    let place = folder.path().join("acme");
    for path in &paths {
        std::fs::hard_link(place.join(PATH), place.join(path)).expect("links");
    }
    let (begin, mut requests, mut count) = (Instant::now(), 0, 0);
    for path in &paths {
        let read = archive.read(&tenant, &row(&object, path), query(1, 0, DAY)).await.expect("reads");
        requests += read.cost.requests;
        count += read.tags[0].1.len();
    }
    println!(
        "{days} days of a tag: {count} samples in {:.2} s, {requests} requests; {} MB of memory",
        begin.elapsed().as_secs_f64(),
        memory()
    );
}
