//! Plumbing that the programs and their adapters share: back-off, clocks, durable files, handovers, listening, logging and shutdown.
//!
//! Only L3 and L4 crates use it. It holds no domain knowledge and stays below 900 lines.

mod backoff;
mod clock;
mod durable;
mod handover;
mod listen;
mod shutdown;
pub mod telemetry;

pub use backoff::Backoff;
pub use clock::Clock;
pub use durable::{remove_if_present, sync_folder, write_synced};
pub use handover::{Asker, Inbox, NoAnswer, Patience, Reply, Request, handover};
pub use listen::accept;
pub use shutdown::stop_signal;
