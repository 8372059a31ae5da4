use std::time::Duration;

use acquisition::TagIndex;
use edge_store::{EdgeStore, Recorder, Settings};
use plant_model::{
    AcknowledgeClass, AlarmCommand, AlarmDefinition, AlarmState, Quality, Sample, TagId, TransitionCause,
    Value,
};
use uplink_mqtt::{Urgent as _, UrgentMessage};

use super::*;
use crate::board::tests::{board, machine};
use crate::commands::CommandDesk;
use crate::commands::GatewayDesk;
use crate::commands::tests::command;
use crate::lane::UrgentTraffic;
use crate::time::TimeDesk;

/// A machine with the alarm `fast` (speed above 80), which waits for an acknowledgement.
struct Fixture {
    alarms: Arc<MachineAlarms>,
    outlets: Outlets,
    traffic: UrgentTraffic,
    recorder: Recorder,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut AlarmDefinition)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::start();
        let store = EdgeStore::open(Settings::new(folder.path().join("buffer.db")), clock.wall());
        let store = store.expect("opens").store;
        let latency = Arc::new(AlarmLatency::default());
        let recorder = Recorder::start(store, move || clock.wall(), Box::new(|_, _| {})).expect("starts");
        let lane = Arc::new(FastLane::default());
        let outlets = Outlets {
            board: Arc::clone(&board().shown().machines[0]),
            outputs: Arc::default(),
            lane: Arc::clone(&lane),
            recorder: recorder.inbox(),
            latency: Arc::clone(&latency),
            clock,
        };
        let machine = machine();
        let mut definition = machine.alarms[0].clone();
        definition.acknowledge = AcknowledgeClass::Required;
        change(&mut definition);
        let tags: Vec<TagId> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
        let engine = AlarmEngine::new(machine.id, &tags, vec![definition]).expect("sound");
        let alarms = Arc::new(MachineAlarms::new(engine, Promise::default(), outlets.clone()));
        let (desk, time) = (Arc::new(CommandDesk::new(clock)), Arc::new(TimeDesk::of_the_system(clock)));
        let gateway = GatewayDesk::new(clock).0;
        let traffic = UrgentTraffic { lane, desk, gateway, latency, time, clock };
        Self { alarms, outlets, traffic, recorder, _folder: folder }
    }

    fn speed(&self, speed: f64) {
        let sample = Sample {
            value: Some(Value::Float(speed)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: self.outlets.clock.wall(),
        };
        let received_at = self.outlets.clock.now();
        self.alarms.samples(&[Reading { tag: TagIndex(0), sample, received_at }]);
    }

    fn state(&self) -> AlarmState {
        let (_, standing) = self.outlets.board.alarm("fast").expect("configured");
        standing.map_or(AlarmState::Normal, |s| s.state)
    }

    /// The transitions that went onto the fast lane since the last call.
    fn announced(&self) -> Vec<AlarmTransition> {
        let messages = std::iter::from_fn(|| self.traffic.next());
        let transitions = |message| match message {
            UrgentMessage::Transitions(bytes) => protocol::Live::decode(&bytes).expect("ours").transitions,
            UrgentMessage::Result(_) => Vec::new(),
        };
        messages.flat_map(transitions).collect()
    }
}

fn refusal(result: &CommandResult) -> &str {
    let CommandOutcome::Refused { reason } = &result.outcome else { panic!("refused: {result:?}") };
    reason
}

