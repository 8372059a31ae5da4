//! `POST /reload` of the status interface, and what it answers. A browser that was led here by another site is refused,
//! as with alarm commands; who may open connections on the gateway itself may ask for a reload, as the files say all.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use plant_model::MachineId;
use serde::{Deserialize, Serialize};

use super::{Changes, ReloadError, Reloader};
use crate::operate::is_own_page;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum ReloadAnswer {
    /// It is in use.
    Applied { added: Vec<String>, removed: Vec<String>, changed: Vec<String> },
    /// It is wrong, with all that is.
    Refused { problems: Vec<String> },
    /// It changes these, which are settled at the start.
    NeedsRestart { keys: Vec<String> },
    /// It could not be brought into use now.
    Failed { reason: String },
}

impl From<Result<Changes, ReloadError>> for ReloadAnswer {
    fn from(outcome: Result<Changes, ReloadError>) -> Self {
        match outcome {
            Ok(Changes { added, removed, changed }) => {
                Self::Applied { added: names(added), removed: names(removed), changed: names(changed) }
            }
            Err(ReloadError::NeedsRestart(keys)) => {
                Self::NeedsRestart { keys: keys.into_iter().map(str::to_owned).collect() }
            }
            Err(error @ (ReloadError::Config(_) | ReloadError::Alarms(_))) => {
                Self::Refused { problems: error.problems() }
            }
            Err(error @ (ReloadError::Store(_) | ReloadError::Output(_) | ReloadError::Stopping)) => {
                Self::Failed { reason: error.to_string() }
            }
        }
    }
}

fn names(machines: Vec<MachineId>) -> Vec<String> {
    machines.iter().map(ToString::to_string).collect()
}

pub(crate) async fn reload(State(reloader): State<Arc<Reloader>>, headers: HeaderMap) -> Response {
    if !is_own_page(&headers) {
        let text = "a reload must be asked for on this gateway: edge-agent reload\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    // It goes on although who asked for it may have gone.
    let answer = tokio::spawn(async move { ReloadAnswer::from(reloader.reload().await) }).await;
    match answer {
        Ok(answer) => {
            let status = match answer {
                ReloadAnswer::Applied { .. } => StatusCode::OK,
                ReloadAnswer::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                ReloadAnswer::NeedsRestart { .. } => StatusCode::CONFLICT,
                ReloadAnswer::Failed { .. } => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(answer)).into_response()
        }
        Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the reload ended; see the agent's log\n").into_response()
        }
    }
}
