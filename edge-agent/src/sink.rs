//! From a driver's readings to alarms, recorder and board: called inside the driver's task, never waits.

use std::sync::Arc;

use acquisition::{LinkState, MachineSink, Reading};
use alarm_engine::AlarmEngine;
use edge_store::SampleInbox;
use plant_model::AlarmTransition;
use service_kit::Clock;

use crate::board::MachineBoard;

pub(crate) struct Sink {
    engine: AlarmEngine,
    board: Arc<MachineBoard>,
    inbox: SampleInbox,
    clock: Clock,
    /// Transitions of the current call; kept for its capacity.
    transitions: Vec<AlarmTransition>,
}

impl Sink {
    pub(crate) fn new(
        engine: AlarmEngine,
        board: Arc<MachineBoard>,
        inbox: SampleInbox,
        clock: Clock,
    ) -> Self {
        Self { engine, board, inbox, clock, transitions: Vec::new() }
    }

    fn decide(&mut self, readings: &[Reading]) {
        let wall = self.clock.wall();
        for reading in readings {
            self.engine.handle_sample(
                reading.tag.as_usize(),
                &reading.sample,
                reading.received_at,
                wall,
                &mut self.transitions,
            );
        }
        let now = self.clock.now();
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now, wall, &mut self.transitions);
        }
        for transition in &self.transitions {
            tracing::info!(machine.id = %transition.machine, alarm.id = %transition.alarm,
                occurrence = transition.occurrence, cause = transition.cause.name(), value = %transition.value,
                "alarm");
            self.board.alarm_moved(transition);
        }
        if !self.transitions.is_empty() {
            self.inbox.push_transitions(self.transitions.drain(..));
        }
    }
}

impl MachineSink for Sink {
    fn accept(&mut self, readings: &[Reading]) {
        // Alarms first: a decision waits for nothing.
        self.decide(readings);
        if readings.is_empty() {
            return;
        }
        let board = &self.board;
        self.inbox.push_samples(
            readings.iter().filter_map(|r| board.series(r.tag).map(|series| (series, r.sample.clone()))),
        );
        board.update(readings.iter().map(|r| (r.tag, &r.sample)));
    }

    fn link(&mut self, link: LinkState) {
        self.board.set_link(link);
    }
}
