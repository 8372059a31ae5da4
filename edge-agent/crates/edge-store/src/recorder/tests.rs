use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, AlarmTimers, AlarmTransition, MachineId, Monotonic,
    Quality, TagId, TransitionCause, Value,
};
use protocol::Batch;

use super::*;
use crate::inbox::SAMPLES_MAX;
use crate::{Settings, StoredAlarm};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn sample(value: Value) -> (SeriesId, Sample) {
    let sample =
        Sample { value: Some(value), quality: Quality::GOOD, source_timestamp: None, gateway_timestamp: NOW };
    (SeriesId(1), sample)
}

fn transition() -> AlarmTransition {
    AlarmTransition {
        machine: MachineId::new("m").expect("valid"),
        alarm: AlarmId::new("a").expect("valid"),
        tag: Some(TagId::new("t").expect("valid")),
        occurrence: 1,
        from: AlarmState::Normal,
        to: AlarmState::Unacknowledged,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::Low,
        value: Some(Value::Int(1)),
        limit: None,
        deadband: 0.0,
        value_at: NOW,
        decided_at: NOW,
        message: String::new(),
        first_out: false,
        flags: AlarmFlags::of_state(AlarmState::Unacknowledged),
        operation: None,
    }
}

fn decided(micros: u64) -> Decided {
    Decided { transition: transition(), at: Monotonic::from_micros(micros) }
}

fn start(folder: &tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Recorder {
    let mut settings = Settings::new(folder.path().join("buffer.db"));
    change(&mut settings);
    let store = EdgeStore::open(settings, NOW).expect("opens").store;
    Recorder::start(store, || NOW, Box::new(|_, _| {})).expect("starts")
}

async fn until(client: &StoreClient, stream: StreamId, next: u64) {
    let mut ranges = client.ranges();
    let reached = |r: &[StreamRange; 3]| r.iter().any(|r| r.stream == stream && r.next.as_u64() >= next);
    tokio::time::timeout(Duration::from_secs(20), ranges.wait_for(reached))
        .await
        .expect("within 20 s")
        .expect("the recorder runs");
}

#[tokio::test]
async fn an_alarm_is_committed_at_once_while_samples_wait_for_their_group() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |s| s.commit_interval = Duration::from_secs(3600));
    recorder.inbox().push_samples([sample(Value::Int(1))]);
    recorder.inbox().push_transitions([decided(1)]);
    until(&recorder.client(), StreamId::Alarm, 2).await;
    let counters = recorder.counters();
    assert_eq!(counters.samples_committed.load(Ordering::Relaxed), 0);
    recorder.stop();
    assert_eq!(counters.samples_committed.load(Ordering::Relaxed), 1, "a stop commits what waits");
}

#[tokio::test]
async fn who_waits_for_alarms_is_told_of_each_after_its_commit_with_the_batch_that_carries_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = EdgeStore::open(Settings::new(folder.path().join("buffer.db")), NOW).expect("opens").store;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let on_alarms: OnAlarms = Box::new(move |sequence, decided| {
        let instants: Vec<u64> = decided.iter().map(|d| d.at.micros()).collect();
        told.send((sequence.as_u64(), instants)).expect("the test listens");
    });
    let recorder = Recorder::start(store, || NOW, on_alarms).expect("starts");
    recorder.inbox().push_transitions([decided(7), decided(8)]);
    until(&recorder.client(), StreamId::Alarm, 2).await;
    recorder.inbox().push_transitions([decided(9)]);
    until(&recorder.client(), StreamId::Alarm, 3).await;
    assert_eq!(heard.recv().await, Some((1, vec![7, 8])));
    assert_eq!(heard.recv().await, Some((2, vec![9])));
    recorder.stop();
}

