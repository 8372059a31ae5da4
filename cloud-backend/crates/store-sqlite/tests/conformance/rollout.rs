//! Updates of agents in waves, what is desired of gateways, and what they say about it.

use std::time::Duration;

use plant_model::{GatewayId, TenantId};
use protocol::*;
use rollouts::*;
use tenancy::{StoreError, TenancyStore, Tenant};

use super::Laboratory;
use super::fixture::*;

fn name(text: &str) -> GatewayName {
    text.parse().expect("a name")
}

fn version(text: &str) -> AgentVersion {
    AgentVersion::new(text).expect("a version")
}

fn plan(to: &str) -> Plan {
    Plan {
        version: version(to),
        channel: UpdateChannel::new("beta").expect("a channel"),
        waves: "2,50%,100%".parse().expect("waves"),
        gate: Gate::new(Duration::from_millis(1_500), 3, Duration::from_secs(60), Duration::from_secs(7_200))
            .expect("a gate"),
        author: "olga\0".to_owned(),
        comment: "because \\ of 7".to_owned(),
        created_at: at(1),
    }
}

fn new(to: &str, gateways: &[&str]) -> NewRollout {
    NewRollout { plan: plan(to), gateways: gateways.iter().map(|text| name(text)).collect() }
}

/// Two tenants with gateways `acme/gw-1`, `acme/gw-2`, `globex/gw-1`.
async fn prepare(store: &impl TenancyStore) {
    add_tenant(store).await;
    let globex = TenantId::new("globex").expect("valid");
    store.add_tenant(Tenant { id: globex.clone(), name: "Globex".to_owned() }).await.expect("new");
    for (tenant, gateway) in [(tenant(), "gw-1"), (tenant(), "gw-2"), (globex, "gw-1")] {
        store.add_gateway(tenant, GatewayId::new(gateway).expect("valid")).await.expect("new");
    }
}

async fn start(store: &impl RolloutStore, new: NewRollout) -> Rollout {
    store.start_rollout(new).await.expect("works").expect("no conflict")
}

fn change(rollout: &Rollout, state: RolloutState, reason: &str) -> Change {
    let progress =
        Progress { state, wave: 1, reason: reason.to_owned(), changed_at: at(5), ..rollout.progress.clone() };
    Change {
        rollout: rollout.id,
        on: rollout.revision,
        progress,
        members: Vec::new(),
        wishes: Vec::new(),
        at: at(5),
    }
}

fn wish(gateway: &str, to: Option<&str>) -> WishChange {
    WishChange { gateway: name(gateway), version: to.map(version), channel: UpdateChannel::default() }
}

async fn apply(store: &impl RolloutStore, change: Change) {
    store.change_rollout(change).await.expect("works").expect("no conflict");
}

pub(crate) async fn a_rollout_and_what_happened_to_it_are_there_after_opening_again<L>(lab: &L)
where
    L: Laboratory<Store: RolloutStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let rollout = start(&*store, new("2.0.0", &["globex/gw-1", "acme/gw-2", "acme/gw-1"])).await;
    assert_eq!((rollout.id.get(), rollout.revision, rollout.told()), (1, 0, 0));
    let told =
        Member { wave: Some(0), former: Some(version("1.0.0")), excused: true, ..rollout.members[1].clone() };
    let changed = Change {
        members: vec![(1, told.clone())],
        wishes: vec![wish("acme/gw-2", Some("2.0.0"))],
        ..change(&rollout, RolloutState::Paused, "1 failed\0: \\")
    };
    apply(&*store, changed.clone()).await;
    drop(store);
    let store = lab.open();
    let found = store.rollout(rollout.id).await.expect("works").expect("is there");
    let mut expected = Rollout { progress: changed.progress.clone(), revision: 1, ..rollout.clone() };
    expected.members[1] = told;
    assert_eq!(found, expected);
    assert_eq!(store.unfinished_rollouts().await.expect("works"), [rollout.id]);
    let summary = RolloutSummary {
        id: rollout.id,
        plan: rollout.plan.clone(),
        progress: changed.progress,
        gateways: 3,
        told: 1,
    };
    assert_eq!(store.newest_rollouts(10).await.expect("works"), [summary]);
    apply(&*store, change(&found, RolloutState::Completed, "")).await;
    assert_eq!(store.unfinished_rollouts().await.expect("works"), []);
    let second = start(&*store, new("3.0.0", &["acme/gw-1"])).await;
    assert_eq!(second.id.get(), 2);
    let newest = store.newest_rollouts(1).await.expect("works");
    assert_eq!(newest.iter().map(|summary| summary.id.get()).collect::<Vec<_>>(), [2]);
    let nobody = RolloutId::new(9).expect("above 0");
    assert_eq!(store.rollout(nobody).await.expect("works"), None);
    let gone = Change { rollout: nobody, ..change(&found, RolloutState::Paused, "") };
    let unknown = store.change_rollout(gone).await.expect_err("there is none");
    assert!(matches!(unknown, StoreError::NotFound { kind: "rollout", .. }), "{unknown:?}");
}

