//! Plumbing that the programs and their adapters share: back-off, clocks, logging and shutdown.
//!
//! Only L3 and L4 crates use it. It holds no domain knowledge and stays below 900 lines.

mod backoff;
mod clock;
mod shutdown;
pub mod telemetry;

pub use backoff::Backoff;
pub use clock::Clock;
pub use shutdown::stop_signal;
