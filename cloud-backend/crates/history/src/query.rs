//! What is asked, of whom, and what it may take.

use plant_model::{GatewayId, MachineId, TagId, TenantId};
use segments::TagKind;
use tiering::{Archive, TierStore};

/// Where samples rest.
#[derive(Clone, Copy)]
pub struct Tiers<'a> {
    /// Batches, segments, rollups and the manifest.
    pub store: &'a dyn TierStore,
    /// The objects.
    pub archive: &'a dyn Archive,
}

/// Of what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The tenant.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The machine.
    pub machine: MachineId,
    /// The tags, in the order of the answer. One that the machine never had is left out of it.
    pub tags: Vec<TagId>,
}

/// What a query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests to object storage.
    pub requests: u64,
    /// Bytes from object storage.
    pub bytes: u64,
    /// Minutes whose statistics or samples are looked at one by one to make figures.
    pub minutes: u64,
    /// Hours whose rollups are looked at.
    pub hours: u64,
    /// Figures of the answer: stretches times tags.
    pub figures: u64,
    /// Samples held at once to find the shape of lines.
    pub samples: usize,
}

impl Budget {
    /// For people who wait for a chart: a year of one tag from the archive, five months by the minute, twenty years by
    /// the hour; some seconds at most. 250,000 figures are 75 MB, 500,000 samples 30 MB.
    pub const INTERACTIVE: Self = Self {
        requests: 400,
        bytes: 1 << 30,
        minutes: 220_000,
        hours: 180_000,
        figures: 250_000,
        samples: 500_000,
    };
}

/// A figure of a tag between two boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Samples, and how many of them are good.
    Count,
    /// The smallest good value, and when it was first.
    Min,
    /// The largest good value, and when it was first.
    Max,
    /// The mean over the time in which a value was in force.
    Mean,
    /// The sum of the good values.
    Sum,
    /// The first good value.
    First,
    /// The last good value.
    Last,
    /// By how much a counter grew, resets taken into account.
    Increase,
    /// How long each state was in force.
    TimeInState,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Mean,
        Self::Sum,
        Self::First,
        Self::Last,
        Self::Increase,
        Self::TimeInState,
    ];

    /// Its name in queries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::First => "first",
            Self::Last => "last",
            Self::Increase => "increase",
            Self::TimeInState => "time_in_state",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    /// Whether tags of a kind have it.
    #[must_use]
    pub const fn suits(self, kind: TagKind) -> bool {
        match self {
            Self::Count | Self::First | Self::Last => true,
            Self::Min | Self::Max => matches!(kind, TagKind::Analog | TagKind::Counter),
            Self::Mean | Self::Sum => matches!(kind, TagKind::Analog),
            Self::Increase => matches!(kind, TagKind::Counter),
            Self::TimeInState => matches!(kind, TagKind::State),
        }
    }
}
