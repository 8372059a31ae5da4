//! What a gateway is to run, and what it says about it (SPEC section 13).

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::{Configuration, ConfigurationReport, ConfigurationState, ConfigurationVersion};
use tenancy::{ReceivedReport, StoredConfiguration};

use crate::problem::Problem;
use crate::routes::{Body, GatewayApi, PeerCertificate, body};
use crate::{CertifyError, Presented};

/// The desired configuration, signed; nothing new costs the store one short look.
pub(crate) async fn fetch(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let presented = api.presented_now(&peer).await?;
    let (tenant, gateway) = (&presented.tenant, &presented.gateway);
    let newest = api.configurations.configurations(tenant, gateway, None, 1).await?;
    let Some(newest) = newest.first() else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    if has(&headers, newest.version) {
        return Ok((StatusCode::NOT_MODIFIED, tag(newest.version)).into_response());
    }
    let Some(stored) = api.configurations.configuration(tenant, gateway, None).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let version = stored.entry.version;
    // Compressing is left to the link: a bundle is seldom above some 10 KiB.
    let signed = tokio::task::spawn_blocking(move || {
        let configuration = configuration_of(presented, stored);
        api.certifier.sign_configuration(configuration)
    });
    let signed = signed.await.map_err(|cause| CertifyError::Authority(cause.to_string()))??;
    Ok((tag(version), Json(signed)).into_response())
}

fn configuration_of(presented: Presented, stored: StoredConfiguration) -> Configuration {
    Configuration {
        tenant: presented.tenant,
        gateway: presented.gateway,
        version: stored.entry.version,
        files: stored.files,
        accept_drift: stored.entry.accept_drift,
    }
}

pub(crate) fn tag(version: ConfigurationVersion) -> [(header::HeaderName, HeaderValue); 1] {
    let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("a number is a header value");
    [(header::ETAG, tag)]
}

/// Whether the gateway has this version (RFC 9110, 13.1.2).
pub(crate) fn has(headers: &HeaderMap, version: ConfigurationVersion) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let wanted = format!("\"{version}\"");
    known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == wanted)
}

/// Takes what a gateway says about its configuration.
pub(crate) async fn report(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
    report: Body<ConfigurationReport>,
) -> Result<StatusCode, Problem> {
    let Presented { tenant, gateway, .. } = api.presented_now(&peer).await?;
    let report = body(report)?;
    let before = api.configurations.configuration_standing(&tenant, &gateway).await?;
    let before = before.and_then(|standing| standing.received).map(|received| received.report);
    let is_news = before.is_none_or(|b| (b.state, b.version) != (report.state, report.version));
    let (state, version) = (report.state, report.version.map(ConfigurationVersion::get));
    let received = ReceivedReport { report, received_at: api.clock.wall() };
    api.configurations.save_configuration_report(tenant.clone(), gateway.clone(), received).await?;
    match state {
        ConfigurationState::RolledBack | ConfigurationState::Refused | ConfigurationState::Drifted
            if is_news =>
        {
            tracing::warn!(tenant.id = %tenant, gateway.id = %gateway, configuration.version = version,
                state = state.as_str(), "a gateway does not run the configuration that it should");
        }
        ConfigurationState::Current if is_news => tracing::info!(tenant.id = %tenant, gateway.id = %gateway,
            configuration.version = version, "a gateway runs its configuration"),
        ConfigurationState::Adopted if is_news => tracing::warn!(tenant.id = %tenant, gateway.id = %gateway,
            configuration.version = version, "somebody at the gateway keeps other files in place of a configuration"),
        ConfigurationState::Local
        | ConfigurationState::Current
        | ConfigurationState::Trial
        | ConfigurationState::RolledBack
        | ConfigurationState::Refused
        | ConfigurationState::Drifted
        | ConfigurationState::Adopted => {}
    }
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_names_the_version_among_others_has_it() {
        let version = ConfigurationVersion::new(12).expect("above 0");
        let has = |values: &[&'static str]| {
            let pairs = values.iter().map(|v| (header::IF_NONE_MATCH, HeaderValue::from_static(v)));
            has(&HeaderMap::from_iter(pairs), version)
        };
        assert!(has(&["\"12\""]) && has(&["\"1\", W/\"12\""]));
        assert!(!has(&[]) && !has(&["\"1\""]) && !has(&["12"]) && !has(&["\"112\""]));
    }
}
