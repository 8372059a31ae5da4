//! The events of the live stream.

use std::collections::BTreeMap;

use fleet::{MachineUpdate, MachineView};
use plant_model::{GatewayId, MachineId, Sample, TagId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::sample::usable;
use super::{Link, TagValue};

/// A value, or null when it is bad.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MaybeValue(Option<TagValue>);

/// `event: values`: new values of one machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValuesEvent {
    /// The gateway.
    pub(crate) gateway: String,
    /// The machine.
    pub(crate) machine: String,
    /// When the newest of the values was measured, in milliseconds since 1970; none is much older.
    pub(crate) at: i64,
    /// Whether the gateway reaches the machine.
    pub(crate) link: Link,
    /// Tag to value; null when bad.
    pub(crate) values: BTreeMap<String, MaybeValue>,
    /// The quality of the tags that are not good.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub(crate) bad: BTreeMap<String, &'static str>,
}

/// `event: gateway`: a gateway connected or disconnected.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayEvent {
    /// The gateway.
    pub(crate) gateway: String,
    /// Whether it is connected.
    pub(crate) online: bool,
}

/// `event: resync`: events were left out; fetch everything again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResyncEvent {}

/// Values of a snapshot that differ by more than this are told apart, so that an old value is never shown
/// with the time of a new one.
const TOGETHER_MILLIS: i64 = 1_000;

impl ValuesEvent {
    fn new(gateway: &GatewayId, machine: &MachineId, at: Timestamp, link: Link) -> Self {
        let (values, bad) = (BTreeMap::new(), BTreeMap::new());
        Self {
            gateway: gateway.to_string(),
            machine: machine.to_string(),
            at: at.millis(),
            link,
            values,
            bad,
        }
    }

    fn add(&mut self, tag: &TagId, sample: &Sample) {
        self.values.insert(tag.to_string(), MaybeValue(usable(sample)));
        if !sample.quality.is_good() {
            self.bad.insert(tag.to_string(), sample.quality.name());
        }
    }

    /// What is new of a machine.
    pub(crate) fn of_update(update: &MachineUpdate) -> Self {
        let mut event = Self::new(&update.gateway, &update.machine, update.at, (&update.link).into());
        update.values.iter().for_each(|(tag, sample)| event.add(tag, sample));
        event
    }

    /// All that is known of a machine: one event for each stretch of time, the oldest first.
    pub(crate) fn of_view(view: &MachineView<'_>) -> Vec<Self> {
        let tags = view.definition.tags.iter().map(|tag| &tag.definition.id);
        let known = tags.zip(&view.latest).filter_map(|(tag, sample)| sample.map(|sample| (tag, sample)));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(_, sample)| std::cmp::Reverse(sample.timestamp()));
        let mut events: Vec<Self> = Vec::new();
        for (tag, sample) in known {
            let at = sample.timestamp();
            match events.last_mut() {
                Some(event) if event.at - at.millis() <= TOGETHER_MILLIS => event.add(tag, sample),
                _ => {
                    let mut event = Self::new(view.gateway, &view.definition.id, at, (&view.link).into());
                    event.add(tag, sample);
                    events.push(event);
                }
            }
        }
        events.reverse();
        events
    }
}