pub(crate) async fn a_gateway_is_in_one_unfinished_rollout_at_most<L>(lab: &L)
where
    L: Laboratory<Store: RolloutStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let first = start(&*store, new("2.0.0", &["acme/gw-1", "acme/gw-2"])).await;
    let taken = Conflict::Taken { gateway: name("acme/gw-2"), rollout: first.id };
    let second = store.start_rollout(new("3.0.0", &["globex/gw-1", "acme/gw-2"])).await.expect("works");
    assert_eq!(second.expect_err("taken"), taken);
    assert_eq!(store.newest_rollouts(10).await.expect("works").len(), 1, "nothing of it is left");
    apply(&*store, change(&first, RolloutState::Completed, "")).await;
    let second = start(&*store, new("3.0.0", &["globex/gw-1", "acme/gw-2"])).await;
    let first = store.rollout(first.id).await.expect("works").expect("is there");
    let again = store.change_rollout(change(&first, RolloutState::Running, "back")).await.expect("works");
    assert_eq!(again, Err(Conflict::Taken { gateway: name("acme/gw-2"), rollout: second.id }));
    apply(&*store, change(&second, RolloutState::Aborted, "")).await;
    apply(&*store, change(&first, RolloutState::Running, "back")).await;
    let unknown = store.start_rollout(new("4.0.0", &["globex/gw-9"])).await.expect_err("unknown");
    assert!(
        matches!(&unknown, StoreError::NotFound { kind: "gateway", id } if id == "globex/gw-9"),
        "{unknown:?}"
    );
}

pub(crate) async fn of_two_who_change_a_rollout_at_a_time_the_second_looks_again<L>(lab: &L)
where
    L: Laboratory<Store: RolloutStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let rollout = start(&*store, new("2.0.0", &["acme/gw-1"])).await;
    let told = Change {
        wishes: vec![wish("acme/gw-1", Some("2.0.0"))],
        ..change(&rollout, RolloutState::Running, "told")
    };
    let outcomes = tokio::join!(
        store.change_rollout(told),
        store.change_rollout(Change {
            wishes: vec![wish("acme/gw-1", None)],
            ..change(&rollout, RolloutState::Aborted, "aborted")
        })
    );
    let outcomes = [outcomes.0.expect("works"), outcomes.1.expect("works")];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.contains(&Err(Conflict::Moved)), "{outcomes:?}");
    let standing = store.update_standing(&tenant(), &gateway()).await.expect("works").expect("is there");
    assert_eq!(standing.wish.expect("one of them").revision.get(), 1, "the other one changed nothing");
}

pub(crate) async fn each_wish_has_the_next_number_and_the_last_report_stands<L>(lab: &L)
where
    L: Laboratory<Store: RolloutStore>,
{
    let store = lab.open();
    prepare(&*store).await;
    let mut rollout = start(&*store, new("2.0.0", &["acme/gw-1", "globex/gw-1"])).await;
    for (number, to) in [(1, Some("2.0.0")), (2, None), (3, Some("2.0.0"))] {
        let wishes = vec![wish("acme/gw-1", to)];
        apply(&*store, Change { wishes, ..change(&rollout, RolloutState::Running, "") }).await;
        rollout = store.rollout(rollout.id).await.expect("works").expect("is there");
        let standing = store.update_standing(&tenant(), &gateway()).await.expect("works").expect("is there");
        let expected = Wish {
            revision: UpdateRevision::new(number).expect("above 0"),
            version: to.map(version),
            channel: UpdateChannel::default(),
            rollout: rollout.id,
            wished_at: at(5),
        };
        assert_eq!((standing.wish, standing.received), (Some(expected.clone()), None));
        let wishes = store.wishes(&tenant()).await.expect("works");
        let listed = if to.is_some() { vec![(gateway(), expected)] } else { Vec::new() };
        assert_eq!(wishes, listed);
    }
    let said = |state, detail: &str, seconds| {
        let report = UpdateReport {
            running: version("1.0.0"),
            channel: UpdateChannel::default(),
            desired: None,
            state,
            detail: detail.to_owned(),
            at: at(0),
        };
        ReceivedUpdate { report, received_at: at(seconds), since: at(seconds - 1) }
    };
    let last = said(UpdateState::RolledBack, "gave\0up", 7);
    for received in [said(UpdateState::Installing, "", 6), last.clone()] {
        store.save_update_report(tenant(), gateway(), received).await.expect("works");
    }
    drop(store);
    let store = lab.open();
    let all = store.update_standings(&tenant()).await.expect("works");
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0].0, &all[0].1.received), (&gateway(), &Some(last)));
    assert!(all[0].1.is_behind() && all[0].1.desired().is_some());
    assert_eq!(all[1].1, UpdateStanding::default());
    let nobody = TenantId::new("nobody").expect("valid");
    assert_eq!(store.update_standings(&nobody).await.expect("works"), []);
    assert_eq!(store.update_standing(&nobody, &gateway()).await.expect("works"), None);
    let unknown = store.save_update_report(nobody, gateway(), said(UpdateState::Idle, "", 9)).await;
    let unknown = unknown.expect_err("unknown");
    assert!(matches!(unknown, StoreError::NotFound { kind: "gateway", .. }), "{unknown:?}");
    let standings = standings_of(&*store, &rollout).await.expect("works");
    assert_eq!(standings.iter().map(|s| s.received.is_some()).collect::<Vec<_>>(), [true, false]);
}
