//! The configuration that the backend has for this gateway (SPEC section 13): fetched and reported about on
//! connections by which the gateway proves who it is, as for a renewal.

use std::time::Duration;

use hyper::{Method, StatusCode};
use protocol::limits::SIGNED_CONFIGURATION_BYTES_MAX;
use protocol::{
    CONFIGURATION_PATH, ConfigurationReport, ConfigurationVersion, REPORT_PATH, SignedConfiguration,
};

use tls_kit::TlsTime;

use crate::client::Question;
use crate::renew::connect;
use crate::{IdentityError, IdentityFiles};

/// Time for the largest configuration over a cellular link of some 100 kbit/s.
const DEADLINE: Duration = Duration::from_secs(300);

/// What the backend answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It has no configuration for this gateway.
    Nothing,
    /// It wants the version that is known.
    Known,
    /// Another one, of which nothing is checked but that it can be read.
    Version(Box<SignedConfiguration>),
}

/// Asks the backend.
#[derive(Debug, Clone)]
pub struct ConfigurationClient {
    /// Address of the API for gateways, `https://HOST:PORT`.
    pub cloud: String,
    /// By which this gateway is known.
    pub files: IdentityFiles,
    /// By which certificates are judged.
    pub time: TlsTime,
}

impl ConfigurationClient {
    /// The version that the backend wants, unless it is `known`.
    ///
    /// # Errors
    /// The files cannot be used, or the backend cannot be reached, refuses, or sends what is no configuration.
    pub async fn fetch(&self, known: Option<ConfigurationVersion>) -> Result<Fetched, IdentityError> {
        let backend = connect(&self.cloud, &self.files, self.time)?;
        let question = Question {
            if_none_match: known.map(|version| format!("\"{version}\"")),
            deadline: DEADLINE,
            answer_bytes_max: SIGNED_CONFIGURATION_BYTES_MAX,
            ..Question::new(Method::GET, CONFIGURATION_PATH, Vec::new())
        };
        match backend.answer(question).await? {
            (StatusCode::NO_CONTENT, _) => Ok(Fetched::Nothing),
            (StatusCode::NOT_MODIFIED, _) => Ok(Fetched::Known),
            (status, body) => Ok(Fetched::Version(Box::new(backend.read(status, &body)?))),
        }
    }

    /// Says how this gateway stands.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn report(&self, report: &ConfigurationReport) -> Result<(), IdentityError> {
        let backend = connect(&self.cloud, &self.files, self.time)?;
        let body = serde_json::to_vec(report).map_err(|error| backend.strange(error))?;
        let (status, body) = backend.answer(Question::new(Method::PUT, REPORT_PATH, body)).await?;
        if status.is_success() { Ok(()) } else { Err(backend.problem(status, &body)) }
    }
}
