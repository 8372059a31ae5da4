//! What a restart keeps.

use alarm_engine::{AlarmSnapshot, Snapshot};
use plant_model::TransitionCause::{Raised, Removed, ReturnedToNormal, ShelveExpired, Unsuppressed};
use plant_model::*;

use crate::support::*;

fn rule() -> AlarmDefinition {
    AlarmDefinition { acknowledge: AcknowledgeClass::Required, ..high("a", 80.0, 2.0) }
}

/// Stops one engine and starts the next, `down` seconds later by the wall clock.
fn restart(bench: &Bench, definition: AlarmDefinition, down: u64) -> Bench {
    let snapshot = bench.engine.snapshot(bench.now);
    Bench::restored(vec![definition], &snapshot, bench.wall().plus(seconds(down)))
}

#[test]
fn d3_every_state_survives_a_restart() {
    let latching = AlarmDefinition { latching: true, ..rule() };
    let ack = AlarmCommand::Acknowledge;
    let shelve = AlarmCommand::Shelve { duration: seconds(600) };
    let out = AlarmCommand::TakeOutOfService { review_at: None };
    let cases: [(&str, AlarmDefinition, &[f64], Option<AlarmCommand>); 8] = [
        ("NORM", rule(), &[70.0], None),
        ("UNACK", rule(), &[81.0], None),
        ("ACKED", rule(), &[81.0], Some(ack)),
        ("RTNUN", rule(), &[81.0, 70.0], None),
        ("LTUNK", latching.clone(), &[81.0, 70.0], None),
        ("LTACK", latching, &[81.0, 70.0], Some(ack)),
        ("SHLVD", rule(), &[81.0], Some(shelve)),
        ("OOSRV", rule(), &[81.0], Some(out)),
    ];
    for (state, definition, values, command) in cases {
        let mut bench = Bench::new(vec![definition.clone()]);
        for value in values {
            bench.value(*value);
        }
        if let Some(command) = command {
            bench.does("a", command);
        }
        let mut after = restart(&bench, definition, 10);
        assert_eq!(after.state("a"), state);
        after.value(*values.last().expect("one")).wait(1_000);
        assert_eq!((after.state("a"), after.causes()), (state, vec![]), "no false step");
    }
}

#[test]
fn an_active_alarm_goes_on_with_its_number_and_returns_when_the_process_does() {
    let mut bench = Bench::new(vec![rule()]);
    bench.value(81.0).value(70.0).value(81.0);
    let mut after = restart(&bench, rule(), 10);
    assert_eq!(after.value(79.0).causes(), [], "in the deadband it stays what it was");
    after.value(78.0).value(81.0);
    let steps: Vec<_> = after.tape.iter().map(|t| (t.cause, t.occurrence)).collect();
    assert_eq!(steps, [(ReturnedToNormal, 2), (Raised, 3)]);
}

#[test]
fn a_delay_waits_for_its_rest_after_a_restart_once_the_process_is_seen() {
    let delayed = AlarmDefinition { on_delay: seconds(10), off_delay: seconds(10), ..rule() };
    let mut bench = Bench::new(vec![delayed.clone()]);
    bench.value(81.0).wait(6_000);
    let mut after = restart(&bench, delayed.clone(), 3_600);
    assert_eq!(after.wait(60_000).causes(), [], "nothing is known of the process");
    assert_eq!(after.value(79.0).wait(3_999).causes(), [], "in the deadband it is as it was");
    assert_eq!(after.wait(1).causes(), [Raised]);
    after.value(70.0).wait(6_000);
    let mut again = restart(&after, delayed, 3_600);
    assert_eq!(again.value(79.0).wait(3_999).causes(), []);
    assert_eq!(again.wait(1).causes(), [ReturnedToNormal]);
}

