//! What people and logic do to alarms.

use alarm_engine::Refusal;
use plant_model::TransitionCause as Cause;
use plant_model::*;

use crate::support::*;

const SHELVE: AlarmCommand = AlarmCommand::Shelve { duration: std::time::Duration::from_secs(600) };

fn waiting(id: &str) -> AlarmDefinition {
    AlarmDefinition { acknowledge: AcknowledgeClass::Required, ..high(id, 80.0, 0.0) }
}

#[test]
fn d3_an_alarm_that_must_be_acknowledged_waits_for_it_on_either_side_of_the_return() {
    let mut bench = Bench::new(vec![waiting("a")]);
    bench.value(81.0).value(79.0);
    assert_eq!(bench.state("a"), "RTNUN");
    bench.does("a", AlarmCommand::Acknowledge);
    assert_eq!(bench.state("a"), "NORM");
    bench.value(81.0).does("a", AlarmCommand::Acknowledge);
    assert_eq!(bench.state("a"), "ACKED");
    bench.value(79.0);
    assert_eq!(bench.state("a"), "NORM");
    let states: Vec<_> = bench.tape.iter().map(|t| (t.occurrence, t.to.mnemonic())).collect();
    assert_eq!(states, [(1, "UNACK"), (1, "RTNUN"), (1, "NORM"), (2, "UNACK"), (2, "ACKED"), (2, "NORM")]);
}

#[test]
fn d3_a_latching_alarm_is_held_until_it_is_acknowledged_and_reset() {
    let mut bench = Bench::new(vec![AlarmDefinition { latching: true, ..high("a", 80.0, 0.0) }]);
    bench.value(81.0).value(79.0);
    assert_eq!(bench.state("a"), "LTUNK");
    let refusal = bench.command("a", AlarmCommand::Reset).expect_err("not before it is acknowledged");
    assert_eq!(refusal.to_string(), "cannot reset a, which is latched, unacknowledged: acknowledge it first");
    bench.does("a", AlarmCommand::Acknowledge);
    assert_eq!(bench.state("a"), "LTACK");
    bench.does("a", AlarmCommand::Reset);
    assert_eq!(bench.state("a"), "NORM");
}

#[test]
fn a_transition_of_a_person_says_who_why_and_by_which_command() {
    let mut bench = Bench::new(vec![waiting("a")]);
    bench.value(81.0).tape.clear();
    bench.command_with("a", AlarmCommand::Acknowledge, "c-1").expect("allowed");
    let step = bench.tape.remove(0);
    let action = step.operation.expect("a person did it");
    assert_eq!((action.command.as_str(), action.actor.as_str()), ("c-1", "ada"));
    assert_eq!((step.cause, step.value, step.value_at), (Cause::Acknowledged, None, step.decided_at));
}

#[test]
fn a_repeated_command_gets_the_same_answer_and_is_carried_out_once() {
    let mut bench = Bench::new(vec![waiting("a"), waiting("b")]);
    bench.command_with("a", AlarmCommand::Acknowledge, "early").expect_err("it is normal");
    bench.value(81.0);
    assert!(bench.command_with("a", AlarmCommand::Acknowledge, "early").is_err(), "the answer it had");
    assert_eq!(bench.state("a"), "UNACK");
    for _ in 0..3 {
        bench.command_with("a", AlarmCommand::Acknowledge, "c-1").expect("allowed");
    }
    assert_eq!(bench.tape.iter().filter(|t| t.cause == Cause::Acknowledged).count(), 1);
    for (alarm, command) in [("b", AlarmCommand::Acknowledge), ("a", SHELVE)] {
        let refusal = bench.command_with(alarm, command, "c-1").expect_err("another command");
        assert!(matches!(refusal, Refusal::IdUsed { .. }), "{refusal}");
    }
}

#[test]
fn commands_without_sense_are_refused_with_a_reason() {
    let mut bench = Bench::new(vec![waiting("a")]);
    let long = AlarmCommand::Shelve { duration: seconds(9 * 3600) };
    assert_eq!(
        bench.command("a", long).expect_err("too long").to_string(),
        "a can be shelved for at most 28800s and more than zero, not for 32400s"
    );
    let none = AlarmCommand::Shelve { duration: seconds(0) };
    assert!(matches!(bench.command("a", none), Err(Refusal::ShelveTime { .. })));
    assert_eq!(
        bench.command("nobody", AlarmCommand::Acknowledge).expect_err("unknown").to_string(),
        "there is no alarm nobody"
    );
    let mut give = |actor: &str, comment: &str, key: &str| {
        let action = OperatorAction {
            command: CommandId::new(key).expect("valid"),
            actor: actor.into(),
            comment: comment.into(),
        };
        let (now, wall) = (bench.now, bench.wall());
        bench.engine.handle_command(&alarm("a"), &SHELVE, action, now, wall, &mut bench.tape)
    };
    assert!(matches!(give("ada", " ", "k1"), Err(Refusal::CommentMissing { .. })));
    assert!(matches!(give("", "why", "k2"), Err(Refusal::Text { field: "actor", .. })));
    let long = "x".repeat(1025);
    assert!(matches!(give("ada", &long, "k3"), Err(Refusal::Text { field: "comment", .. })));
    assert!(bench.tape.is_empty());
}

