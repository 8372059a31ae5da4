//! The control interface of a link: JSON over HTTP, meant for loopback.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | `{"listen","target","seed","faults","stats"}` |
//! | `PUT /faults` with `{"arrivals"?,"up"?,"down"?}` | the faults, once they are in force; what is left out is without a fault |
//! | `POST /cut` | `{"connections"}`: so many were reset |
//! | `POST /forget` | `{"connections"}`: so many will never hear anything again |

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    routing::{get, post, put},
};
use serde_json::{Value as Answer, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Faults, Proxy};

/// Serves the control interface of a link until the token is cancelled.
pub async fn serve_control(proxy: Arc<Proxy>, listener: TcpListener, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/", get(overview))
        .route("/faults", put(set_faults))
        .route("/cut", post(cut))
        .route("/forget", post(forget))
        .with_state(proxy);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(%error, "the control interface ended");
    }
}

type Link = State<Arc<Proxy>>;

async fn overview(State(proxy): Link) -> Json<Answer> {
    Json(json!({
        "listen": proxy.address(),
        "target": proxy.target(),
        "seed": proxy.seed(),
        "faults": proxy.faults(),
        "stats": proxy.stats(),
    }))
}

async fn set_faults(
    State(proxy): Link,
    body: Result<Json<Faults>, JsonRejection>,
) -> Result<Json<Faults>, (StatusCode, Json<Answer>)> {
    let Json(faults) = body.map_err(|rejection| problem(rejection.status(), rejection.body_text()))?;
    let faults =
        faults.checked().map_err(|bad| problem(StatusCode::UNPROCESSABLE_ENTITY, bad.to_string()))?;
    let set = proxy.set(faults).await;
    set.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(faults))
}

async fn cut(State(proxy): Link) -> Json<Answer> {
    Json(json!({ "connections": proxy.cut() }))
}

async fn forget(State(proxy): Link) -> Json<Answer> {
    Json(json!({ "connections": proxy.forget() }))
}

fn problem(status: StatusCode, detail: String) -> (StatusCode, Json<Answer>) {
    (status, Json(json!({ "status": status.as_u16(), "detail": detail })))
}
