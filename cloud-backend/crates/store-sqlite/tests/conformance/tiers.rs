//! Sealing, segments, hours: the tiers as the store keeps them.

use bytes::Bytes;
use fleet::{FleetStore, LatestSample, SampleQuery, SeriesData, Shape};
use ingestion::Fate;
use plant_model::{GatewayId, MachineId, Sample, Timestamp};
use protocol::{Batch, BatchBody, Epoch, SeriesId, SeriesSamples, StreamId, TagRole};
use segments::{Content, Gatherer, Head, Merged, Minute, Place, Stored, TagKind, TagNumber, merge};
use tiering::{
    Hour, HourRow, LateSegment, Parts, Revision, SealSet, SegmentKey, SegmentWrite, StoreError, TierStore,
    UnsealedBatch, roll_next, seal_next,
};

use super::Laboratory;
use super::fixture::*;

const TELEMETRY: StreamId = StreamId::Telemetry;
const MINUTE: i64 = Minute::MICROS;

/// A tenant whose gateway has a press with two tags.
pub(crate) async fn plant<L: Laboratory>(lab: &L) -> std::sync::Arc<L::Store> {
    let store = lab.open();
    add_tenant(&*store).await;
    save_catalogue(&*store, press(EPOCH), 0).await;
    store
}

fn press(epoch: Epoch) -> protocol::Catalogue {
    catalogue(epoch, &[(1, "pressure", TagRole::Plain), (2, "state", TagRole::State)])
}

/// A batch with one sample of the first tag at each of these microseconds; its value is the sequence.
pub(crate) fn batch_at(epoch: Epoch, sequence: u64, micros: &[i64]) -> Vec<u8> {
    let value = f64::from(u32::try_from(sequence).expect("small"));
    let list: Vec<_> = micros.iter().map(|at| (*at, value)).collect();
    encode(epoch, sequence, &samples(1, &list))
}

pub(crate) fn minute_of(micros: i64) -> Minute {
    Minute::of(at(micros))
}

pub(crate) fn key(micros: i64) -> SegmentKey {
    SegmentKey { machine: machine(), minute: minute_of(micros) }
}

/// The contents of batches, by machine and minute.
pub(crate) fn gathered(batches: &[UnsealedBatch]) -> Vec<(SegmentKey, Content)> {
    let mut gatherer = Gatherer::new();
    for batch in batches {
        let batch = Batch::decode(&batch.body).expect("a sound batch");
        let place = |_, series: SeriesId| {
            let kind = if series.0 == 2 { TagKind::State } else { TagKind::Analog };
            Some(Place { machine: machine(), tag: TagNumber(series.0 - 1), kind })
        };
        gatherer.add(&batch, place).expect("every series has its place");
    }
    let key = |((machine, minute), content)| (SegmentKey { machine, minute }, content);
    gatherer.finish().into_iter().map(key).collect()
}

/// What sealing writes of these batches, merged with what is there.
pub(crate) async fn writes(store: &impl TierStore, batches: &[UnsealedBatch]) -> Vec<SegmentWrite> {
    let mut out = Vec::new();
    for (key, content) in gathered(batches) {
        let there = store.segments_at(&tenant(), &gateway(), vec![key.clone()]).await.expect("works").pop();
        let stored = there.as_ref().map(|row| Stored { head: &row.head, body: row.body.as_deref() });
        let (head, body, late) = match merge(stored, content).expect("merges") {
            Merged::Unchanged => continue,
            Merged::Replaced(sealed) => (sealed.head, Some(sealed.body), None),
            Merged::Beside { head, late } => {
                let late = LateSegment { head: Bytes::from(late.head), body: Bytes::from(late.body) };
                (head, None, Some(late))
            }
        };
        let count = u64::try_from(Head::read(&head).expect("readable").count()).expect("small");
        out.push(SegmentWrite { key, count, head, body, late });
    }
    out
}

/// Seals the stream of an epoch up to a batch.
pub(crate) async fn seal_through(
    store: &impl TierStore,
    epoch: Epoch,
    through: u64,
    latest: Option<Vec<u8>>,
) -> Result<Revision, StoreError> {
    let base = store.revision(&tenant(), &gateway()).await?;
    let batches = store.batches_through(&tenant(), &gateway(), epoch, seq(through)).await?;
    let segments = writes(store, &batches).await;
    let set = SealSet { gateway: gateway(), base, epoch, through: seq(through), segments, latest };
    store.seal(&tenant(), set).await
}

