//! The journal and the occurrences folded from it.

use fleet::{AlarmFilter, FleetStore};
use ingestion::IngestStore;
use plant_model::{
    AlarmFlags, AlarmId, AlarmState, AlarmTransition, CommandId, OperatorAction, TransitionCause,
};
use protocol::{Epoch, StreamId};

use super::Laboratory;
use super::fixture::*;

use TransitionCause::{Raised, Removed, ReturnedToNormal, ShelveExpired, Shelved};

pub(crate) async fn a_transition_is_in_the_journal_exactly_as_it_was_decided(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let steps = vec![transition(1, Raised, 10), transition(1, ReturnedToNormal, 20)];
    let applied = send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps.clone())]).await;
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps.clone())]).await;
    let journal = store.journal(&tenant(), 10, None).await.expect("the store works");
    let found: Vec<_> = journal.iter().map(|row| (row.position, row.transition.clone())).collect();
    assert_eq!(
        found,
        [(1, steps[1].clone()), (0, steps[0].clone())],
        "newest first, the duplicate left no trace"
    );
    assert!(journal.iter().all(|row| row.stored_at == applied.stored_at && row.sequence == seq(1)));
}

pub(crate) async fn everything_that_a_transition_says_comes_back(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let flags = AlarmFlags {
        shelved_until: Some(at(3_000)),
        review_at: Some(at(4_000)),
        suppressed: true,
        latched: true,
        ..AlarmFlags::NORMAL
    };
    let shelved = AlarmTransition {
        tag: None,
        from: AlarmState::LatchedAcknowledged,
        to: flags.state(),
        cause: TransitionCause::Shelved,
        value: None,
        limit: None,
        first_out: true,
        flags,
        operation: Some(OperatorAction {
            command: CommandId::new("c-17").expect("valid"),
            actor: "ada".to_owned(),
            comment: "sensor is being changed".to_owned(),
        }),
        ..transition(3, Raised, 10)
    };
    let never_raised =
        AlarmTransition { occurrence: 0, alarm: AlarmId::new("b").expect("valid"), ..shelved.clone() };
    let steps = vec![shelved.clone(), never_raised.clone()];
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps)]).await;
    let journal = store.journal(&tenant(), 10, None).await.expect("the store works");
    let found: Vec<_> = journal.into_iter().map(|row| row.transition).collect();
    assert_eq!(found, [never_raised, shelved]);
    let all = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    assert_eq!(all.len(), 1, "what was never raised is no occurrence");
    let hidden = store.alarms(&tenant(), AlarmFilter::Hidden, 10, None).await.expect("the store works");
    let hidden: Vec<_> = hidden.iter().map(|(row, _)| (row.key.alarm.as_str(), row.key.occurrence)).collect();
    assert_eq!(hidden.len(), 2, "{hidden:?}");
    assert!(hidden.contains(&("b", 0)), "but it is hidden: {hidden:?}");
    assert_eq!((&all[0].0.tag, &all[0].0.value, all[0].0.limit), (&None, &None, None));
}

pub(crate) async fn whatever_characters_a_gateway_writes_come_back(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let texts = ["a\0b", "\\", "\\0", "\0\\\0", "'; DROP TABLE batch; --", "\u{FFFF}\u{1F525}", " \r\n\t"];
    let said = |(number, text): (u64, &str)| AlarmTransition {
        value: Some(plant_model::Value::Text(text.into())),
        message: text.to_owned(),
        operation: Some(OperatorAction {
            command: CommandId::new("c-17").expect("valid"),
            actor: text.to_owned(),
            comment: text.to_owned(),
        }),
        ..transition(number, Raised, 10)
    };
    let steps: Vec<_> = (1..).zip(texts).map(said).collect();
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps.clone())]).await;
    let journal = store.journal(&tenant(), 10, None).await.expect("the store works");
    let mut found: Vec<_> = journal.into_iter().map(|row| row.transition).collect();
    found.reverse();
    assert_eq!(found, steps);
    let alarms = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    let mut messages: Vec<_> =
        alarms.iter().map(|(row, _)| (row.message.as_str(), row.value.clone())).collect();
    messages.reverse();
    let expected: Vec<_> = steps.iter().map(|step| (step.message.as_str(), step.value.clone())).collect();
    assert_eq!(messages, expected);
}

pub(crate) async fn an_occurrence_that_a_later_one_followed_is_not_active(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let unseen = AlarmTransition {
        to: AlarmState::ReturnedUnacknowledged,
        flags: AlarmFlags::of_state(AlarmState::ReturnedUnacknowledged),
        ..transition(1, ReturnedToNormal, 20)
    };
    let active =
        async || store.alarms(&tenant(), AlarmFilter::Active, 10, None).await.expect("the store works");
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, vec![transition(1, Raised, 10), unseen])]).await;
    let states: Vec<_> = active().await.iter().map(|(row, _)| row.state).collect();
    assert_eq!(states, [AlarmState::ReturnedUnacknowledged], "it waits for somebody");
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 2, vec![transition(2, Raised, 30)])]).await;
    let occurrences: Vec<_> = active().await.iter().map(|(row, _)| row.key.occurrence).collect();
    assert_eq!(occurrences, [2]);
}