#[test]
fn a_shelf_ends_at_its_hour_and_no_later_than_the_rest_of_its_time_whatever_the_clock_says() {
    let shelve = AlarmCommand::Shelve { duration: seconds(600) };
    let shelved = |down| {
        let mut bench = Bench::new(vec![rule()]);
        bench.does("a", shelve);
        restart(&bench, rule(), down)
    };
    let mut soon = shelved(100);
    assert_eq!(soon.wait(499_999).causes(), []);
    assert_eq!(soon.wait(1).causes(), [ShelveExpired]);
    assert_eq!(shelved(601).causes(), [ShelveExpired]);
    let mut bench = Bench::new(vec![rule()]);
    bench.wall_error = 1_000_000;
    bench.does("a", shelve).wait(400_000);
    let mut snapshot = bench.engine.snapshot(bench.now);
    let an_hour_ago = Timestamp::from_micros(bench.wall().micros() - 3_600_000_000);
    let ends_after = |snapshot: &Snapshot, millis: u64| {
        let mut back = Bench::restored(vec![rule()], snapshot, an_hour_ago);
        back.wait(millis - 1);
        assert_eq!(back.state("a"), "SHLVD");
        assert_eq!(back.wait(1).causes(), [ShelveExpired]);
    };
    ends_after(&snapshot, 200_000);
    snapshot.alarms.get_mut("a").expect("kept").timers.shelf_left = None;
    // Nobody noted the rest: the hour counts, and at most the longest time that it may last.
    ends_after(&snapshot, 3_800_000);
    let until = Some(bench.wall().plus(seconds(100 * 3_600)));
    snapshot.alarms.get_mut("a").expect("kept").flags.shelved_until = until;
    ends_after(&snapshot, 8 * 3_600_000);
}

#[test]
fn what_runs_is_told_in_steps_of_a_thirty_second_and_never_makes_a_timer_shorter() {
    let slow = AlarmDefinition { on_delay: seconds(32), re_alarm: Some(seconds(64)), ..rule() };
    let quick = AlarmDefinition { id: alarm("b"), ..rule() };
    let mut bench = Bench::new(vec![slow, quick]);
    assert_eq!(bench.engine.running(bench.now).count(), 0);
    let running = |bench: &Bench| bench.engine.running(bench.now).map(|(_, kept)| kept.timers).next();
    bench.value(81.0).wait(5_999);
    assert_eq!(running(&bench).expect("runs").delay_passed, Some(seconds(5)));
    bench.wait(26_001).does("a", AlarmCommand::Acknowledge).wait(3_000);
    assert_eq!(running(&bench).expect("runs").re_alarm_in, Some(seconds(62)));
    bench.does("a", AlarmCommand::Shelve { duration: seconds(1_000) });
    let timers = running(&bench).expect("runs");
    assert_eq!((timers.re_alarm_in, timers.shelf_left), (None, Some(seconds(1_800))));
    bench.does("a", AlarmCommand::Unshelve);
    assert_eq!(running(&bench), None);
}

#[test]
fn a_re_alarm_waits_for_its_rest() {
    let again = AlarmDefinition { re_alarm: Some(seconds(900)), ..rule() };
    let mut bench = Bench::new(vec![again.clone()]);
    bench.value(81.0).does("a", AlarmCommand::Acknowledge).wait(600_000);
    let calls_after = |mut after: Bench, millis: u64| {
        after.value(81.0).wait(millis - 1);
        assert_eq!(after.state("a"), "ACKED");
        after.wait(1);
        assert_eq!(after.state("a"), "UNACK");
    };
    calls_after(restart(&bench, again.clone(), 10), 300_000);
    let mut snapshot = bench.engine.snapshot(bench.now);
    snapshot.alarms.get_mut("a").expect("kept").timers.re_alarm_in = None;
    calls_after(Bench::restored(vec![again], &snapshot, bench.wall()), 900_000);
}

