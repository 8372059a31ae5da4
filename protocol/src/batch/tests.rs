use std::time::Duration;

use plant_model::*;
use proptest::prelude::*;

use super::*;
use crate::*;

fn sample(value: Value, at: i64) -> Sample {
    Sample {
        value: Some(value),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(at),
    }
}

/// Fifteen machines' worth of small data, fixed for the golden file.
fn golden_samples() -> BatchBody {
    BatchBody::Samples(
        (0..6_u32)
            .map(|n| SeriesSamples {
                series: SeriesId(n + 1),
                samples: (0..4_i64)
                    .map(|t| {
                        let at = 1_790_000_000_000_000 + t * 1_000_000;
                        let value = match n {
                            0 => Value::Bool(t % 2 == 0),
                            1 => Value::Int(1_000 + t),
                            2 => Value::Float(f64::from(231_i32) / 10.0),
                            3 => Value::Float(f64::from(1.1_f32)),
                            4 => Value::Float(std::f64::consts::PI),
                            _ => Value::Text("recipe-7".into()),
                        };
                        sample(value, at)
                    })
                    .collect(),
            })
            .collect(),
    )
}

/// As the first release made them.
fn golden_transition() -> BatchBody {
    BatchBody::Transitions(vec![raised()])
}

fn raised() -> AlarmTransition {
    AlarmTransition {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("oil_hot").expect("valid"),
        tag: Some(TagId::new("oil_temperature").expect("valid")),
        occurrence: 3,
        from: AlarmState::Normal,
        to: AlarmState::Unacknowledged,
        cause: TransitionCause::Raised,
        priority: AlarmPriority::High,
        value: Some(Value::Float(81.5)),
        limit: Some(80.0),
        deadband: 0.0,
        value_at: Timestamp::from_micros(1_790_000_000_000_000),
        decided_at: Timestamp::from_micros(1_790_000_000_000_120),
        message: "Oil too hot".into(),
        first_out: false,
        flags: AlarmFlags::of_state(AlarmState::Unacknowledged),
        operation: None,
    }
}

/// One after the other every flag, with and without a tag, a value, a limit and a person.
fn golden_transitions() -> BatchBody {
    let shelved = AlarmTransition {
        from: AlarmState::Unacknowledged,
        to: AlarmState::Shelved,
        cause: TransitionCause::Shelved,
        value: None,
        flags: AlarmFlags {
            shelved_until: Some(Timestamp::from_micros(1_790_003_600_000_000)),
            ..raised().flags
        },
        operation: Some(OperatorAction {
            command: CommandId::new("c-17").expect("valid"),
            actor: "ada".into(),
            comment: "sensor is being changed".into(),
        }),
        ..raised()
    };
    let returned = AlarmTransition {
        tag: None,
        from: AlarmState::Unacknowledged,
        to: AlarmState::LatchedUnacknowledged,
        cause: TransitionCause::ReturnedToNormal,
        limit: None,
        flags: AlarmFlags::of_state(AlarmState::LatchedUnacknowledged),
        ..raised()
    };
    let out = AlarmTransition {
        from: AlarmState::SuppressedByDesign,
        to: AlarmState::OutOfService,
        cause: TransitionCause::TakenOutOfService,
        flags: AlarmFlags {
            suppressed: true,
            out_of_service: true,
            review_at: Some(Timestamp::from_micros(1_790_090_000_000_000)),
            ..AlarmFlags::NORMAL
        },
        ..shelved.clone()
    };
    let first = AlarmTransition { first_out: true, deadband: 2.5, limit: Some(0.0), ..raised() };
    BatchBody::Transitions(vec![first, shelved, returned, out])
}

