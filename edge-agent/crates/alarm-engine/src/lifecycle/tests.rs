//! The rows of the transition table, by their numbers.

use AlarmState::{
    Acknowledged as C, LatchedAcknowledged as F, LatchedUnacknowledged as E, Normal as A, OutOfService as I,
    ReturnedUnacknowledged as D, Shelved as G, SuppressedByDesign as H, Unacknowledged as B,
};

use super::*;

const NOW: Monotonic = Monotonic::from_micros(1_000_000);
const WALL: Timestamp = Timestamp::from_micros(5_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const SHELVE: AlarmCommand = AlarmCommand::Shelve { duration: HOUR };
const TAKE_OUT: AlarmCommand = AlarmCommand::TakeOutOfService { review_at: None };

#[derive(Debug, Clone, Copy)]
enum Event {
    Raise,
    Return { class: AcknowledgeClass, latching: bool },
    Suppress(bool),
    Pass(Duration),
    Command(AlarmCommand),
}

use AcknowledgeClass::{OnReturn, Required};
use AlarmCommand::{Acknowledge, Reset, ReturnToService, Unshelve};
use Event::{Command, Pass, Raise, Suppress};

const RETURN: Event = Event::Return { class: Required, latching: false };
const LATCH: Event = Event::Return { class: Required, latching: true };

/// An alarm in a state, in its third activation; `active` matters where the state hides it.
fn alarm(state: AlarmState, active: bool) -> Lifecycle {
    let mut flags = AlarmFlags::of_state(state);
    if state.is_hidden() {
        flags.active = active;
        flags.acknowledged = !active;
    }
    let shelf_ends_at = flags.shelved_until.map(|_| NOW.plus(HOUR));
    let re_alarm_at = (state == C).then(|| NOW.plus(HOUR));
    Lifecycle { flags, occurrence: 3, shelf_ends_at, re_alarm_at }
}

fn apply(alarm: &mut Lifecycle, event: Event) -> Result<Step, &'static str> {
    match event {
        Raise => Ok(alarm.raise()),
        Event::Return { class, latching } => Ok(alarm.return_to_normal(class, latching)),
        Suppress(on) => Ok(alarm.suppress(on)),
        Pass(time) => alarm.expire(NOW.plus(time)).ok_or("nothing is due"),
        Command(command) => alarm.command(&command, Some(HOUR), NOW, WALL),
    }
}

/// Number of the row, from, whether the process is abnormal below a cover, event, to, occurrence.
const ROWS: [(u8, AlarmState, bool, Event, AlarmState, u64); 26] = [
    (1, A, false, Raise, B, 4),
    (2, B, true, Command(Acknowledge), C, 3),
    (3, C, true, Pass(HOUR), B, 4),
    (4, C, true, RETURN, A, 3),
    (5, B, true, RETURN, D, 3),
    (6, B, true, Event::Return { class: OnReturn, latching: false }, A, 3),
    (7, D, false, Command(Acknowledge), A, 3),
    (8, D, false, Raise, B, 4),
    (9, B, true, LATCH, E, 3),
    (9, B, true, Event::Return { class: OnReturn, latching: true }, E, 3),
    (10, C, true, LATCH, F, 3),
    (11, E, false, Command(Acknowledge), F, 3),
    (12, E, false, Raise, B, 4),
    (13, F, false, Command(Reset), A, 3),
    (14, F, false, Raise, B, 4),
    (17, G, false, Command(Unshelve), A, 3),
    (17, G, true, Command(Unshelve), B, 3),
    (17, G, false, Pass(HOUR), A, 3),
    (17, G, true, Pass(HOUR), B, 3),
    (19, H, false, Suppress(false), A, 3),
    (19, H, true, Suppress(false), B, 3),
    (21, I, false, Command(ReturnToService), A, 3),
    (21, I, true, Command(ReturnToService), B, 3),
    // Below a cover the process goes on, and the cover stays.
    (1, G, false, Raise, G, 4),
    (1, H, false, Raise, H, 4),
    (5, I, true, RETURN, I, 3),
];

