//! Modbus side of a machine: its register map, the functions it knows, and the lines on which requests come.

mod bus;
mod frame;
mod map;
mod pdu;
pub(crate) mod serial;
mod server;
mod unit;

pub(crate) use bus::Bus;
pub(crate) use frame::Framing;
pub use map::{Placement, RegisterMap};
pub(crate) use pdu::READ_REGISTERS_MAX;
pub(crate) use server::serve;
pub(crate) use unit::Unit;
