//! The alarms of one machine: its engine, and what a decision sets in motion.
//!
//! Two tasks on the drivers' scheduler feed it: the driver with samples and the link, and [`keep`] with the
//! end of timers and with commands. Both hold the lock for microseconds and never while they wait, so that
//! everything about a machine has one order and a delay ends in time even if the machine is silent.
//!
//! A decision goes, in this order, to the log and the board, to the outputs of this gateway, onto the fast
//! lane to the uplink, and into the recorder. None of them waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquisition::{LinkState, Reading};
use alarm_engine::{AlarmEngine, AlarmSnapshot, Link, Snapshot};
use alarm_output_driver::OutputFeed;
use edge_store::{Decided, SampleInbox, StoredAlarm};
use plant_model::{AlarmDefinition, AlarmId, AlarmTransition, Monotonic, Timestamp};
use protocol::{Command, CommandOutcome, CommandResult};
use service_kit::Clock;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::board::MachineBoard;
use crate::commands::Order;
use crate::lane::FastLane;
use crate::latency::{AlarmLatency, Stage, mark};
use crate::promise::{Promise, Since};

/// Where decisions go.
#[derive(Clone)]
pub(crate) struct Outlets {
    pub board: Arc<MachineBoard>,
    pub outputs: Arc<OutputFeed>,
    pub lane: Arc<FastLane>,
    pub recorder: SampleInbox,
    pub latency: Arc<AlarmLatency>,
    pub clock: Clock,
}

/// Whether a machine is read on without a pause while its settings change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readings {
    /// What was read last holds.
    GoOn,
    /// Another connection brings everything anew.
    BeginAnew,
}

/// The alarms of one machine.
pub(crate) struct MachineAlarms {
    state: Mutex<State>,
    clock: Clock,
    /// The next timer ends earlier than [`keep`] knows.
    earlier: Notify,
}

struct State {
    engine: AlarmEngine,
    promise: Promise,
    outlets: Outlets,
    /// Transitions of the current call; kept for its capacity.
    moved: Vec<AlarmTransition>,
}

