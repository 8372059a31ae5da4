//! The kinds of faults.

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `kill -9` of an agent, which starts again.
    AgentKill,
    /// An agent is asked to stop and starts again.
    AgentRestart,
    /// An agent is frozen (SIGSTOP) for a while.
    AgentFreeze,
    /// `kill -9` of the backend, which starts again.
    BackendKill,
    /// The backend is frozen (SIGSTOP) for a while.
    BackendFreeze,
    /// The link is cut: connections are reset and refused.
    LinkCut,
    /// The link swallows everything and says nothing.
    LinkHole,
    /// Connections are accepted and reset at their first byte.
    LinkReset,
    /// Open connections die unnoticed; new ones work.
    LinkForget,
    /// The link carries 16 kB a second.
    LinkThrottle,
    /// The link flips bits, which ends TLS connections.
    LinkCorrupt,
    /// Every byte is late by half a second, more or less.
    LinkDelay,
    /// `kill -9` of the broker with what it holds.
    BrokerKill,
    /// The broker acknowledges batches and loses them.
    BrokerSwallow,
    /// The broker delivers batches twice.
    BrokerDuplicate,
    /// The broker delivers batches and acknowledgements late and out of order.
    BrokerReorder,
    /// The broker flips a bit in batches.
    BrokerCorrupt,
    /// The broker closes connections in the midst of the window.
    BrokerCut,
    /// The broker allows two messages under way, and small ones.
    BrokerLimits,
    /// A machine is gone.
    MachineDead,
    /// A machine is slow.
    MachineSlow,
    /// Another program fills the disk of the buffer.
    DiskFull,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 22] = [
        Self::AgentKill,
        Self::AgentRestart,
        Self::AgentFreeze,
        Self::BackendKill,
        Self::BackendFreeze,
        Self::LinkCut,
        Self::LinkHole,
        Self::LinkReset,
        Self::LinkForget,
        Self::LinkThrottle,
        Self::LinkCorrupt,
        Self::LinkDelay,
        Self::BrokerKill,
        Self::BrokerSwallow,
        Self::BrokerDuplicate,
        Self::BrokerReorder,
        Self::BrokerCorrupt,
        Self::BrokerCut,
        Self::BrokerLimits,
        Self::MachineDead,
        Self::MachineSlow,
        Self::DiskFull,
    ];

    /// Its name in tables and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentKill => "agent-kill",
            Self::AgentRestart => "agent-restart",
            Self::AgentFreeze => "agent-freeze",
            Self::BackendKill => "backend-kill",
            Self::BackendFreeze => "backend-freeze",
            Self::LinkCut => "link-cut",
            Self::LinkHole => "link-hole",
            Self::LinkReset => "link-reset",
            Self::LinkForget => "link-forget",
            Self::LinkThrottle => "link-throttle",
            Self::LinkCorrupt => "link-corrupt",
            Self::LinkDelay => "link-delay",
            Self::BrokerKill => "broker-kill",
            Self::BrokerSwallow => "broker-swallow",
            Self::BrokerDuplicate => "broker-duplicate",
            Self::BrokerReorder => "broker-reorder",
            Self::BrokerCorrupt => "broker-corrupt",
            Self::BrokerCut => "broker-cut",
            Self::BrokerLimits => "broker-limits",
            Self::MachineDead => "machine-dead",
            Self::MachineSlow => "machine-slow",
            Self::DiskFull => "disk-full",
        }
    }

    /// How often it is chosen, relative to others: kills are what the campaign is for.
    pub(super) const fn weight(self) -> u32 {
        if matches!(self, Self::AgentKill) {
            8
        } else if matches!(self, Self::BackendKill) {
            4
        } else if matches!(self, Self::LinkHole | Self::LinkForget) {
            // Silence is noticed after 25 s, which leaves less time for others.
            1
        } else {
            2
        }
    }

    /// Whether it strikes all plants.
    pub(super) const fn is_of_backend(self) -> bool {
        matches!(self, Self::BackendKill | Self::BackendFreeze)
    }

    /// Whether the plant must have a broker.
    pub(super) const fn is_of_broker(self) -> bool {
        matches!(
            self,
            Self::BrokerKill
                | Self::BrokerSwallow
                | Self::BrokerDuplicate
                | Self::BrokerReorder
                | Self::BrokerCorrupt
                | Self::BrokerCut
                | Self::BrokerLimits
        )
    }

    /// Whether values that a machine gave out may never become part of a batch: the agent was not there to take or
    /// to keep them, or the answer did not arrive.
    pub(super) const fn may_cost_uncommitted(self) -> bool {
        matches!(
            self,
            Self::AgentKill | Self::AgentRestart | Self::AgentFreeze | Self::MachineDead | Self::MachineSlow
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A kind of fault that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        write!(f, "{:?} is no kind of fault; known are {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}
