//! Batches, duplicates, holes, gaps, quarantine, hello.

use ingestion::{Fate, IngestStore, StoreError};
use plant_model::{GatewayId, TenantId};
use protocol::{BatchHeader, DiagnosticRecord, Dropped, Epoch, LossReason, StreamId, TagRole};

use super::Laboratory;
use super::fixture::*;

const TELEMETRY: StreamId = StreamId::Telemetry;

pub(crate) async fn a_batch_is_stored_and_acknowledged_once_it_is_durable(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let applied = send(&*store, TELEMETRY, [telemetry(1), telemetry(2)]).await;
    assert_eq!(applied.fates, [Fate::Stored, Fate::Stored]);
    assert_eq!(acked(&applied, TELEMETRY), 2);
    drop(store);
    let row = ledger_of(&*lab.open(), TELEMETRY).await;
    assert_eq!((row.stored, row.samples_stored, row.committed_through), (2, 2, seq(2)));
    assert_eq!(row.bytes_received, (telemetry(1).len() + telemetry(2).len()) as u64);
}

pub(crate) async fn a_duplicate_is_counted_and_acknowledged_again(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, TELEMETRY, [telemetry(1), telemetry(2)]).await;
    let again = send(&*store, TELEMETRY, [telemetry(2), telemetry(3), telemetry(3)]).await;
    assert_eq!(again.fates, [Fate::Duplicate, Fate::Stored, Fate::Duplicate]);
    assert_eq!(acked(&again, TELEMETRY), 3);
    let row = ledger_of(&*store, TELEMETRY).await;
    assert_eq!((row.received, row.stored, row.duplicate, row.samples_stored), (5, 3, 2, 3));
}

pub(crate) async fn a_batch_above_a_hole_is_stored_and_the_acknowledgement_waits(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let above = send(&*store, TELEMETRY, [telemetry(1), telemetry(3)]).await;
    assert_eq!(above.fates, [Fate::Stored, Fate::Stored]);
    assert_eq!(acked(&above, TELEMETRY), 1);
    drop(store);
    let store = lab.open();
    let again = send(&*store, TELEMETRY, [telemetry(3)]).await;
    assert_eq!((again.fates.as_slice(), acked(&again, TELEMETRY)), ([Fate::Duplicate].as_slice(), 1));
    assert_eq!(acked(&send(&*store, TELEMETRY, [telemetry(2)]).await, TELEMETRY), 3);
}

pub(crate) async fn a_gap_record_lets_the_acknowledgement_pass(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, TELEMETRY, [telemetry(1), telemetry(5)]).await;
    let applied = send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 2, 4)])]).await;
    assert_eq!((acked(&applied, StreamId::Diagnostic), acked(&applied, TELEMETRY)), (1, 5));
    let row = ledger_of(&*store, TELEMETRY).await;
    let gap = &row.gaps[0];
    assert_eq!((gap.first, gap.last, gap.samples, gap.reason.as_str()), (seq(2), seq(4), 100, "buffer_full"));
}

pub(crate) async fn a_batch_that_was_given_up_and_comes_after_all_is_stored(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 1, 4)])]).await;
    let late = send(&*store, TELEMETRY, [telemetry(3), telemetry(3)]).await;
    assert_eq!(late.fates, [Fate::Stored, Fate::Duplicate]);
    assert_eq!(acked(&late, TELEMETRY), 4);
}

pub(crate) async fn samples_dropped_before_they_were_a_batch_are_in_the_ledger(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let dropped = Dropped { samples: 20, reason: LossReason::StoreStalled, from: at(0), to: at(9) };
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![DiagnosticRecord::Dropped(dropped)])]).await;
    let row = ledger_of(&*store, TELEMETRY).await;
    assert_eq!(
        (row.received, row.dropped[0].samples, row.dropped[0].reason.as_str()),
        (0, 20, "store_stalled")
    );
    assert_eq!((row.dropped[0].from, row.dropped[0].to), (at(0), at(9)));
}

