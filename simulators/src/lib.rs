//! Simulated machines: deterministic process models behind real Modbus TCP and real OPC UA servers.
//!
//! The crate depends on no other crate of this project, so that what it counts (reads served, value changes
//! produced) is an independent truth against which the agent and the backend are judged. It can be used in one
//! process with a test ([`Plant::start`]) or as the program `machine-simulator`. The plant file, the register map,
//! the meaning of each counter and the control interface are described in this folder's `README.md`.
//!
//! [`chaos`] is a link with faults for any TCP connection, also as the program `chaos-proxy`; [`broker`] is an MQTT
//! broker with a fault for any packet, also as the program `chaos-broker`.

mod agent_config;
pub mod broker;
mod catalog;
pub mod chaos;
mod control;
mod error;
mod front;
mod kind;
mod line;
mod machine;
mod modbus;
mod mode;
mod noise;
mod plant;
mod plant_file;
mod process;
mod report;
mod start;
mod state_file;
mod ua_options;
mod ua_server;
mod value;
mod wall_clock;

pub use agent_config::{machine_file, write_machine_files};
pub use catalog::{AlarmKind, AlarmSpec, Encoding, Role, Signal, TagSpec, tags};
pub use error::SimulatorError;
pub use kind::{Kind, Protocol};
pub use line::{Line, Place};
pub use machine::Machine;
pub use modbus::{Placement, RegisterMap};
pub use mode::Mode;
pub use plant::Plant;
pub use plant_file::{
    LineConfig, LineOptions, MachineConfig, ModbusOptions, PlantConfig, SerialDevice, Silence,
};
pub use process::Process;
pub use report::{LineReport, MachineDetail, MachineReport, Produced, Summary, TagReport};
pub use state_file::{MachineState, StateFile, write_whole};
pub use ua_options::{
    Filters, UaCertificate, UaClock, UaLimits, UaMode, UaOptions, UaPolicy, UaSecurity, UaUser,
};
pub use value::Value;
