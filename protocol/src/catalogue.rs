//! The catalogue (SPEC section 7): which tag of which machine a series number means.

use std::collections::HashSet;

use plant_model::{AlarmDefinition, DataType, Enumeration, MachineId, TagDefinition, TagId};

use crate::journal::text;
use crate::limits::{CATALOGUE_MACHINES_MAX, CATALOGUE_TAGS_MAX};
use crate::{DecodeError, Epoch, SeriesId, container, definition, wire};

/// What a tag means to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagRole {
    /// One of many.
    Plain,
    /// The state of the machine: 0 running, 1 idle, 2 down, 3 setup.
    State,
    /// Shown on the machine's tile.
    Headline,
}

impl TagRole {
    /// The name used in configuration, on the wire and in the API; empty for a plain tag.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::State => "state",
            Self::Headline => "headline",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plain, Self::State, Self::Headline].into_iter().find(|r| r.name() == name)
    }
}

/// A tag and its series number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueTag {
    /// Its number in batches. A number is never given to another tag within an epoch.
    pub series: SeriesId,
    /// What it is.
    pub definition: TagDefinition,
    /// What it means to people.
    pub role: TagRole,
}

/// The id under which a gateway is among its own machines (SPEC section 7).
pub const GATEWAY_ID: &str = "gateway";

/// A machine, its tags and its alarms.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueMachine {
    /// Its id.
    pub id: MachineId,
    /// A name for people.
    pub name: String,
    /// What kind of machine it is, for example `cnc-mill`.
    pub kind: String,
    /// How the gateway talks to it, for example `modbus-tcp`.
    pub protocol: String,
    /// Its tags.
    pub tags: Vec<CatalogueTag>,
    /// Its alarms.
    pub alarms: Vec<AlarmDefinition>,
}

impl CatalogueMachine {
    /// Whether it is the gateway itself, which is no machine of the plant.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.id.as_str() == GATEWAY_ID
    }
}

/// Everything a gateway is configured to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// The epoch the series numbers belong to.
    pub epoch: Epoch,
    /// The machines.
    pub machines: Vec<CatalogueMachine>,
}

impl Catalogue {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        container::seal_compressed(&wire::Catalogue {
            epoch: self.epoch.as_u64(),
            machines: self.machines.iter().map(machine_to_wire).collect(),
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no catalogue, name a thing twice, or are over the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: wire::Catalogue = container::open_compressed(bytes, "Catalogue")?;
        let tags = wire.machines.iter().map(|m| m.tags.len()).sum();
        for (what, actual, allowed) in
            [("machines", wire.machines.len(), CATALOGUE_MACHINES_MAX), ("tags", tags, CATALOGUE_TAGS_MAX)]
        {
            if actual > allowed {
                return Err(DecodeError::TooLarge { what, actual, allowed });
            }
        }
        let machines = wire.machines.into_iter().map(machine_from_wire).collect::<Result<Vec<_>, _>>()?;
        let catalogue = Self { epoch: Epoch::from_u64(wire.epoch), machines };
        catalogue.check_unique()?;
        Ok(catalogue)
    }

    fn check_unique(&self) -> Result<(), DecodeError> {
        let mut machines = HashSet::new();
        let mut series = HashSet::new();
        for machine in &self.machines {
            if !machines.insert(&machine.id) {
                return Err(DecodeError::field("machines", format!("{} appears twice", machine.id)));
            }
            for tag in &machine.tags {
                if !series.insert(tag.series) {
                    return Err(DecodeError::field("series", format!("{} appears twice", tag.series.0)));
                }
            }
        }
        Ok(())
    }
}

fn machine_to_wire(machine: &CatalogueMachine) -> wire::Machine {
    wire::Machine {
        id: machine.id.to_string(),
        name: machine.name.clone(),
        kind: machine.kind.clone(),
        protocol: machine.protocol.clone(),
        tags: machine.tags.iter().map(tag_to_wire).collect(),
        alarms: machine.alarms.iter().map(definition::to_wire).collect(),
    }
}

fn machine_from_wire(machine: wire::Machine) -> Result<CatalogueMachine, DecodeError> {
    Ok(CatalogueMachine {
        id: MachineId::new(&machine.id)?,
        name: text("name", machine.name)?,
        kind: text("kind", machine.kind)?,
        protocol: text("protocol", machine.protocol)?,
        tags: machine.tags.into_iter().map(tag_from_wire).collect::<Result<_, _>>()?,
        alarms: machine.alarms.into_iter().map(definition::from_wire).collect::<Result<_, _>>()?,
    })
}

fn tag_to_wire(tag: &CatalogueTag) -> wire::Tag {
    wire::Tag {
        series: tag.series.0,
        id: tag.definition.id.to_string(),
        name: tag.definition.name.clone(),
        unit: tag.definition.unit.clone(),
        data_type: tag.definition.data_type.name().to_owned(),
        role: tag.role.name().to_owned(),
        enumeration: tag.definition.enumeration.iter().map(name_to_wire).collect(),
    }
}

fn name_to_wire((number, name): (i64, &str)) -> wire::EnumerationName {
    wire::EnumerationName { number, name: name.to_owned() }
}

fn tag_from_wire(tag: wire::Tag) -> Result<CatalogueTag, DecodeError> {
    let known = |field, text: &str| DecodeError::field(field, format!("{text:?} is not known"));
    let names = tag.enumeration.into_iter().map(|n| (n.number, n.name));
    Ok(CatalogueTag {
        series: SeriesId(tag.series),
        definition: TagDefinition {
            id: TagId::new(&tag.id)?,
            name: text("name", tag.name)?,
            unit: text("unit", tag.unit)?,
            data_type: DataType::from_name(&tag.data_type)
                .ok_or_else(|| known("data_type", &tag.data_type))?,
            enumeration: Enumeration::new(names)
                .map_err(|error| DecodeError::field("enumeration", error.to_string()))?,
        },
        role: TagRole::from_name(&tag.role).unwrap_or(TagRole::Plain),
    })
}
