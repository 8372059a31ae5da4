//! The version of the agent that the backend wants (SPEC section 14): asked for and reported about on connections by
//! which the gateway proves who it is, as for a renewal.

use hyper::{Method, StatusCode};
use protocol::{DesiredUpdate, UPDATE_PATH, UPDATE_REPORT_PATH, UpdateReport, UpdateRevision};

use tls_kit::TlsTime;

use crate::client::Question;
use crate::renew::connect;
use crate::{IdentityError, IdentityFiles};

/// What the backend answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Desired {
    /// It wants nothing.
    Nothing,
    /// It wants what is known.
    Known,
    /// It wants this.
    Update(DesiredUpdate),
}

/// Asks the backend.
#[derive(Debug, Clone)]
pub struct UpdateClient {
    /// Address of the API for gateways, `https://HOST:PORT`.
    pub cloud: String,
    /// By which this gateway is known.
    pub files: IdentityFiles,
    /// By which certificates are judged.
    pub time: TlsTime,
}

impl UpdateClient {
    /// What the backend wants, unless it is `known`.
    ///
    /// # Errors
    /// The files cannot be used, or the backend cannot be reached, refuses, or sends what is no wish.
    pub async fn fetch(&self, known: Option<UpdateRevision>) -> Result<Desired, IdentityError> {
        let backend = connect(&self.cloud, &self.files, self.time)?;
        let question = Question {
            if_none_match: known.map(|revision| format!("\"{revision}\"")),
            ..Question::new(Method::GET, UPDATE_PATH, Vec::new())
        };
        match backend.answer(question).await? {
            (StatusCode::NO_CONTENT, _) => Ok(Desired::Nothing),
            (StatusCode::NOT_MODIFIED, _) => Ok(Desired::Known),
            (status, body) => Ok(Desired::Update(backend.read(status, &body)?)),
        }
    }

    /// Says how this gateway stands.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn report(&self, report: &UpdateReport) -> Result<(), IdentityError> {
        let backend = connect(&self.cloud, &self.files, self.time)?;
        let body = serde_json::to_vec(report).map_err(|error| backend.strange(error))?;
        let (status, body) = backend.answer(Question::new(Method::PUT, UPDATE_REPORT_PATH, body)).await?;
        if status.is_success() { Ok(()) } else { Err(backend.problem(status, &body)) }
    }
}
