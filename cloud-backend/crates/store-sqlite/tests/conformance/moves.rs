//! The moves between the tiers, made on a store and an archive in memory, killed at every call.

use std::ops::Range;

use ingestion::IngestStore;
use plant_model::{TenantId, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use segments::{Minute, Sourced, TagKind, TagNumber};
use tenancy::{TenancyStore, Tenant};
use tiering::{
    Archive, DAY, DayUsage, GatewayTiers, HoldAct, HoldScope, Keep, Move, MoveError, Moved, Mover,
    ObjectState, Parts, Plan, Policy, PolicyStore, SealSet, TagDigest, TierStore, YEAR, look, plan,
};

use super::Laboratory;
use super::fixture::*;
use super::shelf::{Mortal, Shelf};
use super::tiers::{plant, seal_through};

const DAY_MICROS: i64 = 86_400_000_000;
const EVER: Range<Timestamp> = Timestamp::from_micros(i64::MIN)..Timestamp::from_micros(i64::MAX);

/// The start of a day, counted from that of the first samples.
fn day(n: i64) -> Timestamp {
    Timestamp::from_micros((T0.div_euclid(DAY_MICROS) + n) * DAY_MICROS)
}

/// Batches of some days, three a day of four samples each.
fn batches_of(first: u64, days: Range<i64>) -> Vec<Vec<u8>> {
    let minutes = days.flat_map(|n| (0..3).map(move |minute| n * DAY_MICROS + minute * Minute::MICROS));
    let batch = |(sequence, micros): (u64, i64)| {
        let list: Vec<_> = (0..4_i32).map(|i| (micros + i64::from(i) * 1_000_000, f64::from(i))).collect();
        encode(EPOCH, sequence, &samples(1, &list))
    };
    (first..).zip(minutes).map(batch).collect()
}

/// Stores and seals them.
async fn fill<S: ingestion::IngestStore + TierStore>(store: &S, first: u64, days: Range<i64>) {
    let batches = batches_of(first, days);
    let last = first + batches.len() as u64 - 1;
    send(store, protocol::StreamId::Telemetry, batches).await;
    seal_through(store, EPOCH, last, None).await.expect("sealed");
}

async fn tiers_of<S: TierStore + PolicyStore>(store: &S, policy: &Policy, now: Timestamp) -> GatewayTiers {
    look((store, store), &tenant(), &gateway(), policy, now).await.expect("works")
}

/// What a run at that time would do.
async fn planned<S: TierStore + PolicyStore>(store: &S, policy: &Policy, now: Timestamp) -> Plan {
    let holds = store.holds(&tenant()).await.expect("works");
    plan(now, policy, &holds, &tiers_of(store, policy, now).await, 0)
}

async fn make_all<S: TierStore + PolicyStore, A: Archive>(
    (store, archive): (&S, &A),
    policy: &Policy,
    plan: &Plan,
    now: Timestamp,
) -> Vec<(Move, Result<Moved, MoveError>)> {
    let tenant = tenant();
    let mover = Mover { tenant: &tenant, tiers: store, policies: store, archive };
    let mut made = Vec::new();
    for m in &plan.moves {
        let outcome = mover.make(policy, m, now).await;
        let failed = outcome.is_err();
        made.push((m.clone(), outcome));
        if failed {
            break;
        }
    }
    made
}

/// Runs until nothing is left to do, some hours apart.
async fn run_to_the_end<S: TierStore + PolicyStore>(
    store: &S,
    shelf: &Shelf,
    policy: &Policy,
    start: Timestamp,
) {
    let mut now = start;
    for _ in 0..10 {
        let plan = planned(store, policy, now).await;
        if plan.moves.is_empty() {
            return;
        }
        for (m, outcome) in make_all((store, shelf), policy, &plan, now).await {
            assert!(outcome.is_ok(), "{}: {outcome:?}", m.action.name());
        }
        now = now.plus(DAY / 12);
    }
    panic!("there is always something to do: {:?}", planned(store, policy, now).await);
}

/// All samples of the first tag, wherever they lie: as a reader unites the tiers, each once.
async fn everything<S: TierStore>(store: &S, shelf: &Shelf) -> Vec<Sourced> {
    let all = Minute::of(day(-10))..Minute::of(day(1_000));
    let rows =
        store.segments(&tenant(), &gateway(), &machine(), all, Parts::All, 10_000).await.expect("works");
    let tags = store.tags(&tenant(), &gateway(), None).await.expect("works");
    let segments = tiering::SegmentsOfMachine::new(machine(), tags, rows).expect("readable");
    let mut parts: Vec<Box<dyn tiering::MachineSource>> = vec![Box::new(segments)];
    for object in store.objects(&tenant(), Some(&gateway()), EVER).await.expect("works") {
        if object.state == ObjectState::Verified {
            parts.extend(shelf.machine(&tenant(), &object, &machine()).await.expect("there"));
        }
    }
    let union = tiering::Union::new(parts).expect("one machine").expect("some");
    let mut reader = tiering::MachineSource::open(&union).expect("opens");
    reader.samples(TagNumber(0), &EVER).expect("readable")
}

/// What must hold at the end: bodies are gone, objects do not overlap and are all that is there.
async fn check_end<S: TierStore + PolicyStore>(store: &S, shelf: &Shelf) {
    let objects = store.objects(&tenant(), Some(&gateway()), EVER).await.expect("works");
    assert!(objects.iter().all(|object| object.state == ObjectState::Verified), "{objects:?}");
    assert!(objects.windows(2).all(|pair| pair[0].end <= pair[1].start), "{objects:?}");
    let listed = shelf.list(&tenant()).await.expect("works");
    assert_eq!(listed.len(), objects.len(), "nothing was left behind");
    let usage = store.usage(&tenant(), &gateway()).await.expect("works");
    assert!(
        usage.iter().all(|day| day.bodies == 0 && day.late == 0 && day.archived == day.segments),
        "{usage:?}"
    );
}

/// The same for all classes.
fn kept(keep: Keep) -> Policy {
    TagKind::ALL.into_iter().fold(Policy::default(), |policy, class| policy.with(class, keep))
}

fn short() -> Policy {
    kept(Keep { samples: 2 * DAY, ..Keep::DEFAULT })
}

pub(crate) async fn st3_what_a_run_does_is_what_its_preview_said<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf, policy) = (plant(lab).await, Shelf::default(), short());
    fill(&*store, 1, 0..4).await;
    let now = day(5);
    let plan = planned(&*store, &policy, now).await;
    let names: Vec<_> = plan.moves.iter().map(|m| m.action.name()).collect();
    assert_eq!(names, ["archive", "archive", "archive", "archive", "drop_bodies"]);
    assert_eq!(plan.moves[4].range, day(0)..day(3));
    let made = make_all((&*store, &shelf), &policy, &plan, now).await;
    assert_eq!(made.len(), plan.moves.len());
    for (m, outcome) in made {
        let moved = outcome.expect("made");
        assert_eq!(moved.rows, m.rows, "{}", m.action.name());
        if m.action.name() == "drop_bodies" {
            assert_eq!(moved.bytes, m.bytes);
        }
    }
    let much_later = day(0).plus(YEAR * 11);
    let plan = planned(&*store, &policy, much_later).await;
    let made = make_all((&*store, &shelf), &policy, &plan, much_later).await;
    for (m, outcome) in made {
        let moved = outcome.expect("made");
        assert_eq!((moved.rows, moved.bytes), (m.rows, m.bytes), "{}", m.action.name());
    }
    assert_eq!(store.usage(&tenant(), &gateway()).await.expect("works"), [], "all is gone");
}

