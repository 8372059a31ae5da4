//! Subscribes to one OPC UA server, for ever.
//!
//! One task serves one server. A session is disposable: when its connection ends, its subscription is
//! refused or the server stops publishing, the whole session is thrown away and a new one is made
//! under a back-off; the library's own reconnecting is switched off. Nothing is spawned: the session's
//! events are polled in the driver's own task, so values reach the sink in the poll in which they
//! arrive.
//!
//! Invariants:
//! * Everything on the network has a deadline, name look-up, discovery and closing included.
//! * Node ids are resolved after each connect, because a server may renumber its namespaces.
//! * A session has exactly the configured protection and user; a server that offers no such endpoint is
//!   reported, never tried in another way. Its certificate must be a trusted one.
//! * What a server will not watch is read cyclically, unless the configuration forbids it; what it does
//!   not know is bad, asked for again, and hinders nothing else.
//! * Writes and calls of methods are made in the same task, one at a time, before the next cyclic read; what
//!   they did is looked at afterwards. Each is begun in time or never made.
//! * When data stop, every tag turns bad once, with the reason.

mod access;
mod acquire;
mod call;
mod certificate;
mod connector;
mod discovery;
mod doctor;
mod driver;
mod encode;
mod error;
mod identity;
mod limits;
mod link;
mod liveness;
mod probe;
mod subscription;
mod trust;
mod value;
mod write;

use std::sync::Arc;

use acquisition::{DriverCounters, MachineSink, OpcUaConnection};
use plant_model::MachineId;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

pub use access::Access;
pub use acquisition::WriteOutcome;
pub use doctor::{EndpointReport, ShownCertificate, endpoints};
pub use identity::Identity;
pub use probe::{BrowseSummary, BrowsedNode, NodeKind, Probe, ProbeError};
pub use write::{CallRequest, SHOWN_WITHIN, WriteQueue, WriteRequest, Writer, write_queue};

/// Reads the machine `name` until `shutdown` is cancelled, then closes the session, which takes at
/// most 300 ms.
pub async fn run(
    connection: OpcUaConnection,
    name: MachineId,
    identity: Arc<Identity>,
    sink: Box<dyn MachineSink>,
    clock: Clock,
    counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
) {
    let queue = WriteQueue::default();
    run_with_writes(connection, name, identity, sink, queue, clock, counters, shutdown).await;
}

/// As [`run`], and makes the writes of `queue` between two requests.
#[expect(clippy::too_many_arguments, reason = "all that a driver is made of, as in `run`")]
pub async fn run_with_writes(
    connection: OpcUaConnection,
    name: MachineId,
    identity: Arc<Identity>,
    sink: Box<dyn MachineSink>,
    queue: WriteQueue,
    clock: Clock,
    counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
) {
    driver::Driver::new(connection, name, identity, sink, queue, clock, counters, shutdown).run().await;
}
