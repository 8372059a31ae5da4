//! The configurations of gateways.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use plant_model::{GatewayId, TenantId};
use protocol::limits::SIGNED_CONFIGURATION_BYTES_MAX;
use protocol::{ConfigurationFiles, ConfigurationVersion as Number, GatewayVerb};
use serde::Deserialize;
use tenancy::{ConfigurationEntry, ConfigurationStanding, NewConfiguration, StoredConfiguration};
use utoipa::IntoParams;

use super::commands::comment;
use crate::access::{Principal, Scope};
use crate::body::{
    ConfigurationContents, ConfigurationDiff, ConfigurationOutcome, ConfigurationRequest,
    ConfigurationVersion, Difference, GatewayConfiguration, List, RollbackRequest, machine_files,
};
use crate::configurations::{Changed, Purpose, accept_drift, precondition};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Bytes of a body with all files: what the protocol takes, and a comment.
pub(super) const BODY_BYTES_MAX: usize = SIGNED_CONFIGURATION_BYTES_MAX;
/// Versions in one answer.
const VERSIONS_MAX: u32 = 200;

/// A gateway in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct GatewayPath {
    /// The tenant
    #[expect(dead_code, reason = "taken from the guard; here for the description")]
    tenant: String,
    /// The gateway
    gateway: String,
}

/// A version in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct VersionPath {
    /// The tenant
    #[expect(dead_code, reason = "taken from the guard; here for the description")]
    tenant: String,
    /// The gateway
    gateway: String,
    /// The number of the version
    version: String,
}

/// The gateway of a path, if it is registered, and how it stands.
async fn find(
    app: &App,
    tenant: &TenantId,
    gateway: &str,
) -> Result<(GatewayId, ConfigurationStanding), Problem> {
    let gateway = GatewayId::new(gateway).map_err(|_| Problem::not_found())?;
    let standing = app.outside.configurations.store.configuration_standing(tenant, &gateway).await?;
    standing.map(|standing| (gateway, standing)).ok_or_else(Problem::not_found)
}

async fn version_of(
    app: &App,
    tenant: &TenantId,
    gateway: &GatewayId,
    version: Number,
) -> Result<StoredConfiguration, Problem> {
    let found = app.outside.configurations.store.configuration(tenant, gateway, Some(version)).await?;
    found.ok_or_else(Problem::not_found)
}

fn contents(stored: StoredConfiguration) -> ConfigurationContents {
    ConfigurationContents { files: machine_files(&stored.files), version: stored.entry.into() }
}

type Tag = Option<[(HeaderName, HeaderValue); 1]>;

fn tag(version: Option<Number>) -> Tag {
    let value =
        |version| HeaderValue::try_from(format!("\"{version}\"")).expect("a number is a header value");
    version.map(|version| [(header::ETAG, value(version))])
}

/// What a gateway should run, and what it runs
///
/// `ETag` is the desired version in quotes: `If-Match` of a change.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration", tag = "configuration",
    params(GatewayPath),
    responses((status = 200, body = GatewayConfiguration, description = "The desired version and the last report"))
)]
pub(crate) async fn desired(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<GatewayPath>,
) -> Result<(Tag, Json<GatewayConfiguration>), Problem> {
    let (gateway, standing) = find(&app, &tenant, &path.gateway).await?;
    let version = standing.desired.as_ref().map(|entry| entry.version);
    let desired = match version {
        Some(version) => Some(contents(version_of(&app, &tenant, &gateway, version).await?)),
        None => None,
    };
    Ok((tag(version), Json(GatewayConfiguration { status: standing.into(), desired })))
}

