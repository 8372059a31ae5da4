use plant_model::{
    AlarmFlags, AlarmState, DataType, Enumeration, Quality, TagDefinition, TransitionCause, Value,
};
use protocol::{CatalogueTag, MachineLink, SeriesSamples, TagRole};

use super::*;
use crate::LatestSample;

const STATE: u32 = 1;
const SPEED: u32 = 2;

fn gateway() -> GatewayId {
    GatewayId::new("gw-1").expect("valid")
}

fn press() -> MachineId {
    MachineId::new("press-1").expect("valid")
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// One press with a state and a speed, whose series numbers begin after `offset`.
fn catalogue(epoch: u64, offset: u32) -> Arc<Catalogue> {
    let tag = |series: u32, id: &str, role| CatalogueTag {
        series: SeriesId(offset + series),
        definition: TagDefinition {
            id: TagId::new(id).expect("valid"),
            name: id.to_owned(),
            unit: String::new(),
            data_type: DataType::Int,
            enumeration: Enumeration::default(),
        },
        role,
    };
    let machine = CatalogueMachine {
        id: press(),
        name: "Press 1".to_owned(),
        kind: "press".to_owned(),
        protocol: "modbus-tcp".to_owned(),
        tags: vec![tag(STATE, "state", TagRole::State), tag(SPEED, "speed", TagRole::Headline)],
        alarms: Vec::new(),
    };
    Arc::new(Catalogue { epoch: Epoch::from_u64(epoch), machines: vec![machine] })
}

fn sample(micros: i64, value: i64) -> Sample {
    Sample {
        value: Some(Value::Int(value)),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: at(micros),
    }
}

fn live(series: u32, samples: Vec<Sample>) -> Live {
    Live {
        at: at(1_000),
        latest: vec![SeriesSamples { series: SeriesId(series), samples }],
        links: Vec::new(),
        transitions: Vec::new(),
    }
}

fn link(up: bool) -> Live {
    let reason = if up { String::new() } else { "timeout".to_owned() };
    let links = vec![MachineLink { machine: press(), up, reason }];
    Live { at: at(1_000), latest: Vec::new(), links, transitions: Vec::new() }
}

fn transition(
    alarm: &str,
    occurrence: u64,
    micros: i64,
    to: AlarmState,
    priority: AlarmPriority,
) -> AlarmTransition {
    AlarmTransition {
        machine: press(),
        alarm: AlarmId::new(alarm).expect("valid"),
        tag: Some(TagId::new("speed").expect("valid")),
        occurrence,
        from: AlarmState::Normal,
        to,
        cause: TransitionCause::Raised,
        priority,
        value: Some(Value::Int(1)),
        limit: None,
        deadband: 0.0,
        value_at: at(micros),
        decided_at: at(micros),
        message: String::new(),
        first_out: false,
        flags: AlarmFlags::of_state(to),
        operation: None,
    }
}

fn view() -> LiveView {
    let mut view = LiveView::new();
    view.apply_catalogue(&gateway(), catalogue(1, 0));
    view.set_presence(&gateway(), Presence::Online, at(0));
    view
}

fn press_of(view: &LiveView) -> MachineView<'_> {
    view.machine(&gateway(), &press()).expect("it is in the catalogue")
}

#[test]
fn the_gateway_itself_is_no_machine_of_the_plant() {
    let mut all = (*catalogue(1, 0)).clone();
    let itself = CatalogueMachine {
        id: MachineId::new(protocol::GATEWAY_ID).expect("valid"),
        tags: Vec::new(),
        ..all.machines[0].clone()
    };
    all.machines.push(itself);
    let mut view = LiveView::new();
    view.apply_catalogue(&gateway(), Arc::new(all));
    assert_eq!((view.machines().count(), view.machines_of_plant().count()), (2, 1));
}