fn golden_gap() -> BatchBody {
    BatchBody::Records(vec![
        DiagnosticRecord::Gap(Gap {
            stream: StreamId::Telemetry,
            first: Sequence::from_u64(5),
            last: Sequence::from_u64(9),
            samples: 7_500,
            reason: LossReason::BufferFull,
            at: Timestamp::from_micros(1_790_000_000_000_000),
        }),
        DiagnosticRecord::Dropped(Dropped {
            samples: 20,
            reason: LossReason::StoreStalled,
            from: Timestamp::from_micros(1_790_000_000_000_000),
            to: Timestamp::from_micros(1_790_000_001_000_000),
        }),
    ])
}

fn clock_records() -> BatchBody {
    let record = |change| {
        DiagnosticRecord::Clock(ClockRecord {
            change,
            from: Timestamp::from_micros(1_790_000_000_000_000),
            to: Timestamp::from_micros(1_790_003_600_000_000),
            uptime: plant_model::Monotonic::from_micros(77_000_000),
            samples: 12,
        })
    };
    BatchBody::Records([ClockChange::Set, ClockChange::Stepped, ClockChange::NeverKnown].map(record).to_vec())
}

fn encode(body: &BatchBody) -> Vec<u8> {
    Batch::encode(
        Epoch::from_u64(0xE0),
        Sequence::from_u64(7),
        Timestamp::from_micros(1_790_000_005_000_000),
        body,
    )
    .expect("within the limits")
}

#[test]
fn every_kind_of_body_comes_back() {
    for body in [golden_samples(), golden_transition(), golden_transitions(), golden_gap(), clock_records()] {
        let batch = Batch::decode(&encode(&body)).expect("own encoding");
        assert_eq!(batch.body, body);
        assert_eq!(batch.header.sequence.as_u64(), 7);
        assert_eq!(usize::try_from(batch.header.count).expect("small"), body.count());
        assert_eq!(batch.committed_at.micros(), 1_790_000_005_000_000);
    }
}

/// Files written by the first release must be readable for ever. `UPDATE_FIXTURES=1` writes missing ones.
#[test]
fn golden_files_of_schema_1_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    for (name, body) in [
        ("samples", golden_samples()),
        ("transition", golden_transition()),
        ("transition-2", golden_transitions()),
        ("gap", golden_gap()),
    ] {
        let path = folder.join(format!("{name}.bin"));
        if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
            std::fs::create_dir_all(&folder).expect("writable");
            std::fs::write(&path, encode(&body)).expect("writable");
        }
        let bytes = std::fs::read(&path).expect("the fixture is part of the repository");
        assert_eq!(Batch::decode(&bytes).expect(name).body, body, "{name}");
    }
}

#[test]
fn what_is_too_large_or_belongs_elsewhere_is_refused() {
    let reason = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = encode(&golden_samples());
        change(&mut bytes);
        Batch::decode(&bytes).expect_err("corrupt").reason()
    };
    assert_eq!(reason(&|b| b.resize((1 << 20) + 1, 0)), "too_large");
    let samples_as_alarms = |b: &mut Vec<u8>| {
        b[2] = 1;
        *b = resealed(std::mem::take(b));
    };
    assert_eq!(reason(&samples_as_alarms), "field");
    let bomb = |b: &mut Vec<u8>| {
        b.truncate(HEADER_BYTES);
        b.extend(zstd::bulk::compress(&vec![0_u8; 64 << 20], 3).expect("compresses"));
        *b = resealed(std::mem::take(b));
    };
    assert_eq!(reason(&bomb), "compression", "a bomb is not blown up");
}

/// Damaged and foreign messages as files; the name of each begins with the reason it must be refused for.
/// `UPDATE_FIXTURES=1` writes missing ones.
#[test]
fn corrupt_files_of_schema_1_stay_refused_for_the_same_reason() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/corrupt");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::create_dir_all(&folder).expect("writable");
        for (name, bytes) in corrupt_messages() {
            std::fs::write(folder.join(format!("{name}.bin")), bytes).expect("writable");
        }
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the fixtures are part of the repository") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        let reason = name.split('-').next().expect("named after its reason");
        let error = Batch::decode(&std::fs::read(&path).expect("readable")).expect_err(&name);
        assert_eq!(error.reason(), reason, "{name}: {error}");
        seen += 1;
    }
    assert_eq!(seen, corrupt_messages().len());
}

