//! Orders, what becomes of them, and the port through which they leave.

use std::pin::Pin;

use plant_model::AlarmPriority;

use crate::AlarmKey;

/// What an output is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// As with alarms.
    On,
    /// As without.
    Off,
}

impl Level {
    /// The name used in configuration and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// What becomes of an output when the agent stops in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Safe {
    /// It is driven there.
    Driven(Level),
    /// It is left as it is.
    Kept,
}

impl Safe {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Driven(Level::On), Self::Driven(Level::Off), Self::Kept];

    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driven(level) => level.name(),
            Self::Kept => "keep",
        }
    }
}

/// An alarm that holds an output on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub alarm: AlarmKey,
    /// How soon a person must act on it.
    pub priority: AlarmPriority,
}

/// Why an output is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It follows the alarms.
    Alarms,
    /// The agent stops; the level is the safe one.
    Stop,
}

impl Reason {
    /// The name used in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::Stop => "stop",
        }
    }
}

/// Drive the output to a level and see that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The level.
    pub level: Level,
    /// Why.
    pub reason: Reason,
    /// The alarms that hold the output on, the most urgent first; at most [`Self::ALARMS_MAX`].
    pub alarms: Vec<Standing>,
    /// How many there are in all.
    pub alarms_total: usize,
}

impl Drive {
    /// More alarms than a person reads; it bounds a message.
    pub const ALARMS_MAX: usize = 20;
}

/// What an output asks of its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Drive it.
    Drive(Drive),
    /// Show that the agent lives. The number differs from the one before: it counts to 32,767 and begins
    /// anew at 0.
    Beat(u16),
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and seen to be done.
    Confirmed,
    /// It was taken, and what was read back is something else.
    Differs {
        /// What was read, for people.
        read_back: String,
    },
    /// It was not taken.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was sent, and what became of it is not known.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The outcome of an order, some time. A port answers within a limit of its own.
pub type PortFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// The way of an order to the thing that is switched.
pub trait OutputPort: Send + Sync {
    /// Carries out an order. It happens at most once, and not after the future was dropped.
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a>;
}
