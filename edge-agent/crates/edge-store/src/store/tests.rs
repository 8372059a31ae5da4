use std::time::Duration;

use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTransition, Quality, Sample, TransitionCause, Value,
};
use protocol::{Batch, SeriesSamples};

use super::*;

mod damage;
mod seal;
mod time;

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
    let mut store = open(&settings);
    assert_eq!(store.epoch(), epoch);
    let stored = store.read(StreamId::Telemetry, Sequence::ZERO, NOW).expect("reads").expect("held");
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
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(3));
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(1))).expect("frees"), 3);
    assert_eq!(store.read(StreamId::Telemetry, Sequence::ZERO, NOW).expect("reads"), None);
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
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(1));
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(30))).expect("frees"), 0, "young");
    assert_eq!(store.free_replayed(NOW.plus(Duration::from_secs(61))).expect("frees"), 1, "one acknowledged");
}

/// Fills a buffer of 8 MiB several times over with `batch`; some alarms are older than all of it.
fn overfill(store: &mut EdgeStore, commits: u32, batch: impl Fn(u32) -> BatchBody) {
    store.commit(&transition(1, AlarmState::Unacknowledged), NOW).expect("commits");
    for n in 0..commits {
        store.commit(&batch(n), NOW).expect("commits");
    }
}

/// All records of the diagnostic stream.
fn records(store: &mut EdgeStore) -> Vec<DiagnosticRecord> {
    all(store, StreamId::Diagnostic)
        .into_iter()
        .flat_map(|batch| match batch.body {
            BatchBody::Records(records) => records,
            BatchBody::Samples(_) | BatchBody::Transitions(_) => panic!("no records"),
        })
        .collect()
}

fn gaps(store: &mut EdgeStore) -> Vec<Gap> {
    let gap = |record| match record {
        DiagnosticRecord::Gap(gap) => Some(gap),
        DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => None,
    };
    records(store).into_iter().filter_map(gap).collect()
}

fn all(store: &mut EdgeStore, stream: StreamId) -> Vec<Batch> {
    let mut out = Vec::new();
    let mut from = Sequence::ZERO;
    while let Some(found) = store.read(stream, from, NOW).expect("reads") {
        from = found.sequence.next();
        out.push(Batch::decode(&found.message).expect("a batch"));
    }
    out
}

/// Noise: 32 bits that have little to do with their number.
fn scramble(n: u64) -> u32 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u32::try_from((n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32).unwrap_or(0)
}

/// 1,500 samples of 15 series at 1 Hz that do not compress well, after `n` others.
fn plant(n: u32) -> BatchBody {
    let sample = |series: u32, t: u32| Sample {
        value: Some(Value::Float((f64::from(t) * f64::from(series)).sin())),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: NOW.plus(Duration::from_secs(t.into())),
    };
    let series = |number: u32| SeriesSamples {
        series: SeriesId(number),
        samples: (n * 100..(n + 1) * 100).map(|t| sample(number, t)).collect(),
    };
    BatchBody::Samples((1..=15).map(series).collect())
}

#[test]
fn a8_a_full_buffer_thins_the_oldest_telemetry_then_drops_it_and_every_loss_is_recorded() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { bytes_max: 0, ..settings(&folder) };
    let mut store = open(&settings);
    let commits = 700;
    overfill(&mut store, commits, plant);
    let usage = store.usage().expect("measures");
    assert!(usage.disk_bytes <= 8 << 20, "{usage:?}");
    let backlog = store.backlog().expect("measures");
    assert!(backlog.bytes * 100 > backlog.room_bytes * 80, "who asks is told before a loss: {backlog:?}");
    let telemetry = all(&mut store, StreamId::Telemetry);
    let thinned = telemetry.iter().filter(|b| b.header.detail == Detail::Thinned).count();
    assert!(thinned > 0 && thinned < telemetry.len(), "{thinned} of {} are thinned", telemetry.len());
    let gaps = gaps(&mut store);
    let of = |reason| gaps.iter().filter(|g| g.reason == reason).count();
    assert!(of(LossReason::Thinned) > 0 && of(LossReason::BufferFull) > 0, "{gaps:?}");
    // Every sequence is there or declared, once; every sample is held or counted as lost.
    let held = telemetry.iter().map(|b| b.header.sequence.as_u64());
    let lost = gaps.iter().flat_map(|g| g.first.as_u64()..=g.last.as_u64());
    let mut accounted: Vec<u64> = held.chain(lost).collect();
    accounted.sort_unstable();
    let [.., range] = store.ranges().expect("ranges");
    assert_eq!(accounted, (1..range.next.as_u64()).collect::<Vec<_>>());
    let held: u64 = telemetry.iter().map(|b| u64::from(b.header.count)).sum();
    let lost: u64 = gaps.iter().map(|g| g.samples).sum();
    assert_eq!(held + lost, u64::from(commits) * 1_500);
    assert_eq!(all(&mut store, StreamId::Alarm).len(), 1, "alarms are never evicted for telemetry");
}

