//! The table of all routes, and the router and the OpenAPI document made from it.

mod aggregate;
mod alarms;
mod commands;
mod configuration;
mod fleet;
mod gateway_commands;
mod ledger;
mod live;
mod operations;
mod rollouts;
mod sample_file;
mod samples;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tenancy::Permission;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Route, guarded, public, signed_in};
use crate::state::{ApiState, App};
use crate::{document, middleware, web};

/// Largest body of a request, if its route asks for no other: a name and a password, a command.
const BODY_BYTES_MAX: usize = 16 * 1024;

fn table() -> Vec<Route> {
    vec![
        public(routes!(session::sign_in)),
        signed_in(routes!(session::current, session::sign_out)),
        guarded(Permission::ListTenants, routes!(fleet::tenants)),
        guarded(Permission::ReadFleet, routes!(fleet::gateways)),
        guarded(Permission::ReadFleet, routes!(fleet::machines)),
        guarded(Permission::ReadFleet, routes!(fleet::machine)),
        guarded(Permission::ReadFleet, routes!(samples::samples)),
        guarded(Permission::ReadFleet, routes!(aggregate::aggregate)),
        guarded(Permission::ReadAlarms, routes!(alarms::alarms)),
        guarded(Permission::ReadAlarms, routes!(alarms::transitions)),
        guarded(Permission::OperateAlarms, routes!(commands::give)),
        guarded(Permission::ReadAlarms, routes!(commands::status)),
        guarded(Permission::ReadConfiguration, routes!(configuration::desired)),
        guarded(Permission::Configure, routes!(configuration::save)).taking(configuration::BODY_BYTES_MAX),
        guarded(Permission::Configure, routes!(configuration::roll_back)),
        guarded(Permission::ReadConfiguration, routes!(configuration::versions)),
        guarded(Permission::ReadConfiguration, routes!(configuration::version)),
        guarded(Permission::ReadConfiguration, routes!(configuration::diff)),
        guarded(Permission::OperateGateways, routes!(gateway_commands::give)),
        guarded(Permission::OperateGateways, routes!(gateway_commands::status)),
        guarded(Permission::ControlGateways, routes!(rollouts::rollouts, rollouts::start))
            .taking(rollouts::BODY_BYTES_MAX),
        guarded(Permission::ControlGateways, routes!(rollouts::rollout)),
        guarded(Permission::ControlGateways, routes!(rollouts::operate)),
        guarded(Permission::ReadLedger, routes!(ledger::ledger)),
        guarded(Permission::ReadFleet, routes!(live::live)),
        public(routes!(operations::openapi)),
        public(routes!(operations::livez)),
        public(routes!(operations::readyz)),
        public(routes!(operations::metrics)),
    ]
}

/// The whole of what is served over HTTP.
pub(crate) fn router(state: ApiState, shutdown: CancellationToken) -> Router {
    let app = Arc::new(App::new(state, shutdown));
    table()
        .into_iter()
        .fold(Router::new(), |router, route| route.install(router, &app))
        .fallback(web::fallback)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(middleware::deadline))
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), middleware::outermost))
        .with_state(app)
}

/// The description of the API.
pub(crate) fn openapi() -> OpenApi {
    let base = OpenApiRouter::with_openapi(document::ApiDocument::openapi());
    let described = table().into_iter().fold(base, |router, route| route.describe(router));
    document::finish(described.into_openapi())
}
