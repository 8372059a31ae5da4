//! The fast lane: transitions as they are decided and results of commands, on their way to the uplink.
//!
//! Everything here is a copy or can be asked for again: the buffer has every transition, and a command that
//! comes again gets its result again. So the queues are short, drop their oldest, and count what they drop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::Replay;
use edge_store::Decided;
use plant_model::Timestamp;
use protocol::limits::LIVE_TRANSITIONS_MAX;
use protocol::{CommandOutcome, CommandResult, Instruction, Live};
use service_kit::Clock;
use tokio::sync::Notify;
use uplink_mqtt::{Urgent, UrgentFuture, UrgentMessage};

use crate::commands::{CommandDesk, GatewayDesk};
use crate::latency::{AlarmLatency, Stage, mark};
use crate::time::TimeDesk;

/// Transitions that wait: four messages, a second of a flood.
const TRANSITIONS_MAX: usize = 4 * LIVE_TRANSITIONS_MAX;

/// Results that wait: more than all machines of a plant can have under way at once is of no use.
const RESULTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Waiting {
    transitions: VecDeque<Decided>,
    results: VecDeque<CommandResult>,
    /// Batches that somebody asks for again. A connection that is lost takes it along: whoever asked can see what came.
    replay: Option<Replay>,
    /// In the message that was given to the transport last.
    given: Vec<Decided>,
}

/// Where drivers leave what is urgent. Leaving something never waits.
#[derive(Debug, Default)]
pub(crate) struct FastLane {
    waiting: Mutex<Waiting>,
    changed: Notify,
    dropped: AtomicU64,
}

impl FastLane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push_transitions(&self, decided: impl IntoIterator<Item = Decided>) {
        let mut waiting = self.lock();
        waiting.transitions.extend(decided);
        let over = waiting.transitions.len().saturating_sub(TRANSITIONS_MAX);
        waiting.transitions.drain(..over);
        drop(waiting);
        self.count_dropped(over);
        self.changed.notify_one();
    }

    pub(crate) fn push_result(&self, result: CommandResult) {
        let mut waiting = self.lock();
        if waiting.results.len() == RESULTS_MAX {
            waiting.results.pop_front();
            self.count_dropped(1);
        }
        waiting.results.push_back(result);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Whether results wait for the transport.
    pub(crate) fn has_results(&self) -> bool {
        !self.lock().results.is_empty()
    }

    /// Has acknowledged batches sent again; the newest request counts.
    pub(crate) fn push_replay(&self, replay: Replay) {
        self.lock().replay = Some(replay);
    }

    fn count_dropped(&self, count: usize) {
        self.dropped.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    }

    /// Copies and results that found no room since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn forget(&self) {
        *self.lock() = Waiting::default();
    }

    fn next_result(&self) -> Option<CommandResult> {
        self.lock().results.pop_front()
    }

    /// Takes as many transitions as one message holds; none if none wait.
    fn next_transitions(&self) -> Option<Vec<Decided>> {
        let mut waiting = self.lock();
        let count = waiting.transitions.len().min(LIVE_TRANSITIONS_MAX);
        let taken: Vec<Decided> = waiting.transitions.drain(..count).collect();
        waiting.given.clone_from(&taken);
        (!taken.is_empty()).then_some(taken)
    }

    fn take_given(&self) -> Vec<Decided> {
        std::mem::take(&mut self.lock().given)
    }
}

/// The fast lane and the command desk, as the uplink sees them.
pub(crate) struct UrgentTraffic {
    pub lane: Arc<FastLane>,
    pub desk: Arc<CommandDesk>,
    pub gateway: GatewayDesk,
    pub latency: Arc<AlarmLatency>,
    pub time: Arc<TimeDesk>,
    pub clock: Clock,
}

/// The message with times of the calendar throughout, where they are known.
pub(crate) fn placed(mut live: Live, clock: Clock) -> Live {
    if let Some(booted_at) = clock.booted_at() {
        live.place(booted_at);
    }
    live
}

impl Urgent for UrgentTraffic {
    fn connected(&self) {
        // Transitions of the time without connection come in order with the batches, results of
        // commands that came over another connection when they are asked for again.
        self.lane.forget();
    }

    fn next(&self) -> Option<UrgentMessage> {
        let at = self.clock.wall();
        // Without the time they wait for the moment until the backend has told it.
        if !at.is_unplaced()
            && let Some(decided) = self.lane.next_transitions()
        {
            let transitions = decided.into_iter().map(|d| d.transition).collect();
            let live = Live { at, latest: Vec::new(), links: Vec::new(), transitions };
            return Some(UrgentMessage::Transitions(placed(live, self.clock).encode()));
        }
        self.lane.next_result().map(|result| UrgentMessage::Result(result.encode()))
    }

    fn sent(&self) {
        let now = self.clock.now();
        for decided in self.lane.take_given() {
            self.latency.reached(Stage::Sent, mark(&decided), now);
        }
    }

