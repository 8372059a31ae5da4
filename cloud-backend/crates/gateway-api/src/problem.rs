//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp as Rfc3339;
use plant_model::Timestamp;
use serde_json::json;
use tenancy::{EnrolmentRefusal, RENEWAL_GRACE, RenewalRefusal, StoreError};

use crate::CertifyError;

/// An error on its way to a gateway.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, name, title, detail: detail.into() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", detail)
    }

    pub(crate) fn other_installation() -> Self {
        let detail = "the code was made by another installation; is the address the right one?";
        Self::new(StatusCode::FORBIDDEN, "code-foreign", "Code of another installation", detail)
    }

    pub(crate) fn other_gateway(becomes: &str, expected: &str) -> Self {
        let detail = format!(
            "the code is for gateway {becomes}, and this one is configured as {}; the code was not used",
            expected.chars().take(160).collect::<String>()
        );
        Self::new(StatusCode::CONFLICT, "code-other-gateway", "Code of another gateway", detail)
    }

    pub(crate) fn no_certificate() -> Self {
        let detail = "this needs the gateway's certificate; a gateway without one is enrolled with a code";
        Self::new(StatusCode::UNAUTHORIZED, "no-certificate", "No certificate", detail)
    }

    pub(crate) fn no_gateway(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "no-gateway", "Not a gateway", detail)
    }

    pub(crate) fn expired(at: Timestamp) -> Self {
        let detail =
            format!("the certificate ended at {}; renew it with POST /gateway/v1/renew", instant(at));
        Self::new(StatusCode::FORBIDDEN, "certificate-expired", "Certificate expired", detail)
    }

    pub(crate) fn not_found() -> Self {
        let detail = "there is nothing at this address; gateways use /gateway/v1";
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }
}

impl From<EnrolmentRefusal> for Problem {
    fn from(refusal: EnrolmentRefusal) -> Self {
        match refusal {
            EnrolmentRefusal::Unknown => {
                let detail =
                    "the code is not known: it was withdrawn, replaced by a newer one, or never made here";
                Self::new(StatusCode::FORBIDDEN, "code-unknown", "Unknown code", detail)
            }
            EnrolmentRefusal::Used { at } => {
                let detail =
                    format!("the code was used at {} and is good once; ask for a new one", instant(at));
                Self::new(StatusCode::GONE, "code-used", "Code used", detail)
            }
            EnrolmentRefusal::Expired { at } => {
                let detail = format!("the code was good until {}; ask for a new one", instant(at));
                Self::new(StatusCode::GONE, "code-expired", "Code expired", detail)
            }
        }
    }
}

impl From<RenewalRefusal> for Problem {
    fn from(refusal: RenewalRefusal) -> Self {
        let detail = match refusal {
            RenewalRefusal::NotRegistered => "this gateway is not registered any more".to_owned(),
            RenewalRefusal::Revoked { at } => {
                format!("the certificate was revoked at {}; enrol the gateway with a new code", instant(at))
            }
            RenewalRefusal::TooLate { at } => format!(
                "the certificate ended at {}, more than {} days ago; enrol the gateway with a new code",
                instant(at),
                RENEWAL_GRACE.as_secs() / 86_400
            ),
        };
        Self::new(StatusCode::FORBIDDEN, "not-renewed", "Not renewed", detail)
    }
}

impl From<CertifyError> for Problem {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Request(detail) => Self::malformed(detail),
            CertifyError::Authority(cause) => {
                tracing::error!(error = cause, "the certificate authority failed");
                let detail = "the certificate authority fails now; try again in a moment";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "authority", "Authority failed", detail)
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "the store failed");
        let detail = "the store does not answer now; try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("/problems/{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

fn instant(at: Timestamp) -> String {
    Rfc3339::from_microsecond(at.micros()).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}
