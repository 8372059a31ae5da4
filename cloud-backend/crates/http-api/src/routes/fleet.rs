//! Tenants, gateways and machines.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use fleet::Presence;
use plant_model::{GatewayId, MachineId, TenantId};
use serde::Deserialize;
use tenancy::ConfigurationStanding;
use utoipa::IntoParams;

use crate::access::{Principal, Scope};
use crate::body::{Certificate, Gateway, List, Machine, MachineDetail, Tenant};
use crate::instant::Instant;
use crate::problem::Problem;
use crate::state::App;

/// The machine in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct MachinePath {
    /// The tenant.
    #[expect(dead_code, reason = "the guard has read it; it is here for the description")]
    tenant: String,
    /// The gateway.
    gateway: String,
    /// The machine.
    machine: String,
}

impl MachinePath {
    /// The ids, when such a machine exists.
    pub(crate) fn find(&self, app: &App, tenant: &TenantId) -> Result<(GatewayId, MachineId), Problem> {
        let gateway = GatewayId::new(&self.gateway).map_err(|_| Problem::not_found())?;
        let machine = MachineId::new(&self.machine).map_err(|_| Problem::not_found())?;
        let exists = app.outside.live.read(tenant, |view| view.machine(&gateway, &machine).is_some());
        if exists { Ok((gateway, machine)) } else { Err(Problem::not_found()) }
    }
}

/// The tenants that the user may see
#[utoipa::path(
    get, path = "/api/v1/tenants", tag = "fleet",
    responses((status = 200, body = List<Tenant>, description = "Each at a glance"))
)]
pub(crate) async fn tenants(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<List<Tenant>>, Problem> {
    let all = app.outside.tenancy.tenants().await?;
    let mut items = Vec::new();
    for tenant in all.into_iter().filter(|tenant| principal.user.role.reaches(&tenant.id)) {
        let gateways = app.outside.fleet.gateways(&tenant.id).await?.len() as u64;
        let live = &app.outside.live;
        let (machines, alarms) =
            live.read(&tenant.id, |view| (view.machines_of_plant().count(), view.active_alarms()));
        items.push(Tenant {
            id: tenant.id.to_string(),
            name: tenant.name,
            gateways,
            machines: machines as u64,
            active_alarms: alarms as u64,
        });
    }
    Ok(Json(List { items }))
}

/// The gateways of a tenant
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways", tag = "fleet",
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, body = List<Gateway>, description = "By id"))
)]
pub(crate) async fn gateways(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
) -> Result<Json<List<Gateway>>, Problem> {
    let stored = app.outside.fleet.gateways(&tenant).await?;
    let standings = app.outside.configurations.store.configuration_standings(&tenant).await?;
    let mut standings: HashMap<_, _> = standings.into_iter().collect();
    let updates = app.outside.rollouts.store.update_standings(&tenant).await?;
    let mut updates: HashMap<_, _> = updates.into_iter().collect();
    let mut certificates = HashMap::new();
    for info in &stored {
        let newest = app.outside.tenancy.certificates(&tenant, &info.id).await?.into_iter().next();
        certificates.insert(info.id.clone(), newest);
    }
    let now = app.outside.clock.wall();
    let items = app.outside.live.read(&tenant, |view| {
        let gateway = |info: fleet::GatewayInfo| {
            let nothing = ConfigurationStanding { desired: None, received: None };
            let standing = standings.remove(&info.id).unwrap_or(nothing);
            let (presence, heard_at) = view.presence(&info.id);
            let certificate = certificates.remove(&info.id).flatten();
            Gateway {
                id: info.id.to_string(),
                online: presence == Presence::Online,
                last_seen_at: info.last_seen_at.max(heard_at).map(Instant),
                agent_version: info.agent_version,
                epoch: info.epoch.map(|epoch| epoch.to_string()),
                machines: info.machines as u64,
                configuration: standing.into(),
                update: updates.remove(&info.id).unwrap_or_default().into(),
                certificate: certificate.map(|newest| Certificate::new(&newest, now)),
            }
        };
        stored.into_iter().map(gateway).collect()
    });
    Ok(Json(List { items }))
}

/// The machines of a tenant
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/machines", tag = "fleet",
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, body = List<Machine>, description = "By gateway"))
)]
pub(crate) async fn machines(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
) -> Json<List<Machine>> {
    let items = app.outside.live.read(&tenant, |view| view.machines().map(|m| Machine::from(&m)).collect());
    Json(List { items })
}

/// One machine with its tags and alarms
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/machines/{machine}", tag = "fleet",
    params(MachinePath),
    responses((status = 200, body = MachineDetail, description = "The machine"))
)]
pub(crate) async fn machine(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<MachinePath>,
) -> Result<Json<MachineDetail>, Problem> {
    let (gateway, machine) = path.find(&app, &tenant)?;
    let live = &app.outside.live;
    let now = app.outside.clock.wall();
    let detail =
        live.read(&tenant, |view| view.machine(&gateway, &machine).map(|m| MachineDetail::new(&m, now)));
    detail.map(Json).ok_or_else(Problem::not_found)
}
