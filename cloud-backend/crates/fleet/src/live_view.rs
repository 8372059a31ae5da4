//! The latest state of one tenant's fleet, in memory.
//!
//! Values are placed by the time they were measured: late data never moves a value back. It is filled
//! from the store once at start and from live messages and stored alarms after that; it forgets
//! everything with the process. Its size is bounded by the catalogues (see the protocol's limits) and
//! by [`ALARMS_PER_GATEWAY_MAX`].

mod machine;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use plant_model::{
    AlarmCondition, AlarmId, AlarmPriority, AlarmTransition, GatewayId, MachineId, Sample, TagId, Timestamp,
};
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Epoch, GATEWAY_ID, Live, SeriesId};

use crate::{AlarmRow, FUTURE_MAX, GatewayLatest};
use machine::Latest;
pub use machine::{LinkState, MachineState};

/// Alarms remembered of one gateway: every alarm of a full catalogue once, ten times over for history
/// that arrives out of order would be wasteful; beyond it those that are over are forgotten first.
const ALARMS_PER_GATEWAY_MAX: usize = 10_000;

/// Whether a gateway is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Online,
    /// It is not, or was not heard of since the start.
    Offline,
}

/// New values of one machine, and its link.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineUpdate {
    /// The gateway.
    pub gateway: GatewayId,
    /// The machine.
    pub machine: MachineId,
    /// The time of the newest of the values; of the message when there is none.
    pub at: Timestamp,
    /// The values that are new, the newest of each tag.
    pub values: Vec<(TagId, Sample)>,
    /// The link.
    pub link: LinkState,
}

/// A machine as it is now.
#[derive(Debug, Clone)]
pub struct MachineView<'a> {
    /// The gateway.
    pub gateway: &'a GatewayId,
    /// Its name, tags and alarms.
    pub definition: &'a CatalogueMachine,
    /// The newest sample of each tag of the definition, in its order.
    pub latest: Vec<Option<&'a Sample>>,
    /// Whether nobody vouches for the newest sample of a tag any more, in the same order: the gateway does not
    /// reach the machine, or an alarm says that the value stands still although it should not.
    pub stale: Vec<bool>,
    /// Whether the gateway reaches it; unknown while the gateway itself is not connected.
    pub link: LinkState,
    /// Its state, where a tag says it and can be trusted.
    pub state: Option<MachineState>,
    /// Since when; `None` when no sample of the state is known.
    pub state_since: Option<Timestamp>,
    /// The time of its newest sample.
    pub last_sample_at: Option<Timestamp>,
    /// Its active alarms.
    pub active_alarms: usize,
    /// The most urgent of them.
    pub worst_priority: Option<AlarmPriority>,
}

#[derive(Debug, Clone, Copy)]
struct AlarmNow {
    occurrence: u64,
    raised_at: Timestamp,
    decided_at: Timestamp,
    active: bool,
    priority: AlarmPriority,
}

/// How a gateway itself is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayHealth {
    /// Since when it is connected; `None` if it is not.
    pub online_since: Option<Timestamp>,
    /// When something last came from it.
    pub heard_at: Option<Timestamp>,
    /// Its own active alarms, by id, and when they were raised.
    pub alarms: Vec<(AlarmId, Timestamp)>,
}

#[derive(Debug)]
struct Gateway {
    presence: Presence,
    /// When it connected, as long as it is.
    online_since: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    catalogue: Arc<Catalogue>,
    /// Series to the positions of its machine and its tag in the catalogue.
    series: HashMap<SeriesId, (usize, usize)>,
    /// In the order of the catalogue.
    machines: Vec<Latest>,
    alarms: BTreeMap<(MachineId, AlarmId), AlarmNow>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            presence: Presence::Offline,
            online_since: None,
            heard_at: None,
            catalogue: Arc::new(Catalogue { epoch: Epoch::from_u64(0), machines: Vec::new() }),
            series: HashMap::new(),
            machines: Vec::new(),
            alarms: BTreeMap::new(),
        }
    }
}

/// The latest state of one tenant's fleet.
#[derive(Debug, Default)]
pub struct LiveView {
    gateways: BTreeMap<GatewayId, Gateway>,
}

impl LiveView {
    /// A view that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the store knew of a gateway.
    pub fn restore(&mut self, latest: &GatewayLatest) {
        self.apply_catalogue(&latest.gateway, Arc::clone(&latest.catalogue));
        let gateway = self.gateway_mut(&latest.gateway);
        for entry in &latest.samples {
            if let Some((machine, tag)) = gateway.series.get(&entry.series).copied() {
                gateway.take(machine, tag, &entry.sample, entry.unchanged_since);
            }
        }
    }

    /// Takes over an alarm that the store says is active.
    pub fn restore_alarm(&mut self, row: &AlarmRow) {
        let now = AlarmNow {
            occurrence: row.key.occurrence,
            raised_at: row.raised_at,
            decided_at: row.decided_at,
            active: row.active,
            priority: row.priority,
        };
        self.gateway_mut(&row.key.gateway).note_alarm(&row.key.machine, &row.key.alarm, now);
    }

