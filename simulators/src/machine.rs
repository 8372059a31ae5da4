//! One machine: its values now, who has been served what, and how it behaves on the wire.
//!
//! All values and counters of a machine change under one lock, and the servers read them under the same lock. So
//! the instant recorded for a change is exact: a read answered later shows the new value, one answered before the
//! old one, and what a counter says agrees with what was sent.

mod accept;
mod behaviour;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{
    catalog::{Signal, TagSpec, tags},
    error::SimulatorError,
    kind::{Kind, Protocol},
    line::Line,
    mode::Mode,
    plant_file::{MachineConfig, ModbusOptions},
    process::Process,
    report::{MachineDetail, MachineReport, Produced, TagReport},
    ua_options::UaOptions,
    value::Value,
    wall_clock::now_us,
};

pub(crate) use behaviour::is_mode_of_line;

/// After a monitored item is created, values stand still for this long. An OPC UA server reads the item's first
/// value some time before it registers the item; a change in between would reach nobody and spoil the truth.
const SETTLE: Duration = Duration::from_millis(100);
/// Longest hold of a value, a day; longer ones are set without an end.
const HOLD_MS_MAX: u64 = 86_400_000;

/// A changed value on its way to subscribers.
pub(crate) struct Published {
    pub(crate) tag: usize,
    pub(crate) value: Value,
    pub(crate) at_us: i64,
}

/// Sends changed values to subscribers; called under the machine's lock, so it must not block.
pub(crate) type Publisher = Box<dyn Fn(&[Published]) + Send>;

/// A simulated machine.
pub struct Machine {
    id: String,
    kind: Kind,
    protocol: Protocol,
    opcua: UaOptions,
    modbus: ModbusOptions,
    process: Process,
    tags: Vec<TagSpec>,
    line: Arc<Line>,
    paused: Arc<AtomicBool>,
    live: Mutex<Live>,
    /// What it answers; what happens to its connections is the mode of its line.
    mode: watch::Sender<Mode>,
    illegal_registers: Mutex<BTreeSet<u16>>,
    holds_changed: Notify,
}

/// What changes.
struct Live {
    next_tick: u64,
    cells: Vec<Cell>,
    produced: Produced,
    last_change_at_us: i64,
    settle_until: Instant,
    publisher: Option<Publisher>,
}

/// One tag's share of [`Live`].
struct Cell {
    model: Value,
    value: Value,
    changed_at_us: i64,
    hold: Option<Hold>,
    reads_served: u64,
    changes: u64,
    changes_since_subscribed: u64,
    initial_values: u64,
    notifications_due: u64,
    monitored_items: u64,
}

struct Hold {
    value: Value,
    until: Option<Instant>,
}

/// A change waiting for its turn.
enum Change {
    Tick,
    Hold { tag: usize, value: Value, duration: Option<Duration> },
    Write { values: Vec<(usize, Value)> },
    Release { tag: usize },
    ExpireHolds,
}

/// Why a Modbus write is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// The tag proves that no sample is lost, so only the simulator counts it.
    ReadOnly,
    /// The tag cannot take the value.
    Value,
}

impl Machine {
    pub(crate) fn new(config: &MachineConfig, seed: u64, line: Arc<Line>, paused: Arc<AtomicBool>) -> Self {
        let tags = tags(config.kind, config.protocol);
        let process = Process::new(seed, &config.id);
        let now = now_us();
        let live = Live {
            next_tick: 1,
            cells: tags.iter().map(|tag| Cell::new(process.value(tag, 0), now)).collect(),
            produced: Produced::default(),
            last_change_at_us: now,
            settle_until: Instant::now(),
            publisher: None,
        };
        Self {
            id: config.id.clone(),
            kind: config.kind,
            protocol: config.protocol,
            opcua: config.opcua.clone(),
            modbus: config.modbus.clone(),
            process,
            tags,
            paused,
            live: Mutex::new(live),
            mode: watch::Sender::new(if is_mode_of_line(config.protocol, config.mode) {
                Mode::Healthy
            } else {
                config.mode
            }),
            illegal_registers: Mutex::new(config.modbus.illegal_registers.clone()),
            line,
            holds_changed: Notify::new(),
        }
    }