#[test]
fn d3_a_shelf_hides_the_alarm_for_its_time_while_the_process_goes_on_below() {
    let mut bench = Bench::new(vec![waiting("a")]);
    bench.does("a", SHELVE).value(81.0);
    let raised = bench.tape.last().expect("noted below the shelf");
    assert_eq!(
        (raised.cause, raised.from, raised.to),
        (Cause::Raised, AlarmState::Shelved, AlarmState::Shelved)
    );
    assert!(raised.flags.active && !raised.flags.acknowledged);
    bench.wait(599_999);
    assert_eq!(bench.state("a"), "SHLVD");
    bench.wait(1);
    assert_eq!(bench.state("a"), "UNACK");
    assert_eq!(bench.tape.last().map(|t| (t.cause, t.occurrence)), Some((Cause::ShelveExpired, 1)));
    bench.does("a", SHELVE).value(79.0).does("a", AlarmCommand::Unshelve);
    assert_eq!(bench.state("a"), "NORM");
}

#[test]
fn d3_out_of_service_hides_the_alarm_until_somebody_returns_it() {
    let mut bench = Bench::new(vec![waiting("a")]);
    let review_at = Some(bench.wall().plus(seconds(60)));
    bench.value(81.0).does("a", AlarmCommand::TakeOutOfService { review_at }).wait(86_400_000);
    assert_eq!(bench.state("a"), "OOSRV");
    assert_eq!(bench.tape.last().map(|t| t.flags.review_at), Some(review_at));
    bench.does("a", AlarmCommand::ReturnToService);
    assert_eq!(bench.tape.last().map(|t| t.flags.review_at), Some(None));
    assert_eq!(bench.state("a"), "UNACK");
}

#[test]
fn d3_an_alarm_is_suppressed_while_its_gate_is_true_and_unknown_moves_nothing() {
    let gated = AlarmDefinition { suppress_while: Some("state != 0".into()), ..waiting("a") };
    let mut bench = Bench::new(vec![gated]);
    bench.value(81.0).does("a", AlarmCommand::Acknowledge);
    bench.set("state", Value::Int(2));
    let suppressed = bench.tape.last().expect("a step");
    assert_eq!((suppressed.cause, suppressed.to.mnemonic()), (Cause::Suppressed, "DSUPR"));
    assert!(suppressed.flags.active && suppressed.flags.acknowledged, "kept below");
    bench.bad("state");
    assert_eq!(bench.state("a"), "DSUPR");
    bench.set("state", Value::Int(0));
    assert_eq!(bench.state("a"), "UNACK", "abnormal when the machine runs again: it calls");
    bench.set("state", Value::Int(2)).value(79.0).set("state", Value::Int(0));
    assert_eq!(bench.state("a"), "NORM");
}

#[test]
fn a_gate_and_a_limit_on_one_tag_suppress_before_they_raise() {
    let gated = AlarmDefinition { suppress_while: Some("t > 100".into()), ..waiting("a") };
    let mut bench = Bench::new(vec![gated]);
    bench.value(101.0);
    let steps: Vec<_> = bench.tape.iter().map(|t| (t.cause, t.to.mnemonic())).collect();
    assert_eq!(steps, [(Cause::Suppressed, "DSUPR"), (Cause::Raised, "DSUPR")]);
}

#[test]
fn an_acknowledged_alarm_that_still_stands_calls_again() {
    let again = AlarmDefinition { re_alarm: Some(seconds(900)), ..waiting("a") };
    let mut bench = Bench::new(vec![again]);
    bench.value(81.0).does("a", AlarmCommand::Acknowledge).wait(899_999);
    assert_eq!(bench.state("a"), "ACKED");
    bench.wait(1);
    assert_eq!(bench.state("a"), "UNACK");
    assert_eq!(bench.tape.last().map(|t| (t.cause, t.occurrence)), Some((Cause::ReAlarmed, 2)));
    bench.does("a", AlarmCommand::Acknowledge).value(79.0).wait(900_000);
    assert_eq!(bench.state("a"), "NORM", "what has returned does not call");
}

#[test]
fn the_first_alarm_of_a_group_is_marked_until_all_of_it_are_quiet() {
    let of = |id, limit| AlarmDefinition { group: Some("line".into()), ..high(id, limit, 0.0) };
    let mut bench = Bench::new(vec![of("a", 80.0), of("b", 70.0), high("alone", 60.0, 0.0)]);
    bench.value(65.0).value(75.0).value(85.0).value(50.0);
    let mut first = || {
        let raised = bench.tape.drain(..).filter(|t| t.cause == Cause::Raised);
        raised.map(|t| (t.alarm.to_string(), t.first_out)).collect::<Vec<_>>()
    };
    let named = |pairs: &[(&str, bool)]| pairs.iter().map(|(a, f)| ((*a).to_owned(), *f)).collect::<Vec<_>>();
    assert_eq!(first(), named(&[("alone", false), ("b", true), ("a", false)]));
    bench.value(85.0);
    let raised: Vec<_> = bench.tape.iter().map(|t| (t.alarm.as_str(), t.first_out)).collect();
    assert_eq!(raised, [("a", true), ("b", false), ("alone", false)]);
}
