//! A broker whose faults are asked for each packet: it stands between MQTT 5 clients and the server they mean, ends TLS
//! on both sides, and before it hands a control packet on asks its [`Rule`]s what is to become of it.
//!
//! Towards the client it is the server, with a certificate of an authority made for this run; towards the server it is
//! the client whose certificate it was given. What a broker may do to a message and a TCP link cannot, it can: lose what
//! it acknowledged, deliver twice or out of order, name limits, and throw a client out with a reason.
//!
//! Invariants: packets that no rule touches are handed on in order, byte by byte; memory is bounded (1 MiB a packet,
//! [`relay`]'s queues); what happens by chance follows from the seed and the number of the packet.

mod control;
mod packet;
mod relay;
mod rule;
mod server;
mod tls;

pub use control::serve_broker_control;
pub use rule::{BadRule, Fault, Rule, rules};
pub use server::{Broker, BrokerOptions};