    /// Identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Kind of machine.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What its OPC UA server offers.
    pub(crate) fn opcua(&self) -> &UaOptions {
        &self.opcua
    }

    /// Protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its tags.
    pub fn tags(&self) -> &[TagSpec] {
        &self.tags
    }

    /// How it speaks Modbus.
    pub(crate) fn modbus(&self) -> &ModbusOptions {
        &self.modbus
    }

    /// Its address, or the line it shares.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Address of its listener, unless it hangs on a serial line.
    pub fn address(&self) -> Option<SocketAddr> {
        self.line.address()
    }

    /// What a client dials: `host:port`, an `opc.tcp` URL, or a serial device.
    pub fn endpoint(&self) -> String {
        match self.protocol {
            Protocol::ModbusTcp | Protocol::ModbusRtuOverTcp | Protocol::ModbusRtu => {
                self.line.place().to_string()
            }
            Protocol::Opcua => format!("opc.tcp://{}", self.line.place()),
        }
    }

    /// Obeys a Modbus write: the tags keep these values until they are released or written again.
    pub(crate) async fn write(&self, values: &[(usize, Value)]) -> Result<(), Unwritable> {
        for (tag, value) in values {
            let spec = &self.tags[*tag];
            if spec.is_proof() {
                return Err(Unwritable::ReadOnly);
            }
            accept::value(spec, value).map_err(|_| Unwritable::Value)?;
        }
        self.change(&Change::Write { values: values.to_vec() }).await;
        Ok(())
    }

    /// Overrides a tag, for `duration` or until [`Machine::release`]; returns the instant at which the value became
    /// visible, in microseconds since the Unix epoch. Analogs are rounded to the resolution of their tag.
    ///
    /// # Errors
    /// There is no such tag, or it cannot take the value.
    pub async fn set(
        &self,
        tag: &str,
        value: &Value,
        duration: Option<Duration>,
    ) -> Result<i64, SimulatorError> {
        let index = self.tag_index(tag)?;
        let value = accept::value(&self.tags[index], value)?;
        if duration
            .is_some_and(|duration| duration.is_zero() || duration.as_millis() > u128::from(HOLD_MS_MAX))
        {
            return Err(SimulatorError::BadValue {
                tag: tag.to_owned(),
                value: format!("hold_ms = {}", duration.unwrap_or_default().as_millis()),
                allowed: format!("1 to {HOLD_MS_MAX}, or no hold_ms to hold without end"),
            });
        }
        let at_us = self.change(&Change::Hold { tag: index, value, duration }).await;
        self.holds_changed.notify_one();
        Ok(at_us)
    }

    /// Gives a tag back to the model; returns the instant at which the model's value became visible.
    ///
    /// # Errors
    /// There is no such tag.
    pub async fn release(&self, tag: &str) -> Result<i64, SimulatorError> {
        let tag = self.tag_index(tag)?;
        Ok(self.change(&Change::Release { tag }).await)
    }

    /// Advances the model by one tick, unless the plant is paused.
    pub(crate) async fn tick(&self) {
        self.change(&Change::Tick).await;
    }

    /// Ends the holds whose time is over, for as long as the machine lives.
    pub(crate) async fn expire_holds(&self) {
        loop {
            let next = self.lock().cells.iter().filter_map(|cell| cell.hold.as_ref()?.until).min();
            match next {
                None => self.holds_changed.notified().await,
                Some(end) => tokio::select! {
                    () = sleep_until(end) => { self.change(&Change::ExpireHolds).await; }
                    () = self.holds_changed.notified() => {}
                },
            }
        }
    }