#[test]
fn a8_alarms_go_last_and_a_buffer_of_nothing_but_alarms_still_takes_new_ones() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 0, ..settings(&folder) });
    let noise = |n: u64| {
        let BatchBody::Transitions(list) = transition(n, AlarmState::Unacknowledged) else {
            panic!("transitions")
        };
        let message =
            |i: u64| (0..125).map(|k| format!("{:08x}", scramble(n * 9_999 + i * 127 + k))).collect();
        let with_noise = |i| AlarmTransition { message: message(i), ..list[0].clone() };
        BatchBody::Transitions((0..40).map(with_noise).collect())
    };
    overfill(&mut store, 20, plant);
    for n in 1..=300 {
        store.commit(&noise(n), NOW).expect("commits");
    }
    let gaps = gaps(&mut store);
    let first_alarm =
        gaps.iter().position(|g| g.stream == StreamId::Alarm).expect("alarms were evicted in the end");
    let last_telemetry =
        gaps.iter().rposition(|g| g.stream == StreamId::Telemetry).expect("telemetry was evicted");
    assert!(last_telemetry < first_alarm, "{gaps:?}");
    assert_eq!(all(&mut store, StreamId::Telemetry).len(), 0);
}

#[test]
fn a_flood_of_alarms_finds_room_in_a_full_buffer() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 0, ..settings(&folder) });
    overfill(&mut store, 300, plant);
    for flood in 0..3 {
        let BatchBody::Transitions(one) = transition(1, AlarmState::Unacknowledged) else {
            panic!("transitions")
        };
        let step = |n: u64| AlarmTransition {
            alarm: AlarmId::new(&format!("a-{flood}-{n}")).expect("valid"),
            message: (0..120).map(|k| format!("{:08x}", scramble(flood * 99_991 + n * 127 + k))).collect(),
            ..one[0].clone()
        };
        let body = BatchBody::Transitions((0..1_500).map(step).collect());
        let message = store.commit(&body, NOW).expect("commits");
        assert_eq!(message.count, 1_500);
    }
    let held = all(&mut store, StreamId::Alarm);
    assert_eq!(held.last().map(|batch| batch.header.count), Some(1_500), "the newest is held");
    let given_up = gaps(&mut store).into_iter().filter(|gap| gap.stream == StreamId::Alarm);
    let lost: u64 = given_up.map(|gap| gap.last.as_u64() + 1 - gap.first.as_u64()).sum();
    assert_eq!(held.len() as u64 + lost, 4, "what gave way for it is told");
}

#[test]
fn room_is_first_made_with_acknowledged_batches() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 0, ..settings(&folder) });
    for n in 0..300 {
        store.commit(&plant(n), NOW).expect("commits");
        store.acknowledge(StreamId::Telemetry, Sequence::from_u64(u64::from(n) + 1));
    }
    assert!(store.usage().expect("measures").disk_bytes <= 8 << 20);
    assert_eq!(
        store.read(StreamId::Diagnostic, Sequence::ZERO, NOW).expect("reads"),
        None,
        "nothing was lost"
    );
}

#[test]
fn a_lower_bound_gives_up_what_is_beyond_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let wide = Settings { bytes_max: 24 << 20, ..settings(&folder) };
    let mut store = open(&wide);
    for n in 0..500 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    assert_eq!(gaps(&mut store), []);
    drop(store);
    let mut store = open(&Settings { bytes_max: 8 << 20, ..wide });
    store.commit(&plant(500), NOW).expect("commits");
    assert!(store.usage().expect("measures").held_bytes <= 4 << 20);
    assert_ne!(gaps(&mut store), []);
}

