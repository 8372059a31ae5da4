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
//! * When data stop, every tag turns bad once, with the reason.

mod access;
mod acquire;
mod certificate;
mod connector;
mod discovery;
mod driver;
mod error;
mod identity;
mod limits;
mod link;
mod probe;
mod subscription;
mod value;

use std::sync::Arc;

use acquisition::{DriverCounters, MachineSink, OpcUaConnection};
use plant_model::MachineId;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

pub use access::Access;
pub use identity::Identity;
pub use probe::{BrowseSummary, BrowsedNode, EndpointReport, NodeKind, Probe, ProbeError, endpoints};

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
    driver::Driver::new(connection, name, identity, sink, clock, counters, shutdown).run().await;
}
