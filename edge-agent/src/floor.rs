//! What runs for the machines: the connections on the drivers' scheduler, a keeper for the alarms of each machine, the
//! outputs; and how all that follows another configuration without a stop.
//!
//! A start is a change from nothing. A change is prepared first: whatever can fail has failed before anything is
//! touched. Then, in this order: outputs that go are made safe, lines that change end, alarms take up their new
//! definitions, everybody is shown the new machines (and the uplink the new catalogue), lines and outputs begin.

mod reach;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alarm_engine::{AlarmEngine, Snapshot};
use edge_config::{AgentConfig, MachineConfig};
use edge_store::{Decided, RecorderCounters, RunningTimers, SampleInbox, StoreClient};
use plant_model::{AlarmId, AlarmTransition, MachineId, TagId, Timestamp};
use protocol::{Epoch, SeriesId};
use service_kit::Clock;
use tokio::runtime::Handle;

use crate::alarms::{MachineAlarms, Outlets, Readings, keep};
use crate::board::{Board, MachineBoard, Shown};
use crate::catalogue::catalogue;
use crate::certificate::Certificate;
use crate::commands::CommandDesk;
use crate::gateway::Gauges;
use crate::lane::FastLane;
use crate::latency::AlarmLatency;
use crate::lines::{Line, LineParts, Plans, RunningLine};
use crate::outputs::{Outputs, Writers};
use crate::promise::{Promise, Punctuality};
use crate::reload::{Changes, ReloadError};
use crate::sink::Sink;
use crate::start::{Snapshots, snapshots};
use crate::task::{Task, join_all};
use crate::tools::physics::{self, Severity};

pub(crate) use reach::Writable;

/// How long the drivers may take to finish what they have begun.
const DRIVERS_STOP: Duration = Duration::from_secs(5);

/// What the floor is made of, and what it shares with the rest of the agent.
#[derive(Clone)]
pub(crate) struct FloorParts {
    pub sense: Handle,
    pub board: Board,
    pub inbox: SampleInbox,
    pub store: StoreClient,
    pub counters: Arc<RecorderCounters>,
    pub lane: Arc<FastLane>,
    pub latency: Arc<AlarmLatency>,
    pub punctuality: Arc<Punctuality>,
    pub certificate: Certificate,
    pub desk: Arc<CommandDesk>,
    pub epoch: Epoch,
    pub clock: Clock,
}

impl FloorParts {
    fn gauges(&self) -> Gauges {
        Gauges {
            recorder: Arc::clone(&self.counters),
            punctuality: Arc::clone(&self.punctuality),
            certificate: Arc::clone(&self.certificate),
            clock: self.clock,
        }
    }
}

/// The alarms of all machines, for those who ask after them at any time.
type AllAlarms = Arc<RwLock<Vec<Arc<MachineAlarms>>>>;

/// The machines, as they are configured and served.
pub(crate) struct Floor {
    parts: FloorParts,
    identity: Arc<driver_opcua::Identity>,
    /// `None` before the start.
    config: Option<AgentConfig>,
    plans: Plans,
    machines: BTreeMap<MachineId, RunningMachine>,
    lines: HashMap<Line, RunningLine>,
    outputs: Outputs,
    writers: Arc<Writers>,
    all_alarms: AllAlarms,
}

struct RunningMachine {
    alarms: Arc<MachineAlarms>,
    board: Arc<MachineBoard>,
    keeper: Task,
}

/// What a machine that is new or changed needs, made before anything is touched.
struct Prepared {
    engine: AlarmEngine,
    series: Vec<SeriesId>,
    known: Snapshot,
}

impl Floor {
    /// A floor without machines. `config` names what cannot change while the agent runs.
    pub(crate) fn new(parts: FloorParts, config: &AgentConfig) -> Self {
        let folder = state_folder(config).join("opcua");
        Self {
            identity: Arc::new(driver_opcua::Identity::new(folder, config.gateway.clone())),
            config: None,
            plans: Plans::default(),
            machines: BTreeMap::new(),
            lines: HashMap::new(),
            outputs: Outputs::new(parts.sense.clone(), parts.clock),
            writers: Arc::default(),
            all_alarms: Arc::default(),
            parts,
        }
    }

