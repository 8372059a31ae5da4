//! The newest sample of every tag and the link of every machine: what the live message and the status
//! interface show. Locks are held for a copy, never across I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquisition::{DriverCounters, LinkState, TagIndex};
use plant_model::{MachineId, Sample, Timestamp};
use protocol::{Live, MachineLink, SeriesId, SeriesSamples};

/// One machine's place on the board.
#[derive(Debug)]
pub(crate) struct MachineBoard {
    pub id: MachineId,
    pub protocol: &'static str,
    pub counters: Arc<DriverCounters>,
    series: Vec<SeriesId>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latest: Vec<Option<Sample>>,
    /// Tags with a sample newer than the last live message.
    fresh: Vec<bool>,
    /// `None` until the first attempt has ended.
    link: Option<LinkState>,
    active_alarms: usize,
}

impl MachineBoard {
    pub(crate) fn new(id: MachineId, protocol: &'static str, series: Vec<SeriesId>) -> Self {
        let state = State {
            latest: vec![None; series.len()],
            fresh: vec![false; series.len()],
            link: None,
            active_alarms: 0,
        };
        Self { id, protocol, counters: Arc::default(), series, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series number of a tag.
    pub(crate) fn series(&self, tag: TagIndex) -> Option<SeriesId> {
        self.series.get(tag.as_usize()).copied()
    }

    pub(crate) fn update<'r>(
        &self,
        newest: impl Iterator<Item = (TagIndex, &'r Sample)>,
        active_alarms: usize,
    ) {
        let mut state = self.lock();
        for (tag, sample) in newest {
            let position = tag.as_usize();
            if let Some(slot) = state.latest.get_mut(position) {
                *slot = Some(sample.clone());
                state.fresh[position] = true;
            }
        }
        state.active_alarms = active_alarms;
    }

    pub(crate) fn set_link(&self, link: LinkState) {
        self.lock().link = Some(link);
    }

    /// Whether data arrive, and why not.
    pub(crate) fn link(&self) -> (bool, String) {
        match &self.lock().link {
            Some(LinkState::Up) => (true, String::new()),
            Some(LinkState::Down { reason }) => (false, reason.clone()),
            None => (false, "not connected yet".to_owned()),
        }
    }

    pub(crate) fn active_alarms(&self) -> usize {
        self.lock().active_alarms
    }

    fn take_fresh(&self, out: &mut Vec<SeriesSamples>) {
        let mut state = self.lock();
        for (position, series) in self.series.iter().enumerate() {
            if std::mem::take(&mut state.fresh[position])
                && let Some(sample) = &state.latest[position]
            {
                out.push(SeriesSamples { series: *series, samples: vec![sample.clone()] });
            }
        }
    }

    /// Offers every known value again, for a backend that has just connected.
    fn refresh(&self) {
        let mut state = self.lock();
        let known: Vec<bool> = state.latest.iter().map(Option::is_some).collect();
        state.fresh = known;
    }
}

/// All machines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    pub machines: Arc<Vec<Arc<MachineBoard>>>,
}

impl Board {
    pub(crate) fn refresh(&self) {
        for machine in self.machines.iter() {
            machine.refresh();
        }
    }

    /// What is new since the last call, with every link.
    pub(crate) fn live(&self, at: Timestamp) -> Live {
        let mut latest = Vec::new();
        let mut links = Vec::with_capacity(self.machines.len());
        for machine in self.machines.iter() {
            machine.take_fresh(&mut latest);
            let (up, reason) = machine.link();
            links.push(MachineLink { machine: machine.id.clone(), up, reason });
        }
        Live { at, latest, links }
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{Quality, Value};

    use super::*;

    fn sample(value: i64) -> Sample {
        Sample {
            value: Some(Value::Int(value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(value),
        }
    }

    #[test]
    fn a_live_message_carries_each_new_value_once_and_all_again_after_a_refresh() {
        let machine =
            MachineBoard::new(MachineId::new("m").expect("valid"), "opcua", vec![SeriesId(4), SeriesId(5)]);
        let board = Board { machines: Arc::new(vec![Arc::new(machine)]) };
        let (first, second) = (sample(1), sample(2));
        let machine = &board.machines[0];
        machine.update([(TagIndex(1), &first), (TagIndex(1), &second), (TagIndex(9), &first)].into_iter(), 0);
        let live = board.live(Timestamp::default());
        assert_eq!(live.latest, [SeriesSamples { series: SeriesId(5), samples: vec![sample(2)] }]);
        assert!(!live.links[0].up);
        assert!(board.live(Timestamp::default()).latest.is_empty());
        board.refresh();
        machine.set_link(LinkState::Up);
        let live = board.live(Timestamp::default());
        assert_eq!((live.latest.len(), live.links[0].up), (1, true));
    }
}