/// Save the next version
///
/// All files are checked by the code that the agent reads them with; if there is any mistake nothing changes, and
/// `errors` lists all of them. What depends on the gateway's own `agent.toml` is checked there, and comes back in its
/// report. Of two who change at a time, the second gets 412. Files as they are change nothing and save nothing.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration", tag = "configuration",
    params(
        GatewayPath,
        ("If-Match" = Option<String>, Header, description = "The desired version that was seen, in quotes"),
        ("If-None-Match" = Option<String>, Header, description = "`*` instead: there was none"),
        ("dry_run" = Option<bool>, Query, description = "Check and compare, and save nothing")
    ),
    request_body = ConfigurationRequest,
    responses(
        (status = 200, body = ConfigurationOutcome, description = "What changed, or would change"),
        (status = 412, description = "Somebody else was faster: look again"),
        (status = 422, description = "There are mistakes in the files; nothing changed"),
        (status = 428, description = "The request does not say which version was seen")
    )
)]
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Extension(principal): Extension<Principal>,
    Path(path): Path<GatewayPath>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Json<ConfigurationRequest>, JsonRejection>,
) -> Result<(Tag, Json<ConfigurationOutcome>), Problem> {
    let Json(body) = body.map_err(|rejection| Problem::unreadable_body(&rejection))?;
    let purpose = purpose(&uri)?;
    let (gateway, _) = find(&app, &tenant, &path.gateway).await?;
    let mut files = body.files;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let files = ConfigurationFiles::new(files.into_iter().map(|file| (file.name, file.text)))
        .map_err(|error| Problem::invalid("/files", error.to_string()))?;
    let new = NewConfiguration {
        tenant,
        gateway,
        replaces: precondition(&headers)?,
        files,
        accept_drift: accept_drift(body.accept_drift.as_deref())?,
        restores: None,
        author: principal.user.name.to_string(),
        comment: comment(body.comment)?,
        created_at: app.outside.clock.wall(),
    };
    change(&app, new, purpose).await
}

/// Go back to an earlier version
///
/// Its files become the next version, checked as any other.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration/rollback", tag = "configuration",
    params(
        GatewayPath,
        ("If-Match" = String, Header, description = "The desired version that was seen, in quotes"),
        ("dry_run" = Option<bool>, Query, description = "Check and compare, and save nothing")
    ),
    request_body = RollbackRequest,
    responses(
        (status = 200, body = ConfigurationOutcome, description = "What changed, or would change"),
        (status = 412, description = "Somebody else was faster: look again"),
        (status = 422, description = "The files of then have mistakes now; nothing changed")
    )
)]
pub(crate) async fn roll_back(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Extension(principal): Extension<Principal>,
    Path(path): Path<GatewayPath>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Json<RollbackRequest>, JsonRejection>,
) -> Result<(Tag, Json<ConfigurationOutcome>), Problem> {
    let Json(body) = body.map_err(|rejection| Problem::unreadable_body(&rejection))?;
    let purpose = purpose(&uri)?;
    let (gateway, _) = find(&app, &tenant, &path.gateway).await?;
    let no_version = || Problem::invalid("/version", "there is no such version");
    let version = Number::new(body.version).ok_or_else(no_version)?;
    let stored = app.outside.configurations.store.configuration(&tenant, &gateway, Some(version)).await?;
    let new = NewConfiguration {
        tenant,
        gateway,
        replaces: precondition(&headers)?,
        files: stored.ok_or_else(no_version)?.files,
        accept_drift: None,
        restores: Some(version),
        author: principal.user.name.to_string(),
        comment: comment(body.comment)?,
        created_at: app.outside.clock.wall(),
    };
    change(&app, new, purpose).await
}

