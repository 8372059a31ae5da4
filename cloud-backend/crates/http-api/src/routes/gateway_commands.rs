//! Commands to gateways themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use plant_model::{CommandId, GatewayId, TenantId};
use protocol::{GatewayCommand, GatewayVerb};
use tenancy::Permission;

use super::commands::{hand_over, idempotency_key, operation, status_of};
use crate::access::{Principal, Scope};
use crate::body::{GatewayCommandRequest, GatewayCommandStatus};
use crate::commands::expiry;
use crate::problem::Problem;
use crate::state::App;

/// What a verb demands of whoever gives it, beyond that of the route.
const fn permission(verb: &GatewayVerb) -> Permission {
    match verb {
        GatewayVerb::WriteTag { .. } | GatewayVerb::Restart | GatewayVerb::Update { .. } => {
            Permission::ControlGateways
        }
        GatewayVerb::Diagnostics
        | GatewayVerb::Rescan { .. }
        | GatewayVerb::Resend { .. }
        | GatewayVerb::PullConfiguration => Permission::OperateGateways,
    }
}

/// Give a command to a gateway
///
/// The answer is waited for, at most five seconds. `Idempotency-Key` is the id of the command: the gateway does it
/// once, however often it is given and although it restarts, and an answer that is known is given again. Writing to
/// machines, restarting and updating need the permission `control_gateways`.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/commands", tag = "gateways",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("gateway" = String, Path, description = "The gateway"),
        ("Idempotency-Key" = String, Header,
         description = "The id of the command, for example a UUID: 1 to 64 characters A-Z a-z 0-9 _ . -, in quotes or not")
    ),
    request_body = GatewayCommandRequest,
    responses(
        (status = 200, body = GatewayCommandStatus, description = "The gateway answered: `state` says what"),
        (status = 202, body = GatewayCommandStatus, description = "The command left; there is no answer yet"),
        (status = 422, description = "The key was used for another command"),
        (status = 503, description = "The gateway is not connected or too busy; nothing has changed")
    )
)]
pub(crate) async fn give(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Extension(principal): Extension<Principal>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Json<GatewayCommandRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<GatewayCommandStatus>), Problem> {
    let Json(body) = body.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let id = idempotency_key(&headers)?;
    let gateway = registered(&app, &tenant, &path.1).await?;
    let verb = body.verb()?;
    if !principal.user.role.allows(permission(&verb)) {
        return Err(Problem::forbidden());
    }
    let operation = operation(&principal, id, body.comment)?;
    let issued_at = app.outside.clock.wall();
    let command = GatewayCommand { verb, operation, issued_at, expires_at: expiry(issued_at) };
    let given = hand_over(&app, &tenant, &gateway, command.into()).await?;
    let status = GatewayCommandStatus::from(&given).ok_or_else(Problem::not_found)?;
    Ok((status_of(&given), Json(status)))
}

/// What became of a command to a gateway
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/commands/{command}", tag = "gateways",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("gateway" = String, Path, description = "The gateway"),
        ("command" = String, Path, description = "Its id: the key under which it was given")
    ),
    responses((status = 200, body = GatewayCommandStatus, description = "What is known of it"))
)]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<GatewayCommandStatus>, Problem> {
    let (_, gateway, id) = path;
    let id = CommandId::new(&id).map_err(|_| Problem::not_found())?;
    let given = app.outside.commands.find(&tenant, &id).filter(|given| given.gateway.as_str() == gateway);
    let status = given.as_ref().and_then(GatewayCommandStatus::from);
    status.map(Json).ok_or_else(Problem::not_found)
}

/// The gateway, if the tenant has it.
async fn registered(app: &App, tenant: &TenantId, gateway: &str) -> Result<GatewayId, Problem> {
    let gateway = GatewayId::new(gateway).map_err(|_| Problem::not_found())?;
    let known = app.outside.tenancy.registered_gateways(tenant).await?;
    if known.contains(&gateway) { Ok(gateway) } else { Err(Problem::not_found()) }
}