pub(crate) async fn an_unreadable_body_is_put_aside_and_passed(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let applied = send(&*store, TELEMETRY, [telemetry(1), torn(telemetry(2)), telemetry(3)]).await;
    let aside = Fate::Quarantined { reason: "compression" };
    assert_eq!(applied.fates, [Fate::Stored, aside, Fate::Stored]);
    assert_eq!(acked(&applied, TELEMETRY), 3);
    let again = send(&*store, TELEMETRY, [torn(telemetry(2))]).await;
    assert_eq!(again.fates, [Fate::Duplicate]);
    let row = ledger_of(&*store, TELEMETRY).await;
    assert_eq!((row.stored, row.duplicate, row.samples_stored), (2, 1, 2));
    assert_eq!(row.rejected, [("compression".to_owned(), 1)]);
}

pub(crate) async fn garbage_is_counted_under_no_epoch_and_never_acknowledged(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let applied = send(&*store, TELEMETRY, [b"garbage".to_vec(), Vec::new(), b"garbage".to_vec()]).await;
    let refused = |reason| Fate::Refused { reason };
    assert_eq!(
        applied.fates,
        [refused("unknown_container"), refused("too_short"), refused("unknown_container")]
    );
    assert_eq!(applied.acks, []);
    let rows = fleet::FleetStore::ledger(&*store, &tenant()).await.expect("the store works");
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.epoch, row.stream, row.received, row.bytes_received), (None, TELEMETRY, 3, 14));
    assert_eq!(row.rejected, [("too_short".to_owned(), 1), ("unknown_container".to_owned(), 2)]);
    assert!(row.balances());
}

pub(crate) async fn epochs_and_gateways_have_sequences_of_their_own(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, TELEMETRY, [telemetry(1)]).await;
    let other = encode(Epoch::from_u64(7), 1, &samples(1, &[(0, 1.0)]));
    let applied = send(&*store, TELEMETRY, [other]).await;
    assert_eq!(applied.fates, [Fate::Stored]);
    let mut set = (*set_of([(TELEMETRY, telemetry(1))])).clone();
    set.entries[0].gateway = GatewayId::new("gw-2").expect("valid");
    let applied = store.apply(&tenant(), set.into()).await.expect("the store works");
    assert_eq!(applied.fates, [Fate::Stored]);
    let rows = fleet::FleetStore::ledger(&*store, &tenant()).await.expect("the store works");
    assert_eq!(rows.len(), 3);
}

pub(crate) async fn hello_answers_where_every_stream_stands(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, TELEMETRY, [telemetry(1), telemetry(2)]).await;
    let hello = hello(EPOCH, [1, 1, 1], [1, 1, 9]);
    let acks = store.record_hello(&tenant(), &gateway(), &hello, at(0)).await.expect("the store works");
    let stand = acks.map(|ack| (ack.stream, ack.epoch, ack.committed_through.as_u64()));
    assert_eq!(stand, [(StreamId::Alarm, EPOCH, 0), (StreamId::Diagnostic, EPOCH, 0), (TELEMETRY, EPOCH, 2)]);
    let last = BatchHeader::checksum(&telemetry(2));
    assert!(last.is_some());
    assert_eq!(acks.map(|ack| ack.last_checksum), [None, None, last]);
}

pub(crate) async fn what_a_gateway_no_longer_holds_is_a_gap_and_not_a_dead_end(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, TELEMETRY, [telemetry(3)]).await;
    let hello = hello(EPOCH, [1, 1, 6], [1, 1, 8]);
    let acks = store.record_hello(&tenant(), &gateway(), &hello, at(0)).await.expect("the store works");
    assert_eq!(acks[2].committed_through, seq(5));
    let gaps: Vec<_> = ledger_of(&*store, TELEMETRY).await.gaps;
    let ranges: Vec<_> =
        gaps.iter().map(|g| (g.first.as_u64(), g.last.as_u64(), g.reason.as_str())).collect();
    assert_eq!(ranges, [(4, 5, "not_held"), (1, 2, "not_held")]);
    assert_eq!(acked(&send(&*store, TELEMETRY, [telemetry(6)]).await, TELEMETRY), 6);
}