    /// Waits for a change that is under way; afterwards a paused plant does not change any more.
    pub(crate) fn finish_change(&self) {
        drop(self.lock());
    }

    pub(crate) fn publish_to(&self, publisher: Publisher) {
        self.lock().publisher = Some(publisher);
    }

    /// Records that a monitored item is about to read its first value.
    pub(crate) fn monitored_item_created(&self, tag: usize) {
        let mut live = self.lock();
        live.settle_until = Instant::now() + SETTLE;
        live.produced.initial_values += 1;
        live.produced.notifications_due += 1;
        let cell = &mut live.cells[tag];
        cell.initial_values += 1;
        cell.notifications_due += 1;
        cell.monitored_items += 1;
    }

    pub(crate) fn monitored_item_deleted(&self, tag: usize) {
        let cell = &mut self.lock().cells[tag];
        cell.monitored_items = cell.monitored_items.saturating_sub(1);
    }

    /// Forgets the subscribers: their server ended.
    pub(crate) fn subscribers_gone(&self) {
        for cell in &mut self.lock().cells {
            cell.monitored_items = 0;
        }
    }

    /// Counts a read that covers these tags and returns all values as they are after counting.
    pub(crate) fn serve_read(&self, covered: &[usize]) -> Vec<Value> {
        let mut live = self.lock();
        live.produced.reads_served += 1;
        live.produced.tag_values_served += covered.len() as u64;
        let at_us = now_us();
        for &tag in covered {
            live.cells[tag].reads_served += 1;
            if self.tags[tag].signal == Signal::ReadCount {
                live.cells[tag].count_read(at_us);
                match self.tags[tag].id {
                    "scan_count" => live.produced.scan_reads += 1,
                    _ => live.produced.fast_reads += 1,
                }
            }
        }
        live.values()
    }