/// All samples of the first tag as [`FleetStore`] shows them: microseconds and value.
pub(crate) async fn shown(store: &impl FleetStore) -> Vec<(i64, f64)> {
    let query = SampleQuery {
        gateway: gateway(),
        machine: machine(),
        tags: vec![tag("pressure")],
        start: at(-1_000_000 * MINUTE),
        end: at(1_000_000 * MINUTE),
        shape: Shape::Raw,
        limit: 10_000,
    };
    let set = store.samples(&tenant(), query).await.expect("works");
    let SeriesData::Raw(samples) = &set.tags[0].data else { panic!("reduced") };
    let value = |s: &Sample| s.value.as_ref().and_then(plant_model::Value::as_f64).expect("a number");
    samples.iter().map(|s| (s.timestamp().micros() - T0, value(s))).collect()
}

async fn rows(store: &impl TierStore, parts: Parts) -> Vec<tiering::SegmentRow> {
    let all = Minute::from_number(i64::MIN)..Minute::from_number(i64::MAX);
    store.segments(&tenant(), &gateway(), &machine(), all, parts, usize::MAX).await.expect("works")
}

pub(crate) async fn a_batch_is_either_a_batch_or_sealed_and_shown_once_in_both(lab: &impl Laboratory) {
    let store = plant(lab).await;
    let batches = [batch_at(EPOCH, 1, &[0, 1_000_000]), batch_at(EPOCH, 2, &[2_000_000, MINUTE])];
    send(&*store, TELEMETRY, batches.into_iter().chain([batch_at(EPOCH, 3, &[MINUTE + 1])])).await;
    let before = shown(&*store).await;
    assert_eq!(before.len(), 5);
    let streams = store.sealing_streams(&tenant(), &gateway()).await.expect("works");
    assert_eq!((streams[0].sealed_through, streams[0].committed_through), (seq(0), seq(3)));
    let waiting = store.waiting_batches(&tenant(), &gateway(), EPOCH, 2).await.expect("works");
    let told: Vec<_> = waiting.iter().map(|b| (b.sequence, b.first_at, b.count)).collect();
    assert_eq!(told, [(seq(1), at(0), 2), (seq(2), at(2_000_000), 2)]);

    assert_eq!(seal_through(&*store, EPOCH, 2, None).await.expect("sealed"), Revision(1));
    let store = lab.open();
    assert_eq!(shown(&*store).await, before, "the same samples in the same order");
    assert_eq!(store.revision(&tenant(), &gateway()).await.expect("works"), Revision(1));
    let streams = store.sealing_streams(&tenant(), &gateway()).await.expect("works");
    assert_eq!((streams[0].sealed_through, streams[0].committed_through), (seq(2), seq(3)));
    let left = store.waiting_batches(&tenant(), &gateway(), EPOCH, 9).await.expect("works");
    assert_eq!(left.iter().map(|b| b.sequence).collect::<Vec<_>>(), [seq(3)]);
    let found = rows(&*store, Parts::All).await;
    assert_eq!(found.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [key(0), key(MINUTE)]);
    assert!(found.iter().all(|row| row.body.is_some() && !row.is_archived && row.revision == Revision(1)));
    let ledger = ledger_of(&*store, TELEMETRY).await;
    assert_eq!((ledger.stored, ledger.samples_stored), (3, 5), "the books do not know about tiers");
}

pub(crate) async fn in6_a_batch_that_comes_after_all_while_its_stream_is_sealed_is_not_taken_for_sealed(
    lab: &impl Laboratory,
) {
    let store = plant(lab).await;
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 1, 1)])]).await;
    send(&*store, TELEMETRY, [batch_at(EPOCH, 2, &[0])]).await;
    let base = store.revision(&tenant(), &gateway()).await.expect("works");
    let batches = store.batches_through(&tenant(), &gateway(), EPOCH, seq(2)).await.expect("works");
    let segments = writes(&*store, &batches).await;
    // It comes between the look and the sealing.
    send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &[5])]).await;
    let set = SealSet { gateway: gateway(), base, epoch: EPOCH, through: seq(2), segments, latest: None };
    let refused = store.seal(&tenant(), set).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    seal_through(&*store, EPOCH, 2, None).await.expect("with what came");
    assert_eq!(shown(&*store).await, [(0, 2.0), (5, 1.0)]);
}

