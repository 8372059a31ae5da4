//! For those who run the backend: its description, its health, its metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::metrics::Exposition;
use crate::problem::Problem;
use crate::state::App;

/// The description of this API
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value))
)]
pub(crate) async fn openapi() -> Response {
    Json(super::openapi()).into_response()
}

/// Whether the process lives
#[utoipa::path(
    get, path = "/livez", tag = "operations",
    responses((status = 200, description = "It does", content_type = "text/plain", body = String))
)]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the backend does its work
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "It does", content_type = "text/plain", body = String))
)]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    app.outside.operations.ready().await.map_err(|reason| Problem::unavailable(reason, None))?;
    Ok("ok\n")
}

/// Metrics in the Prometheus text format
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Version 0.0.4", content_type = "text/plain", body = String))
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut out = Exposition::default();
    app.metrics.expose(&mut out);
    app.outside.operations.expose(&mut out);
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out.into_text()).into_response()
}
