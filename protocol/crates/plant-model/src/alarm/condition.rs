//! What an alarm watches.

use std::time::Duration;

use crate::{TagId, Value};

/// Which side of which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Far above the normal range.
    HighHigh,
    /// Above the normal range.
    High,
    /// Below the normal range.
    Low,
    /// Far below the normal range.
    LowLow,
}

impl LimitKind {
    /// Whether the process is abnormal above the limit (else below it).
    #[must_use]
    pub const fn is_upper(self) -> bool {
        matches!(self, Self::HighHigh | Self::High)
    }
}

/// The kind of a condition, by which configuration, wire and API name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// [`AlarmCondition::Limit`].
    Limit(LimitKind),
    /// [`AlarmCondition::Deviation`].
    Deviation,
    /// [`AlarmCondition::RateOfChange`].
    RateOfChange,
    /// [`AlarmCondition::OffNormal`].
    OffNormal,
    /// [`AlarmCondition::Stale`].
    Stale,
    /// [`AlarmCondition::BadQuality`].
    BadQuality,
    /// [`AlarmCondition::Communication`].
    Communication,
    /// [`AlarmCondition::Expression`].
    Expression,
}

impl AlarmKind {
    /// All kinds; limits from the highest to the lowest.
    pub const ALL: [Self; 11] = [
        Self::Limit(LimitKind::HighHigh),
        Self::Limit(LimitKind::High),
        Self::Limit(LimitKind::Low),
        Self::Limit(LimitKind::LowLow),
        Self::Deviation,
        Self::RateOfChange,
        Self::OffNormal,
        Self::Stale,
        Self::BadQuality,
        Self::Communication,
        Self::Expression,
    ];

    /// The name used in configuration, on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit(LimitKind::HighHigh) => "high_high",
            Self::Limit(LimitKind::High) => "high",
            Self::Limit(LimitKind::Low) => "low",
            Self::Limit(LimitKind::LowLow) => "low_low",
            Self::Deviation => "deviation",
            Self::RateOfChange => "rate_of_change",
            Self::OffNormal => "off_normal",
            Self::Stale => "stale",
            Self::BadQuality => "bad_quality",
            Self::Communication => "communication",
            Self::Expression => "expression",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Setpoint {
    /// A number in the tag's unit.
    Fixed(f64),
    /// The value of another tag of the same machine.
    Tag(TagId),
}

/// Which values of a discrete tag are normal.
#[derive(Debug, Clone, PartialEq)]
pub enum NormalState {
    /// One of these.
    Values(Vec<Value>),
    /// Those of a whole number with this bit so.
    Bit {
        /// The bit, 0 for the least significant, at most 63.
        number: u8,
        /// Whether it is set when all is well.
        set: bool,
    },
}

/// When the process is abnormal. A value that is not good makes it unknown, which neither raises nor
/// clears.
#[derive(Debug, Clone, PartialEq)]
pub enum AlarmCondition {
    /// A value beyond a limit.
    Limit {
        /// The tag.
        tag: TagId,
        /// The side.
        kind: LimitKind,
        /// The limit, in the tag's unit. A value on the limit is normal.
        limit: f64,
        /// How far the value must come back inside the limit, in the tag's unit; zero or more.
        deadband: f64,
    },
    /// A value too far from where it should be, on either side.
    Deviation {
        /// The tag.
        tag: TagId,
        /// Where it should be.
        from: Setpoint,
        /// The largest normal distance, in the tag's unit; zero or more.
        limit: f64,
        /// How much smaller than the limit the distance must become.
        deadband: f64,
    },
    /// A value that moves too fast, up or down.
    RateOfChange {
        /// The tag.
        tag: TagId,
        /// The largest normal change, in the tag's unit a second; more than zero.
        limit_per_second: f64,
        /// The time over which the change is measured; it should span several samples.
        over: Duration,
        /// How much smaller than the limit the rate must become.
        deadband: f64,
    },
    /// A discrete value that is not as it should be.
    OffNormal {
        /// The tag.
        tag: TagId,
        /// Which values are normal.
        normal: NormalState,
    },
    /// A value that has not changed for a time, although the machine is connected.
    Stale {
        /// The tag.
        tag: TagId,
        /// The longest normal time without a change.
        after: Duration,
    },
    /// A tag whose values are not good: its other alarms cannot be decided.
    BadQuality {
        /// The tag.
        tag: TagId,
    },
    /// No connection to the machine.
    Communication,
    /// A boolean combination of tags, in the language of the alarm engine.
    Expression {
        /// The text, for example `pump_on and flow < 5`.
        text: String,
    },
}

impl AlarmCondition {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> AlarmKind {
        match self {
            Self::Limit { kind, .. } => AlarmKind::Limit(*kind),
            Self::Deviation { .. } => AlarmKind::Deviation,
            Self::RateOfChange { .. } => AlarmKind::RateOfChange,
            Self::OffNormal { .. } => AlarmKind::OffNormal,
            Self::Stale { .. } => AlarmKind::Stale,
            Self::BadQuality { .. } => AlarmKind::BadQuality,
            Self::Communication => AlarmKind::Communication,
            Self::Expression { .. } => AlarmKind::Expression,
        }
    }

    /// The tag that is watched; none where there is no single one.
    #[must_use]
    pub const fn tag(&self) -> Option<&TagId> {
        match self {
            Self::Limit { tag, .. }
            | Self::Deviation { tag, .. }
            | Self::RateOfChange { tag, .. }
            | Self::OffNormal { tag, .. }
            | Self::Stale { tag, .. }
            | Self::BadQuality { tag } => Some(tag),
            Self::Communication | Self::Expression { .. } => None,
        }
    }

    /// The number that the value is held against, where there is one: in the tag's unit, for a rate in
    /// that unit a second, for a stale value in seconds.
    #[must_use]
    pub const fn limit(&self) -> Option<f64> {
        match self {
            Self::Limit { limit, .. } | Self::Deviation { limit, .. } => Some(*limit),
            Self::RateOfChange { limit_per_second, .. } => Some(*limit_per_second),
            Self::Stale { after, .. } => Some(after.as_secs_f64()),
            Self::OffNormal { .. }
            | Self::BadQuality { .. }
            | Self::Communication
            | Self::Expression { .. } => None,
        }
    }

    /// The deadband, in the unit of the limit; zero where there is none.
    #[must_use]
    pub const fn deadband(&self) -> f64 {
        match self {
            Self::Limit { deadband, .. }
            | Self::Deviation { deadband, .. }
            | Self::RateOfChange { deadband, .. } => *deadband,
            Self::OffNormal { .. }
            | Self::Stale { .. }
            | Self::BadQuality { .. }
            | Self::Communication
            | Self::Expression { .. } => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_way_back_from_its_name() {
        for kind in AlarmKind::ALL {
            assert_eq!(AlarmKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(AlarmKind::from_name("hihi"), None);
    }

    #[test]
    fn a_condition_tells_what_it_is_held_against() {
        let tag = TagId::new("level").expect("valid");
        let stale = AlarmCondition::Stale { tag: tag.clone(), after: Duration::from_millis(1_500) };
        assert_eq!((stale.limit(), stale.deadband(), stale.tag()), (Some(1.5), 0.0, Some(&tag)));
        assert_eq!(
            (AlarmCondition::Communication.limit(), AlarmCondition::Communication.tag()),
            (None, None)
        );
    }
}