#[test]
fn d3_every_row_of_the_table_leads_where_the_standard_says() {
    for (row, from, active, event, to, occurrence) in ROWS {
        let mut alarm = alarm(from, active);
        let step = apply(&mut alarm, event).unwrap_or_else(|why| panic!("row {row}: {why}"));
        assert_eq!(
            (step.from, alarm.state(), step.occurrence),
            (from, to, occurrence),
            "row {row}: {from:?} {event:?}"
        );
    }
}

#[test]
fn d3_rows_16_18_and_20_hide_the_alarm_from_every_state_and_keep_what_it_was() {
    for from in [A, B, C, D, E, F] {
        for (event, to) in [(Command(SHELVE), G), (Suppress(true), H), (Command(TAKE_OUT), I)] {
            let mut hidden = alarm(from, false);
            let before = hidden.flags;
            let step = apply(&mut hidden, event).expect("allowed");
            assert_eq!((step.from, hidden.state()), (from, to));
            let below =
                AlarmFlags { shelved_until: None, suppressed: false, out_of_service: false, ..hidden.flags };
            assert_eq!(below, before, "{from:?} below {to:?}");
        }
    }
}

#[test]
fn an_acknowledged_alarm_never_comes_straight_back_acknowledged_from_behind_a_cover() {
    for (hide, show) in [
        (Command(SHELVE), Command(Unshelve)),
        (Suppress(true), Suppress(false)),
        (Command(TAKE_OUT), Command(ReturnToService)),
    ] {
        let mut alarm = alarm(C, true);
        apply(&mut alarm, hide).expect("allowed");
        assert!(alarm.flags.acknowledged, "kept below the cover");
        apply(&mut alarm, show).expect("allowed");
        assert_eq!(alarm.state(), B);
    }
}

#[test]
fn covers_are_independent_and_the_alarm_shows_when_the_last_has_gone() {
    let mut alarm = alarm(B, true);
    let states = [
        (Command(SHELVE), G),
        (Suppress(true), H),
        (Command(TAKE_OUT), I),
        (Suppress(false), I),
        (Pass(HOUR), I),
        (Command(ReturnToService), B),
    ]
    .map(|(event, expected)| (apply(&mut alarm, event).expect("allowed").flags.state(), expected));
    for (state, expected) in states {
        assert_eq!(state, expected);
    }
}

#[test]
fn what_a_state_does_not_allow_is_refused_and_moves_nothing() {
    // Row 15 among them: E is not reset before it is acknowledged.
    let refused: [(AlarmCommand, &[AlarmState]); 6] = [
        (Acknowledge, &[A, C, F, G, H, I]),
        (Reset, &[A, B, C, D, E, G, H, I]),
        (SHELVE, &[G, I]),
        (Unshelve, &[A, B, C, D, E, F, H, I]),
        (TAKE_OUT, &[I]),
        (ReturnToService, &[A, B, C, D, E, F, G, H]),
    ];
    for (command, from) in refused {
        for state in AlarmState::ALL {
            let mut alarm = alarm(state, false);
            let before = alarm;
            let answer = apply(&mut alarm, Command(command));
            assert_eq!(answer.is_err(), from.contains(&state), "{command:?} in {state:?}: {answer:?}");
            if answer.is_err() {
                assert_eq!(alarm, before, "{command:?} in {state:?}");
            }
        }
    }
    assert_eq!(apply(&mut alarm(E, false), Command(Reset)), Err("acknowledge it first"));
}

#[test]
fn a_re_alarm_is_for_alarms_that_still_stand_acknowledged() {
    let mut alarm = alarm(B, true);
    apply(&mut alarm, Command(Acknowledge)).expect("allowed");
    assert_eq!(alarm.due_at(), Some(NOW.plus(HOUR)));
    apply(&mut alarm, Command(SHELVE)).expect("allowed");
    assert_eq!(alarm.re_alarm_at, None, "a shelved alarm keeps quiet");
    apply(&mut alarm, Command(Unshelve)).expect("allowed");
    apply(&mut alarm, Command(Acknowledge)).expect("allowed");
    apply(&mut alarm, RETURN).expect("allowed");
    assert_eq!((alarm.state(), alarm.due_at()), (A, None));
}
