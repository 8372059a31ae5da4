//! Segments written by the first release must be readable for ever.

use std::path::PathBuf;
use std::sync::Arc;

use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence};
use segments::{Content, Exactness, Head, Minute, SealedSegment, Source, TagKind, TagNumber};

use crate::round_trip::is_identical;

const START: i64 = 1_790_000_040_000_000;

/// A file of the repository; `UPDATE_FIXTURES=1` makes one that is not there yet.
fn fixture(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1").join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
        std::fs::write(&path, bytes).expect("the folder of the fixtures can be written");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sample(millis: i64, value: Option<Value>, quality: Quality) -> Sample {
    let gateway_timestamp = Timestamp::from_micros(START + millis * 1_000);
    Sample { value, quality, source_timestamp: None, gateway_timestamp }
}

/// Every kind of tag and of value, two epochs, a thinned batch, source times, a NaN with a payload.
fn content() -> Content {
    let mut content = Content::new(Minute::of(Timestamp::from_micros(START)));
    let nan = f64::from_bits(0x7FF8_0000_DEAD_BEEF);
    let good = |millis, value| sample(millis, Some(value), Quality::GOOD);
    let mut add = |(tag, kind), (epoch, sequence, detail), samples: &[Sample]| {
        let source = Source { epoch: Epoch::from_u64(epoch), sequence: Sequence::from_u64(sequence) };
        content.add((TagNumber(tag), kind), (source, detail), samples).expect("fits");
    };
    let text = |text: &str| Value::Text(Arc::from(text));
    let sourced = |millis| Sample {
        source_timestamp: Some(Timestamp::from_micros(START + millis * 1_000 - 7)),
        ..good(millis, Value::Float(0.1 + 0.2))
    };
    let floats =
        [good(0, Value::Float(21.5)), good(1_000, Value::Float(-0.0)), good(2_000, Value::Float(nan))];
    add((1, TagKind::Analog), (5, 17, Detail::Full), &floats);
    add((1, TagKind::Analog), (5, 18, Detail::Full), &[good(3_000, Value::Float(22.25))]);
    add((1, TagKind::Analog), (9, 2, Detail::Thinned), &[good(3_000, Value::Float(22.25))]);
    let counts =
        [0, 1_000, 2_000, 3_000].map(|at| good(at, Value::Int(if at < 2_000 { at } else { at - 2_000 })));
    add((2, TagKind::Counter), (5, 17, Detail::Full), &counts);
    let states = [good(10, Value::Bool(true)), good(20, text("jammed")), good(20, text("läuft"))];
    add((40, TagKind::State), (5, 17, Detail::Full), &states);
    let lost = sample(59_999, None, Quality::BAD_NOT_CONNECTED);
    add((40, TagKind::State), (5, 18, Detail::Full), &[lost]);
    add((u32::MAX, TagKind::Analog), (5, 18, Detail::Full), &[sourced(30_000), sourced(31_000)]);
    content
}

#[test]
fn a_segment_of_the_first_release_is_readable_for_ever() {
    let content = content();
    let sealed = content.seal().expect("seals");
    let stored = SealedSegment {
        head: fixture("minute.head", &sealed.head),
        body: fixture("minute.body", &sealed.body),
    };
    let head = Head::read(&stored.head).expect("a head of version 1");
    let back = head.open(&stored.body).and_then(|segment| segment.verify()).expect("a body of version 1");
    assert_eq!(back.tags().collect::<Vec<_>>(), content.tags().collect::<Vec<_>>());
    assert_eq!(back.sources(), content.sources());
    for (tag, _) in content.tags() {
        let (old, new) = (back.samples(tag).expect("there"), content.samples(tag).expect("there"));
        assert_eq!(old.len(), new.len());
        assert!(old.iter().zip(&new).all(|(old, new)| is_identical(old, new)), "{old:?} is not {new:?}");
    }
}

#[test]
fn a_head_without_a_body_of_the_first_release_is_readable_for_ever() {
    let sealed = content().seal().expect("seals");
    let warm = Head::read(&sealed.head).expect("own head").without_body();
    let stored =
        Head::read(&fixture("warm.head", &warm.to_bytes().expect("writes"))).expect("a head of version 1");
    assert!(!stored.has_body());
    let rollup = stored.rollup(TagNumber(2)).expect("the counter");
    assert_eq!((rollup.count, rollup.good_count, rollup.exactness), (4, 4, Exactness::Exact));
    assert_eq!(rollup.course, segments::Course::Counter { increase: 2_000.0, resets: 1 });
    let rollup = stored.rollup(TagNumber(1)).expect("the analog tag");
    assert_eq!((rollup.count, rollup.good_count), (4, 3), "the repetition of the thinned batch is left out");
    assert_eq!(rollup.max.as_ref().map(|max| &max.value), Some(&Value::Float(22.25)));
    let rollup = stored.rollup(TagNumber(40)).expect("the state");
    assert!(!rollup.in_force, "its last sample is bad");
}

#[test]
fn corrupt_segments_are_refused_each_for_its_reason() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/corrupt");
    let SealedSegment { head, .. } = content().seal().expect("seals");
    let with = |at: usize, byte: u8| {
        let mut head = head.clone();
        head[at] = byte;
        head
    };
    let cases = [
        ("cut.head", head[..20].to_vec(), "at least 32 are needed"),
        ("format.head", with(0, 0x01), "format 0x01 version 1 is not known"),
        ("version.head", with(1, 2), "format 0x53 version 2 is not known"),
        ("checksum.head", with(40, head[40] ^ 1), "of the head differs from the stated"),
        ("empty.head", Vec::new(), "the head has 0 bytes"),
    ];
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::create_dir_all(&folder).expect("the folder of the fixtures can be made");
    }
    for (name, bytes, reason) in cases {
        let bytes = fixture(&format!("corrupt/{name}"), &bytes);
        let said = Head::read(&bytes).expect_err(name).to_string();
        assert!(said.contains(reason), "{name}: {said}");
    }
}
