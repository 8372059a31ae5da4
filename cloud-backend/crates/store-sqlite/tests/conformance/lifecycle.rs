//! Policies, holds, whose turn it is, and the end of the journal.

use std::time::Duration;

use fleet::{AlarmFilter, FleetStore};
use plant_model::{MachineId, TenantId, Timestamp, TransitionCause};
use protocol::StreamId;
use segments::TagKind;
use tenancy::{TenancyStore, Tenant};
use tiering::{
    DAY, Dropped, Hold, HoldAct, HoldId, HoldScope, Keep, Policy, PolicyConflict, PolicyStore, SavedPolicy,
};

use super::Laboratory;
use super::fixture::*;

const DAY_MICROS: i64 = 86_400_000_000;

fn act(second: i64, reason: &str) -> HoldAct {
    HoldAct { by: "anna".to_owned(), at: at(second * 1_000_000), reason: reason.to_owned() }
}

fn policy(days: u32) -> Policy {
    Policy::default().with(TagKind::State, Keep { samples: days * DAY, archive: None, ..Keep::DEFAULT })
}

pub(crate) async fn versions_of_a_policy_count_up_and_the_second_of_two_authors_is_told<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let store = lab.open();
    add_tenant(&*store).await;
    let tenant = tenant();
    assert_eq!(store.policies(&tenant, 10).await.expect("works"), []);
    let save = |replaces: u32, days: u32| {
        store.save_policy(&tenant, replaces, policy(days), act(i64::from(days), "because \\ and \0"))
    };
    assert_eq!(save(0, 40).await.expect("works"), Ok(1));
    assert_eq!(save(1, 50).await.expect("works"), Ok(2));
    assert_eq!(save(1, 60).await.expect("works"), Err(PolicyConflict { newest: 2 }));
    drop(store);
    let store = lab.open();
    let saved = |version: u32, days: u32| SavedPolicy {
        version,
        policy: policy(days),
        saved: act(i64::from(days), "because \\ and \0"),
    };
    let all = store.policies(&tenant, 10).await.expect("works");
    assert_eq!(all, [saved(2, 50), saved(1, 40)]);
    assert_eq!(store.policies(&tenant, 1).await.expect("works"), [saved(2, 50)]);
    let other = TenantId::new("other").expect("valid");
    store.add_tenant(Tenant { id: other.clone(), name: "Other".to_owned() }).await.expect("new");
    assert_eq!(store.policies(&other, 10).await.expect("works"), []);
    let nobody = TenantId::new("nobody").expect("valid");
    assert!(store.policies(&nobody, 1).await.is_err());
    assert!(store.save_policy(&nobody, 0, policy(40), act(0, "")).await.is_err());
}

pub(crate) async fn a_hold_is_in_force_until_its_release_and_both_stay_on_record<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let store = lab.open();
    add_tenant(&*store).await;
    let tenant = tenant();
    let narrow = HoldScope {
        gateway: Some(gateway()),
        machine: Some(MachineId::new("press-1").expect("valid")),
        start: at(0),
        end: at(5),
    };
    let wide = HoldScope { gateway: None, machine: None, ..narrow.clone() };
    let first = store.place_hold(&tenant, narrow.clone(), act(1, "claim")).await.expect("works");
    let second = store.place_hold(&tenant, wide.clone(), act(2, "audit")).await.expect("works");
    assert_ne!(first, second);
    assert!(store.release_hold(&tenant, first, act(3, "settled")).await.expect("works"));
    assert!(!store.release_hold(&tenant, first, act(4, "again")).await.expect("works"));
    assert!(!store.release_hold(&tenant, HoldId(99), act(4, "")).await.expect("works"));
    drop(store);
    let expected = [
        Hold { id: first, scope: narrow, placed: act(1, "claim"), released: Some(act(3, "settled")) },
        Hold { id: second, scope: wide, placed: act(2, "audit"), released: None },
    ];
    assert_eq!(lab.open().holds(&tenant).await.expect("works"), expected);
}