impl MachineAlarms {
    /// `promise` is what its decisions are held against.
    pub(crate) fn new(engine: AlarmEngine, promise: Promise, outlets: Outlets) -> Self {
        let clock = outlets.clock;
        let state = State { engine, promise, outlets, moved: Vec::new() };
        Self { state: Mutex::new(state), clock, earlier: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up where the last run left off; what ended meanwhile is announced.
    pub(crate) fn restore(&self, known: &Snapshot) {
        let now = self.clock.now();
        self.decide(&mut self.lock(), None, |engine, wall, moved| engine.restore(known, now, wall, moved));
    }

    /// Goes on with other settings, between two readings: what stood stands, and of an alarm that is defined in another
    /// way it is as after a restart. What ended by the change is announced, and so is what there is no longer.
    pub(crate) fn renew(
        &self,
        engine: AlarmEngine,
        promise: Promise,
        board: Arc<MachineBoard>,
        readings: Readings,
    ) {
        let mut state = self.lock();
        self.end_timers(&mut state);
        let now = self.clock.now();
        self.decide(&mut state, None, |before, wall, moved| {
            before.retire(|alarm| engine.has(alarm), wall, moved);
        });
        let known = state.engine.snapshot(now);
        let before = std::mem::replace(&mut state.outlets.board, Arc::clone(&board));
        board.take_over(&before, &known, readings);
        (state.engine, state.promise) = (engine, promise);
        self.decide(&mut state, None, |engine, wall, moved| engine.restore(&known, now, wall, moved));
        if readings == Readings::GoOn {
            self.look_again(&mut state, &board);
        }
        state.outlets.forget_gone(&before);
        self.earlier.notify_one();
    }

    /// Judges what is known of the process by new definitions: a machine that reports changes does not say it again.
    fn look_again(&self, state: &mut State, board: &MachineBoard) {
        let now = self.clock.now();
        if board.link().0 {
            self.decide(state, None, |engine, wall, moved| engine.handle_link(Link::Up, now, wall, moved));
        }
        for (tag, sample) in board.latest().into_iter().enumerate() {
            let Some(sample) = sample else { continue };
            self.decide(state, None, |engine, wall, moved| {
                engine.handle_sample(tag, &sample, now, wall, moved);
            });
        }
    }

    /// Holds decisions against another promise from here on.
    pub(crate) fn promise(&self, promise: Promise) {
        self.lock().promise = promise;
    }

    /// Tells the outputs how every alarm stands, for those that are new.
    pub(crate) fn tell_outputs(&self) {
        let state = self.lock();
        let Outlets { board, outputs, .. } = &state.outlets;
        for (alarm, standing) in board.standing_alarms() {
            outputs.stands(&board.key(&alarm.id), standing.state, alarm.priority);
        }
    }

    /// There is no such machine any more: its alarms are closed, and no output goes on for it. Nobody feeds it any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        self.decide(&mut state, None, |engine, wall, moved| engine.retire(|_| false, wall, moved));
        let Outlets { board, outputs, .. } = &state.outlets;
        board.standing_alarms().iter().for_each(|(alarm, _)| outputs.gone(&board.key(&alarm.id)));
    }

    /// New samples, in the order in which they were read. Returns the place on the board that shows them.
    pub(crate) fn samples(&self, readings: &[Reading]) -> Arc<MachineBoard> {
        let mut state = self.lock();
        let timer = state.engine.poll_timeout();
        self.end_timers(&mut state);
        for reading in readings {
            let (tag, at) = (reading.tag.as_usize(), reading.received_at);
            let since = state.promise.since(reading);
            self.decide(&mut state, Some(since), |engine, wall, moved| {
                engine.handle_sample(tag, &reading.sample, at, wall, moved);
            });
        }
        self.tell_keeper(timer, &state);
        let board = Arc::clone(&state.outlets.board);
        board.update(readings.iter().map(|r| (r.tag, &r.sample)));
        board
    }

    /// The machine is reached, or no longer.
    pub(crate) fn link(&self, link: &LinkState) {
        let mut state = self.lock();
        let timer = state.engine.poll_timeout();
        self.end_timers(&mut state);
        let now = self.clock.now();
        state.outlets.board.set_link(link.clone());
        let link = match link {
            LinkState::Up => Link::Up,
            LinkState::Down { .. } => Link::Down,
        };
        state.promise.forget();
        let step = |engine: &mut AlarmEngine, wall, moved: &mut _| engine.handle_link(link, now, wall, moved);
        self.decide(&mut state, Some(now.into()), step);
        self.tell_keeper(timer, &state);
        let (outputs, machine) = (&state.outlets.outputs, &state.outlets.board.id);
        match link {
            Link::Up => outputs.machine_back(machine),
            Link::Down => outputs.machine_lost(machine),
        }
    }

    /// The alarms whose timers run, for a restart to take up.
    pub(crate) fn running(&self) -> Vec<StoredAlarm> {
        let (state, now) = (self.lock(), self.clock.now());
        let stored = |(alarm, kept): (&AlarmId, AlarmSnapshot)| StoredAlarm {
            machine: state.engine.machine().clone(),
            alarm: alarm.clone(),
            occurrence: kept.occurrence,
            flags: kept.flags,
            timers: kept.timers,
        };
        state.engine.running(now).map(stored).collect()
    }

    /// Ends the timers that are due and says when the next one is.
    fn timers(&self) -> Option<Monotonic> {
        let mut state = self.lock();
        self.end_timers(&mut state);
        state.engine.poll_timeout()
    }

    fn end_timers(&self, state: &mut State) {
        let now = self.clock.now();
        if let Some(due) = state.engine.poll_timeout()
            && due <= now
        {
            let step =
                |engine: &mut AlarmEngine, wall, moved: &mut _| engine.handle_timeout(now, wall, moved);
            self.decide(state, Some(due.into()), step);
        }
    }

    /// Carries out a command once, however often it comes.
    pub(crate) fn command(&self, command: &Command) -> CommandResult {
        let mut state = self.lock();
        let timer = state.engine.poll_timeout();
        self.end_timers(&mut state);
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let known = state.engine.snapshot(now);
        // What was answered once keeps its answer, whatever has changed since.
        let repeated = known.commands.iter().any(|past| past.id == command.operation.command);
        let outcome = if repeated { None } else { out_of_date(command, &known, wall) };
        let outcome = outcome.unwrap_or_else(|| self.carry_out(command, &mut state));
        self.tell_keeper(timer, &state);
        let (command, output) = (command.operation.command.clone(), String::new());
        CommandResult { command, outcome, repeated, decided_at: wall, output }
    }

    fn carry_out(&self, command: &Command, state: &mut State) -> CommandOutcome {
        let now = self.clock.now();
        let answer = self.decide(state, None, |engine, wall, moved| {
            let action = command.operation.clone();
            engine.handle_command(&command.alarm, &command.request, action, now, wall, moved)
        });
        match answer {
            Ok(()) => CommandOutcome::Done,
            Err(refusal) => CommandOutcome::Refused { reason: refusal.to_string() },
        }
    }

    /// Lets the engine decide and sets in motion what follows. `since` is when it could have been decided.
    fn decide<T>(
        &self,
        state: &mut State,
        since: Option<Since>,
        step: impl FnOnce(&mut AlarmEngine, Timestamp, &mut Vec<AlarmTransition>) -> T,
    ) -> T {
        let State { engine, promise, outlets, moved } = state;
        let outcome = step(engine, self.clock.wall(), moved);
        if !moved.is_empty() {
            let at = self.clock.now();
            if let Some(since) = since {
                moved.iter().for_each(|transition| promise.judge(transition, since, at));
            }
            let decided = moved.drain(..).map(|transition| Decided { transition, at }).collect();
            outlets.announce(decided, since.map(|since| since.read_at));
        }
        outcome
    }

    fn tell_keeper(&self, before: Option<Monotonic>, state: &State) {
        let next = state.engine.poll_timeout();
        if next.is_some_and(|next| before.is_none_or(|before| next < before)) {
            self.earlier.notify_one();
        }
    }
}

impl Outlets {
    /// No output goes on for an alarm of `before` that is no more, or is another one to it.
    fn forget_gone(&self, before: &MachineBoard) {
        let after = self.board.standing_alarms();
        for (alarm, _) in before.standing_alarms() {
            let same = |(a, _): &(&AlarmDefinition, _)| (&a.id, a.priority) == (&alarm.id, alarm.priority);
            if !after.iter().any(same) {
                self.outputs.gone(&before.key(&alarm.id));
            }
        }
        for (alarm, standing) in after {
            self.outputs.stands(&self.board.key(&alarm.id), standing.state, alarm.priority);
        }
    }

