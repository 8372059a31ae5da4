use std::collections::BTreeMap;

use plant_model::{AlarmId, MachineId};
use proptest::prelude::*;

use super::*;
use crate::{AlarmFilter, OutputId, Pacing, When};

fn at(ms: u64) -> Monotonic {
    Monotonic::from_micros(ms * 1_000)
}

fn rule() -> OutputRule {
    OutputRule {
        id: OutputId::new("horn").expect("valid"),
        filter: AlarmFilter { machines: None, alarms: None, priority: AlarmPriority::High },
        when: When::Unacknowledged,
        safe: Safe::Driven(Level::Off),
        pacing: Pacing::default(),
        refresh: None,
        heartbeat: None,
    }
}

fn key(number: u8) -> AlarmKey {
    let alarm = AlarmId::new(&format!("a{number}")).expect("valid");
    AlarmKey { machine: MachineId::new("press-1").expect("valid"), alarm }
}

impl Output {
    fn alarm(&mut self, state: AlarmState) {
        self.handle_alarm(key(0), state, AlarmPriority::High);
    }

    fn level(&mut self, now: Monotonic) -> Option<Level> {
        match self.next_order(now)? {
            Order::Drive(drive) => Some(drive.level),
            Order::Beat(number) => panic!("a beat: {number}"),
        }
    }

    fn answer(&mut self, level: Level, outcome: &Outcome, now: Monotonic) {
        let drive = Drive { level, reason: Reason::Alarms, alarms: Vec::new(), alarms_total: 0 };
        self.handle_outcome(&Order::Drive(drive), outcome, now);
    }

    /// Drives whatever is due, with success.
    fn obey(&mut self, now: Monotonic) -> Option<Level> {
        let level = self.level(now)?;
        self.answer(level, &Outcome::Confirmed, now);
        Some(level)
    }
}

fn failed() -> Outcome {
    Outcome::Refused { reason: "no".to_owned() }
}

#[test]
fn an_output_of_which_nothing_is_known_is_driven_once_and_then_follows_its_alarms() {
    let mut horn = Output::new(rule());
    assert_eq!(
        (horn.obey(at(0)), horn.obey(at(60_000)), horn.poll_timeout()),
        (Some(Level::Off), None, None)
    );
    horn.alarm(AlarmState::Unacknowledged);
    assert_eq!((horn.obey(at(60_001)), horn.actual()), (Some(Level::On), Some(Level::On)));
    horn.alarm(AlarmState::ReturnedUnacknowledged);
    assert_eq!(horn.obey(at(70_000)), None, "nobody has acknowledged it");
    horn.alarm(AlarmState::Normal);
    assert_eq!((horn.obey(at(70_001)), horn.tally().coalesced), (Some(Level::Off), 0));
}

#[test]
fn an_alarm_that_is_not_urgent_enough_does_nothing() {
    let mut horn = Output::new(rule());
    horn.handle_alarm(key(0), AlarmState::Unacknowledged, AlarmPriority::Medium);
    assert_eq!(horn.desired(), Level::Off);
}

#[test]
fn the_last_of_several_alarms_switches_off() {
    let mut horn = Output::new(rule());
    for number in 0..30 {
        let priority = if number == 29 { AlarmPriority::Critical } else { AlarmPriority::High };
        horn.handle_alarm(key(number), AlarmState::Unacknowledged, priority);
    }
    let Some(Order::Drive(drive)) = horn.next_order(at(0)) else { panic!("due") };
    assert_eq!((drive.alarms.len(), drive.alarms_total), (Drive::ALARMS_MAX, 30));
    assert_eq!(drive.alarms[0].alarm, key(29), "the most urgent is first");
    for number in 0..30 {
        assert_eq!(horn.desired(), Level::On);
        horn.handle_alarm(key(number), AlarmState::Acknowledged, AlarmPriority::High);
    }
    assert_eq!(horn.desired(), Level::Off);
}

#[test]
fn d7_a_chattering_alarm_is_driven_at_the_pace_and_ends_where_it_should() {
    let mut horn = Output::new(rule());
    horn.obey(at(0));
    let mut driven = 0;
    for tick in 1..=1_000 {
        let state = if tick % 2 == 1 { AlarmState::Unacknowledged } else { AlarmState::Normal };
        horn.alarm(state);
        driven += u32::from(horn.obey(at(tick * 10)).is_some());
    }
    assert_eq!((driven, horn.desired()), (9, Level::Off));
    horn.obey(at(11_000));
    assert_eq!((horn.actual(), horn.poll_timeout()), (Some(Level::Off), None));
    assert!(horn.tally().coalesced > 450, "{:?}", horn.tally());
}

#[test]
fn d7_what_failed_is_repeated_after_waits_that_double_up_to_a_minute() {
    let mut horn = Output::new(rule());
    let mut now = at(0);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(horn.level(now), Some(Level::Off));
        horn.answer(Level::Off, &failed(), now);
        now = now.plus(Duration::from_secs(wait));
        assert_eq!(horn.poll_timeout(), Some(now), "{wait}");
    }
    assert_eq!((horn.fault(), horn.actual()), (Some("no"), None));
    assert_eq!(horn.obey(now), Some(Level::Off));
    assert_eq!((horn.fault(), horn.poll_timeout()), (None, None));
}