pub(crate) async fn an_alarm_that_is_hidden_is_listed_as_such_until_it_comes_out(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let moved = |occurrence, cause, to, at| AlarmTransition {
        to,
        flags: AlarmFlags::of_state(to),
        ..transition(occurrence, cause, at)
    };
    let states = async |filter| {
        let rows = store.alarms(&tenant(), filter, 10, None).await.expect("the store works");
        rows.into_iter().map(|(row, _)| row.state).collect::<Vec<_>>()
    };
    let steps = vec![transition(1, Raised, 10), moved(1, Shelved, AlarmState::Shelved, 20)];
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps)]).await;
    assert_eq!(states(AlarmFilter::Hidden).await, [AlarmState::Shelved]);
    assert_eq!(states(AlarmFilter::Active).await, []);
    let steps = vec![moved(1, ShelveExpired, AlarmState::Unacknowledged, 30)];
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 2, steps)]).await;
    assert_eq!(states(AlarmFilter::Hidden).await, []);
    assert_eq!(states(AlarmFilter::Active).await, [AlarmState::Unacknowledged]);
}

pub(crate) async fn an_alarm_is_active_until_its_return_is_stored(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, vec![transition(1, Raised, 10)])]).await;
    let active = store.alarms(&tenant(), AlarmFilter::Active, 10, None).await.expect("the store works");
    assert_eq!(active.len(), 1);
    assert!(active[0].0.active && active[0].0.state == AlarmState::Unacknowledged);
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 2, vec![transition(1, ReturnedToNormal, 20)])]).await;
    assert_eq!(store.alarms(&tenant(), AlarmFilter::Active, 10, None).await.expect("the store works"), []);
    let all = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    let row = &all[0].0;
    assert_eq!((row.raised_at, row.returned_at, row.decided_at), (at(11), Some(at(21)), at(21)));
    assert!(!row.active);
}

pub(crate) async fn an_alarm_that_is_configured_no_longer_is_closed(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let flags = AlarmFlags { shelved_until: Some(at(3_000)), ..AlarmFlags::NORMAL };
    let hidden = AlarmTransition {
        alarm: AlarmId::new("b").expect("valid"),
        from: AlarmState::Normal,
        to: AlarmState::Shelved,
        flags,
        ..transition(0, Shelved, 10)
    };
    let gone = |t: &AlarmTransition| AlarmTransition {
        from: t.to,
        to: AlarmState::Normal,
        flags: AlarmFlags::NORMAL,
        priority: plant_model::AlarmPriority::Low,
        message: String::new(),
        ..AlarmTransition { cause: Removed, decided_at: at(21), ..t.clone() }
    };
    let raised = transition(1, Raised, 10);
    let steps = vec![raised.clone(), hidden.clone(), gone(&raised), gone(&hidden)];
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps)]).await;
    for filter in [AlarmFilter::Active, AlarmFilter::Hidden] {
        assert_eq!(store.alarms(&tenant(), filter, 10, None).await.expect("the store works"), []);
    }
    let all = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    let row = &all[0].0;
    assert_eq!((row.state, row.active, row.returned_at), (AlarmState::Normal, false, None));
    assert_eq!((row.priority, row.message.as_str()), (raised.priority, raised.message.as_str()));
    let journal = store.journal(&tenant(), 10, None).await.expect("the store works");
    assert_eq!(journal.iter().filter(|row| row.transition.cause == Removed).count(), 2);
}

pub(crate) async fn transitions_that_arrive_in_the_wrong_order_fold_to_the_same_alarm(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 2, vec![transition(1, ReturnedToNormal, 20)])]).await;
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, vec![transition(1, Raised, 10)])]).await;
    let all = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].0.raised_at, all[0].0.returned_at, all[0].0.active), (at(11), Some(at(21)), false));
}

pub(crate) async fn pages_of_a_list_neither_overlap_nor_skip(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    // Several of them at the same instant: the number in the store decides.
    let steps = (1..=7).map(|n| transition(n, Raised, 10 * i64::from(n > 4))).collect();
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, steps)]).await;
    let (mut alarms, mut journal) = (Vec::new(), Vec::new());
    let (mut after_alarm, mut after_step) = (None, None);
    for _ in 0..3 {
        let page = store.alarms(&tenant(), AlarmFilter::All, 3, after_alarm).await.expect("the store works");
        after_alarm = page.last().map(|(_, cursor)| *cursor);
        alarms.extend(page.iter().map(|(row, _)| row.key.occurrence));
        let page = store.journal(&tenant(), 3, after_step).await.expect("the store works");
        after_step = page.last().map(|row| row.cursor);
        journal.extend(page.iter().map(|row| row.transition.occurrence));
    }
    assert_eq!(alarms, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(journal, alarms);
}

pub(crate) async fn alarms_of_an_epoch_that_the_gateway_left_are_not_active(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let first = hello(EPOCH, [1, 1, 1], [1, 1, 1]);
    store.record_hello(&tenant(), &gateway(), &first, at(0)).await.expect("the store works");
    send(&*store, StreamId::Alarm, [alarm_batch(EPOCH, 1, vec![transition(1, Raised, 10)])]).await;
    let next = hello(Epoch::from_u64(2), [1, 1, 1], [1, 1, 1]);
    store.record_hello(&tenant(), &gateway(), &next, at(0)).await.expect("the store works");
    assert_eq!(store.alarms(&tenant(), AlarmFilter::Active, 10, None).await.expect("the store works"), []);
    let all = store.alarms(&tenant(), AlarmFilter::All, 10, None).await.expect("the store works");
    assert_eq!((all.len(), all[0].0.active), (1, false));
}