pub(crate) async fn of_two_who_seal_at_a_time_one_is_told_and_wrote_nothing(lab: &impl Laboratory) {
    let store = plant(lab).await;
    send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &[0]), batch_at(EPOCH, 2, &[MINUTE])]).await;
    let batches = store.batches_through(&tenant(), &gateway(), EPOCH, seq(1)).await.expect("works");
    let segments = writes(&*store, &batches).await;
    let set = |base| SealSet {
        gateway: gateway(),
        base,
        epoch: EPOCH,
        through: seq(1),
        segments: segments.clone(),
        latest: Some(vec![7]),
    };
    store.seal(&tenant(), set(Revision(0))).await.expect("the first");
    let mut second = set(Revision(0));
    second.through = seq(2);
    second.latest = Some(vec![8]);
    let refused = store.seal(&tenant(), second).await;
    let Err(StoreError::Conflict { gateway: which, expected, found }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((which, expected, found), (gateway(), Revision(0), Revision(1)));
    assert_eq!(store.sealed_latest(&tenant(), &gateway()).await.expect("works"), Some(vec![7]));
    let left = store.waiting_batches(&tenant(), &gateway(), EPOCH, 9).await.expect("works");
    assert_eq!(left.len(), 1, "its batches are still batches");
    store.seal(&tenant(), set(Revision(1))).await.expect("again with what is");
    assert_eq!(shown(&*store).await.len(), 2, "sealing again what was sealed changes nothing");
}

pub(crate) async fn a_sealed_batch_that_comes_again_is_a_duplicate_gap_or_not(lab: &impl Laboratory) {
    let store = plant(lab).await;
    send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &[0])]).await;
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 2, 4)])]).await;
    let late = batch_at(EPOCH, 3, &[10]);
    let came = send(&*store, TELEMETRY, [late.clone(), batch_at(EPOCH, 5, &[MINUTE])]).await;
    assert_eq!(came.fates, [Fate::Stored; 2], "it was believed lost and came after all");
    seal_through(&*store, EPOCH, 5, None).await.expect("sealed");
    let store = lab.open();
    let again = [batch_at(EPOCH, 1, &[0]), late, batch_at(EPOCH, 5, &[MINUTE])];
    assert_eq!(send(&*store, TELEMETRY, again).await.fates, [Fate::Duplicate; 3]);
    assert_eq!(send(&*store, TELEMETRY, [batch_at(EPOCH, 2, &[5])]).await.fates, [Fate::Stored]);
    let waiting = store.waiting_batches(&tenant(), &gateway(), EPOCH, 9).await.expect("works");
    assert_eq!(waiting.iter().map(|b| b.sequence).collect::<Vec<_>>(), [seq(2)], "below what is sealed");
    seal_through(&*store, EPOCH, 2, None).await.expect("sealed");
    let streams = store.sealing_streams(&tenant(), &gateway()).await.expect("works");
    assert_eq!(streams[0].sealed_through, seq(5), "it does not go back");
    assert_eq!(send(&*store, TELEMETRY, [batch_at(EPOCH, 2, &[5])]).await.fates, [Fate::Duplicate]);
    assert_eq!(shown(&*store).await, [(0, 1.0), (5, 2.0), (10, 3.0), (MINUTE, 5.0)]);
}

