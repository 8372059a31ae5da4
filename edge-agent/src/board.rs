//! The newest sample of every tag and the link of every machine: what the live message and the status
//! interface show. Locks are held for a copy, never across I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquisition::{DriverCounters, LinkState, TagIndex};
use alarm_engine::Snapshot;
use edge_config::{Connection, MachineConfig};
use plant_model::{
    AlarmDefinition, AlarmId, AlarmTransition, MachineId, Sample, TagDefinition, Timestamp, Value,
};
use protocol::{Live, MachineLink, SeriesId, SeriesSamples};

/// One machine's place on the board.
#[derive(Debug)]
pub(crate) struct MachineBoard {
    pub id: MachineId,
    pub name: String,
    pub protocol: &'static str,
    /// The bus it is on, as people know it; machines on the same bus share its time. `None` where a
    /// machine has a session of its own.
    pub bus: Option<String>,
    pub counters: Arc<DriverCounters>,
    pub tags: Vec<TagDefinition>,
    alarms: Vec<AlarmDefinition>,
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
    active: BTreeMap<AlarmId, Raised>,
}

/// What raised an alarm; nothing is known of one that was active before a restart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raised {
    pub at: Option<Timestamp>,
    pub value: Option<Value>,
}

impl MachineBoard {
    pub(crate) fn new(machine: &MachineConfig, series: Vec<SeriesId>) -> Self {
        let state = State {
            latest: vec![None; series.len()],
            fresh: vec![false; series.len()],
            link: None,
            active: BTreeMap::new(),
        };
        Self {
            id: machine.id.clone(),
            name: machine.name.clone(),
            protocol: machine.connection.protocol(),
            bus: bus(&machine.connection),
            counters: Arc::default(),
            tags: machine.tags.iter().map(|t| t.definition.clone()).collect(),
            alarms: machine.alarms.clone(),
            series,
            state: Mutex::new(state),
        }
    }

    /// Alarms that were active before a restart still are.
    pub(crate) fn restore(&self, known: &HashMap<AlarmId, Snapshot>) {
        let was_active = |alarm: &&AlarmDefinition| known.get(&alarm.id).is_some_and(|k| k.active);
        let active = self.alarms.iter().filter(was_active).map(|a| (a.id.clone(), Raised::default()));
        self.lock().active = active.collect();
    }

