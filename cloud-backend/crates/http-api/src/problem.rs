//! Errors of the API: `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`]; the outermost middleware ([`crate::middleware`]) writes it out with the
//! request id and logs the cause, which never reaches the caller.

use std::error::Error;

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use history::HistoryError;
use protocol::ConfigurationVersion;
use serde::Serialize;
use tenancy::ConfigurationProblem;
use tiering::ArchiveError;
use utoipa::ToSchema;

use crate::rollouts::RolloutError;

/// Mistakes that one answer lists: more than anybody mends at a time.
const MISTAKES_MAX: usize = 500;

const STORE_SILENT: &str = "the store does not answer now; try again in a moment";

/// What is wrong with one part of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer into the body, or the name of a query parameter.
    #[schema(example = "/username")]
    pub(crate) pointer: String,
    /// What is wrong and what is allowed.
    pub(crate) detail: String,
    /// The machine file that is meant, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) file: Option<String>,
    /// The line in that file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) line: Option<u64>,
}

/// The body of every error (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A URI reference that identifies the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    kind: String,
    /// The kind of problem in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time, and what to do.
    detail: String,
    /// The id of the request, to be found in the logs.
    instance: String,
    /// What is wrong with the parts of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    /// For the log only.
    cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = Vec::new();
        Self(Box::new(Parts { status, name, title, detail, errors, retry_after_s: None, cause: None }))
    }

    /// 400: one part of the request is wrong.
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::malformed("part of the request is not valid; see errors").with_errors(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
            file: None,
            line: None,
        }])
    }

    /// 400: the request cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", detail)
    }

    /// 401: no valid session.
    pub(crate) fn unauthenticated() -> Self {
        let detail = "there is no valid session; sign in with POST /api/v1/session";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in", detail)
    }

    /// 401: user name and password do not match. It does not say which of the two is wrong.
    pub(crate) fn wrong_credentials() -> Self {
        let detail = "the user name or the password is wrong";
        Self::new(StatusCode::UNAUTHORIZED, "wrong-credentials", "Sign-in failed", detail)
    }

    /// 403: the session may not do this.
    pub(crate) fn forbidden() -> Self {
        let detail = "this user's role does not allow this";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 403: the header that other sites cannot set is missing.
    pub(crate) fn cross_site() -> Self {
        let detail = "a request that changes something needs the header \"X-Requested-With: fetch\"";
        Self::new(StatusCode::FORBIDDEN, "cross-site-request", "Cross-site request refused", detail)
    }

    /// 404: there is no such thing, or the caller may not know of it.
    pub(crate) fn not_found() -> Self {
        let detail = "there is nothing at this address, or this user may not see it";
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 422: the idempotency key stands for another command.
    pub(crate) fn key_used() -> Self {
        let detail = "this key was used for another command; make a new key for each command";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-used", "Key used before", detail)
    }

    /// 422: the query would take more than a query may. The detail says how much, and what would fit.
    pub(crate) fn too_large(detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "query-too-large", "Query too large", detail)
    }

    /// 422: the tag has no such figure. The detail says which it has.
    pub(crate) fn no_such_figure(detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no-such-figure", "Not a figure of this tag", detail)
    }

    /// 422: there are mistakes in machine files; all of them are listed.
    pub(crate) fn configuration_invalid(problems: Vec<ConfigurationProblem>) -> Self {
        let (found, told) = (problems.len(), problems.len().min(MISTAKES_MAX));
        let mut detail = format!("the files have {found} mistakes, nothing was changed; see errors");
        if told < found {
            detail.push_str(&format!(", which has the first {told}"));
        }
        let errors = problems.into_iter().take(told).map(|problem| FieldError {
            pointer: "/files".to_owned(),
            detail: problem.message,
            file: Some(problem.file),
            line: problem.line,
        });
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "configuration-invalid",
            "Mistakes in the configuration",
            detail,
        )
        .with_errors(errors.collect())
    }

    /// 412: the configuration is not as the caller saw it.
    pub(crate) fn configuration_moved(newest: Option<ConfigurationVersion>) -> Self {
        let newest = newest.map_or_else(|| "none yet".to_owned(), |newest| format!("version {newest}"));
        let detail = format!(
            "the desired configuration is {newest}, not what this change was made on; nothing was changed: look at \
             it and change it again"
        );
        Self::new(StatusCode::PRECONDITION_FAILED, "configuration-moved", "Changed by somebody else", detail)
    }

    /// 428: the request does not say what the caller saw.
    pub(crate) fn precondition_required() -> Self {
        let detail = "If-Match with the ETag of the configuration is needed, for example \"3\", or If-None-Match: * \
                      if there is none yet; so that nobody's change is lost";
        let status = StatusCode::PRECONDITION_REQUIRED;
        Self::new(status, "precondition-required", "Which version was seen?", detail)
    }

    /// 400 or 413: the body of the request cannot be read.
    pub(crate) fn unreadable_body(rejection: &JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::from_status(StatusCode::PAYLOAD_TOO_LARGE),
            _ => Self::malformed(rejection.body_text()),
        }
    }

    /// 503: the gateway is not connected.
    pub(crate) fn gateway_offline(gateway: &str) -> Self {
        let detail = format!(
            "gateway {gateway} is not connected, nothing was changed; commands are not kept for later: try again \
             when it is, or act at the machine"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "gateway-offline", "Gateway offline", detail)
    }

    /// 503: too much waits to be sent to the gateway.
    pub(crate) fn gateway_busy(gateway: &str) -> Self {
        let detail =
            format!("too much waits to be sent to gateway {gateway}, nothing was changed; try again");
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "gateway-busy", "Gateway busy", detail);
        problem.0.retry_after_s = Some(1);
        problem
    }

    /// 429: too many failed attempts.
    pub(crate) fn locked_out(wait_s: u64) -> Self {
        let detail = format!("too many failed attempts to sign in as this user; try again in {wait_s} s");
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "locked-out", "Too many attempts", detail);
        problem.0.retry_after_s = Some(wait_s);
        problem
    }

    /// 503: a part of the backend does not answer now.
    pub(crate) fn unavailable(detail: impl Into<String>, cause: Option<&(dyn Error + 'static)>) -> Self {
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail);
        problem.0.cause = cause.map(chain);
        problem.0.retry_after_s = Some(1);
        problem
    }

    /// 500: our fault. The cause is logged, not sent.
    pub(crate) fn internal(cause: String) -> Self {
        let detail = "the backend failed to answer; the log has the details under this request id";
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail);
        problem.0.cause = Some(cause);
        problem
    }

    /// For an answer that a library gave without a problem of ours.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self::new(status, "http", title, title)
    }

    fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Why, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Writes the body into `response`, keeping its other headers.
    pub(crate) fn render(self, response: Response, request_id: &str) -> Response {
        let problem = self.0;
        let body = ProblemBody {
            kind: format!("/problems/{}", problem.name),
            title: problem.title,
            status: problem.status.as_u16(),
            detail: problem.detail,
            instance: request_id.to_owned(),
            errors: problem.errors,
        };
        let json = serde_json::to_vec(&body).expect("a problem has text fields only");
        let (mut parts, _) = response.into_parts();
        parts.status = problem.status;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after_s {
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Response::from_parts(parts, axum::body::Body::from(json))
    }
}

