//! The harness that runs a whole factory as real processes: simulated plants, agents, backend.
//!
//! The demo and the end-to-end tests share it. It is an independent judge: what the machines produced
//! comes from the simulators, what arrived comes from the backend's API and files.

pub mod api;
pub mod books;
pub mod broker;
pub mod campaign;
pub mod factory;
pub mod fake_clock;
pub mod flood;
pub mod host;
pub mod injection;
pub mod link;
pub mod load;
pub mod oracle;
pub mod process;
pub mod steps;
pub mod sync_stall;
pub mod usage;