#[tokio::test]
async fn a_transition_goes_to_the_board_the_fast_lane_and_the_recorder_and_is_measured() {
    let fixture = Fixture::new(|_| {});
    fixture.speed(90.0);
    assert_eq!(fixture.state(), AlarmState::Unacknowledged);
    assert_eq!(fixture.announced().len(), 1);
    let stages: Vec<_> = fixture.outlets.latency.rows().iter().map(|r| (r.stage, r.count)).collect();
    assert_eq!(stages, [("decision", 1)]);
    let counters = fixture.recorder.counters();
    fixture.recorder.stop();
    assert_eq!(counters.transitions_committed.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_delay_ends_in_time_though_the_machine_is_silent() {
    let fixture = Fixture::new(|alarm| alarm.on_delay = Duration::from_millis(30));
    let stop = CancellationToken::new();
    let (_inbox, orders) = mpsc::channel(1);
    // It runs before there is any timer: it must hear of the first one.
    let keeper = tokio::spawn(keep(Arc::clone(&fixture.alarms), orders, stop.clone()));
    tokio::task::yield_now().await;
    fixture.speed(90.0);
    assert_eq!(fixture.state(), AlarmState::Normal, "the delay runs");
    let raised = async {
        while fixture.state() != AlarmState::Unacknowledged {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), raised).await.expect("no sample comes, the timer ends");
    stop.cancel();
    keeper.await.expect("it ends");
}

#[tokio::test]
async fn an_acknowledgement_of_one_occurrence_is_not_one_of_the_next() {
    let fixture = Fixture::new(|_| {});
    for speed in [90.0, 10.0, 90.0] {
        fixture.speed(speed);
    }
    let late = fixture.alarms.command(&command("a", AlarmCommand::Acknowledge, Some(1)));
    assert!(refusal(&late).contains("occurrence 2 now"), "{late:?}");
    assert_eq!(fixture.state(), AlarmState::Unacknowledged);
    let right = fixture.alarms.command(&command("b", AlarmCommand::Acknowledge, Some(2)));
    assert_eq!((right.outcome, fixture.state()), (CommandOutcome::Done, AlarmState::Acknowledged));
    let last = fixture.announced().pop().expect("announced");
    let operation = last.operation.expect("by a person");
    assert_eq!((last.cause, operation.actor.as_str()), (TransitionCause::Acknowledged, "anna"));
    assert_eq!(operation.comment, "tool is changed");
}

#[tokio::test]
async fn a_command_that_comes_again_gets_its_answer_again_and_moves_nothing() {
    let fixture = Fixture::new(|_| {});
    fixture.speed(90.0);
    let ask = || fixture.alarms.command(&command("a", AlarmCommand::Acknowledge, Some(1)));
    let (first, again) = (ask(), ask());
    assert_eq!((first.outcome, first.repeated), (CommandOutcome::Done, false));
    assert_eq!((again.outcome, again.repeated), (CommandOutcome::Done, true));
    assert_eq!(fixture.announced().len(), 2, "raised and acknowledged");
    // Even when the alarm has moved on: the answer is about the first time.
    fixture.speed(10.0);
    fixture.speed(90.0);
    assert_eq!((ask().outcome, fixture.state()), (CommandOutcome::Done, AlarmState::Unacknowledged));
    let other = fixture.alarms.command(&command("a", AlarmCommand::Unshelve, None));
    assert!(refusal(&other).contains('a'), "{other:?}");
}

#[tokio::test]
async fn a_command_that_comes_too_late_changes_nothing() {
    let fixture = Fixture::new(|_| {});
    fixture.speed(90.0);
    let mut late = command("a", AlarmCommand::Acknowledge, Some(1));
    late.expires_at = fixture.outlets.clock.wall().minus(Duration::from_secs(1));
    assert_eq!(fixture.alarms.command(&late).outcome, CommandOutcome::Expired);
    assert_eq!(fixture.state(), AlarmState::Unacknowledged);
    late.expires_at = Timestamp::from_micros(i64::MAX);
    let again = fixture.alarms.command(&late);
    assert_eq!((again.outcome, again.repeated), (CommandOutcome::Done, false), "given anew, it is new");
}

#[tokio::test]
async fn what_the_engine_refuses_is_answered_with_its_reason() {
    let fixture = Fixture::new(|alarm| alarm.shelve_max = Duration::from_secs(60));
    let shelve = AlarmCommand::Shelve { duration: Duration::from_secs(61) };
    let refused = fixture.alarms.command(&command("a", shelve, None));
    assert!(refusal(&refused).contains("at most 60s"), "{refused:?}");
    let mut unknown = command("b", AlarmCommand::Acknowledge, Some(1));
    unknown.alarm = plant_model::AlarmId::new("slow").expect("valid");
    assert!(refusal(&fixture.alarms.command(&unknown)).contains("no alarm slow"));
}
