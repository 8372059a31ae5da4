//! The newest sample of every tag and the link of every machine: what the live message and the status
//! interface show. Locks are held for a copy, never across I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use acquisition::{DriverCounters, LinkState, TagIndex};
use alarm_engine::Snapshot;
use alarm_output::AlarmKey;
use edge_config::{Connection, MachineConfig};
use plant_model::{
    AlarmDefinition, AlarmId, AlarmState, AlarmTransition, MachineId, Sample, TagDefinition, Timestamp,
    TransitionCause, Value,
};
use protocol::{Live, MachineLink, SeriesId, SeriesSamples};

use crate::alarms::Readings;
use crate::outputs::ShownOutput;

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
    /// Alarms that are not normal.
    standing: BTreeMap<AlarmId, Standing>,
}

/// An alarm that is not normal. What raised it is not known of one that stood before a restart.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub state: AlarmState,
    pub occurrence: u64,
    pub raised_at: Option<Timestamp>,
    pub value: Option<Value>,
}

impl MachineBoard {
    /// `counters` go on where the machine was there before.
    pub(crate) fn new(machine: &MachineConfig, series: Vec<SeriesId>, counters: Arc<DriverCounters>) -> Self {
        let state = State {
            latest: vec![None; series.len()],
            fresh: vec![false; series.len()],
            link: None,
            standing: BTreeMap::new(),
        };
        Self {
            id: machine.id.clone(),
            name: machine.name.clone(),
            protocol: machine.connection.protocol(),
            bus: bus(&machine.connection),
            counters,
            tags: machine.tags.iter().map(|t| t.definition.clone()).collect(),
            alarms: machine.alarms.clone(),
            series,
            state: Mutex::new(state),
        }
    }

    /// Takes over from the place it had with other settings: what was counted, what stood by `known`, and what was read
    /// if the same is read on.
    pub(crate) fn take_over(&self, before: &Self, known: &Snapshot, readings: Readings) {
        self.restore(known);
        let before = before.lock();
        let mut state = self.lock();
        for (alarm, standing) in &mut state.standing {
            let known = before.standing.get(alarm).filter(|b| b.occurrence == standing.occurrence);
            if let Some(known) = known {
                (standing.raised_at, standing.value) = (known.raised_at, known.value.clone());
            }
        }
        if readings == Readings::GoOn {
            state.latest.clone_from(&before.latest);
            state.fresh.clone_from(&before.fresh);
            state.link.clone_from(&before.link);
        }
    }

    /// The name of one of its alarms among those of all machines.
    pub(crate) fn key(&self, alarm: &AlarmId) -> AlarmKey {
        AlarmKey { machine: self.id.clone(), alarm: alarm.clone() }
    }

    /// Alarms that stood before a restart still do.
    pub(crate) fn restore(&self, known: &Snapshot) {
        let standing = |alarm: &AlarmDefinition| {
            let kept = known.alarms.get(&alarm.id)?;
            let (state, occurrence) = (kept.flags.state(), kept.occurrence);
            let standing = Standing { state, occurrence, raised_at: None, value: None };
            (state != AlarmState::Normal).then(|| (alarm.id.clone(), standing))
        };
        self.lock().standing = self.alarms.iter().filter_map(standing).collect();
    }

    /// Notes what an alarm did.
    pub(crate) fn alarm_moved(&self, t: &AlarmTransition) {
        let mut state = self.lock();
        if t.to == AlarmState::Normal {
            state.standing.remove(&t.alarm);
            return;
        }
        let (at, value) = match state.standing.get(&t.alarm) {
            // Acknowledged, shelved and so on: it was raised when it was raised.
            Some(known) if t.cause != TransitionCause::Raised => (known.raised_at, known.value.clone()),
            Some(_) | None => (Some(t.decided_at), t.value.clone()),
        };
        let standing = Standing { state: t.to, occurrence: t.occurrence, raised_at: at, value };
        state.standing.insert(t.alarm.clone(), standing);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series number of a tag.
    pub(crate) fn series(&self, tag: TagIndex) -> Option<SeriesId> {
        self.series.get(tag.as_usize()).copied()
    }

    /// The series numbers of its tags, in their order.
    pub(crate) fn all_series(&self) -> &[SeriesId] {
        &self.series
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

    /// The alarms that are not normal, in the order of the configuration.
    pub(crate) fn standing_alarms(&self) -> Vec<(&AlarmDefinition, Standing)> {
        let state = self.lock();
        let standing = |a: &'_ AlarmDefinition| state.standing.get(&a.id).cloned();
        self.alarms.iter().filter_map(|a| Some((a, standing(a)?))).collect()
    }

    /// The definition of an alarm and where it stands; `None` for one that is not configured.
    pub(crate) fn alarm(&self, id: &str) -> Option<(&AlarmDefinition, Option<Standing>)> {
        let definition = self.alarms.iter().find(|a| a.id.as_str() == id)?;
        Some((definition, self.lock().standing.get(&definition.id).cloned()))
    }

    /// How many alarms people are to see.
    pub(crate) fn annunciated_alarms(&self) -> usize {
        self.lock().standing.values().filter(|s| s.state.is_annunciated()).count()
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
        Connection::OpcUa(_) | Connection::Gateway => None,
    }
}

/// What is configured at present: replaced as a whole by a reload.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    pub machines: Vec<Arc<MachineBoard>>,
    pub outputs: Vec<ShownOutput>,
    /// What the configuration asks for and cannot work.
    pub impossible: Arc<[String]>,
    /// The catalogue that tells the backend of it.
    pub catalogue: Arc<[u8]>,
}

/// All machines. Clones show the same.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<RwLock<Arc<Shown>>>);

impl Board {
    #[cfg(test)]
    pub(crate) fn of(machines: Vec<Arc<MachineBoard>>) -> Self {
        let board = Self::default();
        board.replace(Shown { machines, ..Shown::default() });
        board
    }