async fn change(
    app: &App,
    new: NewConfiguration,
    purpose: Purpose,
) -> Result<(Tag, Json<ConfigurationOutcome>), Problem> {
    let (tenant, gateway, actor) = (new.tenant.clone(), new.gateway.clone(), new.author.clone());
    let Changed { saved, desired, differences } = app.outside.configurations.change(new, purpose).await?;
    let version = desired.as_ref().map(|entry: &ConfigurationEntry| entry.version);
    if saved {
        tracing::info!(
            target: "audit",
            {
                tenant.id = %tenant, gateway.id = %gateway, actor,
                configuration.version = version.map(Number::get), files_changed = differences.len()
            },
            "configuration saved"
        );
        // It looks by itself within minutes: one that is away, or busy, is not waited for.
        let (verb, now) = (GatewayVerb::PullConfiguration, app.outside.clock.wall());
        let _ = app.outside.commands.nudge(&tenant, &gateway, verb, now);
    }
    let outcome = ConfigurationOutcome {
        saved,
        desired: desired.map(ConfigurationVersion::from),
        differences: differences.into_iter().map(Difference::from).collect(),
    };
    Ok((tag(version), Json(outcome)))
}

fn purpose(uri: &Uri) -> Result<Purpose, Problem> {
    match Params::read(uri, &["dry_run"])?.one("dry_run")? {
        None | Some("false") => Ok(Purpose::Save),
        Some("true") => Ok(Purpose::DryRun),
        Some(_) => Err(Problem::invalid("dry_run", "true or false is needed")),
    }
}

/// The versions of a gateway's configuration
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration/versions", tag = "configuration",
    params(
        GatewayPath,
        ("before" = Option<u32>, Query, description = "Only versions below this one"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200")
    ),
    responses((status = 200, body = List<ConfigurationVersion>, description = "The newest first"))
)]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<GatewayPath>,
    uri: Uri,
) -> Result<Json<List<ConfigurationVersion>>, Problem> {
    let params = Params::read(&uri, &["before", "limit"])?;
    let before = params.number("before", Number::MIN, Number::MAX)?;
    let limit = params.number("limit", 1, VERSIONS_MAX)?.unwrap_or(VERSIONS_MAX);
    let (gateway, _) = find(&app, &tenant, &path.gateway).await?;
    let store = &app.outside.configurations.store;
    let found = store.configurations(&tenant, &gateway, before, limit).await?;
    Ok(Json(List { items: found.into_iter().map(ConfigurationVersion::from).collect() }))
}

/// One version with its files
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration/versions/{version}",
    tag = "configuration",
    params(VersionPath),
    responses((status = 200, body = ConfigurationContents, description = "The version"))
)]
pub(crate) async fn version(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<VersionPath>,
) -> Result<Json<ConfigurationContents>, Problem> {
    let version: Number = path.version.parse().map_err(|_| Problem::not_found())?;
    let (gateway, _) = find(&app, &tenant, &path.gateway).await?;
    Ok(Json(contents(version_of(&app, &tenant, &gateway, version).await?)))
}

/// What differs between two versions
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/configuration/diff", tag = "configuration",
    params(
        GatewayPath,
        ("from" = Option<u32>, Query, description = "The earlier version; 0 for none. The one before `to` if not given"),
        ("to" = Option<u32>, Query, description = "The later version; the desired one if not given")
    ),
    responses((status = 200, body = ConfigurationDiff, description = "The files that differ"))
)]
pub(crate) async fn diff(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<GatewayPath>,
    uri: Uri,
) -> Result<Json<ConfigurationDiff>, Problem> {
    let params = Params::read(&uri, &["from", "to"])?;
    let (gateway, standing) = find(&app, &tenant, &path.gateway).await?;
    let newest = standing.desired.map(|entry| entry.version);
    let to = params.number("to", Number::MIN, Number::MAX)?.or(newest).ok_or_else(Problem::not_found)?;
    let from = params.number("from", 0, u32::MAX)?.unwrap_or(to.get() - 1);
    let after = version_of(&app, &tenant, &gateway, to).await?;
    let before = match Number::new(from) {
        Some(from) => Some(version_of(&app, &tenant, &gateway, from).await?),
        None => None,
    };
    let differences = app.outside.configurations.difference(before, after).await?;
    let differences = differences.into_iter().map(Difference::from).collect();
    Ok(Json(ConfigurationDiff { from, to: to.get(), differences }))
}
