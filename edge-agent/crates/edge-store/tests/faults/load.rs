//! What the tests commit, and how they look at it.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_store::EdgeStore;
use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{Batch, BatchBody, DiagnosticRecord, Sequence, SeriesId, SeriesSamples, StreamId};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Sample number `n` of the test; its value says so.
pub(crate) fn sample(n: u32) -> (SeriesId, Sample) {
    let sample = Sample {
        value: Some(Value::Int(n.into())),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: NOW.plus(Duration::from_millis(n.into())),
    };
    (SeriesId(1), sample)
}

/// A batch of 15 series and 100 s that does not compress well: about 10 KB.
pub(crate) fn plant(n: u32) -> BatchBody {
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

pub(crate) fn all(store: &mut EdgeStore, stream: StreamId) -> Vec<Batch> {
    let mut out = Vec::new();
    let mut from = Sequence::ZERO;
    while let Some(found) = store.read(stream, from, NOW).expect("reads") {
        from = found.sequence.next();
        out.push(Batch::decode(&found.message).expect("a batch"));
    }
    out
}

/// Asserts that each number of telemetry is held or declared lost, exactly once. Returns how many are held.
pub(crate) fn assert_accounted(store: &mut EdgeStore) -> usize {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let telemetry = all(store, StreamId::Telemetry);
    for batch in &telemetry {
        *seen.entry(batch.header.sequence.as_u64()).or_default() += 1;
    }
    for batch in all(store, StreamId::Diagnostic) {
        let BatchBody::Records(records) = batch.body else { panic!("records") };
        for record in records {
            let DiagnosticRecord::Gap(gap) = record else { continue };
            for sequence in gap.first.as_u64()..=gap.last.as_u64() {
                *seen.entry(sequence).or_default() += 1;
            }
        }
    }
    let [.., range] = store.ranges().expect("ranges");
    let wrong: Vec<_> = (1..range.next.as_u64()).filter(|s| seen.get(s) != Some(&1)).take(5).collect();
    assert!(wrong.is_empty(), "numbers that are missing or doubled, the first five: {wrong:?}");
    assert!(seen.keys().next_back() < Some(&range.next.as_u64()), "numbers beyond the next");
    telemetry.len()
}

/// The numbers of all samples that are held, in the order of their batches.
pub(crate) fn numbers(store: &mut EdgeStore) -> Vec<i64> {
    let samples = all(store, StreamId::Telemetry).into_iter().flat_map(|batch| match batch.body {
        BatchBody::Samples(blocks) => blocks.into_iter().flat_map(|b| b.samples).collect::<Vec<_>>(),
        BatchBody::Transitions(_) | BatchBody::Records(_) => panic!("samples"),
    });
    samples
        .map(|s| match s.value {
            Some(Value::Int(n)) => n,
            other => panic!("{other:?}"),
        })
        .collect()
}
