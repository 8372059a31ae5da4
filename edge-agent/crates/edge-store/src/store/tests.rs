use std::time::Duration;

use plant_model::{AlarmPriority, AlarmState, AlarmTransition, Quality, Sample, TransitionCause, Value};
use protocol::SeriesSamples;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn settings(folder: &tempfile::TempDir) -> Settings {
    Settings::new(folder.path().join("buffer.db"))
}

fn open(settings: &Settings) -> EdgeStore {
    EdgeStore::open(settings.clone(), NOW).expect("opens").store
}

fn samples(count: u32) -> BatchBody {
    let sample = |n: u32| Sample {
        value: Some(Value::Float(f64::from(n) * std::f64::consts::PI)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: NOW.plus(Duration::from_millis(n.into())),
    };
    BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples: (0..count).map(sample).collect() }])
}

fn transition(occurrence: u64, to: AlarmState) -> BatchBody {
    BatchBody::Transitions(vec![AlarmTransition {
        machine: MachineId::new("m").expect("valid"),
        alarm: AlarmId::new("a").expect("valid"),
        tag: Some(TagId::new("t").expect("valid")),
        occurrence,
        from: AlarmState::Normal,
        to,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::Low,
        value: Some(Value::Int(1)),
        limit: None,
        deadband: 0.0,
        value_at: NOW,
        decided_at: NOW,
        message: String::new(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: None,
    }])
}

fn tags(names: &[&str]) -> Vec<TagId> {
    names.iter().map(|n| TagId::new(n).expect("valid")).collect()
}

#[test]
fn a_committed_batch_is_read_back_as_it_was_and_the_epoch_stays() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    let epoch = store.epoch();
    let header = store.commit(&samples(20), NOW).expect("commits");
    assert_eq!(header.sequence.as_u64(), 1);
    drop(store);
    let store = open(&settings);
    assert_eq!(store.epoch(), epoch);
    let stored = store.read(StreamId::Telemetry, Sequence::ZERO).expect("reads").expect("held");
    let batch = Batch::decode(&stored.message).expect("a batch");
    assert_eq!((batch.header, batch.body), (header, samples(20)));
}

#[test]
fn sequences_go_on_after_everything_was_acknowledged_and_freed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { replay_window: Duration::ZERO, ..settings(&folder) };
    let mut store = open(&settings);
    for _ in 0..3 {
        store.commit(&samples(1), NOW).expect("commits");
    }
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(3)).expect("notes");
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(1))).expect("frees"), 3);
    assert_eq!(store.bytes(), 0);
    drop(store);
    let mut store = open(&settings);
    assert_eq!(store.commit(&samples(1), NOW).expect("commits").sequence.as_u64(), 4);
    let [.., telemetry] = store.ranges().expect("ranges");
    assert_eq!((telemetry.oldest.as_u64(), telemetry.next.as_u64()), (4, 5));
}

#[test]
fn what_is_not_acknowledged_or_young_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { replay_window: Duration::from_secs(60), ..settings(&folder) };
    let mut store = open(&settings);
    store.commit(&samples(1), NOW).expect("commits");
    store.commit(&samples(1), NOW).expect("commits");
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(1)).expect("notes");
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(30))).expect("frees"), 0, "young");
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(61))).expect("frees"), 1, "one acknowledged");
}

#[test]
fn a_full_buffer_gives_up_the_oldest_telemetry_and_says_which() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { bytes_max: 20_000, ..settings(&folder) };
    let mut store = open(&settings);
    store.commit(&transition(1, AlarmState::Unacknowledged), NOW).expect("commits");
    for _ in 0..60 {
        store.commit(&samples(100), NOW).expect("commits");
    }
    assert!(store.bytes() < 25_000, "{} bytes are held", store.bytes());
    let gap = store.read(StreamId::Diagnostic, Sequence::ZERO).expect("reads").expect("a gap record");
    let BatchBody::Records(records) = Batch::decode(&gap.message).expect("a batch").body else {
        panic!("the diagnostic stream carries records");
    };
    let [DiagnosticRecord::Gap(gap)] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((gap.first.as_u64(), gap.samples), (1, (gap.last.as_u64()) * 100));
    let alarm = store.read(StreamId::Alarm, Sequence::ZERO).expect("reads");
    assert!(alarm.is_some(), "alarms are never evicted for telemetry");
}