    fn changed(&self) -> UrgentFuture<'_, ()> {
        Box::pin(self.lane.changed.notified())
    }

    fn time_told(&self, at: Timestamp, round_trip: Duration) {
        self.time.told(at, round_trip);
        self.lane.changed.notify_one();
    }

    fn command(&self, message: &[u8]) {
        let lane = Arc::clone(&self.lane);
        let reply = Box::new(move |result| lane.push_result(result));
        match Instruction::decode(message) {
            Ok(Instruction::Alarm(command)) => self.desk.give(command, reply),
            Ok(Instruction::Gateway(command)) => self.gateway.give(command, reply),
            Err(error) => {
                self.desk.count_unreadable();
                tracing::warn!(error = %error, "a command cannot be read");
                // Whoever gave it hears of it, if it can be said what is not done.
                if let Some(command) = Instruction::id_of(message) {
                    let outcome = CommandOutcome::Refused { reason: error.to_string() };
                    let (decided_at, output) = (self.clock.wall(), String::new());
                    reply(CommandResult { command, outcome, repeated: false, decided_at, output });
                }
            }
        }
    }

    fn replay(&self) -> Option<Replay> {
        self.lane.lock().replay.take()
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{AlarmState, CommandId, Monotonic, Timestamp};
    use protocol::CommandOutcome;

    use super::*;
    use crate::board::tests::transition;

    fn traffic() -> UrgentTraffic {
        let clock = Clock::start();
        UrgentTraffic {
            lane: Arc::default(),
            desk: Arc::new(CommandDesk::new(clock)),
            gateway: GatewayDesk::new(clock).0,
            latency: Arc::default(),
            time: Arc::new(TimeDesk::of_the_system(clock)),
            clock,
        }
    }

    fn decided(occurrence: u64) -> Decided {
        let mut transition = transition(AlarmState::Unacknowledged);
        transition.occurrence = occurrence;
        Decided { transition, at: Monotonic::default() }
    }

    fn result(id: &str) -> CommandResult {
        CommandResult {
            command: CommandId::new(id).expect("valid"),
            outcome: CommandOutcome::Done,
            repeated: false,
            decided_at: Timestamp::default(),
            output: String::new(),
        }
    }

    fn occurrences(message: Option<UrgentMessage>) -> Vec<u64> {
        let Some(UrgentMessage::Transitions(bytes)) = message else { panic!("transitions: {message:?}") };
        let live = Live::decode(&bytes).expect("a live message");
        assert!(live.latest.is_empty() && live.links.is_empty());
        live.transitions.iter().map(|t| t.occurrence).collect()
    }

    #[test]
    fn transitions_go_before_results_and_in_the_order_of_their_decisions() {
        let traffic = traffic();
        traffic.lane.push_result(result("c"));
        traffic.lane.push_transitions([decided(1), decided(2)]);
        traffic.lane.push_transitions([decided(3)]);
        assert_eq!(occurrences(traffic.next()), [1, 2, 3]);
        assert!(matches!(traffic.next(), Some(UrgentMessage::Result(_))));
        assert_eq!(traffic.next(), None);
    }

    #[test]
    fn a_flood_is_sent_in_messages_of_bounded_size_and_what_is_too_much_is_dropped_and_counted() {
        let traffic = traffic();
        traffic.lane.push_transitions((1..=TRANSITIONS_MAX as u64 + 5).map(decided));
        let first = occurrences(traffic.next());
        assert_eq!((first.len(), first[0]), (LIVE_TRANSITIONS_MAX, 6), "the oldest are dropped");
        assert_eq!(traffic.lane.dropped(), 5);
        let rest = std::iter::from_fn(|| traffic.next()).count();
        assert_eq!(rest, 3);
        (0..=RESULTS_MAX).for_each(|n| traffic.lane.push_result(result(&format!("c{n}"))));
        assert_eq!(traffic.lane.dropped(), 6);
    }

    #[test]
    fn what_gathered_without_a_connection_is_left_to_the_batches() {
        let traffic = traffic();
        traffic.lane.push_transitions([decided(1)]);
        traffic.connected();
        assert_eq!(traffic.next(), None);
    }

    #[test]
    fn only_what_the_transport_has_taken_counts_as_sent() {
        let traffic = traffic();
        traffic.lane.push_transitions([decided(1), decided(2)]);
        let _ = traffic.next();
        assert!(traffic.latency.rows().is_empty());
        traffic.sent();
        traffic.sent();
        assert_eq!(
            traffic.latency.rows().iter().map(|r| (r.stage, r.count)).collect::<Vec<_>>(),
            [("sent", 2)]
        );
    }

    #[test]
    fn a_command_that_is_not_known_is_refused_under_its_id() {
        let traffic = traffic();
        // The first field of the message, and a verb.
        traffic.command(b"\x02\x0a\x03c-7\x2a\x04melt");
        let Some(UrgentMessage::Result(bytes)) = traffic.next() else { panic!("an answer") };
        let answer = CommandResult::decode(&bytes).expect("a result");
        assert_eq!((answer.command.as_str(), traffic.desk.unreadable()), ("c-7", 1));
        let CommandOutcome::Refused { reason } = answer.outcome else { panic!("refused: {answer:?}") };
        assert!(reason.contains("melt"), "{reason}");
    }

    #[test]
    fn bytes_that_are_no_command_are_counted_and_not_answered() {
        let traffic = traffic();
        traffic.command(b"{}");
        assert_eq!((traffic.desk.unreadable(), traffic.next()), (1, None));
    }
}
