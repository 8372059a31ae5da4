//! Sealing against a model: batches arrive out of order, late and twice; waves are killed after any write; bodies are
//! dropped. In the end every sample is there once, and in order.

use std::collections::BTreeMap;

use plant_model::{MachineId, Quality, Sample, Timestamp, Value};
use proptest::prelude::*;
use protocol::{Batch, BatchBody, Epoch, Sequence, SeriesId, SeriesSamples};
use segments::{
    Content, Gatherer, Head, IDLE_AFTER, Merged, Minute, Place, SealedSegment, SegmentError, Stored, TagKind,
    TagNumber, WaitingBatch, merge, next_wave,
};

const START: i64 = 29_833_334 * Minute::MICROS;
const EPOCHS: u64 = 2;
const MACHINES: u32 = 2;
const TAGS: u32 = 3;

type Key = (MachineId, Minute);

/// Series are numbered anew in each epoch; the tag behind them is the same.
fn place(epoch: Epoch, series: SeriesId) -> Option<Place> {
    let number = series.0.checked_sub(u32::try_from(epoch.as_u64()).ok()? * 100)?;
    let machine = MachineId::new(&format!("machine-{}", number / TAGS)).ok()?;
    let kind = TagKind::ALL[usize::try_from(number % TAGS).ok()?];
    (number < MACHINES * TAGS).then_some(Place { machine, tag: TagNumber(number % TAGS), kind })
}

/// One row of the store: what is there, what was dropped (it is in the archive), what came late beside it.
#[derive(Default)]
struct Row {
    head: Vec<u8>,
    body: Option<Vec<u8>>,
    elsewhere: Vec<SealedSegment>,
}

#[derive(Default)]
struct Store {
    batches: BTreeMap<Epoch, BTreeMap<Sequence, (WaitingBatch, Batch)>>,
    sealed_through: BTreeMap<Epoch, Sequence>,
    rows: BTreeMap<Key, Row>,
}

impl Store {
    fn receive(&mut self, batch: &Batch, received_at: Timestamp) {
        let header = batch.header;
        let waiting = WaitingBatch {
            sequence: header.sequence,
            first_at: header.first_at,
            received_at,
            count: header.count,
        };
        let stream = self.batches.entry(header.epoch).or_default();
        stream.entry(header.sequence).or_insert_with(|| (waiting, batch.clone()));
    }

    /// The end of the unbroken row.
    fn committed_through(&self, epoch: Epoch) -> Sequence {
        let stream = &self.batches[&epoch];
        let end = (1..).take_while(|n| stream.contains_key(&Sequence::from_u64(*n))).last();
        Sequence::from_u64(end.unwrap_or(0))
    }

    /// One wave of a stream, killed after so many writes. Answers whether there was one.
    fn seal(&mut self, epoch: Epoch, now: Timestamp, killed_after: Option<usize>) -> bool {
        let Some(stream) = self.batches.get(&epoch) else { return false };
        let from = self.sealed_through.get(&epoch).copied().unwrap_or_default().next();
        let waiting: Vec<WaitingBatch> = stream.range(from..).map(|(_, (waiting, _))| *waiting).collect();
        let Some(wave) = next_wave(&waiting, self.committed_through(epoch), now) else { return false };
        let mut gatherer = Gatherer::new();
        for (_, (_, batch)) in stream.range(from..=wave.through) {
            gatherer.add(batch, place).expect("known series");
        }
        for (written, (key, content)) in gatherer.finish().into_iter().enumerate() {
            if killed_after == Some(written) {
                return true;
            }
            self.write(key, content);
        }
        self.sealed_through.insert(epoch, wave.through);
        true
    }

    fn write(&mut self, key: Key, content: Content) {
        let row = self.rows.get(&key).map(|row| Stored { head: &row.head, body: row.body.as_deref() });
        match merge(row, content).expect("merges") {
            Merged::Unchanged => {}
            Merged::Replaced(sealed) => {
                let row = self.rows.entry(key).or_default();
                (row.head, row.body) = (sealed.head, Some(sealed.body));
            }
            Merged::Beside { head, late } => {
                let row = self.rows.get_mut(&key).expect("there is one beside which it lies");
                row.head = head;
                row.elsewhere.push(late);
            }
        }
    }

