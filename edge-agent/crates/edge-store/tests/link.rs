//! A buffer and a backend on a virtual link that drops, doubles, reorders, delays and breaks, with both ends
//! crashing at any step (A2, A6, A12, A13). The buffer, its file and the delivery decisions are the real ones; the
//! backend is a model of SPEC section 3.
//!
//! The oracle: a commit that returned is an obligation. After the faults end, every obligation is met within a
//! bounded number of steps: each sample is stored exactly once, a resent batch was identical, and nothing was
//! freed that the backend did not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use delivery::{AckOutcome, Delivery, Settings as DeliverySettings};
use edge_store::{EdgeStore, Settings};
use plant_model::{Monotonic, Quality, Sample, Timestamp, Value};
use proptest::prelude::*;
use protocol::{
    Batch, BatchBody, BatchHeader, CumulativeAck, DiagnosticRecord, Dropped, Epoch, LossReason, Sequence,
    SeriesId, SeriesSamples, StreamId, StreamRange,
};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// What the broker takes: the largest batches of the test are over it.
const BROKER_BYTES_MAX: usize = 5_000;

/// One step of a run. Numbers choose among what there is, wherever there is a choice.
#[derive(Debug, Clone, Copy)]
enum Step {
    Commit(u16),
    Record,
    Send,
    Deliver(u8),
    Drop(u8),
    Double(u8),
    Acknowledge(u8),
    LoseAck(u8),
    Wait(u8),
    Break,
    Connect,
    CrashGateway,
    BackUp,
    Restore,
    Free,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u16..40).prop_map(Step::Commit),
        1 => Just(Step::Commit(1_500)),
        1 => Just(Step::Record),
        8 => Just(Step::Send),
        6 => any::<u8>().prop_map(Step::Deliver),
        1 => any::<u8>().prop_map(Step::Drop),
        1 => any::<u8>().prop_map(Step::Double),
        6 => any::<u8>().prop_map(Step::Acknowledge),
        1 => any::<u8>().prop_map(Step::LoseAck),
        1 => (1_u8..15).prop_map(Step::Wait),
        1 => Just(Step::Break),
        3 => Just(Step::Connect),
        1 => Just(Step::CrashGateway),
        1 => Just(Step::BackUp),
        1 => Just(Step::Restore),
        1 => Just(Step::Free),
    ]
}

/// What a backend has on its disk.
#[derive(Debug, Clone, Default)]
struct Disk {
    stored: BTreeMap<(StreamId, u64), Vec<u8>>,
    /// Sequences that are stored or declared lost.
    covered: BTreeMap<StreamId, BTreeSet<u64>>,
}

impl Disk {
    fn watermark(&self, stream: StreamId) -> u64 {
        let covered = self.covered.get(&stream);
        (1..).take_while(|n| covered.is_some_and(|c| c.contains(n))).last().unwrap_or(0)
    }

    fn ack(&self, epoch: Epoch, stream: StreamId) -> CumulativeAck {
        let committed_through = Sequence::from_u64(self.watermark(stream));
        CumulativeAck { epoch, stream, committed_through, missing_through: None, last_checksum: None }
    }

    /// Stores a batch, then answers.
    fn receive(&mut self, message: &[u8]) -> CumulativeAck {
        let header = BatchHeader::read(message).expect("a batch");
        let (stream, sequence) = (header.stream, header.sequence.as_u64());
        if let Some(known) = self.stored.get(&(stream, sequence)) {
            assert_eq!(known, message, "a batch was resent with other bytes");
        }
        self.stored.insert((stream, sequence), message.to_vec());
        self.covered.entry(stream).or_default().insert(sequence);
        if let BatchBody::Records(records) = Batch::decode(message).expect("a batch").body {
            for record in records {
                if let DiagnosticRecord::Gap(gap) = record {
                    let lost = gap.first.as_u64()..=gap.last.as_u64();
                    self.covered.entry(gap.stream).or_default().extend(lost);
                }
            }
        }
        self.ack(header.epoch, stream)
    }

    /// Notes what the gateway no longer holds.
    fn note_held(&mut self, range: StreamRange) {
        self.covered.entry(range.stream).or_default().extend(1..range.oldest.as_u64());
    }

