//! The control interface: JSON over HTTP, meant for loopback. Routes are listed in this folder's `README.md`.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    error::SimulatorError,
    mode::{Mode, ModeRequest},
    plant::Plant,
    report::{LineReport, MachineDetail, MachineReport, Summary},
    value::Value,
    wall_clock::rfc3339,
};

pub(crate) async fn serve(plant: Plant, listener: TcpListener, shutdown: CancellationToken) {
    let serving = axum::serve(listener, router(plant)).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(%error, "the control interface ended");
    }
}

fn router(plant: Plant) -> Router {
    Router::new()
        .route("/machines", get(machines))
        .route("/machines/{id}", get(machine))
        .route("/machines/{id}/set", post(set))
        .route("/machines/{id}/set/{tag}", delete(release))
        .route("/machines/{id}/mode", post(set_mode))
        .route("/machines/{id}/illegal_registers", put(set_illegal_registers))
        .route("/lines", get(lines))
        .route("/lines/{id}/mode", post(set_line_mode))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/summary", get(summary))
        .with_state(plant)
}

async fn machines(State(plant): State<Plant>) -> Json<Vec<MachineReport>> {
    Json(plant.machines().iter().map(|machine| machine.report()).collect())
}

async fn machine(State(plant): State<Plant>, Path(id): Path<String>) -> Result<Json<MachineDetail>, Problem> {
    Ok(Json(plant.machine(&id)?.detail()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRequest {
    tag: String,
    value: serde_json::Value,
    hold_ms: Option<u64>,
}

/// The instant at which a value became visible, in both notations.
#[derive(Serialize)]
struct Visible {
    at: String,
    at_us: i64,
}

impl Visible {
    fn at(at_us: i64) -> Json<Self> {
        Json(Self { at: rfc3339(at_us), at_us })
    }
}

async fn set(
    State(plant): State<Plant>,
    Path(id): Path<String>,
    body: Result<Json<SetRequest>, JsonRejection>,
) -> Result<Json<Visible>, Problem> {
    let machine = plant.machine(&id)?;
    let Json(SetRequest { tag, value, hold_ms }) = body?;
    let value = tag_value(&tag, &value)?;
    Ok(Visible::at(machine.set(&tag, &value, hold_ms.map(Duration::from_millis)).await?))
}

async fn release(
    State(plant): State<Plant>,
    Path((id, tag)): Path<(String, String)>,
) -> Result<Json<Visible>, Problem> {
    Ok(Visible::at(plant.machine(&id)?.release(&tag).await?))
}

async fn set_mode(
    State(plant): State<Plant>,
    Path(id): Path<String>,
    body: Result<Json<ModeRequest>, JsonRejection>,
) -> Result<Json<Mode>, Problem> {
    let machine = plant.machine(&id)?;
    let Json(request) = body?;
    let subject = || format!("machine {id:?}");
    let mode = request
        .parse(machine.subject())
        .map_err(|reason| SimulatorError::BadMode { subject: subject(), reason })?;
    machine.set_mode(mode).await?;
    Ok(Json(mode))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IllegalRegisters {
    registers: BTreeSet<u16>,
}

async fn set_illegal_registers(
    State(plant): State<Plant>,
    Path(id): Path<String>,
    body: Result<Json<IllegalRegisters>, JsonRejection>,
) -> Result<Json<MachineReport>, Problem> {
    let machine = plant.machine(&id)?;
    let Json(IllegalRegisters { registers }) = body?;
    machine.set_illegal_registers(registers)?;
    Ok(Json(machine.report()))
}

async fn lines(State(plant): State<Plant>) -> Json<Vec<LineReport>> {
    Json(plant.line_reports())
}

async fn set_line_mode(
    State(plant): State<Plant>,
    Path(id): Path<String>,
    body: Result<Json<ModeRequest>, JsonRejection>,
) -> Result<Json<Mode>, Problem> {
    let line = plant.line(&id)?;
    let Json(request) = body?;
    let subject = || format!("line {id:?}");
    let mode = request
        .parse(line.subject())
        .map_err(|reason| SimulatorError::BadMode { subject: subject(), reason })?;
    line.set_mode(mode).await?;
    Ok(Json(mode))
}

async fn pause(State(plant): State<Plant>) -> Json<Summary> {
    plant.pause();
    Json(plant.summary())
}

async fn resume(State(plant): State<Plant>) -> Json<Summary> {
    plant.resume();
    Json(plant.summary())
}

async fn summary(State(plant): State<Plant>) -> Json<Summary> {
    Json(plant.summary())
}

fn tag_value(tag: &str, json: &serde_json::Value) -> Result<Value, SimulatorError> {
    let number =
        |number: &serde_json::Number| number.as_i64().map(Value::Int).or(number.as_f64().map(Value::Float));
    let value = match json {
        serde_json::Value::Bool(on) => Some(Value::Bool(*on)),
        serde_json::Value::Number(json) => number(json),
        serde_json::Value::String(text) => Some(Value::Text(text.clone())),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    };
    value.ok_or_else(|| SimulatorError::BadValue {
        tag: tag.to_owned(),
        value: json.to_string(),
        allowed: "true, false, a number or a text".to_owned(),
    })
}

/// An error as RFC 9457 problem details.
struct Problem {
    status: StatusCode,
    detail: String,
}

impl From<SimulatorError> for Problem {
    fn from(error: SimulatorError) -> Self {
        let status = match &error {
            SimulatorError::UnknownMachine(_)
            | SimulatorError::UnknownLine(_)
            | SimulatorError::UnknownTag { .. } => StatusCode::NOT_FOUND,
            SimulatorError::BadValue { .. } | SimulatorError::BadMode { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            SimulatorError::ReadFile { .. }
            | SimulatorError::WriteFile { .. }
            | SimulatorError::PlantFile { .. }
            | SimulatorError::StateFile { .. }
            | SimulatorError::StateMismatch { .. }
            | SimulatorError::MachineFile { .. }
            | SimulatorError::Listen { .. }
            | SimulatorError::OpenDevice { .. }
            | SimulatorError::KeyFolder(_)
            | SimulatorError::UaServer { .. }
            | SimulatorError::ModeNotApplied { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, detail: error.to_string() }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), detail: rejection.body_text() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        (self.status, [("content-type", "application/problem+json")], body.to_string()).into_response()
    }
}