fn corrupt_messages() -> Vec<(&'static str, Vec<u8>)> {
    let good = encode(&golden_samples());
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    vec![
        ("too_short-empty", Vec::new()),
        ("too_short-header_cut", changed(&|b| b.truncate(20))),
        ("unknown_container-json", b"{\"value\": 1}".to_vec()),
        ("unknown_schema-9", changed(&|b| b[1] = 9)),
        ("checksum-body_cut", changed(&|b| b.truncate(60))),
        ("checksum-sequence_flipped", changed(&|b| b[16] ^= 1)),
        ("field-no_such_stream", resealed(changed(&|b| b[2] = 99))),
        ("field-count_is_a_lie", resealed(changed(&|b| b[40] ^= 1))),
        ("field-flags_of_another_state", transitions_with(&|t| t.flags = Some(0))),
        ("field-flags_not_known", transitions_with(&|t| t.flags = Some(3 | 1 << 9))),
        ("field-state_not_known", transitions_with(&|t| t.to = "BROKEN".into())),
        (
            "too_large-actor",
            transitions_with(&|t| {
                let (command, comment) = ("c".to_owned(), String::new());
                t.operation = Some(wire::Operation { command, actor: "x".repeat(129), comment });
            }),
        ),
        ("compression-frame_cut", resealed(changed(&|b| b.truncate(60)))),
    ]
}

/// A batch of one transition that no sender writes.
fn transitions_with(change: &dyn Fn(&mut wire::Transition)) -> Vec<u8> {
    let mut transition = crate::journal::to_wire(&raised());
    change(&mut transition);
    let body = wire::Body { transitions: vec![transition], ..wire::Body::default() };
    let mut bytes = encode(&golden_transition());
    bytes.truncate(HEADER_BYTES);
    bytes.extend(zstd::bulk::compress(&prost::Message::encode_to_vec(&body), 3).expect("compresses"));
    resealed(bytes)
}

/// With the length and the checksum of what it carries now.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("small");
    bytes[44..48].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn a_body_without_entries_or_with_too_many_is_not_made() {
    let encode = |body| Batch::encode(Epoch::from_u64(1), Sequence::from_u64(1), Timestamp::default(), &body);
    assert_eq!(encode(BatchBody::Samples(vec![])).expect_err("empty").reason(), "field");
    let BatchBody::Transitions(one) = golden_transition() else { unreachable!("built above") };
    let many = vec![one[0].clone(); limits::BATCH_RECORDS_MAX + 1];
    assert_eq!(encode(BatchBody::Transitions(many)).expect_err("too many").reason(), "too_large");
}

#[test]
fn control_messages_come_back() {
    let hello = Hello {
        epoch: Epoch::from_u64(u64::MAX),
        schema_max: 1,
        agent_version: "0.1.0".into(),
        streams: StreamId::ALL
            .map(|stream| StreamRange { stream, oldest: Sequence::from_u64(1), next: Sequence::from_u64(5) })
            .to_vec(),
    };
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello.clone()));
    let partial = Hello { streams: hello.streams[..2].to_vec(), ..hello };
    assert_eq!(Hello::decode(&partial.encode()).expect_err("a stream is missing").reason(), "field");
    let ack = CumulativeAck {
        epoch: Epoch::from_u64(3),
        stream: StreamId::Telemetry,
        committed_through: Sequence::from_u64(9),
        missing_through: None,
        last_checksum: Some(0),
    };
    assert_eq!(CumulativeAck::decode(&ack.encode()), Ok(ack));
    let asks = CumulativeAck { missing_through: Some(Sequence::from_u64(12)), ..ack };
    assert_eq!(CumulativeAck::decode(&asks.encode()), Ok(asks));
    let now = Timestamp::from_micros(1_790_000_000_000_000);
    assert_eq!(CumulativeAck::decode(&asks.encode_at(now)), Ok(asks), "the time is beside it");
    assert_eq!(CumulativeAck::told_at(&asks.encode_at(now)), Some(now));
    assert_eq!(CumulativeAck::told_at(&asks.encode()), None);
    let contradicts = CumulativeAck { missing_through: Some(Sequence::from_u64(9)), ..ack };
    assert_eq!(CumulativeAck::decode(&contradicts.encode()).expect_err("9 is there").reason(), "field");
    let live = Live {
        at: Timestamp::from_micros(5),
        latest: vec![SeriesSamples { series: SeriesId(1), samples: vec![sample(Value::Int(1), 5)] }],
        links: vec![MachineLink {
            machine: MachineId::new("m").expect("valid"),
            up: false,
            reason: "refused".into(),
        }],
        transitions: vec![raised()],
    };
    assert_eq!(Live::decode(&live.encode()), Ok(live));
}