    /// A gateway connected or disconnected. Answers whether that is news.
    pub fn set_presence(&mut self, gateway: &GatewayId, presence: Presence, at: Timestamp) -> bool {
        let entry = self.gateway_mut(gateway);
        entry.heard_at = entry.heard_at.max(Some(at));
        entry.online_since = match presence {
            Presence::Online => entry.online_since.or(Some(at)),
            Presence::Offline => None,
        };
        std::mem::replace(&mut entry.presence, presence) != presence
    }

    /// Something came from a gateway.
    pub fn heard_from(&mut self, gateway: &GatewayId, at: Timestamp) {
        let entry = self.gateway_mut(gateway);
        entry.heard_at = entry.heard_at.max(Some(at));
    }

    /// What the gateway is configured to read. Values of tags that stay are kept; a new epoch forgets the
    /// alarms, whose state went with the old store file of the gateway.
    pub fn apply_catalogue(&mut self, gateway: &GatewayId, catalogue: Arc<Catalogue>) {
        self.gateway_mut(gateway).adopt(catalogue);
    }

    /// Takes a live message and answers what is new. Series that the catalogue does not know are left out, and samples
    /// of later than [`FUTURE_MAX`] after the gateway was heard of last: its clock is wrong.
    pub fn apply_live(&mut self, gateway: &GatewayId, live: &Live) -> Vec<MachineUpdate> {
        let entry = self.gateway_mut(gateway);
        let until = entry.heard_at.map(|heard_at| heard_at.plus(FUTURE_MAX));
        let mut values: BTreeMap<usize, BTreeMap<usize, Sample>> = BTreeMap::new();
        for block in &live.latest {
            let Some((machine, tag)) = entry.series.get(&block.series).copied() else { continue };
            for sample in &block.samples {
                if until.is_some_and(|until| sample.timestamp() > until) {
                    continue;
                }
                if entry.take(machine, tag, sample, sample.timestamp()) {
                    values.entry(machine).or_default().insert(tag, sample.clone());
                }
            }
        }
        for link in &live.links {
            if let Some(machine) = entry.set_link(&link.machine, LinkState::from_live(link)) {
                values.entry(machine).or_default();
            }
        }
        let update = |(machine, tags)| entry.update(gateway, live.at, machine, tags);
        values.into_iter().filter_map(update).collect()
    }

    /// Takes transitions that were stored for the first time.
    pub fn apply_transitions(&mut self, gateway: &GatewayId, transitions: &[AlarmTransition]) {
        let entry = self.gateway_mut(gateway);
        for t in transitions {
            let now = AlarmNow {
                occurrence: t.occurrence,
                raised_at: t.decided_at,
                decided_at: t.decided_at,
                active: t.to.is_annunciated(),
                priority: t.priority,
            };
            entry.note_alarm(&t.machine, &t.alarm, now);
        }
    }

    /// Whether a gateway is connected, and when something last came from it.
    #[must_use]
    pub fn presence(&self, gateway: &GatewayId) -> (Presence, Option<Timestamp>) {
        self.gateways.get(gateway).map_or((Presence::Offline, None), |g| (g.presence, g.heard_at))
    }

    /// How a gateway itself is.
    #[must_use]
    pub fn health(&self, gateway: &GatewayId) -> GatewayHealth {
        let Some(known) = self.gateways.get(gateway) else { return GatewayHealth::default() };
        let own = known.alarms.iter().filter(|((machine, _), a)| machine.as_str() == GATEWAY_ID && a.active);
        GatewayHealth {
            online_since: known.online_since,
            heard_at: known.heard_at,
            alarms: own.map(|((_, alarm), now)| (alarm.clone(), now.raised_at)).collect(),
        }
    }

    /// The catalogue of a gateway, once it is known.
    #[must_use]
    pub fn catalogue(&self, gateway: &GatewayId) -> Option<&Arc<Catalogue>> {
        self.gateways.get(gateway).map(|g| &g.catalogue)
    }

    /// The machines of all gateways, by gateway and in the order of the catalogue.
    pub fn machines(&self) -> impl Iterator<Item = MachineView<'_>> {
        self.gateways.iter().flat_map(|(id, g)| (0..g.machines.len()).filter_map(|i| g.view(id, i)))
    }

    /// All but the gateways themselves.
    pub fn machines_of_plant(&self) -> impl Iterator<Item = MachineView<'_>> {
        self.machines().filter(|view| !view.definition.is_gateway())
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, gateway: &GatewayId, machine: &MachineId) -> Option<MachineView<'_>> {
        let (id, entry) = self.gateways.get_key_value(gateway)?;
        entry.view(id, entry.position(machine)?)
    }

    /// Active alarms of the tenant.
    #[must_use]
    pub fn active_alarms(&self) -> usize {
        self.gateways.values().flat_map(|g| g.alarms.values()).filter(|a| a.active).count()
    }

    fn gateway_mut(&mut self, gateway: &GatewayId) -> &mut Gateway {
        self.gateways.entry(gateway.clone()).or_default()
    }
}

