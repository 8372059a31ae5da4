use plant_model::{
    AlarmFlags, AlarmId, AlarmPriority, AlarmState, MachineId, Quality, TagId, TransitionCause, Value,
};
use protocol::{BatchBody, Epoch, Gap, HEADER_BYTES, LossReason, SeriesId, SeriesSamples};

use super::*;
use crate::{Fate, Placement, Tally};

fn sample_at(micros: i64) -> Sample {
    Sample {
        value: Some(Value::Int(7)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(micros),
    }
}

fn samples() -> BatchBody {
    let samples = vec![sample_at(1_000), sample_at(3_000)];
    BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }])
}

fn transition() -> AlarmTransition {
    AlarmTransition {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("hot").expect("valid"),
        tag: Some(TagId::new("temperature").expect("valid")),
        occurrence: 1,
        from: AlarmState::Normal,
        to: AlarmState::Unacknowledged,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::High,
        value: Some(Value::Float(81.5)),
        limit: Some(80.0),
        deadband: 2.0,
        value_at: Timestamp::from_micros(1_000),
        decided_at: Timestamp::from_micros(1_200),
        message: "too hot".to_owned(),
        first_out: false,
        flags: AlarmFlags::of_state(AlarmState::Unacknowledged),
        operation: None,
    }
}

fn gap(last: u64) -> BatchBody {
    BatchBody::Records(vec![DiagnosticRecord::Gap(Gap {
        stream: StreamId::Telemetry,
        first: Sequence::from_u64(1),
        last: Sequence::from_u64(last),
        samples: 5,
        reason: LossReason::BufferFull,
        at: Timestamp::from_micros(1),
    })])
}

fn encode(sequence: u64, body: &BatchBody) -> Vec<u8> {
    Batch::encode(Epoch::from_u64(9), Sequence::from_u64(sequence), Timestamp::from_micros(5_000), body)
        .expect("within the limits")
}

/// Changes bytes and makes the checksum right again.
fn forge(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    let checksum = crc32fast::hash(&bytes[8..]).to_le_bytes();
    bytes[4..8].copy_from_slice(&checksum);
    bytes
}

fn decide_on(stream: StreamId, bytes: Vec<u8>) -> Judged {
    decide(Arrival {
        tenant: TenantId::new("acme").expect("valid"),
        gateway: GatewayId::new("gw-1").expect("valid"),
        stream,
        payload: bytes.into(),
        received_at: Timestamp::from_micros(6_000),
    })
}

fn refusal(judged: &Judged) -> &'static str {
    let Verdict::Refuse { reason, .. } = &judged.verdict else { panic!("not refused: {judged:?}") };
    reason
}

fn quarantined(judged: &Judged) -> &QuarantinedBatch {
    let Verdict::Quarantine(batch) = &judged.verdict else { panic!("not put aside: {judged:?}") };
    batch
}

#[test]
fn a_sound_batch_is_stored_with_what_its_stream_needs_beside_the_bytes() {
    let cases = [
        (samples(), Contents::Samples),
        (BatchBody::Transitions(vec![transition()]), Contents::Transitions(vec![transition()])),
    ];
    for (body, expected) in cases {
        let bytes = encode(3, &body);
        let judged = decide_on(body.stream(), bytes.clone());
        assert_eq!(judged.size_bytes, bytes.len() as u64);
        let Verdict::Store(batch) = judged.verdict else { panic!("{:?}", judged.verdict) };
        assert_eq!((batch.contents, batch.payload.as_ref()), (expected, bytes.as_slice()));
        assert_eq!(batch.header.sequence, Sequence::from_u64(3));
    }
}

#[test]
fn a_message_without_a_sound_header_is_refused_and_named_by_what_is_wrong() {
    let sound = encode(1, &samples());
    let mut damaged = sound.clone();
    damaged[HEADER_BYTES] ^= 1;
    let cases = [
        (Vec::new(), "too_short"),
        (b"hello".to_vec(), "unknown_container"),
        (sound[..20].to_vec(), "too_short"),
        (damaged, "checksum"),
        (forge(sound, |b| b[1] = 9), "unknown_schema"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(&decide_on(StreamId::Telemetry, bytes)), expected);
    }
}

#[test]
fn a_batch_on_the_topic_of_another_stream_is_refused() {
    assert_eq!(refusal(&decide_on(StreamId::Alarm, encode(1, &samples()))), reason::WRONG_STREAM);
}

#[test]
fn a_sequence_that_no_gateway_reaches_is_refused() {
    for sequence in [0, SEQUENCE_MAX.as_u64() + 1, u64::MAX] {
        assert_eq!(refusal(&decide_on(StreamId::Telemetry, encode(sequence, &samples()))), reason::SEQUENCE);
    }
    let last = decide_on(StreamId::Telemetry, encode(SEQUENCE_MAX.as_u64(), &samples()));
    assert!(last.verdict.header().is_some());
}

#[test]
fn an_unreadable_body_is_put_aside_under_its_key() {
    let bytes = forge(encode(4, &samples()), |b| b[HEADER_BYTES] ^= 0xFF);
    let judged = decide_on(StreamId::Telemetry, bytes.clone());
    let batch = quarantined(&judged);
    assert_eq!((batch.reason, batch.header.sequence), ("compression", Sequence::from_u64(4)));
    assert_eq!(batch.payload.as_ref(), bytes.as_slice());
}

#[test]
fn a_header_that_lies_about_the_times_of_its_samples_is_put_aside() {
    for offset in [24, 32] {
        let bytes = forge(encode(1, &samples()), |b| b[offset] ^= 1);
        assert_eq!(quarantined(&decide_on(StreamId::Telemetry, bytes)).reason, reason::SPAN);
    }
}

#[test]
fn a_gap_beyond_every_sequence_is_put_aside() {
    let sound = decide_on(StreamId::Diagnostic, encode(1, &gap(SEQUENCE_MAX.as_u64())));
    assert!(matches!(sound.verdict, Verdict::Store(_)), "{:?}", sound.verdict);
    let absurd = decide_on(StreamId::Diagnostic, encode(1, &gap(u64::MAX)));
    assert_eq!(quarantined(&absurd).reason, reason::SEQUENCE);
}

#[test]
fn every_fate_is_counted_once_and_under_its_reason() {
    let sound = decide_on(StreamId::Telemetry, encode(1, &samples()));
    let torn = decide_on(StreamId::Telemetry, forge(encode(2, &samples()), |b| b[HEADER_BYTES] ^= 0xFF));
    let garbage = decide_on(StreamId::Telemetry, b"garbage".to_vec());
    let mut tally = Tally::default();
    let mut fates = Vec::new();
    for message in [&sound, &torn, &garbage] {
        for placement in [Placement::New, Placement::Duplicate, Placement::NoRoom] {
            let fate = message.verdict.fate(placement);
            tally.count(message, fate);
            fates.push(fate);
            assert!(tally.balances());
        }
    }
    let no_room = Fate::Refused { reason: reason::TOO_MANY_HOLES };
    let unreadable = Fate::Refused { reason: "unknown_container" };
    let torn_fates = [Fate::Quarantined { reason: "compression" }, Fate::Duplicate, no_room];
    let expected = [[Fate::Stored, Fate::Duplicate, no_room], torn_fates, [unreadable; 3]].concat();
    assert_eq!(fates, expected);
    assert_eq!((tally.received, tally.stored, tally.duplicate, tally.samples_stored), (9, 1, 2, 2));
    assert_eq!(tally.rejected, [("compression", 1), ("too_many_holes", 2), ("unknown_container", 3)].into());
}