/// Every kind of alarm, and each of the rest once.
fn alarms() -> Vec<AlarmDefinition> {
    let tag = || TagId::new("oil_temperature").expect("valid");
    let limit = |kind| AlarmCondition::Limit { tag: tag(), kind, limit: 80.0, deadband: 2.0 };
    let deviation = |from| AlarmCondition::Deviation { tag: tag(), from, limit: 5.0, deadband: 1.0 };
    let off_normal = |normal| AlarmCondition::OffNormal { tag: tag(), normal };
    let window = Duration::from_millis(1_500);
    let conditions = [
        limit(LimitKind::HighHigh),
        limit(LimitKind::Low),
        deviation(Setpoint::Fixed(-0.5)),
        deviation(Setpoint::Tag(TagId::new("pressure").expect("valid"))),
        AlarmCondition::RateOfChange { tag: tag(), limit_per_second: 0.5, over: window, deadband: 0.1 },
        off_normal(NormalState::Values(vec![Value::Int(0), Value::Text("idle".into()), Value::Bool(true)])),
        off_normal(NormalState::Bit { number: 63, set: true }),
        AlarmCondition::Stale { tag: tag(), after: window },
        AlarmCondition::BadQuality { tag: tag() },
        AlarmCondition::Communication,
        AlarmCondition::Expression { text: "oil_temperature > 3 and not pressure".into() },
    ];
    let define = |(n, condition)| {
        let id = AlarmId::new(&format!("alarm-{n}")).expect("valid");
        AlarmDefinition::new(id, condition, AlarmPriority::High, "Oil too hot")
    };
    let mut alarms: Vec<_> = (0..).zip(conditions).map(define).collect();
    alarms[0].on_delay = Duration::from_millis(500);
    alarms[1].acknowledge = AcknowledgeClass::Required;
    alarms[2].latching = true;
    alarms[3].re_alarm = Some(Duration::from_secs(900));
    alarms[4].group = Some("hydraulics".into());
    alarms[5].suppress_while = Some("pressure < 1".into());
    alarms[6].shelve_max = Duration::from_secs(60);
    alarms
}

/// As the first release made it.
fn catalogue() -> Catalogue {
    let tag = TagId::new("oil_temperature").expect("valid");
    let condition = AlarmCondition::Limit { tag, kind: LimitKind::High, limit: 80.0, deadband: 2.0 };
    let id = AlarmId::new("oil_hot").expect("valid");
    let alarm = AlarmDefinition::new(id, condition, AlarmPriority::High, "Oil too hot");
    catalogue_with(vec![AlarmDefinition { on_delay: Duration::from_millis(500), ..alarm }])
}

