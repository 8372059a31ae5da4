//! The control interface of a broker: HTTP, meant for loopback.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | `{"listen","target","connections_…","packets_…","rules":[{"rule","seen","fired"}]}` |
//! | `PUT /rules` with one rule a line | the same; the rules are in force from the next packet on, an empty body ends all |
//! | `POST /cut` | `{"connections"}`: so many were closed |

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post, put},
};
use serde_json::{Value as Answer, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Broker, rules, server::Overview};

/// Serves the control interface of a broker until the token is cancelled.
pub async fn serve_broker_control(broker: Arc<Broker>, listener: TcpListener, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/", get(overview))
        .route("/rules", put(set_rules))
        .route("/cut", post(cut))
        .with_state(broker);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(%error, "the control interface ended");
    }
}

async fn overview(State(broker): State<Arc<Broker>>) -> Json<Overview> {
    Json(broker.overview())
}

async fn set_rules(
    State(broker): State<Arc<Broker>>,
    text: String,
) -> Result<Json<Overview>, (StatusCode, Json<Answer>)> {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let parsed = rules(&text)
        .map_err(|bad| (status, Json(json!({ "status": status.as_u16(), "detail": bad.to_string() }))))?;
    broker.set(parsed);
    Ok(Json(broker.overview()))
}

async fn cut(State(broker): State<Arc<Broker>>) -> Json<Answer> {
    Json(json!({ "connections": broker.cut() }))
}
