//! Gateways, machines and tags.

use fleet::{LinkState, MachineView};
use plant_model::Timestamp;
use protocol::{CatalogueTag, TagRole};
use serde::Serialize;
use tenancy::GatewayCertificate;
use utoipa::ToSchema;

use super::sample::usable;
use super::{AlarmDefinition, ConfigurationStatus, DataType, Priority, TagValue, UpdateStatus};
use crate::instant::Instant;

/// A gateway.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Gateway {
    /// Its id, unique within the tenant.
    pub(crate) id: String,
    /// Whether it is connected now.
    pub(crate) online: bool,
    /// When it was last heard of; null if never.
    #[schema(required)]
    pub(crate) last_seen_at: Option<Instant>,
    /// The version of its agent; null if never seen.
    #[schema(required)]
    pub(crate) agent_version: Option<String>,
    /// The life of its store file, 16 hexadecimal digits; null if never seen.
    #[schema(required)]
    pub(crate) epoch: Option<String>,
    /// Machines configured on it.
    pub(crate) machines: u64,
    /// How it stands to its configuration from the cloud.
    pub(crate) configuration: ConfigurationStatus,
    /// How it stands to the version that is desired of it.
    pub(crate) update: UpdateStatus,
    /// The certificate it was given last; null while it was only invited.
    #[schema(required)]
    pub(crate) certificate: Option<Certificate>,
}

/// The certificate by which a gateway is known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Certificate {
    /// Its end.
    pub(crate) expires_at: Instant,
    /// Whole days until then; negative after it.
    pub(crate) days_left: i64,
    /// Whole per cent of its life that are left, 0 to 100. A healthy renewal comes at 33.
    pub(crate) life_left_percent: i64,
    /// Whether it was revoked: it opens nothing.
    pub(crate) revoked: bool,
}

impl Certificate {
    pub(crate) fn new(certificate: &GatewayCertificate, now: Timestamp) -> Self {
        let left = certificate.expires_at.micros().saturating_sub(now.micros());
        let life = certificate.expires_at.micros().saturating_sub(certificate.issued_at.micros());
        Self {
            expires_at: Instant(certificate.expires_at),
            life_left_percent: left.saturating_mul(100).checked_div(life).unwrap_or(0).clamp(0, 100),
            days_left: left.div_euclid(24 * 3_600 * 1_000_000),
            revoked: certificate.revoked_at.is_some(),
        }
    }
}

/// Whether the gateway reaches a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Link {
    Up,
    Down,
    /// The gateway has not said, or is not connected.
    Unknown,
}

impl From<&LinkState> for Link {
    fn from(link: &LinkState) -> Self {
        match link {
            LinkState::Up => Self::Up,
            LinkState::Down { .. } => Self::Down,
            LinkState::Unknown => Self::Unknown,
        }
    }
}

/// What a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MachineState {
    Running,
    Idle,
    Down,
    Setup,
}

impl From<fleet::MachineState> for MachineState {
    fn from(state: fleet::MachineState) -> Self {
        match state {
            fleet::MachineState::Running => Self::Running,
            fleet::MachineState::Idle => Self::Idle,
            fleet::MachineState::Down => Self::Down,
            fleet::MachineState::Setup => Self::Setup,
        }
    }
}

/// The name of a number of a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnumerationName {
    /// The number; of a truth value 0 (false) or 1 (true).
    pub(crate) number: i64,
    /// What it means.
    pub(crate) name: String,
}

fn enumeration(tag: &CatalogueTag) -> Vec<EnumerationName> {
    let names = tag.definition.enumeration.iter();
    names.map(|(number, name)| EnumerationName { number, name: name.to_owned() }).collect()
}

/// Tags on the tile of a machine: as many as fit.
const HEADLINES_MAX: usize = 4;

/// A tag on the tile of a machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Headline {
    /// The tag.
    pub(crate) tag: String,
    /// Its name for people.
    pub(crate) name: String,
    /// Its engineering unit; empty when there is none.
    pub(crate) unit: String,
    /// Names for its numbers, by number; a number without one stands for itself.
    pub(crate) enumeration: Vec<EnumerationName>,
    /// Its latest value; null when bad or unknown.
    #[schema(required)]
    pub(crate) value: Option<TagValue>,
    /// The quality of that value: the name of an OPC UA status code.
    pub(crate) quality: &'static str,
    /// When it was measured; null when there is no value yet.
    #[schema(required)]
    pub(crate) at: Option<Instant>,
}

/// A machine at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Machine {
    /// The gateway it is connected to.
    pub(crate) gateway: String,
    /// Its id, unique within the gateway.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) name: String,
    /// What kind of machine it is, for example `cnc-mill`.
    pub(crate) kind: String,
    /// How the gateway talks to it, for example `modbus-tcp`.
    pub(crate) protocol: String,
    /// Whether the gateway reaches it.
    pub(crate) link: Link,
    /// What it is doing; null when it has no state tag or the state is not known.
    #[schema(required)]
    pub(crate) state: Option<MachineState>,
    /// Since when it is doing that.
    #[schema(required)]
    pub(crate) state_since: Option<Instant>,
    /// When its newest sample was measured.
    #[schema(required)]
    pub(crate) last_sample_at: Option<Instant>,
    /// Alarms active now.
    pub(crate) active_alarms: u64,
    /// The most urgent of them.
    #[schema(required)]
    pub(crate) worst_priority: Option<Priority>,
    /// Up to four tags for its tile.
    pub(crate) headline: Vec<Headline>,
}