pub(crate) async fn in5_two_samples_of_one_instant_are_both_kept_through_sealing_and_merging(
    lab: &impl Laboratory,
) {
    let store = plant(lab).await;
    let block = |value: f64| SeriesSamples { series: SeriesId(1), samples: vec![sample(7, value)] };
    let twice = BatchBody::Samples(vec![SeriesSamples {
        series: SeriesId(1),
        samples: vec![sample(7, 1.0), sample(7, 2.0)],
    }]);
    let first = encode(EPOCH, 1, &twice);
    let second = encode(EPOCH, 2, &BatchBody::Samples(vec![block(3.0)]));
    let other_epoch = Epoch::from_u64(EPOCH.as_u64() + 1);
    save_catalogue(&*store, press(other_epoch), 1).await;
    let third = encode(other_epoch, 1, &BatchBody::Samples(vec![block(3.0)]));
    send(&*store, TELEMETRY, [first, second, third]).await;
    let all = [(7, 1.0), (7, 2.0), (7, 3.0), (7, 3.0)];
    assert_eq!(shown(&*store).await, all);
    for (epoch, through) in [(EPOCH, 1), (EPOCH, 2), (other_epoch, 1)] {
        seal_through(&*store, epoch, through, None).await.expect("sealed");
        assert_eq!(shown(&*store).await, all, "after {epoch} {through}");
    }
    assert_eq!(rows(&*store, Parts::Heads).await.len(), 1, "one segment a minute");
}

pub(crate) async fn st8_late_data_are_merged_so_that_a_minute_has_one_segment(lab: &impl Laboratory) {
    let store = plant(lab).await;
    for n in 1..=12_i64 {
        let batch = batch_at(EPOCH, n.cast_unsigned(), &[n, MINUTE + n]);
        send(&*store, TELEMETRY, [batch]).await;
        seal_through(&*store, EPOCH, n.cast_unsigned(), None).await.expect("sealed");
    }
    let found = rows(&*store, Parts::All).await;
    assert_eq!(found.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [key(0), key(MINUTE)]);
    assert!(found.iter().all(|row| row.late.is_none() && row.revision == Revision(12)));
    let head = Head::read(&found[0].head).expect("readable");
    assert_eq!((head.count(), head.sources().len()), (12, 12));
    let usage = store.usage(&tenant(), &gateway()).await.expect("works");
    assert_eq!(usage.iter().map(|day| (day.segments, day.samples)).collect::<Vec<_>>(), [(2, 24)]);
}

pub(crate) async fn segments_are_read_by_range_with_or_without_bodies(lab: &impl Laboratory) {
    let store = plant(lab).await;
    let minutes: Vec<i64> = (0..6).map(|n| n * MINUTE).collect();
    send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &minutes)]).await;
    seal_through(&*store, EPOCH, 1, None).await.expect("sealed");
    let range = minute_of(MINUTE)..minute_of(5 * MINUTE);
    let read = |parts, limit| {
        let (store, range) = (&store, range.clone());
        async move { store.segments(&tenant(), &gateway(), &machine(), range, parts, limit).await.expect("works") }
    };
    let heads = read(Parts::Heads, 3).await;
    let expected: Vec<_> = (1..4).map(|n| key(n * MINUTE)).collect();
    assert_eq!(heads.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), expected, "the first of them");
    assert!(heads.iter().all(|row| row.body.is_none() && row.late.is_none()));
    let whole = read(Parts::All, 9).await;
    assert_eq!(whole.len(), 4, "half open");
    for row in &whole {
        let (head, body) = (Head::read(&row.head).expect("readable"), row.body.as_ref().expect("there"));
        let content = head.open(body).expect("they belong together").verify().expect("sound");
        assert_eq!(content.count(), 1);
    }
    let nobody = MachineId::new("press-9").expect("valid");
    let keys =
        vec![key(3 * MINUTE), key(99 * MINUTE), SegmentKey { machine: nobody.clone(), ..key(0) }, key(0)];
    let at = store.segments_at(&tenant(), &gateway(), keys).await.expect("works");
    assert_eq!(at.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [key(0), key(3 * MINUTE)]);
    assert!(at.iter().all(|row| row.body.is_some()), "sealing merges with bodies");
    let elsewhere = GatewayId::new("gw-9").expect("valid");
    let all = minute_of(0)..minute_of(9 * MINUTE);
    let none = store.segments(&tenant(), &elsewhere, &machine(), all.clone(), Parts::All, 9).await;
    assert_eq!(none.expect("works"), []);
    assert_eq!(store.segments(&tenant(), &gateway(), &nobody, all, Parts::All, 9).await.expect("works"), []);
}