/// Each life begins with a new day and a late batch for an archived one, makes one call more than the life before, and is
/// followed by an undisturbed run: so every call is the last one of some life.
pub(crate) async fn st4_a_run_that_is_killed_at_any_call_loses_and_doubles_nothing<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf, policy) = (plant(lab).await, Shelf::default(), short());
    fill(&*store, 1, 0..3).await;
    run_to_the_end(&*store, &shelf, &policy, day(6)).await;
    let mut sequence = 10;
    let mut kills = 0;
    for calls in 0.. {
        let late: Vec<_> = (0..4).map(|i| ((calls + 2) * DAY_MICROS + 30_000_000 + i * 1_000, 7.0)).collect();
        send(&*store, protocol::StreamId::Telemetry, [encode(EPOCH, sequence, &samples(1, &late))]).await;
        fill(&*store, sequence + 1, calls + 3..calls + 4).await;
        sequence += 4;
        let expected = everything(&*store, &shelf).await;
        assert_eq!(u64::try_from(expected.len()).expect("small"), (sequence - 1) * 4);
        let now = day(calls + 7);
        let plan = planned(&*store, &policy, now).await;
        let mortal = Mortal::new(&*store, &shelf, calls);
        make_all((&mortal, &mortal), &policy, &plan, now).await;
        assert_eq!(everything(&*store, &shelf).await, expected, "after a kill before call {calls}");
        run_to_the_end(&*store, &shelf, &policy, now.plus(DAY / 12)).await;
        assert_eq!(everything(&*store, &shelf).await, expected, "after the run that followed");
        check_end(&*store, &shelf).await;
        if !mortal.was_killed() {
            break;
        }
        kills += 1;
        assert!(kills < 300, "it comes to no end");
    }
    assert!(kills > 20, "only {kills} calls were killed");
}

