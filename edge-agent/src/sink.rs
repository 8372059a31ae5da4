//! From a driver's readings to alarms, recorder and board: called inside the driver's task, never waits.

use std::sync::Arc;

use acquisition::{LinkState, MachineSink, Reading};
use edge_store::SampleInbox;

use crate::alarms::MachineAlarms;
use crate::board::MachineBoard;

pub(crate) struct Sink {
    alarms: Arc<MachineAlarms>,
    board: Arc<MachineBoard>,
    recorder: SampleInbox,
}

impl Sink {
    pub(crate) const fn new(
        alarms: Arc<MachineAlarms>,
        board: Arc<MachineBoard>,
        recorder: SampleInbox,
    ) -> Self {
        Self { alarms, board, recorder }
    }
}

impl MachineSink for Sink {
    fn accept(&mut self, readings: &[Reading]) {
        if readings.is_empty() {
            return;
        }
        // Alarms first: a decision waits for nothing.
        self.alarms.samples(readings);
        let board = &self.board;
        self.recorder.push_samples(
            readings.iter().filter_map(|r| board.series(r.tag).map(|series| (series, r.sample.clone()))),
        );
        board.update(readings.iter().map(|r| (r.tag, &r.sample)));
    }

    fn link(&mut self, link: LinkState) {
        self.alarms.link(&link);
        self.board.set_link(link);
    }
}
