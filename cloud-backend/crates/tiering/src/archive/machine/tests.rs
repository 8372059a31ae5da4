use bytes::Bytes;
use plant_model::{DataType, Quality, Sample, TagId, Value};
use protocol::{Detail, Epoch, Sequence, TagRole};
use segments::TagKind;

use super::*;
use crate::{LateSegment, Revision, SegmentKey};

const MINUTE: i64 = 29_833_334;

fn machine() -> MachineId {
    MachineId::new("press-1").expect("an id")
}

fn minute(offset: i64) -> Minute {
    Minute::of(Timestamp::from_micros((MINUTE + offset) * Minute::MICROS))
}

fn tag(number: u32) -> TagRecord {
    TagRecord {
        machine: machine(),
        number: TagNumber(number),
        tag: TagId::new(&format!("tag-{number}")).expect("an id"),
        kind: TagKind::Analog,
        data_type: DataType::Int,
        role: TagRole::Plain,
        unit: String::new(),
    }
}

fn content(offset: i64, sequence: u64, tags: &[u32]) -> Content {
    let mut content = Content::new(minute(offset));
    for number in tags {
        let source = Source { epoch: Epoch::from_u64(3), sequence: Sequence::from_u64(sequence) };
        let sample = |second: i64| Sample {
            value: Some(Value::Int(second)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(
                (MINUTE + offset) * Minute::MICROS + second * 1_000_000,
            ),
        };
        let samples: Vec<Sample> = (0..5).map(sample).collect();
        content.add((TagNumber(*number), TagKind::Analog), (source, Detail::Full), &samples).expect("fits");
    }
    content
}

fn row(content: &Content) -> SegmentRow {
    let sealed = content.seal().expect("seals");
    SegmentRow {
        key: SegmentKey { machine: machine(), minute: content.minute() },
        revision: Revision(1),
        head: sealed.head.into(),
        body: Some(sealed.body.into()),
        late: None,
        is_archived: false,
    }
}

/// The row after its body was dropped and something came late.
fn with_late(content: &Content, late: &Content) -> SegmentRow {
    let late = late.seal().expect("seals");
    let late = LateSegment { head: late.head.into(), body: Bytes::from(late.body) };
    SegmentRow { body: None, late: Some(late), ..row(content) }
}

fn source_of(rows: Vec<SegmentRow>) -> Box<dyn MachineSource> {
    Box::new(SegmentsOfMachine::new(machine(), vec![tag(1), tag(2), tag(7)], rows).expect("reads"))
}

fn minutes(source: &dyn MachineSource) -> Vec<Content> {
    contents_of_minutes(source, minute(0)..minute(60)).expect("reads")
}

#[test]
fn segments_give_back_the_contents_they_were_made_of() {
    let contents = [content(0, 5, &[1, 7]), content(1, 6, &[2]), content(2, 7, &[1])];
    let source = source_of(contents.iter().map(row).collect());
    assert_eq!(minutes(&*source), contents);
    let range = minute(1).start()..minute(2).end();
    let part = source.open().expect("opens").samples(TagNumber(1), &range).expect("reads");
    assert_eq!(part.len(), 5, "only those of the range");
}

#[test]
fn st5_late_segments_and_an_object_make_the_whole_and_nothing_counts_twice() {
    let (old, late, next) = (content(0, 5, &[1, 2]), content(0, 9, &[1]), content(1, 6, &[2]));
    // Stands for the object, which holds the first minute and the next.
    let object = source_of(vec![row(&old), row(&next)]);
    // The first has lost its body since; the next is still there.
    let segments = source_of(vec![with_late(&old, &late), row(&next)]);
    let union = Union::new(vec![object, segments]).expect("one machine").expect("parts");
    let mut whole = old.clone();
    whole.unite(late).expect("fits");
    assert_eq!(minutes(&union), [whole, next]);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let stray = SegmentsOfMachine::new(machine(), vec![tag(1)], [row(&content(0, 5, &[1, 7]))]);
    assert!(matches!(stray.err(), Some(ArchiveError::UnknownTag { tag: TagNumber(7), .. })));
    let other = MachineId::new("press-2").expect("an id");
    let other = SegmentsOfMachine::new(other, Vec::new(), []).expect("nothing");
    let union = Union::new(vec![source_of(Vec::new()), Box::new(other)]);
    assert!(matches!(union.err(), Some(ArchiveError::Misuse(_))));
    assert!(Union::new(Vec::new()).expect("nothing").is_none());
}

#[test]
fn a_segment_that_is_damaged_is_an_error() {
    let mut damaged = row(&content(0, 5, &[1]));
    damaged.body = damaged.body.map(|body| body.slice(1..));
    let source = source_of(vec![damaged]);
    assert!(matches!(source.open().err(), Some(ArchiveError::Segment { .. })));
}