pub(crate) async fn st10_a_month_of_small_objects_becomes_one_without_loss<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf, policy) = (plant(lab).await, Shelf::default(), short());
    fill(&*store, 1, 0..33).await;
    let expected = everything(&*store, &shelf).await;
    run_to_the_end(&*store, &shelf, &policy, day(40)).await;
    assert_eq!(everything(&*store, &shelf).await, expected);
    check_end(&*store, &shelf).await;
    let objects = store.objects(&tenant(), Some(&gateway()), EVER).await.expect("works");
    let ranges: Vec<_> = objects.iter().map(|object| object.start..object.end).collect();
    assert_eq!(ranges, [day(0)..day(31), day(31)..day(32), day(32)..day(33)]);
}

pub(crate) async fn st4_nothing_is_dropped_whose_object_is_damaged<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf, policy) = (plant(lab).await, Shelf::default(), Policy::default());
    fill(&*store, 1, 0..1).await;
    run_to_the_end(&*store, &shelf, &policy, day(2)).await;
    let expected = store.usage(&tenant(), &gateway()).await.expect("works");
    assert_eq!(expected[0].bodies, 3);
    let object = store.objects(&tenant(), None, EVER).await.expect("works").remove(0);
    shelf.damage(&object.path);
    let now = day(40);
    let plan = planned(&*store, &policy, now).await;
    let made = make_all((&*store, &shelf), &policy, &plan, now).await;
    assert!(matches!(made[0].1, Err(MoveError::Differs { what: "hashes", .. })), "{made:?}");
    assert_eq!(store.usage(&tenant(), &gateway()).await.expect("works"), expected);
}

pub(crate) async fn a_hold_keeps_a_period_and_a_restore_brings_it_back_whole<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf, policy) = (plant(lab).await, Shelf::default(), short());
    fill(&*store, 1, 0..3).await;
    let act = || HoldAct { by: "anna".to_owned(), at: at(0), reason: "claim 7".to_owned() };
    let scope = HoldScope { gateway: None, machine: None, start: day(1), end: day(2) };
    let hold = store.place_hold(&tenant(), scope.clone(), act()).await.expect("works");
    run_to_the_end(&*store, &shelf, &policy, day(10)).await;
    let bodies = async || -> Vec<u64> {
        let usage = store.usage(&tenant(), &gateway()).await.expect("works");
        usage.iter().map(|day: &DayUsage| day.bodies).collect()
    };
    assert_eq!(bodies().await, [0, 3, 0]);
    // One who planned before the hold was placed does not drop either.
    store.release_hold(&tenant(), hold, act()).await.expect("works");
    let plan = planned(&*store, &policy, day(11)).await;
    store.place_hold(&tenant(), scope, act()).await.expect("works");
    let made = make_all((&*store, &shelf), &policy, &plan, day(11)).await;
    assert!(matches!(made[0].1, Err(MoveError::Held)), "{made:?}");
    assert_eq!(bodies().await, [0, 3, 0]);

    let (tenant, gateway) = (tenant(), gateway());
    let mover = Mover { tenant: &tenant, tiers: &*store, policies: &*store, archive: &shelf };
    let restored = mover.restore(&gateway, &(day(0)..day(3)), &|_| ()).await.expect("restored");
    assert_eq!((restored.segments, restored.present, restored.incomplete), (6, 3, 0));
    assert_eq!(bodies().await, [3, 3, 3]);
    for object in store.objects(&tenant, None, EVER).await.expect("works") {
        let compared = mover.compare(&object, &EVER).await.expect("compared");
        assert_eq!((compared.same, compared.different, compared.unknown), (1, 0, 0));
        shelf.damage(&object.path);
        let compared = mover.compare(&object, &EVER).await.expect("compared");
        assert_eq!((compared.same, compared.different), (0, 1), "a changed value is seen");
    }
}