#[test]
fn nothing_but_growth_makes_the_file_longer() {
    let folder = tempfile::tempdir().expect("temporary folder");
    drop(open(&settings(&folder)));
    let mut store = open(&settings(&folder));
    let before = store.usage().expect("measures").disk_bytes;
    let insert = "INSERT INTO reserve (zeroes) VALUES (zeroblob(50000000))";
    let error = store.connection().expect("open").execute(insert, []).expect_err("there are no such pages");
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{error}");
    store.commit(&samples(1), NOW).expect("commits all the same");
    assert!(store.usage().expect("measures").disk_bytes <= before.max(6 << 20));
    assert!(store.grow().expect("grows"));
}

#[test]
fn a16_samples_of_the_same_instant_are_all_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&settings(&folder));
    let sample = |n| Sample {
        value: Some(Value::Int(n)),
        quality: Quality::GOOD,
        source_timestamp: Some(NOW),
        gateway_timestamp: NOW,
    };
    let body = BatchBody::Samples(vec![SeriesSamples {
        series: SeriesId(1),
        samples: [1, 2, 2, 1].into_iter().map(sample).collect(),
    }]);
    store.commit(&body, NOW).expect("commits");
    assert_eq!(all(&mut store, StreamId::Telemetry)[0].body, body);
}

#[test]
fn a13_a_batch_that_cannot_be_delivered_is_set_aside_and_the_stream_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&settings(&folder));
    for _ in 0..3 {
        store.commit(&samples(7), NOW).expect("commits");
    }
    let second = Sequence::from_u64(2);
    store.set_aside(StreamId::Telemetry, second, LossReason::Refused, NOW).expect("sets aside");
    store.set_aside(StreamId::Telemetry, second, LossReason::Refused, NOW).expect("does nothing twice");
    let left: Vec<_> =
        all(&mut store, StreamId::Telemetry).iter().map(|b| b.header.sequence.as_u64()).collect();
    assert_eq!(left, [1, 3]);
    let gaps = gaps(&mut store);
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].first, gaps[0].last, gaps[0].samples, gaps[0].reason),
        (second, second, 7, LossReason::Refused)
    );
}

#[test]
fn a13_a_batch_larger_than_the_broker_takes_goes_on_in_parts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&settings(&folder));
    for n in 0..3 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    let first = Sequence::from_u64(1);
    store.divide(StreamId::Telemetry, first, 5_000, NOW).expect("divides");
    store.divide(StreamId::Telemetry, first, 5_000, NOW).expect("does nothing twice");
    let batches = all(&mut store, StreamId::Telemetry);
    let parts: Vec<_> = batches.iter().filter(|b| b.header.sequence.as_u64() > 3).collect();
    assert!(parts.len() >= 2);
    assert_eq!(parts.iter().map(|b| b.header.count).sum::<u32>(), 1_500);
    let gaps = gaps(&mut store);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].first, gaps[0].samples, gaps[0].reason), (first, 0, LossReason::Refused));
    for (n, sequence) in (0_u64..).zip(batches.iter().map(|b| b.header.sequence)).skip(2) {
        let size =
            store.read(StreamId::Telemetry, sequence, NOW).expect("reads").expect("held").message.len();
        assert!(size <= 5_000, "part {n} has {size} bytes");
    }
    assert!(store.commit(&plant(9), NOW).is_err(), "from here on commits keep to the limit");
}

#[test]
fn a13_a_batch_over_the_limit_of_the_broker_is_refused_at_the_commit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { message_bytes_max: 4_096, ..settings(&folder) });
    let error = store.commit(&samples(5_000), NOW).expect_err("too large");
    assert!(matches!(error, StoreError::Encode(_)), "{error}");
    assert_eq!(store.commit(&samples(100), NOW).expect("commits").sequence.as_u64(), 1, "no number was used");
}

#[test]
fn a_batch_that_was_damaged_in_the_file_is_set_aside_when_it_is_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&settings(&folder));
    for _ in 0..3 {
        store.commit(&samples(7), NOW).expect("commits");
    }
    let flip =
        "UPDATE outbox SET message = CAST(substr(message, 1, 60) || x'FF' || substr(message, 62) AS BLOB)
                WHERE key & 255 = 1";
    store.connection().expect("open").execute(flip, []).expect("damages the first batch");
    let found = store.read(StreamId::Telemetry, Sequence::ZERO, NOW).expect("reads").expect("held");
    assert_eq!(found.sequence.as_u64(), 2);
    assert_eq!(gaps(&mut store)[0].reason, LossReason::Damaged);
}