    fn drop_body(&mut self, index: usize) {
        let index = index % self.rows.len().max(1);
        let Some(row) = self.rows.values_mut().nth(index) else { return };
        let Some(body) = row.body.take() else { return };
        row.elsewhere.push(SealedSegment { head: row.head.clone(), body });
        let warm = Head::read(&row.head).expect("own head").without_body();
        row.head = warm.to_bytes().expect("writes");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The batch of this index arrives, maybe again.
    Receive(prop::sample::Index),
    Seal {
        epoch: u64,
        killed_after: Option<usize>,
    },
    DropBody(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let killed_after = prop_oneof![1 => Just(None), 2 => (0_usize..5).prop_map(Some)];
    prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(Step::Receive),
        4 => (0..EPOCHS, killed_after).prop_map(|(epoch, killed_after)| Step::Seal { epoch, killed_after }),
        1 => any::<usize>().prop_map(Step::DropBody),
    ]
}

/// The second at which a sample is taken, counted from its batch; most are in order, some late, a few far away.
fn any_second() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 0_i64..20, 2 => -200_i64..0, 1 => prop_oneof![Just(-100_000_i64), Just(50_000)]]
}

fn any_batches() -> impl Strategy<Value = Vec<Batch>> {
    let sample = (0..MACHINES * TAGS, any_second(), -5_i64..5);
    let batch = proptest::collection::vec(sample, 1..12);
    proptest::collection::vec(batch, 2..24).prop_map(|batches| {
        let each = (0_u64..).zip(batches).map(|(n, samples)| {
            let (epoch, sequence) = (n % EPOCHS, n / EPOCHS + 1);
            batch_of(epoch, sequence, i64::try_from(n).expect("small") * 17, &samples)
        });
        each.collect()
    })
}

