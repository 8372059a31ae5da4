//! Latest values (SPEC section 7): current while a backlog drains, never stored, never acknowledged.

use plant_model::{MachineId, Timestamp};

use crate::columns::{self, SeriesSamples};
use crate::journal::text;
use crate::limits::CATALOGUE_MACHINES_MAX;
use crate::{DecodeError, container, wire};

/// Whether the gateway reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineLink {
    /// The machine.
    pub machine: MachineId,
    /// Whether the last attempt succeeded.
    pub up: bool,
    /// Why not, for people; empty when up.
    pub reason: String,
}

/// Latest values of a gateway's tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// When it was put together, by the gateway's wall clock.
    pub at: Timestamp,
    /// The newest sample of each series that has a new one since the last such message.
    pub latest: Vec<SeriesSamples>,
    /// The link of every machine.
    pub links: Vec<MachineLink>,
}

impl Live {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let links = self
            .links
            .iter()
            .map(|l| wire::Link { machine: l.machine.to_string(), up: l.up, reason: l.reason.clone() })
            .collect();
        container::seal_compressed(&wire::Live {
            at_us: self.at.micros(),
            latest: Some(columns::encode(&self.latest)),
            links,
        })
    }

    /// From bytes.
    ///
    /// # Errors
    /// The bytes are no live message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let live: wire::Live = container::open_compressed(bytes, "Live")?;
        if live.links.len() > CATALOGUE_MACHINES_MAX {
            return Err(DecodeError::TooLarge {
                what: "links",
                actual: live.links.len(),
                allowed: CATALOGUE_MACHINES_MAX,
            });
        }
        let link = |l: wire::Link| {
            Ok(MachineLink {
                machine: MachineId::new(&l.machine)?,
                up: l.up,
                reason: text("reason", l.reason)?,
            })
        };
        Ok(Self {
            at: Timestamp::from_micros(live.at_us),
            latest: match live.latest {
                Some(columns) if !columns.series.is_empty() => columns::decode(&columns)?,
                _ => Vec::new(),
            },
            links: live.links.into_iter().map(link).collect::<Result<_, DecodeError>>()?,
        })
    }
}
