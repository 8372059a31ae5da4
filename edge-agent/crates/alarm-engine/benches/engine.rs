//! What a sample costs: 10,000 alarms of one machine, a thousand tags with ten alarms each.
//!
//! The figure to look at is the time of a sample divided by the rules that watch its tag, which is what
//! the throughput of criterion says. The floor beside it is the same walk over the values with nothing
//! but ten comparisons.

use std::hint::black_box;
use std::time::Duration;

use alarm_engine::AlarmEngine;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plant_model::{
    AlarmCondition, AlarmDefinition, AlarmId, AlarmPriority, LimitKind, MachineId, Monotonic, NormalState,
    Quality, Sample, Setpoint, TagId, Timestamp, Value,
};

const TAGS: usize = 1_000;
const ALARMS_PER_TAG: usize = 10;

fn tags() -> Vec<TagId> {
    (0..TAGS).map(|n| TagId::new(&format!("tag-{n}")).expect("valid")).collect()
}

/// Ten conditions on a tag, most of them limits, as in a plant.
fn conditions(tags: &[TagId], n: usize) -> [AlarmCondition; ALARMS_PER_TAG] {
    let tag = || tags[n].clone();
    let other = tags[(n + 1) % TAGS].clone();
    let limit = |kind, limit| AlarmCondition::Limit { tag: tag(), kind, limit, deadband: 1.0 };
    [
        limit(LimitKind::HighHigh, 95.0),
        limit(LimitKind::High, 90.0),
        limit(LimitKind::Low, -90.0),
        limit(LimitKind::LowLow, -95.0),
        AlarmCondition::Deviation { tag: tag(), from: Setpoint::Fixed(0.0), limit: 99.0, deadband: 1.0 },
        AlarmCondition::RateOfChange {
            tag: tag(),
            limit_per_second: 1e9,
            over: Duration::from_secs(1),
            deadband: 0.0,
        },
        AlarmCondition::OffNormal { tag: tag(), normal: NormalState::Bit { number: 0, set: false } },
        AlarmCondition::Stale { tag: tag(), after: Duration::from_secs(60) },
        AlarmCondition::BadQuality { tag: tag() },
        AlarmCondition::Expression { text: format!("{} > 98 and {} > 98", tag(), other) },
    ]
}

fn engine(kinds: std::ops::Range<usize>) -> AlarmEngine {
    let tags = tags();
    let define = |n: usize, k: usize, condition| {
        let id = AlarmId::new(&format!("alarm-{n}-{k}")).expect("valid");
        let definition = AlarmDefinition::new(id, condition, AlarmPriority::Low, "look");
        AlarmDefinition { on_delay: Duration::from_secs(1), ..definition }
    };
    let definitions = (0..TAGS).flat_map(|n| {
        let of_tag = conditions(&tags, n);
        // Ten alarms in any case: the kinds asked for, over and over.
        let chosen = kinds.clone().cycle().take(ALARMS_PER_TAG).map(move |k| of_tag[k].clone());
        (0..).zip(chosen).map(move |(k, condition)| define(n, k, condition)).collect::<Vec<_>>()
    });
    let machine = MachineId::new("press-1").expect("valid");
    AlarmEngine::new(machine, &tags, definitions.collect()).expect("good definitions")
}

/// Values that move a little and stay far from every limit.
fn sample(round: u64, tag: usize) -> Sample {
    let value = f64::from(u32::try_from((round * 7 + tag as u64 * 13) % 80).expect("small"));
    Sample {
        value: Some(Value::Float(value)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(1_700_000_000_000_000),
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("10,000 alarms");
    group.throughput(Throughput::Elements((TAGS * ALARMS_PER_TAG) as u64));
    for (name, kinds) in
        [("limits", 0..4), ("a mix of all kinds", 0..10), ("rates", 5..6), ("expressions", 9..10)]
    {
        let mut engine = engine(kinds);
        let (mut round, mut out) = (0_u64, Vec::new());
        group.bench_function(name, |b| {
            b.iter(|| {
                round += 1;
                let now = Monotonic::from_micros(round * 100_000);
                for tag in 0..TAGS {
                    let sample = sample(round, tag);
                    engine.handle_sample(tag, black_box(&sample), now, sample.gateway_timestamp, &mut out);
                }
                black_box(engine.poll_timeout())
            });
        });
        assert!(out.is_empty(), "nothing is to move");
    }
    let limits = vec![90.0_f64; TAGS * ALARMS_PER_TAG];
    let mut round = 0;
    group.bench_function("floor: comparisons alone", |b| {
        b.iter(|| {
            round += 1;
            let beyond = |tag: usize| {
                let sample = sample(round, tag);
                let number = black_box(&sample).value.as_ref().and_then(Value::as_f64).unwrap_or(0.0);
                limits[tag * ALARMS_PER_TAG..][..ALARMS_PER_TAG].iter().filter(|l| number > **l).count()
            };
            (0..TAGS).map(beyond).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
