//! A rollout: its plan, its gateways and how far it is.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::AgentVersion;
use thiserror::Error;

use crate::plan::Plan;

/// Most gateways of one rollout: all of an installation as large as this one gets; some MB in memory.
pub const MEMBERS_MAX: usize = 10_000;

/// The number of a rollout: 1, 2, 3 ….
pub type RolloutId = NonZeroU32;

/// A gateway of any tenant, written `TENANT/GATEWAY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its id.
    pub gateway: GatewayId,
}

/// A text names no gateway.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} names no gateway; write TENANT/GATEWAY, for example acme/hall-3")]
pub struct GatewayNameError {
    text: String,
}

impl FromStr for GatewayName {
    type Err = GatewayNameError;

    fn from_str(text: &str) -> Result<Self, GatewayNameError> {
        let ids = text.split_once('/').and_then(|(tenant, gateway)| {
            Some(Self { tenant: TenantId::new(tenant).ok()?, gateway: GatewayId::new(gateway).ok()? })
        });
        ids.ok_or_else(|| GatewayNameError { text: text.chars().take(160).collect() })
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.gateway)
    }
}

/// Where a rollout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the version of its plan.
    Forward,
    /// Back to what each gateway ran before.
    Back,
}

impl Direction {
    /// The name in the store and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Forward, Self::Back].into_iter().find(|direction| direction.name() == name)
    }
}

/// Whether a rollout goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RolloutState {
    /// It does.
    Running,
    /// It waits for a person. Who was told goes on.
    Paused,
    /// A person said to go on in spite of what has failed; that is passed over next.
    Resuming,
    /// Every gateway was told, and the last wave has done well.
    Completed,
    /// A person ended it.
    Aborted,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::Resuming, Self::Completed, Self::Aborted];

    /// The name in the store and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing happens any more, unless a person rolls back.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted)
    }
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Where it goes.
    pub direction: Direction,
    /// Whether it goes on.
    pub state: RolloutState,
    /// The wave it is in, from 0.
    pub wave: u32,
    /// What it waits for or why it stopped, for people.
    pub reason: String,
    /// When direction, state or wave changed last.
    pub changed_at: Timestamp,
}

/// A gateway of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub gateway: GatewayName,
    /// The wave in which it was told, from 0; in the direction that the rollout goes.
    pub wave: Option<u32>,
    /// What it ran when it was told of the new version, if that was known.
    pub former: Option<AgentVersion>,
    /// A person passed over it: it holds nothing up and counts as no failure.
    pub excused: bool,
}

impl Member {
    /// One that was not told yet.
    #[must_use]
    pub const fn new(gateway: GatewayName) -> Self {
        Self { gateway, wave: None, former: None, excused: false }
    }
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its number.
    pub id: RolloutId,
    /// What it is to do.
    pub plan: Plan,
    /// Its gateways, in the order in which they are told.
    pub members: Vec<Member>,
    /// How far it is.
    pub progress: Progress,
    /// How often it changed: of two changes made on the same state, the second is refused.
    pub revision: u32,
}

impl Rollout {
    /// The version that a gateway is to run, in the direction that the rollout goes; `None` where it is not known.
    #[must_use]
    pub fn target<'a>(&'a self, member: &'a Member) -> Option<&'a AgentVersion> {
        match self.progress.direction {
            Direction::Forward => Some(&self.plan.version),
            Direction::Back => member.former.as_ref(),
        }
    }

    /// How many gateways the rollout concerns, in the direction that it goes.
    #[must_use]
    pub fn concerned(&self) -> usize {
        self.members.iter().filter(|member| self.target(member).is_some()).count()
    }

    /// How many gateways have been told at the end of each wave.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        self.plan.waves.sizes(self.concerned())
    }

    /// How many were told.
    #[must_use]
    pub fn told(&self) -> usize {
        self.members.iter().filter(|member| member.wave.is_some()).count()
    }
}