/// What a buffer holds of its alarm after a recorder noted `passed` and then took `transitions`.
async fn noted(passed: Duration, transitions: Vec<Decided>) -> Vec<StoredAlarm> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |s| s.commit_interval = Duration::from_millis(1));
    let timers = AlarmTimers { delay_passed: Some(passed), ..AlarmTimers::NONE };
    let Decided { transition: AlarmTransition { machine, alarm, .. }, .. } = decided(0);
    let running = StoredAlarm { machine, alarm, occurrence: 0, flags: AlarmFlags::NORMAL, timers };
    let told = Arc::new(std::sync::Mutex::new(vec![running]));
    let source = Arc::clone(&told);
    recorder.note_timers(Box::new(move || source.lock().expect("whole").clone()));
    recorder.client().flush().await.expect("it runs");
    recorder.inbox().push_samples([sample(Value::Int(1))]);
    until(&recorder.client(), StreamId::Telemetry, 2).await;
    if !transitions.is_empty() {
        told.lock().expect("whole").clear();
        recorder.inbox().push_transitions(transitions);
        until(&recorder.client(), StreamId::Alarm, 2).await;
    }
    recorder.stop();
    let settings = Settings::new(folder.path().join("buffer.db"));
    EdgeStore::open(settings, NOW).expect("opens").store.alarms().expect("reads")
}

#[tokio::test]
async fn timers_that_run_are_noted_with_the_samples_until_a_transition_ends_them() {
    let passed = Duration::from_secs(3);
    let kept = noted(passed, Vec::new()).await;
    assert_eq!((kept[0].occurrence, kept[0].timers.delay_passed), (0, Some(passed)));
    let kept = noted(passed, vec![decided(1)]).await;
    assert_eq!((kept[0].occurrence, kept[0].timers), (1, AlarmTimers::NONE));
}

#[tokio::test]
async fn samples_are_committed_when_there_are_enough_of_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |s| {
        s.commit_interval = Duration::from_secs(3600);
        s.commit_samples = 10;
    });
    recorder.inbox().push_samples((0..25).map(|n| sample(Value::Int(n))));
    until(&recorder.client(), StreamId::Telemetry, 3).await;
    let batch =
        recorder.client().read(StreamId::Telemetry, Sequence::ZERO).await.expect("reads").expect("held");
    assert_eq!(Batch::decode(&batch.message).expect("a batch").header.count, 10);
    let counters = recorder.counters();
    recorder.stop();
    assert_eq!(counters.samples_committed.load(Ordering::Relaxed), 25);
}

#[tokio::test]
async fn samples_are_committed_when_the_interval_is_over() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |s| s.commit_interval = Duration::from_millis(20));
    recorder.inbox().push_samples([sample(Value::Int(1))]);
    until(&recorder.client(), StreamId::Telemetry, 2).await;
    recorder.stop();
}

#[tokio::test]
async fn samples_too_large_for_one_message_are_committed_in_parts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |s| s.commit_interval = Duration::from_millis(1));
    // 1,400 texts of 1 KiB that do not compress: more than one message may carry.
    let noise = |n: u64| -> String {
        let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            char::from(33 + u8::try_from(x % 90).unwrap_or(0))
        };
        (0..1024).map(|_| next()).collect()
    };
    recorder.inbox().push_samples((1..=1_400).map(|n| sample(Value::Text(noise(n).into()))));
    until(&recorder.client(), StreamId::Telemetry, 3).await;
    let counters = recorder.counters();
    recorder.stop();
    assert_eq!(counters.samples_committed.load(Ordering::Relaxed), 1_400);
    assert_eq!(counters.samples_dropped.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stalled_store_keeps_the_newest_samples_and_counts_the_rest() {
    let inbox = SampleInbox::new();
    inbox.push_samples((0..SAMPLES_MAX as i64 + 7).map(|n| sample(Value::Int(n))));
    let pace =
        Pace { commit_interval: Duration::ZERO, commit_samples: 1, idle: Duration::ZERO, held_until: None };
    let (count, first, dropped) = inbox.wait(&pace, |waiting| {
        let first = waiting.samples.front().and_then(|(_, s)| s.value.clone());
        (waiting.samples.len(), first, waiting.dropped.clone())
    });
    assert_eq!((count, first), (SAMPLES_MAX, Some(Value::Int(7))));
    assert_eq!(dropped.expect("the loss is noted").samples, 7);
}

#[tokio::test]
async fn a_stopped_recorder_answers_that_it_is_closed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let recorder = start(&folder, |_| {});
    let client = recorder.client();
    recorder.stop();
    let answer = client.read(StreamId::Alarm, Sequence::ZERO).await;
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
}
