//! Modbus TCP side of a machine: the register map and the server.

mod map;
mod server;

pub use map::{Placement, RegisterMap};
pub(crate) use server::{UNIT_ID, serve};
