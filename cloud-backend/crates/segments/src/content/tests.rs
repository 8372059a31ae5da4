use plant_model::{Quality, Timestamp, Value};
use protocol::Epoch;

use super::*;

const MINUTE: i64 = 29_833_334;
const TAG: (TagNumber, TagKind) = (TagNumber(7), TagKind::Analog);

fn minute() -> Minute {
    Minute::of(Timestamp::from_micros(MINUTE * Minute::MICROS))
}

fn sample(millis: i64, value: i64) -> Sample {
    Sample {
        value: Some(Value::Int(value)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(MINUTE * Minute::MICROS + millis * 1_000),
    }
}

fn source(sequence: u64) -> Source {
    Source { epoch: Epoch::from_u64(3), sequence: Sequence::from_u64(sequence) }
}

fn of(parts: &[(u64, Detail, &[Sample])]) -> Content {
    let mut content = Content::new(minute());
    for (sequence, detail, samples) in parts {
        content.add(TAG, (source(*sequence), *detail), samples).expect("fits");
    }
    content
}

fn values(content: &Content) -> Vec<i64> {
    let samples = content.samples(TAG.0).expect("there");
    let value = |sample: &Sample| match sample.value {
        Some(Value::Int(value)) => value,
        _ => panic!("{sample:?}"),
    };
    samples.iter().map(value).collect()
}

#[test]
fn in5_samples_of_one_instant_are_all_kept_in_the_order_of_their_batches() {
    let first = of(&[(4, Detail::Full, &[sample(500, 1), sample(500, 2)])]);
    let second = of(&[(5, Detail::Full, &[sample(500, 3), sample(400, 0)])]);
    for (mut into, from) in [(first.clone(), second.clone()), (second, first)] {
        assert_eq!(into.unite(from), Ok(2));
        assert_eq!(values(&into), [0, 1, 2, 3]);
    }
}

#[test]
fn a_union_takes_of_a_batch_that_both_have_nothing_and_of_others_everything() {
    let mut whole = of(&[(4, Detail::Full, &[sample(1, 1)]), (6, Detail::Full, &[sample(3, 3)])]);
    let late = of(&[(4, Detail::Full, &[sample(1, 1)]), (5, Detail::Full, &[sample(2, 2)])]);
    assert_eq!(whole.unite(late.clone()), Ok(1));
    assert_eq!(whole.unite(late), Ok(0));
    assert_eq!(values(&whole), [1, 2, 3]);
    assert_eq!(whole.sources().len(), 3);
    assert_eq!(whole.count(), 3);
    let rest = whole.without(&[source(4), source(6)].into());
    assert_eq!((values(&rest), rest.count()), (vec![2], 1));
}

#[test]
fn a_sample_of_a_thinned_batch_that_had_arrived_in_full_is_there_once() {
    let full = [sample(100, 1), sample(200, 2), sample(200, 2)];
    let thinned = [sample(100, 1), sample(200, 2), sample(300, 9)];
    let content = of(&[(4, Detail::Full, &full), (9, Detail::Thinned, &thinned)]);
    assert_eq!(values(&content), [1, 2, 2, 9], "only what the thinned batch repeats is left out");
    let twice = of(&[(8, Detail::Thinned, &thinned), (9, Detail::Thinned, &thinned)]);
    assert_eq!(values(&twice), [1, 2, 9]);
    let sealed = content.seal().expect("seals");
    let head = crate::Head::read(&sealed.head).expect("own head");
    assert_eq!(head.rollup(TAG.0).map(|rollup| rollup.count), Some(4));
    assert_eq!(head.open(&sealed.body).expect("own body").verify(), Ok(content));
}

#[test]
fn what_does_not_belong_is_refused_and_changes_nothing() {
    let mut content = of(&[(5, Detail::Full, &[sample(1, 1)])]);
    let before = content.clone();
    let full = |sequence| (source(sequence), Detail::Full);
    let outside = content.add(TAG, full(6), &[sample(2, 2), sample(60_000, 3)]);
    assert!(matches!(outside, Err(SegmentError::OutsideMinute { .. })), "{outside:?}");
    let earlier = content.add(TAG, full(4), &[sample(2, 2)]);
    assert!(matches!(earlier, Err(SegmentError::Order { .. })), "{earlier:?}");
    assert!(content.add(TAG, full(0), &[sample(2, 2)]).is_err(), "no batch has number 0");
    assert!(content.unite(Content::new(Minute::of(Timestamp::from_micros(0)))).is_err());
    assert_eq!(content, before);
}

#[test]
fn a_segment_that_is_full_takes_no_more() {
    let mut content = of(&[(5, Detail::Full, &[sample(1, 1)])]);
    content.count = SAMPLES_MAX;
    let more = content.add(TAG, (source(6), Detail::Full), &[sample(2, 2)]);
    assert!(matches!(more, Err(SegmentError::TooLarge { what: "samples", .. })), "{more:?}");
}

#[test]
fn samples_with_their_batches_are_in_order_of_time_and_keep_repetitions() {
    let thinned = [sample(0, 1), sample(2, 2)];
    let content = of(&[(8, Detail::Full, &[sample(2, 2), sample(1, 9)]), (9, Detail::Thinned, &thinned)]);
    let sourced = content.sourced(TAG.0);
    let told: Vec<_> = sourced.iter().map(|one| (one.sample.timestamp(), one.source, one.detail)).collect();
    let at = |millis| sample(millis, 0).timestamp();
    let (full, thin) = ((source(8), Detail::Full), (source(9), Detail::Thinned));
    let expected = [(0, thin), (1, full), (2, full), (2, thin)];
    assert_eq!(told, expected.map(|(millis, (source, detail))| (at(millis), source, detail)));
    assert!(content.sourced(TagNumber(8)).is_empty());
}
