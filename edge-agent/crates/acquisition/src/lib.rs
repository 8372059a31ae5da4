//! What is read from a machine, how it is planned and decoded, and where it goes: the decisions of
//! acquisition without its effects.
//!
//! The drivers (`driver-modbus`, `driver-opcua`) do the talking; this crate tells them what to ask,
//! when it is due and what an answer means, and declares the [`MachineSink`] they hand readings to.
//! It knows nothing about sockets, runtimes, clocks or files: time comes in as an argument.

mod agenda;
mod connection;
mod counters;
mod decode;
mod error;
mod modbus;
mod node;
mod plan;
mod reading;
mod report;
mod schedule;

pub use agenda::{Agenda, DuePoll};
pub use connection::{ModbusConnection, OpcUaConnection, OpcUaItem, TAGS_MAX};
pub use counters::{Counter, DriverCounters, FailedPolls};
pub use error::AcquisitionError;
pub use modbus::{ModbusTag, ModbusTagParameters, RegisterFormat, RegisterTable, WordOrder};
pub use node::{Namespace, NodeIdentifier, NodeReference};
pub use plan::{PlanLimits, PollBlock, plan};
pub use reading::{LinkState, MachineSink, Reading, TagIndex};
pub use report::{Instants, Report};
pub use schedule::{Schedule, stagger};
