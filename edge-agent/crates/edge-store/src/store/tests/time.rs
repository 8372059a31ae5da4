//! Batches that were committed before the time was known.

use protocol::{BatchBody, ClockChange, ClockRecord};

use super::*;
use crate::Boot;

const BUILT_AT: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
const SECOND: i64 = 1_000_000;

fn in_boot(folder: &tempfile::TempDir, id: u128) -> Settings {
    Settings { boot: Some(Boot { id, built_at: BUILT_AT }), ..settings(folder) }
}

/// One sample of series 1 at each of these seconds since the boot, or instants of the calendar.
fn taken(seconds: impl IntoIterator<Item = i64>) -> BatchBody {
    let sample = |second: i64| Sample {
        value: Some(Value::Int(second)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: uptime(second),
    };
    BatchBody::Samples(vec![SeriesSamples {
        series: SeriesId(1),
        samples: seconds.into_iter().map(sample).collect(),
    }])
}

fn uptime(second: i64) -> Timestamp {
    Timestamp::from_micros(second * SECOND)
}

/// Everything that may be sent: sequence, value, time and quality of each sample.
fn sendable(store: &mut EdgeStore) -> Vec<(u64, i64, Timestamp, Quality)> {
    let [.., range] = store.ranges().expect("ranges");
    let mut out = Vec::new();
    let mut from = range.oldest;
    while from < range.next {
        let batch = store.read(StreamId::Telemetry, from, NOW).expect("reads").expect("held");
        from = batch.sequence.next();
        let BatchBody::Samples(blocks) = Batch::decode(&batch.message).expect("whole").body else {
            panic!("samples")
        };
        for sample in &blocks[0].samples {
            let Some(Value::Int(value)) = sample.value else { panic!("a number: {sample:?}") };
            out.push((batch.sequence.as_u64(), value, sample.gateway_timestamp, sample.quality));
        }
    }
    out
}

fn place_all(store: &mut EdgeStore) {
    while store.place(NOW).expect("places") {}
}

fn clock_records(store: &mut EdgeStore) -> Vec<ClockRecord> {
    let clock = |record| match record {
        DiagnosticRecord::Clock(clock) => Some(clock),
        DiagnosticRecord::Gap(_) | DiagnosticRecord::Dropped(_) => None,
    };
    records(store).into_iter().filter_map(clock).collect()
}

#[test]
fn e1_what_was_taken_before_the_time_was_known_waits_and_then_goes_out_in_order_at_its_time() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&in_boot(&folder, 1));
    for second in 10..210 {
        store.commit(&taken([second]), uptime(second)).expect("commits");
    }
    assert_eq!((sendable(&mut store), store.unplaced().expect("counts")), (Vec::new(), 200));
    assert!(!store.place(uptime(210)).expect("nothing to do"), "it may still become known");

    let booted_at = Timestamp::from_micros(1_790_000_000_000_000);
    store.know_time(booted_at).expect("notes");
    store.commit(&taken([210]), booted_at.plus(Duration::from_secs(211))).expect("a straggler");
    place_all(&mut store);
    let sent = sendable(&mut store);
    let wanted: Vec<_> = (10..=210)
        .zip(1..)
        .map(|(second, sequence)| {
            (sequence, second, Timestamp::from_micros(booted_at.micros() + second * SECOND), Quality::GOOD)
        })
        .collect();
    assert_eq!(sent, wanted);
    assert_eq!(store.unplaced().expect("counts"), 0);
    assert_eq!(clock_records(&mut store), []);
}

#[test]
fn e1_a_kill_while_batches_are_given_their_time_changes_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&in_boot(&folder, 1));
    for second in 0..300 {
        store.commit(&taken([second]), uptime(second)).expect("commits");
    }
    let booted_at = Timestamp::from_micros(1_790_000_000_000_000);
    store.know_time(booted_at).expect("notes");
    assert!(store.place(NOW).expect("places"));
    let sent_before = sendable(&mut store).len();
    assert!((1..300).contains(&sent_before), "in the middle: {sent_before}");
    drop(store);

    // Booted again, with a clock that knows nothing: what was known then still holds.
    let mut store = open(&in_boot(&folder, 2));
    assert_eq!(sendable(&mut store).len(), sent_before);
    place_all(&mut store);
    let sent = sendable(&mut store);
    assert_eq!(sent.len(), 300);
    for (sequence, second, at, quality) in sent {
        assert_eq!(sequence, second.cast_unsigned() + 1);
        assert_eq!((at.micros() - booted_at.micros(), quality), (second * SECOND, Quality::GOOD));
    }
    assert_eq!(clock_records(&mut store), []);
}