pub(crate) async fn a_declared_gap_takes_the_place_of_one_that_was_concluded(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let hello = hello(EPOCH, [1, 1, 10], [1, 2, 11]);
    store.record_hello(&tenant(), &gateway(), &hello, at(0)).await.expect("the store works");
    send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![gap(TELEMETRY, 3, 5)])]).await;
    let gaps: Vec<_> = ledger_of(&*store, TELEMETRY).await.gaps;
    let ranges: Vec<_> =
        gaps.iter().map(|g| (g.first.as_u64(), g.last.as_u64(), g.reason.as_str())).collect();
    assert_eq!(ranges, [(6, 9, "not_held"), (3, 5, "buffer_full"), (1, 2, "not_held")]);
}

pub(crate) async fn a_stream_full_of_holes_refuses_a_batch_without_storing_it(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let ranges = u64::try_from(ingestion::RANGES_MAX).expect("small");
    send(&*store, TELEMETRY, (1..=ranges).map(|n| telemetry(2 * n))).await;
    let beyond = telemetry(2 * ranges + 2);
    let refused = send(&*store, TELEMETRY, [beyond.clone()]).await;
    assert_eq!(refused.fates, [Fate::Refused { reason: "too_many_holes" }]);
    // A gap record that finds no room is not stored either: it must come again.
    let lost = gap(TELEMETRY, 2 * ranges + 10, 2 * ranges + 20);
    let refused = send(&*store, StreamId::Diagnostic, [diagnostic(1, vec![lost])]).await;
    assert_eq!(
        (refused.fates[0], acked(&refused, StreamId::Diagnostic)),
        (Fate::Refused { reason: "too_many_holes" }, 0)
    );
    send(&*store, TELEMETRY, [telemetry(1), telemetry(3)]).await;
    assert_eq!(send(&*store, TELEMETRY, [beyond]).await.fates, [Fate::Stored]);
    assert_eq!(ledger_of(&*store, TELEMETRY).await.rejected, [("too_many_holes".to_owned(), 1)]);
}

pub(crate) async fn a_series_number_keeps_its_tag_within_an_epoch(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    save_catalogue(&*store, catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]), 0).await;
    let other = catalogue(EPOCH, &[(2, "new", TagRole::Plain), (1, "speed", TagRole::Plain)]);
    let bytes = other.encode().into();
    let error = store
        .save_catalogue(&tenant(), &gateway(), other.into(), bytes, at(1))
        .await
        .expect_err("the number is taken");
    assert!(matches!(error, StoreError::Contradiction(_)), "{error:?}");
    assert!(error.to_string().contains("series 1"), "{error}");
    let machines = fleet::FleetStore::machines(&*store, &tenant()).await.expect("the store works");
    assert_eq!(machines[0].definition.tags.len(), 1, "nothing of the refused catalogue is there");
}

pub(crate) async fn an_unknown_tenant_is_an_error_and_no_new_place(lab: &impl Laboratory) {
    let store = lab.open();
    let stranger = TenantId::new("stranger").expect("valid");
    let error = store.apply(&stranger, set_of([(TELEMETRY, telemetry(1))])).await.expect_err("unknown");
    assert!(matches!(error, StoreError::UnknownTenant(_)), "{error:?}");
    let error = fleet::FleetStore::ledger(&*store, &stranger).await.expect_err("still unknown");
    assert!(matches!(error, fleet::StoreError::UnknownTenant(_)), "{error:?}");
    store.ping().await.expect("the writer goes on");
}