#[test]
fn what_is_wanted_anew_does_not_wait_for_what_failed() {
    let mut horn = Output::new(rule());
    for _ in 0..6 {
        let now = horn.poll_timeout().expect("to be driven");
        assert!(horn.level(now).is_some());
        horn.answer(Level::Off, &failed(), now);
    }
    horn.alarm(AlarmState::Unacknowledged);
    assert_eq!(horn.poll_timeout(), Some(at(32_000)), "a second after the last drive");
    assert_eq!(horn.level(at(32_000)), Some(Level::On));
    horn.alarm(AlarmState::Normal);
    horn.answer(Level::On, &failed(), at(32_100));
    assert_eq!(horn.poll_timeout(), Some(at(33_000)));
}

#[test]
fn d7_a_read_back_that_differs_is_a_fault_and_is_driven_again() {
    let mut horn = Output::new(rule());
    assert!(horn.level(at(0)).is_some());
    horn.answer(Level::Off, &Outcome::Differs { read_back: "true".to_owned() }, at(0));
    assert_eq!((horn.fault(), horn.actual()), (Some("it was driven off and reads true"), None));
    assert_eq!(horn.level(at(1_000)), Some(Level::Off));
    assert_eq!(horn.tally().differs, 1);
}

#[test]
fn an_output_that_forgets_is_refreshed() {
    let mut lamp = Output::new(OutputRule { refresh: Some(Duration::from_secs(30)), ..rule() });
    lamp.obey(at(0));
    assert_eq!((lamp.poll_timeout(), lamp.level(at(29_999))), (Some(at(30_000)), None));
    assert_eq!(lamp.obey(at(30_000)), Some(Level::Off));
}

#[test]
fn d7_a_stop_drives_to_the_safe_level_ahead_of_the_pace_and_not_for_ever() {
    let mut lamp = Output::new(OutputRule { safe: Safe::Driven(Level::On), ..rule() });
    lamp.obey(at(0));
    lamp.handle_stop();
    assert!(!lamp.is_settled());
    assert_eq!(lamp.obey(at(1)), Some(Level::On));
    assert!(lamp.is_settled());

    let mut dead = Output::new(OutputRule { heartbeat: Some(Duration::from_secs(1)), ..rule() });
    assert_eq!(dead.next_order(at(0)), Some(Order::Beat(1)));
    dead.handle_stop();
    dead.handle_outcome(&Order::Beat(1), &failed(), at(0));
    let mut attempts = 0;
    while let Some(now) = dead.poll_timeout() {
        assert_eq!(dead.level(now), Some(Level::Off), "no beat any more");
        dead.answer(Level::Off, &failed(), now);
        attempts += 1;
    }
    assert_eq!((attempts, dead.is_settled()), (STOP_ATTEMPTS, true));
}

#[test]
fn d7_what_was_lost_is_driven_anew_and_at_once_when_it_is_back() {
    let mut horn = Output::new(rule());
    horn.obey(at(0));
    horn.handle_lost();
    assert_eq!(
        (horn.actual(), horn.poll_timeout()),
        (None, Some(at(1_000))),
        "a restart would have reset it"
    );
    let mut now = at(1_000);
    for _ in 0..6 {
        assert!(horn.level(now).is_some());
        horn.answer(Level::Off, &failed(), now);
        now = horn.poll_timeout().expect("to be driven");
    }
    assert_eq!(now, at(1_000 + 63_000));
    horn.handle_back();
    assert_eq!(horn.poll_timeout(), Some(at(1_000 + 31_000 + 1_000)), "a second after the last drive");
}

