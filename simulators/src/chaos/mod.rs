//! A TCP link with faults that are chosen: it holds bytes back, delays, throttles, damages or swallows them in each
//! direction apart, refuses and resets connections, and lets them die the way a forgotten NAT entry does.
//!
//! [`Proxy`] is used in one process with a test, by the program `chaos-proxy`, and in front of every simulated machine
//! that listens on TCP. What it does by chance (jitter, which bit is flipped) follows from a seed, the number of the
//! connection and the direction.
//!
//! Invariants: bytes that are forwarded keep their order; a direction that swallowed bytes never forwards again,
//! because what follows a hole is not the stream any more; memory per direction is at most [`pump`]'s queue.

mod control;
mod faults;
mod proxy;
mod pump;

pub use control::serve_control;
pub use faults::{Arrivals, BadWay, Faults, Flow, Way};
pub use proxy::{Proxy, Stats};