    /// Notes what an alarm did.
    pub(crate) fn alarm_moved(&self, transition: &AlarmTransition) {
        let mut state = self.lock();
        if transition.to.is_active() {
            let raised = Raised { at: Some(transition.decided_at), value: Some(transition.value.clone()) };
            state.active.insert(transition.alarm.clone(), raised);
        } else {
            state.active.remove(&transition.alarm);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series number of a tag.
    pub(crate) fn series(&self, tag: TagIndex) -> Option<SeriesId> {
        self.series.get(tag.as_usize()).copied()
    }

    pub(crate) fn update<'r>(&self, newest: impl Iterator<Item = (TagIndex, &'r Sample)>) {
        let mut state = self.lock();
        for (tag, sample) in newest {
            let position = tag.as_usize();
            if let Some(slot) = state.latest.get_mut(position) {
                *slot = Some(sample.clone());
                state.fresh[position] = true;
            }
        }
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

    /// The newest sample of each tag.
    pub(crate) fn latest(&self) -> Vec<Option<Sample>> {
        self.lock().latest.clone()
    }

    pub(crate) fn active_alarms(&self) -> Vec<(&AlarmDefinition, Raised)> {
        let state = self.lock();
        let active = |a: &'_ AlarmDefinition| state.active.get(&a.id).cloned();
        self.alarms.iter().filter_map(|a| Some((a, active(a)?))).collect()
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

fn bus(connection: &Connection) -> Option<String> {
    match connection {
        Connection::Modbus(connection) => Some(connection.address().to_string()),
        Connection::OpcUa(_) => None,
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
pub(crate) mod tests {
    use plant_model::{Quality, Value};

    use super::*;

    /// A machine with the tags `speed` and `parts` and the alarm `fast`, read from a configuration.
    pub(crate) fn machine() -> MachineConfig {
        let text = "version = 1\nid = \"lathe-1\"\nname = \"Lathe <1>\"\n[opcua]\nendpoint = \"opc.tcp://h:4840\"\n\
            [[tags]]\nid = \"speed\"\nunit = \"rpm\"\ndata_type = \"float\"\nnode_id = \"ns=2;s=speed\"\n\
            [[tags]]\nid = \"parts\"\ndata_type = \"int\"\nnode_id = \"ns=2;s=parts\"\n\
            [[alarms]]\nid = \"fast\"\ntag = \"speed\"\nkind = \"high\"\nlimit = 80\nmessage = \"Too fast\"\n";
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("machines.d")).expect("created");
        std::fs::write(folder.path().join("machines.d/lathe.toml"), text).expect("written");
        let agent = "version = 1\ntenant = \"t\"\ngateway = \"g\"\n[buffer]\npath = \"b\"";
        std::fs::write(folder.path().join("agent.toml"), agent).expect("written");
        edge_config::load(folder.path()).expect("good").machines.remove(0)
    }

    pub(crate) fn board() -> Board {
        let machine = MachineBoard::new(&machine(), vec![SeriesId(4), SeriesId(5)]);
        Board { machines: Arc::new(vec![Arc::new(machine)]) }
    }

    pub(crate) fn sample(value: i64) -> Sample {
        Sample {
            value: Some(Value::Int(value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(value),
        }
    }

    #[test]
    fn a_live_message_carries_each_new_value_once_and_all_again_after_a_refresh() {
        let board = board();
        let (first, second) = (sample(1), sample(2));
        let machine = &board.machines[0];
        machine.update([(TagIndex(1), &first), (TagIndex(1), &second), (TagIndex(9), &first)].into_iter());
        let live = board.live(Timestamp::default());
        assert_eq!(live.latest, [SeriesSamples { series: SeriesId(5), samples: vec![sample(2)] }]);
        assert!(!live.links[0].up);
        assert!(board.live(Timestamp::default()).latest.is_empty());
        board.refresh();
        machine.set_link(LinkState::Up);
        let live = board.live(Timestamp::default());
        assert_eq!((live.latest.len(), live.links[0].up), (1, true));
    }

    #[test]
    fn an_alarm_that_was_active_before_a_restart_is_shown_until_it_returns() {
        let board = board();
        let machine = &board.machines[0];
        let active = |id: &str| (AlarmId::new(id).expect("valid"), Snapshot { occurrence: 3, active: true });
        machine.restore(&HashMap::from([active("fast"), active("no_longer_configured")]));
        let shown = machine.active_alarms();
        assert_eq!(shown.iter().map(|(a, _)| a.id.as_str()).collect::<Vec<_>>(), ["fast"]);
        machine.alarm_moved(&transition(plant_model::AlarmState::Normal));
        assert!(machine.active_alarms().is_empty());
        machine.alarm_moved(&transition(plant_model::AlarmState::Unacknowledged));
        assert_eq!(machine.active_alarms()[0].1.value, Some(Value::Int(90)));
    }

    pub(crate) fn transition(to: plant_model::AlarmState) -> AlarmTransition {
        use plant_model::{AlarmPriority, AlarmState, TagId, TransitionCause};
        let (from, cause) = if to.is_active() {
            (AlarmState::Normal, TransitionCause::Raised)
        } else {
            (AlarmState::Unacknowledged, TransitionCause::ReturnedToNormal)
        };
        AlarmTransition {
            machine: MachineId::new("lathe-1").expect("valid"),
            alarm: AlarmId::new("fast").expect("valid"),
            tag: TagId::new("speed").expect("valid"),
            occurrence: 1,
            from,
            to,
            cause,
            priority: AlarmPriority::Medium,
            value: Value::Int(90),
            limit: 80.0,
            value_at: Timestamp::from_micros(5),
            decided_at: Timestamp::from_micros(6),
            message: "Too fast".to_owned(),
        }
    }
}