pub(crate) async fn one_has_the_turn_until_it_is_given_back_or_over<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let store = lab.open();
    add_tenant(&*store).await;
    let tenant = tenant();
    assert_eq!(store.turn(&tenant).await.expect("works"), None);
    let take = async |holder: &str, now: i64| {
        store.take_turn(&tenant, holder, at(now), at(now + 10)).await.expect("works")
    };
    assert!(take("one", 0).await);
    assert!(!take("two", 9).await, "it is not over");
    assert!(take("one", 9).await, "prolonged");
    assert!(!take("two", 18).await);
    store.end_turn(&tenant, "two", at(18), "not mine").await.expect("works");
    let turn = store.turn(&tenant).await.expect("works").expect("there is one");
    assert_eq!((turn.holder.as_str(), turn.until, turn.ended_at), ("one", at(19), None));
    assert!(take("two", 19).await, "it is over");
    assert!(!take("one", 20).await);
    store.end_turn(&tenant, "two", at(21), "done").await.expect("works");
    let turn = store.turn(&tenant).await.expect("works").expect("there is one");
    assert_eq!((turn.holder.as_str(), turn.ended_at, turn.outcome.as_str()), ("", Some(at(21)), "done"));
    assert!(take("one", 22).await);
}

pub(crate) async fn st14_the_journal_ends_by_days_and_what_is_active_stays<L>(lab: &L)
where
    L: Laboratory<Store: PolicyStore>,
{
    let store = lab.open();
    add_tenant(&*store).await;
    let (tenant, gateway) = (tenant(), gateway());
    save_catalogue(&*store, catalogue(EPOCH, &[]), 0).await;
    let day = |n: i64, cause: TransitionCause, occurrence: u64| transition(occurrence, cause, n * DAY_MICROS);
    use TransitionCause::{Raised, ReturnedToNormal};
    let steps = [
        vec![day(0, Raised, 1), day(0, ReturnedToNormal, 1)],
        vec![day(1, Raised, 2)],
        vec![day(2, ReturnedToNormal, 2)],
        vec![day(3, Raised, 3)],
    ];
    let batches: Vec<_> = (1_u64..).zip(steps).map(|(n, steps)| alarm_batch(EPOCH, n, steps)).collect();
    let sizes: Vec<u64> = batches.iter().map(|batch| batch.len() as u64).collect();
    send(&*store, StreamId::Alarm, batches.clone()).await;

    let first = Timestamp::from_micros(at(0).micros().div_euclid(DAY_MICROS) * DAY_MICROS);
    let start = |n: u32| first.plus(n * DAY);
    let end = start(3).plus(Duration::from_secs(86_399));
    let usage = store.journal_usage(&tenant, &gateway, end).await.expect("works");
    let of = |rows: u64, bytes: u64| Dropped { rows, bytes };
    assert_eq!(usage[..2], [(start(0), of(2, sizes[0])), (start(1), of(1, sizes[1]))]);
    assert_eq!(usage[3], (start(3), of(0, sizes[3])), "the third occurrence is active");
    assert_eq!(store.journal_usage(&tenant, &gateway, start(1)).await.expect("works"), usage[..1]);

    let dropped = store.drop_journal(&tenant, &gateway, start(0)..start(2)).await.expect("works");
    assert_eq!(dropped, of(3, sizes[0] + sizes[1]), "as it was told before");
    let again = store.drop_journal(&tenant, &gateway, start(0)..start(2)).await.expect("works");
    assert_eq!(again, Dropped::default());
    let left = store.journal(&tenant, 10, None).await.expect("works");
    assert_eq!(left.iter().map(|row| row.transition.occurrence).collect::<Vec<_>>(), [3, 2]);
    let rest = store.drop_journal(&tenant, &gateway, start(2)..start(4)).await.expect("works");
    assert_eq!(rest.rows, 1);
    let alarms = store.alarms(&tenant, AlarmFilter::All, 10, None).await.expect("works");
    assert_eq!(alarms.iter().map(|(row, _)| row.key.occurrence).collect::<Vec<_>>(), [3]);
    let resent = send(&*store, StreamId::Alarm, batches).await;
    assert_eq!(acked(&resent, StreamId::Alarm), 4);
    assert_eq!(store.journal(&tenant, 10, None).await.expect("works").len(), 1, "they are duplicates");
}