#[test]
fn late_data_never_moves_the_latest_value_back() {
    let mut view = view();
    assert_eq!(view.apply_live(&gateway(), &live(SPEED, vec![sample(50, 5)])).len(), 1);
    assert_eq!(view.apply_live(&gateway(), &live(SPEED, vec![sample(40, 4)])), []);
    assert_eq!(press_of(&view).latest, [None, Some(&sample(50, 5))]);
    assert_eq!(press_of(&view).last_sample_at, Some(at(50)));
}

#[test]
fn e2_a_value_from_the_future_moves_nothing_until_its_time_has_come() {
    let mut view = view();
    view.heard_from(&gateway(), Timestamp::from_micros(1_000));
    let limit = Timestamp::from_micros(1_000).plus(FUTURE_MAX).micros();
    assert_eq!(view.apply_live(&gateway(), &live(SPEED, vec![sample(limit + 1, 5)])), []);
    assert_eq!(view.apply_live(&gateway(), &live(SPEED, vec![sample(2_000, 4)])).len(), 1);
    view.heard_from(&gateway(), Timestamp::from_micros(2_000));
    assert_eq!(view.apply_live(&gateway(), &live(SPEED, vec![sample(limit + 1, 5)])).len(), 1);
}

#[test]
fn of_two_values_of_one_instant_the_one_that_came_last_is_shown() {
    let mut view = view();
    let updates = view.apply_live(&gateway(), &live(SPEED, vec![sample(50, 5), sample(50, 6)]));
    assert_eq!(updates[0].values, [(TagId::new("speed").expect("valid"), sample(50, 6))]);
    assert_eq!(press_of(&view).latest[1], Some(&sample(50, 6)));
}

#[test]
fn a_state_counts_from_its_first_sample_and_not_from_its_repetitions() {
    let mut view = view();
    for (micros, state) in [(10, 0), (20, 0), (30, 2), (40, 2)] {
        view.apply_live(&gateway(), &live(STATE, vec![sample(micros, state)]));
    }
    let press = press_of(&view);
    assert_eq!((press.state, press.state_since), (Some(MachineState::Down), Some(at(30))));
}

#[test]
fn a_state_that_cannot_be_trusted_is_none() {
    let mut view = view();
    let lost = Sample { quality: Quality::BAD_TIMEOUT, value: None, ..sample(20, 0) };
    view.apply_live(&gateway(), &live(STATE, vec![sample(10, 0), lost]));
    assert_eq!((press_of(&view).state, press_of(&view).state_since), (None, Some(at(20))));
    view.apply_live(&gateway(), &live(STATE, vec![sample(30, 77)]));
    assert_eq!(press_of(&view).state, None);
}

#[test]
fn a_restored_state_keeps_the_time_it_began() {
    let mut view = LiveView::new();
    let samples =
        vec![LatestSample { series: SeriesId(STATE), sample: sample(90, 1), unchanged_since: at(30) }];
    view.restore(&GatewayLatest { gateway: gateway(), catalogue: catalogue(1, 0), samples });
    view.apply_live(&gateway(), &live(STATE, vec![sample(100, 1)]));
    assert_eq!(
        (press_of(&view).state, press_of(&view).state_since),
        (Some(MachineState::Idle), Some(at(30)))
    );
}

#[test]
fn a_link_is_told_when_it_changes_and_is_unknown_while_the_gateway_is_away() {
    let mut view = view();
    assert_eq!(view.apply_live(&gateway(), &link(true)).len(), 1);
    assert_eq!(view.apply_live(&gateway(), &link(true)), []);
    assert_eq!(press_of(&view).link, LinkState::Up);
    let updates = view.apply_live(&gateway(), &link(false));
    assert_eq!(updates[0].link, LinkState::Down { reason: "timeout".to_owned() });
    assert!(view.set_presence(&gateway(), Presence::Offline, at(5)));
    assert!(!view.set_presence(&gateway(), Presence::Offline, at(6)), "no news");
    assert_eq!(press_of(&view).link, LinkState::Unknown);
    assert_eq!(view.presence(&gateway()), (Presence::Offline, Some(at(6))));
}

