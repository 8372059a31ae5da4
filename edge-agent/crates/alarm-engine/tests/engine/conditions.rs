//! When the process is abnormal.

use alarm_engine::{AlarmEngine, Expression, Link};
use plant_model::TransitionCause::{Raised, ReturnedToNormal};
use plant_model::*;

use crate::support::*;

#[test]
fn a_high_alarm_is_raised_above_its_limit_and_not_on_it() {
    let mut bench = Bench::new(vec![high("a", 80.0, 2.0)]);
    assert_eq!(bench.value(80.0).causes(), []);
    bench.value(80.1);
    let raised = bench.tape.remove(0);
    assert_eq!((raised.from, raised.to), (AlarmState::Normal, AlarmState::Unacknowledged));
    assert_eq!((raised.cause, raised.occurrence, raised.value), (Raised, 1, Some(Value::Float(80.1))));
    assert_eq!((raised.limit, raised.deadband, raised.tag), (Some(80.0), 2.0, Some(tag("t"))));
    assert_eq!((raised.operation, raised.first_out), (None, false));
}

#[test]
fn a_low_alarm_is_raised_below_its_limit() {
    let kind = LimitKind::LowLow;
    let low = define("a", AlarmCondition::Limit { tag: tag("t"), kind, limit: 5.0, deadband: 1.0 });
    let mut bench = Bench::new(vec![low]);
    bench.value(5.0).value(4.9).value(5.5).value(6.0);
    assert_eq!(bench.causes(), [Raised, ReturnedToNormal]);
}

#[test]
fn alarm_stays_active_inside_deadband() {
    let mut bench = Bench::new(vec![high("a", 80.0, 2.0)]);
    assert_eq!(bench.value(81.0).value(79.0).value(78.1).causes(), [Raised]);
    assert_eq!(bench.value(78.0).causes(), [ReturnedToNormal]);
}

#[test]
fn two_alarms_on_one_tag_are_decided_apart() {
    let mut bench = Bench::new(vec![high("high", 80.0, 0.0), high("higher", 90.0, 0.0)]);
    bench.value(85.0);
    assert_eq!((bench.state("high"), bench.state("higher")), ("UNACK", "NORM"));
    bench.value(95.0);
    assert_eq!(bench.engine.annunciated_count(), 2);
}

#[test]
fn a_deviation_is_measured_on_both_sides_of_a_number_or_of_another_tag() {
    let deviation =
        |id, from| define(id, AlarmCondition::Deviation { tag: tag("t"), from, limit: 5.0, deadband: 1.0 });
    let mut bench = Bench::new(vec![
        deviation("fixed", Setpoint::Fixed(50.0)),
        deviation("other", Setpoint::Tag(tag("u"))),
    ]);
    bench.value(44.0);
    assert_eq!((bench.state("fixed"), bench.state("other")), ("UNACK", "NORM"));
    bench.set("u", Value::Int(20));
    assert_eq!(bench.state("other"), "UNACK");
    bench.value(45.5);
    assert_eq!(bench.state("fixed"), "UNACK", "4.5 is within the deadband");
    bench.value(46.0).set("u", Value::Int(44));
    assert_eq!((bench.state("fixed"), bench.state("other")), ("NORM", "NORM"));
}

#[test]
fn a_rate_of_change_is_found_in_a_ramp_up_or_down_and_ends_with_it() {
    let rate = AlarmCondition::RateOfChange {
        tag: tag("t"),
        limit_per_second: 2.0,
        over: seconds(1),
        deadband: 0.5,
    };
    let mut bench = Bench::new(vec![define("a", rate)]);
    let mut value = 0.0;
    for slope in [0.1, 0.19, -0.1] {
        for _ in 0..30 {
            value += slope;
            bench.value(value).wait(100);
        }
        assert_eq!(bench.state("a"), "NORM", "slope {slope} in 100 ms");
    }
    for _ in 0..15 {
        value -= 0.3;
        bench.value(value).wait(100);
    }
    assert_eq!(bench.causes(), [Raised]);
    // No more samples: the value stands still as far as anybody knows.
    assert_eq!(bench.wait(899).causes(), []);
    assert_eq!(bench.wait(1_000).causes(), [ReturnedToNormal]);
}