pub(crate) async fn unsealed_batches_are_found_by_time_in_all_epochs(lab: &impl Laboratory) {
    let store = plant(lab).await;
    // One whose number has the highest bit: epochs are in the order of unsigned numbers.
    let high = Epoch::from_u64(u64::MAX - 1);
    let batches = [
        batch_at(high, 1, &[5_000_000]),
        batch_at(EPOCH, 1, &[0, 20_000_000]),
        batch_at(EPOCH, 2, &[30_000_000]),
        batch_at(EPOCH, 3, &[4_000_000]),
        batch_at(EPOCH, 4, &[10_000_000]),
    ];
    send(&*store, TELEMETRY, batches).await;
    let found = |limit| {
        let store = &store;
        async move {
            let range = at(3_000_000)..at(10_000_000);
            let found = store.unsealed_batches(&tenant(), &gateway(), range, limit).await.expect("works");
            found.iter().map(|b| (b.epoch, b.sequence.as_u64())).collect::<Vec<_>>()
        }
    };
    assert_eq!(found(9).await, [(EPOCH, 1), (EPOCH, 3), (high, 1)], "half open, the long one with them");
    assert_eq!(found(2).await, [(EPOCH, 1), (EPOCH, 3)]);
    let epochs = store.sealing_streams(&tenant(), &gateway()).await.expect("works");
    assert_eq!(epochs.iter().map(|stream| stream.epoch).collect::<Vec<_>>(), [EPOCH, high]);
}

pub(crate) async fn a_tag_keeps_its_number_through_epochs_and_catalogues(lab: &impl Laboratory) {
    let store = plant(lab).await;
    let next = Epoch::from_u64(EPOCH.as_u64() + 1);
    let tags = [(1, "speed", TagRole::Plain), (2, "pressure", TagRole::State), (3, "state", TagRole::Plain)];
    save_catalogue(&*store, catalogue(next, &tags), 1).await;
    let known = lab.open().tags(&tenant(), &gateway(), Some(&machine())).await.expect("works");
    let told: Vec<_> = known.iter().map(|t| (t.number.0, t.tag.as_str(), t.kind, t.role)).collect();
    let expected = [
        (0, "pressure", TagKind::State, TagRole::State),
        // Its kind only grows: times in its states cannot be unlearnt.
        (1, "state", TagKind::State, TagRole::Plain),
        (2, "speed", TagKind::Analog, TagRole::Plain),
    ];
    assert_eq!(told, expected);
    assert_eq!(known[0].unit, "bar");
    let series = |epoch| {
        let store = &store;
        async move {
            let series = store.series(&tenant(), &gateway(), epoch).await.expect("works");
            series.into_iter().map(|(series, (_, tag))| (series.0, tag.0)).collect::<Vec<_>>()
        }
    };
    assert_eq!(series(EPOCH).await, [(1, 0), (2, 1)]);
    assert_eq!(series(next).await, [(1, 2), (2, 0), (3, 1)]);
    assert_eq!(store.tags(&tenant(), &gateway(), None).await.expect("works"), known);
    let nobody = GatewayId::new("gw-9").expect("valid");
    assert_eq!(store.tags(&tenant(), &nobody, None).await.expect("works"), []);
}

pub(crate) async fn an_hour_is_due_until_its_rollup_has_seen_the_last_change(lab: &impl Laboratory) {
    const HOUR: i64 = Hour::MICROS;
    let store = plant(lab).await;
    send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &[0, HOUR]), batch_at(EPOCH, 2, &[MINUTE, 2 * HOUR])]).await;
    seal_through(&*store, EPOCH, 1, None).await.expect("sealed");
    let due = |limit| {
        let store = &store;
        async move {
            let due = store.due_hours(&tenant(), &gateway(), limit).await.expect("works");
            due.into_iter().map(|(_, hour, revision)| (hour, revision.0)).collect::<Vec<_>>()
        }
    };
    let hour = |n: i64| Hour::of(at(n * HOUR));
    assert_eq!(due(9).await, [(hour(0), 1), (hour(1), 1)]);
    assert_eq!(due(1).await, [(hour(0), 1)], "the earliest first");
    seal_through(&*store, EPOCH, 2, None).await.expect("sealed");
    assert_eq!(due(9).await, [(hour(0), 2), (hour(1), 1), (hour(2), 2)]);
    let row = |n, bytes: &'static [u8]| HourRow {
        machine: machine(),
        hour: hour(n),
        rollups: Bytes::from_static(bytes),
    };
    let saved = vec![(row(0, b"early"), Revision(1)), (row(1, b"one"), Revision(1))];
    store.save_hours(&tenant(), &gateway(), saved).await.expect("saved");
    assert_eq!(due(9).await, [(hour(0), 2), (hour(2), 2)], "the first one changed after it was read");
    store.save_hours(&tenant(), &gateway(), vec![(row(0, b"whole"), Revision(2))]).await.expect("saved");
    assert_eq!(due(9).await, [(hour(2), 2)]);
    let read = lab.open().hours(&tenant(), &gateway(), &machine(), hour(0)..hour(2)).await.expect("works");
    assert_eq!(read, [row(0, b"whole"), row(1, b"one")]);
    assert_eq!(store.revision(&tenant(), &gateway()).await.expect("works"), Revision(2), "no move of a tier");
}