#[test]
fn values_of_tags_that_stay_outlive_a_new_catalogue_and_a_new_epoch() {
    let mut view = view();
    view.apply_live(&gateway(), &live(SPEED, vec![sample(50, 5)]));
    view.apply_transitions(
        &gateway(),
        &[transition("hot", 1, 10, AlarmState::Unacknowledged, AlarmPriority::High)],
    );
    view.apply_catalogue(&gateway(), catalogue(1, 10));
    assert_eq!(press_of(&view).latest[1], Some(&sample(50, 5)));
    assert_eq!(press_of(&view).active_alarms, 1);
    view.apply_catalogue(&gateway(), catalogue(2, 0));
    assert_eq!(press_of(&view).latest[1], Some(&sample(50, 5)));
    assert_eq!(press_of(&view).active_alarms, 0, "the alarms went with the store file of the gateway");
    assert_eq!(
        view.apply_live(&gateway(), &live(SPEED + 10, vec![sample(60, 6)])),
        [],
        "an old series number"
    );
}

#[test]
fn an_alarm_is_what_its_newest_transition_says() {
    use AlarmPriority::{Critical, Low};
    use AlarmState::{Normal, Unacknowledged};
    let mut view = view();
    view.apply_transitions(
        &gateway(),
        &[
            transition("hot", 2, 30, Unacknowledged, Critical),
            transition("hot", 1, 20, Normal, Critical),
            transition("slow", 1, 10, Unacknowledged, Low),
        ],
    );
    let press = press_of(&view);
    assert_eq!((press.active_alarms, press.worst_priority), (2, Some(Critical)));
    view.apply_transitions(&gateway(), &[transition("hot", 2, 30, Normal, Critical)]);
    assert_eq!(press_of(&view).worst_priority, Some(Low), "raised and over in one instant is over");
    assert_eq!(view.active_alarms(), 1);
}

#[test]
fn a_flood_of_invented_alarms_is_bounded() {
    let mut view = view();
    for n in 0..ALARMS_PER_GATEWAY_MAX + 10 {
        let alarm = format!("a{n}");
        view.apply_transitions(
            &gateway(),
            &[transition(&alarm, 1, 1, AlarmState::Unacknowledged, AlarmPriority::Low)],
        );
    }
    assert_eq!(view.active_alarms(), ALARMS_PER_GATEWAY_MAX);
}

#[test]
fn a_gateway_is_connected_since_it_came_and_its_own_alarms_count_from_their_raise() {
    let own = |occurrence, micros, to| AlarmTransition {
        machine: MachineId::new(GATEWAY_ID).expect("valid"),
        ..transition("buffer_filling", occurrence, micros, to, AlarmPriority::Medium)
    };
    let mut view = view();
    assert_eq!(view.health(&GatewayId::new("gw-9").expect("valid")), GatewayHealth::default());
    view.set_presence(&gateway(), Presence::Offline, at(5));
    for micros in [10, 20] {
        view.set_presence(&gateway(), Presence::Online, at(micros));
    }
    view.apply_transitions(
        &gateway(),
        &[
            transition("jam", 1, 11, AlarmState::Unacknowledged, AlarmPriority::High),
            own(1, 12, AlarmState::Unacknowledged),
            own(1, 15, AlarmState::Acknowledged),
        ],
    );
    let health = view.health(&gateway());
    assert_eq!((health.online_since, health.heard_at), (Some(at(10)), Some(at(20))));
    let id = AlarmId::new("buffer_filling").expect("valid");
    assert_eq!(health.alarms, [(id.clone(), at(12))]);
    view.apply_transitions(&gateway(), &[own(2, 40, AlarmState::Unacknowledged)]);
    assert_eq!(view.health(&gateway()).alarms, [(id, at(40))]);
    view.apply_transitions(&gateway(), &[own(2, 50, AlarmState::Normal)]);
    view.set_presence(&gateway(), Presence::Offline, at(60));
    assert_eq!(view.health(&gateway()), GatewayHealth { heard_at: Some(at(60)), ..GatewayHealth::default() });
}