fn catalogue_with(alarms: Vec<AlarmDefinition>) -> Catalogue {
    let tag = |series, id: &str| CatalogueTag {
        series: SeriesId(series),
        definition: TagDefinition {
            id: TagId::new(id).expect("valid"),
            name: id.to_owned(),
            unit: "Cel".into(),
            data_type: DataType::Float,
            enumeration: Enumeration::default(),
        },
        role: TagRole::Headline,
    };
    let names = [(0, "stopped"), (1, "running"), (-7, "gestört")].map(|(n, name)| (n, name.to_owned()));
    let mut state = tag(2, "state");
    state.definition.data_type = DataType::Int;
    state.definition.enumeration = Enumeration::new(names).expect("valid");
    Catalogue {
        epoch: Epoch::from_u64(1),
        machines: vec![CatalogueMachine {
            id: MachineId::new("press-1").expect("valid"),
            name: "Press 1".into(),
            kind: "hydraulic-press".into(),
            protocol: "modbus-tcp".into(),
            tags: vec![tag(1, "oil_temperature"), state],
            alarms,
        }],
    }
}

/// `UPDATE_FIXTURES=1` writes what is missing.
#[test]
fn golden_catalogues_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    for (name, catalogue) in [("catalogue", catalogue()), ("catalogue-2", catalogue_with(alarms()))] {
        let path = folder.join(format!("{name}.bin"));
        if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
            std::fs::write(&path, catalogue.encode()).expect("writable");
        }
        let bytes = std::fs::read(&path).expect("the fixture is part of the repository");
        assert_eq!(Catalogue::decode(&bytes), Ok(catalogue), "{name}");
    }
}

#[test]
fn a_number_with_two_names_is_refused() {
    let mut wire = crate::wire::Tag { id: "state".into(), data_type: "int".into(), ..Default::default() };
    let name = |number| crate::wire::EnumerationName { number, name: "x".into() };
    wire.enumeration = vec![name(1), name(2), name(1)];
    let machine = crate::wire::Machine { id: "m".into(), tags: vec![wire], ..Default::default() };
    let catalogue = crate::wire::Catalogue { epoch: 1, machines: vec![machine] };
    let error = Catalogue::decode(&crate::container::seal_compressed(&catalogue)).expect_err("refused");
    assert!(error.to_string().contains("1 has two names"), "{error}");
}

#[test]
fn a_catalogue_comes_back_and_may_not_name_a_series_twice() {
    let good = catalogue();
    assert_eq!(Catalogue::decode(&good.encode()), Ok(good.clone()));
    let mut twice = good;
    twice.machines[0].tags[1].series = SeriesId(1);
    assert_eq!(Catalogue::decode(&twice.encode()).expect_err("twice").reason(), "field");
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), first in 0_u8..5) {
        let mut bytes = bytes;
        if let Some(b) = bytes.first_mut() { *b = first; }
        let _ = Batch::decode(&bytes);
        let _ = Hello::decode(&bytes);
        let _ = CumulativeAck::decode(&bytes);
        let _ = Live::decode(&bytes);
        let _ = Catalogue::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_never_passes_unnoticed(bit in 0_usize..8, at in any::<prop::sample::Index>()) {
        let mut bytes = encode(&golden_samples());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Byte 3 is reserved and carries no meaning.
        prop_assert!(at == 3 || Batch::decode(&bytes).is_err(), "byte {at} bit {bit}");
    }
}

#[test]
fn a_batch_says_whether_it_is_thinned_and_unknown_flags_are_ignored() {
    let (epoch, sequence, at) = (Epoch::from_u64(1), Sequence::from_u64(2), Timestamp::from_micros(3));
    let body = golden_samples();
    let full = Batch::encode(epoch, sequence, at, &body).expect("a batch");
    let thinned = Batch::encode_as(Detail::Thinned, epoch, sequence, at, &body).expect("a batch");
    assert_eq!(full[3], 0);
    assert_eq!(BatchHeader::read(&full).expect("a header").detail, Detail::Full);
    assert_eq!(Batch::decode(&thinned).expect("a batch").header.detail, Detail::Thinned);
    let mut later = full;
    later[3] = 0xFE;
    assert_eq!(BatchHeader::read(&later).expect("a header").detail, Detail::Full);
}
