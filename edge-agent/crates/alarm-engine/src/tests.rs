use std::time::Duration;

use plant_model::{AlarmKind, AlarmPriority, AlarmState, Quality, TransitionCause, Value};
use proptest::prelude::*;

use super::*;

fn definition(id: &str, kind: AlarmKind, limit: f64, deadband: f64) -> AlarmDefinition {
    AlarmDefinition {
        id: AlarmId::new(id).expect("valid"),
        tag: TagId::new("t").expect("valid"),
        kind,
        limit,
        deadband,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority: AlarmPriority::High,
        message: "look".into(),
    }
}

/// An engine with one tag, a virtual clock, and a tape of what happened.
struct Bench {
    engine: AlarmEngine,
    now: Monotonic,
    tape: Vec<AlarmTransition>,
}

impl Bench {
    fn new(definitions: Vec<AlarmDefinition>) -> Self {
        Self::restored(definitions, &HashMap::new())
    }

    fn restored(definitions: Vec<AlarmDefinition>, snapshots: &HashMap<AlarmId, Snapshot>) -> Self {
        let machine = MachineId::new("m").expect("valid");
        let tags = [TagId::new("t").expect("valid")];
        let engine = AlarmEngine::new(machine, &tags, definitions, snapshots).expect("good definitions");
        Self { engine, now: Monotonic::from_micros(0), tape: Vec::new() }
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + i64::try_from(self.now.micros()).expect("small"))
    }

    fn sample(&mut self, value: Value, quality: Quality) {
        let sample =
            Sample { value: Some(value), quality, source_timestamp: None, gateway_timestamp: self.wall() };
        self.engine.handle_sample(0, &sample, self.now, self.wall(), &mut self.tape);
    }

    fn value(&mut self, value: f64) -> &mut Self {
        self.sample(Value::Float(value), Quality::GOOD);
        self
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(millis));
        self.engine.handle_timeout(self.now, self.wall(), &mut self.tape);
        self
    }

    fn causes(&self) -> Vec<TransitionCause> {
        self.tape.iter().map(|t| t.cause).collect()
    }
}

use TransitionCause::{Raised, ReturnedToNormal};

#[test]
fn a_high_alarm_is_raised_above_its_limit_and_not_on_it() {
    let mut bench = Bench::new(vec![definition("a", AlarmKind::High, 80.0, 2.0)]);
    bench.value(80.0);
    assert_eq!(bench.causes(), []);
    bench.value(80.1);
    assert_eq!(bench.causes(), [Raised]);
    let raised = &bench.tape[0];
    assert_eq!((raised.from, raised.to), (AlarmState::Normal, AlarmState::Unacknowledged));
    assert_eq!((raised.occurrence, raised.value.clone()), (1, Value::Float(80.1)));
}

#[test]
fn a_low_alarm_is_raised_below_its_limit() {
    let mut bench = Bench::new(vec![definition("a", AlarmKind::LowLow, 5.0, 1.0)]);
    bench.value(5.0).value(4.9).value(5.5).value(6.0);
    assert_eq!(bench.causes(), [Raised, ReturnedToNormal]);
}

#[test]
fn alarm_stays_active_inside_deadband() {
    let mut bench = Bench::new(vec![definition("a", AlarmKind::High, 80.0, 2.0)]);
    bench.value(81.0).value(79.0).value(78.1);
    assert_eq!(bench.causes(), [Raised]);
    bench.value(78.0);
    assert_eq!(bench.causes(), [Raised, ReturnedToNormal]);
}