#[test]
fn a_discrete_value_is_off_normal_by_value_or_by_bit() {
    let values = |values| define("value", off_normal("state", NormalState::Values(values)));
    let bit = define("bit", off_normal("word", NormalState::Bit { number: 3, set: false }));
    let mut bench = Bench::new(vec![values(vec![Value::Int(0), Value::Text("idle".into())]), bit]);
    for (value, state) in [
        (Value::Int(0), "NORM"),
        (Value::Text("idle".into()), "NORM"),
        (Value::Bool(false), "NORM"),
        (Value::Int(2), "UNACK"),
        (Value::Text("fault".into()), "UNACK"),
    ] {
        bench.set("state", value.clone());
        assert_eq!(bench.state("value"), state, "{value}");
    }
    for (word, state) in [(0b0111, "NORM"), (0b1000, "UNACK"), (i64::MIN, "NORM"), (-1, "UNACK")] {
        bench.set("word", Value::Int(word));
        assert_eq!(bench.state("bit"), state, "{word}");
    }
}

#[test]
fn an_alarm_tells_all_tags_that_decide_it() {
    let from = Setpoint::Tag(tag("u"));
    let deviation = define("a", AlarmCondition::Deviation { tag: tag("t"), from, limit: 1.0, deadband: 0.0 });
    let gated = AlarmDefinition { suppress_while: Some("state == 1 or t > 3".into()), ..deviation };
    assert_eq!(Expression::tags_of(&gated), ["state", "t", "u"].map(tag));
    assert_eq!(Expression::tags_of(&expression("b", "word < 3")), [tag("word")]);
    assert_eq!(Expression::tags_of(&define("c", AlarmCondition::Communication)), []);
}

fn off_normal(name: &str, normal: NormalState) -> AlarmCondition {
    AlarmCondition::OffNormal { tag: tag(name), normal }
}

fn stale() -> Vec<AlarmDefinition> {
    vec![define("a", AlarmCondition::Stale { tag: tag("t"), after: seconds(10) })]
}

#[test]
fn d6_a_value_that_does_not_change_is_stale_whether_it_is_repeated_or_not() {
    let mut repeated = Bench::new(stale());
    for _ in 0..10 {
        repeated.value(7.0).wait(1_000);
    }
    assert_eq!(repeated.causes(), [Raised]);
    assert_eq!(repeated.value(7.0).causes(), []);
    assert_eq!(repeated.value(7.1).causes(), [ReturnedToNormal]);
    let mut silent = Bench::new(stale());
    assert_eq!(silent.value(7.0).wait(9_999).causes(), []);
    silent.wait(1);
    assert_eq!(silent.tape[0].value, Some(Value::Float(7.0)), "the value that stands");
    assert_eq!(silent.causes(), [Raised]);
}

#[test]
fn d6_a_tag_that_never_says_anything_is_stale_once_the_machine_has_been_connected_for_long() {
    let mut bench = Bench::new(stale());
    assert_eq!(bench.wait(60_000).causes(), [], "nobody said that it is connected");
    bench.link(Link::Up).wait(9_999);
    assert_eq!(bench.causes(), []);
    assert_eq!(bench.wait(1).causes(), [Raised]);
    assert_eq!(bench.value(1.0).causes(), [ReturnedToNormal], "something came at last");
}

#[test]
fn d6_a_lost_machine_is_not_stale_and_its_time_begins_anew_when_it_is_back() {
    let mut bench = Bench::new(stale());
    bench.link(Link::Up).value(7.0).wait(9_000).link(Link::Down).wait(60_000);
    assert_eq!(bench.causes(), []);
    bench.link(Link::Up).value(7.0).wait(9_999);
    assert_eq!(bench.causes(), []);
    assert_eq!(bench.wait(1).causes(), [Raised]);
    bench.link(Link::Down).wait(1_000).link(Link::Up).value(7.0);
    assert_eq!(bench.causes(), [], "still the same value");
}

#[test]
fn d4_a_bad_value_neither_raises_nor_clears_the_process_alarm_and_raises_its_own() {
    let bad = define("bad", AlarmCondition::BadQuality { tag: tag("t") });
    let mut bench = Bench::new(vec![high("a", 80.0, 0.0), bad]);
    bench.sample("t", Some(Value::Float(99.0)), Quality::BAD_TIMEOUT);
    assert_eq!((bench.state("a"), bench.state("bad")), ("NORM", "UNACK"));
    bench.value(81.0);
    assert_eq!((bench.state("a"), bench.state("bad")), ("UNACK", "NORM"));
    bench.sample("t", Some(Value::Float(1.0)), Quality::BAD_NOT_CONNECTED);
    bench.sample("t", Some(Value::Float(1.0)), Quality::UNCERTAIN_LAST_USABLE_VALUE);
    bench.set("t", Value::Float(f64::NAN));
    assert_eq!(bench.state("a"), "UNACK");
}