/// Rows and checksums of a tenant.
async fn fingerprint<S: TierStore>(store: &S, tenant: &TenantId, shelf: &Shelf) -> String {
    let all = Minute::of(day(-10))..Minute::of(day(1_000));
    let gateway = gateway();
    let rows = store.segments(tenant, &gateway, &machine(), all, Parts::All, 10_000).await.expect("works");
    let objects = store.objects(tenant, None, EVER).await.expect("works");
    let held: Vec<_> = objects
        .iter()
        .map(|object| TagDigest::of(&shelf.samples(&object.path, &machine(), TagNumber(0))))
        .collect();
    format!("{:?} {rows:?} {objects:?} {held:?}", store.usage(tenant, &gateway).await.expect("works"))
}

/// How many policies of one tenant are tried; each is a run of all of its moves.
pub(crate) async fn st2_no_policy_of_one_tenant_changes_what_another_has<L>(lab: &L, policies: u32)
where
    L: Laboratory<Store: PolicyStore>,
{
    let (store, shelf) = (plant(lab).await, Shelf::default());
    fill(&*store, 1, 0..3).await;
    let other = TenantId::new("other").expect("valid");
    store.add_tenant(Tenant { id: other.clone(), name: "Other".to_owned() }).await.expect("new");
    // The other one has the same: gateway, machine, minutes.
    let catalogue = catalogue(EPOCH, &[(1, "pressure", protocol::TagRole::Plain)]);
    let bytes = bytes::Bytes::from(catalogue.encode());
    store
        .save_catalogue(&other, &gateway(), std::sync::Arc::new(catalogue), bytes, at(0))
        .await
        .expect("works");
    let batches = batches_of(1, 0..3).into_iter().map(|batch| (protocol::StreamId::Telemetry, batch));
    store.apply(&other, set_of(batches)).await.expect("works");
    let all = Minute::of(day(0))..Minute::of(day(9));
    let rows = store.segments(&tenant(), &gateway(), &machine(), all, Parts::All, 99).await.expect("works");
    let segments = rows.into_iter().map(|row| tiering::SegmentWrite {
        count: 4,
        head: row.head.to_vec(),
        body: row.body.map(|body| body.to_vec()),
        late: None,
        key: row.key,
    });
    let base = store.revision(&other, &gateway()).await.expect("works");
    let segments = segments.collect();
    let set = SealSet { gateway: gateway(), base, epoch: EPOCH, through: seq(9), segments, latest: None };
    store.seal(&other, set).await.expect("sealed");
    let expected = fingerprint(&*store, &other, &shelf).await;

    let mut runner = TestRunner::new(Config { cases: 1, failure_persistence: None, ..Config::default() });
    let periods = (2_u32..40, 0_u32..40, 0_u32..40, 0_u32..40, 1_i64..120);
    let mut version = 0;
    for _ in 0..policies {
        let tree = periods.new_tree(&mut runner).expect("a case");
        let (days, minutes, hours, archive, now) = proptest::strategy::ValueTree::current(&tree);
        let samples = days * DAY;
        let minutes = samples + minutes * DAY;
        let keep =
            Keep { samples, minutes, hours: minutes + hours * DAY, archive: Some(samples + archive * DAY) };
        let policy = kept(keep);
        let saved = HoldAct { by: "anna".to_owned(), at: at(0), reason: "a try".to_owned() };
        let next = store.save_policy(&tenant(), version, policy.clone(), saved).await.expect("works");
        version = next.expect("nobody else saves");
        let plan = planned(&*store, &policy, day(now)).await;
        for (m, outcome) in make_all((&*store, &shelf), &policy, &plan, day(now)).await {
            assert!(outcome.is_ok(), "{}: {outcome:?}", m.action.name());
        }
    }
    assert_eq!(fingerprint(&*store, &other, &shelf).await, expected);
    assert_eq!(store.policies(&other, 1).await.expect("works"), []);
    let mine = store.usage(&tenant(), &gateway()).await.expect("works");
    assert!(mine.iter().all(|day| day.bodies == 0), "the policies did something: {mine:?}");
}
