//! The ledger.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};

use crate::access::Scope;
use crate::body::{Ledger, List};
use crate::problem::Problem;
use crate::state::App;

/// What became of everything that the gateways of a tenant sent
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/ledger", tag = "ledger",
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, body = List<Ledger>, description = "One entry a gateway, epoch and stream"))
)]
pub(crate) async fn ledger(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
) -> Result<Json<List<Ledger>>, Problem> {
    let rows = app.outside.fleet.ledger(&tenant).await?;
    Ok(Json(List { items: rows.into_iter().map(Ledger::from).collect() }))
}
