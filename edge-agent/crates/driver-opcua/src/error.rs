//! Why a session could not be made or ended, and what that makes of a tag's quality.

use std::time::Duration;

use opcua::types::{Error, StatusCode};
use plant_model::Quality;
use thiserror::Error as ThisError;

/// A failure on the way to values.
#[derive(Debug, ThisError)]
pub(crate) enum OpcUaError {
    #[error("cannot connect to {endpoint}: {cause}")]
    Connect { endpoint: String, cause: Error },
    #[error("{endpoint} did not finish {step} within {limit:?}")]
    Deadline { endpoint: String, step: &'static str, limit: Duration },
    #[error(
        "{endpoint} offers no endpoint with security None for anonymous users; it offers {offered}. Allow \
         one in the server's settings"
    )]
    NoEndpoint { endpoint: String, offered: String },
    #[error("the server failed to {step}: {cause}")]
    Request { step: &'static str, cause: Error },
    #[error("the connection ended: {status}")]
    Lost { status: StatusCode },
    #[error("the server ended the subscription: {status}")]
    Subscription { status: StatusCode },
    #[error("the server has published nothing for {limit:?}")]
    Silent { limit: Duration },
}

impl OpcUaError {
    /// The quality of a tag that could not be read for this reason.
    pub(crate) const fn quality(&self) -> Quality {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::NoEndpoint { .. } => {
                Quality::BAD_NOT_CONNECTED
            }
            Self::Request { .. } | Self::Lost { .. } | Self::Subscription { .. } => {
                Quality::BAD_COMMUNICATION_ERROR
            }
            Self::Silent { .. } => Quality::BAD_TIMEOUT,
        }
    }
}