#[test]
fn e1_a_second_boot_without_the_time_keeps_order_marks_what_is_uncertain_and_says_so_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&in_boot(&folder, 1));
    store.commit(&samples(1), NOW).expect("commits with the time known");
    drop(store);
    let mut store = open(&in_boot(&folder, 2));
    assert_eq!(store.time_floor(), NOW, "the newest that is known");
    for second in 30..130 {
        store.commit(&taken([second]), uptime(second)).expect("commits");
    }
    drop(store);

    let mut store = open(&in_boot(&folder, 3));
    assert_eq!(store.time_floor(), NOW.plus(Duration::from_secs(99)));
    store.commit(&taken([5]), uptime(5)).expect("commits");
    place_all(&mut store);
    let [.., range] = store.ranges().expect("ranges");
    assert_eq!((range.oldest.as_u64(), range.next.as_u64()), (1, 102), "the newest still waits");
    let booted_at = NOW.plus(Duration::from_secs(3600));
    store.know_time(booted_at).expect("notes");
    place_all(&mut store);

    let BatchBody::Samples(first) = Batch::decode(
        &store.read(StreamId::Telemetry, Sequence::from_u64(1), NOW).expect("reads").expect("held").message,
    )
    .expect("whole")
    .body
    else {
        panic!("samples")
    };
    assert_eq!(first[0].samples[0].quality, Quality::GOOD);
    let mut at = NOW;
    for sequence in 2..=102 {
        let batch = store.read(StreamId::Telemetry, Sequence::from_u64(sequence), NOW);
        let batch = Batch::decode(&batch.expect("reads").expect("held").message).expect("whole");
        let BatchBody::Samples(blocks) = batch.body else { panic!("samples") };
        let sample = &blocks[0].samples[0];
        assert!(sample.gateway_timestamp >= at, "order is kept: {sample:?}");
        at = sample.gateway_timestamp;
        assert_eq!(sample.quality.is_good(), sequence == 102, "{sample:?}");
    }
    assert_eq!(at, booted_at.plus(Duration::from_secs(5)));
    let told = clock_records(&mut store);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].change, told[0].samples), (ClockChange::NeverKnown, 100));
    assert_eq!((told[0].from, told[0].to), (NOW, NOW.plus(Duration::from_secs(99))));
}

#[test]
fn e2_a_step_of_the_clock_frees_nothing_that_is_kept_for_some_time() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { replay_window: Duration::from_secs(60), ..in_boot(&folder, 1) };
    let mut store = open(&settings);
    store.start_clock(NOW);
    store.commit(&samples(1), NOW).expect("commits");
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(1));
    for step in [Duration::from_secs(3600), Duration::from_secs(400 * 86_400)] {
        assert_eq!(store.free_replayed(NOW.plus(step)).expect("frees"), 0);
        assert_eq!(store.free_replayed(NOW.minus(step)).expect("frees"), 0);
    }
    drop(store);
    let mut store = open(&settings);
    store.start_clock(NOW.plus(Duration::from_secs(86_400)));
    assert_eq!(store.free_replayed(NOW).expect("frees"), 0, "nobody knows how long it was off");
}

#[test]
fn e1_a_full_buffer_thins_what_waits_for_its_time_and_loses_nothing_in_silence() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 0, ..in_boot(&folder, 1) });
    let mut taken_samples = 0;
    for second in 0..900_i64 {
        let body = taken((0..4_000).map(|n| second + n % 7));
        taken_samples += 4_000;
        store.commit(&body, uptime(second)).expect("commits");
    }
    let booted_at = Timestamp::from_micros(1_790_000_000_000_000);
    store.know_time(booted_at).expect("notes");
    place_all(&mut store);
    let sent = sendable(&mut store);
    assert!(sent.iter().all(|(_, _, at, _)| *at >= booted_at), "everything has its time");
    let lost: u64 = records(&mut store)
        .into_iter()
        .map(|record| match record {
            DiagnosticRecord::Gap(gap) => gap.samples,
            DiagnosticRecord::Dropped(_) | DiagnosticRecord::Clock(_) => 0,
        })
        .sum();
    assert_eq!(sent.len() as u64 + lost, taken_samples);
}
