//! Updates of agents in waves.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use rollouts::{Rollout as Stored, RolloutId};

use super::commands::comment;
use crate::access::Principal;
use crate::body::{List, Rollout, RolloutDetail, RolloutOperationRequest, RolloutRequest};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Bytes of a request: thousands of gateways by name.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;
/// Rollouts in one answer, if no number is asked for, and at most.
const ROLLOUTS: (u32, u32) = (50, 500);

/// The rollouts
#[utoipa::path(
    get, path = "/api/v1/rollouts", tag = "updates",
    params(("limit" = Option<u32>, Query, description = "How many, 1 to 500; 50 if not given")),
    responses((status = 200, body = List<Rollout>, description = "The newest first"))
)]
pub(crate) async fn rollouts(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<List<Rollout>>, Problem> {
    let (preset, most) = ROLLOUTS;
    let limit = Params::read(&uri, &["limit"])?.number("limit", 1, most)?.unwrap_or(preset);
    let newest = app.outside.rollouts.store.newest_rollouts(limit).await?;
    Ok(Json(List { items: newest.into_iter().map(Rollout::from).collect() }))
}

/// Begin a rollout
///
/// Gateways are told the version in waves. The next wave begins when each gateway of the last one runs it, has been
/// connected and well for `soak_s`, and no more than `max_failures` have failed; else the rollout pauses and says why.
/// A gateway that is not connected is waited for `offline_wait_s` and gets the version when it returns.
#[utoipa::path(
    post, path = "/api/v1/rollouts", tag = "updates",
    request_body = RolloutRequest,
    responses(
        (status = 201, body = RolloutDetail, description = "It has begun"),
        (status = 409, description = "A gateway belongs to a rollout that is not finished"),
        (status = 422, description = "There is no such gateway or tenant, or nobody to update")
    )
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<RolloutRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<RolloutDetail>), Problem> {
    let Json(mut body) = body.map_err(|rejection| Problem::unreadable_body(&rejection))?;
    let (author, said) = (principal.user.name.to_string(), comment(std::mem::take(&mut body.comment))?);
    let (plan, selection) = body.plan(author, said, app.outside.clock.wall())?;
    let begun = app.outside.rollouts.start(&*app.outside.tenancy, plan, selection).await?;
    Ok((StatusCode::CREATED, detail(&app, begun).await?))
}

/// A rollout and its gateways
#[utoipa::path(
    get, path = "/api/v1/rollouts/{rollout}", tag = "updates",
    params(("rollout" = u32, Path, description = "Its number")),
    responses((status = 200, body = RolloutDetail, description = "How far it is, and how each gateway stands"))
)]
pub(crate) async fn rollout(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<RolloutDetail>, Problem> {
    let found = app.outside.rollouts.find(number(&id)?).await?;
    detail(&app, found).await
}

/// Pause, resume, abort or roll back
///
/// `resume` passes over gateways that failed or were not reached. `abort` leaves everyone what runs. `rollback` takes
/// those who were told back to what they ran before, in the same waves; it is possible after the end, too.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{rollout}/operations", tag = "updates",
    params(("rollout" = u32, Path, description = "Its number")),
    request_body = RolloutOperationRequest,
    responses(
        (status = 200, body = RolloutDetail, description = "How it is then"),
        (status = 409, description = "Its state does not allow it, or a gateway belongs to another rollout by now")
    )
)]
pub(crate) async fn operate(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Result<Json<RolloutOperationRequest>, JsonRejection>,
) -> Result<Json<RolloutDetail>, Problem> {
    let Json(body) = body.map_err(|rejection| Problem::unreadable_body(&rejection))?;
    let (actor, now) = (principal.user.name.to_string(), app.outside.clock.wall());
    let done = app.outside.rollouts.operate(number(&id)?, body.operation.into(), &actor, now).await?;
    detail(&app, done).await
}

fn number(text: &str) -> Result<RolloutId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

async fn detail(app: &App, rollout: Stored) -> Result<Json<RolloutDetail>, Problem> {
    let outside = &app.outside;
    let seen = outside.rollouts.observe(&*outside.fleet, &outside.live, &rollout).await?;
    let watch = outside.rollouts.watch(outside.clock.wall());
    Ok(Json(RolloutDetail::new(rollout, &seen, watch)))
}
