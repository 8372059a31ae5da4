//! Delays, and the clock they run on.

use plant_model::TransitionCause::{Raised, ReturnedToNormal};
use plant_model::*;

use crate::support::*;

fn delayed(on: u64, off: u64, deadband: f64) -> Vec<AlarmDefinition> {
    vec![AlarmDefinition { on_delay: seconds(on), off_delay: seconds(off), ..high("a", 80.0, deadband) }]
}

#[test]
fn an_on_delay_waits_and_a_value_that_comes_back_in_time_raises_nothing() {
    let mut bench = Bench::new(delayed(2, 0, 0.0));
    assert_eq!(bench.value(81.0).wait(1_999).causes(), []);
    assert_eq!(bench.value(79.0).wait(5_000).causes(), []);
    bench.value(81.0);
    assert_eq!(bench.engine.poll_timeout(), Some(bench.now.plus(seconds(2))));
    bench.value(85.0).wait(2_000);
    assert_eq!(bench.tape[0].value, Some(Value::Float(81.0)), "the value that began it");
    assert_eq!(bench.causes(), [Raised]);
    assert_eq!(bench.engine.poll_timeout(), None);
}

#[test]
fn d2_chatter_around_the_limit_is_one_raise_and_one_return() {
    let mut bench = Bench::new(delayed(2, 5, 1.0));
    for n in 0..300 {
        bench.value(if n % 2 == 0 { 80.1 } else { 79.9 }).wait(100);
    }
    assert_eq!(bench.causes(), [Raised], "30 s of chatter");
    for n in 0..300 {
        bench.value(if n % 2 == 0 { 79.1 } else { 78.9 }).wait(100);
    }
    assert_eq!(bench.causes(), [ReturnedToNormal], "30 s of chatter at the other end of the deadband");
}

#[test]
fn an_off_delay_holds_the_alarm_while_the_value_chatters() {
    let mut bench = Bench::new(delayed(0, 5, 1.0));
    bench.value(81.0);
    for _ in 0..20 {
        bench.value(70.0).wait(400).value(81.0).wait(100);
    }
    assert_eq!(bench.causes(), [Raised]);
    assert_eq!(bench.value(70.0).wait(5_000).causes(), [ReturnedToNormal]);
}

#[test]
fn d4_a_delay_rests_while_the_value_is_bad() {
    let mut bench = Bench::new(delayed(10, 10, 0.0));
    bench.value(81.0).wait(6_000).bad("t").wait(60_000);
    assert_eq!(bench.causes(), [], "nobody knows whether it still is above");
    bench.value(81.0).wait(3_999);
    assert_eq!(bench.causes(), []);
    assert_eq!(bench.wait(1).causes(), [Raised]);
    bench.value(79.0).wait(6_000).bad("t").wait(60_000);
    assert_eq!(bench.causes(), [], "nor whether it still is below");
    assert_eq!(bench.value(79.0).wait(4_000).causes(), [ReturnedToNormal]);
}

#[test]
fn d5_steps_of_the_wall_clock_move_no_delay_and_no_shelf() {
    for step in [-3_600, 3_600] {
        let mut bench = Bench::new(delayed(2, 5, 0.0));
        bench.value(81.0).wait(1_000);
        bench.wall_error = step;
        assert_eq!(bench.wait(999).causes(), []);
        assert_eq!(bench.wait(1).causes(), [Raised]);
        bench.value(79.0);
        bench.wall_error = -step;
        assert_eq!(bench.wait(4_999).causes(), []);
        assert_eq!(bench.wait(1).causes(), [ReturnedToNormal]);
        bench.does("a", AlarmCommand::Shelve { duration: seconds(60) });
        bench.wall_error = 0;
        bench.wait(59_999);
        assert_eq!(bench.state("a"), "SHLVD");
        bench.wait(1);
        assert_eq!(bench.state("a"), "NORM");
    }
}

#[test]
fn a_timer_that_is_noticed_late_ends_before_what_came_after_it() {
    let mut bench = Bench::new(delayed(2, 0, 0.0));
    bench.value(81.0);
    bench.now = bench.now.plus(seconds(60));
    bench.value(79.0);
    assert_eq!(bench.causes(), [Raised, ReturnedToNormal], "it stood above for more than 2 s");
}

#[test]
fn timers_that_are_noticed_together_end_in_their_order() {
    let with =
        |id, on| AlarmDefinition { on_delay: seconds(on), group: Some("g".into()), ..high(id, 80.0, 0.0) };
    let mut bench = Bench::new(vec![with("late", 9), with("early", 3)]);
    bench.value(81.0).wait(60_000);
    let order: Vec<_> = bench.tape.iter().map(|t| (t.alarm.as_str(), t.first_out)).collect();
    assert_eq!(order, [("early", true), ("late", false)]);
}
