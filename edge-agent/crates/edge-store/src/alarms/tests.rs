use plant_model::{AlarmPriority, AlarmState, OperatorAction, TransitionCause::*};
use protocol::BatchBody;

use super::*;
use crate::{Settings, schema};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn open(folder: &tempfile::TempDir) -> EdgeStore {
    EdgeStore::open(Settings::new(folder.path().join("buffer.db")), NOW).expect("opens").store
}

fn moved(cause: TransitionCause, occurrence: u64, to: AlarmState) -> AlarmTransition {
    let command = CommandId::new(&format!("{}-{occurrence}", cause.name())).expect("valid");
    let action = OperatorAction { command, actor: "ada".to_owned(), comment: String::new() };
    AlarmTransition {
        machine: MachineId::new("m").expect("valid"),
        alarm: AlarmId::new("a").expect("valid"),
        tag: None,
        occurrence,
        from: AlarmState::Normal,
        to,
        cause,
        priority: AlarmPriority::Low,
        value: None,
        limit: None,
        deadband: 0.0,
        value_at: NOW,
        decided_at: NOW,
        message: String::new(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: cause.verb().map(|_| action),
    }
}

fn commit(store: &mut EdgeStore, transitions: Vec<AlarmTransition>) {
    store.commit(&BatchBody::Transitions(transitions), NOW).expect("commits");
}

fn stands(occurrence: u64, state: AlarmState, delay_passed: Option<u64>) -> StoredAlarm {
    let timers = AlarmTimers { delay_passed: delay_passed.map(Duration::from_secs), ..AlarmTimers::NONE };
    let (machine, alarm) = (MachineId::new("m").expect("valid"), AlarmId::new("a").expect("valid"));
    StoredAlarm { machine, alarm, occurrence, flags: AlarmFlags::of_state(state), timers }
}

fn note(store: &mut EdgeStore, one: StoredAlarm) {
    store.note_timers(&[one], NOW).expect("notes");
}

#[test]
fn d3_timers_of_an_alarm_that_never_moved_are_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&folder);
    let mut running = stands(0, AlarmState::Normal, Some(3));
    running.timers.re_alarm_in = Some(Duration::from_micros(1));
    running.timers.shelf_left = Some(Duration::from_secs(8 * 3_600));
    note(&mut store, running.clone());
    drop(store);
    assert_eq!(open(&folder).alarms().expect("reads"), [running]);
}

#[test]
fn a_transition_ends_the_timers_that_were_noted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&folder);
    note(&mut store, stands(0, AlarmState::Normal, Some(3)));
    commit(&mut store, vec![moved(Raised, 1, AlarmState::Unacknowledged)]);
    assert_eq!(store.alarms().expect("reads"), [stands(1, AlarmState::Unacknowledged, None)]);
}

#[test]
fn a_note_that_belongs_to_another_state_of_the_alarm_counts_for_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&folder);
    note(&mut store, stands(1, AlarmState::Unacknowledged, Some(1)));
    assert_eq!(store.alarms().expect("reads"), [], "its transition is not committed");
    commit(&mut store, vec![moved(Raised, 1, AlarmState::Unacknowledged)]);
    let late = [
        stands(0, AlarmState::Normal, Some(9)),
        stands(1, AlarmState::Acknowledged, Some(9)),
        stands(2, AlarmState::Unacknowledged, Some(9)),
    ];
    for one in late {
        note(&mut store, one);
        assert_eq!(store.alarms().expect("reads"), [stands(1, AlarmState::Unacknowledged, None)]);
    }
    note(&mut store, stands(1, AlarmState::Unacknowledged, Some(2)));
    assert_eq!(store.alarms().expect("reads"), [stands(1, AlarmState::Unacknowledged, Some(2))]);
}

#[test]
fn the_newest_commands_that_moved_an_alarm_are_remembered_with_what_they_did() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&folder);
    commit(
        &mut store,
        vec![moved(Raised, 1, AlarmState::Unacknowledged), moved(Acknowledged, 1, AlarmState::Acknowledged)],
    );
    drop(store);
    let mut store = open(&folder);
    let known = |store: &EdgeStore| {
        let all = store.commands().expect("reads").into_iter();
        all.map(|c| (c.id.to_string(), c.cause)).collect::<Vec<_>>()
    };
    assert_eq!(known(&store), [("acknowledged-1".to_owned(), Acknowledged)], "a raise is nobody's command");
    for n in 0..u64::from(COMMANDS_MAX) {
        commit(&mut store, vec![moved(Shelved, n, AlarmState::Shelved)]);
    }
    let all = known(&store);
    assert_eq!(all.len(), 256);
    assert_eq!((all[0].0.as_str(), all[255].0.as_str()), ("shelved-0", "shelved-255"), "the oldest went");
}

#[test]
fn a_file_of_any_earlier_layout_keeps_its_alarms_and_takes_timers_and_commands() {
    for from in 1..schema::STEPS.len() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let raw = Connection::open(folder.path().join("buffer.db")).expect("makes");
        raw.execute_batch(&schema::STEPS[..from].concat()).expect("an earlier layout");
        // The first layout says whether it is active, later ones have the flags.
        let state = if from == 1 { "active" } else { "flags" };
        let row = format!("INSERT INTO alarm (machine, alarm, occurrence, {state}) VALUES ('m', 'a', 7, 1)");
        raw.execute_batch(&row).expect("an alarm");
        raw.pragma_update(None, "user_version", i64::try_from(from).expect("small")).expect("writes");
        drop(raw);
        let mut store = open(&folder);
        let state = if from == 1 { AlarmState::Unacknowledged } else { AlarmState::Acknowledged };
        assert_eq!(store.alarms().expect("reads"), [stands(7, state, None)], "from layout {from}");
        note(&mut store, stands(7, state, Some(5)));
        assert_eq!(store.alarms().expect("reads"), [stands(7, state, Some(5))], "from layout {from}");
        commit(&mut store, vec![moved(Shelved, 7, AlarmState::Shelved)]);
        assert_eq!(store.commands().expect("reads").len(), 1);
    }
}
