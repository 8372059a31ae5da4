//! Tenants, catalogues and batches to work with.

use std::sync::Arc;

use bytes::Bytes;
use fleet::{FleetStore, LedgerRow};
use ingestion::{Applied, Arrival, IngestStore, WriteSet, decide};
use plant_model::*;
use protocol::*;
use tenancy::{TenancyStore, Tenant};

pub(crate) const EPOCH: Epoch = Epoch::from_u64(0xF00D_0000_0000_0001);
/// Microseconds since 1970 at which the samples begin.
pub(crate) const T0: i64 = 1_790_000_000_000_000;

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").expect("valid")
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId::new("gw-1").expect("valid")
}

pub(crate) fn machine() -> MachineId {
    MachineId::new("press-1").expect("valid")
}

pub(crate) fn tag(id: &str) -> TagId {
    TagId::new(id).expect("valid")
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(T0 + micros)
}

pub(crate) fn seq(number: u64) -> Sequence {
    Sequence::from_u64(number)
}

pub(crate) async fn add_tenant(store: &impl TenancyStore) {
    store.add_tenant(Tenant { id: tenant(), name: "Acme".to_owned() }).await.expect("a new tenant");
}

pub(crate) fn sample(micros: i64, value: f64) -> Sample {
    Sample {
        value: Some(Value::Float(value)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: at(micros),
    }
}

/// A batch body of one series.
pub(crate) fn samples(series: u32, samples: &[(i64, f64)]) -> BatchBody {
    let samples = samples.iter().map(|(t, v)| sample(*t, *v)).collect();
    BatchBody::Samples(vec![SeriesSamples { series: SeriesId(series), samples }])
}

pub(crate) fn encode(epoch: Epoch, sequence: u64, body: &BatchBody) -> Vec<u8> {
    Batch::encode(epoch, seq(sequence), at(0), body).expect("within the limits")
}

/// Telemetry batch `n`: one sample of series 1 at `n` seconds with the value `n`.
pub(crate) fn telemetry(n: u64) -> Vec<u8> {
    let number = u32::try_from(n).expect("small");
    encode(EPOCH, n, &samples(1, &[(i64::from(number) * 1_000_000, f64::from(number))]))
}

/// The same batch with a sound header and an unreadable body.
pub(crate) fn torn(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[HEADER_BYTES] ^= 0xFF;
    let checksum = crc32fast::hash(&bytes[8..]).to_le_bytes();
    bytes[4..8].copy_from_slice(&checksum);
    bytes
}

pub(crate) fn gap(stream: StreamId, first: u64, last: u64) -> DiagnosticRecord {
    let (first, last) = (seq(first), seq(last));
    DiagnosticRecord::Gap(Gap {
        stream,
        first,
        last,
        samples: 100,
        reason: LossReason::BufferFull,
        at: at(0),
    })
}

pub(crate) fn diagnostic(sequence: u64, records: Vec<DiagnosticRecord>) -> Vec<u8> {
    encode(EPOCH, sequence, &BatchBody::Records(records))
}

/// A write set of messages of the gateway, each on the topic given.
pub(crate) fn set_of(messages: impl IntoIterator<Item = (StreamId, Vec<u8>)>) -> Arc<WriteSet> {
    let judged = |(stream, bytes): (StreamId, Vec<u8>)| {
        decide(Arrival {
            tenant: tenant(),
            gateway: gateway(),
            stream,
            payload: Bytes::from(bytes),
            received_at: at(0),
        })
    };
    Arc::new(WriteSet { entries: messages.into_iter().map(judged).collect() })
}

pub(crate) async fn send(
    store: &impl IngestStore,
    stream: StreamId,
    messages: impl IntoIterator<Item = Vec<u8>>,
) -> Applied {
    let set = set_of(messages.into_iter().map(|bytes| (stream, bytes)));
    store.apply(&tenant(), set).await.expect("the store works")
}

/// The sequence up to which the last acknowledgement of a stream goes.
pub(crate) fn acked(applied: &Applied, stream: StreamId) -> u64 {
    let ack = applied.acks.iter().find(|(g, ack)| *g == gateway() && ack.stream == stream);
    ack.expect("the stream was touched").1.committed_through.as_u64()
}

/// The ledger row of a stream of the gateway in [`EPOCH`].
pub(crate) async fn ledger_of(store: &impl FleetStore, stream: StreamId) -> LedgerRow {
    let rows = store.ledger(&tenant()).await.expect("the store works");
    assert!(rows.iter().all(LedgerRow::balances), "{rows:?}");
    let mine = |r: &LedgerRow| r.gateway == gateway() && r.stream == stream && r.epoch == Some(EPOCH);
    rows.into_iter().find(mine).expect("the stream is known")
}

pub(crate) fn hello(epoch: Epoch, oldest: [u64; 3], next: [u64; 3]) -> Hello {
    let ranges = StreamId::ALL.into_iter().zip(oldest.into_iter().zip(next));
    let range = |(stream, (oldest, next))| StreamRange { stream, oldest: seq(oldest), next: seq(next) };
    Hello { epoch, schema_max: 1, agent_version: "0.1.0".to_owned(), streams: ranges.map(range).collect() }
}

/// A catalogue of one press; each tag is a series number, an id and a role.
pub(crate) fn catalogue(epoch: Epoch, tags: &[(u32, &str, TagRole)]) -> Catalogue {
    let tags = tags.iter().map(|(series, id, role)| CatalogueTag {
        series: SeriesId(*series),
        definition: TagDefinition {
            id: tag(id),
            name: format!("The {id}"),
            unit: "bar".to_owned(),
            data_type: DataType::Float,
            enumeration: Enumeration::default(),
        },
        role: *role,
    });
    let condition =
        AlarmCondition::Limit { tag: tag("pressure"), kind: LimitKind::High, limit: 80.0, deadband: 1.0 };
    let id = AlarmId::new("hot").expect("valid");
    let alarm = AlarmDefinition::new(id, condition, AlarmPriority::High, "too hot");
    let machine = CatalogueMachine {
        id: machine(),
        name: "Press 1".to_owned(),
        kind: "press".to_owned(),
        protocol: "modbus-tcp".to_owned(),
        tags: tags.collect(),
        alarms: vec![alarm],
    };
    Catalogue { epoch, machines: vec![machine] }
}

pub(crate) async fn save_catalogue(store: &impl IngestStore, catalogue: Catalogue, received: i64) {
    let bytes = Bytes::from(catalogue.encode());
    store
        .save_catalogue(&tenant(), &gateway(), Arc::new(catalogue), bytes, at(received))
        .await
        .expect("the store works");
}

pub(crate) fn transition(occurrence: u64, cause: TransitionCause, micros: i64) -> AlarmTransition {
    let (from, to) = match cause {
        TransitionCause::Raised => (AlarmState::Normal, AlarmState::Unacknowledged),
        TransitionCause::ReturnedToNormal => (AlarmState::Unacknowledged, AlarmState::Normal),
        other => unreachable!("{other:?} is made by its test"),
    };
    AlarmTransition {
        machine: machine(),
        alarm: AlarmId::new("hot").expect("valid"),
        tag: Some(tag("pressure")),
        occurrence,
        from,
        to,
        cause,
        priority: AlarmPriority::High,
        value: Some(Value::Float(81.5)),
        limit: Some(80.0),
        deadband: 0.5,
        value_at: at(micros),
        decided_at: at(micros + 1),
        message: "too hot".to_owned(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: None,
    }
}

pub(crate) fn alarm_batch(epoch: Epoch, sequence: u64, transitions: Vec<AlarmTransition>) -> Vec<u8> {
    encode(epoch, sequence, &BatchBody::Transitions(transitions))
}