    /// The configuration that runs.
    pub(crate) const fn config(&self) -> Option<&AgentConfig> {
        self.config.as_ref()
    }

    /// Follows a configuration.
    ///
    /// # Errors
    /// Nothing was changed: its machines cannot be numbered in the buffer, or their alarms are unsound.
    pub(crate) async fn apply(&mut self, config: AgentConfig) -> Result<Changes, ReloadError> {
        let before = self.config.as_ref().map_or(&[][..], |config| &config.machines);
        let changes = Changes::between(before, &config.machines);
        let (mut prepared, left_behind) = self.prepare(&config, &changes).await?;
        self.close(left_behind);
        let plans = Plans::of(&config);

        let moved = self.moved(&config);
        self.outputs.stop_changed(&config, |id| moved.contains(id)).await;
        let anew = plans.read_anew(&self.plans);
        self.stop_lines(&plans).await;
        self.remove(&changes.removed).await;
        for machine in &config.machines {
            let readings = if anew.contains(&machine.id) { Readings::BeginAnew } else { Readings::GoOn };
            match prepared.remove(&machine.id) {
                Some(prepared) => self.place(machine, prepared, readings, &config),
                None => self.renew_promise(machine, &config),
            }
        }
        self.list_alarms();
        self.show(&config);
        self.start_lines(&config, &plans);
        self.writers.replace(plans.writers(&self.lines));
        let machines = &self.machines;
        let tell = || machines.values().for_each(|machine| machine.alarms.tell_outputs());
        let started = self.outputs.start(&config, &self.writers, tell);
        self.plans = plans;
        self.config = Some(config);
        self.show_outputs();
        started.map(|()| changes).map_err(ReloadError::Output)
    }

    async fn prepare(
        &self,
        config: &AgentConfig,
        changes: &Changes,
    ) -> Result<(HashMap<MachineId, Prepared>, Vec<AlarmTransition>), ReloadError> {
        let touched = || config.machines.iter().filter(|machine| changes.touch(&machine.id));
        let engine = |machine: &MachineConfig| {
            AlarmEngine::new(machine.id.clone(), &tags(machine), machine.alarms.clone())
        };
        let engines: Vec<AlarmEngine> = touched().map(engine).collect::<Result<_, _>>()?;
        let store = &self.parts.store;
        let numbers = store.series(touched().map(|m| (m.id.clone(), tags(m))).collect()).await?;
        // How a machine that comes back was left may not be committed yet. What cannot be committed now is not remembered.
        if let Err(error) = store.flush().await {
            tracing::warn!(error = %error, "what was decided last may not be known to machines that are new");
        }
        let (alarms, commands) = store.remembered().await?;
        let mut known = snapshots(alarms, commands);
        let left_behind = match self.config {
            None => left_behind(config, &known, self.parts.clock.wall()),
            // Who runs closes its own.
            Some(_) => Vec::new(),
        };
        let prepared = touched().zip(engines).zip(numbers).map(|((machine, engine), series)| {
            let known = known.remove(&machine.id).unwrap_or_default();
            (machine.id.clone(), Prepared { engine, series, known })
        });
        Ok((prepared.collect(), left_behind))
    }

    /// Says of alarms that stood when the last run ended and are configured no longer that they are closed.
    fn close(&self, left_behind: Vec<AlarmTransition>) {
        let at = self.parts.clock.now();
        for t in &left_behind {
            tracing::info!(machine.id = %t.machine, alarm.id = %t.alarm, occurrence = t.occurrence,
                cause = t.cause.name(), state = t.to.mnemonic(), "alarm");
        }
        let decided: Vec<Decided> =
            left_behind.into_iter().map(|transition| Decided { transition, at }).collect();
        self.parts.lane.push_transitions(decided.iter().cloned());
        self.parts.inbox.push_transitions(decided);
    }

