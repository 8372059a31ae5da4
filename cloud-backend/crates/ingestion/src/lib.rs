//! What becomes of a message that a gateway sent: stored, counted as a duplicate, or refused.
//!
//! [`decide`] looks at one message alone. What it cannot know (whether the batch is already there,
//! where the unbroken row ends) is decided against a [`Coverage`] inside the transaction of the store,
//! by the same rules in every store. The identity that holds after every transaction, per gateway,
//! epoch and stream: `received = stored + duplicate + rejected`.
//!
//! The ports of the store and of the place where gateways publish are declared here.
//!
//! This crate knows nothing about databases, MQTT or time: bytes and instants come in, decisions go
//! out. Implements SPEC sections 3 and 4.

mod broker;
mod coverage;
mod decision;
mod port;
mod write_set;

pub use broker::{
    Broker, BrokerEvent, ConnectionId, GatewayIdentity, Inbound, PublishError, Receipt, Rejection,
};
pub use coverage::{Coverage, RANGES_MAX, TooManyRanges};
pub use decision::{
    Arrival, Contents, Judged, PreparedBatch, QuarantinedBatch, SEQUENCE_MAX, Verdict, decide, reason,
};
pub use port::{IngestStore, PortFuture, StoreError};
pub use write_set::{Applied, Fate, Placement, Tally, WriteSet};
