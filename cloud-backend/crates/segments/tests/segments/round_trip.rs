//! A content and its bytes.

use std::sync::Arc;

use plant_model::{Quality, Sample, Timestamp, Value};
use proptest::prelude::*;
use protocol::{Detail, Epoch, Sequence};
use segments::{Content, Head, Minute, SegmentError, Source, TagKind, TagNumber};

/// The start of the minute of these tests, in microseconds.
const START: i64 = 29_833_334 * Minute::MICROS;

pub(crate) fn is_identical(a: &Sample, b: &Sample) -> bool {
    let values = match (&a.value, &b.value) {
        (Some(a), Some(b)) => a.is_identical(b),
        (None, None) => true,
        _ => false,
    };
    values
        && a.quality == b.quality
        && a.source_timestamp == b.source_timestamp
        && a.gateway_timestamp == b.gateway_timestamp
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        any::<u32>().prop_map(|bits| Value::Float(f64::from(f32::from_bits(bits)))),
        Just(Value::Float(-0.0)),
        (-100_000_i32..100_000).prop_map(|m| Value::Float(f64::from(m) / 100.0)),
        "[a-zé]{0,12}".prop_map(|t| Value::Text(Arc::from(t))),
    ]
}

/// Instants under which a sample is placed within the minute: by the gateway's clock, by a machine's plausible one, or
/// by the gateway's because the machine's is not.
fn any_instant() -> impl Strategy<Value = (Timestamp, Option<Timestamp>)> {
    let inside = || {
        prop_oneof![
            (0_i64..Minute::MICROS).prop_map(|micros| START + micros),
            (0_i64..600).prop_map(|tick| START + tick * 100_000),
        ]
    };
    let skew = -300_000_000_i64..=300_000_000;
    prop_oneof![
        4 => inside().prop_map(|at| (Timestamp::from_micros(at), None)),
        2 => (inside(), skew)
            .prop_map(|(at, skew)| (Timestamp::from_micros(at + skew), Some(Timestamp::from_micros(at)))),
        1 => (inside(), 0_i64..START / 2)
            .prop_map(|(at, wrong)| (Timestamp::from_micros(at), Some(Timestamp::from_micros(wrong)))),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let quality = prop_oneof![4 => Just(0_u32), 1 => any::<u32>()];
    let value = proptest::option::weighted(0.9, any_value());
    (value, quality, any_instant()).prop_map(|(value, quality, (gateway, source))| Sample {
        value,
        quality: Quality::from_status_code(quality),
        source_timestamp: source,
        gateway_timestamp: gateway,
    })
}

/// What one batch brought to one tag.
type Part = (u64, u64, bool, Vec<Sample>);

fn any_tag() -> impl Strategy<Value = (usize, Vec<Part>)> {
    let part = (0_u64..3, 1_u64..6, prop::bool::weighted(0.1), proptest::collection::vec(any_sample(), 1..8));
    (0_usize..3, proptest::collection::vec(part, 1..5)).prop_map(|(kind, mut parts)| {
        parts.sort_by_key(|(epoch, sequence, ..)| (*epoch, *sequence));
        parts.dedup_by_key(|(epoch, sequence, ..)| (*epoch, *sequence));
        (kind, parts)
    })
}

fn any_content() -> impl Strategy<Value = Content> {
    proptest::collection::btree_map(any::<u32>(), any_tag(), 1..6).prop_map(|tags| {
        let mut content = Content::new(Minute::of(Timestamp::from_micros(START)));
        // A batch is thinned or not, for all tags.
        let thinned: Vec<(u64, u64)> = tags
            .values()
            .flat_map(|(_, parts)| parts)
            .filter(|(_, _, thinned, _)| *thinned)
            .map(|(epoch, sequence, ..)| (*epoch, *sequence))
            .collect();
        for (number, (kind, parts)) in tags {
            for (epoch, sequence, _, samples) in parts {
                let is_thinned = thinned.contains(&(epoch, sequence));
                let detail = if is_thinned { Detail::Thinned } else { Detail::Full };
                let source = Source { epoch: Epoch::from_u64(epoch), sequence: Sequence::from_u64(sequence) };
                let tag = (TagNumber(number), TagKind::ALL[kind]);
                content.add(tag, (source, detail), &samples).expect("fits");
            }
        }
        content
    })
}

fn assert_same(a: &Content, b: &Content) {
    assert_eq!(a.tags().collect::<Vec<_>>(), b.tags().collect::<Vec<_>>());
    assert_eq!((a.minute(), a.count(), a.sources()), (b.minute(), b.count(), b.sources()));
    for (tag, _) in a.tags() {
        let (a, b) = (a.samples(tag).expect("there"), b.samples(tag).expect("there"));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!(is_identical(a, b), "{a:?} came back as {b:?}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_sealed_comes_back_bit_by_bit_and_each_tag_alone_is_the_same(content in any_content()) {
        let sealed = content.seal().expect("seals");
        let head = Head::read(&sealed.head).expect("own head");
        prop_assert_eq!(head.to_bytes(), Ok(sealed.head.clone()));
        prop_assert_eq!((head.count(), head.sources()), (content.count(), content.sources()));
        let segment = head.open(&sealed.body).expect("own body");
        let back = segment.verify().expect("own statistics");
        assert_same(&content, &back);
        prop_assert_eq!(back.seal(), Ok(sealed.clone()), "a content has one encoding");
        for (tag, _) in content.tags() {
            let (alone, all) = (segment.samples(tag).expect("reads"), content.samples(tag));
            let (alone, all) = (alone.expect("there"), all.expect("there"));
            prop_assert!(alone.is_sorted_by_key(Sample::timestamp));
            prop_assert_eq!(alone.len(), all.len());
            prop_assert!(alone.iter().zip(&all).all(|(a, b)| is_identical(a, b)));
        }
    }

    #[test]
    fn what_stays_without_the_body_says_the_same(content in any_content()) {
        let sealed = content.seal().expect("seals");
        let head = Head::read(&sealed.head).expect("own head");
        let warm = head.clone().without_body().to_bytes().expect("writes");
        let warm = Head::read(&warm).expect("own head");
        prop_assert_eq!(warm.open(&sealed.body).err(), Some(SegmentError::NoBody));
        prop_assert_eq!((warm.count(), warm.sources(), warm.has_body()), (head.count(), head.sources(), false));
        // Written again, because a NaN equals nothing.
        prop_assert_eq!(warm.to_bytes(), head.without_body().to_bytes());
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is(content in any_content(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let sealed = content.seal().expect("seals");
        let at = at.index(sealed.head.len() + sealed.body.len());
        let (mut head, mut body) = (sealed.head.clone(), sealed.body.clone());
        match at.checked_sub(head.len()) {
            // Two bytes of the head say nothing.
            None if (2..4).contains(&at) => return Ok(()),
            None => head[at] ^= 1 << bit,
            Some(at) => body[at] ^= 1 << bit,
        }
        let read = Head::read(&head).and_then(|head| head.open(&body).and_then(|segment| segment.verify()));
        prop_assert!(read.is_err(), "byte {}", at);
    }
}

#[test]
fn a_head_belongs_to_its_body_alone() {
    let of = |value: i64| {
        let mut content = Content::new(Minute::of(Timestamp::from_micros(START)));
        let sample = Sample {
            value: Some(Value::Int(value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(START),
        };
        let source = Source { epoch: Epoch::from_u64(1), sequence: Sequence::from_u64(1) };
        content.add((TagNumber(1), TagKind::Analog), (source, Detail::Full), &[sample]).expect("fits");
        content.seal().expect("seals")
    };
    let (one, other) = (of(1), of(2));
    assert_eq!(one.body.len(), other.body.len());
    let head = Head::read(&one.head).expect("own head");
    assert!(matches!(head.open(&other.body), Err(SegmentError::Checksum { part: "body", .. })));
    assert!(head.open(&one.body[1..]).is_err());
    let mut newer = one.head.clone();
    newer[1] = 2;
    let said = Head::read(&newer).expect_err("a newer version").to_string();
    assert!(said.contains("0x53 version 2 is not known"), "{said}");
}
