//! The vocabulary of a plant: identifiers, tags, values, quality, samples, time and alarms.
//!
//! This crate knows nothing about files, sockets, clocks, serialisation or any program. Every
//! other crate speaks in its words. Identifiers are parsed once, at the edge of the system, and are
//! valid for ever after.

mod alarm;
mod id;
mod sample;
mod tag;
mod time;
mod time_keeper;
mod value;

pub use alarm::{
    AcknowledgeClass, AlarmCommand, AlarmCondition, AlarmDefinition, AlarmFlags, AlarmKind, AlarmPriority,
    AlarmState, AlarmTimers, AlarmTransition, LimitKind, NormalState, OperatorAction, Setpoint,
    TransitionCause,
};
pub use id::{AlarmId, CommandId, GatewayId, IdError, MachineId, SiteId, TagId, TenantId};
pub use sample::Sample;
pub use tag::{DataType, Enumeration, EnumerationError, TagDefinition};
pub use time::{Monotonic, Timestamp, TimestampError};
pub use time_keeper::{TimeChange, TimeKeeper, TimeSource};
pub use value::{Quality, QualityClass, Value};