impl Gateway {
    fn position(&self, machine: &MachineId) -> Option<usize> {
        self.catalogue.machines.iter().position(|m| m.id == *machine)
    }

    fn adopt(&mut self, catalogue: Arc<Catalogue>) {
        if self.catalogue.epoch != catalogue.epoch {
            self.alarms.clear();
        }
        let machines = catalogue.machines.iter().map(|new| {
            let old = self
                .position(&new.id)
                .and_then(|i| Some((self.catalogue.machines.get(i)?, self.machines.get(i)?)));
            Latest::adopt(new, old)
        });
        self.machines = machines.collect();
        let positions = catalogue.machines.iter().enumerate().flat_map(|(machine, definition)| {
            definition.tags.iter().enumerate().map(move |(tag, t)| (t.series, (machine, tag)))
        });
        self.series = positions.collect();
        self.catalogue = catalogue;
    }

    fn take(&mut self, machine: usize, tag: usize, sample: &Sample, since: Timestamp) -> bool {
        let role = self.catalogue.machines[machine].tags[tag].role;
        self.machines[machine].take(tag, role, sample, since)
    }

    /// Answers the position of the machine when its link changed.
    fn set_link(&mut self, machine: &MachineId, link: LinkState) -> Option<usize> {
        let position = self.position(machine)?;
        let latest = self.machines.get_mut(position)?;
        (std::mem::replace(&mut latest.link, link) != latest.link).then_some(position)
    }

    fn note_alarm(&mut self, machine: &MachineId, alarm: &AlarmId, now: AlarmNow) {
        let key = (machine.clone(), alarm.clone());
        if !self.alarms.contains_key(&key) && self.alarms.len() >= ALARMS_PER_GATEWAY_MAX {
            self.alarms.retain(|_, a| a.active);
            if self.alarms.len() >= ALARMS_PER_GATEWAY_MAX {
                return;
            }
        }
        let known = self.alarms.entry(key).or_insert(now);
        // An activation and its end may be decided in the same instant; the end is the later one.
        let order = |a: &AlarmNow| (a.occurrence, a.decided_at, !a.active);
        if order(&now) >= order(known) {
            let is_same = known.occurrence == now.occurrence;
            let raised_at = if is_same { known.raised_at.min(now.raised_at) } else { now.raised_at };
            *known = AlarmNow { raised_at, ..now };
        }
    }

    fn update(
        &self,
        gateway: &GatewayId,
        at: Timestamp,
        machine: usize,
        tags: BTreeMap<usize, Sample>,
    ) -> Option<MachineUpdate> {
        let definition = self.catalogue.machines.get(machine)?;
        let newest = tags.values().map(Sample::timestamp).max();
        let values = tags
            .into_iter()
            .filter_map(|(tag, s)| Some((definition.tags.get(tag)?.definition.id.clone(), s)));
        Some(MachineUpdate {
            gateway: gateway.clone(),
            machine: definition.id.clone(),
            at: newest.unwrap_or(at),
            values: values.collect(),
            link: self.machines.get(machine)?.link.clone(),
        })
    }

    fn view<'a>(&'a self, id: &'a GatewayId, machine: usize) -> Option<MachineView<'a>> {
        let definition = self.catalogue.machines.get(machine)?;
        let latest = self.machines.get(machine)?;
        let active = || self.alarms.iter().filter(|((m, _), a)| *m == definition.id && a.active);
        let link = match self.presence {
            Presence::Online => latest.link.clone(),
            Presence::Offline => LinkState::Unknown,
        };
        let frozen: Vec<&TagId> =
            active().filter_map(|((_, alarm), _)| frozen_tag(definition, alarm)).collect();
        let is_stale = |tag: &CatalogueTag| link != LinkState::Up || frozen.contains(&&tag.definition.id);
        Some(MachineView {
            stale: definition.tags.iter().map(is_stale).collect(),
            gateway: id,
            definition,
            latest: latest.samples.iter().map(Option::as_ref).collect(),
            link,
            state: latest.state.and_then(|(state, _)| state),
            state_since: latest.state.map(|(_, since)| since),
            last_sample_at: latest.samples.iter().flatten().map(Sample::timestamp).max(),
            active_alarms: active().count(),
            worst_priority: active().map(|(_, a)| a.priority).max(),
        })
    }
}

/// The tag that stands still, if the alarm is one of that kind.
fn frozen_tag<'a>(machine: &'a CatalogueMachine, alarm: &AlarmId) -> Option<&'a TagId> {
    let definition = machine.alarms.iter().find(|a| a.id == *alarm)?;
    if let AlarmCondition::Stale { tag, .. } = &definition.condition { Some(tag) } else { None }
}

#[cfg(test)]
mod tests;