    fn announce(&self, decided: Vec<Decided>, since: Option<Monotonic>) {
        for one in &decided {
            let t = &one.transition;
            tracing::info!(machine.id = %t.machine, alarm.id = %t.alarm, occurrence = t.occurrence,
                cause = t.cause.name(), state = t.to.mnemonic(), value = t.value.as_ref().map(tracing::field::display),
                actor = t.operation.as_ref().map(|o| o.actor.as_str()), "alarm");
            if let Some(since) = since {
                let (_, priority) = mark(one);
                self.latency.reached(Stage::Decision, (since, priority), one.at);
            }
            self.board.alarm_moved(t);
            self.outputs.moved(t);
        }
        self.lane.push_transitions(decided.iter().cloned());
        self.recorder.push_transitions(decided);
    }
}

/// Why a command that came for the first time is not carried out any more, if it is not.
fn out_of_date(command: &Command, known: &Snapshot, wall: Timestamp) -> Option<CommandOutcome> {
    if wall > command.expires_at {
        return Some(CommandOutcome::Expired);
    }
    let seen = command.occurrence.filter(|_| Command::needs_occurrence(&command.request))?;
    let current = known.alarms.get(&command.alarm)?.occurrence;
    (seen != current).then(|| CommandOutcome::Refused {
        reason: format!(
            "{} {} was for occurrence {seen}; it is occurrence {current} now: look at it again",
            command.request.name(),
            command.alarm
        ),
    })
}

/// Ends the timers of a machine's alarms in time, and carries out its commands, until `stop` is cancelled.
pub(crate) async fn keep(
    alarms: Arc<MachineAlarms>,
    mut orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
) {
    loop {
        let due = alarms.timers();
        let left = due.map(|due| due.since(alarms.clock.now()));
        tokio::select! {
            () = stop.cancelled() => return,
            Some(order) = orders.recv() => (order.reply)(alarms.command(&order.command)),
            () = alarms.earlier.notified() => {}
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests;