    fn samples(&self) -> Vec<i64> {
        let mut all = Vec::new();
        for message in self.stored.values() {
            let BatchBody::Samples(blocks) = Batch::decode(message).expect("a batch").body else { continue };
            all.extend(blocks.into_iter().flat_map(|b| b.samples).map(|s| match s.value {
                Some(Value::Int(n)) => n,
                other => panic!("{other:?}"),
            }));
        }
        all.sort_unstable();
        all
    }
}

struct World {
    folder: tempfile::TempDir,
    store: Option<EdgeStore>,
    delivery: Delivery,
    is_connected: bool,
    up: Vec<Vec<u8>>,
    down: Vec<CumulativeAck>,
    disk: Disk,
    backup: Disk,
    /// A backend that may be restored needs batches that were freed; so a run has one or the other.
    may_restore: bool,
    committed: i64,
    /// Batches that were larger than the broker takes.
    divided: u32,
    now: Monotonic,
}

impl World {
    fn new(may_restore: bool) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut store = open(&folder);
        let delivery = delivery_of(&mut store);
        Self {
            folder,
            store: Some(store),
            delivery,
            is_connected: false,
            up: Vec::new(),
            down: Vec::new(),
            disk: Disk::default(),
            backup: Disk::default(),
            may_restore,
            committed: 0,
            divided: 0,
            now: Monotonic::from_micros(0),
        }
    }

    fn store(&mut self) -> &mut EdgeStore {
        self.store.as_mut().expect("open between two steps")
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Commit(count) => self.commit(count),
            Step::Record => self.record(),
            Step::Send => self.send(),
            Step::Deliver(at) => self.deliver(at),
            Step::Drop(at) => drop(pick(&mut self.up, at)),
            Step::Double(at) => {
                if let Some(message) = pick(&mut self.up, at) {
                    self.up.extend([message.clone(), message]);
                }
            }
            Step::Acknowledge(at) => self.acknowledge(at),
            Step::LoseAck(at) => drop(pick(&mut self.down, at)),
            Step::Wait(seconds) => self.wait(seconds),
            Step::Break => self.disconnect(),
            Step::Connect => self.connect(),
            Step::CrashGateway => self.crash_gateway(),
            Step::BackUp => self.backup = self.disk.clone(),
            Step::Restore if self.may_restore => {
                self.disk = self.backup.clone();
                self.disconnect();
            }
            Step::Free if !self.may_restore => self.free(),
            Step::Restore | Step::Free => {}
        }
        for range in self.store().ranges().expect("ranges") {
            self.delivery.handle_held(range);
        }
    }

    fn commit(&mut self, count: u16) {
        let sample = |n: i64| Sample {
            value: Some(Value::Int(n)),
            quality: Quality::GOOD,
            source_timestamp: None,
            // Steps of noise, so that the large ones do not compress away.
            gateway_timestamp: NOW.plus(Duration::from_micros(u64::from(scramble(n)))),
        };
        let samples = (self.committed..self.committed + i64::from(count)).map(sample).collect();
        let body = BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]);
        // Once the limit is known a large commit is refused, and the recorder commits it in parts.
        if self.store().commit(&body, NOW).is_ok() {
            self.committed += i64::from(count);
        }
    }

    fn record(&mut self) {
        let dropped = Dropped { samples: 1, reason: LossReason::StoreStalled, from: NOW, to: NOW };
        let body = BatchBody::Records(vec![DiagnosticRecord::Dropped(dropped)]);
        self.store().commit(&body, NOW).expect("commits");
    }

    fn send(&mut self) {
        let Some((stream, sequence)) = self.delivery.next_to_send(self.now) else { return };
        let Some(batch) = self.store().read(stream, sequence, NOW).expect("reads") else { return };
        let size = batch.message.len();
        if size > BROKER_BYTES_MAX {
            self.store().divide(stream, batch.sequence, BROKER_BYTES_MAX, NOW).expect("divides");
            self.delivery.handle_refused(stream, batch.sequence);
            self.divided += 1;
            return;
        }
        self.delivery.handle_sent(stream, batch.sequence, u64::try_from(size).expect("small"), self.now);
        self.up.push(batch.message);
    }

    fn deliver(&mut self, at: u8) {
        if let Some(message) = pick(&mut self.up, at) {
            let ack = self.disk.receive(&message);
            self.down.push(ack);
        }
    }

    fn acknowledge(&mut self, at: u8) {
        let Some(ack) = pick(&mut self.down, at) else { return };
        match self.delivery.handle_ack(ack, self.now) {
            AckOutcome::Committed(through) | AckOutcome::Regressed(through) => {
                self.store().acknowledge(ack.stream, through);
            }
            AckOutcome::Known => {}
            AckOutcome::OtherEpoch | AckOutcome::Ahead(_) => panic!("{ack:?} is of no backend of ours"),
        }
    }

    fn wait(&mut self, seconds: u8) {
        self.now = self.now.plus(Duration::from_secs(seconds.into()));
        if self.is_connected && self.delivery.handle_timeout(self.now) == delivery::TimeoutOutcome::Reconnect
        {
            self.disconnect();
        }
    }

    fn disconnect(&mut self) {
        self.is_connected = false;
        self.delivery.handle_disconnected();
        self.up.clear();
        self.down.clear();
    }

    fn connect(&mut self) {
        if self.is_connected {
            return;
        }
        self.is_connected = true;
        self.delivery = delivery_of(self.store.as_mut().expect("open"));
        self.delivery.handle_connected(self.now);
        let epoch = self.store().epoch();
        for range in self.store().ranges().expect("ranges") {
            self.disk.note_held(range);
            let ack = self.disk.ack(epoch, range.stream);
            self.down.push(ack);
        }
    }

    /// The process is gone with all that it had in memory.
    fn crash_gateway(&mut self) {
        self.disconnect();
        self.store = None;
        let mut store = open(&self.folder);
        self.delivery = delivery_of(&mut store);
        self.store = Some(store);
    }

    fn free(&mut self) {
        let later = NOW.plus(Duration::from_secs(7_200));
        self.store().free_replayed(later).expect("frees");
    }

    /// No more faults: everything must arrive.
    fn settle(&mut self) {
        self.disconnect();
        for _ in 0..20_000 {
            self.take(Step::Connect);
            self.take(Step::Send);
            self.take(Step::Deliver(0));
            self.take(Step::Acknowledge(0));
            if self.up.is_empty()
                && self.down.is_empty()
                && self.delivery.is_streaming()
                && self.delivery.backlog() == 0
            {
                return;
            }
        }
        panic!("not everything arrives: {} batches are left", self.delivery.backlog());
    }
}