#[test]
fn every_activation_is_a_new_occurrence_and_its_return_carries_the_same_number() {
    let mut bench = Bench::new(vec![definition("a", AlarmKind::High, 80.0, 0.0)]);
    bench.value(81.0).value(79.0).value(81.0).value(79.0);
    assert_eq!(bench.tape.iter().map(|t| t.occurrence).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[test]
fn a_bad_sample_neither_raises_nor_clears() {
    let mut bench = Bench::new(vec![definition("a", AlarmKind::High, 80.0, 0.0)]);
    bench.sample(Value::Float(99.0), Quality::BAD_TIMEOUT);
    bench.sample(Value::Float(f64::NAN), Quality::GOOD);
    assert_eq!(bench.causes(), []);
    bench.value(81.0);
    bench.sample(Value::Float(1.0), Quality::BAD_NOT_CONNECTED);
    assert_eq!(bench.causes(), [Raised]);
}

#[test]
fn an_on_delay_waits_and_a_value_that_comes_back_in_time_raises_nothing() {
    let mut delayed = definition("a", AlarmKind::High, 80.0, 0.0);
    delayed.on_delay = Duration::from_secs(2);
    let mut bench = Bench::new(vec![delayed]);
    bench.value(81.0).wait(1_999);
    assert_eq!(bench.causes(), []);
    bench.value(79.0).wait(5_000);
    assert_eq!(bench.causes(), []);
    bench.value(81.0);
    assert_eq!(bench.engine.poll_timeout(), Some(bench.now.plus(Duration::from_secs(2))));
    bench.wait(2_000);
    assert_eq!(bench.causes(), [Raised]);
    assert_eq!(bench.engine.poll_timeout(), None);
}

#[test]
fn an_off_delay_holds_the_alarm_while_the_value_chatters() {
    let mut delayed = definition("a", AlarmKind::High, 80.0, 1.0);
    delayed.off_delay = Duration::from_secs(5);
    let mut bench = Bench::new(vec![delayed]);
    bench.value(81.0);
    for _ in 0..20 {
        bench.value(70.0).wait(400).value(81.0).wait(100);
    }
    assert_eq!(bench.causes(), [Raised]);
    bench.value(70.0).wait(5_000);
    assert_eq!(bench.causes(), [Raised, ReturnedToNormal]);
}

#[test]
fn an_alarm_that_was_active_before_a_restart_is_neither_raised_again_nor_forgotten() {
    let snapshots =
        HashMap::from([(AlarmId::new("a").expect("valid"), Snapshot { occurrence: 7, active: true })]);
    let mut bench = Bench::restored(vec![definition("a", AlarmKind::High, 80.0, 0.0)], &snapshots);
    bench.value(81.0);
    assert_eq!(bench.causes(), []);
    bench.value(79.0).value(81.0);
    assert_eq!(bench.causes(), [ReturnedToNormal, Raised]);
    assert_eq!(bench.tape.iter().map(|t| t.occurrence).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn definitions_that_cannot_run_are_refused() {
    let build = |definitions| {
        let machine = MachineId::new("m").expect("valid");
        AlarmEngine::new(machine, &[TagId::new("t").expect("valid")], definitions, &HashMap::new())
            .expect_err("refused")
            .to_string()
    };
    let mut elsewhere = definition("a", AlarmKind::High, 1.0, 0.0);
    elsewhere.tag = TagId::new("x").expect("valid");
    assert_eq!(build(vec![elsewhere]), "alarm a watches tag x, which machine m does not have");
    assert!(build(vec![definition("a", AlarmKind::High, f64::NAN, 0.0)]).contains("limit NaN"));
    assert!(build(vec![definition("a", AlarmKind::High, 1.0, -1.0)]).contains("deadband -1"));
    let twice = vec![definition("a", AlarmKind::High, 1.0, 0.0), definition("a", AlarmKind::Low, 0.0, 0.0)];
    assert!(build(twice).contains("twice"));
}

#[test]
fn two_alarms_on_one_tag_are_decided_apart() {
    let mut bench = Bench::new(vec![
        definition("high", AlarmKind::High, 80.0, 0.0),
        definition("high_high", AlarmKind::HighHigh, 90.0, 0.0),
    ]);
    bench.value(85.0);
    assert_eq!(bench.engine.active_count(), 1);
    bench.value(95.0);
    assert_eq!(bench.engine.active_count(), 2);
    assert_eq!(bench.tape.iter().map(|t| t.alarm.as_str()).collect::<Vec<_>>(), ["high", "high_high"]);
}

/// The same rule, written again as plainly as possible: the whole history is looked at each time.
fn reference(history: &[(u64, f64)], at: u64, limit: f64, deadband: f64, on: u64, off: u64) -> bool {
    let mut active = false;
    let mut since: Option<u64> = None;
    for now in 0..=at {
        let Some((_, value)) = history.iter().rev().find(|(t, _)| *t <= now) else { continue };
        let wants = if active { *value <= limit - deadband } else { *value > limit };
        since = if wants { since.or(Some(now)) } else { None };
        let delay = if active { off } else { on };
        if since.is_some_and(|s| now - s >= delay) {
            active = !active;
            since = None;
        }
    }
    active
}

/// No delay, or an odd one: samples come at even instants, so no delay ends as a value changes, where
/// either order would be right.
fn delay() -> impl Strategy<Value = u64> {
    (0_u64..4).prop_map(|n| if n == 0 { 0 } else { 2 * n - 1 })
}

proptest! {
    #[test]
    fn the_engine_agrees_with_a_plain_reference(
        steps in proptest::collection::vec((1_u64..5, 0_u32..12), 1..30), deadband in 0_u32..4, on in delay(), off in delay()
    ) {
        let mut rule = definition("a", AlarmKind::High, 6.0, f64::from(deadband));
        rule.on_delay = Duration::from_millis(on);
        rule.off_delay = Duration::from_millis(off);
        let mut bench = Bench::new(vec![rule]);
        let mut history = Vec::new();
        let mut now = 0;
        for (wait, value) in steps {
            for _ in 0..2 * wait {
                bench.wait(1);
            }
            now += 2 * wait;
            history.push((now, f64::from(value)));
            bench.value(f64::from(value));
            let want = reference(&history, now, 6.0, f64::from(deadband), on, off);
            prop_assert_eq!(bench.engine.active_count() == 1, want, "at {} of {:?}", now, history);
        }
    }
}
