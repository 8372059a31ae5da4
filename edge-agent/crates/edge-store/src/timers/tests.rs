use std::sync::{Arc, Mutex};

use plant_model::{AlarmFlags, AlarmState};

use super::*;

fn running(alarm: &str, passed: u64) -> StoredAlarm {
    StoredAlarm {
        machine: MachineId::new("m").expect("valid"),
        alarm: AlarmId::new(alarm).expect("valid"),
        occurrence: 0,
        flags: AlarmFlags::of_state(AlarmState::Normal),
        timers: AlarmTimers { delay_passed: Some(Duration::from_secs(passed)), ..AlarmTimers::NONE },
    }
}

fn told(notes: &TimerNotes) -> Vec<(&str, Option<u64>)> {
    let told = notes.changed().iter();
    told.map(|one| (one.alarm.as_str(), one.timers.delay_passed.map(|d| d.as_secs()))).collect()
}

#[test]
fn only_what_changed_is_written_and_what_stopped_is_forgotten() {
    let now = Arc::new(Mutex::new(vec![running("a", 1), running("b", 1)]));
    let source = Arc::clone(&now);
    let mut notes = TimerNotes::new(vec![running("old", 3), running("b", 1)]);
    notes.ask(Duration::ZERO);
    assert_eq!(told(&notes), [], "nobody told anything yet");
    notes.follow(Box::new(move || source.lock().expect("whole").clone()));
    notes.ask(Duration::from_secs(3_600));
    assert_eq!(told(&notes), [], "it is too early");
    notes.ask(Duration::ZERO);
    assert_eq!(told(&notes), [("old", None), ("a", Some(1))]);
    notes.ask(Duration::ZERO);
    assert_eq!(told(&notes), [("old", None), ("a", Some(1))], "it could not be written");
    notes.written();
    notes.ask(Duration::ZERO);
    assert_eq!(told(&notes), []);
    *now.lock().expect("whole") = vec![running("a", 2)];
    notes.ask(Duration::ZERO);
    assert_eq!(told(&notes), [("b", None), ("a", Some(2))]);
}
