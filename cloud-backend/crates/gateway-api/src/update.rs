//! Which version of the agent a gateway is to run, and what it says about it (SPEC section 14).

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use protocol::{DesiredUpdate, UpdateReport, UpdateState};
use rollouts::{ReceivedUpdate, Wish};

use crate::Presented;
use crate::configuration::{has, tag};
use crate::problem::Problem;
use crate::routes::{Body, GatewayApi, PeerCertificate, body};

/// The desired version, if there is one.
pub(crate) async fn fetch(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Presented { tenant, gateway, .. } = api.presented_now(&peer).await?;
    let standing = api.updates.update_standing(&tenant, &gateway).await?;
    let desired = standing.and_then(|standing| standing.wish).and_then(desired);
    Ok(match desired {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(desired) if has(&headers, desired.revision) => {
            (StatusCode::NOT_MODIFIED, tag(desired.revision)).into_response()
        }
        Some(desired) => (tag(desired.revision), Json(desired)).into_response(),
    })
}

fn desired(wish: Wish) -> Option<DesiredUpdate> {
    let Wish { revision, version, channel, .. } = wish;
    version.map(|version| DesiredUpdate { revision, version, channel })
}

/// Takes what a gateway says about its version.
pub(crate) async fn report(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
    report: Body<UpdateReport>,
) -> Result<StatusCode, Problem> {
    let Presented { tenant, gateway, .. } = api.presented_now(&peer).await?;
    let report = body(report)?;
    let standing = api.updates.update_standing(&tenant, &gateway).await?.unwrap_or_default();
    let received = ReceivedUpdate::after(standing.received.as_ref(), report, api.clock.wall());
    let is_news = received.since == received.received_at;
    let (state, running) = (received.report.state, received.report.running.clone());
    api.updates.save_update_report(tenant.clone(), gateway.clone(), received).await?;
    if is_news {
        (api.updated)();
        match state {
            UpdateState::RolledBack | UpdateState::Failed | UpdateState::Refused => {
                tracing::warn!(tenant.id = %tenant, gateway.id = %gateway, agent.version = %running,
                    state = state.as_str(), "a gateway does not run the version that it should");
            }
            UpdateState::Idle
            | UpdateState::Requested
            | UpdateState::Installing
            | UpdateState::Verifying
            | UpdateState::Done
            | UpdateState::Unsupported => {
                tracing::info!(tenant.id = %tenant, gateway.id = %gateway, agent.version = %running,
                    state = state.as_str(), "a gateway says which version it runs");
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