#[test]
fn d4_a_lost_machine_raises_one_alarm_and_moves_no_other() {
    let link = define("link", AlarmCondition::Communication);
    let bad = |id, name| define(id, AlarmCondition::BadQuality { tag: tag(name) });
    let alarms = vec![high("a", 80.0, 0.0), bad("bad_t", "t"), bad("bad_u", "u"), link];
    let mut bench = Bench::new(alarms.clone());
    bench.link(Link::Up).value(81.0).set("u", Value::Int(1));
    bench.tape.clear();
    bench.link(Link::Down).bad("t").bad("u").wait(60_000);
    let moved: Vec<_> = bench.tape.iter().map(|t| (t.alarm.as_str(), t.cause, &t.value)).collect();
    assert_eq!(moved, [("link", Raised, &None)]);
    assert_eq!(bench.state("a"), "UNACK");
    bench.tape.clear();
    bench.link(Link::Up).value(79.0);
    let moved: Vec<_> = bench.tape.iter().map(|t| (t.alarm.as_str(), t.cause)).collect();
    assert_eq!(moved, [("link", ReturnedToNormal), ("a", ReturnedToNormal)]);

    let mut uncovered = Bench::new(alarms[..3].to_vec());
    uncovered.link(Link::Up).link(Link::Down);
    assert_eq!(uncovered.state("bad_u"), "UNACK", "without an alarm of the link somebody else tells");
}

#[test]
fn an_expression_combines_tags_and_names_the_one_that_decided() {
    let mut bench = Bench::new(vec![expression("a", "state != 0 and t < 5")]);
    assert_eq!(bench.value(3.0).causes(), [], "the state is not known yet");
    bench.set("state", Value::Int(1));
    assert_eq!((&bench.tape[0].tag, &bench.tape[0].value), (&Some(tag("state")), &Some(Value::Int(1))));
    bench.tape.clear();
    assert_eq!(bench.bad("state").value(3.5).causes(), [], "unknown clears nothing");
    assert_eq!(bench.value(6.0).causes(), [ReturnedToNormal], "false whatever the state is");
}

#[test]
fn definitions_that_cannot_run_are_refused_with_what_is_needed() {
    let refusal = |definitions| {
        let error = AlarmEngine::new(machine(), &TAGS.map(tag), definitions).expect_err("refused");
        let cause = std::error::Error::source(&error).map_or(String::new(), |e| format!(": {e}"));
        format!("{error}{cause}")
    };
    let elsewhere = AlarmCondition::Limit { tag: tag("x"), kind: LimitKind::High, limit: 1.0, deadband: 0.0 };
    assert_eq!(
        refusal(vec![define("a", elsewhere)]),
        "alarm a names the tag x, which machine press-1 does not have"
    );
    assert_eq!(
        refusal(vec![expression("a", "t > 1 and pump")]),
        "alarm a names the tag pump, which machine press-1 does not have"
    );
    assert_eq!(
        refusal(vec![expression("a", "t >")]),
        "expression of alarm a cannot be read: at character 4: the end where a tag or a number is needed"
    );
    let gated = AlarmDefinition { suppress_while: Some("(".into()), ..high("a", 1.0, 0.0) };
    assert!(refusal(vec![gated]).starts_with("suppress_while of alarm a cannot be read: at character 2"));
    assert_eq!(refusal(vec![high("a", f64::NAN, 0.0)]), "alarm a has limit NaN; a finite number is needed");
    assert!(refusal(vec![high("a", 1.0, -1.0)]).contains("deadband -1; a finite number of zero or more"));
    let rate = |limit_per_second, deadband| AlarmCondition::RateOfChange {
        tag: tag("t"),
        limit_per_second,
        over: seconds(1),
        deadband,
    };
    assert!(refusal(vec![define("a", rate(0.0, 0.0))]).contains("limit 0; more than zero"));
    assert!(
        refusal(vec![define("a", rate(1.0, 2.0))]).contains("deadband 2; a deadband of at most the limit")
    );
    let bit = off_normal("word", NormalState::Bit { number: 64, set: true });
    assert!(refusal(vec![define("a", bit)]).contains("bit 64; a bit from 0 to 63"));
    let never = AlarmCondition::Stale { tag: tag("t"), after: seconds(0) };
    assert!(refusal(vec![define("a", never)]).contains("after 0; a time of more than zero"));
    assert!(refusal(vec![high("a", 1.0, 0.0), high("a", 2.0, 0.0)]).contains("twice"));
}