pub(crate) async fn an_unknown_tenant_has_no_tiers(lab: &impl Laboratory) {
    let store = plant(lab).await;
    let nobody = plant_model::TenantId::new("nobody").expect("valid");
    let read = store.revision(&nobody, &gateway()).await;
    assert!(matches!(read, Err(StoreError::UnknownTenant(_))), "{read:?}");
    let (base, through) = (Revision(0), seq(1));
    let set = SealSet { gateway: gateway(), base, epoch: EPOCH, through, segments: Vec::new(), latest: None };
    let sealed = store.seal(&nobody, set).await;
    assert!(matches!(sealed, Err(StoreError::UnknownTenant(_))), "{sealed:?}");
    let none: Vec<(Timestamp, Timestamp)> = Vec::new();
    let range = at(0)..at(1);
    let objects = store.objects(&tenant(), None, range).await.expect("works");
    assert_eq!(objects.iter().map(|o| (o.start, o.end)).collect::<Vec<_>>(), none);
}

/// Seals all that may be sealed as the program does.
pub(crate) async fn seal_all(store: &impl TierStore, now: Timestamp) -> usize {
    let mut batches = 0;
    loop {
        let done = seal_next(store, &tenant(), &gateway(), now, now).await.expect("sealing works");
        let Some(wave) = done.sealed else { return batches };
        batches += wave.batches;
    }
}

/// Series, time, value and since when, of the latest samples.
async fn latest(store: &impl FleetStore) -> Vec<(u32, i64, f64, i64)> {
    let all = store.latest_samples(&tenant()).await.expect("works");
    let told = |l: &LatestSample| {
        let value = l.sample.value.as_ref().and_then(plant_model::Value::as_f64).expect("a number");
        (l.series.0, l.sample.timestamp().micros() - T0, value, l.unchanged_since.micros() - T0)
    };
    all[0].samples.iter().map(told).collect()
}

pub(crate) async fn in6_the_latest_samples_are_the_same_after_sealing_and_late_data_do_not_move_them(
    lab: &impl Laboratory,
) {
    let store = plant(lab).await;
    let batches = [
        encode(EPOCH, 1, &samples(2, &[(5, 1.0), (10, 0.0)])),
        encode(EPOCH, 2, &samples(1, &[(MINUTE, 8.0)])),
        encode(EPOCH, 3, &samples(2, &[(MINUTE + 40, 0.0)])),
        // An hour late.
        encode(EPOCH, 4, &samples(1, &[(-60 * MINUTE, 3.0)])),
        encode(EPOCH, 5, &samples(1, &[(2 * MINUTE, 8.0)])),
    ];
    send(&*store, TELEMETRY, batches).await;
    let expected = [(1, 2 * MINUTE, 8.0, MINUTE), (2, MINUTE + 40, 0.0, 10)];
    assert_eq!(latest(&*store).await, expected);
    // All were received at the same time: the stream is silent after a while.
    assert_eq!(seal_all(&*store, at(20 * MINUTE)).await, 5);
    assert_eq!(latest(&*lab.open()).await, expected, "nothing but segments is left");
    let late = encode(EPOCH, 6, &samples(1, &[(MINUTE - 5, 4.0)]));
    send(&*store, TELEMETRY, [late]).await;
    assert_eq!(latest(&*store).await, expected, "late and not sealed");
    assert_eq!(seal_all(&*store, at(20 * MINUTE)).await, 1);
    assert_eq!(latest(&*store).await, expected, "late and sealed");
    let next = Epoch::from_u64(EPOCH.as_u64() + 1);
    save_catalogue(&*store, catalogue(next, &[(7, "pressure", TagRole::Plain)]), 1).await;
    assert_eq!(latest(&*store).await, [(7, 2 * MINUTE, 8.0, MINUTE)], "known under its new number");
    send(&*store, TELEMETRY, [encode(next, 1, &samples(7, &[(3 * MINUTE, 9.0)]))]).await;
    assert_eq!(latest(&*store).await, [(7, 3 * MINUTE, 9.0, 3 * MINUTE)]);
}