    /// The machines that are reached in another way than before, or whose tags lie elsewhere.
    fn moved(&self, config: &AgentConfig) -> Vec<MachineId> {
        let before = self.config.iter().flat_map(|config| &config.machines);
        let now = |id| config.machines.iter().find(|m: &&MachineConfig| m.id == id);
        let is_moved = |m: &&MachineConfig| {
            now(m.id.clone()).is_none_or(|now| now.connection != m.connection || tags(now) != tags(m))
        };
        before.filter(is_moved).map(|m| m.id.clone()).collect()
    }

    /// Ends the lines that are not there any more as they are.
    async fn stop_lines(&mut self, plans: &Plans) {
        let before = &self.plans;
        let goes = |line: &Line| plans.lines.get(line) != before.lines.get(line);
        let gone: Vec<Task> =
            self.lines.extract_if(|line, _| goes(line)).map(|(_, running)| running.task).collect();
        if !join_all(gone, DRIVERS_STOP).await {
            tracing::warn!("some connections did not end in time and were cut");
        }
    }

    async fn remove(&mut self, removed: &[MachineId]) {
        removed.iter().for_each(|id| self.parts.desk.close(id));
        let gone = removed.iter().filter_map(|id| self.machines.remove(id));
        let (alarms, keepers): (Vec<_>, Vec<_>) =
            gone.map(|machine| (machine.alarms, machine.keeper)).unzip();
        join_all(keepers, DRIVERS_STOP).await;
        alarms.iter().for_each(|alarms| alarms.end());
    }

    /// Takes up a machine that is new or changed.
    fn place(
        &mut self,
        machine: &MachineConfig,
        prepared: Prepared,
        readings: Readings,
        config: &AgentConfig,
    ) {
        let Prepared { engine, series, known } = prepared;
        let promise = self.promise(machine, config);
        if let Some(running) = self.machines.get_mut(&machine.id) {
            let counters = Arc::clone(&running.board.counters);
            running.board = Arc::new(MachineBoard::new(machine, series, counters));
            running.alarms.renew(engine, promise, Arc::clone(&running.board), readings);
            return;
        }
        let board = Arc::new(MachineBoard::new(machine, series, Arc::default()));
        board.restore(&known);
        let outlets = Outlets {
            board: Arc::clone(&board),
            outputs: self.outputs.feed(),
            lane: Arc::clone(&self.parts.lane),
            recorder: self.parts.inbox.clone(),
            latency: Arc::clone(&self.parts.latency),
            clock: self.parts.clock,
        };
        let alarms = Arc::new(MachineAlarms::new(engine, promise, outlets));
        alarms.restore(&known);
        let orders = self.parts.desk.open(machine.id.clone());
        let keeper = Task::spawn(&self.parts.sense, |stop| keep(Arc::clone(&alarms), orders, stop));
        tracing::debug!(machine.id = %machine.id, bus = board.bus.as_deref(), "a machine to be read");
        self.machines.insert(machine.id.clone(), RunningMachine { alarms, board, keeper });
    }

    /// The usual budget may be another one for machines that stay as they are.
    fn renew_promise(&self, machine: &MachineConfig, config: &AgentConfig) {
        let usual = self.config.as_ref().map(|config| config.alarm_latency_budget);
        if usual != Some(config.alarm_latency_budget)
            && let Some(running) = self.machines.get(&machine.id)
        {
            running.alarms.promise(self.promise(machine, config));
        }
    }

    fn promise(&self, machine: &MachineConfig, config: &AgentConfig) -> Promise {
        Promise::of(machine, config.alarm_latency_budget, Arc::clone(&self.parts.punctuality))
    }

