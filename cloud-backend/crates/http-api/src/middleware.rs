//! What every request passes through, from the outside in: request id and rendering of problems, security
//! headers, catching of panics, time limit.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::state::App;

/// Time for an answer to begin. Streams end when they like; only their beginning is bounded.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The dashboard needs its own files, inline style attributes of its component library and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                                       object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The outermost layer.
pub(crate) async fn outermost(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    if let Some(problem) = problem_in(&mut response) {
        if let Some(cause) = problem.cause() {
            tracing::error!(request.id = id, %method, path, status = status.as_u16(), error = cause, "request failed");
        }
        response = problem.render(response, &id);
    }
    tracing::debug!(request.id = id, %method, path, status = status.as_u16(), "request");
    app.metrics.answered(status.as_u16());
    finish_headers(response.headers_mut(), &id);
    response
}

/// The problem that a handler gave, or one for an error status that a library gave on its own.
fn problem_in(response: &mut Response) -> Option<Problem> {
    let status = response.status();
    let given = response.extensions_mut().remove::<Problem>();
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    given.or_else(|| (is_error(status) && !is_page).then(|| Problem::from_status(status)))
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn finish_headers(headers: &mut HeaderMap, id: &str) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What an answer of the API says may change at any time and belongs to one user.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(id).expect("checked or made by us"));
}

/// The caller's own id where it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(harmless);
    given.map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned)
}

/// Bounds the time until an answer begins.
pub(crate) async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::unavailable("the answer took too long; ask for less or try again", None).into_response()
        }
    }
}

/// Turns a panic of a handler into an answer.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&'static str>().copied()).unwrap_or("no message");
    Problem::internal(format!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_request_id_is_kept_and_any_other_replaced() {
        let with = |id: &str| {
            request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).expect("value"))]))
        };
        assert_eq!(with("abc-1.2_X"), "abc-1.2_X");
        for bad in ["", "a b", "<script>", &"x".repeat(65)] {
            let id = with(bad);
            assert!(id != bad && id.len() == 32, "{bad} became {id}");
        }
    }

    #[test]
    fn a_panic_becomes_an_answer_whose_cause_is_for_the_log_only() {
        let mut response = panicked(Box::new("index out of bounds"));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let problem = problem_in(&mut response).expect("a problem");
        assert!(problem.cause().is_some_and(|cause| cause.contains("index out of bounds")));
        assert!(!format!("{:?}", problem.render(response, "id").body()).contains("index"));
    }
}
