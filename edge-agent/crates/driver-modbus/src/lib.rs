//! Reads the machines behind one address, for ever: over Modbus TCP, RTU on a serial line, or RTU in a
//! TCP stream.
//!
//! One task serves one connection: it waits for what is due, asks, decodes and hands the readings to
//! the sink of the machine before it asks again. One request travels at a time, whoever it is for. What
//! to ask, whom and when is decided in `acquisition`.
//!
//! Invariants:
//! * Everything on the network has a deadline. A connection on which nobody answers, or that brings
//!   anything that is no proper answer, ends; a new one is made under a back-off that starts anew only
//!   after good data.
//! * A late answer is never taken for the answer to a later question (modules `stale_filter` and
//!   `line_filter`).
//! * A write is begun in time or never made. What was sent and not confirmed is unknown, not refused.
//! * When data stop, every tag turns bad once, with the reason; it never keeps its last value in
//!   silence.

mod client;
mod driver;
mod error;
mod incoming;
mod line_filter;
pub mod probe;
mod readings;
mod stale_filter;
mod unit;
mod write;
mod write_only;

use service_kit::Clock;
use tokio_util::sync::CancellationToken;

pub use acquisition::WriteOutcome;
pub use unit::Unit;
pub use write::{WriteQueue, WriteRequest, Writer, write_queue};
pub use write_only::run_writes;

/// Reads the machines behind one address until `shutdown` is cancelled; `units` all have that address.
/// A poll that was begun is finished first, which takes no longer than the time-out of one request.
pub async fn run(units: Vec<Unit>, clock: Clock, shutdown: CancellationToken) {
    run_with_writes(units, WriteQueue::default(), clock, shutdown).await;
}

/// As [`run`], and makes the writes of `queue` between two reads: as soon as the request under way has
/// ended, before anybody is asked again.
pub async fn run_with_writes(units: Vec<Unit>, queue: WriteQueue, clock: Clock, shutdown: CancellationToken) {
    if let Some(driver) = driver::Driver::new(units, queue, clock, shutdown) {
        driver.run().await;
    }
}