pub(crate) async fn st6_a_backlog_is_sealed_in_waves_without_a_loss_and_waits_for_its_catalogue(
    lab: &impl Laboratory,
) {
    const BATCHES: u64 = 1_200;
    let store = lab.open();
    add_tenant(&*store).await;
    let batch = |n: u64| {
        let at = i64::try_from(n).expect("small") * 5_000_000;
        batch_at(EPOCH, n, &[at, at + 1_000_000])
    };
    send(&*store, TELEMETRY, (1..=BATCHES).map(batch)).await;
    let now = at(20 * MINUTE);
    let waits = seal_next(&*store, &tenant(), &gateway(), now, now).await.expect("works");
    assert_eq!(
        (waits.sealed, waits.waits_for),
        (None, Some((EPOCH, SeriesId(1)))),
        "nobody knows its series"
    );
    assert_eq!(waits.oldest_received_at, Some(at(0)));
    save_catalogue(&*store, press(EPOCH), 0).await;
    let before = shown(&*store).await;
    let first = seal_next(&*store, &tenant(), &gateway(), now, now).await.expect("works");
    let wave = first.sealed.expect("a wave");
    assert_eq!((wave.batches, wave.revision), (segments::WAVE_BATCHES_MAX, Revision(1)));
    assert_eq!(shown(&*store).await, before, "half of it sealed");
    assert_eq!(seal_all(&*store, now).await, 200);
    assert_eq!(shown(&*lab.open()).await, before);
    assert_eq!(before.len(), 2_400);
    let minutes = rows(&*store, Parts::Heads).await.len();
    assert_eq!(minutes, 101, "one segment a minute, those of two waves too");
}

pub(crate) async fn rollups_of_hours_follow_what_is_sealed(lab: &impl Laboratory) {
    const HOUR: i64 = Hour::MICROS;
    let store = plant(lab).await;
    let start = Hour::of(at(HOUR)).start().micros() - T0;
    let every = |from: i64, count: i64| (0..count).map(|n| from + n * MINUTE).collect::<Vec<_>>();
    send(&*store, TELEMETRY, [batch_at(EPOCH, 4, &every(start, 30))]).await;
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 1, 3)])]).await;
    let now = at(start + HOUR + 30 * MINUTE);
    assert_eq!(seal_all(&*store, now).await, 1);
    let running = at(start + HOUR - 1);
    assert_eq!(roll_next(&*store, &tenant(), &gateway(), running).await.expect("works"), 0, "it is not over");
    assert_eq!(roll_next(&*store, &tenant(), &gateway(), now).await.expect("works"), 1);
    assert_eq!(roll_next(&*store, &tenant(), &gateway(), now).await.expect("works"), 0);
    let hour = Hour::of(at(start));
    let read = || async {
        let range = hour..Hour::from_number(hour.number() + 1);
        let rows = store.hours(&tenant(), &gateway(), &machine(), range).await.expect("works");
        let rollups = segments::rollups_from_bytes(&rows[0].rollups).expect("readable");
        let rollup = rollups[&TagNumber(0)].clone();
        (rollup.count, rollup.last.expect("there").value.as_f64())
    };
    assert_eq!(read().await, (30, Some(4.0)));
    // One that was believed lost comes late, and is of the hour.
    send(&*store, TELEMETRY, [batch_at(EPOCH, 3, &every(start + 30 * MINUTE, 10))]).await;
    assert_eq!(seal_all(&*store, now).await, 1);
    assert_eq!(roll_next(&*store, &tenant(), &gateway(), now).await.expect("works"), 1);
    assert_eq!(read().await, (40, Some(3.0)));
}
