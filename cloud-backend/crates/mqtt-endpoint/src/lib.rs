//! The MQTT 5 ingest endpoint: where gateways connect to the backend. It is not a broker.
//!
//! It is one of the two places where gateways publish (`ingestion::Broker`). It knows certificates, topics and
//! acknowledgements; it knows nothing about batches, stores or tenants' data. It accepts publishes of connected gateways, hands them to one consumer through a
//! bounded stream of [`EndpointEvent`]s, and acknowledges each only when the consumer says so.
//!
//! ```text
//! TCP -> TLS 1.3 with client certificate -> identity -> Session (decides, pure) -> EndpointEvent -> consumer
//!                                                   Session <- Receipt::accept / Endpoint::publish <-
//! ```
//!
//! Invariants
//! - The identity comes from the client certificate alone. A gateway publishes and subscribes only below
//!   `mfp/v1/TENANT/GATEWAY/` of its own identity; everything else is refused with 0x87 and counted.
//! - A QoS 1 publish is acknowledged when its [`Receipt`] is accepted, never before and never by dropping it.
//! - One connection per identity: a new one takes over, the old one is told so (0x8E).
//! - Nothing is kept between connections: what was not acknowledged, the gateway sends again.
//! - A connection that cannot hand over its publish stops reading, and only that connection.

mod connection;
mod endpoint;
mod event;
mod identity;
mod listener;
mod metrics;
mod registry;
mod session;

pub use endpoint::{BindError, Endpoint, EndpointConfig, Limits, bind};
pub use event::{DisconnectReason, EndpointEvent};
pub use identity::{Credential, IdentityError};
pub use ingestion::{Broker, ConnectionId, GatewayIdentity, Inbound, PublishError, Receipt, Rejection};
pub use listener::Listener;
pub use metrics::{HandshakeFailure, Metrics, Refusal};
