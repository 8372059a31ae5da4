//! From a driver's readings to alarms, recorder and board: called inside the driver's task, never waits.

use std::sync::Arc;

use acquisition::{ChangeFilter, Instants, LinkState, MachineSink, Reading};
use edge_store::SampleInbox;
use service_kit::Clock;

use crate::alarms::MachineAlarms;
use crate::board::MachineBoard;

pub(crate) struct Sink {
    alarms: Arc<MachineAlarms>,
    inbox: SampleInbox,
    filter: ChangeFilter,
    clock: Clock,
}

impl Sink {
    pub(crate) fn new(
        alarms: Arc<MachineAlarms>,
        inbox: SampleInbox,
        filter: ChangeFilter,
        clock: Clock,
    ) -> Self {
        Self { alarms, inbox, filter, clock }
    }
}

impl Sink {
    /// Leaves what is worth it to the recorder. Alarms and board have seen everything.
    fn record(&mut self, readings: &[Reading], board: &MachineBoard) {
        let filter = &mut self.filter;
        let mut withheld = 0;
        self.inbox.push_samples(readings.iter().filter_map(|r| {
            if !filter.admits(r) {
                withheld += 1;
                return None;
            }
            board.series(r.tag).map(|series| (series, r.sample.clone()))
        }));
        board.counters.withheld_samples.add(withheld);
    }

    /// A machine that reports changes has said by its silence that the others stand.
    fn restate(&mut self, board: &MachineBoard) {
        let now = Instants {
            gateway_timestamp: self.clock.wall().to_whole_millis(),
            received_at: self.clock.now(),
        };
        let mut standing = Vec::new();
        self.filter
            .restate(now, |tag, sample| standing.extend(board.series(tag).map(|series| (series, sample))));
        if !standing.is_empty() {
            board.counters.restated_samples.add(standing.len() as u64);
            self.inbox.push_samples(standing);
        }
    }
}

impl MachineSink for Sink {
    fn accept(&mut self, readings: &[Reading]) {
        // Alarms first: a decision waits for nothing.
        let board = self.alarms.samples(readings);
        if !readings.is_empty() {
            self.record(readings, &board);
        }
        self.restate(&board);
    }

    fn link(&mut self, link: LinkState) {
        self.alarms.link(&link);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use acquisition::TagIndex;
    use alarm_engine::AlarmEngine;
    use edge_config::MachineConfig;
    use edge_store::{EdgeStore, Recorder, Settings};
    use plant_model::{Monotonic, Quality, Sample, Timestamp, Value};
    use protocol::SeriesId;

    use super::*;
    use crate::alarms::Outlets;
    use crate::lane::FastLane;
    use crate::latency::AlarmLatency;
    use crate::promise::Promise;

    const LATHE: &str = "version = 1\nid = \"lathe\"\n[opcua]\nendpoint = \"opc.tcp://h:4840\"\n\
        [[tags]]\nid = \"speed\"\ndata_type = \"float\"\nnode_id = \"ns=2;s=speed\"\n\
        report = { absolute = 100, heartbeat_s = 1 }\n\
        [[alarms]]\nid = \"fast\"\ntag = \"speed\"\nkind = \"high\"\nlimit = 80\nmessage = \"Too fast\"\n";

    fn sink(machine: &MachineConfig, inbox: SampleInbox, clock: Clock) -> (Sink, Arc<MachineBoard>) {
        let tags: Vec<_> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
        let engine = AlarmEngine::new(machine.id.clone(), &tags, machine.alarms.clone());
        let board = Arc::new(MachineBoard::new(machine, vec![SeriesId(1)], Arc::default()));
        let outlets = Outlets {
            outputs: Arc::default(),
            board: Arc::clone(&board),
            lane: Arc::new(FastLane::default()),
            recorder: inbox.clone(),
            latency: Arc::new(AlarmLatency::default()),
            clock,
        };
        let alarms =
            Arc::new(MachineAlarms::new(engine.expect("a good machine"), Promise::default(), outlets));
        (Sink::new(alarms, inbox, machine.change_filter(), clock), board)
    }

    fn reading(value: f64, clock: Clock) -> Reading {
        let sample = Sample {
            value: Some(Value::Float(value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: clock.wall(),
        };
        Reading { tag: TagIndex(0), sample, received_at: clock.now() }
    }

    #[test]
    fn alarms_and_board_see_what_the_recorder_is_spared_and_the_books_close() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let store = EdgeStore::open(Settings::new(folder.path().join("b.db")), now).expect("opens").store;
        let recorder = Recorder::start(store, move || now, Box::new(|_, _| {})).expect("starts");
        let machine = edge_config::read_machine(Path::new("m.toml"), LATHE).expect("good");
        let clock = Clock::start();
        let (mut sink, board) = sink(&machine, recorder.inbox(), clock);

        for value in [70.0, 71.0, 90.0] {
            sink.accept(&[reading(value, clock)]);
        }
        assert_eq!(board.standing_alarms().len(), 1, "90 is above the limit, though not recorded");
        assert_eq!(board.latest()[0].as_ref().and_then(|s| s.value.clone()), Some(Value::Float(90.0)));
        assert_eq!(board.counters.withheld_samples.get(), 2);

        let later = Monotonic::from_micros(clock.now().micros() + 2_000_000);
        sink.accept(&[Reading { received_at: later, ..reading(91.0, clock) }]);
        assert_eq!(board.counters.withheld_samples.get(), 2, "its heartbeat is due");

        let counters = recorder.counters();
        recorder.stop();
        assert_eq!(counters.samples_committed.load(Ordering::Relaxed), 4 - 2);
    }
}
