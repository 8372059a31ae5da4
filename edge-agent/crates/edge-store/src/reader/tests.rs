use std::collections::BTreeMap;
use std::time::Duration;

use plant_model::{Quality, Sample, Value};
use protocol::{Batch, BatchBody, SeriesSamples};

use super::*;
use crate::{EdgeStore, Settings};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn settings(folder: &Path) -> Settings {
    Settings { bytes_max: 16 << 20, ..Settings::new(folder.join("buffer.db")) }
}

fn samples(count: u32) -> BatchBody {
    let sample = |n: u32| Sample {
        value: Some(Value::Float((f64::from(n) * 1.7).sin())),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: NOW.plus(Duration::from_millis(n.into())),
    };
    BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples: (0..count).map(sample).collect() }])
}

/// A buffer with this many batches of telemetry, ten of them acknowledged, one a second.
fn filled(settings: &Settings, batches: u32) {
    let mut store = EdgeStore::open(settings.clone(), NOW).expect("opens").store;
    let machine = MachineId::new("lathe").expect("valid");
    store.series(&machine, &[TagId::new("speed").expect("valid")], NOW).expect("numbers");
    for n in 0..batches {
        let at = NOW.plus(Duration::from_secs(n.into()));
        store.commit(&samples(100 + n), at).expect("commits");
    }
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(10));
    store.flush().expect("writes");
}

/// Every file of a folder with its content and when it was written.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(folder).expect("lists");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let modified = path.metadata().and_then(|m| m.modified()).expect("a time");
            (path.clone(), (std::fs::read(path).expect("reads"), modified))
        })
        .collect()
}

fn numbers(reader: &BufferReader) -> (Vec<u64>, Unread) {
    let mut found = Vec::new();
    let unread = reader.each(StreamId::Telemetry, Sequence::ZERO, |batch| {
        if Batch::decode(&batch.message).is_ok() {
            found.push(batch.sequence.as_u64());
        }
        Ok::<_, StoreError>(())
    });
    (found, unread.expect("nothing fails"))
}

#[test]
fn a_buffer_is_read_to_its_last_commit_and_not_a_byte_of_it_changes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    filled(&settings(folder.path()), 30);
    let before = contents(folder.path());
    assert_eq!(before.len(), 2, "the file and its log, with the newest commits in it");
    {
        let reader = BufferReader::open(&folder.path().join("buffer.db")).expect("opens");
        assert_eq!(numbers(&reader), ((1..=30).collect(), Unread::default()));
        let (next, acked) = reader.head(StreamId::Telemetry).expect("readable");
        assert_eq!((next.as_u64(), acked.as_u64()), (31, 10));
        assert_eq!(reader.series().expect("reads")[&SeriesId(1)].1.as_str(), "speed");
        assert!(reader.integrity().is_empty(), "{:?}", reader.integrity());
        assert!(reader.usage().expect("measures").held_bytes > 0);
        reader.check_unchanged().expect("nobody wrote");
    }
    assert!(contents(folder.path()) == before, "files: {:?}", contents(folder.path()).keys());
}

#[test]
fn a_copy_without_its_log_is_read_as_far_as_it_goes_and_gets_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    filled(&settings(folder.path()), 30);
    let copy = folder.path().join("a copy?#%.db");
    std::fs::copy(folder.path().join("buffer.db"), &copy).expect("copies");
    let before = contents(folder.path());
    let reader = BufferReader::open(&copy).expect("opens");
    assert!(numbers(&reader).0.len() < 30, "the newest commits are in the log");
    drop(reader);
    assert!(contents(folder.path()) == before);
}

#[test]
fn a_tally_tells_apart_what_the_backend_has_and_what_is_recent() {
    let folder = tempfile::tempdir().expect("temporary folder");
    filled(&settings(folder.path()), 30);
    let reader = BufferReader::open(&folder.path().join("buffer.db")).expect("opens");
    let all = reader.tally(StreamId::Telemetry, Sequence::ZERO, Timestamp::from_micros(0)).expect("counts");
    let (held, waiting) = (all.acknowledged, all.waiting);
    assert_eq!((held.batches, waiting.batches, all.next), (10, 20, None));
    assert_eq!(held.entries + waiting.entries, (100..130).sum::<u64>());
    assert_eq!(waiting.numbers.map(|(a, b)| (a.as_u64(), b.as_u64())), Some((11, 30)));
    assert_eq!(
        waiting.committed,
        Some((NOW.plus(Duration::from_secs(10)), NOW.plus(Duration::from_secs(29))))
    );
    assert_eq!(waiting.recent_bytes, waiting.bytes);
    let late = reader
        .tally(StreamId::Telemetry, Sequence::from_u64(25), NOW.plus(Duration::from_secs(28)))
        .expect("counts");
    assert_eq!((late.acknowledged.batches, late.waiting.batches), (0, 6));
    assert!(late.waiting.recent_bytes > 0 && late.waiting.recent_bytes < late.waiting.bytes);
    let none = reader.tally(StreamId::Alarm, Sequence::ZERO, NOW).expect("counts");
    assert_eq!(none, Tally::default());
}