    /// What there is now. A reload does not change it under the hands of who looks.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, shown: Shown) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
    }

    pub(crate) fn machine(&self, id: &str) -> Option<Arc<MachineBoard>> {
        self.shown().machines.iter().find(|m| m.id.as_str() == id).cloned()
    }

    pub(crate) fn refresh(&self) {
        self.shown().machines.iter().for_each(|machine| machine.refresh());
    }

    /// What is new since the last call, with every link.
    pub(crate) fn live(&self, at: Timestamp) -> Live {
        let machines = &self.shown().machines;
        let mut latest = Vec::new();
        let mut links = Vec::with_capacity(machines.len());
        for machine in machines {
            machine.take_fresh(&mut latest);
            let (up, reason) = machine.link();
            links.push(MachineLink { machine: machine.id.clone(), up, reason });
        }
        Live { at, latest, links, transitions: Vec::new() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alarm_engine::AlarmSnapshot;
    use plant_model::{AlarmFlags, Quality};

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
        let machine = MachineBoard::new(&machine(), vec![SeriesId(4), SeriesId(5)], Arc::default());
        Board::of(vec![Arc::new(machine)])
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
        let machine = &board.shown().machines[0];
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
    fn an_alarm_that_stood_before_a_restart_is_shown_until_it_returns() {
        let board = board();
        let machine = &board.shown().machines[0];
        let stood = |id: &str, state| {
            let kept =
                AlarmSnapshot { occurrence: 3, flags: AlarmFlags::of_state(state), ..Default::default() };
            (AlarmId::new(id).expect("valid"), kept)
        };
        let known = [
            stood("fast", AlarmState::Acknowledged),
            stood("no_longer_configured", AlarmState::Unacknowledged),
        ];
        machine.restore(&Snapshot { alarms: known.into(), ..Snapshot::default() });
        let shown = machine.standing_alarms();
        let shown: Vec<_> = shown.iter().map(|(a, s)| (a.id.as_str(), s.state, s.occurrence)).collect();
        assert_eq!(shown, [("fast", AlarmState::Acknowledged, 3)]);
        machine.alarm_moved(&transition(AlarmState::Normal));
        assert!(machine.standing_alarms().is_empty());
    }

    #[test]
    fn a_person_changes_the_state_of_an_alarm_and_not_what_raised_it() {
        let board = board();
        let machine = &board.shown().machines[0];
        machine.alarm_moved(&transition(AlarmState::Unacknowledged));
        let acknowledged = AlarmTransition {
            cause: TransitionCause::Acknowledged,
            value: None,
            decided_at: Timestamp::from_micros(999),
            ..transition(AlarmState::Acknowledged)
        };
        machine.alarm_moved(&acknowledged);
        let (_, standing) = machine.alarm("fast").expect("configured");
        let standing = standing.expect("not normal");
        assert_eq!((standing.state, standing.value), (AlarmState::Acknowledged, Some(Value::Int(90))));
        assert_eq!(standing.raised_at, Some(Timestamp::from_micros(6)));
        assert_eq!(machine.annunciated_alarms(), 1);
        let shelved = AlarmTransition { cause: TransitionCause::Shelved, ..transition(AlarmState::Shelved) };
        machine.alarm_moved(&shelved);
        assert_eq!((machine.annunciated_alarms(), machine.standing_alarms().len()), (0, 1));
    }

    /// The transition of `fast` from normal, or back to it.
    pub(crate) fn transition(to: AlarmState) -> AlarmTransition {
        use plant_model::{AlarmPriority, TagId};
        let (from, cause) = if to == AlarmState::Normal {
            (AlarmState::Unacknowledged, TransitionCause::ReturnedToNormal)
        } else {
            (AlarmState::Normal, TransitionCause::Raised)
        };
        AlarmTransition {
            machine: MachineId::new("lathe-1").expect("valid"),
            alarm: AlarmId::new("fast").expect("valid"),
            tag: Some(TagId::new("speed").expect("valid")),
            occurrence: 1,
            from,
            to,
            cause,
            priority: AlarmPriority::Medium,
            value: Some(Value::Int(90)),
            limit: Some(80.0),
            deadband: 0.0,
            value_at: Timestamp::from_micros(5),
            decided_at: Timestamp::from_micros(6),
            message: "Too fast".to_owned(),
            first_out: false,
            flags: AlarmFlags::of_state(to),
            operation: None,
        }
    }
}