#[test]
fn an_alarm_whose_gate_is_configured_no_longer_comes_out_from_under_it() {
    let gated = AlarmDefinition { suppress_while: Some("state != 0".into()), ..rule() };
    let mut bench = Bench::new(vec![gated.clone()]);
    bench.value(81.0).set("state", Value::Int(1));
    assert_eq!(restart(&bench, gated, 1).state("a"), "DSUPR");
    let mut after = restart(&bench, rule(), 1);
    assert_eq!((after.causes(), after.state("a")), (vec![Unsuppressed], "UNACK"));
}

#[test]
fn a_command_that_was_answered_before_a_restart_is_not_carried_out_again() {
    let mut bench = Bench::new(vec![rule()]);
    bench.value(81.0).command_with("a", AlarmCommand::Acknowledge, "c-1").expect("allowed");
    let mut after = restart(&bench, rule(), 1);
    after.command_with("a", AlarmCommand::Acknowledge, "c-1").expect("the answer it had");
    assert_eq!(after.causes(), []);
}

#[test]
fn a_stale_value_stays_stale_until_it_changes() {
    let stale = define("a", AlarmCondition::Stale { tag: tag("t"), after: seconds(10) });
    let mut bench = Bench::new(vec![stale.clone()]);
    bench.value(7.0).wait(10_000);
    assert_eq!(bench.state("a"), "UNACK");
    let mut after = restart(&bench, stale, 1);
    assert_eq!(after.value(7.0).wait(60_000).causes(), []);
    assert_eq!(after.value(8.0).causes(), [ReturnedToNormal]);
}

#[test]
fn a_snapshot_of_an_alarm_that_is_gone_or_unknown_does_no_harm() {
    let other = AlarmSnapshot { occurrence: 9, ..AlarmSnapshot::default() };
    let snapshot = Snapshot { alarms: [(alarm("gone"), other)].into(), commands: Vec::new() };
    let mut bench = Bench::restored(vec![rule()], &snapshot, Timestamp::from_micros(2_000_000_000));
    bench.value(81.0);
    assert_eq!(bench.tape[0].occurrence, 1);
}

#[test]
fn an_alarm_that_is_configured_no_longer_is_closed_whatever_it_was_and_keeps_its_number() {
    let shelve = AlarmCommand::Shelve { duration: seconds(600) };
    let out = AlarmCommand::TakeOutOfService { review_at: None };
    for (from, command) in [("UNACK", None), ("SHLVD", Some(shelve)), ("OOSRV", Some(out))] {
        let mut bench = Bench::new(vec![rule(), high("b", 80.0, 2.0), high("quiet", 200.0, 2.0)]);
        bench.value(81.0);
        if let Some(command) = command {
            bench.does("a", command);
        }
        bench.tape.clear();
        let (kept, wall) = (bench.engine.snapshot(bench.now), bench.wall());
        bench.engine.retire(|alarm| alarm.as_str() == "b", wall, &mut bench.tape);
        let steps: Vec<_> =
            bench.tape.iter().map(|t| (t.alarm.as_str(), t.cause, t.from.mnemonic())).collect();
        assert_eq!(steps, [("a", Removed, from)], "not what stays, and not what was normal");
        let closed = bench.tape[0].clone();
        assert_eq!((closed.to, closed.flags, closed.occurrence), (AlarmState::Normal, AlarmFlags::NORMAL, 1));
        assert_eq!((bench.state("a"), bench.state("b")), ("NORM", "UNACK"));
        assert_eq!(bench.wait(3_600_000).causes().len(), 1, "no shelf ends any more");

        let machine = bench.engine.machine().clone();
        let offline = kept.alarms[&closed.alarm].removed(&machine, &closed.alarm, wall).expect("it stood");
        assert_eq!((offline.from, offline.to, offline.occurrence), (closed.from, closed.to, 1));
        assert_eq!(kept.alarms[&alarm("quiet")].removed(&machine, &alarm("quiet"), wall), None);
    }
}