/// The latest value of a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Latest {
    /// The value; null when the sample is bad.
    #[schema(required)]
    pub(crate) value: Option<TagValue>,
    /// Its quality: the name of an OPC UA status code.
    pub(crate) quality: &'static str,
    /// Whether the quality is good.
    pub(crate) good: bool,
    /// When it was measured.
    pub(crate) at: Instant,
    /// When it was measured by the machine's own clock; null for a machine that does not say.
    #[schema(required)]
    pub(crate) source_at: Option<Instant>,
    /// How long ago it was measured, by the machine's own clock where it says so: a value that the machine
    /// repeats with its old time grows old.
    pub(crate) age_ms: u64,
    /// Whether nobody vouches for it any more: the machine is not reached, or an alarm of kind `stale` is active.
    pub(crate) stale: bool,
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tag {
    /// Its id, unique within the machine.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) name: String,
    /// Its engineering unit; empty when there is none.
    pub(crate) unit: String,
    /// Names for its numbers, by number; a number without one stands for itself.
    pub(crate) enumeration: Vec<EnumerationName>,
    /// What its values are.
    pub(crate) data_type: DataType,
    /// Its latest value; null when there is none yet.
    #[schema(required)]
    pub(crate) latest: Option<Latest>,
}

/// A machine with all its tags and alarms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MachineDetail {
    /// The machine.
    #[serde(flatten)]
    pub(crate) machine: Machine,
    /// Its tags.
    pub(crate) tags: Vec<Tag>,
    /// Its alarms.
    pub(crate) alarms: Vec<AlarmDefinition>,
}

impl From<&MachineView<'_>> for Machine {
    fn from(view: &MachineView<'_>) -> Self {
        Self {
            gateway: view.gateway.to_string(),
            id: view.definition.id.to_string(),
            name: view.definition.name.clone(),
            kind: view.definition.kind.clone(),
            protocol: view.definition.protocol.clone(),
            link: (&view.link).into(),
            state: view.state.map(Into::into),
            state_since: view.state_since.map(Instant),
            last_sample_at: view.last_sample_at.map(Instant),
            active_alarms: view.active_alarms as u64,
            worst_priority: view.worst_priority.map(Into::into),
            headline: headline(view),
        }
    }
}

impl MachineDetail {
    /// As it is now.
    pub(crate) fn new(view: &MachineView<'_>, now: Timestamp) -> Self {
        let tag = |((tag, latest), stale): (Known<'_>, &bool)| Tag::new(tag, latest, *stale, now);
        Self {
            machine: view.into(),
            tags: tags(view).zip(&view.stale).map(tag).collect(),
            alarms: view.definition.alarms.iter().map(Into::into).collect(),
        }
    }
}

type Known<'a> = (&'a CatalogueTag, Option<&'a plant_model::Sample>);

fn tags<'a>(view: &'a MachineView<'a>) -> impl Iterator<Item = Known<'a>> {
    view.definition.tags.iter().zip(view.latest.iter().copied())
}

fn headline(view: &MachineView<'_>) -> Vec<Headline> {
    let shown = tags(view).filter(|(tag, _)| tag.role == TagRole::Headline).take(HEADLINES_MAX);
    let waiting = plant_model::Quality::BAD_WAITING_FOR_INITIAL_DATA;
    let headline = |(tag, latest): Known<'_>| Headline {
        tag: tag.definition.id.to_string(),
        name: tag.definition.name.clone(),
        unit: tag.definition.unit.clone(),
        enumeration: enumeration(tag),
        value: latest.and_then(usable),
        quality: latest.map_or(waiting, |sample| sample.quality).name(),
        at: latest.map(|sample| sample.timestamp().into()),
    };
    shown.map(headline).collect()
}

impl Tag {
    fn new(tag: &CatalogueTag, latest: Option<&plant_model::Sample>, stale: bool, now: Timestamp) -> Self {
        let latest = latest.map(|sample| Latest {
            value: usable(sample),
            quality: sample.quality.name(),
            good: sample.quality.is_good(),
            at: sample.timestamp().into(),
            source_at: sample.source_timestamp.map(Instant),
            age_ms: age_ms(sample.source_timestamp.unwrap_or(sample.gateway_timestamp), now),
            stale,
        });
        Self {
            id: tag.definition.id.to_string(),
            name: tag.definition.name.clone(),
            unit: tag.definition.unit.clone(),
            enumeration: enumeration(tag),
            data_type: tag.definition.data_type.into(),
            latest,
        }
    }
}

/// Zero where a clock is ahead of ours.
fn age_ms(measured_at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(measured_at).as_millis()).unwrap_or(u64::MAX)
}
