//! Why a webhook was not told.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tls_kit::TlsError;

/// A failure on the way to the answer of a web server.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The certificate authority cannot be used.
    #[error(transparent)]
    Authority(#[from] TlsError),
    /// The name means nothing.
    #[error("the name {host} cannot be looked up: {cause}; use an IP address, or enter the name")]
    LookUp {
        /// The name.
        host: String,
        /// Why.
        cause: io::Error,
    },
    /// The name stands for an address outside the plant.
    #[error(
        "{host} is {address}, which lies outside the local network; set allow_public = true if that is meant"
    )]
    Public {
        /// The name.
        host: String,
        /// What it stands for.
        address: IpAddr,
    },
    /// Nobody answers there.
    #[error("cannot connect to {authority}: {cause}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        cause: io::Error,
    },
    /// Nobody who is trusted answers there.
    #[error("no TLS connection to {authority}: {cause}")]
    Tls {
        /// Host and port.
        authority: String,
        /// Why.
        cause: io::Error,
    },
    /// The request or its answer was cut off.
    #[error("the request to {authority} failed: {cause}")]
    Exchange {
        /// Host and port.
        authority: String,
        /// Why.
        cause: hyper::Error,
    },
    /// The server refused.
    #[error("{authority} answers {status}; 200 to 299 is needed, and redirects are not followed")]
    Status {
        /// Host and port.
        authority: String,
        /// The HTTP status.
        status: u16,
    },
    /// The whole took too long.
    #[error("{authority} did not answer within {limit:?}")]
    Timeout {
        /// Host and port.
        authority: String,
        /// What is allowed.
        limit: Duration,
    },
}

impl WebhookError {
    /// Whether the server certainly did nothing.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::Exchange { .. } | Self::Timeout { .. } => false,
            Self::Authority(_)
            | Self::LookUp { .. }
            | Self::Public { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Status { .. } => true,
        }
    }
}
