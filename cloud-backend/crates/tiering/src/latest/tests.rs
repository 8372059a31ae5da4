use plant_model::{Quality, Value};
use proptest::prelude::*;
use protocol::Sequence;

use super::*;

const FOREVER: Timestamp = Timestamp::from_micros(i64::MAX);

fn machine(name: &str) -> MachineId {
    MachineId::new(name).expect("valid")
}

fn sample(at: i64, value: i64) -> Sample {
    Sample {
        value: Some(Value::Int(value)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(at),
    }
}

fn batch(sequence: u64, series: u32, samples: &[(i64, i64)]) -> Batch {
    let samples = samples.iter().map(|(at, value)| sample(*at, *value)).collect();
    let body = BatchBody::Samples(vec![SeriesSamples { series: SeriesId(series), samples }]);
    let number = Sequence::from_u64(sequence);
    let bytes = Batch::encode(Epoch::from_u64(1), number, Timestamp::default(), &body).expect("small");
    Batch::decode(&bytes).expect("sound")
}

/// Series 1 to 9 are tags of one machine.
fn place(_: Epoch, series: SeriesId) -> Option<(MachineId, TagNumber)> {
    (series.0 < 10).then(|| (machine("press-1"), TagNumber(series.0)))
}

fn after(batches: &[Batch], until: Timestamp) -> Latest {
    let mut latest = Latest::new();
    batches.iter().for_each(|batch| latest.add(batch, place, until));
    latest
}

/// Time, value and since when, of tag 1.
fn told(latest: &Latest) -> Option<(i64, i64, i64)> {
    let newest = latest.get(&machine("press-1"), TagNumber(1))?;
    let Some(Value::Int(value)) = newest.sample.value else { panic!("{newest:?}") };
    Some((newest.sample.timestamp().micros(), value, newest.unchanged_since.micros()))
}

#[test]
fn in6_late_data_never_move_the_latest_back() {
    let live = batch(1, 1, &[(100, 5), (110, 5)]);
    let late = batch(2, 1, &[(10, 7), (109, 5)]);
    assert_eq!(told(&after(&[live.clone(), late], FOREVER)), Some((110, 5, 100)));
    let another = batch(2, 1, &[(105, 7)]);
    assert_eq!(told(&after(&[live, another], FOREVER)), Some((110, 5, 110)), "it was another in between");
}

#[test]
fn the_last_of_two_samples_of_one_instant_is_the_latest() {
    assert_eq!(told(&after(&[batch(1, 1, &[(10, 1), (10, 2)])], FOREVER)), Some((10, 2, 10)));
}

#[test]
fn a_value_is_unchanged_since_its_first_sample_in_a_row() {
    let batches =
        [batch(1, 1, &[(10, 1), (20, 2), (30, 2)]), batch(2, 1, &[(40, 2)]), batch(3, 77, &[(50, 3)])];
    assert_eq!(told(&after(&batches, FOREVER)), Some((40, 2, 20)));
}

#[test]
fn e2_a_sample_of_next_year_is_not_the_latest_until_then() {
    let until = Timestamp::from_micros(100);
    let mut latest = after(&[batch(1, 1, &[(90, 1), (101, 2), (9_999, 3)]), batch(2, 1, &[(95, 4)])], until);
    assert_eq!(told(&latest), Some((95, 4, 95)));
    latest = Latest::from_bytes(&latest.to_bytes()).expect("comes back");
    latest.settle(Timestamp::from_micros(101));
    assert_eq!(
        told(&latest),
        Some((101, 2, 101)),
        "a gateway that is ahead has a latest sample all the same"
    );
}

#[test]
fn damaged_bytes_are_refused() {
    let sound = after(&[batch(1, 1, &[(10, 1)])], FOREVER).to_bytes();
    for at in (0..sound.len()).filter(|at| !(2..4).contains(at)) {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        assert!(Latest::from_bytes(&bytes).is_err(), "byte {at}");
        assert!(Latest::from_bytes(&sound[..at]).is_err(), "{at} bytes");
    }
}

proptest! {
    #[test]
    fn whatever_came_the_bytes_bring_it_back_and_the_newest_is_that_of_the_plain_rule(
        batches in prop::collection::vec((1_u32..4, prop::collection::vec((0_i64..60, 0_i64..3), 1..8)), 0..12),
        until in 0_i64..70
    ) {
        let until = Timestamp::from_micros(until);
        let mut number = 0;
        let batches: Vec<Batch> = batches.iter().map(|(series, samples)| {
            number += 1;
            batch(number, *series, samples)
        }).collect();
        let latest = after(&batches, until);
        prop_assert_eq!(Latest::from_bytes(&latest.to_bytes()).expect("comes back"), latest.clone());
        for tag in 1..4 {
            let all = batches.iter().filter_map(|b| match &b.body {
                BatchBody::Samples(block) => block.iter().find(|entry| entry.series.0 == tag),
                BatchBody::Transitions(_) | BatchBody::Records(_) => None,
            }).flat_map(|entry| &entry.samples);
            let plain = all.filter(|s| s.timestamp() <= until).max_by_key(|s| s.timestamp());
            let found = latest.get(&machine("press-1"), TagNumber(tag)).map(|n| &n.sample);
            prop_assert_eq!(found, plain);
        }
    }
}