#[test]
fn a_second_process_is_refused_the_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let _store = open(&settings);
    let other = Connection::open(&settings.path).expect("opens");
    let read = other.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, i64>(0));
    assert!(read.is_err(), "the log would not be emptied while somebody reads");
}

#[test]
fn a_commit_that_failed_and_is_in_the_log_all_the_same_is_taken_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    store.commit(&samples(1), NOW).expect("commits");
    let before = store.next;
    store.commit(&samples(2), NOW).expect("commits");
    // As if the second commit had been reported as failed.
    store.next = before;
    store.reopen().expect("opens again");
    let header = store.commit(&samples(3), NOW).expect("commits");
    assert_eq!(header.sequence.as_u64(), 2);
    let counts: Vec<_> = all(&mut store, StreamId::Telemetry).iter().map(|b| b.header.count).collect();
    assert_eq!(counts, [1, 3]);
}

#[test]
fn a_file_in_the_place_of_ours_is_not_written_to() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    let elsewhere = Settings { path: folder.path().join("other.db"), ..settings.clone() };
    drop(open(&elsewhere));
    for suffix in ["", "-wal"] {
        let name = |of: &str| folder.path().join(format!("{of}{suffix}"));
        std::fs::rename(name("other.db"), name("buffer.db")).expect("takes its place");
    }
    let error = store.reopen().expect_err("it is another one");
    assert!(matches!(error, StoreError::Gone { .. }), "{error}");
    assert!(matches!(store.commit(&samples(1), NOW), Err(StoreError::Gone { .. })));
}

#[test]
fn a_tag_keeps_its_number_and_a_new_one_gets_a_new_number() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let machine = MachineId::new("m").expect("valid");
    let mut store = open(&settings);
    let first = store.series(&machine, &tags(&["a", "b"]), NOW).expect("numbers");
    drop(store);
    let second = open(&settings).series(&machine, &tags(&["b", "c", "a"]), NOW).expect("numbers");
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
    raw.execute_batch(schema::FIRST_LAYOUT).expect("the first layout");
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
fn a_file_that_is_no_database_is_set_aside_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    std::fs::write(&settings.path, vec![b'x'; 8192]).expect("writes");
    let opened = EdgeStore::open(settings, NOW).expect("starts");
    assert!(opened.set_aside.is_some() && opened.salvaged.is_none());
    let mut store = opened.store;
    assert!(
        matches!(records(&mut store).as_slice(), [DiagnosticRecord::Dropped(_)]),
        "the backend hears of it"
    );
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
    assert!(matches!(error, StoreError::Newer { found: 99, known: schema::LAYOUT, .. }), "{error}");
}

#[test]
fn a_folder_that_does_not_exist_is_named_in_the_error() {
    let error = EdgeStore::open(Settings::new("/nonexistent/buffer.db"), NOW).expect_err("refused");
    assert!(error.to_string().contains("/nonexistent/buffer.db"), "{error}");
}

#[test]
fn a_file_of_the_first_layout_is_brought_to_the_newest_with_what_it_holds() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let epoch = Epoch::from_u64(77);
    let raw = Connection::open(&settings.path).expect("makes");
    raw.execute_batch(crate::schema::FIRST_LAYOUT).expect("the first layout");
    raw.execute("INSERT INTO meta VALUES ('epoch', ?1)", [77_u64.to_be_bytes()]).expect("inserts");
    let message = Batch::encode(epoch, Sequence::from_u64(5), NOW, &samples(9)).expect("a batch");
    raw.execute("INSERT INTO batch VALUES (2, 5, 0, 9, ?1)", [&message]).expect("inserts");
    raw.execute_batch("UPDATE stream SET next = 6, acked = 4 WHERE code = 2; PRAGMA user_version = 1")
        .expect("sets");
    drop(raw);
    let mut store = open(&settings);
    assert_eq!(store.epoch(), epoch);
    assert_eq!(
        store.read(StreamId::Telemetry, Sequence::ZERO, NOW).expect("reads").expect("held").message,
        message
    );
    assert_eq!(store.commit(&samples(1), NOW).expect("commits").sequence.as_u64(), 6);
}

#[test]
fn f11_the_buffer_and_its_log_are_their_owners_alone_from_the_beginning() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(&settings(&folder));
    store.commit(&samples(10), NOW).expect("commits");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let entry = entry.expect("readable");
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name());
    }
    assert!(names.len() >= 2, "the file and its log: {names:?}");
}