#[test]
fn d7_an_output_that_is_to_be_kept_is_not_driven_at_a_stop() {
    let mut lamp = Output::new(OutputRule { safe: Safe::Kept, ..rule() });
    lamp.alarm(AlarmState::Unacknowledged);
    assert_eq!(lamp.level(at(0)), Some(Level::On));
    lamp.handle_stop();
    assert!(!lamp.is_settled(), "what is under way is waited for");
    lamp.answer(Level::On, &Outcome::Confirmed, at(10));
    assert!(lamp.is_settled() && lamp.is_safe());
    assert_eq!((lamp.poll_timeout(), lamp.desired()), (None, Level::On));
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_an_output_that_is_safe_is_left_alone() {
    let mut horn = Output::new(rule());
    horn.obey(at(0));
    horn.alarm(AlarmState::Unacknowledged);
    assert_eq!(horn.level(at(1_000)), Some(Level::On));
    horn.handle_stop();
    assert_eq!((horn.level(at(1_001)), horn.is_settled()), (None, false));
    horn.answer(Level::On, &Outcome::Confirmed, at(1_002));
    assert_eq!((horn.obey(at(1_002)), horn.is_settled()), (Some(Level::Off), true));

    let mut quiet = Output::new(rule());
    quiet.obey(at(0));
    quiet.handle_stop();
    assert!(quiet.is_settled());
}

#[test]
fn a_heart_beats_beside_a_drive_that_hangs() {
    let mut horn = Output::new(OutputRule { heartbeat: Some(Duration::from_secs(2)), ..rule() });
    assert_eq!(horn.next_order(at(0)), Some(Order::Beat(1)));
    assert!(matches!(horn.next_order(at(0)), Some(Order::Drive(_))));
    horn.handle_outcome(&Order::Beat(1), &Outcome::Differs { read_back: "0".to_owned() }, at(5));
    assert_eq!(horn.poll_timeout(), Some(at(2_000)));
    assert_eq!(horn.next_order(at(2_000)), Some(Order::Beat(2)));
    horn.handle_outcome(&Order::Beat(2), &failed(), at(2_001));
    assert_eq!((horn.tally().beats, horn.tally().beats_failed), (2, 1));
}

/// What happens to an output.
#[derive(Debug, Clone, Copy)]
enum Event {
    Alarm(u8, usize),
    Wait(u16),
    /// The order that is under way ends so; `true` if it had an effect although nobody says so.
    End(u8, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        (0..4u8, 0..9usize).prop_map(|(a, s)| Event::Alarm(a, s)),
        (1..4_000u16).prop_map(Event::Wait),
        (0..4u8, any::<bool>()).prop_map(|(end, effect)| Event::End(end, effect)),
    ];
    proptest::collection::vec(one, 0..300)
}

/// The plainest model: the alarms as they stand, the device, and each drive that was ever begun.
struct World {
    output: Output,
    now: Monotonic,
    states: BTreeMap<u8, AlarmState>,
    device: Option<Level>,
    under_way: Option<Order>,
    starts: Vec<Monotonic>,
}

/// Each alarm of the model keeps one priority: the last two are urgent enough.
const PRIORITIES: [AlarmPriority; 4] =
    [AlarmPriority::Low, AlarmPriority::Medium, AlarmPriority::High, AlarmPriority::Critical];

impl World {
    fn new(pacing: Pacing) -> Self {
        let output = Output::new(OutputRule { pacing, ..rule() });
        let (now, states) = (at(0), BTreeMap::new());
        Self { output, now, states, device: None, under_way: None, starts: Vec::new() }
    }

    fn ask(&mut self) {
        if let Some(order) = self.output.next_order(self.now) {
            assert!(self.under_way.is_none(), "two at a time");
            self.starts.push(self.now);
            self.under_way = Some(order);
        }
    }

    fn end(&mut self, outcome: u8, has_effect: bool) {
        let Some(order) = self.under_way.take() else { return };
        let Order::Drive(drive) = &order else { panic!("no heartbeat is configured") };
        let outcome = match outcome {
            0 => Outcome::Confirmed,
            1 => Outcome::Differs { read_back: String::new() },
            2 => failed(),
            _ => Outcome::Unknown { reason: String::new() },
        };
        if outcome == Outcome::Confirmed || has_effect {
            self.device = Some(drive.level);
        }
        self.output.handle_outcome(&order, &outcome, self.now);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Alarm(number, state) => {
                let state = AlarmState::ALL[state];
                self.states.insert(number, state);
                self.output.handle_alarm(key(number), state, PRIORITIES[usize::from(number)]);
            }
            Event::Wait(ms) => self.now = self.now.plus(Duration::from_millis(ms.into())),
            Event::End(outcome, has_effect) => self.end(outcome, has_effect),
        }
        self.ask();
    }

    /// From now on everything works and no alarm moves.
    fn rest(&mut self) {
        for _ in 0..10 {
            self.end(0, true);
            if let Some(next) = self.output.poll_timeout() {
                self.now = self.now.max(next);
            }
            self.ask();
        }
    }

    fn wanted(&self) -> Level {
        let calls = |(number, state): (&u8, &AlarmState)| {
            *number >= 2 && matches!(state.mnemonic(), "UNACK" | "RTNUN" | "LTUNK")
        };
        if self.states.iter().any(calls) { Level::On } else { Level::Off }
    }
}

proptest! {
    #[test]
    fn d7_whatever_happens_the_pace_is_kept_and_in_the_end_the_device_is_where_it_should_be(
        events in events(),
        interval_ms in 100..5_000u64,
        per_minute in 1..20usize,
    ) {
        let mut world = World::new(Pacing::new(Duration::from_millis(interval_ms), per_minute).expect("valid"));
        world.ask();
        for event in events {
            world.step(event);
            prop_assert_eq!(world.output.desired(), world.wanted());
            if let Some(actual) = world.output.actual() && world.under_way.is_none() {
                prop_assert_eq!(Some(actual), world.device, "what was confirmed is so");
            }
        }
        world.rest();
        prop_assert_eq!((world.device, world.under_way.is_none()), (Some(world.wanted()), true));
        for pair in world.starts.windows(2) {
            prop_assert!(pair[1].since(pair[0]) >= Duration::from_millis(interval_ms));
        }
        for window in world.starts.windows(per_minute + 1) {
            prop_assert!(window[per_minute].since(window[0]) >= Duration::from_secs(60));
        }
    }
}