#[test]
fn room_is_first_made_with_acknowledged_batches() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 20_000, ..settings(&folder) });
    for n in 1..=60 {
        store.commit(&samples(100), NOW).expect("commits");
        store.acknowledge(StreamId::Telemetry, Sequence::from_u64(n)).expect("notes");
    }
    assert!(store.bytes() < 25_000);
    assert_eq!(store.read(StreamId::Diagnostic, Sequence::ZERO).expect("reads"), None, "nothing was lost");
}

#[test]
fn a_tag_keeps_its_number_and_a_new_one_gets_a_new_number() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let machine = MachineId::new("m").expect("valid");
    let mut store = open(&settings);
    let first = store.series(&machine, &tags(&["a", "b"])).expect("numbers");
    drop(store);
    let second = open(&settings).series(&machine, &tags(&["b", "c", "a"])).expect("numbers");
    assert_eq!((second[0], second[2]), (first[1], first[0]));
    assert!(!first.contains(&second[1]));
}

#[test]
fn alarms_are_remembered_as_of_the_last_committed_transition() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    store.commit(&transition(1, AlarmState::Unacknowledged), NOW).expect("commits");
    store.commit(&transition(1, AlarmState::Normal), NOW).expect("commits");
    store.commit(&transition(2, AlarmState::Unacknowledged), NOW).expect("commits");
    store.commit(&transition(2, AlarmState::Shelved), NOW).expect("commits");
    drop(store);
    let alarms = open(&settings).alarms().expect("reads");
    assert_eq!(alarms.len(), 1);
    assert_eq!((alarms[0].occurrence, alarms[0].flags), (2, AlarmFlags::of_state(AlarmState::Shelved)));
}

#[test]
fn alarms_of_a_file_of_the_first_layout_keep_their_state() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let raw = Connection::open(&settings.path).expect("opens");
    raw.execute_batch(schema::LAYOUTS[0]).expect("the first layout");
    raw.execute_batch("INSERT INTO alarm VALUES ('m', 'a', 7, 1), ('m', 'b', 8, 0)").expect("two alarms");
    raw.pragma_update(None, "user_version", 1).expect("writes");
    drop(raw);
    let alarms = open(&settings).alarms().expect("reads");
    let kept = |state| AlarmFlags::of_state(state);
    let found: Vec<_> = alarms.iter().map(|a| (a.alarm.as_str(), a.occurrence, a.flags)).collect();
    let expected = [("a", 7, kept(AlarmState::Unacknowledged)), ("b", 8, kept(AlarmState::Normal))];
    assert_eq!(found, expected);
}

#[test]
fn a_truncated_file_is_set_aside_and_a_new_epoch_begins() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    let epoch = store.epoch();
    for _ in 0..200 {
        store.commit(&samples(100), NOW).expect("commits");
    }
    drop(store);
    let size = std::fs::metadata(&settings.path).expect("exists").len();
    let file = std::fs::OpenOptions::new().write(true).open(&settings.path).expect("writable");
    file.set_len(size / 2).expect("truncates");
    let opened = EdgeStore::open(settings, NOW).expect("starts all the same");
    let aside = opened.set_aside.expect("the damaged file is kept");
    assert_eq!(std::fs::metadata(&aside).expect("kept").len(), size / 2);
    assert_ne!(opened.store.epoch(), epoch);
}

#[test]
fn a_file_that_is_no_database_is_set_aside_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    std::fs::write(&settings.path, vec![b'x'; 8192]).expect("writes");
    let opened = EdgeStore::open(settings, NOW).expect("starts");
    assert!(opened.set_aside.is_some());
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    drop(open(&settings));
    let raw = Connection::open(&settings.path).expect("opens");
    raw.pragma_update(None, "user_version", 99).expect("writes");
    drop(raw);
    let error = EdgeStore::open(settings, NOW).expect_err("refused");
    assert!(matches!(error, StoreError::Newer { found: 99, known: 2, .. }), "{error}");
}

#[test]
fn a_folder_that_does_not_exist_is_named_in_the_error() {
    let error = EdgeStore::open(Settings::new("/nonexistent/buffer.db"), NOW).expect_err("refused");
    assert!(error.to_string().contains("/nonexistent/buffer.db"), "{error}");
}
