use proptest::prelude::*;

use super::*;
use crate::{HoldAct, HoldId, HoldScope, ObjectId, YEAR};

const MB: u64 = 1 << 20;

/// The start of a day, counted from the first day of the tests.
fn at(day: i64) -> Timestamp {
    Timestamp::from_micros((20_000 + day) * 86_400_000_000)
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

fn gateway() -> GatewayId {
    GatewayId::new("gw-1").expect("valid")
}

/// A day with 1,440 segments, of which so many are archived.
fn usage(day: i64, archived: u64) -> DayUsage {
    DayUsage {
        start: at(day),
        segments: 1_440,
        samples: 86_400,
        head_bytes: 144_000,
        bodies: 1_440,
        body_bytes: 200_000,
        archived,
        late: 0,
        late_bytes: 0,
        hours: 24,
        hour_bytes: 2_400,
    }
}

/// A verified object.
fn object(id: u64, days: Range<i64>, bytes: u64) -> ObjectRow {
    ObjectRow {
        id: ObjectId(id),
        gateway: gateway(),
        start: at(days.start),
        end: at(days.end),
        path: format!("{id}"),
        state: ObjectState::Verified,
        samples: 86_400,
        bytes,
        sha256: [0; 32],
        directory: bytes::Bytes::new(),
        changed_at: at(days.end),
    }
}

fn tiers(usage: Vec<DayUsage>, objects: Vec<ObjectRow>) -> GatewayTiers {
    GatewayTiers {
        gateway: gateway(),
        classes: vec![TagKind::Analog],
        usage,
        objects,
        is_sealing_behind: false,
        journal: Vec::new(),
    }
}

fn hold(days: Range<i64>) -> Hold {
    let scope = HoldScope { gateway: None, machine: None, start: at(days.start), end: at(days.end) };
    let placed = HoldAct { by: "anna".to_owned(), at: at(0), reason: "claim".to_owned() };
    Hold { id: HoldId(1), scope, placed, released: None }
}

fn plan_of(now: Timestamp, holds: &[Hold], tiers: &GatewayTiers) -> Plan {
    plan(now, &Policy::default(), holds, tiers, 0)
}

/// Names and ranges, in days.
fn short(plan: &Plan) -> Vec<(&'static str, Range<i64>)> {
    let days = |at: Timestamp| at.micros().div_euclid(86_400_000_000) - 20_000;
    plan.moves.iter().map(|m| (m.action.name(), days(m.range.start)..days(m.range.end))).collect()
}

#[test]
fn a_day_is_archived_once_it_is_closed_for_long_enough() {
    let tiers = tiers(vec![usage(0, 0), usage(1, 0)], Vec::new());
    let early = plan_of(at(1).plus(hours(6)).minus(Duration::from_secs(1)), &[], &tiers);
    assert_eq!((short(&early), early.next_at), (vec![], Some(at(1).plus(hours(6)))));
    let due = plan_of(at(1).plus(hours(6)), &[], &tiers);
    assert_eq!((short(&due), due.next_at), (vec![("archive", 0..1)], Some(at(2).plus(hours(6)))));
    assert_eq!((due.moves[0].rows, due.moves[0].bytes), (86_400, 200_000));
    let behind = GatewayTiers { is_sealing_behind: true, ..tiers };
    assert_eq!(short(&plan_of(at(3), &[], &behind)), [], "what waits may belong to these days");
}

#[test]
fn an_object_whose_days_got_late_data_is_written_again_as_a_whole() {
    let objects = vec![object(1, 0..3, 9 * MB), object(2, 3..4, 9 * MB)];
    let late = DayUsage { late: 2, late_bytes: 500, bodies: 0, body_bytes: 0, ..usage(1, 1_438) };
    let tiers = tiers(vec![usage(0, 1_440), late, usage(3, 1_440)], objects.clone());
    let plan = plan_of(at(5), &[], &tiers);
    assert_eq!(short(&plan), [("rewrite", 0..3)]);
    assert_eq!(plan.moves[0].action, Action::Rewrite(objects[0].clone()));
    let soon = plan_of(at(3).plus(hours(5)), &[], &tiers);
    assert!(short(&soon).is_empty(), "it was written five hours ago: {soon:?}");
    assert_eq!(soon.next_at, Some(at(3).plus(hours(6))));
    let behind = GatewayTiers { is_sealing_behind: true, ..tiers };
    assert_eq!(short(&plan_of(at(5), &[], &behind)), []);
}

#[test]
fn st10_small_objects_are_joined_when_they_fill_one_and_not_before() {
    let small = |count: i64, bytes: u64| {
        let objects = (0..count).map(|n| object(n.cast_unsigned(), n..n + 1, bytes)).collect();
        tiers(Vec::new(), objects)
    };
    assert_eq!(short(&plan_of(at(100), &[], &small(7, MB))), [], "together they are too small");
    assert_eq!(short(&plan_of(at(100), &[], &small(8, MB))), [("compact", 0..8)]);
    assert_eq!(short(&plan_of(at(100), &[], &small(17, MB))), [("compact", 0..8), ("compact", 8..16)]);
    assert_eq!(short(&plan_of(at(100), &[], &small(31, 1_000))), [], "the 31 days are not over");
    assert_eq!(short(&plan_of(at(100), &[], &small(32, 1_000))), [("compact", 0..31)]);
    let rare = plan(at(100), &Policy::default(), &[], &small(8, MB), 200);
    assert_eq!((short(&rare), rare.next_at), (vec![], Some(at(201))), "deleting them early costs as much");
    let mut between = small(8, MB);
    between.objects.remove(3);
    between.objects.push(object(9, 8..9, MB));
    between.usage = vec![usage(3, 0)];
    let first = short(&plan_of(at(20), &[], &between));
    assert_eq!(first, [("archive", 3..4)], "a day came late in between");
}

#[test]
fn what_is_older_than_the_policy_asks_goes_once_it_is_settled() {
    let days = vec![usage(0, 1_440), usage(1, 1_440), usage(2, 1_439), usage(3, 1_440)];
    let objects = (0_i64..4).map(|n| object(n.cast_unsigned(), n..n + 1, 9 * MB)).collect();
    let mut tiers = tiers(days, objects);
    let behind = GatewayTiers { is_sealing_behind: true, ..tiers.clone() };
    let plan = plan_of(at(33), &[], &behind);
    assert_eq!(
        short(&plan),
        [("drop_bodies", 0..2)],
        "the third is not settled and the fourth not old enough"
    );
    assert_eq!((plan.moves[0].rows, plan.moves[0].bytes), (2_880, 400_000));
    assert_eq!(plan.next_at, Some(at(34)));
    assert_eq!(
        short(&plan_of(at(33), &[], &tiers)),
        [("rewrite", 2..3), ("drop_bodies", 0..3)],
        "it is settled by then"
    );
    tiers.usage.iter_mut().for_each(|usage| usage.archived = 1_440);
    let years = |count: u32| at(1).plus(count * YEAR);
    assert_eq!(short(&plan_of(years(2), &[], &tiers)), [("drop_minutes", 0..1), ("drop_bodies", 1..4)]);
    let ten = plan_of(years(10), &[], &tiers);
    assert_eq!(short(&ten), [("drop_minutes", 0..4), ("drop_hours", 0..1), ("retire", 0..1)]);
    assert_eq!(ten.moves[0].bytes, 4 * 344_000);
}

#[test]
fn nothing_in_a_hold_is_dropped() {
    let days = (0..5).map(|n| usage(n, 1_440)).collect();
    let objects: Vec<_> = (0_i64..5).map(|n| object(n.cast_unsigned(), n..n + 1, 9 * MB)).collect();
    let mut tiers = tiers(days, objects);
    tiers.journal = vec![(at(2), Dropped { rows: 3, bytes: 300 }), (at(3), Dropped { rows: 1, bytes: 10 })];
    tiers.objects.push(ObjectRow { state: ObjectState::Superseded, ..object(8, 2..3, MB) });
    tiers.objects.push(ObjectRow { state: ObjectState::Writing, ..object(9, 2..3, MB) });
    let late = at(10).plus(10 * YEAR);
    let held = plan_of(late, &[hold(2..3)], &tiers);
    let touches = held.moves.iter().filter(|m| overlap(&m.range, &(at(2)..at(3))));
    assert_eq!(touches.map(|m| m.action.name()).collect::<Vec<_>>(), ["delete"], "the half written one");
    let drops = ["drop_minutes", "drop_hours"].map(|name| [(name, 0..2), (name, 3..5)]).concat();
    assert_eq!(short(&held)[..4], drops);
    let free = plan_of(late, &[], &tiers);
    assert_eq!(short(&free)[..3], [("drop_minutes", 0..5), ("drop_hours", 0..5), ("drop_journal", 2..4)]);
    assert_eq!(free.moves[2].rows, 4);
    assert_eq!(free.moves.iter().filter(|m| m.action.name() == "retire").count(), 5);
}

#[test]
fn an_object_that_nobody_needs_is_deleted_after_a_grace() {
    let gone = ObjectRow { state: ObjectState::Superseded, ..object(1, 0..1, MB) };
    let tiers = tiers(Vec::new(), vec![gone]);
    let changed = at(1);
    let early = plan_of(changed.plus(hours(1)).minus(Duration::from_secs(1)), &[], &tiers);
    assert_eq!((short(&early), early.next_at), (vec![], Some(changed.plus(hours(1)))));
    assert_eq!(short(&plan_of(changed.plus(hours(1)), &[], &tiers)), [("delete", 0..1)]);
}

#[test]
fn a_run_writes_a_bounded_number_of_objects_and_says_that_more_follows() {
    let tiers = tiers((0..100).map(|n| usage(n, 0)).collect(), Vec::new());
    let plan = plan_of(at(200), &[], &tiers);
    let written = plan.moves.iter().filter(|m| m.action.writes()).count();
    assert_eq!((written, plan.is_cut, plan.next_at), (WRITES_MAX, true, None));
    assert_eq!(
        short(&plan).last(),
        Some(&("drop_bodies", 0..40)),
        "of those that are not written nothing goes"
    );
}

proptest! {
    /// Against a model that looks at each day alone.
    #[test]
    fn no_day_is_dropped_that_is_young_held_or_in_no_object(
        now in 0_i64..1_000,
        days in proptest::collection::btree_map(0_i64..900, (any::<bool>(), 0_u64..3), 0..30),
        held in 0_i64..900, length in 0_i64..40,
        samples in 2_u32..100,
    ) {
        let list: Vec<_> = days.iter().map(|(day, (settled, late))| {
            let archived = if *settled { 1_440 } else { 1_000 };
            DayUsage { late: *late, ..usage(*day, archived) }
        }).collect();
        let objects = days.keys().map(|day| object(day.cast_unsigned(), *day..day + 1, 9 * MB)).collect();
        let tiers = GatewayTiers { is_sealing_behind: true, ..tiers(list, objects) };
        let keep = Keep { samples: samples * crate::DAY, ..Keep::DEFAULT };
        let policy = Policy::default().with(TagKind::Analog, keep);
        let holds = [hold(held..held + length)];
        let plan = plan(at(now), &policy, &holds, &tiers, 0);
        let mut dropped: Vec<i64> = Vec::new();
        for (name, range) in short(&plan) {
            prop_assert!(["drop_bodies", "drop_minutes"].contains(&name), "{}", name);
            dropped.extend(range);
        }
        let expected: Vec<i64> = days.iter().filter(|(day, (settled, late))| {
            let is_held = **day < held + length && held < **day + 1;
            *settled && *late == 0 && !is_held && **day + 1 + i64::from(samples) <= now
        }).map(|(day, _)| *day).collect();
        prop_assert_eq!(dropped, expected);
    }
}