impl From<tenancy::StoreError> for Problem {
    fn from(error: tenancy::StoreError) -> Self {
        match error {
            tenancy::StoreError::Unavailable(_) => Self::unavailable(STORE_SILENT, Some(&error)),
            tenancy::StoreError::Corrupt(_)
            | tenancy::StoreError::AlreadyExists { .. }
            | tenancy::StoreError::NotFound { .. } => Self::internal(chain(&error)),
        }
    }
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Store(error) => error.into(),
            RolloutError::Unknown(_) => Self::not_found(),
            RolloutError::Taken { .. } | RolloutError::Operation(_) => {
                Self::new(StatusCode::CONFLICT, "rollout-conflict", "Not possible now", error.to_string())
            }
            RolloutError::Busy(_) => Self::unavailable(error.to_string(), None),
            RolloutError::Twice(_)
            | RolloutError::NotRegistered(_)
            | RolloutError::Nobody
            | RolloutError::TooMany(_) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::new(status, "rollout-selection", "Which gateways?", error.to_string())
            }
        }
    }
}

impl From<fleet::StoreError> for Problem {
    fn from(error: fleet::StoreError) -> Self {
        match error {
            fleet::StoreError::Unavailable(_) => Self::unavailable(STORE_SILENT, Some(&error)),
            fleet::StoreError::UnknownTenant(_) => Self::not_found(),
            fleet::StoreError::Corrupt(_) => Self::internal(chain(&error)),
        }
    }
}

impl From<tiering::StoreError> for Problem {
    fn from(error: tiering::StoreError) -> Self {
        match error {
            tiering::StoreError::Unavailable(_) => Self::unavailable(STORE_SILENT, Some(&error)),
            tiering::StoreError::UnknownTenant(_) => Self::not_found(),
            tiering::StoreError::Corrupt(_) | tiering::StoreError::Conflict { .. } => {
                Self::internal(chain(&error))
            }
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Store(error) => error.into(),
            HistoryError::Archive(ref cause @ ArchiveError::Budget { .. }) => {
                Self::too_large(cause.to_string())
            }
            HistoryError::OverBudget { .. } => Self::too_large(error.to_string()),
            HistoryError::Archive(ArchiveError::Unavailable { .. }) => {
                Self::unavailable("the archive does not answer now; try again in a moment", Some(&error))
            }
            HistoryError::Unsealed { .. } => Self::unavailable(error.to_string(), None),
            HistoryError::NoSuchFigure { .. } => Self::no_such_figure(error.to_string()),
            HistoryError::Invalid(_) => Self::malformed(error.to_string()),
            HistoryError::Archive(_) | HistoryError::Unreadable { .. } => Self::internal(chain(&error)),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