    fn list_alarms(&self) {
        let all = self.machines.values().map(|machine| Arc::clone(&machine.alarms)).collect();
        *self.all_alarms.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Tells the recorder which timers run, whatever machines there are; from the first [`Self::apply`] on.
    pub(crate) fn running_timers(&self) -> RunningTimers {
        let all = Arc::clone(&self.all_alarms);
        Box::new(move || {
            let all = all.read().unwrap_or_else(PoisonError::into_inner);
            all.iter().flat_map(|alarms| alarms.running()).collect()
        })
    }

    /// Shows the machines of a configuration, before anything of them can be recorded under new numbers.
    fn show(&self, config: &AgentConfig) {
        let place = |m: &MachineConfig| Some(Arc::clone(&self.machines.get(&m.id)?.board));
        let machines: Vec<Arc<MachineBoard>> = config.machines.iter().filter_map(place).collect();
        let catalogue = catalogue(self.parts.epoch, &config.machines, &machines).encode();
        let outputs = self.outputs.shown(&config.machines);
        let shown =
            Shown { machines, outputs, impossible: told_of_plan(config), catalogue: catalogue.into() };
        self.parts.board.replace(shown);
    }

    fn show_outputs(&self) {
        let machines = self.config.as_ref().map_or(&[][..], |config| &config.machines);
        let outputs = self.outputs.shown(machines);
        self.parts.board.replace(Shown { outputs, ..Shown::clone(&self.parts.board.shown()) });
    }

    fn start_lines(&mut self, config: &AgentConfig, plans: &Plans) {
        let filters: HashMap<_, _> = config.machines.iter().map(|m| (&m.id, m)).collect();
        let FloorParts { inbox, clock, sense, .. } = &self.parts;
        let (machines, identity) = (&self.machines, &self.identity);
        let sink = |id: &MachineId| {
            let (running, filter) = (machines.get(id)?, filters.get(id)?.change_filter());
            let sink = Sink::new(Arc::clone(&running.alarms), inbox.clone(), filter, *clock);
            Some((sink, Arc::clone(&running.board.counters)))
        };
        let gauges = || self.parts.gauges();
        let parts = LineParts { sense, clock: *clock, identity, gauges: &gauges, sink: &sink };
        for (line, plan) in &plans.lines {
            if !self.lines.contains_key(line)
                && let Some(running) = parts.start(line, plan)
            {
                self.lines.insert(line.clone(), running);
            }
        }
    }

    /// Makes all outputs safe and ends them.
    pub(crate) async fn stop_outputs(&mut self) {
        self.outputs.stop().await;
    }

    /// Waits until the drivers have ended, or their time is over.
    pub(crate) async fn stop_drivers(&mut self) {
        let mut tasks: Vec<Task> = self.lines.drain().map(|(_, line)| line.task).collect();
        tasks.extend(std::mem::take(&mut self.machines).into_values().map(|machine| machine.keeper));
        if !join_all(tasks, DRIVERS_STOP).await {
            tracing::warn!("some drivers did not end in time and are left behind");
        }
    }
}

/// How alarms are closed that stood when the last run ended and are configured no longer.
fn left_behind(config: &AgentConfig, known: &Snapshots, wall: Timestamp) -> Vec<AlarmTransition> {
    let configured: HashSet<(&MachineId, &AlarmId)> = config
        .machines
        .iter()
        .flat_map(|machine| machine.alarms.iter().map(|a| (&machine.id, &a.id)))
        .collect();
    let alarms = known.iter().flat_map(|(machine, known)| known.alarms.iter().map(move |one| (machine, one)));
    let gone = alarms.filter(|(machine, (alarm, _))| !configured.contains(&(*machine, *alarm)));
    gone.filter_map(|(machine, (alarm, kept))| kept.removed(machine, alarm, wall)).collect()
}

fn tags(machine: &MachineConfig) -> Vec<TagId> {
    machine.tags.iter().map(|tag| tag.definition.id.clone()).collect()
}

/// Says what the plan of the requests comes to, and answers what `check` refuses. A plant does not stand still for a
/// late alarm, but nobody is to overlook it.
fn told_of_plan(config: &AgentConfig) -> Arc<[String]> {
    for rate in &config.raised {
        let tags: Vec<&str> = rate.tags.iter().map(TagId::as_str).collect();
        tracing::info!(machine.id = %rate.machine, ?tags, configured_ms = rate.configured.as_millis(),
            interval_ms = rate.interval.as_millis(), "acquired more often than configured: the alarms need it");
    }
    let problems = physics::compute(config).problems(Severity::Error);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for problem in &problems {
        tracing::error!(problem, "the configuration asks for what cannot work; the agent runs all the same");
    }
    problems.into()
}

/// What the agent keeps between two runs lies beside its buffer.
pub(crate) fn state_folder(config: &AgentConfig) -> &Path {
    config.buffer.path.parent().unwrap_or(Path::new(""))
}
