//! The API for gateways (SPEC sections 12 to 14): HTTPS with certificates of the installation's own authority, apart
//! from the API for people.
//!
//! | request | who | what |
//! |---|---|---|
//! | `POST /gateway/v1/enrol` | whoever has a code | a certificate for the gateway that the code stands for |
//! | `POST /gateway/v1/renew` | a gateway, by its certificate, for a year after its end too | a new certificate |
//! | `GET /gateway/v1/identity` | a gateway | who it is, and the time: a certificate is tried with it |
//! | `GET /gateway/v1/configuration` | a gateway, by its certificate | what it is to run, signed |
//! | `PUT /gateway/v1/report` | a gateway, by its certificate | takes what it says about that |
//! | `GET /gateway/v1/update` | a gateway, by its certificate | the version of the agent that it is to run |
//! | `PUT /gateway/v1/update/report` | a gateway, by its certificate | takes what it says about that |
//!
//! Errors are `application/problem+json` (RFC 9457). A wrong code costs the caller a second, and at most
//! [`CONNECTIONS_MAX`] callers are heard at once: 72 random bits cannot be guessed like that.

mod configuration;
mod port;
mod problem;
mod routes;
mod server;
mod update;

pub use port::{Certifier, CertifyError, Presented, Signed};
pub use routes::{GatewayApi, Reach};
pub use server::{BindError, CONNECTIONS_MAX, GatewayServer};
