//! What is read from a machine, how it is planned and decoded, and where it goes: the decisions of
//! acquisition without its effects.
//!
//! The drivers (`driver-modbus`, `driver-opcua`) do the talking; this crate tells them what to ask,
//! when it is due and what an answer means, and declares the [`MachineSink`] they hand readings to.
//! It knows nothing about sockets, runtimes, clocks or files: time comes in as an argument.

mod block_tree;
mod breaker;
mod bus;
mod connection;
mod counters;
mod decode;
mod encode;
mod error;
mod exception;
mod modbus;
mod node;
mod on_change;
mod opcua;
mod pace;
mod plan;
mod reading;
mod report;
mod round_trip;
mod schedule;
mod unit_plan;
mod write;

pub use bus::{Bus, Enquiry, Reply, Turn, Verdict};
pub use connection::{
    AfterRead, ModbusAddress, ModbusConnection, ModbusConnectionParameters, Parity, Quirks, SerialLine,
    TAGS_MAX, WritePath,
};
pub use counters::{Counter, DriverCounters, FailedPolls};
pub use error::AcquisitionError;
pub use exception::Refusal;
pub use modbus::{
    Byte, ModbusTag, ModbusTagParameters, RegisterFormat, RegisterTable, ValueRange, WordOrder,
};
pub use node::{Namespace, NodeIdentifier, NodeReference};
pub use on_change::{Absence, ChangeFilter, OnChange};
pub use opcua::{
    AcquisitionMode, Deadband, OpcUaConnection, OpcUaItem, OpcUaSecurity, OpcUaUser, SecurityMode,
    SecurityPolicy, ServerTrust,
};
pub use pace::{AlarmedTag, AlarmedUnit, DECISION, REQUEST_ASSUMED, SharedBus, raise_rates};
pub use plan::{Bridging, Grouping, PlanLimits, PollBlock, plan};
pub use reading::{LinkState, MachineSink, Reading, TagIndex};
pub use report::{Instants, Report};
pub use schedule::{Schedule, stagger};
pub use unit_plan::{Purpose, Tally};
pub use write::WriteOutcome;