    /// All values, counting nothing.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.lock().values()
    }

    /// All values with the instants at which they became visible.
    pub(crate) fn timed_values(&self) -> Vec<(Value, i64)> {
        self.lock().cells.iter().map(|cell| (cell.value.clone(), cell.changed_at_us)).collect()
    }

    pub(crate) fn exception_answered(&self) {
        self.lock().produced.exceptions_answered += 1;
    }

    /// The machine at a glance.
    pub fn report(&self) -> MachineReport {
        self.report_of(&self.lock())
    }

    /// The machine with all its tags, at one instant.
    pub fn detail(&self) -> MachineDetail {
        let live = self.lock();
        let tags = self.tags.iter().zip(&live.cells).map(|(tag, cell)| cell.report(tag.id)).collect();
        MachineDetail { machine: self.report_of(&live), tags }
    }

    fn report_of(&self, live: &Live) -> MachineReport {
        MachineReport {
            id: self.id.clone(),
            kind: self.kind,
            protocol: self.protocol,
            address: self.address(),
            endpoint: self.endpoint(),
            line: self.line.is_shared().then(|| self.line.id().to_owned()),
            unit_id: self.protocol.is_modbus().then_some(self.modbus.unit_id),
            illegal_registers: self.illegal().clone(),
            mode: self.mode(),
            ticks: live.next_tick - 1,
            last_change_at_us: live.last_change_at_us,
            produced: live.produced,
        }
    }

    fn tag_index(&self, tag: &str) -> Result<usize, SimulatorError> {
        self.tags
            .iter()
            .position(|spec| spec.id == tag)
            .ok_or_else(|| SimulatorError::UnknownTag { machine: self.id.clone(), tag: tag.to_owned() })
    }

    /// Applies a change once no monitored item is in the making; returns its instant.
    async fn change(&self, change: &Change) -> i64 {
        loop {
            let settle_until = {
                let mut live = self.lock();
                if live.settle_until <= Instant::now() {
                    return self.apply(&mut live, change);
                }
                live.settle_until
            };
            sleep_until(settle_until).await;
        }
    }

    fn apply(&self, live: &mut Live, change: &Change) -> i64 {
        match change {
            Change::Tick if self.paused.load(Ordering::SeqCst) => return live.last_change_at_us,
            Change::Tick => self.advance(live),
            Change::Hold { tag, value, duration } => {
                let until = duration.map(|duration| Instant::now() + duration);
                live.cells[*tag].hold = Some(Hold { value: value.clone(), until });
            }
            Change::Write { values } => {
                live.produced.writes_obeyed += 1;
                for (tag, value) in values {
                    live.cells[*tag].hold = Some(Hold { value: value.clone(), until: None });
                }
            }
            Change::Release { tag } => live.cells[*tag].hold = None,
            Change::ExpireHolds => {
                let now = Instant::now();
                for cell in &mut live.cells {
                    cell.hold.take_if(|hold| hold.until.is_some_and(|until| until <= now));
                }
            }
        }
        live.show()
    }

    fn advance(&self, live: &mut Live) {
        let tick = live.next_tick;
        live.next_tick += 1;
        for (tag, cell) in self.tags.iter().zip(&mut live.cells) {
            if tag.signal != Signal::ReadCount {
                cell.model = self.process.value(tag, tick);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // The state is whole between any two statements of a change, so a panic elsewhere does not spoil it.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn values(&self) -> Vec<Value> {
        self.cells.iter().map(|cell| cell.value.clone()).collect()
    }

    /// Makes held and model values visible, all with one instant, and tells the subscribers.
    fn show(&mut self) -> i64 {
        // Never the same instant twice, and never back when the wall clock is set.
        let at_us = now_us().max(self.last_change_at_us + 1);
        let mut published = Vec::new();
        for (tag, cell) in self.cells.iter_mut().enumerate() {
            if cell.show(at_us) {
                self.produced.changes += 1;
                self.produced.changes_since_subscribed += u64::from(cell.initial_values > 0);
                self.produced.notifications_due += cell.monitored_items;
                published.push(Published { tag, value: cell.value.clone(), at_us });
            }
        }
        if !published.is_empty() {
            self.last_change_at_us = at_us;
            if let Some(publish) = &self.publisher {
                publish(&published);
            }
        }
        at_us
    }
}

impl Cell {
    fn new(value: Value, changed_at_us: i64) -> Self {
        Self {
            model: value.clone(),
            value,
            changed_at_us,
            hold: None,
            reads_served: 0,
            changes: 0,
            changes_since_subscribed: 0,
            initial_values: 0,
            notifications_due: 0,
            monitored_items: 0,
        }
    }

    /// Shows the held or the model value; whether that changed anything.
    fn show(&mut self, at_us: i64) -> bool {
        let target = self.hold.as_ref().map_or(&self.model, |hold| &hold.value);
        if *target == self.value {
            return false;
        }
        self.value = target.clone();
        self.changed_at_us = at_us;
        self.changes += 1;
        self.changes_since_subscribed += u64::from(self.initial_values > 0);
        self.notifications_due += self.monitored_items;
        true
    }

    fn count_read(&mut self, at_us: i64) {
        // The register has 32 bits; after four billion reads it starts again.
        self.value = Value::Int((self.reads_served & u64::from(u32::MAX)) as i64);
        self.model = self.value.clone();
        self.changed_at_us = at_us;
    }

    fn report(&self, id: &'static str) -> TagReport {
        TagReport {
            id,
            value: self.value.clone(),
            changed_at_us: self.changed_at_us,
            held: self.hold.is_some(),
            reads_served: self.reads_served,
            changes: self.changes,
            changes_since_subscribed: self.changes_since_subscribed,
            initial_values: self.initial_values,
            notifications_due: self.notifications_due,
            monitored_items: self.monitored_items,
        }
    }
}

#[cfg(test)]
mod tests;