fn batch_of(epoch: u64, sequence: u64, second: i64, samples: &[(u32, i64, i64)]) -> Batch {
    let mut series: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for (tag, offset, value) in samples {
        let number = u32::try_from(epoch).expect("small") * 100 + tag;
        series.entry(number).or_default().push(Sample {
            value: Some(Value::Int(*value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(START + (second + offset) * 1_000_000),
        });
    }
    let block =
        series.into_iter().map(|(series, samples)| SeriesSamples { series: SeriesId(series), samples });
    let (epoch, sequence) = (Epoch::from_u64(epoch), Sequence::from_u64(sequence));
    let body = BatchBody::Samples(block.collect());
    let bytes = Batch::encode(epoch, sequence, Timestamp::from_micros(START), &body).expect("a batch");
    Batch::decode(&bytes).expect("own batch")
}

/// All samples by machine, minute and tag, in the order of epoch, sequence and batch.
fn model(batches: &[Batch]) -> BTreeMap<Key, BTreeMap<TagNumber, Vec<Sample>>> {
    let mut ordered: Vec<&Batch> = batches.iter().collect();
    ordered.sort_by_key(|batch| (batch.header.epoch, batch.header.sequence));
    let mut out: BTreeMap<Key, BTreeMap<TagNumber, Vec<Sample>>> = BTreeMap::new();
    for batch in ordered {
        let BatchBody::Samples(block) = &batch.body else { unreachable!() };
        for entry in block {
            let place = place(batch.header.epoch, entry.series).expect("known");
            for sample in &entry.samples {
                let key = (place.machine.clone(), Minute::of_sample(sample));
                out.entry(key).or_default().entry(place.tag).or_default().push(sample.clone());
            }
        }
    }
    out.values_mut().flat_map(|tags| tags.values_mut()).for_each(|s| s.sort_by_key(Sample::timestamp));
    out
}

fn assert_is_whole(store: &Store, batches: &[Batch]) {
    let model = model(batches);
    assert_eq!(store.rows.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
    for (key, row) in &store.rows {
        let head = Head::read(&row.head).expect("own head");
        let mut whole = Content::new(key.1);
        let kept = row.body.as_ref().map(|body| (&row.head, body));
        let parts = row.elsewhere.iter().map(|segment| (&segment.head, &segment.body));
        for (head, body) in kept.into_iter().chain(parts) {
            let content = Head::read(head).and_then(|head| head.open(body)?.verify()).expect("sound");
            let count = content.count();
            assert_eq!(whole.unite(content), Ok(count), "no batch is in two parts of {key:?}");
        }
        let tags = &model[key];
        assert_eq!(
            whole.tags().map(|(tag, _)| tag).collect::<Vec<_>>(),
            tags.keys().copied().collect::<Vec<_>>()
        );
        for (tag, samples) in tags {
            assert_eq!(whole.samples(*tag).as_ref(), Some(samples), "{key:?} {tag:?}");
            let counted = head.rollup(*tag).map(|rollup| rollup.count);
            assert_eq!(counted, Some(samples.len() as u64), "{key:?} {tag:?}");
        }
        if let Some(body) = &row.body {
            let sealed = whole.seal().expect("seals");
            assert_eq!((&sealed.head, &sealed.body), (&row.head, body), "as if sealed at once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn st4_killed_repeated_and_late_sealing_ends_with_every_sample_once(
        batches in any_batches(), steps in proptest::collection::vec(any_step(), 0..80),
    ) {
        let mut store = Store::default();
        let now = Timestamp::from_micros(START + 600_000_000);
        for step in steps {
            match step {
                Step::Receive(index) => store.receive(&batches[index.index(batches.len())], now),
                Step::Seal { epoch, killed_after } => {
                    store.seal(Epoch::from_u64(epoch), now, killed_after);
                }
                Step::DropBody(index) => store.drop_body(index),
            }
        }
        batches.iter().for_each(|batch| store.receive(batch, now));
        for epoch in (0..EPOCHS).map(Epoch::from_u64) {
            while store.seal(epoch, now.plus(IDLE_AFTER), None) {}
        }
        assert_is_whole(&store, &batches);
        // Once more from the beginning, as after a restored backup.
        let heads: Vec<Vec<u8>> = store.rows.values().map(|row| row.head.clone()).collect();
        store.sealed_through.clear();
        for epoch in (0..EPOCHS).map(Epoch::from_u64) {
            while store.seal(epoch, now.plus(IDLE_AFTER), None) {}
        }
        prop_assert!(store.rows.values().map(|row| &row.head).eq(&heads), "sealing again changes nothing");
    }
}

#[test]
fn a_batch_that_names_an_unknown_series_waits_for_its_catalogue() {
    let mut gatherer = Gatherer::new();
    let known = batch_of(0, 1, 0, &[(1, 0, 7)]);
    gatherer.add(&known, place).expect("known");
    let unknown = batch_of(0, 2, 0, &[(1, 1, 8), (60, 1, 9)]);
    let series = SeriesId(60);
    let error = gatherer.add(&unknown, place).expect_err("unknown");
    assert_eq!(error, SegmentError::UnknownSeries { epoch: Epoch::from_u64(0), series });
    let contents = gatherer.finish();
    assert_eq!(contents.values().map(Content::count).sum::<usize>(), 1, "nothing of the second batch");
}

#[test]
fn st5_late_data_of_a_minute_without_its_body_are_counted_and_kept_beside_it_once() {
    let second = |n: u64| i64::try_from(n).expect("small");
    let batches: Vec<Batch> = (1..=4).map(|n| batch_of(0, n, 0, &[(0, second(n) * 5, second(n))])).collect();
    let content = |batch: &Batch| {
        let mut gatherer = Gatherer::new();
        gatherer.add(batch, place).expect("known");
        gatherer.finish().into_values().next().expect("one minute")
    };
    let Ok(Merged::Replaced(first)) = merge(None, content(&batches[1])) else { panic!("a segment") };
    let warm = Head::read(&first.head).expect("own head").without_body().to_bytes().expect("writes");
    let add = |head: &[u8], batch| merge(Some(Stored { head, body: None }), content(batch)).expect("merges");
    let Merged::Beside { head, late } = add(&warm, &batches[3]) else { panic!("beside") };
    assert_eq!(add(&head, &batches[3]), Merged::Unchanged);
    assert_eq!(add(&head, &batches[1]), Merged::Unchanged);
    let Merged::Beside { head, .. } = add(&head, &batches[0]) else { panic!("beside") };
    let rollup = Head::read(&head).expect("own head").rollup(TagNumber(0)).cloned().expect("there");
    assert_eq!((rollup.count, rollup.exactness), (3, segments::Exactness::Exact), "{rollup:?}");
    // 1 in force from second 5 to 10, 2 from 10 to 20.
    assert_eq!(rollup.course.time_weighted_mean(), Some(25.0 / 15.0));
    let Merged::Beside { head, .. } = add(&head, &batches[2]) else { panic!("beside") };
    let rollup = Head::read(&head).expect("own head").rollup(TagNumber(0)).cloned().expect("there");
    assert_eq!((rollup.count, rollup.exactness), (4, segments::Exactness::Approximate));
    assert_eq!(Head::read(&late.head).expect("own head").count(), 1);
}