fn open(folder: &tempfile::TempDir) -> EdgeStore {
    let replay_window = Duration::from_secs(3_600);
    let settings = Settings { bytes_max: 0, replay_window, ..Settings::new(folder.path().join("buffer.db")) };
    let opened = EdgeStore::open(settings, NOW).expect("opens");
    assert!(opened.set_aside.is_none() && !opened.log_was_cut);
    opened.store
}

fn delivery_of(store: &mut EdgeStore) -> Delivery {
    let settings = DeliverySettings { window: 4, ..DeliverySettings::default() };
    Delivery::new(settings, store.epoch(), store.ranges().expect("ranges"))
}

/// Takes one out of a queue; 0 is the one that came first.
fn pick<T>(queue: &mut Vec<T>, at: u8) -> Option<T> {
    // Mostly in order: three of four choices take the first.
    let at = if at < 192 { 0 } else { usize::from(at) % queue.len().max(1) };
    (at < queue.len()).then(|| queue.remove(at))
}

fn scramble(n: i64) -> u32 {
    let n = n.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u32::try_from((n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32).unwrap_or(0)
}

#[test]
fn a13_a_backlog_with_a_batch_over_the_limit_of_the_broker_arrives_whole() {
    let mut world = World::new(true);
    for count in [30, 1_500, 30] {
        world.take(Step::Commit(count));
    }
    world.settle();
    assert_eq!(world.divided, 1);
    assert_eq!(world.disk.samples(), (0..1_560).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a12_a13_whatever_the_link_and_both_ends_do_each_committed_sample_is_stored_once(
        steps in proptest::collection::vec(step(), 1..400),
        may_restore in any::<bool>(),
    ) {
        let mut world = World::new(may_restore);
        for step in steps {
            world.take(step);
        }
        world.settle();
        prop_assert_eq!(world.disk.samples(), (0..world.committed).collect::<Vec<_>>());
    }
}