#[test]
fn a_long_stream_is_counted_in_parts_that_add_up() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { key: None, ..settings(folder.path()) };
    let mut store = EdgeStore::open(settings, NOW).expect("opens").store;
    for _ in 0..2_100 {
        store.commit(&samples(1), NOW).expect("commits");
    }
    let first = store.tally(StreamId::Telemetry, Sequence::ZERO, NOW).expect("counts");
    assert_eq!((first.waiting.batches, first.next), (2_000, Some(Sequence::from_u64(2_001))));
    let rest = store.tally(StreamId::Telemetry, Sequence::from_u64(2_001), NOW).expect("counts");
    assert_eq!((rest.waiting.batches, rest.next), (100, None));
    let both = first.waiting.plus(rest.waiting);
    assert_eq!(both.numbers, Some((Sequence::from_u64(1), Sequence::from_u64(2_100))));
}

#[test]
fn a10_a_damaged_file_is_read_where_it_can_be_and_says_where_it_cannot() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(folder.path());
    filled(&settings, 200);
    let size = std::fs::metadata(&settings.path).expect("exists").len();
    let file = std::fs::OpenOptions::new().write(true).open(&settings.path).expect("writable");
    file.set_len(size / 2).expect("truncates");
    std::fs::remove_file(log_of(&settings.path)).expect("removes");
    let before = contents(folder.path());
    let reader = BufferReader::open(&settings.path).expect("opens all the same");
    let (found, unread) = numbers(&reader);
    assert!(found.len() < 200, "{}", found.len());
    assert!(unread.places > 0 && unread.reason.is_some(), "{unread:?}");
    assert!(!reader.integrity().is_empty());
    drop(reader);
    assert!(contents(folder.path()) == before);
}

#[test]
fn what_is_no_buffer_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no database at all, and long enough to have a header of one ".repeat(40))
        .expect("writes");
    let error = BufferReader::open(&path).expect_err("no buffer");
    assert!(matches!(error, StoreError::NoBuffer { .. }), "{error}");
    let error = BufferReader::open(&folder.path().join("nothing.db")).expect_err("nothing there");
    assert!(matches!(error, StoreError::Reach { .. }), "{error}");
    assert_eq!(contents(folder.path()).len(), 1, "nothing is made");
}

#[test]
fn an_encrypted_file_is_counted_without_its_key_and_read_with_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { key: BufferKey::parse(&[b'a'; 64]), ..settings(folder.path()) };
    filled(&settings, 30);
    let mut reader = BufferReader::open(&settings.path).expect("opens");
    assert!(reader.is_sealed());
    assert_eq!(reader.tally(StreamId::Telemetry, Sequence::ZERO, NOW).expect("counts").waiting.batches, 20);
    assert_eq!(numbers(&reader).0, Vec::<u64>::new());
    let missing = reader.unseal(None).expect_err("no key");
    assert!(matches!(missing, StoreError::KeyMissing { .. }), "{missing}");
    let wrong = reader.unseal(BufferKey::parse(&[b'b'; 64]).as_ref()).expect_err("another key");
    assert!(matches!(wrong, StoreError::KeyWrong { .. }), "{wrong}");
    reader.unseal(settings.key.as_ref()).expect("the key");
    assert_eq!(numbers(&reader).0.len(), 30);
}

#[test]
fn a_change_behind_the_back_of_a_reader_is_noticed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    filled(&settings(folder.path()), 3);
    let reader = BufferReader::open(&folder.path().join("buffer.db")).expect("opens");
    let log = std::fs::OpenOptions::new().append(true).open(folder.path().join("buffer.db-wal"));
    std::io::Write::write_all(&mut log.expect("opens"), b"more").expect("writes");
    let error = reader.check_unchanged().expect_err("somebody wrote");
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
}
