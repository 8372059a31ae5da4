//! Reads one machine over Modbus TCP, for ever.
//!
//! One task serves one connection: it waits for what is due, asks, decodes and hands the readings to
//! the machine's sink before it asks again. Nothing else happens in it, so a dead machine hurts no
//! other. What to ask and when is decided in `acquisition`.
//!
//! Invariants:
//! * Everything on the network has a deadline. Three requests in a row without an answer, or anything
//!   that is no proper answer, end the connection; a new one is made under a back-off that starts
//!   anew only after good data.
//! * A late answer is never taken for the answer to a later question (module `stale_filter`).
//! * When data stop, every tag turns bad once, with the reason; it never keeps its last value in
//!   silence.

mod client;
mod driver;
mod error;
pub mod probe;
mod readings;
mod stale_filter;

use std::sync::Arc;

use acquisition::{DriverCounters, MachineSink, ModbusConnection};
use plant_model::MachineId;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

/// Reads the machine `name` until `shutdown` is cancelled. A poll that was begun is finished first,
/// which takes no longer than the time-out of one request.
pub async fn run(
    connection: ModbusConnection,
    name: MachineId,
    sink: Box<dyn MachineSink>,
    clock: Clock,
    counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
) {
    driver::Driver::new(connection, name, sink, clock, counters, shutdown).run().await;
}
